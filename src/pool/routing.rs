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

    /// The statement with room for bounds, if its conditions imply any.
    pub(super) fn prepare(&self, statement: &Statement, standard_strings: bool) -> Option<Prepared> {
        let Shapes::One(shape) = &statement.known.shapes else {
            return None;
        };
        (statement.known.traits == Traits::NONE && self.concerns(shape)).then_some(())?;
        let text = str::from_utf8(&statement.text).ok()?;
        let oids = statement.types.get(2..)?.chunks_exact(4);
        let types: Vec<u32> = oids.map(|oid| oid.try_into().map_or(0, u32::from_be_bytes)).collect();
        self.router.prepare(text, &types, &self.moment(Zone::UTC, 0, None, standard_strings))
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
