//! Which statements are worth an EXPLAIN, and the plans that came of it. Whoever can ask PostgreSQL takes the
//! wanted ones and puts the plans here; this file asks nobody.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::observe::ledger::Key;

/// Requests that may wait. Each is one sample of a shape, and the next slow one of it asks again.
const WANTED_MAX: usize = 64;

/// Shapes whose answers are kept. At some KB each this is a few MB; the oldest makes room.
const PLANS_MAX: usize = 500;

/// A longer plan is cut. The probe gives none that is longer.
const PLAN_MAX: usize = 64 * 1024;

/// A question for PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainWanted {
    pub key: Key,
    /// The statement with `$n` in place of every value. It may have been cut, and then ends with `…`.
    pub statement: Arc<str>,
    /// Execute it, if whoever asks knows that it only reads.
    pub analyze: bool,
    pub timeout: Duration,
    /// As the setting is written; `None`: the server's default.
    pub search_path: Option<Box<str>>,
    /// Where the settings allow to show values.
    pub call: Option<Call>,
}

/// One call with its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// As the client sent it.
    pub text: Box<str>,
    /// `None` is NULL. What came in binary form is `\x` and digits; what was cut ends with `…`.
    pub parameters: Box<[Option<Box<str>>]>,
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

/// What asking came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    pub plan: Option<Plan>,
    /// Why there is no plan, or none that was measured; holds no value.
    pub note: Option<String>,
}

#[derive(Debug, Default)]
pub struct Explains {
    inner: Mutex<Inner>,
    /// Plans that came, and questions without one.
    pub made: AtomicU64,
    pub failed: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    wanted: VecDeque<ExplainWanted>,
    /// When a shape was last asked for.
    asked: HashMap<Key, Instant>,
    answers: HashMap<Key, (u64, Answer)>,
}

impl Explains {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Keeps what came of a question at `now_s`, Unix time. Without a new plan the one before stays.
    pub fn keep(&self, key: Key, now_s: u64, mut answer: Answer) {
        match &mut answer.plan {
            Some(plan) => {
                let text = &mut plan.text;
                let end = (0..=PLAN_MAX.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
                text.truncate(end.unwrap_or(0));
                self.made.fetch_add(1, Relaxed);
            }
            None => {
                self.failed.fetch_add(1, Relaxed);
            }
        }
        let mut inner = self.inner();
        let answers = &mut inner.answers;
        if answers.len() >= PLANS_MAX && !answers.contains_key(&key) {
            let oldest = answers.iter().min_by_key(|(_, (at_s, _))| *at_s).map(|(key, _)| key.clone());
            oldest.map(|oldest| answers.remove(&oldest));
        }
        if answer.plan.is_none() {
            answer.plan = answers.remove(&key).and_then(|(_, before)| before.plan);
        }
        answers.insert(key, (now_s, answer));
    }

    /// Values may not be shown any more: forgets those that wait, and the plans in which some may stand.
    pub fn forget_values(&self) {
        let mut inner = self.inner();
        inner.wanted.iter_mut().for_each(|wanted| wanted.call = None);
        for (_, answer) in inner.answers.values_mut() {
            answer.plan.take_if(|plan| plan.has_values);
        }
    }

    pub fn answer(&self, key: &Key) -> Option<Answer> {
        self.inner().answers.get(key).map(|(_, answer)| answer.clone())
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
            search_path: None,
            call: None,
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
        let explains = Explains::default();
        let plan = Plan { text: "Seq Scan".to_owned(), at_s: 77, has_values: false };
        let note = Some("permission denied".to_owned());
        explains.keep(key(1), 77, Answer { plan: Some(plan.clone()), note: None });
        explains.keep(key(2), 77, Answer { plan: None, note: note.clone() });
        assert_eq!(explains.answer(&key(2)), Some(Answer { plan: None, note: note.clone() }));
        // The plan stays when the next question has none.
        explains.keep(key(1), 78, Answer { plan: None, note: note.clone() });
        assert_eq!(explains.answer(&key(1)), Some(Answer { plan: Some(plan), note }));
        assert_eq!((explains.made.load(Relaxed), explains.failed.load(Relaxed)), (1, 2));
        assert_eq!(explains.answer(&key(3)), None);
        let plan = Plan { text: "Seq Scan".to_owned(), at_s: 79, has_values: true };
        explains.keep(key(2), 79, Answer { plan: Some(plan), note: None });
        explains.forget_values();
        assert_eq!(explains.answer(&key(2)), Some(Answer::default()));
        assert!(explains.answer(&key(1)).is_some_and(|answer| answer.plan.is_some()));
    }

    #[test]
    fn questions_and_plans_are_bounded() {
        let (explains, now) = (Explains::default(), Instant::now());
        (0..1000).for_each(|at| want(&explains, at, now));
        assert_eq!(std::iter::from_fn(|| explains.next()).count(), WANTED_MAX);
        for at in 0..=PLANS_MAX as u64 {
            let plan = Plan { text: "ö".repeat(PLAN_MAX), at_s: at, has_values: false };
            explains.keep(key(at), at, Answer { plan: Some(plan), note: None });
        }
        assert_eq!(explains.answer(&key(0)), None);
        let kept = explains.answer(&key(1)).and_then(|answer| answer.plan);
        assert_eq!(kept.map(|plan| plan.text.len()), Some(PLAN_MAX));
    }
}
