//! How the workers share one pool's places, and the upkeep of idle servers.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::baggage::Text;
use super::lend::{Pool, Shared};
use super::server::Server;

/// How long a worker keeps a server that others wait for, where there are fewer servers than workers: long
/// enough that opening connections is not most of the work.
const TURN_MS: u64 = 100;

/// A server that a worker has not used for so long is of more use where clients wait. Opening one takes some
/// milliseconds, so that moving them more often would cost more than it brings.
const UNUSED_MS: u64 = 1_000;

impl Shared {
    /// Schema changes seen by any worker.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Relaxed)
    }

    pub fn schema_changed(&self) {
        self.epoch.fetch_add(1, Relaxed);
    }
}

impl Pool {
    /// A waiter that no idle server fits takes the place of one of them.
    pub(super) fn make_room(self: &Rc<Self>, startup: Option<&Arc<[(Text, Text)]>>) {
        let full = self.open_servers() >= self.config.borrow().settings.pool.max_size;
        let unfit = || {
            let mut idle = self.idle.borrow_mut();
            let at = idle.iter().position(|server| server.startup.as_ref() != startup)?;
            Some(idle.remove(at))
        };
        if full && let Some(server) = unfit() {
            self.counters.servers_idle.add(-1);
            self.retire(server);
        }
    }

    /// The start-up parameters that the next server to be opened needs: those of the first waiting client that
    /// none is being opened for.
    pub(super) fn wanted_startup(&self) -> Option<Arc<[(Text, Text)]>> {
        let waiters = self.waiters.borrow();
        waiters.get(self.opening.get()).or(waiters.front())?.startup.clone()
    }

    pub(super) fn open_servers(&self) -> usize {
        self.shared.open.load(Relaxed)
    }

    /// Reserves one of the pool's connections.
    pub(super) fn reserve_place(&self) -> bool {
        let max = self.config.borrow().settings.pool.max_size;
        let reserve = |open: usize| (open < max).then_some(open + 1);
        let reserved = self.shared.open.fetch_update(Relaxed, Relaxed, reserve).is_ok();
        self.mine.set(self.mine.get() + usize::from(reserved));
        reserved
    }

    pub(super) fn free_place(&self) {
        self.shared.open.fetch_sub(1, Relaxed);
        self.mine.set(self.mine.get() - 1);
        if self.others_hungry() {
            self.shared.notice.notify_waiters();
        }
    }

    /// Lets other workers know whether clients wait here for want of connections.
    pub(super) fn note_hunger(&self) {
        let hungry = self.waiting() > self.opening.get();
        if hungry != self.hungry.replace(hungry) {
            if hungry {
                self.shared.hungry.fetch_add(1, Relaxed);
            } else {
                self.shared.hungry.fetch_sub(1, Relaxed);
            }
        }
    }

    pub(super) fn others_hungry(&self) -> bool {
        self.shared.hungry.load(Relaxed) > usize::from(self.hungry.get())
    }

    /// Clients wait here: a worker with idle servers may give one up.
    pub(super) fn ask_others(&self) {
        if self.hungry.get() {
            self.shared.notice.notify_waiters();
        }
    }

    /// Gives and takes places as the workers need them.
    pub(super) async fn share(self: Rc<Self>) {
        let shared = self.shared.clone();
        loop {
            // Made before looking, so that no notice is missed in between.
            let notice = shared.notice.notified();
            let full = self.open_servers() >= self.config.borrow().settings.pool.max_size;
            if full && self.others_hungry() {
                self.give_up_idle();
            } else if self.waiting() > 0 {
                self.ensure_open();
            }
            notice.await;
        }
    }

    /// The server that was idle longest makes room for another worker's client, if this worker holds more than
    /// its share, or has had no use for it for a while.
    pub(super) fn give_up_idle(self: &Rc<Self>) {
        let mut idle = self.idle.borrow_mut();
        let Some(longest) = idle.first() else { return };
        let unused = self.clock.ms().saturating_sub(longest.used_ms) >= UNUSED_MS;
        if !unused && !self.holds_too_many() && !self.has_fewer_than_workers() {
            return;
        }
        let server = idle.remove(0);
        drop(idle);
        self.counters.servers_idle.add(-1);
        self.yield_place(server);
    }

    /// Closes a server and leaves its place to whoever is quicker, which is not this worker.
    pub(super) fn yield_place(&self, server: Box<Server>) {
        server.close();
        self.counters.servers_closed.add(1);
        self.free_place();
    }

    /// Whether this server should be another worker's: that one has clients waiting, and this one holds more
    /// than its share, or there are fewer servers than workers and it has had its turn.
    pub(super) fn owes_a_share(&self, server: &Server) -> bool {
        let had_its_turn = || self.clock.ms() - server.opened_ms >= TURN_MS;
        self.others_hungry() && (self.holds_too_many() || (self.has_fewer_than_workers() && had_its_turn()))
    }

    fn holds_too_many(&self) -> bool {
        let config = self.config.borrow();
        self.mine.get() > (config.settings.pool.max_size / config.workers).max(1)
    }

    fn has_fewer_than_workers(&self) -> bool {
        let config = self.config.borrow();
        config.settings.pool.max_size < config.workers
    }

    /// Runs now and then: closes what idled too long, opens what is missing.
    pub fn tend(self: &Rc<Self>) {
        if self.others_hungry() {
            self.give_up_idle();
        }
        let (idle_ms, lifetime_ms, min, generation) = {
            let config = self.config.borrow();
            let pool = &config.settings.pool;
            let ms = |duration: std::time::Duration| duration.as_millis() as u64;
            (ms(pool.server_idle), ms(pool.server_lifetime), pool.min_size, config.generation)
        };
        let now = self.clock.ms();
        let expired = |server: &mut Server, spare: bool| {
            server.generation != generation
                || (lifetime_ms > 0 && now - server.opened_ms > lifetime_ms)
                || (spare && idle_ms > 0 && now - server.used_ms > idle_ms)
                || !server.is_alive()
        };
        let mut spare = self.open_servers().saturating_sub(min);
        let mut retired = Vec::new();
        {
            let mut idle = self.idle.borrow_mut();
            let mut at = 0;
            while at < idle.len() {
                if expired(&mut idle[at], spare > 0) {
                    retired.push(idle.remove(at));
                    spare = spare.saturating_sub(1);
                } else {
                    at += 1;
                }
            }
        }
        self.counters.servers_idle.add(-(retired.len() as i64));
        retired.into_iter().for_each(|server| self.retire(server));
        self.ensure_open();
    }

    /// Says goodbye to the idle servers and opens no others, whoever waits.
    pub fn close(&self) {
        self.closed.set(true);
        self.idle.borrow_mut().drain(..).for_each(|server| server.close());
    }
}
