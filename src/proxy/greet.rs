//! A client's login, from its first byte to ReadyForQuery. What is wrong is said in one way for a wrong
//! password, an unknown user and an unknown database, and takes the same time.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::control::Control;
use super::drive::Drive;
use super::hub::{Admission, Live};
use super::opening::{Arrival, Caller, receive};
use super::prove::authenticate;
use super::welcome::{self, Welcomed};
use super::worker::Worker;
use crate::error::ClientError;
use crate::net::stream::Stream;
use crate::wire::reply;
use crate::wire::server::TxStatus;

/// What a session holds as long as it lives.
pub struct Admitted {
    pub key: (i32, Box<[u8]>),
    _admission: Admission,
}

/// Why a login ends without a session.
pub(super) enum End {
    /// Tell the client.
    Refuse(ClientError),
    /// The client has gone.
    Gone,
}

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> Self {
        End::Gone
    }
}

impl From<ClientError> for End {
    fn from(error: ClientError) -> Self {
        End::Refuse(error)
    }
}

/// Lets a client in. `None`: it was a cancel request, or did not get in; all is said.
pub async fn greet(worker: Rc<Worker>, stream: Stream) -> Option<(Drive, Admitted)> {
    let live = worker.hub.live();
    let bound = live.settings.timeouts.login;
    let bound = if bound.is_zero() { Duration::from_secs(86_400) } else { bound };
    let peer = stream.peer();
    let too_late = async {
        let draining = worker.draining.notified();
        if !worker.hub.draining.load(Relaxed) {
            draining.await;
        }
        tokio::time::sleep(LOGIN_GRACE).await;
    };
    tokio::select! {
        drive = login(&worker, &live, stream, &peer) => drive,
        () = tokio::time::sleep(bound) => {
            tracing::info!(peer, "closing the client: no login within {bound:?}");
            None
        }
        () = too_late => {
            tracing::info!(peer, "closing the client: pgweir is shutting down");
            None
        }
    }
}

/// A login under way when pgweir begins to end has this long to hear of it properly.
const LOGIN_GRACE: Duration = Duration::from_millis(500);

/// Tells a client that cannot be let in why, within a second.
pub async fn turn_away(worker: &Worker, stream: Stream, error: &ClientError) {
    let (acceptor, peer) = (worker.hub.live().acceptor.clone(), stream.peer());
    tracing::info!(peer, "closing the client: {error}");
    let tell = async {
        match receive(stream, acceptor, false).await {
            Caller::Client(mut arrival) => say(&mut arrival.stream, error).await,
            Caller::Cancel { pid, secret, .. } => cancel(worker, pid, secret).await,
            Caller::Nobody(_) | Caller::Refused(..) => {}
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), tell).await;
}

async fn login(
    worker: &Rc<Worker>,
    live: &Arc<Live>,
    stream: Stream,
    peer: &str,
) -> Option<(Drive, Admitted)> {
    let required = live.settings.listen.tls.as_ref().is_some_and(|tls| tls.required);
    let mut arrival = match receive(stream, live.acceptor.clone(), required).await {
        Caller::Client(arrival) => arrival,
        Caller::Cancel { stream, pid, secret } => {
            cancel(worker, pid, secret).await;
            drop(stream);
            return None;
        }
        Caller::Nobody(why) => {
            tracing::debug!(peer, "closing a connection: {why}");
            return None;
        }
        Caller::Refused(mut stream, error) => {
            tracing::info!(peer, "closing the client: {error}");
            say(&mut stream, &error).await;
            return None;
        }
    };
    match enter(worker, live, &mut arrival, peer).await {
        Ok(Ready { control, welcomed, admitted }) => {
            let (user, database) = (&arrival.user, &arrival.database);
            tracing::info!(
                id = control.id,
                peer,
                user,
                database,
                tls = arrival.stream.is_tls(),
                "client logged in"
            );
            worker.enter_session(&control);
            let Welcomed { session, lease, startup, .. } = welcomed;
            let stream = std::mem::replace(&mut arrival.stream, Stream::Closed);
            let mut drive = Drive::new(worker.clone(), control, session, stream, lease, startup);
            drive.preload(&arrival.input);
            Some((drive, admitted))
        }
        Err(End::Gone) => {
            tracing::debug!(peer, user = arrival.user, "the client left during its login");
            None
        }
        Err(End::Refuse(error)) => {
            tracing::info!(peer, user = arrival.user, database = arrival.database, "login refused: {error}");
            say(&mut arrival.stream, &error).await;
            None
        }
    }
}

