//! What a session sends and hears, as far as it matters to what it has fetched ahead.

use super::ahead::{Ahead, look_at};
use crate::coalesce::prefetch::level::{Place, Taken};
use crate::coalesce::prefetch::session::Kept;
use crate::coalesce::writes::WriteSet;
use crate::proxy::drive::Drive;
use crate::session::account::{Ask, Done};
use crate::sql::Traits;
use crate::wire;
use crate::wire::server::{TxStatus, tag};

/// An answer that is on its way and will be kept.
pub struct Keeping {
    kept: Kept,
    taken: Taken,
}

/// The DataRow frames among these.
fn rows_of(frames: &[u8]) -> Vec<u8> {
    let mut rows = Vec::new();
    let mut rest = frames;
    while let Ok(Some(head)) = wire::head(rest) {
        let Some(frame) = rest.get(..head.size) else { break };
        if head.tag == tag::DATA_ROW {
            rows.extend_from_slice(frame);
        }
        rest = &rest[head.size..];
    }
    rows
}

impl Drive {
    /// The look-up at the front of the input is sent; its answer may serve again.
    pub(super) fn keep_answer(&mut self, kept: Option<Kept>, place: &Place) {
        self.keeping = kept.map(|kept| {
            let fence = self.lines.fence().and_then(|fence| look_at(&fence, &kept.child.tables));
            let taken = Taken { sent_us: place.now_us, fence, transaction: place.serial() };
            Box::new(Keeping { kept, taken })
        });
    }

    /// Somebody wants to see what the statement under way is answered.
    #[inline]
    pub(in crate::proxy) fn awaits_answer(&self) -> bool {
        self.keeping.is_some() || self.ahead.as_ref().is_some_and(|ahead| ahead.witnesses.waits())
    }

    /// A statement was answered by these frames.
    pub(in crate::proxy) fn note_answer(&mut self, done: &Done, frames: &[u8]) {
        let Some(ahead) = &mut self.ahead else {
            return;
        };
        if ahead.witnesses.waits() {
            let whole = done.sqlstate.is_none() && !done.continued;
            ahead.witnesses.answer(done.shape.fingerprint, &if whole { rows_of(frames) } else { Vec::new() });
            if !whole {
                ahead.witnesses.clear();
            }
        }
        let Some(keeping) = self.keeping.take() else {
            return;
        };
        if done.sqlstate.is_some() || done.continued || done.shape.fingerprint != keeping.kept.child.shape {
            return;
        }
        let rows = rows_of(frames);
        let (count, now) = (u32::try_from(done.rows).unwrap_or(u32::MAX), self.worker.clock.us());
        ahead.session.file_own(keeping.kept, keeping.taken, rows.into(), count, now);
    }

    /// Statements are about to be sent: what was fetched ahead may not be the truth any more.
    pub(in crate::proxy) fn note_sent(&mut self, asks: &[Ask], messages: u32) {
        if self.ahead.is_none() && !self.may_keep(asks) {
            return;
        }
        let (worker, lines) = (self.worker.clone(), self.lines.clone());
        let budget = &worker.budget;
        let ahead = self.ahead.get_or_insert_with(|| {
            lines.hear_learned(worker.clock.us());
            Box::new(Ahead::new(budget.clone()))
        });
        for ask in asks {
            let writes = lines.writes_of(&ask.known.shapes, &worker, &self.pool.database);
            ahead.sent(ask, &writes.set);
        }
        if messages as usize > asks.len() {
            ahead.sent_unknown();
        }
        // Drivers send the first statement of a transaction along with its BEGIN.
        if let Some((ask, begins)) = asks.split_last()
            && messages as usize == asks.len()
            && begins.iter().all(|ask| ask.known.traits.has(Traits::BEGINS))
        {
            let (now, templates) = (worker.clock.us(), lines.templates.borrow());
            let watched = templates.watched(ask.shape.fingerprint, now);
            if !watched.is_empty() {
                ahead.expect_parent(ask, &watched, &templates.types(ask.shape.fingerprint, &watched));
            }
        }
    }

    /// The session will have written this, although nothing was sent yet.
    pub(super) fn note_own_write(&mut self, writes: &WriteSet) {
        if let Some(ahead) = &mut self.ahead {
            match writes {
                WriteSet::All => ahead.session.own_write(None),
                WriteSet::Tables(tables) => ahead.session.own_write(Some(tables)),
            }
        }
    }

    /// The unit of work is over.
    pub(in crate::proxy) fn forget_ahead(&mut self) {
        let Some(ahead) = &mut self.ahead else {
            return;
        };
        ahead.session.unit_ended();
        ahead.session.settle(&mut self.lines.templates.borrow_mut(), self.worker.clock.us());
        for run in ahead.session.settled() {
            if let Some(counts) = self.lines.counts_of(run.shape) {
                counts.waste(run.idle, run.unused);
            }
            if let Some(off) = run.off {
                tracing::info!(
                    shape = format!("{:016x}", run.shape),
                    "fetched ahead no more: {}",
                    off.label()
                );
            }
        }
        self.lines.tell_learned(self.worker.clock.us());
        if self.session.status() == TxStatus::Idle && self.fetching.is_none() {
            self.ahead = None;
        }
    }

    /// Something that these statements begin may be worth keeping.
    fn may_keep(&self, asks: &[Ask]) -> bool {
        let fixed = |ask: &Ask| {
            let text = &ask.shape.text;
            ask.known.traits.has(Traits::BEGINS)
                && (text.contains("repeatable") || text.contains("serializable"))
        };
        self.lines.is_on() && !asks.is_empty() && (self.lines.keeps() || asks.iter().any(fixed))
    }

    /// A server answered up to ReadyForQuery.
    pub(in crate::proxy) fn note_ready(&mut self, failed: bool) {
        let Some(ahead) = &mut self.ahead else {
            return;
        };
        if failed {
            ahead.session.error();
        }
        if self.session.status() == TxStatus::Idle && !self.session.in_flight() {
            ahead.ended();
        }
    }
}
