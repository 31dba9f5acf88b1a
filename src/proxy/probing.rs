//! The thread that asks the databases pgweir's own questions: it keeps their catalogs fresh and serves
//! errands. Nothing on the data path waits for it, and no trouble of its own reaches a client.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::{Notify, mpsc, oneshot};

use super::explaining;
use super::hub::Hub;
use super::refreshing::{Look, Schedule};
use super::whom;
use crate::auth::credential::ServerLogin;
use crate::observe::catalogs::{Known, Trouble};
use crate::observe::process::now_s;
use crate::observe::state::Saved;
use crate::probe::explain::Explain;
use crate::probe::state::Place;
use crate::probe::{IDLE_MAX, Probe, ProbeError};

/// How often it looks whether there is anything to do.
const TICK: Duration = Duration::from_secs(1);

/// Errands that wait. Each is a plan or a save, of which there are a few per minute.
const ERRANDS_MAX: usize = 64;

/// Databases that are asked. Names that clients make up under `*` must not use up memory.
const DATABASES_MAX: usize = 100;

/// Threads that resolve names may linger so long at the end.
const END_MAX: Duration = Duration::from_millis(100);

type Reply<T> = oneshot::Sender<Result<T, ProbeError>>;

/// What others want to know.
enum Errand {
    Explain(Explain, Reply<String>),
    Save(Place, Saved, Reply<u64>),
    Load(Place, Reply<Saved>),
}

/// A database by the name that clients ask for, and as whom it is asked; `None`: whoever reads the catalog.
type Whose = (String, Option<String>);

/// Where errands are left. The answer can be awaited, or waited for with `blocking_recv`; it is an error if
/// the thread has ended.
pub struct Desk {
    sender: mpsc::Sender<(Whose, Errand)>,
    receiver: Mutex<Option<mpsc::Receiver<(Whose, Errand)>>>,
    ending: Notify,
}

impl Default for Desk {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(ERRANDS_MAX);
        Desk { sender, receiver: Mutex::new(Some(receiver)), ending: Notify::new() }
    }
}

/// Where an answer comes.
pub type Awaited<T> = oneshot::Receiver<Result<T, ProbeError>>;

impl Desk {
    /// The plan of a statement. `database` is the name that clients ask for; `user` has to be the client whose
    /// statement it is, because planning may run functions that this client has made, with the rights of whoever
    /// asks.
    pub fn explain(&self, database: &str, user: &str, question: Explain) -> Awaited<String> {
        self.leave(database, Some(user), |reply| Errand::Explain(question, reply))
    }

    /// Keeps ledger and findings in a schema of a database, as this user or as whoever reads the catalog.
    pub fn save(&self, database: &str, user: Option<&str>, place: Place, saved: Saved) -> Awaited<u64> {
        self.leave(database, user, |reply| Errand::Save(place, saved, reply))
    }

    /// What was kept there.
    pub fn load(&self, database: &str, user: Option<&str>, place: Place) -> Awaited<Saved> {
        self.leave(database, user, |reply| Errand::Load(place, reply))
    }

    fn leave<T>(
        &self,
        database: &str,
        user: Option<&str>,
        errand: impl FnOnce(Reply<T>) -> Errand,
    ) -> Awaited<T> {
        let (reply, answer) = oneshot::channel();
        let whose = (database.to_owned(), user.map(str::to_owned));
        // A full or closed desk drops the errand, and with it the reply: the answer is an error at once.
        let _ = self.sender.try_send((whose, errand(reply)));
        answer
    }

    /// Ends the thread.
    pub fn end(&self) {
        self.ending.notify_one();
    }
}

/// Starts the thread. It ends when the hub's desk is told so.
///
/// # Errors
/// The system gives no thread.
pub fn start(hub: Arc<Hub>) -> Result<JoinHandle<()>, String> {
    let thread = std::thread::Builder::new().name("probe".to_owned());
    let spawned = thread.spawn(move || match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            runtime.block_on(run(&hub));
            runtime.shutdown_timeout(END_MAX);
        }
        Err(error) => tracing::error!("the probe could not start: {error}"),
    });
    spawned.map_err(|error| format!("cannot start the thread of the probe: {error}"))
}

async fn run(hub: &Arc<Hub>) {
    let errands = hub.probing.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut errands) = errands else {
        return;
    };
    // It ends with the runtime.
    tokio::spawn(explaining::run(hub.clone()));
    let mut bases = Bases { hub: hub.clone(), bases: HashMap::new(), told: false };
    loop {
        tokio::select! {
            () = hub.probing.ending.notified() => return,
            Some((whose, errand)) = errands.recv() => {
                if let Some(base) = bases.base(whose) {
                    tokio::spawn(async move { base.serve(errand).await });
                }
            }
            () = tokio::time::sleep(TICK) => bases.look(),
        }
    }
}

/// The databases that are asked.
struct Bases {
    hub: Arc<Hub>,
    bases: HashMap<Whose, Arc<Base>>,
    told: bool,
}

impl Bases {
    fn base(&mut self, whose: Whose) -> Option<Arc<Base>> {
        if let Some(base) = self.bases.get(&whose) {
            return Some(base.clone());
        }
        if self.bases.len() >= DATABASES_MAX {
            if !std::mem::replace(&mut self.told, true) {
                tracing::warn!(database = whose.0, "not asked: {DATABASES_MAX} databases are asked already");
            }
            return None;
        }
        let base = Arc::new(Base {
            name: whose.0.clone(),
            user: whose.1.clone(),
            hub: self.hub.clone(),
            probe: Mutex::default(),
            schedule: Mutex::default(),
        });
        self.bases.insert(whose, base.clone());
        Some(base)
    }

