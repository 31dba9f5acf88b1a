//! What is done beside the data path, now and then, by a thread of its own: ledger and findings are loaded and
//! saved, thresholds that follow a shape's own times are looked at again. Knows no session.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::hub::Hub;
use crate::config::Rules;
use crate::observe::counters::Registry;
use crate::observe::slow_log::threshold::Judge;
use crate::observe::{StatePlace, state};

/// How often thresholds that follow a shape's own times are looked at again.
const JUDGE: Duration = Duration::from_secs(10);

/// How long the end waits for the last lines of the slow-query log.
const LAST_LINES: Duration = Duration::from_secs(2);

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
        let mut keeping = Keeping { hub, seen: HashSet::new(), trouble: None };
        keeping.load(&rules.observe.state.place);
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
    registry.ledger.allow_samples(rules.observe.parameters);
}

struct Keeping {
    hub: Arc<Hub>,
    /// Places that were loaded, or that hold nothing but what this process saved. What this process has in its
    /// ledger already must not be added to it.
    seen: HashSet<Place>,
    /// What was last said to be wrong, so that it is said once.
    trouble: Option<String>,
}

type Place = String;

impl Keeping {
    fn run(mut self, words: &Receiver<Word>) {
        let (mut saved, mut judged) = (Instant::now(), Instant::now());
        loop {
            let state = self.hub.live().settings.rules.observe.state.clone();
            let due = |last: Instant, every: Duration| every.saturating_sub(last.elapsed());
            let wait = due(saved, state.every).min(due(judged, JUDGE));
            match words.recv_timeout(wait) {
                Ok(Word::Look) => {
                    let place = self.hub.live().settings.rules.observe.state.place.clone();
                    self.load(&place);
                    continue;
                }
                Ok(Word::End) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if due(judged, JUDGE).is_zero() {
                judged = Instant::now();
                self.hub.registry.ledger.judge_anew();
            }
            if due(saved, state.every).is_zero() {
                saved = Instant::now();
                self.save(&state.place);
            }
        }
        let place = self.hub.live().settings.rules.observe.state.place.clone();
        self.save(&place);
        self.hub.registry.slow_log.finish(LAST_LINES);
    }

    /// Adds what an earlier process saved. A place that cannot be read is not written to either.
    fn load(&mut self, place: &StatePlace) {
        let Some(name) = name(place).filter(|name| !self.seen.contains(name)) else {
            return;
        };
        match load(&self.hub.registry, place) {
            Ok(shapes) => {
                tracing::info!(place = name, shapes, "the ledger continues where it was saved");
                self.seen.insert(name);
                self.trouble = None;
            }
            Err(error) => self.tell(format!(
                "the ledger cannot be read from {name}: {error}; nothing is saved there until that is put \
                 right or the file moved away"
            )),
        }
    }

    fn save(&mut self, place: &StatePlace) {
        // What could not be read may be readable now.
        self.load(place);
        let Some(name) = name(place).filter(|name| self.seen.contains(name)) else {
            return;
        };
        match save(&self.hub.registry, place) {
            Ok(_) if self.trouble.take().is_some() => {
                tracing::info!(place = name, "the ledger is saved again");
            }
            Ok(_) => {}
            Err(error) => self.tell(format!(
                "the ledger cannot be saved to {name}: {error}; it would be lost at a restart \
                 (observe.state in the rules)"
            )),
        }
    }

    fn tell(&mut self, trouble: String) {
        if self.trouble.as_ref() != Some(&trouble) {
            tracing::error!("{trouble}");
            self.trouble = Some(trouble);
        }
    }
}

/// What people call a place; `None`: there is none.
fn name(place: &StatePlace) -> Option<String> {
    match place {
        StatePlace::Off => None,
        StatePlace::File(path) => Some(path.display().to_string()),
        StatePlace::Postgres { database, schema } => Some(format!("schema {schema} of database {database}")),
    }
}

/// Loads ledger and findings from where they are kept. Returns how many shapes there were. Each kind of place
/// has its line here and in `save`, and says in `state::available` that it is there.
fn load(registry: &Registry, place: &StatePlace) -> io::Result<usize> {
    match place {
        StatePlace::Off => Ok(0),
        StatePlace::File(path) => state::load(&registry.ledger, &registry.findings, path),
        StatePlace::Postgres { .. } => state::available(place).map(|()| 0).map_err(io::Error::other),
    }
}

fn save(registry: &Registry, place: &StatePlace) -> io::Result<usize> {
    match place {
        StatePlace::Off => Ok(0),
        StatePlace::File(path) => state::save(&registry.ledger, &registry.findings, path),
        StatePlace::Postgres { .. } => state::available(place).map(|()| 0).map_err(io::Error::other),
    }
}
