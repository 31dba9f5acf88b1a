//! What a unit of work came to: which of its statements were a loop, and of what class. Pure.

use super::Thresholds;
use super::link::Link;
use super::unit::Seen;
use crate::sql::kind::Kind;

/// How sure it is, and what kind of loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The values were those of an earlier result's column, row by row.
    Proved,
    /// The same, and the parent was repeated itself.
    Nested,
    /// The same, and other statements ran between the repetitions.
    Interleaved,
    /// Many repetitions with different values, of unknown origin.
    Counted,
    /// The same statement with the same values, again and again.
    Redundant,
    /// Single writes that one statement could do.
    WriteLoop,
    /// The same look-up from many connections at once.
    Concurrent,
}

impl Class {
    pub const ALL: [Class; 7] = [
        Class::Proved,
        Class::Nested,
        Class::Interleaved,
        Class::Counted,
        Class::Redundant,
        Class::WriteLoop,
        Class::Concurrent,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Class::Proved => "proved",
            Class::Nested => "nested",
            Class::Interleaved => "interleaved",
            Class::Counted => "counted",
            Class::Redundant => "redundant",
            Class::WriteLoop => "write_loop",
            Class::Concurrent => "concurrent",
        }
    }

    /// Whether the parent is known.
    pub fn is_proved(self) -> bool {
        matches!(self, Class::Proved | Class::Nested | Class::Interleaved)
    }
}

/// One loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Episode {
    pub class: Class,
    pub fingerprint: u64,
    /// How often it ran, and with how many different values (as far as they were looked at).
    pub count: u32,
    pub distinct: u32,
    /// All of it together.
    pub time_us: u64,
    pub parent: Option<Parent>,
}

/// Where the values came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    pub fingerprint: u64,
    /// Counted from 0.
    pub column: usize,
    pub name: Option<String>,
}

/// Values to one statement from which on it is a batch already.
const BATCH: u32 = 8;

/// What one shape of a unit was, if it was a loop. `shapes`: all of the unit.
pub fn judge(seen: &Seen, shapes: &[Seen], thresholds: &Thresholds) -> Option<Episode> {
    if seen.count < thresholds.minimum {
        return None;
    }
    let distinct = seen.distinct();
    let episode = |class, parent| {
        let (fingerprint, count, time_us) = (seen.fingerprint, seen.count, seen.time_us);
        Some(Episode { class, fingerprint, count, distinct, time_us, parent })
    };
    match seen.kind {
        Kind::Insert | Kind::Write
            if distinct >= thresholds.distinct && !seen.is_pipelined() && !seen.is_bulk_insert() =>
        {
            episode(Class::WriteLoop, None)
        }
        Kind::Read | Kind::Page => {
            let link = seen.links.best(seen.count);
            if is_pagination(seen, link) || seen.is_batch(BATCH) {
                return None;
            }
            if let Some(link) = link.filter(|_| distinct >= thresholds.distinct) {
                let parent =
                    Parent { fingerprint: link.parent, column: link.column, name: link.name.clone() };
                return episode(class_of(seen, link, shapes), Some(parent));
            }
            if seen.is_check_before_write() || seen.is_pipelined() || seen.is_paged() {
                return None;
            }
            let enough = seen.count >= thresholds.counted || seen.time_us >= thresholds.total_us;
            match distinct {
                _ if distinct >= thresholds.distinct && enough => episode(Class::Counted, None),
                1 if !seen.is_poll() => episode(Class::Redundant, None),
                _ => None,
            }
        }
        _ => None,
    }
}

fn class_of(seen: &Seen, link: &Link, shapes: &[Seen]) -> Class {
    let repeated = |shape: &Seen| shape.fingerprint == link.parent && shape.count >= 3;
    if shapes.iter().any(repeated) {
        Class::Nested
    } else if seen.consecutive * 2 < seen.count {
        Class::Interleaved
    } else {
        Class::Proved
    }
}

/// Each page starts where the one before it ended: the value comes from the last row of the statement's own
/// result.
fn is_pagination(seen: &Seen, link: Option<&Link>) -> bool {
    link.is_some_and(|link| link.parent == seen.fingerprint && link.last_row_hits * 2 > link.hits)
}
