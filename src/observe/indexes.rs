//! What was done to indexes, on command or by itself, and what came of it, as plain data: written by whoever
//! builds, read by the API and the metrics, kept over restarts. Must not know what is done or why.

mod tally;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

pub use tally::Tally;

/// Acts that are remembered; the oldest that have ended go.
const ACTS_MAX: usize = 200;

/// Statements of one act that are kept; an index on a table of a thousand partitions takes two for each.
const EXECUTED_MAX: usize = 2_500;

/// Dismissals that are remembered; there are no more suggestions than that.
const DISMISSED_MAX: usize = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Waiting,
    Building,
    Failed,
    /// Built; there are not enough calls yet.
    Verifying,
    Proved,
    /// The promised gain did not come, or something got slower.
    Disappointing,
    Removed,
}

impl State {
    /// The index is there.
    pub fn stands(self) -> bool {
        matches!(self, State::Verifying | State::Proved | State::Disappointing)
    }

    /// It is asked for, and it is not known yet what comes of it.
    pub fn is_open(self) -> bool {
        matches!(self, State::Waiting | State::Building | State::Verifying)
    }

    pub const ALL: [(State, &str); 7] = [
        (State::Waiting, "waiting"),
        (State::Building, "building"),
        (State::Failed, "failed"),
        (State::Verifying, "verifying"),
        (State::Proved, "proved"),
        (State::Disappointing, "disappointing"),
        (State::Removed, "removed"),
    ];
}

/// Who asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    Command,
    /// The section `indexes.auto` of the rules.
    Auto,
}

/// What a shape has to do with an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It was promised to get faster.
    Helped,
    /// It reads the table.
    Reads,
    /// It writes to the table.
    Writes,
    /// It has nothing to do with the table, and shows how the server is doing.
    Control,
}

/// One shape, before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// 16 hexadecimal digits.
    pub shape: String,
    pub role: Role,
    pub before_ms: f64,
    /// None until there were calls.
    pub after_ms: Option<f64>,
    pub calls_after: u64,
    pub before: Tally,
    pub after: Tally,
    /// What the ledger said when it was last looked at.
    pub seen: Tally,
}

impl Shape {
    pub fn new(shape: String, role: Role, before: Tally, seen: Tally) -> Shape {
        Shape {
            shape,
            role,
            before_ms: before.mean_ms(),
            after_ms: None,
            calls_after: 0,
            before,
            after: Tally::default(),
            seen,
        }
    }

    /// Adds what came since the last look. Where the ledger has begun anew, it goes on from there.
    pub fn look(&mut self, now: Tally) {
        if let Some(more) = now.since(&self.seen) {
            self.after.add(&more);
        }
        self.seen = now;
        self.calls_after = self.after.calls;
        self.after_ms = (self.after.calls > 0).then(|| self.after.mean_ms());
    }
}

/// One index that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Act {
    /// Of the suggestion. One that is asked for again is another act under the same id.
    pub id: String,
    pub database: String,
    /// `schema.name`.
    pub table: String,
    pub schema: String,
    pub name: String,
    /// Such as `(customer_id, created_at)`.
    pub definition: String,
    /// As it was advised.
    pub ddl: String,
    /// What belongs to it, such as ANALYZE.
    pub then: Vec<String>,
    pub by: By,
    pub state: State,
    /// How far it is, what went wrong, or what came of it.
    pub message: String,
    /// Unix time; 0: not yet.
    pub asked_s: u64,
    pub built_s: u64,
    pub ended_s: u64,
    pub promised_percent: f64,
    /// Measured, of the shapes that it was to help; none while it is not known.
    pub gain_percent: Option<f64>,
    pub size_bytes: u64,
    /// It was built by itself, did not keep its promise, and was dropped.
    #[serde(default)]
    pub taken_back: bool,
    /// What was sent to change the schema, in order.
    pub executed: Vec<String>,
    /// The shapes that it was to help.
    pub shapes: Vec<Shape>,
    /// Others of the same table, and some that have nothing to do with it.
    pub others: Vec<Shape>,
}

impl Act {
    /// Tells acts under the same id apart.
    pub fn key(&self) -> String {
        format!("{}@{}", self.id, self.asked_s)
    }

    pub fn executed(&mut self, sql: &str) {
        if self.executed.len() < EXECUTED_MAX {
            self.executed.push(sql.to_owned());
        }
    }
}

/// A suggestion that nobody wants to hear of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dismissal {
    pub id: String,
    pub reason: String,
    /// Unix time.
    pub at_s: u64,
}

/// What is kept of indexes over a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
pub enum Kept {
    Act(Box<Act>),
    Dismissal(Dismissal),
}

impl Kept {
    /// Unlike that of any other.
    pub fn key(&self) -> String {
        match self {
            Kept::Act(act) => act.key(),
            Kept::Dismissal(dismissal) => format!("dismissed {}", dismissal.id),
        }
    }
}

/// All acts and dismissals.
#[derive(Debug, Default)]
pub struct Acts {
    acts: Mutex<Vec<Act>>,
    dismissed: Mutex<Vec<Dismissal>>,
    /// Something is different from what was last saved.
    changed: AtomicBool,
    pub built: AtomicU64,
    /// Taken away by `auto`, because they did not keep their promise.
    pub taken_back: AtomicU64,
    /// Builds and removals that have failed.
    pub failures: AtomicU64,
}

