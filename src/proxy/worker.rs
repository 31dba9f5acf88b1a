//! One worker thread: its pools, buffers, sessions and clock. Nothing of it is shared with other threads.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

use super::coalescing::{Lines, settle_lost};
use super::control::{Control, State, Wish};
use super::hub::{Hub, Live, Mail};
use super::{farewell, greet, report};
use crate::coalesce::Thresholds;
use crate::coalesce::burst::Bursts;
use crate::coalesce::prefetch::buffer::{ALL_BYTES_MAX, Budget};
use crate::error::ClientError;
use crate::net::buffer::Slab;
use crate::net::stream::Stream;
use crate::observe::counters::PoolCounters;
use crate::observe::process::give_back_memory;
use crate::pool::clock::Clock;
use crate::pool::lend::{Config, Pool};
use crate::pool::statement::Interner;
use crate::session::account::Notes;
use crate::session::lookup::Values;
use crate::session::out::Out;

/// How often deadlines are looked at while sessions are at work, and while none is.
const TICK_BUSY: Duration = Duration::from_millis(100);
const TICK_IDLE: Duration = Duration::from_secs(2);

pub struct Worker {
    pub index: usize,
    pub hub: Arc<Hub>,
    pub clock: Rc<Clock>,
    pub slab: Slab,
    /// Where sessions put their bytes within one step: to the server, to the client.
    pub outs: RefCell<(Out, Out)>,
    /// Where they tell of their statements.
    pub notes: RefCell<Notes>,
    /// What they read of a look-up: its values, and what it has in common with others.
    pub scratch: RefCell<(Values, Vec<u8>)>,
    lines: RefCell<HashMap<(String, String), Rc<Lines>>>,
    /// Memory that sessions may take for answers that were fetched ahead.
    pub budget: Rc<Budget>,
    /// Counts the refreshes of catalogs, as of the last tick.
    pub catalogs_seen: Cell<u64>,
    pools: RefCell<HashMap<(String, String), Rc<Pool>>>,
    sessions: RefCell<BTreeMap<u64, Rc<Control>>>,
    next_statement: Rc<Cell<u64>>,
    /// The tasks that accept clients.
    doors: RefCell<Vec<tokio::task::JoinHandle<()>>>,
    /// What counts as a loop; `None`: nobody looks.
    pub thresholds: Cell<Option<Thresholds>>,
    pub bursts: RefCell<Bursts>,
    /// Sessions whose statements are remembered at present.
    pub watched: Cell<usize>,
    /// Values of one call are kept with each shape.
    pub samples: Cell<bool>,
    /// Clients came, went or came to rest since memory was last given back.
    pub(super) churned: Cell<bool>,
    /// Told when pgweir begins to end.
    pub draining: tokio::sync::Notify,
    started: Instant,
    /// Unix time at which the clock stood at zero.
    started_s: u64,
}

impl Worker {
    pub fn new(index: usize, hub: Arc<Hub>) -> Rc<Self> {
        let (rules, workers) = (hub.live().settings.rules.clone(), hub.live().settings.workers);
        Rc::new(Worker {
            index,
            hub,
            clock: Rc::default(),
            slab: Slab::default(),
            outs: RefCell::default(),
            notes: RefCell::default(),
            scratch: RefCell::default(),
            lines: RefCell::default(),
            budget: Rc::new(Budget::new(ALL_BYTES_MAX / workers.max(1))),
            catalogs_seen: Cell::new(0),
            pools: RefCell::default(),
            sessions: RefCell::default(),
            // Ids of different workers never meet.
            next_statement: Rc::new(Cell::new((index as u64) << 40)),
            doors: RefCell::default(),
            thresholds: Cell::new(rules.thresholds()),
            bursts: RefCell::default(),
            watched: Cell::new(0),
            samples: Cell::new(rules.observe.parameters),
            churned: Cell::new(false),
            draining: tokio::sync::Notify::new(),
            started: Instant::now(),
            started_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        })
    }

    /// Reads the time, once per wake-up.
    #[inline]
    pub fn read_clock(&self) {
        self.clock.set_us(self.started.elapsed().as_micros() as u64);
    }

    /// Unix time in seconds, by the worker's clock.
    pub fn unix_s(&self) -> u64 {
        self.started_s + self.clock.us() / 1_000_000
    }

    /// Unix time in microseconds at which the clock stood at zero, or up to a second earlier.
    pub fn zero_unix_us(&self) -> i64 {
        self.started_s as i64 * 1_000_000
    }

