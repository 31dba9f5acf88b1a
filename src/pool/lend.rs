//! A worker's pool for one (database, user): who has a server, who waits for one, in which order.
//! Connections are opened in `open`; a session holds a server through a `Lease` and nothing else.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use super::baggage::{Baggage, Text};
use super::clock::Clock;
use super::connector::Connector;
use super::open::Failure;
use super::server::Server;
use super::settings::DatabaseSettings;
use super::statement::Interner;
use crate::auth::credential::ServerLogin;
use crate::auth::scram_keys::ClientKeys;
use crate::error::ClientError;
use crate::observe::counters::PoolCounters;

/// What all workers share of one pool: how many servers are open, and what they saw of the schema.
#[derive(Debug, Default)]
pub struct Shared {
    pub(super) open: AtomicUsize,
    /// Workers whose clients wait while others hold all servers.
    pub(super) hungry: AtomicUsize,
    /// Told when a worker wants a place, and when a place is free for one.
    pub(super) notice: tokio::sync::Notify,
    pub(super) epoch: AtomicU64,
}

/// One pool of one worker.
pub struct Pool {
    pub database: String,
    pub user: String,
    pub config: RefCell<Config>,
    pub counters: Arc<PoolCounters>,
    pub interner: RefCell<Interner>,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Rc<Clock>,
    /// Most recently used last.
    #[expect(clippy::vec_box, reason = "a server changes hands twice per transaction, and is large")]
    pub(super) idle: RefCell<Vec<Box<Server>>>,
    pub(super) waiters: RefCell<VecDeque<Rc<Waiter>>>,
    /// Servers of this worker: idle, lent and being opened.
    pub(super) mine: Cell<usize>,
    pub(super) opening: Cell<usize>,
    pub(super) failure: RefCell<Option<Failure>>,
    pub(super) succeeded: Cell<bool>,
    pub(super) hungry: Cell<bool>,
    /// The worker ends: nothing is opened any more.
    pub(super) closed: Cell<bool>,
    pub(super) keys: RefCell<Option<ClientKeys>>,
    pub(super) welcomes: RefCell<HashMap<u64, Rc<Welcome>>>,
}

/// What a reload may change.
#[derive(Clone)]
pub struct Config {
    pub settings: Arc<DatabaseSettings>,
    pub login: ServerLogin,
    pub tls: Arc<Connector>,
    /// Servers of an earlier generation are closed instead of lent.
    pub generation: u64,
    pub workers: usize,
}

/// What a client is greeted with, learned from a server once per set of start-up parameters.
pub struct Welcome {
    /// Its start-up settings under PostgreSQL's own names and spelling.
    pub baggage: Rc<Baggage>,
    /// ParameterStatus frames.
    pub parameters: Box<[u8]>,
}

/// Sets of start-up parameters remembered per pool; applications have a handful.
const WELCOMES_MAX: usize = 256;

/// A place in the queue.
pub struct Waiter {
    slot: RefCell<Option<Result<Box<Server>, ClientError>>>,
    waker: RefCell<Option<Waker>>,
    pub(super) startup: Option<Arc<[(Text, Text)]>>,
    gone: Cell<bool>,
    pub since_us: u64,
}

/// A borrowed server. Dropping it closes the server; `give_back` lets the next client have it.
pub struct Lease {
    server: Option<Box<Server>>,
    pool: Rc<Pool>,
}

/// A borrowing that may have to wait. Dropping it leaves the queue.
pub struct Ticket {
    waiter: Rc<Waiter>,
    pool: Rc<Pool>,
}

impl Pool {
    pub fn new(
        (database, user): (&str, &str),
        config: Config,
        shared: Arc<Shared>,
        clock: Rc<Clock>,
        (counters, interner): (Arc<PoolCounters>, Interner),
    ) -> Rc<Self> {
        let workers = config.workers;
        let pool = Rc::new(Pool {
            database: database.to_owned(),
            user: user.to_owned(),
            config: RefCell::new(config),
            counters,
            interner: RefCell::new(interner),
            shared,
            clock,
            idle: RefCell::default(),
            waiters: RefCell::default(),
            mine: Cell::new(0),
            opening: Cell::new(0),
            failure: RefCell::default(),
            succeeded: Cell::new(false),
            hungry: Cell::new(false),
            closed: Cell::new(false),
            keys: RefCell::default(),
            welcomes: RefCell::default(),
        });
        if workers > 1 {
            tokio::task::spawn_local(pool.clone().share());
        }
        pool
    }

