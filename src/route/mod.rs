//! Time ranges: the range that a statement's conditions imply for the key of a partitioned table is added to it as
//! plain bounds, which PostgreSQL prunes partitions by when it plans. What the user wrote stays as it is, and the
//! statement stays on the parent, with its row security, triggers and grants. Pure: catalog, values, time zone and
//! clock come in, splices and bounds go out. What is in doubt stays unchanged.
//!
//! From the outside in: `narrow` and `prepared` add the bounds, for the simple and the extended protocol; `imply`
//! reads conditions; `reach` bounds a page by the partitions in which it probably lies, `around` leaves out
//! partitions whose checks exclude what is looked for; `invert` goes from an expression back to its key, `fold` works out constants; `zone`,
//! `calendar`, `literal` and `range` are what they reckon with. `table` knows which tables are routed.
//!
//! Why the bounds hold: each expression is taken for a range in which its value surely lies, and each step back to
//! the key gives a range that surely holds the key. Of a time zone only its least and greatest offset count, see
//! [`zone::Zone`], so that no reading of a time that came twice or never can be outside.

#[cfg(test)]
mod any_tests;
mod around;
pub mod calendar;
mod fold;
mod imply;
mod invert;
pub mod literal;
pub mod narrow;
mod parts;
pub mod prepared;
pub mod range;
mod reach;
pub mod table;
#[cfg(test)]
mod tests;
pub mod zone;

use std::collections::BTreeMap;

use self::literal::Value;
use self::range::Range;
use self::zone::Zone;

/// Which tables and statements are left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSettings {
    /// Default true: every table that is partitioned by a range of times.
    pub enabled: bool,
    pub off: Vec<TableName>,
    /// Fingerprints of statements.
    pub off_shapes: Vec<u64>,
}

impl Default for RouteSettings {
    fn default() -> Self {
        RouteSettings { enabled: true, off: Vec::new(), off_shapes: Vec::new() }
    }
}

/// As a rule names it; without a schema, a table of any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    pub schema: Option<String>,
    pub name: String,
}

/// What a value is, in the order in which PostgreSQL converts one kind of time to another. Times are microseconds
/// since 1970-01-01 00:00: of UTC for `Timestamptz`, of a clock that shows them for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Date,
    Timestamp,
    Timestamptz,
    Interval,
    Number,
    Text,
}

/// The parameters of a statement.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    /// There are none.
    None,
    /// They are not known yet; `types` are the declared ones, 0 where there is none.
    Sample {
        types: &'a [u32],
    },
    Bound {
        types: &'a [u32],
        values: &'a [Value<'a>],
    },
}

impl Values<'_> {
    fn types(&self) -> &[u32] {
        match self {
            Values::None => &[],
            Values::Sample { types } | Values::Bound { types, .. } => types,
        }
    }
}

/// What else the meaning of a statement depends on.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// Of the session.
    pub zone: Zone,
    /// Between which moments `now()` will be. Its end is open unless the transaction is known to have begun: a
    /// statement may wait.
    pub now: Range,
    /// Zones whose offsets are known.
    pub zones: &'a BTreeMap<String, Zone>,
    /// The session searches the schemas that the catalog was read with.
    pub default_path: bool,
    /// A backslash in a plain string is itself.
    pub standard_strings: bool,
    /// Of a statement that asks for the first rows in the order of the key, only so many partitions are asked.
    /// Whoever sets this looks whether as many rows came, and otherwise asks again without. 0: all are.
    pub reach: usize,
    /// The same where an error would end a transaction, so that nothing could be asked again.
    pub plain_only: bool,
}

impl Moment<'_> {
    fn zone_named(&self, name: &str) -> Option<Zone> {
        self.zones.get(name).copied().or_else(|| Zone::named(name))
    }
}
