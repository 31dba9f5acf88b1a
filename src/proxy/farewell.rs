//! How a session ends: what the client is told, what becomes of its server, what the log says.

use std::task::Context;

use super::chore;
use super::drive::Drive;
use crate::error::ClientError;
use crate::pool::server::ServerError;
use crate::wire::reply;
use crate::wire::server::TxStatus;

pub enum Farewell {
    /// It said goodbye, or closed its end.
    ClientLeft,
    ClientLost(String),
    /// pgweir ends it.
    Refused(ClientError),
    /// `said_so`: the server's own FATAL has been passed on.
    ServerLost {
        why: String,
        said_so: bool,
    },
    ServerBroken(String),
    ChoreFailed(ServerError),
}

pub fn shutting_down() -> ClientError {
    ClientError::fatal("57P01", "terminating connection due to administrator command")
        .hint("pgweir is shutting down; connect again.")
}

/// Tells the client, then closes or cleans what is left.
pub fn part(drive: &mut Drive, farewell: Farewell, cx: &mut Context<'_>) {
    let id = drive.control.id;
    let (database, user) = (&drive.pool.database, &drive.pool.user);
    let error = match &farewell {
        Farewell::ClientLeft => {
            tracing::info!(id, database, user, "client left");
            None
        }
        Farewell::ClientLost(why) => {
            tracing::info!(id, database, user, "client lost: {why}");
            None
        }
        Farewell::Refused(error) => {
            tracing::info!(id, database, user, "closing the client: {error}");
            Some(error.clone())
        }
        Farewell::ServerLost { why, said_so } => {
            tracing::warn!(id, database, user, "server lost, closing its client: {why}");
            let message = "server closed the connection unexpectedly";
            (!said_so).then(|| {
                ClientError::fatal("08006", message)
                    .hint("The statement may or may not have been executed. Connect again.")
            })
        }
        Farewell::ServerBroken(what) => {
            tracing::error!(
                id,
                database,
                user,
                "closing client and server, which broke the protocol: {what}"
            );
            Some(ClientError::fatal(
                "08P01",
                "the server sent what was not asked for, so its connection was closed",
            ))
        }
        Farewell::ChoreFailed(error) => {
            tracing::warn!(
                id,
                database,
                user,
                "closing the client, whose settings could not be restored: {error}"
            );
            Some(chore_error(error))
        }
    };
    drive.end_unit();
    if let Some(error) = error {
        drive.pool.counters.count_error(error.sqlstate.as_bytes().try_into().unwrap_or(*b"XX000"));
        let mut bytes = Vec::new();
        reply::error(&mut bytes, &error);
        drive.last_words(&bytes, cx);
    }
    drive.pin(None);
    drive.ticket = None;
    drive.places.clear();
    drive.lead = None;
    (drive.fetching, drive.surveying) = (None, None);
    let gone = matches!(farewell, Farewell::ServerLost { .. } | Farewell::ServerBroken(_));
    if matches!(farewell, Farewell::Refused(_)) && drive.session.in_flight() {
        stop_statement(drive);
    } else if !gone {
        leave_server(drive);
    }
}

/// pgweir ends the session, so it also ends the statement: its locks must not outlive the session, nor its
/// server the place in the pool. (A client that goes away by itself may want its last statement to run.)
fn stop_statement(drive: &mut Drive) {
    let Some(mut lease) = drive.lease.take() else {
        return;
    };
    let (address, key) = (lease.server().address.clone(), lease.server().key.clone());
    let tls = drive.pool.config.borrow().tls.clone();
    tokio::task::spawn_local(async move {
        if let Err(error) = crate::pool::cancel::send(address, key, tls).await {
            tracing::warn!("a statement could not be stopped: {error}");
        }
        drop(lease);
    });
}

fn chore_error(error: &ServerError) -> ClientError {
    let message = format!("the settings of this session could not be restored on a server: {error}");
    ClientError::fatal("08006", message).hint("Connect again.")
}

/// An idle server goes back, cleaned if there is anything to clean; any other is closed, as PostgreSQL
/// would see a client go.
fn leave_server(drive: &mut Drive) {
    let Some(lease) = drive.lease.take() else {
        return;
    };
    let session = &drive.session;
    let sent = drive.from_client.unsent.is_empty() && drive.cancelling.get() == 0;
    if !sent || session.in_flight() || session.is_half_sent() {
        return;
    }
    let in_transaction = session.status() != TxStatus::Idle;
    let discard = session.left_something();
    if in_transaction || discard {
        tokio::task::spawn_local(chore::clean(lease, in_transaction, discard));
    } else {
        lease.give_back();
    }
}
