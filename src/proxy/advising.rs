//! The thread that makes index advice for the databases in use: now and then by itself, and when somebody asks.
//! Nothing on the data path waits for it; its connections are its own, one at a time. Changes nothing in any
//! database.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::hub::{Hub, Live};
use super::whom;
use crate::admin::{Advices, Advised};
use crate::advise::{AdviseSettings, Suggestion};
use crate::maintain::index::{self, Outcome, auto, gather};
use crate::observe::ledger::Row;
use crate::observe::process::now_s;
use crate::probe::{Probe, ProbeError};

/// It may use a tenth of a core by itself: for each unit of work it rests nine.
const REST: u32 = 9;

/// Who asks again so soon gets the same answer: making advice weighs on the database.
const SAME: Duration = Duration::from_secs(2);

/// A request has to be answered within 30 s; whoever waits longer asks again.
const WAIT: Duration = Duration::from_secs(25);

/// Those who wait for one run.
const WAITING_MAX: usize = 100;

/// Users of one database whose statements are looked at; each takes connections of its own, one after the other.
const USERS_MAX: usize = 8;

type Waiting = oneshot::Sender<Vec<Advised>>;

/// Where advice is asked for, and where it lies.
#[derive(Default)]
pub struct Desk {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    last: Vec<Advised>,
    made: Option<Instant>,
    /// The budget that the last run had, if somebody gave one.
    budget: Option<u64>,
    waiting: Vec<Waiting>,
    making: bool,
    wanted: Option<Option<u64>>,
    ended: bool,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was made last, or, if it is to be fresh or there is none, what will be. Where that takes longer than a
    /// request may, what there is, and that more is being made.
    ///
    /// # Errors
    /// A sentence: too many wait, or the thread has ended.
    pub async fn advice(&self, fresh: bool, budget: Option<u64>) -> Result<Advices, String> {
        let answer = {
            let mut state = self.state();
            let young = state.made.is_some_and(|made| made.elapsed() < SAME) && state.budget == budget;
            if state.made.is_some() && (!fresh || young) {
                return Ok(Advices {
                    databases: state.last.clone(),
                    making: state.making,
                    ..Advices::default()
                });
            }
            if state.ended {
                return Err("pgweir is ending".to_owned());
            }
            if state.waiting.len() >= WAITING_MAX {
                return Err("too many wait for advice".to_owned());
            }
            let (sender, answer) = oneshot::channel();
            state.waiting.push(sender);
            if !state.making || fresh {
                (state.wanted, state.making) = (Some(budget), true);
            }
            self.work.notify_all();
            answer
        };
        match tokio::time::timeout(WAIT, answer).await {
            Ok(Ok(databases)) => Ok(Advices { databases, ..Advices::default() }),
            Ok(Err(_)) => Err("pgweir is ending".to_owned()),
            Err(_) => {
                let databases = self.state().last.clone();
                Ok(Advices { databases, making: true, ..Advices::default() })
            }
        }
    }

    /// What was made last.
    pub fn last(&self) -> Vec<Advised> {
        self.state().last.clone()
    }

    /// Something was done, so that other advice may be right. Nobody waits for it.
    pub fn want(&self) {
        let mut state = self.state();
        if !state.ended && state.made.is_some() && !state.making {
            (state.wanted, state.making) = (Some(None), true);
            self.work.notify_all();
        }
    }

    /// What was suggested under this id.
    pub fn suggestion(&self, id: &str) -> Option<Suggestion> {
        let state = self.state();
        let outcomes = state.last.iter().filter_map(|advised| advised.outcome.as_ref().ok());
        outcomes.flat_map(|outcome| &outcome.advice.suggestions).find(|one| one.id == id).cloned()
    }

    /// Ends the thread after what it does now.
    pub fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        state.waiting.clear();
        self.work.notify_all();
    }
}

/// Starts the thread.
///
/// # Errors
/// The system gives no thread.
pub fn start(hub: Arc<Hub>) -> Result<JoinHandle<()>, String> {
    let thread = std::thread::Builder::new().name("adviser".to_owned());
    let spawned = thread.spawn(move || match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => Adviser { hub, runtime }.run(),
        Err(error) => tracing::error!("the adviser could not start: {error}"),
    });
    spawned.map_err(|error| format!("cannot start the thread of the adviser: {error}"))
}

struct Adviser {
    hub: Arc<Hub>,
    runtime: Runtime,
}

