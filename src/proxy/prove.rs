//! A client's proof of identity, message by message. Who has to prove what, `auth` decides.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::greet::End;
use super::hub::Live;
use super::opening::Arrival;
use super::welcome;
use super::worker::Worker;
use crate::auth::credential::Learned;
use crate::auth::scram::Mechanism;
use crate::auth::scram_server::ScramServer;
use crate::auth::verify::{Channel, Claim, Plan, plan, refused};
use crate::auth::{AuthMethod, Secret};
use crate::error::ClientError;
use crate::net::stream::Stream;
use crate::wire::client::tag;
use crate::wire::{self, HEADER, int32, reply};

/// The largest message of a login. PostgreSQL allows 64 KiB for tokens of GSSAPI, which is not spoken here.
const LOGIN_FRAME_MAX: usize = 8 * 1024;

pub(super) async fn authenticate(
    worker: &Rc<Worker>,
    live: &Arc<Live>,
    arrival: &mut Arrival,
    peer: &str,
) -> Result<(), End> {
    let outcome = prove(worker, live, arrival).await;
    if let Err(End::Refuse(error)) = &outcome
        && error.sqlstate.starts_with("28")
    {
        // Any address may guess passwords, and whoever comes by the Unix socket counts as this machine.
        let from =
            peer.parse::<std::net::SocketAddr>().map_or(IpAddr::from([127, 0, 0, 1]), |address| address.ip());
        tokio::time::sleep(worker.hub.failed_login(from)).await;
    }
    outcome
}

async fn prove(worker: &Rc<Worker>, live: &Arc<Live>, arrival: &mut Arrival) -> Result<(), End> {
    let method = live.settings.auth.method;
    let secret = match live.database(&arrival.database) {
        Some(_) => secret_of(worker, live, arrival).await?,
        // As if the user were unknown, and at the same cost.
        None if method == AuthMethod::Trust => {
            let message = format!("database \"{}\" does not exist", arrival.database);
            return Err(ClientError::fatal("3D000", message).into());
        }
        None => None,
    };
    let verifier = secret.as_ref().and_then(|secret| worker.hub.verifier(&arrival.user, secret));
    let known_database = live.database(&arrival.database).is_some();
    let channel = match &arrival.stream {
        Stream::Unix(_) => Channel::Unix,
        stream if stream.is_tls() => Channel::Tls {
            binding: arrival.binding.as_deref(),
            common_name: arrival.common_name.as_deref().map(|name| if known_database { name } else { "" }),
        },
        _ => Channel::Plain,
    };
    let claim = Claim { user: &arrival.user, secret: secret.as_ref(), verifier: verifier.as_ref(), channel };
    let planned = plan(method, claim, &worker.hub.mock)?;
    if let Some(why) = &planned.doomed {
        tracing::info!(user = arrival.user, database = arrival.database, "login will fail: {why}");
    }
    let doomed = planned.doomed.is_some();
    let user = arrival.user.clone();
    let learned = match planned.plan {
        Plan::Cert | Plan::Trust => Learned::Nothing,
        Plan::Scram { verifier, binding } => {
            let keys = scram(arrival, ScramServer::new(verifier, binding, rand::random())).await?;
            Learned::Keys(keys)
        }
        Plan::Md5(secret) => {
            let salt: [u8; 4] = rand::random();
            let answer = ask_password(arrival, 5, &salt).await?;
            if !secret.accepts(salt, &answer) {
                return Err(refused(&user).into());
            }
            Learned::Nothing
        }
        Plan::Cleartext(check) => {
            let answer = ask_password(arrival, 3, b"").await?;
            if !check.accepts(&answer) {
                return Err(refused(&user).into());
            }
            Learned::Password(String::from_utf8_lossy(&answer).into_owned())
        }
    };
    if doomed {
        return Err(refused(&user).into());
    }
    worker.hub.learn(&user, learned);
    Ok(())
}