/// A cancel request is passed on to the worker of its session, and never answered. Its connection stays
/// until the server has been told, because the client may send its next statement once it closes.
async fn cancel(worker: &Worker, pid: i32, secret: Vec<u8>) {
    let key = (pid, secret.into_boxed_slice());
    let Some((index, session)) = worker.hub.cancel_keys.get(&key).map(|target| *target) else {
        return;
    };
    let (through, told) = tokio::sync::oneshot::channel();
    // A worker that has ended has nothing to cancel, and the sender is dropped either way.
    let _ = worker.hub.mailboxes[index].send(super::hub::Mail::Cancel(session, through));
    let _ = told.await;
}

async fn say(stream: &mut Stream, error: &ClientError) {
    let mut bytes = Vec::new();
    reply::error(&mut bytes, error);
    // The client may be gone; there is nobody else to tell.
    let _ = stream.write_all(&bytes).await;
    let _ = stream.flush().await;
    let _ = stream.shutdown().await;
}

/// A login that succeeded.
struct Ready {
    control: Rc<Control>,
    welcomed: Welcomed,
    admitted: Admitted,
}

async fn enter(
    worker: &Rc<Worker>,
    live: &Arc<Live>,
    arrival: &mut Arrival,
    peer: &str,
) -> Result<Ready, End> {
    refuse_in_drain(worker)?;
    if !arrival.negotiation.is_empty() {
        arrival.stream.write_all(&arrival.negotiation).await?;
    }
    authenticate(worker, live, arrival, peer).await?;
    refuse_in_drain(worker)?;
    let admission = worker.hub.admit(&arrival.user, &arrival.database)?;
    let Some(pool) = worker.pool(&arrival.database, &arrival.user) else {
        let message = format!("database \"{}\" does not exist", arrival.database);
        return Err(ClientError::fatal("3D000", message).into());
    };
    worker.refresh_login(&pool);
    let mut welcomed = welcome::welcome(&pool, arrival).await?;
    welcomed.session.reuse_unnamed = pool.config.borrow().settings.pool.reuse_unnamed;
    let application = arrival.parameters.iter().find(|(name, _)| **name == *b"application_name");
    let application = application.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
    let id = worker.hub.next_session();
    let control = Control::new(id, peer, &application.unwrap_or_default(), pool, worker.clock.ms());
    let key = new_key(worker, welcomed.server_pid, arrival.long_keys, id);
    let mut out = Vec::with_capacity(512);
    reply::authentication(&mut out, 0, b"");
    out.extend_from_slice(&welcomed.parameters);
    reply::backend_key(&mut out, key.0, &key.1);
    out.extend_from_slice(&reply::ready(TxStatus::Idle));
    let admitted = Admitted { key, _admission: admission };
    if arrival.stream.write_all(&out).await.is_err() || arrival.stream.flush().await.is_err() {
        worker.hub.cancel_keys.remove(&admitted.key);
        return Err(End::Gone);
    }
    Ok(Ready { control, welcomed, admitted })
}

fn refuse_in_drain(worker: &Worker) -> Result<(), ClientError> {
    let draining = &worker.hub.draining;
    if draining.load(Relaxed) {
        return Err(ClientError::fatal("57P03", "pgweir is shutting down"));
    }
    Ok(())
}

/// A key that no other session has: the server's real process id where the server stays with the client,
/// so that what PostgreSQL says of blocking processes fits.
fn new_key(worker: &Worker, server_pid: Option<i32>, long: bool, session: u64) -> (i32, Box<[u8]>) {
    loop {
        let pid = server_pid.unwrap_or_else(|| (rand::random::<u32>() >> 1) as i32);
        let secret: [u8; 32] = rand::random();
        let key = (pid, secret[..if long { 32 } else { 4 }].into());
        if let dashmap::Entry::Vacant(entry) = worker.hub.cancel_keys.entry(key) {
            let key = entry.key().clone();
            entry.insert((worker.index, session));
            return key;
        }
    }
}
