//! What is done beside the data path, now and then, by a thread of its own: ledger, findings and the history of
//! indexes are loaded and saved, thresholds that follow a shape's own times are looked at again. Knows no session.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;

use super::hub::Hub;
use super::probing::Awaited;
use crate::config::Rules;
use crate::observe::StatePlace;
use crate::observe::counters::Registry;
use crate::observe::process;
use crate::observe::slow_log::threshold::Judge;
use crate::observe::state::{self, Saved};
use crate::probe::ProbeError;
use crate::probe::state::Place;

/// How often thresholds that follow a shape's own times are looked at again.
const JUDGE: Duration = Duration::from_secs(10);

/// How often it looks whether something was done to an index.
const GLANCE: Duration = Duration::from_secs(1);

/// How long the end waits for the last lines of the slow-query log.
const LAST_LINES: Duration = Duration::from_secs(2);

/// A place that could not be read is tried again after this.
const RETRY: Duration = Duration::from_secs(5);

/// How long PostgreSQL is waited for, and how long at the end of the process, which waits behind it.
const ASK_MAX: Duration = Duration::from_secs(10);
const LAST_SAVE: Duration = Duration::from_secs(4);

/// A word to the thread.
pub enum Word {
    /// The settings changed.
    Look,
    /// Save for the last time.
    End,
}

/// The thread and the way to it.
pub struct Keeper {
    words: Sender<Word>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Loads what an earlier process saved and starts the thread.
    ///
    /// # Errors
    /// A sentence: the system has no thread to give.
    pub fn start(hub: Arc<Hub>) -> Result<Keeper, String> {
        let rules = hub.live().settings.rules.clone();
        hub.registry.slow_log.start()?;
        let mut keeping = Keeping { hub, seen: HashSet::new(), trouble: None, patience: ASK_MAX };
        let place = &rules.observe.state.place;
        // The probe, which asks PostgreSQL, starts later; its places are loaded by the thread.
        if !matches!(place, StatePlace::Postgres { .. }) {
            keeping.load(place);
        }
        let (words, heard) = channel();
        let thread = std::thread::Builder::new().name("pgweir-keep".to_owned());
        let thread = thread.spawn(move || keeping.run(&heard));
        let thread = thread.map_err(|error| format!("cannot start the ledger's thread: {error}"))?;
        Ok(Keeper { words, thread })
    }

    /// A way to tell the thread that the settings changed.
    pub fn words(&self) -> Sender<Word> {
        self.words.clone()
    }

    /// Saves for the last time. Blocks.
    pub fn finish(self) {
        // It fails only if the thread has ended, which the join tells.
        let _ = self.words.send(Word::End);
        if self.thread.join().is_err() {
            tracing::error!("the ledger's thread had panicked; what it had last saved is in its place");
        }
    }
}

/// Puts rules in force that concern all workers together.
pub fn apply(registry: &Registry, rules: &Rules) {
    registry.ledger.set_max(rules.observe.shapes);
    registry.ledger.set_judge(Judge::new(Arc::new(rules.slow_log.clone())));
    registry.findings.set_silence(rules.nplus1.silence.clone());
    registry.slow_log.set(rules.slow_log.clone());
    if !rules.slow_log.parameters {
        registry.slow_log.explains.forget_values();
    }
    registry.ledger.allow_samples(rules.observe.parameters);
}

struct Keeping {
    hub: Arc<Hub>,
    /// Places that were loaded, or that hold nothing but what this process saved. What this process has in its
    /// ledger already must not be added to it.
    seen: HashSet<String>,
    /// What was last said to be wrong, so that it is said once.
    trouble: Option<String>,
    /// How long PostgreSQL is waited for.
    patience: Duration,
}