    /// A server at once, when one is idle and nobody waits. One that carries `baggage` already is
    /// preferred; one that was opened with other start-up parameters does not fit.
    pub fn take(
        self: &Rc<Self>,
        startup: Option<&Arc<[(Text, Text)]>>,
        baggage: &Rc<Baggage>,
    ) -> Option<Lease> {
        if self.waiting() > 0 {
            return None;
        }
        loop {
            let server = self.pick(startup, baggage)?;
            if let Some(server) = self.usable(server) {
                self.counters.servers_active.add(1);
                return Some(Lease { server: Some(server), pool: self.clone() });
            }
        }
    }

    fn pick(&self, startup: Option<&Arc<[(Text, Text)]>>, baggage: &Rc<Baggage>) -> Option<Box<Server>> {
        let mut idle = self.idle.borrow_mut();
        let fits = |server: &Server| server.startup.as_ref() == startup;
        let carries = |server: &Server| fits(server) && server.memory.baggage == *baggage;
        let at = match idle.last() {
            Some(last) if carries(last) => idle.len() - 1,
            _ => idle
                .iter()
                .rposition(|server| carries(server))
                .or_else(|| idle.iter().rposition(|server| fits(server)))?,
        };
        let server = idle.remove(at);
        self.counters.servers_idle.add(-1);
        Some(server)
    }

    /// Closes a server that died or outlived its settings while it was idle.
    fn usable(self: &Rc<Self>, mut server: Box<Server>) -> Option<Box<Server>> {
        let config = self.config.borrow();
        if server.generation == config.generation && server.is_alive() {
            return Some(server);
        }
        drop(config);
        self.retire(server);
        None
    }

    /// Joins the queue. Call `Ticket::poll` until it is ready.
    pub fn queue(self: &Rc<Self>, startup: Option<&Arc<[(Text, Text)]>>) -> Ticket {
        let waiter = Rc::new(Waiter {
            slot: RefCell::default(),
            waker: RefCell::default(),
            startup: startup.cloned(),
            gone: Cell::new(false),
            since_us: self.clock.us(),
        });
        self.waiters.borrow_mut().push_back(waiter.clone());
        self.counters.clients_waiting.add(1);
        self.make_room(startup);
        self.ensure_open();
        self.ask_others();
        Ticket { waiter, pool: self.clone() }
    }

    /// Clients in the queue that have not been served.
    pub fn waiting(&self) -> usize {
        self.waiters.borrow().len()
    }

    /// Takes a server back, or a new one in, and hands it to whoever waits longest.
    pub(super) fn put(self: &Rc<Self>, mut server: Box<Server>) {
        let fresh = server.used_ms == 0;
        server.used_ms = self.clock.ms().max(1);
        let outlived = {
            let config = self.config.borrow();
            let lifetime = config.settings.pool.server_lifetime.as_millis() as u64;
            server.generation != config.generation
                || (lifetime > 0 && self.clock.ms() - server.opened_ms > lifetime)
                || self.mine.get() > config.settings.pool.max_size
        };
        if outlived {
            return self.retire(server);
        }
        if self.owes_a_share(&server) {
            return self.yield_place(server);
        }
        if self.waiting() == 0 {
            self.counters.servers_idle.add(1);
            self.idle.borrow_mut().push(server);
            return;
        }
        match self.next_waiter_for(&server, fresh) {
            Some(waiter) => {
                self.counters.servers_active.add(1);
                waiter.settle(Ok(server));
            }
            // Whoever waits longest needs a server that was opened otherwise.
            None => self.retire(server),
        }
    }

    /// The client that gets this server: whoever waits longest, if the server was opened as it needs it. One
    /// that was just opened for a client further back goes to that one.
    fn next_waiter_for(&self, server: &Server, fresh: bool) -> Option<Rc<Waiter>> {
        let mut waiters = self.waiters.borrow_mut();
        let fits = |waiter: &Rc<Waiter>| waiter.startup == server.startup;
        let at = if fresh { waiters.iter().position(fits)? } else { 0 };
        let waiter = if waiters.get(at).is_some_and(fits) { waiters.remove(at) } else { None };
        drop(waiters);
        if waiter.is_some() {
            self.counters.clients_waiting.add(-1);
            self.note_hunger();
        }
        waiter
    }

