//! The server's part of a login: what parameters the client is greeted with, and whether the settings that
//! it brings are right. Asked of a server once per set of settings, then known.

use std::rc::Rc;
use std::sync::Arc;

use super::chore;
use super::opening::Arrival;
use super::worker::pool_exhausted;
use crate::auth::Secret;
use crate::error::{ClientError, Severity};
use crate::pool::baggage::{Baggage, Text, literal};
use crate::pool::lend::{Lease, Pool, Welcome};
use crate::pool::memory::Memory;
use crate::pool::open::client_error;
use crate::pool::server::ServerError;
use crate::pool::settings::PoolMode;
use crate::session::Session;
use crate::session::settings::{State, startup};
use crate::wire::reply;

/// Everything that is left to say to a client that has proven who it is.
pub struct Welcomed {
    pub session: Session,
    /// ParameterStatus frames.
    pub parameters: Box<[u8]>,
    /// Session mode: its server, opened with these parameters, and that server's process id.
    pub lease: Option<Lease>,
    pub startup: Option<Arc<[(Text, Text)]>>,
    pub server_pid: Option<i32>,
}

/// # Errors
/// What the client is told: a wrong setting, no server in time, or what the server said.
pub async fn welcome(pool: &Rc<Pool>, arrival: &Arrival) -> Result<Welcomed, ClientError> {
    let mode = pool.config.borrow().settings.pool.mode;
    if mode == PoolMode::Session || arrival.replication {
        return dedicated(pool, arrival).await;
    }
    let pairs: Vec<(&[u8], &[u8])> =
        arrival.parameters.iter().map(|(name, value)| (&**name, &**value)).collect();
    let settings = startup(&pairs).map_err(|what| ClientError::fatal("42601", what))?;
    let raw = Rc::new(Baggage::new(settings, Default::default()));
    let known = match pool.welcome(raw.fingerprint()) {
        Some(known) => known,
        None => match learn(pool, raw).await {
            Ok(learned) => learned,
            // Some settings can only be made when a server connection starts.
            Err(Learning::NeedsOwnServer) => return dedicated(pool, arrival).await,
            Err(Learning::Refused(error)) => return Err(error),
        },
    };
    Ok(Welcomed {
        session: Session::new(mode, known.baggage.clone()),
        parameters: known.parameters.clone(),
        lease: None,
        startup: None,
        server_pid: None,
    })
}

/// A server of the client's own, with its start-up parameters as that server's defaults.
async fn dedicated(pool: &Rc<Pool>, arrival: &Arrival) -> Result<Welcomed, ClientError> {
    let startup: Arc<[(Text, Text)]> = arrival.parameters.clone().into();
    let mut lease = borrow(pool, Some(&startup)).await?;
    let (parameters, pid) = (frames(&lease.server().memory), lease.server().key.pid);
    Ok(Welcomed {
        session: Session::new(PoolMode::Session, Rc::default()),
        parameters,
        lease: Some(lease),
        startup: Some(startup),
        server_pid: Some(pid),
    })
}

enum Learning {
    NeedsOwnServer,
    Refused(ClientError),
}

/// Tries the settings on a server, and reads what it makes of them.
async fn learn(pool: &Rc<Pool>, raw: Rc<Baggage>) -> Result<Rc<Welcome>, Learning> {
    let refuse = |error: ServerError| match &error {
        ServerError::Refused { sqlstate: [b'5', b'5', b'P', b'0', b'2'], .. } => Learning::NeedsOwnServer,
        ServerError::Refused { sqlstate: [b'4', b'2', b'7', b'0', b'4'], message } => {
            Learning::Refused(ClientError::fatal("42704", message.clone()))
        }
        _ => Learning::Refused(client_error(&error)),
    };
    let lease = borrow(pool, None).await.map_err(Learning::Refused)?;
    let fingerprint = raw.fingerprint();
    let custom =
        raw.settings().keys().filter(|name| name.contains(&b'.')).map(|name| name.to_vec()).collect();
    let lease = chore::align(lease, raw).await.map_err(refuse)?;
    let login = pool.config.borrow().login.user.clone();
    let (mut lease, state) = chore::inspect(lease, login, custom).await.map_err(refuse)?;
    let Some(State { baggage, .. }) = state else {
        let message = "the server could not read back the settings of this connection";
        return Err(Learning::Refused(ClientError::fatal("08006", message)));
    };
    let baggage = Rc::new(baggage);
    lease.server().memory.baggage = baggage.clone();
    let welcome = Rc::new(Welcome { baggage, parameters: frames(&lease.server().memory) });
    pool.remember_welcome(fingerprint, welcome.clone());
    lease.give_back();
    Ok(welcome)
}

fn frames(memory: &Memory) -> Box<[u8]> {
    let mut out = Vec::new();
    for (name, value) in &memory.parameters {
        reply::parameter_status(&mut out, name, value);
    }
    out.into()
}

/// A server, waiting in the queue if need be, within the queue's bound.
pub async fn borrow(pool: &Rc<Pool>, startup: Option<&Arc<[(Text, Text)]>>) -> Result<Lease, ClientError> {
    if let Some(lease) = pool.take(startup, &Rc::default()) {
        return Ok(lease);
    }
    let settings = pool.config.borrow().settings.clone();
    let ticket = pool.queue(startup);
    let waiting = std::future::poll_fn(|cx| ticket.poll(cx));
    let outcome = tokio::time::timeout(settings.pool.queue_wait, waiting).await;
    let lease = outcome.unwrap_or_else(|_| Err(pool_exhausted(pool, &settings.pool)));
    lease.map_err(|error| ClientError { severity: Severity::Fatal, ..error })
}

/// Asks a server for the secret of a user.
///
/// # Errors
/// The query failed; the log says why, the client only that its login cannot be checked.
pub async fn ask_secret(pool: &Rc<Pool>, query: &str, user: &str) -> Result<Option<Secret>, ClientError> {
    let failed = |error: ServerError| {
        tracing::warn!(database = pool.database, "the auth query failed: {error}");
        ClientError::fatal("28000", "pgweir could not look up this user").hint("Its log says why.")
    };
    let lease = borrow(pool, None).await?;
    let mut lease = chore::align(lease, Rc::default()).await.map_err(failed)?;
    let name = String::from_utf8_lossy(&literal(user.as_bytes())).into_owned();
    let rows = lease.server().ask(query.replace("$1", &name).as_bytes()).await.map_err(failed)?;
    lease.give_back();
    let secret = rows.first().and_then(|row| row.get(1)?.clone());
    Ok(secret.map(|secret| Secret::from_stored(String::from_utf8_lossy(&secret).into_owned())))
}
