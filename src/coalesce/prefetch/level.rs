//! What a rule promises of the freshness of answers, and whether an answer that was fetched ahead may be
//! given under it. The one place where that is decided. Pure.
//!
//! | Transaction | `strict` | `fenced` | `bounded` |
//! |---|---|---|---|
//! | REPEATABLE READ, fetched in it | yes: one snapshot for all | yes | yes |
//! | SERIALIZABLE, fetched in it | only if a rule allows it: what is fetched and never read may cause a 40001 | same | same |
//! | READ COMMITTED, or none | no: a later statement sees what was committed since | while the fence holds, 1 s at most | until too old |
//!
//! What is buffered serves only in the transaction that it was fetched in, or, if there was none, outside of
//! any.

use std::rc::Rc;

/// How old an answer may be in READ COMMITTED, whatever else allows it: what a user would not call stale.
pub const AGE_MAX_US: u64 = 1_000_000;

/// What a rule asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Every history that a client sees is one that a direct connection could have seen.
    #[default]
    Strict,
    /// Nothing stale, as long as all who write use this process.
    Fenced,
    /// Nothing older than this.
    Bounded { max_staleness_ms: u32 },
}

impl Level {
    /// The name in rules, metrics and findings.
    pub fn label(self) -> &'static str {
        match self {
            Level::Strict => "strict",
            Level::Fenced => "fenced",
            Level::Bounded { .. } => "bounded",
        }
    }

    /// Of several tables the one that promises most decides.
    #[must_use]
    pub fn stricter(self, other: Level) -> Level {
        match (self, other) {
            (Level::Strict, _) | (_, Level::Strict) => Level::Strict,
            (Level::Fenced, _) | (_, Level::Fenced) => Level::Fenced,
            (Level::Bounded { max_staleness_ms: a }, Level::Bounded { max_staleness_ms: b }) => {
                Level::Bounded { max_staleness_ms: a.min(b) }
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// READ UNCOMMITTED is the same in PostgreSQL.
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

/// The transaction block that a statement runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transaction {
    /// Different for each transaction of a session.
    pub serial: u64,
    pub isolation: Isolation,
}

/// Where a statement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub now_us: u64,
    /// `None`: each statement is its own transaction.
    pub transaction: Option<Transaction>,
}

impl Place {
    pub fn serial(&self) -> Option<u64> {
        self.transaction.map(|transaction| transaction.serial)
    }

    /// All statements see one snapshot.
    pub fn is_fixed(&self) -> bool {
        self.transaction.is_some_and(|transaction| transaction.isolation != Isolation::ReadCommitted)
    }
}

/// When and where an answer was fetched.
#[derive(Clone)]
pub struct Taken {
    /// When the query was sent, µs: its snapshot is not older.
    pub sent_us: u64,
    /// Says whether the fence holds that was seen just before the query was sent. `None`: something was being
    /// written then.
    pub fence: Option<Holds>,
    pub transaction: Option<u64>,
}

/// Whether no write of the tables that an answer depends on can have become visible since a moment.
pub type Holds = Rc<dyn Fn() -> bool>;

/// Whether anything may be fetched ahead at this place.
pub fn may_fetch(level: Level, serializable: bool, place: &Place) -> bool {
    match place.transaction.map(|transaction| transaction.isolation) {
        Some(Isolation::RepeatableRead) => true,
        Some(Isolation::Serializable) => serializable,
        Some(Isolation::ReadCommitted) | None => level != Level::Strict,
    }
}

/// Whether an answer may be given here and now.
pub fn may_serve(level: Level, serializable: bool, place: &Place, taken: &Taken) -> bool {
    if taken.transaction != place.serial() || !may_fetch(level, serializable, place) {
        return false;
    }
    let age_us = place.now_us.saturating_sub(taken.sent_us);
    match level {
        _ if place.is_fixed() => true,
        Level::Strict => false,
        Level::Fenced => age_us <= AGE_MAX_US && taken.fence.as_ref().is_some_and(|holds| holds()),
        Level::Bounded { max_staleness_ms } => age_us <= AGE_MAX_US.min(u64::from(max_staleness_ms) * 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDED: Level = Level::Bounded { max_staleness_ms: 200 };

    fn place(isolation: Option<Isolation>, now_us: u64) -> Place {
        Place { now_us, transaction: isolation.map(|isolation| Transaction { serial: 7, isolation }) }
    }

    fn taken(transaction: Option<u64>, intact: bool) -> Taken {
        Taken { sent_us: 10_000_000, fence: Some(Rc::new(move || intact)), transaction }
    }

    #[test]
    fn the_table_of_levels() {
        use Isolation::{ReadCommitted, RepeatableRead, Serializable};
        let serves = |level, isolation, age_us: u64, intact| {
            let place = place(isolation, 10_000_000 + age_us);
            may_serve(level, false, &place, &taken(place.serial(), intact))
        };
        for level in [Level::Strict, Level::Fenced, BOUNDED] {
            assert!(serves(level, Some(RepeatableRead), 9_000_000, false), "{level:?}");
            assert!(!serves(level, Some(Serializable), 0, true), "{level:?}");
        }
        for isolation in [None, Some(ReadCommitted)] {
            assert!(!serves(Level::Strict, isolation, 0, true));
            assert!(serves(Level::Fenced, isolation, 1_000_000, true));
            assert!(!serves(Level::Fenced, isolation, 1_000_001, true));
            assert!(!serves(Level::Fenced, isolation, 0, false));
            assert!(serves(BOUNDED, isolation, 200_000, false));
            assert!(!serves(BOUNDED, isolation, 200_001, true));
            assert!(!serves(Level::Bounded { max_staleness_ms: 9_000 }, isolation, 1_000_001, true));
        }
    }

    #[test]
    fn a_transaction_is_served_from_itself_alone() {
        let here = place(Some(Isolation::RepeatableRead), 10_000_005);
        for transaction in [None, Some(6)] {
            assert!(!may_serve(Level::Fenced, true, &here, &taken(transaction, true)));
        }
        let own = taken(Some(7), true);
        assert!(!may_serve(Level::Fenced, true, &place(None, 10_000_005), &own));
        let serializable = place(Some(Isolation::Serializable), 10_000_005);
        assert!(may_serve(Level::Strict, true, &serializable, &own));
        let open = Taken { fence: None, ..taken(None, true) };
        assert!(
            !may_serve(Level::Fenced, true, &place(None, 10_000_005), &open),
            "while something was written"
        );
    }

    #[test]
    fn the_stricter_of_two_levels() {
        let loose = Level::Bounded { max_staleness_ms: 900 };
        assert_eq!(loose.stricter(BOUNDED), BOUNDED);
        assert_eq!(loose.stricter(Level::Fenced), Level::Fenced);
        assert_eq!(Level::Fenced.stricter(Level::Strict), Level::Strict);
    }
}
