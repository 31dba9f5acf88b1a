//! Builds indexes on command, one at a time, each on a thread of its own, and remembers what came of them. Nothing
//! on the data path waits for it; a build that is under way when pgweir ends is PostgreSQL's to finish or to give
//! up, and what it leaves is taken away by the next attempt.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Builder;

use super::hub::Hub;
use super::whom;
use crate::admin::IndexAct;
use crate::advise::Suggestion;
use crate::maintain::index::apply::{self, Build};
use crate::maintain::index::history::{Act, State};
use crate::observe::process::now_s;
use crate::probe::{Probe, Target};

/// Acts that are remembered; the oldest go.
const HISTORY_MAX: usize = 200;

/// What is being built, and what was.
#[derive(Default)]
pub struct Yard {
    history: Mutex<Vec<(Act, Build)>>,
    busy: AtomicBool,
}

impl Yard {
    fn history(&self) -> MutexGuard<'_, Vec<(Act, Build)>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Act)) {
        if let Some((act, _)) = self.history().iter_mut().rev().find(|(act, _)| act.id == id) {
            change(act);
        }
    }
}

/// What was done, the latest first, with what the shapes came to since.
pub(super) fn history(hub: &Hub) -> Vec<Act> {
    let mut history = hub.yard.history();
    history.iter_mut().for_each(|(act, _)| {
        let database = act.database.clone();
        act.verify(|shape| totals(hub, &database, shape));
    });
    history.iter().rev().map(|(act, _)| act.clone()).collect()
}

/// Calls of a shape by all users, and milliseconds that the server worked on it.
fn totals(hub: &Hub, database: &str, shape: &str) -> (u64, f64) {
    let Ok(fingerprint) = u64::from_str_radix(shape, 16) else {
        return (0, 0.0);
    };
    let rows = hub.registry.ledger.rows();
    let own = rows.iter().filter(|row| row.key.fingerprint == fingerprint && *row.key.database == *database);
    own.fold((0, 0.0), |(calls, ms), row| {
        (calls + row.totals.calls, ms + row.totals.server_us as f64 / 1000.0)
    })
}

/// Begins to build what was suggested under this id, or to take it away.
///
/// # Errors
/// A sentence: it is not known, or something else is being built.
pub(super) fn order(
    hub: &Arc<Hub>,
    id: &str,
    suggestion: Option<Suggestion>,
    what: IndexAct,
) -> Result<(), String> {
    let known = hub.yard.history().iter().rev().find(|(act, _)| act.id == id).cloned();
    let build = match (what, suggestion, known) {
        (IndexAct::Drop, _, Some((act, build)))
            if matches!(act.state, State::Verifying | State::Proved | State::Disappointing) =>
        {
            build
        }
        (IndexAct::Drop, ..) => return Err(format!("no index was built here under {id}")),
        (IndexAct::Apply, None, _) => {
            return Err(format!("no suggestion {id} is known; advice may have changed"));
        }
        (IndexAct::Apply, Some(suggestion), _) => {
            if !suggestion.ddl.contains("CONCURRENTLY") {
                return Err(
                    "the table is partitioned, and PostgreSQL builds such an index only while writes wait: \
                            make it on each partition with CONCURRENTLY, then run the suggested statement"
                        .to_owned(),
                );
            }
            remembered(hub, &suggestion)?
        }
    };
    let (hub, id) = (hub.clone(), id.to_owned());
    if hub.yard.busy.swap(true, Relaxed) {
        return Err("another index is being built or taken away; one at a time".to_owned());
    }
    hub.yard.change(&id, |act| act.state = State::Building);
    let thread = std::thread::Builder::new().name("builder".to_owned());
    let yard = hub.clone();
    let spawned = thread.spawn(move || work(&hub, &id, &build, what));
    spawned.map(drop).map_err(|error| {
        yard.yard.busy.store(false, Relaxed);
        format!("cannot start the thread of the builder: {error}")
    })
}

/// Puts it into the history, unless something is being built.
fn remembered(hub: &Hub, suggestion: &Suggestion) -> Result<Build, String> {
    if hub.yard.busy.load(Relaxed) {
        return Err("another index is being built or taken away; one at a time".to_owned());
    }
    let build = Build::of(suggestion);
    let act = Act::new(suggestion, now_s(), |shape| totals(hub, &suggestion.database, shape));
    let mut history = hub.yard.history();
    if history.len() >= HISTORY_MAX {
        history.remove(0);
    }
    history.push((act, build.clone()));
    Ok(build)
}

fn work(hub: &Arc<Hub>, id: &str, build: &Build, what: IndexAct) {
    let sql = match what {
        IndexAct::Apply => build.ddl.clone(),
        IndexAct::Drop => apply::remove_sql(build),
    };
    tracing::info!(id, sql, "an index is changed on command");
    let outcome = run(hub, id, build, what);
    match &outcome {
        Ok(()) => tracing::info!(id, sql, "done"),
        Err(error) => tracing::warn!(id, sql, "it has failed: {error}"),
    }
    let database =
        hub.yard.history().iter().rev().find(|(act, _)| act.id == id).map(|(act, _)| act.database.clone());
    let database = database.unwrap_or_default();
    // Whoever sees how it ended may order the next.
    hub.yard.busy.store(false, Relaxed);
    hub.yard.change(id, |act| match (outcome, what) {
        (Ok(()), IndexAct::Apply) => act.built(now_s(), |shape| totals(hub, &database, shape)),
        (Ok(()), IndexAct::Drop) => {
            (act.state, act.message, act.ended_s) = (State::Removed, String::new(), now_s())
        }
        (Err(error), IndexAct::Apply) => {
            (act.state, act.message, act.ended_s) = (State::Failed, error, now_s())
        }
        (Err(error), IndexAct::Drop) => {
            (act.state, act.message) = (State::Verifying, format!("it is still there: {error}"))
        }
    });
}

fn run(hub: &Arc<Hub>, id: &str, build: &Build, what: IndexAct) -> Result<(), String> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let _guard = runtime.enter();
    let live = hub.live();
    let database =
        hub.yard.history().iter().rev().find(|(act, _)| act.id == id).map(|(act, _)| act.database.clone());
    let database = database.ok_or("it is not remembered any more")?;
    let (place, tls) = live.database(&database).ok_or("the settings know the database no longer")?;
    let target = Target {
        database: place.database.clone().unwrap_or_else(|| database.clone()),
        servers: place.servers.clone(),
        login: whom::login(hub, &live, &database, None).map_err(|error| error.to_string())?,
        tls,
        connect: place.pool.connect,
    };
    let probe = Probe::new(target, &live.settings.rules.probe).map_err(|error| error.to_string())?;
    runtime.block_on(async {
        match what {
            IndexAct::Apply => {
                apply::build(&probe, build, |message| hub.yard.change(id, |act| act.message = message)).await
            }
            IndexAct::Drop => apply::remove(&probe, build).await,
        }
    })
}
