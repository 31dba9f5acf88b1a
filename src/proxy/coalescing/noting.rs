//! What a session sends and hears, as far as it matters to what it has fetched ahead.

use super::ahead::Ahead;
use crate::proxy::drive::Drive;
use crate::session::account::Ask;
use crate::sql::Traits;
use crate::wire::server::TxStatus;

impl Drive {
    /// Statements are about to be sent: what was fetched ahead may not be the truth any more.
    pub(in crate::proxy) fn note_sent(&mut self, asks: &[Ask], messages: u32) {
        if self.ahead.is_none() && !self.may_keep(asks) {
            return;
        }
        let (worker, lines) = (self.worker.clone(), self.lines.clone());
        let budget = &worker.budget;
        let ahead = self.ahead.get_or_insert_with(|| Box::new(Ahead::new(budget.clone())));
        for ask in asks {
            let writes = lines.writes_of(&ask.known.shapes, &worker, &self.pool.database);
            ahead.sent(ask, &writes.set);
        }
        if messages as usize > asks.len() {
            ahead.sent_unknown();
        }
        if let ([ask], 1) = (asks, messages) {
            let now = worker.clock.us();
            let watched = lines.templates.borrow().watched(ask.shape.fingerprint, now);
            ahead.expect_parent(ask, &watched);
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
                counts.waste(run.unused, run.unused);
            }
            if let Some(off) = run.off {
                tracing::info!(
                    shape = format!("{:016x}", run.shape),
                    "fetched ahead no more: {}",
                    off.label()
                );
            }
        }
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
