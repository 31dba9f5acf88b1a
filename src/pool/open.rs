//! Opening server connections: how many, how fast, and what happens when it does not work.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::baggage::Text;
use super::lend::Pool;
use super::login::{Opened, Opening, open};
use super::server::{Server, ServerError};
use crate::error::ClientError;

/// The last failure to open a server.
pub struct Failure {
    /// How often in a row.
    times: u32,
    /// When, by the worker's clock.
    at_ms: u64,
}

/// Pauses between attempts: 100 ms, doubling, up to 3.2 s. A server that comes back is found soon, and one
/// that stays away is not bothered.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_DOUBLINGS: u32 = 5;

/// Attempts after which waiting clients are told, when the pool has worked before: about 3 s, so that a
/// failover or restart passes without an error.
const PATIENT_TIMES: u32 = 5;

impl Pool {
    /// Opens connections for clients that wait and for `min_size`, within the pool's size.
    pub(super) fn ensure_open(self: &Rc<Self>) {
        if self.closed.get() {
            return;
        }
        let (min, failing) = {
            let min = self.config.borrow().settings.pool.min_size;
            (min, self.failure.borrow().is_some())
        };
        // Spare connections do not take places that clients of other workers wait for.
        let missing = if self.others_hungry() { 0 } else { min.saturating_sub(self.open_servers()) };
        let wanted = self.waiting().saturating_sub(self.opening.get()).max(missing);
        // While a server does not answer, one attempt at a time is enough to notice when it does.
        let limit = if failing { 1usize.saturating_sub(self.opening.get()) } else { wanted };
        for _ in 0..wanted.min(limit) {
            if !self.reserve_place() {
                break;
            }
            let startup = self.wanted_startup();
            self.opening.set(self.opening.get() + 1);
            let pool = self.clone();
            tokio::task::spawn_local(async move { pool.open_one(startup).await });
        }
        self.note_hunger();
    }

    async fn open_one(self: Rc<Self>, startup: Option<Arc<[(Text, Text)]>>) {
        let pause = self.failure.borrow().as_ref().map(|failure| {
            let pause = PAUSE_FIRST * 2u32.pow((failure.times - 1).min(PAUSE_DOUBLINGS));
            pause.saturating_sub(Duration::from_millis(self.clock.ms() - failure.at_ms))
        });
        if let Some(pause) = pause.filter(|pause| !pause.is_zero()) {
            tokio::time::sleep(pause).await;
        }
        let outcome = self.attempt(startup.clone()).await;
        self.opening.set(self.opening.get() - 1);
        match outcome {
            Ok(server) => {
                *self.failure.borrow_mut() = None;
                self.succeeded.set(true);
                self.counters.servers_opened.add(1);
                tracing::debug!(
                    database = self.database,
                    user = self.user,
                    pid = server.key.pid,
                    "server opened"
                );
                self.put(server);
                // Those who waited while there was no hope get their servers now.
                self.ensure_open();
                self.ask_others();
            }
            Err(error) if startup.is_some() && error.blames_settings() => {
                // Only those clients brought the settings that the server refuses; to others it is open.
                self.free_place();
                self.fail_waiters_of(startup.as_ref(), &client_error(&error));
                self.ensure_open();
            }
            Err(error) => self.note_failure(&error),
        }
    }

    /// Tries the servers of the database in order.
    async fn attempt(&self, startup: Option<Arc<[(Text, Text)]>>) -> Result<Box<Server>, ServerError> {
        let config = self.config.borrow().clone();
        let mut last = ServerError::Unreachable("the database has no servers in its settings".into());
        for address in &config.settings.servers {
            let opening = Opening {
                address: address.clone(),
                database: config.settings.database.clone().unwrap_or_else(|| self.database.clone()),
                login: config.login.clone(),
                cached_keys: self.keys.borrow().clone(),
                startup: startup.clone(),
                tls: config.tls.clone(),
                statements_max: config.settings.pool.max_prepared_statements,
            };
            match self.within_bound(opening, config.settings.pool.connect).await {
                Ok((mut server, keys)) => {
                    if keys.is_some() {
                        *self.keys.borrow_mut() = keys;
                    }
                    server.opened_ms = self.clock.ms();
                    server.generation = config.generation;
                    return Ok(server);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn within_bound(&self, opening: Opening, bound: Duration) -> Result<Opened, ServerError> {
        let place = format!("{:?}", opening.address);
        match tokio::time::timeout(bound, open(opening)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ServerError::Unreachable(format!("{place} did not answer within {bound:?}"))),
        }
    }

    fn note_failure(self: &Rc<Self>, error: &ServerError) {
        self.counters.server_connect_errors.add(1);
        self.free_place();
        let times = self.failure.borrow().as_ref().map_or(0, |failure| failure.times) + 1;
        *self.failure.borrow_mut() = Some(Failure { times, at_ms: self.clock.ms() });
        tracing::warn!(database = self.database, user = self.user, times, "no server connection: {error}");
        // With servers in use the queue moves on without this one, unless the failure is for good.
        let helpless = self.mine.get() == 0 && (!self.succeeded.get() || times >= PATIENT_TIMES);
        if error.is_lasting() && self.mine.get() == 0 || helpless {
            self.fail_waiters(&client_error(error));
        }
        self.ensure_open();
    }
}

/// What a client may read of it.
pub fn client_error(error: &ServerError) -> ClientError {
    match error {
        ServerError::Refused { sqlstate, message } => {
            let known = known_sqlstate(*sqlstate);
            ClientError::fatal(known, message.clone())
        }
        ServerError::Credential(_) => ClientError::fatal("08001", "pgweir cannot log in to the server")
            .hint("The log of pgweir says which proof of identity is missing."),
        other => ClientError::fatal("08001", format!("pgweir has no connection to the server: {other}")),
    }
}

/// SQLSTATEs that a login can end with; anything else is `08004`, the server rejected the connection.
fn known_sqlstate(sqlstate: [u8; 5]) -> &'static str {
    const KNOWN: [&str; 16] = [
        "28000", "28P01", "3D000", "42501", "53300", "57P03", "22023", "08P01", "55P02", "42704", "42601",
        "0A000", "55000", "53200", "57P01", "57P02",
    ];
    KNOWN.into_iter().find(|known| known.as_bytes() == sqlstate).unwrap_or("08004")
}