    /// Reads what is due. Those that are read already are left alone.
    fn look(&mut self) {
        let live = self.hub.live();
        let gone = |name: &String| live.database(name).is_none();
        // What only errands need goes when they are done.
        self.bases.retain(|(name, user), base| !gone(name) && (user.is_none() || !base.rests()));
        for (name, _) in self.hub.registry.catalogs.list() {
            if gone(&name) {
                self.hub.registry.catalogs.forget(&name);
            }
        }
        if !live.settings.rules.probe.enabled {
            // Their connections go with them; an errand under way keeps its own.
            return self.bases.clear();
        }
        self.bases.values().for_each(|base| base.close_idle());
        if self.hub.draining.load(Relaxed) {
            return;
        }
        for (database, (clients, queries)) in usage(&self.hub) {
            if gone(&database) {
                continue;
            }
            let Some(base) = self.base((database.clone(), None)) else {
                continue;
            };
            let epoch = self.hub.epoch(&database);
            let look = Look {
                clients,
                queries,
                epoch,
                generation: live.generation,
                refresh: live.settings.rules.probe.refresh,
            };
            if base.schedule().begin(Instant::now(), &look) {
                tokio::spawn(async move { base.refresh().await });
            }
        }
    }
}

/// Clients there are, and queries there were, by database.
fn usage(hub: &Hub) -> HashMap<String, (i64, u64)> {
    let mut usage: HashMap<String, (i64, u64)> = HashMap::new();
    for pool in hub.registry.pools() {
        let (clients, queries) = usage.entry(pool.database.clone()).or_default();
        *clients += pool.clients.get();
        *queries = queries.wrapping_add(pool.queries.get());
    }
    usage
}

/// One database.
struct Base {
    name: String,
    user: Option<String>,
    hub: Arc<Hub>,
    probe: Mutex<Option<Held>>,
    schedule: Mutex<Schedule>,
}

/// Connections under the settings of one generation.
struct Held {
    generation: u64,
    login: ServerLogin,
    probe: Arc<Probe>,
}

impl Base {
    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.probe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody asks anything, and no connection is left.
    fn rests(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && self.held().as_ref().is_none_or(|held| held.probe.is_idle())
    }

    fn close_idle(&self) {
        self.held().iter().for_each(|held| held.probe.close_idle(IDLE_MAX));
    }

    /// The connections; others when the settings or the user have changed.
    fn probe(&self) -> Result<Arc<Probe>, ProbeError> {
        let live = self.hub.live();
        let login = whom::login(&self.hub, &live, &self.name, self.user.as_deref())?;
        let mut held = self.held();
        if let Some(held) = held.as_ref()
            && held.generation == live.generation
            && held.login == login
        {
            return Ok(held.probe.clone());
        }
        let target = live.target(&self.name, login.clone())?;
        let probe = Arc::new(Probe::new(target, &live.settings.rules.probe)?);
        *held = Some(Held { generation: live.generation, login, probe: probe.clone() });
        Ok(probe)
    }

    /// Reads the catalog and publishes it, or says why not.
    async fn refresh(&self) {
        let (begun, epoch) = (Instant::now(), self.hub.epoch(&self.name));
        let outcome = match self.probe() {
            Ok(probe) => probe.catalog().await.map(|catalog| (Arc::new(catalog), probe)),
            Err(error) => Err(error),
        };
        let took = begun.elapsed();
        let (before, catalogs) = (self.hub.registry.catalogs.known(&self.name), &self.hub.registry.catalogs);
        match outcome {
            Ok((catalog, probe)) => {
                self.tell(before.as_deref(), &catalog);
                let live = self.hub.live();
                self.hub.routers.learn(&self.name, catalog.clone(), epoch, &live.settings.rules.route);
                catalogs.update(&self.name, |known| {
                    known.catalog = Some(catalog);
                    known.role = probe.role().to_owned();
                    known.refreshes += 1;
                    known.took_ms = took.as_millis() as u64;
                    known.error = None;
                });
                self.schedule().succeeded(Instant::now(), took);
            }
            Err(error) => {
                let kind = error.kind();
                let same = |known: &Known| known.error.as_ref().is_some_and(|error| error.kind == kind);
                if !before.is_some_and(|known| same(&known)) {
                    tracing::warn!(database = self.name, kind, "the catalog cannot be read: {error}");
                }
                catalogs.update(&self.name, |known| {
                    known.failures += 1;
                    known.error = Some(Trouble { kind, text: error.to_string(), at_s: now_s() });
                });
                self.schedule().failed(Instant::now(), rand::random());
            }
        }
    }

    /// Once, and when the notes have changed.
    fn tell(&self, before: Option<&Known>, catalog: &crate::catalog::Catalog) {
        let known = before.and_then(|known| known.catalog.as_ref());
        if known.is_none() {
            let (tables, role) = (catalog.tables.len(), &catalog.facts.role);
            tracing::info!(database = self.name, role, tables, "the catalog is known");
        }
        if known.is_none_or(|known| known.facts.notes != catalog.facts.notes) {
            for note in &catalog.facts.notes {
                tracing::info!(database = self.name, "the catalog is not complete: {note}");
            }
        }
    }

    async fn serve(&self, errand: Errand) {
        let probe = self.probe();
        // Whoever asked may have stopped waiting.
        match errand {
            Errand::Explain(question, reply) => drop(reply.send(match probe {
                Ok(probe) => probe.explain(&question).await,
                Err(error) => Err(error),
            })),
            Errand::Save(place, saved, reply) => drop(reply.send(match probe {
                Ok(probe) => probe.save(&place, &saved).await,
                Err(error) => Err(error),
            })),
            Errand::Load(place, reply) => drop(reply.send(match probe {
                Ok(probe) => probe.load(&place).await,
                Err(error) => Err(error),
            })),
        }
    }
}
