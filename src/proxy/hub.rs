//! What the workers share: who may be cancelled where, how many clients there are, and the settings of the
//! moment. Nothing here is touched while a query runs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tokio::sync::{mpsc, oneshot};

use super::{advising, building, descriptors, probing, routing};
use crate::admin::PoolView;
use crate::auth::credential::{Learned, ServerLogin};
use crate::auth::mock::MockSecret;
use crate::auth::scram_keys::Verifier;
use crate::auth::{Secret, UserSettings};
use crate::config::Settings;
use crate::error::ClientError;
use crate::maintain::TableRule;
use crate::observe::counters::Registry;
use crate::pool::connector::Connector;
use crate::pool::lend::Shared;
use crate::pool::settings::DatabaseSettings;
use crate::probe::{ProbeError, Target};
use crate::tls::server::Acceptor;

/// A letter to a worker.
pub enum Mail {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
    /// Cancel what this session runs; the sender is dropped when its server has been told.
    Cancel(u64, oneshot::Sender<()>),
    /// The settings changed.
    Reload,
    /// End sessions as their transactions end.
    Drain,
    /// End everything now.
    Kill,
    Report(oneshot::Sender<Vec<PoolView>>),
}

/// Settings, and what was built from them.
pub struct Live {
    pub settings: Settings,
    pub acceptor: Option<Arc<Acceptor>>,
    connectors: BTreeMap<String, Arc<Connector>>,
    pub generation: u64,
}

impl Live {
    /// Reads the certificates that the settings name.
    ///
    /// # Errors
    /// A sentence that names the file and what is wrong with it.
    pub fn build(settings: Settings, generation: u64) -> Result<Self, String> {
        let acceptor = match &settings.listen.tls {
            None => None,
            Some(tls) => Some(Arc::new(Acceptor::load(tls).map_err(|error| error.to_string())?)),
        };
        let connectors = settings
            .databases
            .iter()
            .map(|(name, database)| Ok((name.clone(), Arc::new(Connector::new(&database.tls)?))))
            .collect::<Result<_, String>>()?;
        Ok(Live { settings, acceptor, connectors, generation })
    }

    /// Whether a row that finds no partition may get one in this database.
    pub fn makes_partitions(&self, database: &str) -> bool {
        let rules = &self.settings.rules;
        let named = |rule: &TableRule| rule.database.as_deref().is_none_or(|name| name == database);
        rules.maintenance.enabled && rules.partitions.iter().any(|rule| rule.create_missing && named(rule))
    }

    /// The settings of a database by the name a client asks for.
    pub fn database(&self, name: &str) -> Option<(Arc<DatabaseSettings>, Arc<Connector>)> {
        let key = if self.settings.databases.contains_key(name) { name } else { "*" };
        let settings = self.settings.databases.get(key)?.clone();
        Some((settings, self.connectors.get(key)?.clone()))
    }

    /// Where pgweir's own connections to a database go, with this login.
    ///
    /// # Errors
    /// The settings do not know it, or no longer.
    pub fn target(&self, database: &str, login: ServerLogin) -> Result<Target, ProbeError> {
        let gone = || ProbeError::Unfit(format!("pgweir.yaml knows no database {database}"));
        let (settings, tls) = self.database(database).ok_or_else(gone)?;
        Ok(Target {
            database: settings.database.clone().unwrap_or_else(|| database.to_owned()),
            servers: settings.servers.clone(),
            login,
            tls,
            connect: settings.pool.connect,
        })
    }

    pub fn user(&self, name: &str) -> Option<&UserSettings> {
        self.settings.auth.users.get(name)
    }
}

type PoolKey = (String, String);

/// Process id and secret, as a cancel request brings them.
pub type CancelKey = (i32, Box<[u8]>);

/// A worker and a session on it.
type Place = (usize, u64);

pub struct Hub {
    live: RwLock<Arc<Live>>,
    pub registry: Arc<Registry>,
    pub mailboxes: Vec<mpsc::UnboundedSender<Mail>>,
    /// Clients of each worker.
    pub loads: Vec<AtomicUsize>,
    /// Backend key → worker and session.
    pub cancel_keys: DashMap<CancelKey, Place>,
    shared: DashMap<PoolKey, Arc<Shared>>,
    clients: AtomicUsize,
    clients_by_user: DashMap<String, usize>,
    clients_by_database: DashMap<String, usize>,
    verifiers: DashMap<String, (Secret, Arc<Verifier>)>,
    learned: DashMap<String, Learned>,
    failures: Mutex<BTreeMap<IpAddr, (u32, Instant)>>,
    pub mock: MockSecret,
    /// Where pgweir's own questions are left.
    pub probing: probing::Desk,
    pub routers: routing::Routers,
    /// Where index advice is asked for.
    pub advising: advising::Desk,
    /// Indexes that are built on command.
    pub yard: building::Yard,
    /// Where acts on the databases are asked for.
    pub maintaining: crate::maintain::desk::Desk,
    /// Tables whose statements wait.
    pub holds: Arc<super::holding::Holds>,
    pub draining: AtomicBool,
    /// The process' limit of open files.
    descriptors: usize,
    /// Clients that are being told that there is no room.
    turning_away: AtomicUsize,
    next_session: AtomicU64,
}