/// The user's secret: from the settings, or by the auth query.
async fn secret_of(worker: &Rc<Worker>, live: &Live, arrival: &Arrival) -> Result<Option<Secret>, End> {
    if let Some(user) = live.user(&arrival.user) {
        return Ok(user.secret.clone());
    }
    let Some(query) = &live.settings.auth.query else {
        return Ok(None);
    };
    let database = query.database.as_deref().unwrap_or(&arrival.database);
    let Some(pool) = worker.pool(database, &query.user) else {
        return Ok(None);
    };
    match welcome::ask_secret(&pool, &query.query, &arrival.user).await {
        // Who has not shown who it is does not learn which databases there are.
        Err(error) if error.sqlstate == "3D000" => Ok(None),
        outcome => Ok(outcome?),
    }
}

async fn ask_password(arrival: &mut Arrival, code: i32, rest: &[u8]) -> Result<Vec<u8>, End> {
    let mut out = Vec::new();
    reply::authentication(&mut out, code, rest);
    send(arrival, &out).await?;
    let mut body = password_message(arrival).await?;
    // The string's own NUL.
    if body.pop() != Some(0) {
        return Err(ClientError::fatal("08P01", "invalid password packet size").into());
    }
    Ok(body)
}

async fn scram(
    arrival: &mut Arrival,
    mut server: ScramServer,
) -> Result<crate::auth::scram_keys::ClientKeys, End> {
    let malformed = || End::Refuse(ClientError::fatal("08P01", "malformed SCRAM message"));
    let mut out = Vec::new();
    reply::authentication(&mut out, 10, &server.offer().to_list());
    send(arrival, &out).await?;
    let first = password_message(arrival).await?;
    let (name, rest) = wire::cstr(&first).ok_or_else(malformed)?;
    let mechanism = Mechanism::from_name(name).ok_or_else(|| {
        ClientError::fatal("08P01", "client selected an invalid SASL authentication mechanism")
    })?;
    let (length, message) = int32(rest).ok_or_else(malformed)?;
    if usize::try_from(length) != Ok(message.len()) {
        return Err(malformed());
    }
    let user = arrival.user.clone();
    let told = |failure: crate::auth::scram_server::AuthFailure| failure.client_error(&user);
    let challenge = server.client_first(mechanism, message).map_err(told)?;
    out.clear();
    reply::authentication(&mut out, 11, &challenge);
    send(arrival, &out).await?;
    let proof = password_message(arrival).await?;
    let outcome = server.client_final(&proof).map_err(told)?;
    out.clear();
    // Sent along with what follows a successful login.
    reply::authentication(&mut out, 12, &outcome.server_final);
    send(arrival, &out).await?;
    Ok(outcome.keys)
}

async fn send(arrival: &mut Arrival, bytes: &[u8]) -> Result<(), End> {
    arrival.stream.write_all(bytes).await?;
    Ok(arrival.stream.flush().await?)
}

/// The body of the next password message.
async fn password_message(arrival: &mut Arrival) -> Result<Vec<u8>, End> {
    let invalid = |what: String| End::Refuse(ClientError::fatal("08P01", what));
    loop {
        let head = wire::head(&arrival.input)
            .map_err(|bad| invalid(format!("invalid message length {}", bad.length)))?;
        if let Some(head) = head {
            if head.tag != tag::PASSWORD {
                let what = format!("expected password response, got message type {}", head.tag);
                return Err(invalid(what));
            }
            if head.size > LOGIN_FRAME_MAX {
                return Err(invalid("a password message that is too long".into()));
            }
            if arrival.input.len() >= head.size {
                let body = arrival.input[HEADER..head.size].to_vec();
                arrival.input.drain(..head.size);
                return Ok(body);
            }
        }
        if arrival.stream.read_buf(&mut arrival.input).await? == 0 {
            return Err(End::Gone);
        }
    }
}