    /// Serves letters until the mailbox closes or says to end.
    pub async fn run(self: Rc<Self>, mut mailbox: mpsc::UnboundedReceiver<Mail>) {
        let ticking = tokio::task::spawn_local(self.clone().tick());
        while let Some(mail) = mailbox.recv().await {
            self.read_clock();
            match mail {
                Mail::Tcp(stream) => self.welcome_std(stream),
                Mail::Unix(stream) => match tokio::net::UnixStream::from_std(stream) {
                    Ok(stream) => self.welcome(Stream::unix(stream)),
                    Err(error) => tracing::warn!("a client could not be taken over: {error}"),
                },
                Mail::Cancel(session, through) => {
                    if let Some(control) = self.sessions.borrow().get(&session) {
                        control.ask_cancel(through);
                    }
                }
                Mail::Reload => self.reload(),
                Mail::Drain => {
                    self.close_doors();
                    self.each_session(|control| control.ask(Wish::Drain));
                    self.draining.notify_waiters();
                }
                Mail::Kill => break,
                // Whoever asked may have stopped waiting.
                Mail::Report(answer) => drop(answer.send(report::pools(&self))),
            }
        }
        ticking.abort();
        self.close_doors();
        self.each_session(|control| control.ask(Wish::End(farewell::shutting_down())));
        // Some turns of the scheduler, so that the sessions can say it.
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.each_pool(|pool| pool.close());
    }

    fn welcome_std(self: &Rc<Self>, stream: std::net::TcpStream) {
        match tokio::net::TcpStream::from_std(stream) {
            Ok(stream) => self.welcome(Stream::tcp(stream)),
            Err(error) => tracing::warn!("a client could not be taken over: {error}"),
        }
    }

    /// Starts a session on this worker.
    pub fn welcome(self: &Rc<Self>, stream: Stream) {
        self.hub.loads[self.index].fetch_add(1, Relaxed);
        self.churned.set(true);
        let worker = self.clone();
        tokio::task::spawn_local(async move {
            // The login's own state is freed before the session starts, which may last for days.
            let drive = Box::pin(greet::greet(worker.clone(), stream)).await;
            if let Some((drive, admitted)) = drive {
                let control = drive.control.clone();
                if worker.hub.draining.load(Relaxed) {
                    control.ask(Wish::Drain);
                }
                drive.await;
                worker.hub.cancel_keys.remove(&admitted.key);
                worker.sessions.borrow_mut().remove(&control.id);
                control.pool.counters.clients.add(-1);
                drop(admitted);
                worker.churned.set(true);
            }
            worker.hub.loads[worker.index].fetch_sub(1, Relaxed);
        });
    }

    pub fn keep_door(&self, task: tokio::task::JoinHandle<()>) {
        self.doors.borrow_mut().push(task);
    }

    fn close_doors(&self) {
        self.doors.borrow_mut().drain(..).for_each(|door| door.abort());
    }

    pub fn enter_session(&self, control: &Rc<Control>) {
        control.pool.counters.clients.add(1);
        self.sessions.borrow_mut().insert(control.id, control.clone());
    }

    pub fn each_session(&self, mut look: impl FnMut(&Rc<Control>)) {
        self.sessions.borrow().values().for_each(&mut look);
    }

    pub fn each_pool(&self, mut look: impl FnMut(&Rc<Pool>)) {
        self.pools.borrow().values().for_each(&mut look);
    }

    // --- pools ---

    /// The pool of a database and user; `None` when the settings no longer know the database.
    pub fn pool(&self, database: &str, user: &str) -> Option<Rc<Pool>> {
        let key = (database.to_owned(), user.to_owned());
        if let Some(pool) = self.pools.borrow().get(&key) {
            return Some(pool.clone());
        }
        let config = self.config(&self.hub.live(), database, user)?;
        let counters = Arc::new(PoolCounters::new(database, user));
        self.hub.registry.register(counters.clone());
        let mut interner = Interner::new(self.next_statement.clone());
        let live = self.hub.live();
        let rules = &live.settings.rules;
        interner.observe(rules.observe.enabled, rules.wants_values());
        interner.keeps_writes = live.makes_partitions(database);
        let shared = self.hub.shared(database, user);
        let pool = Pool::new((database, user), config, shared, self.clock.clone(), (counters, interner));
        self.pools.borrow_mut().insert(key, pool.clone());
        Some(pool)
    }

    /// The look-ups of a pool.
    pub fn lines(self: &Rc<Self>, pool: &Rc<Pool>) -> Rc<Lines> {
        let mut lines = self.lines.borrow_mut();
        let key = (pool.database.clone(), pool.user.clone());
        lines.entry(key).or_insert_with(|| Lines::new(self, pool)).clone()
    }

    fn config(&self, live: &Live, database: &str, user: &str) -> Option<Config> {
        let (settings, tls) = live.database(database)?;
        let login = self.hub.server_login(live, user);
        let workers = live.settings.workers;
        Some(Config { settings, login, tls, generation: live.generation, workers })
    }

    /// A login showed how to log in to servers.
    pub fn refresh_login(&self, pool: &Pool) {
        if let Some(config) = self.config(&self.hub.live(), &pool.database, &pool.user) {
            pool.config.borrow_mut().login = config.login;
        }
    }

