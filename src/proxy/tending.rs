//! The thread that tends indexes without being told: it goes on with what an earlier process began, looks whether
//! indexes keep their promise, and, where `indexes.auto` says so, builds what is advised and takes back what was
//! not worth it. Of several pgweir before one database, one builds. Nothing on the data path waits for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use super::building::{self, Task};
use super::hub::Hub;
use super::measuring;
use crate::admin::Advised;
use crate::maintain::actor::Actor;
use crate::maintain::index::settings::AutoSettings;
use crate::maintain::index::{auto, guard};
use crate::observe::indexes::{Act, By, State};
use crate::observe::process::now_s;
use crate::probe::Probe;

/// How often it looks whether there is anything to do.
const TICK: Duration = Duration::from_secs(1);

/// How often it looks whether indexes keep their promise: that adds up the whole ledger.
const LOOK: Duration = Duration::from_secs(5);

/// Who was refused, or found the server busy, comes again after this.
const AGAIN: Duration = Duration::from_secs(10);
const AGAIN_S: u64 = 10;

/// A question takes milliseconds; a server that is away must not hold up the others.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts the thread. It ends when the hub's yard is told so.
///
/// # Errors
/// The system gives no thread.
pub(super) fn start(hub: Arc<Hub>) -> Result<JoinHandle<()>, String> {
    let thread = std::thread::Builder::new().name("tend".to_owned());
    let spawned = thread.spawn(move || match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => Tending { hub, runtime, leading: HashMap::new(), refused: HashMap::new() }.run(),
        Err(error) => tracing::error!("the thread that tends indexes could not start: {error}"),
    });
    spawned.map_err(|error| format!("cannot start the thread that tends indexes: {error}"))
}

struct Tending {
    hub: Arc<Hub>,
    runtime: Runtime,
    /// Connections that hold the lock of their database.
    leading: HashMap<String, Actor>,
    /// When each database was last refused.
    refused: HashMap<String, Instant>,
}

impl Tending {
    fn run(mut self) {
        let mut looked = Instant::now();
        while !self.hub.yard.rests(TICK) {
            self.hub.yard.marks.note(&self.hub);
            if looked.elapsed() >= LOOK {
                measuring::look(&self.hub);
                looked = Instant::now();
            }
            let live = self.hub.live();
            let settings = &live.settings.rules.auto;
            if self.hub.draining.load(Relaxed) || self.hub.yard.is_busy() {
                continue;
            }
            let acts = self.hub.registry.indexes.list();
            if self.go_on(&acts) || self.take_back(&acts, settings) {
                continue;
            }
            if !settings.enabled {
                self.leading.clear();
                continue;
            }
            self.build(&acts, settings);
        }
    }

    /// Goes on with what an earlier process has begun: nothing of this one is under way.
    fn go_on(&mut self, acts: &[Act]) -> bool {
        let begun = acts.iter().find(|act| matches!(act.state, State::Waiting | State::Building));
        let Some(act) = begun.filter(|act| self.may_try(&act.database)) else {
            return false;
        };
        tracing::info!(
            id = act.id,
            name = act.name,
            "an index is gone on with that an earlier process began"
        );
        // One whose end was not noted; a removal is an operator's to ask for again.
        let task = match act.built_s {
            0 => Task::Build { force: act.by == By::Command, again: true },
            _ => Task::Remove,
        };
        self.begin(&act.id, &act.database, task)
    }

    /// Takes away what was built by itself and was not worth it.
    fn take_back(&mut self, acts: &[Act], settings: &AutoSettings) -> bool {
        let wanted = |act: &&Act| {
            act.by == By::Auto
                && act.state == State::Disappointing
                && (now_s() >= act.ended_s + AGAIN_S || act.built_s == act.ended_s)
        };
        let Some(act) = acts.iter().find(wanted).filter(|_| settings.enabled) else {
            return false;
        };
        self.begin(&act.id, &act.database, Task::Remove)
    }

