//! Builds indexes, on command or for `tending`, one at a time, each on a thread of its own, and remembers what came
//! of them. Nothing on the data path waits for it. A build that is under way when pgweir ends is PostgreSQL's to
//! finish or to give up; the next process goes on from there.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::runtime::Builder;

use super::hub::{Hub, Live};
use super::{measuring, whom};
use crate::admin::IndexAct;
use crate::advise::Suggestion;
use crate::maintain::actor::{Actor, Audit};
use crate::maintain::index::apply::{self, Build, Site, Teller};
use crate::maintain::index::history;
use crate::observe::indexes::{Act, By, Dismissal, State};
use crate::observe::process::now_s;
use crate::probe::{Probe, Target};

/// What is being built, and what whoever does it by itself waits for.
#[derive(Default)]
pub struct Yard {
    /// The act that is under way. Held while its state changes, so that both are seen together.
    current: Mutex<Option<String>>,
    audit: OnceLock<Arc<dyn Audit>>,
    /// What each database waits for, for people.
    status: Mutex<BTreeMap<String, String>>,
    pub(super) marks: measuring::Marks,
    ended: Mutex<bool>,
    ending: Condvar,
}

impl Yard {
    /// From now on there is an audit log, without which nothing is built.
    pub(super) fn open(&self, audit: Arc<dyn Audit>) {
        // It is opened once, at the start.
        let _ = self.audit.set(audit);
    }

    pub(super) fn audit(&self) -> Result<Arc<dyn Audit>, String> {
        self.audit.get().cloned().ok_or_else(|| "pgweir is still starting".to_owned())
    }

    fn current(&self) -> MutexGuard<'_, Option<String>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.current().is_some()
    }

    /// Says what a database waits for; `true`: it is something else than before.
    pub(super) fn say(&self, database: &str, status: &str) -> bool {
        let mut all = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(database.to_owned(), status.to_owned()).as_deref() != Some(status)
    }

    pub(super) fn status(&self) -> BTreeMap<String, String> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits so long, or until the process ends, which is `true`.
    pub(super) fn rests(&self, time: std::time::Duration) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = self.ending.wait_timeout_while(ended, time, |ended| !*ended);
        *rest.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Nothing begins any more.
    pub(super) fn end(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ending.notify_all();
    }
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// `force`: whatever the server has to do. `again`: an earlier process began it.
    Build {
        force: bool,
        again: bool,
    },
    Remove,
}

const BUSY: &str = "another index is being built or taken away; one at a time";

/// What was done, the latest first, with what the shapes came to since.
pub(super) fn history(hub: &Hub) -> Vec<Act> {
    measuring::look(hub);
    hub.registry.indexes.list().into_iter().rev().collect()
}

/// Obeys a command about a suggestion, or about an index that was built.
///
/// # Errors
/// A sentence: it is not known, or something else is being built.
pub(super) fn order(
    hub: &Arc<Hub>,
    id: &str,
    suggestion: Option<Suggestion>,
    what: IndexAct,
) -> Result<(), String> {
    let acts = &hub.registry.indexes;
    let standing = acts.latest(id).filter(|act| act.state.stands());
    match (what, suggestion) {
        (IndexAct::Apply { .. }, _) if standing.is_some() => {
            Err(format!("the index was built already under {id}, see pgweir indexes history"))
        }
        (IndexAct::Apply { force }, Some(suggestion)) => build(hub, &suggestion, By::Command, force),
        (IndexAct::Apply { .. }, None) => {
            Err(format!("no suggestion {id} is known; advice may have changed"))
        }
        (IndexAct::Drop, _) => match standing {
            Some(_) => start(hub, id, Task::Remove, || {}),
            None => Err(format!("no index was built here under {id}")),
        },
        (IndexAct::Dismiss { .. }, None) => Err(format!("no suggestion {id} is known")),
        (IndexAct::Dismiss { reason }, Some(_)) => {
            tracing::info!(id, "a suggestion is dismissed: {reason}");
            acts.dismiss(Dismissal { id: id.to_owned(), reason, at_s: now_s() });
            hub.advising.want();
            Ok(())
        }
        (IndexAct::Recall, _) if acts.recall(id) => {
            hub.advising.want();
            Ok(())
        }
        (IndexAct::Recall, _) => Err(format!("{id} was not dismissed by a command")),
    }
}

/// Begins to build a suggestion.
pub(super) fn build(hub: &Arc<Hub>, suggestion: &Suggestion, by: By, force: bool) -> Result<(), String> {
    start(hub, &suggestion.id, Task::Build { force, again: false }, || {
        hub.registry.indexes.begin(measuring::act(hub, suggestion, by));
    })
}