impl Adviser {
    fn run(self) {
        let mut rest = Duration::ZERO;
        while let Some(budget) = self.next(rest) {
            let begun = Instant::now();
            let advised = self.advise(budget);
            rest = begun.elapsed() * REST;
            let mut state = self.hub.advising.state();
            state.last = advised;
            (state.made, state.budget) = (Some(Instant::now()), budget);
            state.making = state.wanted.is_some();
            let last = state.last.clone();
            // Whoever asked may have stopped waiting.
            state.waiting.drain(..).for_each(|waiting| drop(waiting.send(last.clone())));
        }
    }

    /// Waits for somebody who asks, or until it is time; none: the end.
    fn next(&self, rest: Duration) -> Option<Option<u64>> {
        let desk = &self.hub.advising;
        let mut state = desk.state();
        let begun = Instant::now();
        loop {
            if state.ended {
                return None;
            }
            if let Some(budget) = state.wanted.take() {
                return Some(budget);
            }
            let rules = &self.hub.live().settings.rules;
            let every = Duration::from_secs(rules.indexes.every_s).max(rest);
            let due = begun.elapsed() >= every;
            if due && rules.indexes.enabled && rules.probe.enabled && !self.hub.draining.load(Relaxed) {
                state.making = true;
                return Some(None);
            }
            let left = every
                .saturating_sub(begun.elapsed())
                .clamp(Duration::from_millis(100), Duration::from_secs(10));
            state = desk.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn advise(&self, budget: Option<u64>) -> Vec<Advised> {
        let live = self.hub.live();
        let mut settings = live.settings.rules.indexes.clone();
        settings.budget_bytes = budget.unwrap_or(settings.budget_bytes);
        let acts = &self.hub.registry.indexes;
        settings.dismissed.extend(acts.dismissals().into_iter().map(|dismissal| dismissal.id));
        settings.dismissed.extend(auto::taken_back(&acts.list()).map(str::to_owned));
        let mut by_database: BTreeMap<String, BTreeMap<String, Vec<Row>>> = BTreeMap::new();
        for row in self.hub.registry.ledger.rows() {
            let users = by_database.entry(row.key.database.to_string()).or_default();
            users.entry(row.key.user.to_string()).or_default().push(row);
        }
        let mut all = Vec::new();
        for (database, users) in by_database {
            if live.database(&database).is_none() || self.hub.advising.state().ended {
                continue;
            }
            let outcome = self.database(&live, &database, users, &settings);
            if let Err(error) = &outcome {
                tracing::info!(database, "no index advice: {error}");
            }
            let outcome = outcome.map(Arc::new).map_err(|error| error.to_string());
            all.push(Advised { database, outcome, at_s: now_s() });
        }
        all
    }

    /// Plans statements as the user who sent them, because planning may run functions with the rights of whoever
    /// asks. Each user's advice has what the budget has left.
    fn database(
        &self,
        live: &Live,
        database: &str,
        users: BTreeMap<String, Vec<Row>>,
        settings: &AdviseSettings,
    ) -> Result<Outcome, ProbeError> {
        let load = |rows: &Vec<Row>| rows.iter().map(|row| row.totals.server_us).sum::<u64>();
        let mut users: Vec<(String, Vec<Row>)> = users.into_iter().collect();
        users.sort_by_key(|(_, rows)| std::cmp::Reverse(load(rows)));
        let mut settings = settings.clone();
        let (mut whole, mut trouble): (Option<Outcome>, Option<ProbeError>) = (None, None);
        for (user, rows) in users.into_iter().take(USERS_MAX) {
            match self.user(live, database, &user, &rows, &settings) {
                Ok(outcome) => {
                    settings.budget_bytes = settings.budget_bytes.saturating_sub(outcome.advice.size_bytes);
                    whole = Some(match whole.take() {
                        None => outcome,
                        Some(mut first) => {
                            first.add(outcome);
                            first
                        }
                    });
                }
                Err(error) => trouble = Some(error),
            }
        }
        let mut outcome = match (whole, trouble) {
            (Some(outcome), _) => outcome,
            (None, Some(error)) => return Err(error),
            (None, None) => Outcome::default(),
        };
        outcome.belongs_to(database);
        Ok(outcome)
    }

    fn user(
        &self,
        live: &Live,
        database: &str,
        user: &str,
        rows: &[Row],
        settings: &AdviseSettings,
    ) -> Result<Outcome, ProbeError> {
        let target = live.target(database, whom::login(&self.hub, live, database, Some(user))?)?;
        // Pools belong to this thread's runtime.
        let _guard = self.runtime.enter();
        let probe = Probe::new(target, &live.settings.rules.probe)?;
        let statements = gather::statements(gather::merge(gather::from_ledger(rows)));
        index::run(&self.runtime, &probe, &statements, settings)
    }
}