    fn reload(&self) {
        let live = self.hub.live();
        let rules = &live.settings.rules;
        self.thresholds.set(rules.thresholds());
        self.samples.set(rules.observe.parameters);
        self.each_pool(|pool| {
            let mut interner = pool.interner.borrow_mut();
            interner.observe(rules.observe.enabled, rules.wants_values());
            interner.keeps_writes = live.makes_partitions(&pool.database);
            drop(interner);
            let Some(config) = self.config(&live, &pool.database, &pool.user) else {
                return;
            };
            let mut held = pool.config.borrow_mut();
            let same = held.settings == config.settings
                && held.login.user == config.login.user
                && held.login.secret == config.login.secret;
            let generation = if same { held.generation } else { live.generation };
            let learned = held.login.learned.clone();
            *held = Config { generation, ..config };
            if same {
                held.login.learned = learned;
            }
        });
        self.lines.borrow().iter().for_each(|((database, user), lines)| {
            if let Some(pool) = self.pools.borrow().get(&(database.clone(), user.clone())) {
                lines.configure(self, pool);
            }
        });
        // A database that is gone serves its clients no longer.
        self.each_session(|control| {
            if live.database(&control.pool.database).is_none() {
                let message = format!("database \"{}\" was removed from the settings", control.pool.database);
                control.ask(Wish::End(ClientError::fatal("57P01", message)));
            }
        });
    }

    // --- time ---

    async fn tick(self: Rc<Self>) {
        loop {
            let mut busy = false;
            self.each_session(|control| busy |= control.state.get() != State::Idle);
            self.each_pool(|pool| busy |= pool.waiting() > 0);
            tokio::time::sleep(if busy { TICK_BUSY } else { TICK_IDLE }).await;
            self.read_clock();
            self.each_pool(|pool| pool.tend());
            self.each_pool(|pool| self.route(pool));
            if !busy && (self.slab.take_overflowed() | self.churned.take()) {
                give_back_memory();
            }
            self.sweep_bursts();
            let refreshes = self.hub.registry.catalogs.list().iter().map(|(_, known)| known.refreshes).sum();
            self.catalogs_seen.set(refreshes);
            self.lines.borrow().values().for_each(settle_lost);
            let live = self.hub.live();
            let now = self.clock.ms();
            self.each_session(|control| {
                if control.rests(now) {
                    control.ask(Wish::EndUnit);
                }
                if let Some(wish) = overdue(control, &live, now) {
                    control.ask(wish);
                }
            });
        }
    }
}

/// What has to happen to a session that has been where it is for too long.
fn overdue(control: &Control, live: &Live, now_ms: u64) -> Option<Wish> {
    let timeouts = &live.settings.timeouts;
    let beyond = |since: u64, bound: Duration| {
        !bound.is_zero() && now_ms.saturating_sub(since) > bound.as_millis() as u64
    };
    let since = control.since_ms.get();
    let transaction = control.transaction_ms.get();
    if transaction > 0 && beyond(transaction, timeouts.transaction) {
        let message = "terminating connection due to transaction timeout";
        return Some(Wish::End(ClientError::fatal("25P04", message)));
    }
    match control.state.get() {
        State::Waiting => {
            let config = control.pool.config.borrow();
            let pool = &config.settings.pool;
            beyond(since, pool.queue_wait).then(|| Wish::GiveUpWaiting(exhausted(control, pool)))
        }
        State::Active if beyond(since, timeouts.query) => {
            // First the statement is cancelled; a server that does not heed that is closed.
            if beyond(since, timeouts.query + CANCEL_PATIENCE) {
                let message = "the statement ran into pgweir's query timeout and could not be cancelled";
                Some(Wish::End(ClientError::fatal("57014", message)))
            } else {
                Some(Wish::Interrupt)
            }
        }
        State::InTransaction if beyond(since, timeouts.idle_in_transaction) => {
            let message = "terminating connection due to idle-in-transaction timeout";
            Some(Wish::End(ClientError::fatal("25P03", message)))
        }
        State::Idle if beyond(since, timeouts.client_idle) => {
            let message = "terminating connection due to idle-session timeout";
            Some(Wish::End(ClientError::fatal("57P05", message)))
        }
        _ => None,
    }
}

/// A statement that was cancelled may take this long to end.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);

/// The pool had no server for too long.
pub fn exhausted(control: &Control, pool: &crate::pool::settings::PoolSettings) -> ClientError {
    pool_exhausted(&control.pool, pool)
}

/// Names the pool, its limit and the wait.
pub fn pool_exhausted(pool: &Pool, settings: &crate::pool::settings::PoolSettings) -> ClientError {
    let (database, user) = (&pool.database, &pool.user);
    let (limit, wait) = (settings.max_size, settings.queue_wait);
    ClientError::error(
        "53300",
        format!("no server connection of pool {database}/{user} became free within {wait:?}; all {limit} are in use"),
    )
    .hint("Raise pool.max_size or pool.queue_wait, or look at /api/database/connections for who holds them.")
}
