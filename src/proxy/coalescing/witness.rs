//! Shadow verification of what is fetched ahead: a look-up that was answered alone is asked once more with the first
//! fetch of its kind, and must get the same rows. That costs no query, since a loop's first look-up goes alone anyway
//! until it is known; where it is known already (on another worker, or for each thousandth fetch), the first look-up is
//! sent alone to be a witness, which costs one. Nothing is served of a fetch that differs, and its loop is fetched
//! ahead no more for a while. A write by others between the two has the same effect, which is rare, as few fetches are
//! compared, and on the safe side.
//!
//! One equal answer per statement, set of varying values and schema is asked for, as flights compare their own (20 per
//! plan, `plan`): more would take a query for each look-up of the pages behind the first. Where values stand in the
//! text, a loop's first text is not yet known to be a look-up, so that the second is the witness.

use std::ops::Range;
use std::rc::Rc;

use super::Lines;
use super::line::Line;
use super::site::Site;
use crate::coalesce::prefetch::level::Place;
use crate::coalesce::prefetch::plan::{Order, What};
use crate::coalesce::replay::{Batch, Member, Replay, Slot};
use crate::proxy::drive::Drive;
use crate::session::lookup::{Lookup, Values, bind_of};

/// Look-ups that one session keeps as witnesses; loops over one result are at most five (`follow`).
const WITNESSES_MAX: usize = 8;

/// Bytes of one answer, and of its request.
const BYTES_MAX: usize = 16 * 1024;

/// Fetches until one is compared again.
pub const UNCHECKED: u32 = 1_000;

/// A look-up as it was sent, and what it was answered.
pub struct Witness {
    site: Rc<Site>,
    formats: Box<[u8]>,
    transaction: Option<u64>,
    request: Box<[u8]>,
    text: Range<usize>,
    slots: Box<[Slot]>,
    /// DataRow frames; `None`: they have not come yet.
    rows: Option<Box<[u8]>>,
}

/// Of one session, the latest last.
#[derive(Default)]
pub struct Witnesses(Vec<Witness>);

impl Witnesses {
    /// A look-up is sent alone.
    pub fn call(&mut self, line: &Line, lookup: &Lookup, input: &[u8], values: &Values, place: &Place) {
        if lookup.size > BYTES_MAX {
            return;
        }
        self.0.retain(|known| !Rc::ptr_eq(&known.site, &line.site) && known.rows.is_some());
        if self.0.len() >= WITNESSES_MAX {
            self.0.remove(0);
        }
        let (start, end) = lookup.text;
        let slots = match start < end {
            true => values.each.iter().map(|value| super::line::slot(value, start)).collect(),
            false => Box::default(),
        };
        self.0.push(Witness {
            site: line.site.clone(),
            formats: line.formats.clone(),
            transaction: place.serial(),
            request: input[..lookup.size].into(),
            text: start as usize..end as usize,
            slots,
            rows: None,
        });
    }

    /// The look-up of this shape that was sent last was answered by these rows.
    pub fn answer(&mut self, shape: u64, rows: &[u8]) {
        let waits = |witness: &Witness| witness.rows.is_none();
        let Some(at) = self.0.iter().position(waits) else { return };
        if self.0[at].site.shape.fingerprint == shape && rows.len() <= BYTES_MAX {
            self.0[at].rows = Some(rows.into());
        } else {
            self.0.remove(at);
        }
    }

    /// One waits for its answer.
    pub fn waits(&self) -> bool {
        self.0.last().is_some_and(|witness| witness.rows.is_none())
    }

    /// The witness for look-ups of this line in this place.
    pub fn take(&mut self, line: &Line, place: &Place) -> Option<Witness> {
        let is = |known: &Witness| {
            Rc::ptr_eq(&known.site, &line.site)
                && known.formats == line.formats
                && known.transaction == place.serial()
                && known.rows.is_some()
        };
        self.0.iter().position(is).map(|at| self.0.remove(at))
    }

    /// Something was sent that may change answers.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl Witness {
    /// Asks for it again with a batch. `None`: it is not one of its kind.
    pub fn join(&self, replay: &Replay, batch: &mut Batch) -> Option<()> {
        let bind = bind_of(&self.request);
        let text = &self.request[self.text.clone()];
        batch.add(replay, &Member { text, slots: &self.slots, bind }).ok()
    }

    /// Whether it got these rows.
    pub fn is_equal(&self, rows: &[u8]) -> bool {
        self.rows.as_deref() == Some(rows)
    }
}

impl Drive {
    /// What a fetch for these look-ups is compared with; `None`: it need not be. `Err`: there is nothing yet.
    pub(super) fn witness(
        &mut self,
        line: &Line,
        place: &Place,
        order: &Order,
    ) -> Result<Option<Witness>, ()> {
        if matches!(order.what, What::Table(_)) {
            return Ok(None);
        }
        if line.site.is_proved(line.varying, self.lines.epoch()) {
            line.site.note_fetch();
            return Ok(None);
        }
        let witness = self.ahead.as_mut().and_then(|ahead| ahead.witnesses.take(line, place));
        witness.map(Some).ok_or(())
    }

    /// The look-up at the front of the input is sent alone, to be one.
    pub(super) fn call_witness(&mut self, lookup: &Lookup, line: &Line, place: &Place) {
        let input = self.from_client.input.bytes();
        let mut values = Values::default();
        let mut interner = self.pool.interner.borrow_mut();
        let again = self.session.lookup(input, &mut interner, self.pool.epoch(), &mut values);
        if let (Some(_), Some(ahead)) = (again, &mut self.ahead) {
            ahead.witnesses.call(line, lookup, input, &values, place);
        }
    }
}

impl Lines {
    /// What was fetched for a loop of this template was compared.
    pub(super) fn note_comparison(&self, line: &Line, equal: bool, template: u32, now_us: u64) {
        if equal {
            return line.site.prove(line.varying, self.epoch());
        }
        self.templates.borrow_mut().differ(template, now_us);
        line.site.counts.fall_back("differs");
        tracing::warn!(
            shape = &*line.site.shape.text,
            "fetched ahead no more: an answer differed from the one that was given alone"
        );
    }
}