impl Keeping {
    fn run(mut self, words: &Receiver<Word>) {
        let (mut saved, mut judged, mut tried) = (Instant::now(), Instant::now(), None);
        loop {
            let state = self.hub.live().settings.rules.observe.state.clone();
            let due = |last: Instant, every: Duration| every.saturating_sub(last.elapsed());
            let mut wait = due(saved, state.every).min(due(judged, JUDGE)).min(GLANCE);
            if !self.is_seen(&state.place) {
                if tried.is_none_or(|at| due(at, RETRY).is_zero()) {
                    self.load(&state.place);
                    tried = Some(Instant::now());
                }
                wait = wait.min(RETRY);
            }
            match words.recv_timeout(wait) {
                Ok(Word::Look) => {
                    tried = None;
                    continue;
                }
                Ok(Word::End) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if due(judged, JUDGE).is_zero() {
                judged = Instant::now();
                self.hub.registry.ledger.judge_anew();
            }
            // What was done to an index is not to be forgotten by a crash a moment later.
            if due(saved, state.every).is_zero() || self.hub.registry.indexes.take_changed() {
                saved = Instant::now();
                self.save(&state.place);
            }
        }
        let place = self.hub.live().settings.rules.observe.state.place.clone();
        self.patience = LAST_SAVE;
        self.save(&place);
        self.hub.registry.slow_log.finish(LAST_LINES);
    }

    /// Nothing is left to be loaded from there.
    fn is_seen(&self, place: &StatePlace) -> bool {
        name(place).is_none_or(|name| self.seen.contains(&name))
    }

    /// Adds what an earlier process saved. A place that cannot be read is not written to either.
    fn load(&mut self, place: &StatePlace) {
        let Some(name) = name(place).filter(|name| !self.seen.contains(name)) else {
            return;
        };
        match self.read(place) {
            Ok(shapes) => {
                tracing::info!(place = name, shapes, "the ledger continues where it was saved");
                self.seen.insert(name);
                self.trouble = None;
            }
            Err(trouble) => self.tell(trouble, |why| {
                format!(
                    "the ledger cannot be read from {name}: {why}; nothing is saved there until that is put \
                     right{}",
                    if matches!(place, StatePlace::File(_)) { " or the file moved away" } else { "" }
                )
            }),
        }
    }

    fn save(&mut self, place: &StatePlace) {
        let Some(name) = name(place).filter(|name| self.seen.contains(name)) else {
            return;
        };
        match self.write(place) {
            Ok(()) => {
                self.hub.registry.state.saves.fetch_add(1, Relaxed);
                if self.trouble.take().is_some() {
                    tracing::info!(place = name, "the ledger is saved again");
                }
            }
            Err(trouble) => self.tell(trouble, |why| {
                format!(
                    "the ledger cannot be saved to {name}: {why}; it would be lost at a restart \
                     (observe.state in the rules)"
                )
            }),
        }
    }

    fn tell(&mut self, trouble: Trouble, sentence: impl FnOnce(&str) -> String) {
        self.hub.registry.state.errors.fetch_add(1, Relaxed);
        if self.trouble.as_ref() != Some(&trouble.kind) {
            tracing::error!("{}", sentence(&trouble.text));
            self.trouble = Some(trouble.kind);
        }
    }

    /// How many shapes there were.
    fn read(&self, place: &StatePlace) -> Result<usize, Trouble> {
        let registry = &self.hub.registry;
        match place {
            StatePlace::Off => Ok(0),
            StatePlace::File(path) => state::load(registry.books(), path).map_err(Trouble::new),
            StatePlace::Postgres { database, schema, instance } => {
                let place = there(schema, instance.as_deref());
                let saved = self.answer(self.hub.probing.load(database, None, place))?;
                Ok(saved.remember(registry.books()))
            }
        }
    }

    fn write(&self, place: &StatePlace) -> Result<(), Trouble> {
        let registry = &self.hub.registry;
        match place {
            StatePlace::Off => Ok(()),
            StatePlace::File(path) => {
                let saved = state::save(registry.books(), path);
                saved.map(drop).map_err(Trouble::new)
            }
            StatePlace::Postgres { database, schema, instance } => {
                let saved = Saved::of(registry.books());
                let place = there(schema, instance.as_deref());
                self.answer(self.hub.probing.save(database, None, place, saved)).map(drop)
            }
        }
    }

    /// What the probe says, if it does so in time.
    fn answer<T>(&self, awaited: Awaited<T>) -> Result<T, Trouble> {
        let runtime = Builder::new_current_thread().enable_time().build().map_err(Trouble::new)?;
        let answer = runtime.block_on(async { tokio::time::timeout(self.patience, awaited).await });
        let answer = answer.unwrap_or(Ok(Err(ProbeError::TimedOut(self.patience))));
        // No answer at all: the desk is full, or the probe has ended.
        let answer = answer.unwrap_or(Err(ProbeError::Busy));
        answer.map_err(|error| Trouble { kind: error.kind().to_owned(), text: error.to_string() })
    }
}

/// Why a place can be neither read nor written.
struct Trouble {
    /// What is equal for equal troubles: texts of PostgreSQL name addresses and times.
    kind: String,
    text: String,
}

impl Trouble {
    fn new(error: std::io::Error) -> Trouble {
        Trouble { kind: error.to_string(), text: error.to_string() }
    }
}

/// Where in a database this pgweir keeps its own.
fn there(schema: &str, instance: Option<&str>) -> Place {
    let instance = instance.map(str::to_owned).or_else(process::host_name);
    Place { schema: schema.to_owned(), instance: instance.unwrap_or_else(|| "pgweir".to_owned()) }
}

/// What people call a place; `None`: there is none.
fn name(place: &StatePlace) -> Option<String> {
    match place {
        StatePlace::Off => None,
        StatePlace::File(path) => Some(path.display().to_string()),
        StatePlace::Postgres { database, schema, instance } => {
            let whose = instance.as_ref().map_or_else(String::new, |name| format!(", instance {name}"));
            Some(format!("schema {schema} of database {database}{whose}"))
        }
    }
}
