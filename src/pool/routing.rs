//! What one pool narrows statements on partitioned tables by, and for how long it holds. Pure.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::shape::{Shape, Shapes};
use super::statement::Statement;
use crate::route::prepared::Prepared;
use crate::route::table::Router;
use crate::route::zone::Zone;
use crate::route::{Moment, calendar::Micros};
use crate::sql::Traits;

/// A router as one pool uses it.
#[derive(Debug)]
pub struct Routing {
    /// Tells one router from another.
    pub id: Cell<u64>,
    pub router: Arc<Router>,
    /// The count of schema changes at which its catalog was read; [`RETIRED`] when there is a newer one.
    pub epoch: Cell<u64>,
    /// Unix time in microseconds at which the worker's clock stood at zero, or a little earlier.
    pub zero_us: Micros,
    /// Statements that a rule leaves alone.
    pub off_shapes: Arc<[u64]>,
}

/// No count of schema changes comes to this.
const RETIRED: u64 = u64::MAX;

/// A shape with nothing to add so often in a row is not looked at again, until there is another router: most are plain
/// ranges, which PostgreSQL sees itself.
const MISSES_MAX: u8 = 8;

/// In how many partitions the pages of a shape are looked for, and what came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach {
    /// [`REACH_FIRST`] partitions, and [`REACH_FACTOR`] times as many for each step.
    steps: u8,
    /// Pages that were full in a row.
    full: u8,
    /// So many statements are not tried.
    rest: u16,
}

/// The partition of today may be empty yet.
pub const REACH_FIRST: usize = 2;

/// A page that is not full costs its statement twice, so few steps are made.
const REACH_FACTOR: usize = 4;

/// Up to 128 partitions.
const REACH_STEPS: u8 = 3;

/// After so many full pages in a row fewer partitions are tried again: a single value with few rows must not widen
/// all others for ever.
const REACH_AGAIN: u8 = 200;

/// When the last step does not bring a full page, so many statements are sent as they are.
const REACH_REST: u16 = 250;

impl Reach {
    /// For how many partitions the next page is tried; 0: it is sent as it is.
    fn next(&mut self) -> usize {
        if self.rest > 0 {
            self.rest -= 1;
            return 0;
        }
        REACH_FIRST * REACH_FACTOR.pow(self.steps.into())
    }

    /// What came of it.
    fn learn(&mut self, full: bool) {
        self.full = if full { self.full + 1 } else { 0 };
        match full {
            true if self.full == REACH_AGAIN => {
                (self.steps, self.full) = (self.steps.saturating_sub(1), 0);
            }
            true => {}
            false if self.steps == REACH_STEPS => self.rest = REACH_REST,
            false => self.steps += 1,
        }
    }

    /// Its rows are too many to be held.
    fn stop(&mut self) {
        self.rest = u16::MAX;
    }
}

/// How a page that was looked for in some partitions came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    Full,
    Short,
    TooLarge,
}

/// A prepared statement with room for bounds.
#[derive(Debug)]
pub struct Twin {
    pub statement: Rc<Statement>,
    pub prepared: Prepared,
    pub routing: Rc<Routing>,
}

impl Routing {
    /// Puts a new one in place of the old; true when statements have to be looked at anew. One that differs in
    /// nothing but its age makes the old one young.
    pub fn replace(held: &mut Option<Rc<Routing>>, new: Option<Routing>) -> bool {
        if let (Some(old), Some(new)) = (held.as_ref(), &new)
            && (old.id == new.id || (old.router.is_like(&new.router) && old.off_shapes == new.off_shapes))
        {
            old.id.set(new.id.get());
            old.epoch.set(new.epoch.get());
            return false;
        }
        if held.is_none() && new.is_none() {
            return false;
        }
        held.iter().for_each(|old| old.epoch.set(RETIRED));
        *held = new.map(Rc::new);
        true
    }

    /// Whether bounds may be added to statements of this shape.
    #[inline]
    pub fn concerns(&self, shape: &Shape) -> bool {
        match shape.routed.get() {
            Some((id, misses)) if id == self.id.get() => misses < MISSES_MAX,
            _ => {
                let concerned =
                    self.router.concerns(&shape.text) && !self.off_shapes.contains(&shape.fingerprint);
                let misses = if concerned { 0 } else { MISSES_MAX };
                shape.routed.set(Some((self.id.get(), misses)));
                concerned
            }
        }
    }

    /// What a look at one statement of the shape came to.
    pub fn note(&self, shape: &Shape, narrowed: bool) {
        if let Some((id, misses)) = shape.routed.get() {
            let misses = if narrowed { 0 } else { misses.saturating_add(1) };
            shape.routed.set(Some((id, misses)));
        }
    }

    /// In how many partitions a page of this shape is looked for next; 0: in all.
    pub fn reach(&self, shape: &Shape) -> usize {
        let mut reach = shape.reach.get();
        let partitions = reach.next();
        shape.reach.set(reach);
        partitions
    }

    /// The statement with room for bounds, if its conditions imply any.
    pub(super) fn prepare(&self, statement: &Statement, standard_strings: bool) -> Option<Prepared> {
        let Shapes::One(shape) = &statement.known.shapes else {
            return None;
        };
        (statement.known.traits == Traits::NONE && self.concerns(shape)).then_some(())?;
        let text = str::from_utf8(&statement.text).ok()?;
        let oids = statement.types.get(2..)?.chunks_exact(4);
        let types: Vec<u32> = oids.map(|oid| oid.try_into().map_or(0, u32::from_be_bytes)).collect();
        let moment = Moment { reach: REACH_FIRST, ..self.moment(Zone::UTC, 0, None, standard_strings) };
        self.router.prepare(text, &types, &moment)
    }

    /// `earliest_us` and `latest_us` by the worker's clock: between which the transaction has begun or will.
    pub fn moment(
        &self,
        zone: Zone,
        earliest_us: u64,
        latest_us: Option<u64>,
        standard_strings: bool,
    ) -> Moment<'_> {
        let unix = |us: u64| self.zero_us.saturating_add(us as Micros);
        let moment = self.router.moment(zone, unix(earliest_us), latest_us.map(unix));
        // Of a session's own search path nothing is known: a name without a schema counts if it is the only one.
        Moment { default_path: false, standard_strings, ..moment }
    }
}

impl Shape {
    /// What came of a page that was looked for in some partitions.
    pub fn learn(&self, page: Page) {
        let mut reach = self.reach.get();
        match page {
            Page::TooLarge => reach.stop(),
            page => reach.learn(page == Page::Full),
        }
        self.reach.set(reach);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reach_is_learned_and_tried_again() {
        let mut reach = Reach::default();
        let short = |reach: &mut Reach| {
            let partitions = reach.next();
            reach.learn(false);
            partitions
        };
        assert_eq!([(); 4].map(|()| short(&mut reach)), [2, 8, 32, 128]);
        assert_eq!((0..REACH_REST).map(|_| reach.next()).max(), Some(0));
        assert_eq!(reach.next(), 128);
        (0..REACH_AGAIN).for_each(|_| reach.learn(true));
        assert_eq!(reach.next(), 32);
        (0..2 * u16::from(REACH_AGAIN)).for_each(|_| reach.learn(true));
        assert_eq!(reach.next(), 2);
        reach.stop();
        assert_eq!(reach.next(), 0);
    }
}