/// Begins a task, if nothing else is under way. `note`: before anybody sees that it has begun.
pub(super) fn start(hub: &Arc<Hub>, id: &str, task: Task, note: impl FnOnce()) -> Result<(), String> {
    let audit = hub.yard.audit()?;
    let mut current = hub.yard.current();
    if current.is_some() {
        return Err(BUSY.to_owned());
    }
    note();
    let acts = &hub.registry.indexes;
    let act = acts.latest(id).ok_or_else(|| format!("{id} is not remembered any more"))?;
    let was = act.state;
    acts.change(id, |act| act.state = State::Building);
    let thread = std::thread::Builder::new().name("builder".to_owned());
    let yard = hub.clone();
    let spawned = thread.spawn(move || work(&yard, &act, task, audit));
    match spawned {
        Ok(_) => *current = Some(id.to_owned()),
        Err(error) => {
            acts.change(id, |act| act.state = if was.stands() { was } else { State::Failed });
            return Err(format!("cannot start the thread of the builder: {error}"));
        }
    }
    Ok(())
}

fn work(hub: &Arc<Hub>, act: &Act, task: Task, audit: Arc<dyn Audit>) {
    let (id, ddl) = (act.id.as_str(), act.ddl.as_str());
    match (task, act.by) {
        (Task::Build { .. }, By::Command) => tracing::info!(id, ddl, "an index is changed on command"),
        (Task::Build { .. }, By::Auto) => tracing::info!(id, ddl, "an index is built as indexes.auto says"),
        (Task::Remove, _) => tracing::info!(id, name = act.name, "an index is taken away: {}", act.message),
    }
    let outcome = run(hub, act, task, audit);
    match &outcome {
        Ok(()) => tracing::info!(id, "done"),
        Err(error) => tracing::warn!(id, "it has failed: {error}"),
    }
    let acts = &hub.registry.indexes;
    match (&outcome, task) {
        (Ok(()), Task::Build { .. }) => acts.built.fetch_add(1, Relaxed),
        (Ok(()), Task::Remove) if act.by == By::Auto => acts.taken_back.fetch_add(1, Relaxed),
        (Ok(()), Task::Remove) => 0,
        (Err(_), _) => acts.failures.fetch_add(1, Relaxed),
    };
    let now = measuring::tallies(hub, &act.database);
    // Whoever sees how it ended may order the next.
    let mut current = hub.yard.current();
    acts.change(id, |known| match (outcome, task) {
        (Ok(()), Task::Build { .. }) => history::built(known, now_s(), &now),
        (Ok(()), Task::Remove) => {
            (known.state, known.ended_s) = (State::Removed, now_s());
            // An operator may drop one that disappoints as well as another.
            known.taken_back = known.by == By::Auto && act.state == State::Disappointing;
            known.message = match known.taken_back {
                true => format!("taken back: {}", act.message),
                false => format!("taken away on command; before that: {}", act.message),
            };
        }
        (Err(error), Task::Build { .. }) => {
            (known.state, known.message, known.ended_s) = (State::Failed, error, now_s());
        }
        (Err(error), Task::Remove) => {
            (known.state, known.ended_s) = (act.state, now_s());
            known.message = format!("it is still there: {error}");
        }
    });
    *current = None;
    drop(current);
    // What is worth building next may be something else now.
    hub.advising.want();
}

/// Whom to ask, and as whom.
pub(super) fn target(hub: &Hub, live: &Live, database: &str) -> Result<Target, String> {
    let login = whom::login(hub, live, database, None);
    login.and_then(|login| live.target(database, login)).map_err(|error| error.to_string())
}

/// Keeps an act up to date while it is under way.
struct Told<'a> {
    hub: &'a Hub,
    id: &'a str,
}

impl Teller for Told<'_> {
    fn tell(&self, message: String) {
        self.hub.registry.indexes.change(self.id, |act| act.message = message);
    }

    fn sends(&self, statement: &str) {
        tracing::info!(id = self.id, statement, "an index is changed");
        self.hub.registry.indexes.change(self.id, |act| act.executed(statement));
    }
}

fn run(hub: &Arc<Hub>, act: &Act, task: Task, audit: Arc<dyn Audit>) -> Result<(), String> {
    let build = Build::of(act).ok_or("what is remembered of it makes no statement")?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let _guard = runtime.enter();
    let live = hub.live();
    let target = target(hub, &live, &act.database)?;
    let rules = &live.settings.rules;
    let probe = Probe::new(target.clone(), &rules.probe).map_err(|error| error.to_string())?;
    let teller = Told { hub, id: &act.id };
    runtime.block_on(async {
        let force = matches!(task, Task::Build { force: true, .. } | Task::Remove);
        if !force {
            let objection = apply::objection(&probe, &rules.auto, &teller).await;
            if let Some(why) = objection.map_err(|error| error.to_string())? {
                return Err(format!("not begun: {why}; --force builds it all the same"));
            }
        }
        let actor = Actor::connect_as_user(target, &act.database, &rules.maintenance, audit).await;
        let guard = (!force).then_some(rules.auto.guard);
        let site = Site::new(actor.map_err(|error| error.to_string())?, &probe, guard, &teller).await;
        let site = site.map_err(|error| error.to_string())?;
        let outcome = match task {
            Task::Build { again, .. } => apply::build(&site, &build, again).await,
            Task::Remove => apply::remove(&site, &build).await,
        };
        outcome.map_err(|error| error.to_string())
    })
}
