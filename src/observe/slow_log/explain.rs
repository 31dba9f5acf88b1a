//! Which statements are worth an EXPLAIN, and the plans that came of it. Whoever can ask PostgreSQL takes the
//! wanted ones and puts the plans here; this file asks nobody.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::settings::ExplainMode;
use crate::observe::ledger::Key;

/// Requests that may wait. Each is one sample of a shape, and the next slow one of it asks again.
const WANTED_MAX: usize = 64;

/// Plans kept. At some KB each this is a few MB; the oldest makes room.
const PLANS_MAX: usize = 500;

/// A longer plan is cut.
const PLAN_MAX: usize = 32 * 1024;

/// Whether this build can ask for plans.
///
/// # Errors
/// What to do instead.
pub fn available(mode: ExplainMode) -> Result<(), &'static str> {
    match mode {
        ExplainMode::Off => Ok(()),
        ExplainMode::Plain | ExplainMode::Analyze => {
            Err("not available in this build; leave it off, and run EXPLAIN by hand")
        }
    }
}

/// A question for PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainWanted {
    pub key: Key,
    /// The statement with `$n` in place of every value. It may have been cut, and then ends with `…`.
    pub statement: Arc<str>,
    /// Execute it. By its first word it only reads, but functions and WITH may write, so it has to run in a
    /// transaction that is READ ONLY. Needs `parameters` if there are holes in the statement.
    pub analyze: bool,
    pub timeout: Duration,
    /// Values of this call, where the settings allow to keep them.
    pub parameters: Option<Box<[Option<Box<str>>]>>,
}

/// A plan and when it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub text: String,
    /// Unix time.
    pub at_s: u64,
    /// Values of a call may stand in it.
    pub has_values: bool,
}

#[derive(Debug, Default)]
pub struct Explains(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    wanted: VecDeque<ExplainWanted>,
    /// When a shape was last asked for.
    asked: HashMap<Key, Instant>,
    plans: HashMap<Key, Plan>,
}

impl Explains {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a plan, unless there was one asked for in the time `every`, or too many wait.
    pub fn want(&self, key: &Key, every: Duration, now: Instant, wanted: impl FnOnce() -> ExplainWanted) {
        let mut inner = self.inner();
        let recent = |at: &Instant| now.saturating_duration_since(*at) < every;
        if inner.wanted.len() >= WANTED_MAX || inner.asked.get(key).is_some_and(recent) {
            return;
        }
        if inner.asked.len() >= PLANS_MAX {
            inner.asked.retain(|_, at| recent(at));
            if inner.asked.len() >= PLANS_MAX {
                return;
            }
        }
        inner.asked.insert(key.clone(), now);
        inner.wanted.push_back(wanted());
    }

    /// The next question, if there is one.
    pub fn next(&self) -> Option<ExplainWanted> {
        self.inner().wanted.pop_front()
    }

    /// Answers every question that waits, with `ask`, which talks to PostgreSQL and may take its time. `now_s` is
    /// Unix time.
    pub fn serve(&self, now_s: u64, mut ask: impl FnMut(&ExplainWanted) -> Result<String, String>) {
        while let Some(wanted) = self.next() {
            match ask(&wanted) {
                Ok(text) => {
                    let has_values = wanted.parameters.is_some();
                    self.keep(wanted.key, Plan { text, at_s: now_s, has_values });
                }
                Err(error) => {
                    let shape = format!("{:016x}", wanted.key.fingerprint);
                    tracing::warn!(shape, "no plan of a slow statement: {error}");
                }
            }
        }
    }

    /// Keeps the plan of a shape.
    pub fn keep(&self, key: Key, mut plan: Plan) {
        let mut inner = self.inner();
        if inner.plans.len() >= PLANS_MAX && !inner.plans.contains_key(&key) {
            let oldest = inner.plans.iter().min_by_key(|(_, plan)| plan.at_s).map(|(key, _)| key.clone());
            oldest.map(|oldest| inner.plans.remove(&oldest));
        }
        let text = &mut plan.text;
        let end = (0..=PLAN_MAX.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(end.unwrap_or(0));
        inner.plans.insert(key, plan);
    }

    pub fn plan(&self, key: &Key) -> Option<Plan> {
        self.inner().plans.get(key).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(fingerprint: u64) -> Key {
        Key { database: "app".into(), user: "me".into(), fingerprint }
    }

    fn want(explains: &Explains, fingerprint: u64, now: Instant) {
        let key = key(fingerprint);
        explains.want(&key, Duration::from_secs(3600), now, || ExplainWanted {
            key: key.clone(),
            statement: "select $1".into(),
            analyze: false,
            timeout: Duration::from_secs(2),
            parameters: None,
        });
    }

    #[test]
    fn a_shape_is_asked_for_once_in_its_time() {
        let (explains, now) = (Explains::default(), Instant::now());
        want(&explains, 1, now);
        want(&explains, 1, now + Duration::from_secs(60));
        want(&explains, 2, now);
        assert_eq!(explains.next().map(|wanted| wanted.key.fingerprint), Some(1));
        assert_eq!(explains.next().map(|wanted| wanted.key.fingerprint), Some(2));
        assert_eq!(explains.next(), None);
        want(&explains, 1, now + Duration::from_secs(3600));
        assert!(explains.next().is_some());
    }

    #[test]
    fn answers_are_kept_with_their_shape() {
        let (explains, now) = (Explains::default(), Instant::now());
        want(&explains, 1, now);
        want(&explains, 2, now);
        explains.serve(77, |wanted| match wanted.key.fingerprint {
            1 => Ok("Seq Scan".to_owned()),
            _ => Err("permission denied".to_owned()),
        });
        let plan = Plan { text: "Seq Scan".to_owned(), at_s: 77, has_values: false };
        assert_eq!(explains.plan(&key(1)), Some(plan));
        assert_eq!((explains.plan(&key(2)), explains.next()), (None, None));
    }

    #[test]
    fn questions_and_plans_are_bounded() {
        let (explains, now) = (Explains::default(), Instant::now());
        (0..1000).for_each(|at| want(&explains, at, now));
        assert_eq!(std::iter::from_fn(|| explains.next()).count(), WANTED_MAX);
        for at in 0..=PLANS_MAX as u64 {
            let plan = Plan { text: "ö".repeat(PLAN_MAX), at_s: at, has_values: false };
            explains.keep(key(at), plan);
        }
        assert_eq!(explains.plan(&key(0)), None);
        assert_eq!(explains.plan(&key(1)).map(|plan| plan.text.len()), Some(PLAN_MAX));
    }
}