impl Hub {
    pub fn new(live: Live, mailboxes: Vec<mpsc::UnboundedSender<Mail>>) -> Arc<Self> {
        Arc::new(Hub {
            live: RwLock::new(Arc::new(live)),
            registry: Arc::default(),
            loads: mailboxes.iter().map(|_| AtomicUsize::new(0)).collect(),
            mailboxes,
            cancel_keys: DashMap::new(),
            shared: DashMap::new(),
            clients: AtomicUsize::new(0),
            clients_by_user: DashMap::new(),
            clients_by_database: DashMap::new(),
            verifiers: DashMap::new(),
            learned: DashMap::new(),
            failures: Mutex::default(),
            mock: MockSecret::new(rand::random()),
            probing: probing::Desk::default(),
            routers: routing::Routers::default(),
            advising: advising::Desk::default(),
            yard: building::Yard::default(),
            maintaining: Default::default(),
            holds: Default::default(),
            draining: AtomicBool::new(false),
            descriptors: descriptors::raise(),
            turning_away: AtomicUsize::new(0),
            next_session: AtomicU64::new(1),
        })
    }

    pub fn live(&self) -> Arc<Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts new settings in place and tells every worker.
    pub fn replace(&self, live: Live) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
        self.verifiers.clear();
        self.learned.clear();
        self.tell_all(|| Mail::Reload);
    }

    pub fn tell_all(&self, mail: impl Fn() -> Mail) {
        for mailbox in &self.mailboxes {
            // A worker that has ended needs no letters.
            let _ = mailbox.send(mail());
        }
    }

    pub fn shared(&self, database: &str, user: &str) -> Arc<Shared> {
        self.shared.entry((database.to_owned(), user.to_owned())).or_default().clone()
    }

    /// Schema changes that were seen on a database, by any user.
    pub fn epoch(&self, database: &str) -> u64 {
        let pools = self.shared.iter().filter(|pool| pool.key().0 == database);
        pools.map(|pool| pool.value().epoch()).fold(0, u64::wrapping_add)
    }

    /// pgweir itself changes the schema of a database, past its workers: call it before and after.
    pub fn schema_changes(&self, database: &str) {
        self.shared.iter().filter(|pool| pool.key().0 == database).for_each(|pool| pool.schema_changed());
        if let Some((settings, _)) = self.live().database(database) {
            self.registry.fences.of(&settings.real(database)).schema_changes();
        }
    }

    /// How pgweir logs in to servers for a user.
    pub fn server_login(&self, live: &Live, user: &str) -> ServerLogin {
        let known = live.user(user).cloned().unwrap_or_default();
        let mapped = known.server_user.is_some();
        ServerLogin {
            user: known.server_user.unwrap_or_else(|| user.to_owned()),
            secret: known.server_secret.or(known.secret),
            learned: if mapped { Default::default() } else { self.learned(user) },
        }
    }

    pub fn next_session(&self) -> u64 {
        self.next_session.fetch_add(1, Relaxed)
    }

    /// The worker with the fewest clients.
    pub fn least_loaded(&self) -> usize {
        let loads = self.loads.iter().map(|load| load.load(Relaxed)).enumerate();
        loads.min_by_key(|&(_, load)| load).map_or(0, |(worker, _)| worker)
    }

    // --- who may come in ---

    /// Whether a connection with this descriptor leaves enough of them for servers.
    pub fn has_room(&self, descriptor: i32) -> bool {
        let live = self.live();
        let databases = live.settings.databases.values();
        let servers = databases.map(|database| database.pool.max_size).sum();
        let bound = descriptors::bound(self.descriptors, servers);
        usize::try_from(descriptor).is_ok_and(|descriptor| descriptor < bound)
    }

    /// Counts a client that is to be told that there is no room; `None` when too many are being told already.
    pub fn turn_away(&self) -> Option<TurnedAway<'_>> {
        self.registry.clients_refused.fetch_add(1, Relaxed);
        let more = |count: usize| (count < TURNED_AWAY_MAX).then_some(count + 1);
        let counted = self.turning_away.fetch_update(Relaxed, Relaxed, more);
        counted.ok().map(|_| TurnedAway(&self.turning_away))
    }

    /// Counts a client in.
    ///
    /// # Errors
    /// 53300 when a limit is reached; the message names it.
    pub fn admit(self: &Arc<Self>, user: &str, database: &str) -> Result<Admission, ClientError> {
        let live = self.live();
        let limits = &live.settings.limits;
        let by_user = live.user(user).and_then(|user| user.max_clients).or(limits.clients_per_user);
        let settings = live.database(database);
        let by_database =
            settings.and_then(|(settings, _)| settings.max_clients).or(limits.clients_per_database);
        let admission = Admission { hub: self.clone(), user: user.into(), database: database.into() };
        let clients = self.clients.fetch_add(1, Relaxed) + 1;
        let of_user = count(&self.clients_by_user, user);
        let of_database = count(&self.clients_by_database, database);
        let refuse = |what: String, limit: usize| {
            self.registry.clients_refused.fetch_add(1, Relaxed);
            ClientError::fatal("53300", format!("too many clients {what}: the limit is {limit}"))
                .hint("Raise it under `limits` in pgweir.yaml, or let clients share connections.")
        };
        if clients > limits.clients {
            return Err(refuse("in all".into(), limits.clients));
        }
        match (by_user, by_database) {
            (Some(limit), _) if of_user > limit => Err(refuse(format!("of user \"{user}\""), limit)),
            (_, Some(limit)) if of_database > limit => {
                Err(refuse(format!("of database \"{database}\""), limit))
            }
            _ => Ok(admission),
        }
    }

    /// The SCRAM verifier of a user whose password is plain, derived once.
    pub fn verifier(&self, user: &str, secret: &Secret) -> Option<Arc<Verifier>> {
        let Secret::Plain(password) = secret else {
            return None;
        };
        if let Some(known) = self.verifiers.get(user)
            && known.0 == *secret
        {
            return Some(known.1.clone());
        }
        let verifier = Arc::new(self.mock.verifier_of_plain(user, password));
        self.verifiers.insert(user.to_owned(), (secret.clone(), verifier.clone()));
        Some(verifier)
    }

    pub fn learn(&self, user: &str, learned: Learned) {
        if learned != Learned::Nothing {
            self.learned.insert(user.to_owned(), learned);
        }
    }

    pub fn learned(&self, user: &str) -> Learned {
        self.learned.get(user).map(|learned| learned.clone()).unwrap_or_default()
    }

    /// Notes a failed login and says how long to let it wait: nothing for the first, then longer each time,
    /// so that guessing takes for ever and a typing error does not.
    pub fn failed_login(&self, from: IpAddr) -> Duration {
        self.registry.logins_failed.fetch_add(1, Relaxed);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        failures.retain(|_, (_, last)| now - *last < FAILURE_MEMORY);
        if failures.len() >= FAILURES_MAX && !failures.contains_key(&from) {
            failures.pop_first();
        }
        let (times, last) = failures.entry(from).or_insert((0, now));
        (*times, *last) = (*times + 1, now);
        FAILURE_DELAY * (1 << (*times - 1).min(5)) - FAILURE_DELAY
    }
}