impl Acts {
    /// All of them, the oldest first.
    pub fn list(&self) -> Vec<Act> {
        self.acts().clone()
    }

    /// The latest under this id.
    pub fn latest(&self, id: &str) -> Option<Act> {
        self.acts().iter().rev().find(|act| act.id == id).cloned()
    }

    /// Remembers one more.
    pub fn begin(&self, act: Act) {
        let mut acts = self.acts();
        if acts.len() >= ACTS_MAX {
            // What stands is not forgotten as long as anything else is there.
            let gone = acts.iter().position(|act| !act.state.stands() && !act.state.is_open()).unwrap_or(0);
            acts.remove(gone);
        }
        acts.push(act);
        self.changed.store(true, Relaxed);
    }

    /// Changes the latest under this id.
    pub fn change(&self, id: &str, change: impl FnOnce(&mut Act)) {
        if let Some(act) = self.acts().iter_mut().rev().find(|act| act.id == id) {
            change(act);
            self.changed.store(true, Relaxed);
        }
    }

    /// Looks at each that stands; `true` of `look`: its state is another.
    pub fn look(&self, mut look: impl FnMut(&mut Act) -> bool) {
        for act in self.acts().iter_mut().filter(|act| act.state.stands()) {
            if look(act) {
                self.changed.store(true, Relaxed);
            }
        }
    }

    pub fn dismiss(&self, dismissal: Dismissal) {
        let mut dismissed = self.dismissed();
        dismissed.retain(|known| known.id != dismissal.id);
        if dismissed.len() >= DISMISSED_MAX {
            dismissed.remove(0);
        }
        dismissed.push(dismissal);
        self.changed.store(true, Relaxed);
    }

    /// Takes a dismissal back; `false`: there was none.
    pub fn recall(&self, id: &str) -> bool {
        let mut dismissed = self.dismissed();
        let before = dismissed.len();
        dismissed.retain(|known| known.id != id);
        self.changed.store(true, Relaxed);
        dismissed.len() < before
    }

    pub fn dismissals(&self) -> Vec<Dismissal> {
        self.dismissed().clone()
    }

    /// Whether anything has changed since this was last asked.
    pub fn take_changed(&self) -> bool {
        self.changed.swap(false, Relaxed)
    }

    /// All that is kept over a restart.
    pub fn every(&self) -> Vec<Kept> {
        let acts = self.list().into_iter().map(|act| Kept::Act(Box::new(act)));
        acts.chain(self.dismissals().into_iter().map(Kept::Dismissal)).collect()
    }

    /// Puts in what an earlier process kept, before what this one has done.
    pub fn remember(&self, kept: Vec<Kept>) {
        let (mut acts, mut dismissed) = (self.acts(), self.dismissed());
        let known: Vec<String> = acts.iter().map(Act::key).collect();
        let mut earlier = Vec::new();
        for one in kept {
            match one {
                Kept::Act(act) if !known.contains(&act.key()) => earlier.push(*act),
                Kept::Dismissal(one) if !dismissed.iter().any(|known| known.id == one.id) => {
                    dismissed.push(one);
                }
                _ => {}
            }
        }
        earlier.sort_by_key(|act| act.asked_s);
        earlier.append(&mut acts);
        *acts = earlier;
    }

    fn acts(&self) -> MutexGuard<'_, Vec<Act>> {
        self.acts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dismissed(&self) -> MutexGuard<'_, Vec<Dismissal>> {
        self.dismissed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::ledger::Totals;

    fn tally(us: u64, calls: u64) -> Tally {
        let latency = crate::observe::latency::Latency::default();
        (0..calls).for_each(|_| latency.observe_us(us));
        let mut totals = Totals { calls, server_us: us * calls, ..Totals::default() };
        latency.add_to(&mut totals.latency);
        Tally::of(&totals)
    }

    #[test]
    fn tallies_differ_and_add_up() {
        let (early, mut late) = (tally(1_000, 10), tally(1_000, 10));
        late.add(&tally(4_000, 30));
        let since = late.since(&early).unwrap();
        assert_eq!(since.calls, 30);
        assert!((since.mean_ms() - 4.0).abs() < 1e-9);
        let (mean, variance) = since.logarithms();
        assert!((mean.exp() - 4.0).abs() < 1.0 && variance < 1e-6, "{mean} {variance}");
        assert_eq!(early.since(&late), None, "it has begun anew");
    }

    #[test]
    fn a_ledger_that_begins_anew_is_gone_on_from() {
        let mut shape = Shape::new("01".to_owned(), Role::Helped, tally(1_000, 50), tally(1_000, 50));
        let mut now = tally(1_000, 50);
        now.add(&tally(2_000, 20));
        shape.look(now);
        assert_eq!(shape.calls_after, 20);
        shape.look(tally(1_000, 40));
        assert_eq!(shape.calls_after, 20, "what it had before counts for nothing");
        let mut later = tally(1_000, 40);
        later.add(&tally(2_000, 5));
        shape.look(later);
        assert_eq!(shape.calls_after, 25);
        assert!((shape.after_ms.unwrap() - 2.0).abs() < 1e-9);
    }
}