    /// The longest waiting client that is still there.
    fn next_waiter(&self) -> Option<Rc<Waiter>> {
        let waiter = self.waiters.borrow_mut().pop_front();
        if waiter.is_some() {
            self.counters.clients_waiting.add(-1);
        }
        self.note_hunger();
        waiter
    }

    /// Tells every waiting client that there will be no server for it.
    pub fn fail_waiters(&self, error: &ClientError) {
        while let Some(waiter) = self.next_waiter() {
            waiter.settle(Err(error.clone()));
        }
    }

    /// The same to those only who need a server that was opened with these parameters.
    pub(super) fn fail_waiters_of(&self, startup: Option<&Arc<[(Text, Text)]>>, error: &ClientError) {
        let all = std::mem::take(&mut *self.waiters.borrow_mut());
        let (failing, staying): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|waiter| waiter.startup.as_ref() == startup);
        self.waiters.borrow_mut().extend(staying);
        for waiter in failing {
            self.counters.clients_waiting.add(-1);
            waiter.settle(Err(error.clone()));
        }
        self.note_hunger();
    }

    /// Closes a server and lets another be opened in its place.
    pub(super) fn retire(self: &Rc<Self>, server: Box<Server>) {
        server.close();
        self.counters.servers_closed.add(1);
        self.free_place();
        self.ensure_open();
    }

    // --- schema and welcomes ---

    /// Counts the schema changes seen by any worker.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch.load(Relaxed)
    }

    pub fn schema_changed(&self) {
        self.shared.schema_changed();
    }

    pub fn welcome(&self, startup: u64) -> Option<Rc<Welcome>> {
        self.welcomes.borrow().get(&startup).cloned()
    }

    pub fn remember_welcome(&self, startup: u64, welcome: Rc<Welcome>) {
        let mut welcomes = self.welcomes.borrow_mut();
        if welcomes.len() >= WELCOMES_MAX {
            welcomes.clear();
        }
        welcomes.insert(startup, welcome);
    }

    /// Nobody uses this pool: no server, nobody waiting.
    pub fn is_empty(&self) -> bool {
        self.mine.get() == 0 && self.waiting() == 0
    }

    /// Looks at each idle server, for the API.
    pub fn each_idle(&self, mut look: impl FnMut(&Server)) {
        self.idle.borrow().iter().for_each(|server| look(server));
    }
}

impl Waiter {
    fn settle(&self, outcome: Result<Box<Server>, ClientError>) {
        *self.slot.borrow_mut() = Some(outcome);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Ticket {
    /// Ready when a server was handed over, or when there will be none.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<Lease, ClientError>> {
        match self.waiter.slot.borrow_mut().take() {
            Some(Ok(server)) => Poll::Ready(Ok(Lease { server: Some(server), pool: self.pool.clone() })),
            Some(Err(error)) => Poll::Ready(Err(error)),
            None => {
                let mut waker = self.waiter.waker.borrow_mut();
                if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    pub fn since_us(&self) -> u64 {
        self.waiter.since_us
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.waiter.gone.set(true);
        let mut waiters = self.pool.waiters.borrow_mut();
        if let Some(at) = waiters.iter().position(|waiter| Rc::ptr_eq(waiter, &self.waiter)) {
            waiters.remove(at);
            drop(waiters);
            self.pool.counters.clients_waiting.add(-1);
            self.pool.note_hunger();
        } else {
            drop(waiters);
        }
        // Handed over in the moment the client left: the next one gets it.
        if let Some(Ok(server)) = self.waiter.slot.borrow_mut().take() {
            self.pool.counters.servers_active.add(-1);
            self.pool.put(server);
        }
    }
}

impl Lease {
    #[inline]
    pub fn server(&mut self) -> &mut Server {
        self.server.as_mut().expect("a lease holds its server until it is given back or dropped")
    }

    pub fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    /// The server is idle and clean: the next client may have it.
    pub fn give_back(mut self) {
        if let Some(server) = self.server.take() {
            self.pool.counters.servers_active.add(-1);
            self.pool.put(server);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.pool.counters.servers_active.add(-1);
            self.pool.retire(server);
        }
    }
}