/// A row of failures is forgotten after this.
const FAILURE_MEMORY: Duration = Duration::from_secs(60);
/// Addresses remembered.
const FAILURES_MAX: usize = 10_000;
/// 0, 100, 300, 700 ms, … up to 3.1 s.
const FAILURE_DELAY: Duration = Duration::from_millis(100);

fn count(counts: &DashMap<String, usize>, name: &str) -> usize {
    let mut count = counts.entry(name.to_owned()).or_default();
    *count += 1;
    *count
}

fn uncount(counts: &DashMap<String, usize>, name: &str) {
    counts.remove_if_mut(name, |_, count| {
        *count -= 1;
        *count == 0
    });
}

/// Clients that are told at the same time that there is no room; others are closed without a word, because
/// each takes one of the last descriptors.
const TURNED_AWAY_MAX: usize = 4;

/// A client that is being told that there is no room.
pub struct TurnedAway<'a>(&'a AtomicUsize);

impl Drop for TurnedAway<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A client that was counted in; dropping it counts it out.
pub struct Admission {
    hub: Arc<Hub>,
    user: Box<str>,
    database: Box<str>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.hub.clients.fetch_sub(1, Relaxed);
        uncount(&self.hub.clients_by_user, &self.user);
        uncount(&self.hub.clients_by_database, &self.database);
    }
}
