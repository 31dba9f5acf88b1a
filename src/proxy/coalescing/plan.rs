//! How the look-ups of a line are asked together: the statement, what PostgreSQL says of it, and whether it is still worth
//! and good to use it.

use std::cell::Cell;
use std::rc::Rc;

use super::survey::Found;
use crate::coalesce::prefetch::Child;
use crate::coalesce::replay::{Batch, Replay};
use crate::pool::memory::{Memory, StatementId};
use crate::pool::statement;
use crate::session::answer::Described;
use crate::wire::reply;

/// Which of a plan's statements.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    Keys,
    /// Over every key of a small table.
    Table,
    /// With each column a second time, by these format codes.
    Twice(&'a [i16]),
}

/// How the look-ups of a line are asked together.
pub struct Plan {
    pub replay: Replay,
    pub described: Described,
    /// The look-up, as what fetches ahead knows it.
    pub child: Rc<Child>,
    /// Names its statement on servers.
    id: StatementId,
    /// The same over every key of a small table, and its name; and that with each column twice.
    whole: Option<(Vec<u8>, StatementId)>,
    twice: Option<(Vec<u8>, StatementId)>,
    /// Schema changes seen when it was made.
    epoch: u64,
    /// From then on it is found out again: what others change around pgweir is seen at last then.
    until_us: u64,
    /// Flights whose answers are still to be compared with those that the look-ups get alone.
    checks: Cell<u32>,
    /// Flights until the next one is compared, once all these were equal.
    until_check: Cell<u32>,
    /// Flights in a row that took longer than the look-ups would have taken one after the other.
    slow: Cell<u32>,
}

/// Flights that have to bring what their look-ups bring alone before answers are used unseen, and how many of the
/// later ones go unseen between two that are compared.
const CHECKS: u32 = 20;
const UNCHECKED: u32 = 1_000;

/// How long a plan is good, in µs.
const GOOD_US: u64 = 60_000_000;

/// So many flights in a row that are slower than their look-ups alone end the line for a while. A busy machine makes a
/// few of them slow by itself.
const SLOW_MAX: u32 = 20;

impl Plan {
    pub fn new(found: Found, child: Child, [id, whole, twice]: [StatementId; 3], epoch: u64) -> Plan {
        let over_keys = child.small.as_ref().and_then(|small| small.over_keys(found.replay.text()));
        Plan {
            whole: over_keys.map(|text| (text, whole)),
            twice: found.replay.text_twice().map(|text| (text, twice)),
            replay: found.replay,
            described: found.described,
            child: Rc::new(child),
            id,
            epoch,
            until_us: 0,
            checks: Cell::new(CHECKS),
            until_check: Cell::new(UNCHECKED),
            slow: Cell::new(0),
        }
    }

    /// It was made at this time of the worker's clock.
    pub fn made_at(self, now_us: u64) -> Plan {
        Plan { until_us: now_us + GOOD_US, ..self }
    }

    /// Nothing is known to have changed since it was made.
    pub fn is_good(&self, epoch: u64, now_us: u64) -> bool {
        self.epoch == epoch && now_us < self.until_us
    }

    /// Whether the next flight's answers are to be compared.
    pub fn is_due(&self) -> bool {
        if self.checks.get() > 0 {
            return true;
        }
        let left = self.until_check.get();
        self.until_check.set(if left == 0 { UNCHECKED } else { left - 1 });
        left == 0
    }

    /// A flight brought what its look-ups brought alone.
    pub fn was_equal(&self) {
        self.checks.set(self.checks.get().saturating_sub(1));
    }

    /// A flight for so many values took so long; one of them takes `alone_us` alone, 0: nobody knows. True: such
    /// flights are no gain.
    pub fn is_slow(&self, values: usize, us: u64, alone_us: u64) -> bool {
        let slow = values > 1 && alone_us > 0 && us > alone_us * values as u64;
        self.slow.set(if slow { self.slow.get() + 1 } else { 0 });
        self.slow.get() >= SLOW_MAX
    }

    /// Makes sure that the server has the statement.
    pub fn give(&self, which: Which<'_>, memory: &mut Memory, out: &mut Vec<u8>) {
        let Some((text, id)) = self.statement(which).filter(|(_, id)| !memory.knows(*id)) else {
            return;
        };
        while let Some(evicted) = memory.make_room(false) {
            reply::statement_target(out, b'C', &statement::name(evicted));
        }
        memory.learn(id);
        reply::parse(out, &statement::name(id), text, self.replay.types());
    }

    /// `None`: there is no such statement.
    fn statement(&self, which: Which<'_>) -> Option<(&[u8], StatementId)> {
        match which {
            Which::Keys => Some((self.replay.text(), self.id)),
            Which::Table => self.whole.as_ref().map(|(text, id)| (text.as_slice(), *id)),
            Which::Twice(_) => self.twice.as_ref().map(|(text, id)| (text.as_slice(), *id)),
        }
    }

    /// It can be asked over every key.
    pub fn has_whole(&self) -> bool {
        self.whole.is_some()
    }

    /// It can be asked with each column twice.
    pub fn has_twice(&self) -> bool {
        self.twice.is_some()
    }

    /// The server may not have the statement any more, or another than was thought.
    pub fn forget(&self, memory: &mut Memory) {
        memory.forget(self.id);
        for (_, id) in self.whole.iter().chain(&self.twice) {
            memory.forget(*id);
        }
    }

    /// Asks for a batch; over every key, for its first member.
    pub fn ask(&self, which: Which<'_>, batch: &Batch, out: &mut Vec<u8>) {
        let Some((_, id)) = self.statement(which) else {
            return;
        };
        let name = statement::name(id);
        match which {
            Which::Twice(codes) => {
                batch.write_bind_twice(&self.replay, &name, (self.child.types.len(), codes), out);
            }
            _ => batch.write_bind(&self.replay, b"", &name, out),
        }
        out.extend_from_slice(&reply::EXECUTE_ALL);
        out.extend_from_slice(&reply::SYNC);
    }
}