    fn begin(&mut self, id: &str, database: &str, task: Task) -> bool {
        match building::start(&self.hub, id, task, || {}) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(id, "it cannot be begun: {error}");
                self.refused.insert(database.to_owned(), Instant::now());
                false
            }
        }
    }

    fn may_try(&self, database: &str) -> bool {
        self.refused.get(database).is_none_or(|at| at.elapsed() >= AGAIN)
    }

    /// Builds the next that is advised, if there is one and the server has room.
    fn build(&mut self, acts: &[Act], settings: &AutoSettings) {
        for advised in self.hub.advising.last() {
            let (database, now) = (&advised.database, now_s());
            let Some(next) = chosen(&advised, acts, settings, now) else {
                self.hub.yard.say(database, "nothing to build");
                continue;
            };
            if !self.may_try(database) {
                continue;
            }
            let status = match self.asked(database, settings) {
                Ok(None) => match building::build(&self.hub, &next, By::Auto, false) {
                    Ok(()) => {
                        self.hub.yard.say(database, &format!("building {}", next.name));
                        return;
                    }
                    Err(error) => error,
                },
                Ok(Some(why)) | Err(why) => why,
            };
            self.refused.insert(database.clone(), Instant::now());
            let status = format!("{} waits: {status}", next.name);
            if self.hub.yard.say(database, &status) {
                tracing::info!(database, "indexes.auto: {status}");
            }
        }
    }

    /// Why nothing should be built now.
    fn asked(&mut self, database: &str, settings: &AutoSettings) -> Result<Option<String>, String> {
        if !self.leads(database)? {
            return Ok(Some("another pgweir builds the indexes of this database".to_owned()));
        }
        let live = self.hub.live();
        let target = building::target(&self.hub, &live, database)?;
        // Pools belong to this thread's runtime.
        let _guard = self.runtime.enter();
        let probe = Probe::new(target, &live.settings.rules.probe).map_err(|error| error.to_string())?;
        let load = self.runtime.block_on(probe.load_of_server(&settings.time_zone));
        let load = load.map_err(|error| error.to_string())?;
        let warnings = guard::warnings(&load, settings);
        Ok(guard::objection(&load, &settings.guard).or_else(|| warnings.into_iter().next()))
    }

    /// Whether this process is the one that builds; holds a connection as long as it is.
    fn leads(&mut self, database: &str) -> Result<bool, String> {
        let patiently = |runtime: &Runtime, actor: &Actor| {
            runtime.block_on(async { tokio::time::timeout(PATIENCE, actor.lead()).await })
        };
        if let Some(actor) = self.leading.get(database) {
            // The lock can be had again by who has it, which also shows that the connection is there.
            if matches!(patiently(&self.runtime, actor), Ok(Ok(true))) {
                return Ok(true);
            }
            self.leading.remove(database);
        }
        let live = self.hub.live();
        let target = building::target(&self.hub, &live, database)?;
        let audit = self.hub.yard.audit()?;
        let maintenance = &live.settings.rules.maintenance;
        let actor = self.runtime.block_on(Actor::connect(target, database, maintenance, audit));
        let actor = actor.map_err(|error| error.to_string())?;
        let leads = patiently(&self.runtime, &actor).map_err(|_| "the server does not answer".to_owned())?;
        let leads = leads.map_err(|error| error.to_string())?;
        if leads {
            tracing::info!(database, "this pgweir builds the indexes of the database");
            self.leading.insert(database.to_owned(), actor);
        }
        Ok(leads)
    }
}

/// What is built next in a database. Advice from before the last act there counts for nothing: what was done
/// changes what else is worth it.
fn chosen(
    advised: &Advised,
    acts: &[Act],
    settings: &AutoSettings,
    now_s: u64,
) -> Option<crate::advise::Suggestion> {
    let outcome = advised.outcome.as_ref().ok()?;
    let own = acts.iter().filter(|act| act.database == advised.database);
    let last = own.map(|act| act.ended_s.max(act.asked_s)).max().unwrap_or_default();
    if advised.at_s < last {
        return None;
    }
    auto::next(outcome.advice.suggestions.iter(), acts, settings, now_s).cloned()
}
