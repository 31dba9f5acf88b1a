//! The thread that asks the databases pgweir's own questions: it keeps their catalogs fresh and serves
//! errands. Nothing on the data path waits for it, and no trouble of its own reaches a client.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::{Notify, mpsc, oneshot};

use super::hub::{Hub, Live};
use super::refreshing::{Look, Schedule};
use crate::auth::Secret;
use crate::auth::credential::{Learned, ServerLogin};
use crate::observe::catalogs::{Known, Trouble};
use crate::observe::process::now_s;
use crate::observe::state::Line;
use crate::probe::explain::Explain;
use crate::probe::state::Place;
use crate::probe::{Probe, ProbeError, Target};

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
    Save(Place, Vec<Line>, Reply<u64>),
    Load(Place, Reply<Vec<Line>>),
}

/// Where errands are left. The answer can be awaited, or waited for with `blocking_recv`; it is an error if
/// the thread has ended.
pub struct Desk {
    sender: mpsc::Sender<(String, Errand)>,
    receiver: Mutex<Option<mpsc::Receiver<(String, Errand)>>>,
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
    /// The plan of a statement. `database` is the name that clients ask for.
    pub fn explain(&self, database: &str, question: Explain) -> Awaited<String> {
        self.leave(database, |reply| Errand::Explain(question, reply))
    }

    /// Keeps a ledger's lines in a schema of a database.
    pub fn save(&self, database: &str, place: Place, lines: Vec<Line>) -> Awaited<u64> {
        self.leave(database, |reply| Errand::Save(place, lines, reply))
    }

    /// The lines that were kept there.
    pub fn load(&self, database: &str, place: Place) -> Awaited<Vec<Line>> {
        self.leave(database, |reply| Errand::Load(place, reply))
    }

    fn leave<T>(&self, database: &str, errand: impl FnOnce(Reply<T>) -> Errand) -> Awaited<T> {
        let (reply, answer) = oneshot::channel();
        // A full or closed desk drops the errand, and with it the reply: the answer is an error at once.
        let _ = self.sender.try_send((database.to_owned(), errand(reply)));
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
    let mut bases = Bases { hub: hub.clone(), bases: HashMap::new(), told: false };
    loop {
        tokio::select! {
            () = hub.probing.ending.notified() => return,
            Some((database, errand)) = errands.recv() => {
                if let Some(base) = bases.base(&database) {
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
    bases: HashMap<String, Arc<Base>>,
    told: bool,
}

impl Bases {
    fn base(&mut self, database: &str) -> Option<Arc<Base>> {
        if let Some(base) = self.bases.get(database) {
            return Some(base.clone());
        }
        if self.bases.len() >= DATABASES_MAX {
            if !std::mem::replace(&mut self.told, true) {
                tracing::warn!(database, "no catalog: {DATABASES_MAX} databases are asked already");
            }
            return None;
        }
        let base = Arc::new(Base {
            name: database.to_owned(),
            hub: self.hub.clone(),
            probe: Mutex::default(),
            schedule: Mutex::default(),
        });
        self.bases.insert(database.to_owned(), base.clone());
        Some(base)
    }

    /// Reads what is due. Those that are read already are left alone.
    fn look(&mut self) {
        let live = self.hub.live();
        let gone = |name: &String| live.database(name).is_none();
        self.bases.retain(|name, _| !gone(name));
        for (name, _) in self.hub.registry.catalogs.list() {
            if gone(&name) {
                self.hub.registry.catalogs.forget(&name);
            }
        }
        if !live.settings.probe.enabled {
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
            let Some(base) = self.base(&database) else {
                continue;
            };
            let epoch = self.hub.epoch(&database);
            let look = Look {
                clients,
                queries,
                epoch,
                generation: live.generation,
                refresh: live.settings.probe.refresh,
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

    fn close_idle(&self) {
        self.held().iter().for_each(|held| held.probe.close_idle());
    }

    /// The connections; others when the settings or the user have changed.
    fn probe(&self) -> Result<Arc<Probe>, ProbeError> {
        let live = self.hub.live();
        let login = login(&self.hub, &live, &self.name)?;
        let mut held = self.held();
        if let Some(held) = held.as_ref()
            && held.generation == live.generation
            && held.login == login
        {
            return Ok(held.probe.clone());
        }
        let gone = || ProbeError::Unfit("the settings know the database no longer".to_owned());
        let (settings, tls) = live.database(&self.name).ok_or_else(gone)?;
        let target = Target {
            database: settings.database.clone().unwrap_or_else(|| self.name.clone()),
            servers: settings.servers.clone(),
            login: login.clone(),
            tls,
            connect: settings.pool.connect,
        };
        let probe = Arc::new(Probe::new(target, &live.settings.probe)?);
        *held = Some(Held { generation: live.generation, login, probe: probe.clone() });
        Ok(probe)
    }

    /// Reads the catalog and publishes it, or says why not.
    async fn refresh(&self) {
        let begun = Instant::now();
        let outcome = match self.probe() {
            Ok(probe) => probe.catalog().await.map(|catalog| (Arc::new(catalog), probe)),
            Err(error) => Err(error),
        };
        let took = begun.elapsed();
        let (before, catalogs) = (self.hub.registry.catalogs.known(&self.name), &self.hub.registry.catalogs);
        match outcome {
            Ok((catalog, probe)) => {
                self.tell(before.as_deref(), &catalog);
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
            Errand::Save(place, lines, reply) => drop(reply.send(match probe {
                Ok(probe) => probe.save(&place, &lines).await,
                Err(error) => Err(error),
            })),
            Errand::Load(place, reply) => drop(reply.send(match probe {
                Ok(probe) => probe.load(&place).await,
                Err(error) => Err(error),
            })),
        }
    }
}

/// As whom to ask: the user of the settings; else one of those who use the database, best with a password,
/// else with what its login has shown; else any user whose password is known.
fn login(hub: &Hub, live: &Live, database: &str) -> Result<ServerLogin, ProbeError> {
    if let Some(user) = &live.settings.probe.user {
        return match live.user(user) {
            Some(_) => Ok(hub.server_login(live, user)),
            None => {
                let message =
                    format!("probe.user \"{user}\" is not one of `users`: add it with its password");
                Err(ProbeError::Unfit(message))
            }
        };
    }
    let pools = hub.registry.pools();
    let users = pools.iter().filter(|pool| pool.database == database).map(|pool| pool.user.as_str());
    let mut logins: Vec<ServerLogin> = users.map(|user| hub.server_login(live, user)).collect();
    let configured = live.settings.auth.users.keys().map(|user| hub.server_login(live, user));
    if logins.is_empty() {
        logins.extend(configured.filter(|login| worth(login) == 0));
    }
    logins.sort_by(|a, b| (worth(a), &a.user).cmp(&(worth(b), &b.user)));
    logins.into_iter().next().ok_or_else(|| {
        let message = "no user of this database has a password that pgweir knows: set probe.user";
        ProbeError::Unfit(message.to_owned())
    })
}

/// How likely it is that a server lets this login in; 0 is best.
fn worth(login: &ServerLogin) -> u8 {
    match (&login.secret, &login.learned) {
        (Some(Secret::Plain(_)), _) => 0,
        (_, Learned::Password(_)) => 1,
        (_, Learned::Keys(_)) => 2,
        // The server may ask for nothing, or for md5.
        _ => 3,
    }
}
