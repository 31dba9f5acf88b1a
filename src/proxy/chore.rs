//! What pgweir itself has to say to a lent server between two client statements: make it carry what the
//! client expects, ask what it was left with, clean it. The lease travels through and comes back.

use std::future::poll_fn;
use std::rc::Rc;

use crate::pool::baggage::Baggage;
use crate::pool::lend::{Lease, Pool};
use crate::pool::server::ServerError;
use crate::session::settings::{State, answer, question};

/// Makes the server carry `wanted`.
///
/// # Errors
/// The server refused; the lease is gone, since nobody knows what it carries now.
pub async fn align(mut lease: Lease, wanted: Rc<Baggage>) -> Result<Lease, ServerError> {
    let queries = lease.server().memory.baggage.towards(&wanted);
    lease.pool().counters.state_alignments.add(1);
    for query in queries {
        lease.server().ask(&query).await?;
    }
    lease.server().memory.baggage = wanted;
    Ok(lease)
}

/// A server of the pool that carries `baggage`. `None`: there is none; whoever asks for itself is told why.
pub async fn borrow(pool: &Rc<Pool>, baggage: &Rc<Baggage>) -> Option<Lease> {
    let mut lease = match pool.take(None, baggage) {
        Some(lease) => lease,
        None => {
            let ticket = pool.queue(None);
            poll_fn(|cx| ticket.poll(cx)).await.ok()?
        }
    };
    if lease.server().memory.baggage == *baggage {
        return Some(lease);
    }
    align(lease, baggage.clone()).await.ok()
}

/// Asks the server for its state. Outer `Err`: the connection is of no use any more. `None`: it could not
/// answer, and nobody knows what it carries.
pub async fn inspect(
    mut lease: Lease,
    login: String,
    custom: Vec<Vec<u8>>,
) -> Result<(Lease, Option<State>), ServerError> {
    lease.pool().counters.state_probes.add(1);
    let question = question(&login, &custom);
    let mut answered = lease.server().ask(&question).await;
    // An internal error ends with the statement that meets it, so a second look says how things stand.
    if matches!(&answered, Err(ServerError::Refused { sqlstate, .. }) if sqlstate.starts_with(b"XX")) {
        answered = lease.server().ask(&question).await;
    }
    match answered {
        Ok(rows) => Ok((lease, Some(answer(&rows)))),
        Err(ServerError::Refused { sqlstate, message }) => {
            let sqlstate = String::from_utf8_lossy(&sqlstate).into_owned();
            tracing::warn!(
                sqlstate,
                "the state of a server could not be read, so it stays with its client: {message}"
            );
            Ok((lease, None))
        }
        Err(error) => Err(error),
    }
}

/// Ends what the last client left: its transaction, and all that DISCARD ALL takes. Then the next client
/// may have the server.
pub async fn clean(mut lease: Lease, in_transaction: bool, discard: bool) {
    let mut queries: Vec<&[u8]> = Vec::new();
    if in_transaction {
        queries.push(b"ROLLBACK");
    }
    if discard {
        queries.push(b"DISCARD ALL");
    }
    for query in queries {
        if let Err(error) = lease.server().ask(query).await {
            tracing::debug!("a server could not be cleaned and is closed: {error}");
            return;
        }
    }
    if discard {
        let server = lease.server();
        // Whoever listened has gone.
        server.asides.clear();
        server.memory.forget_all();
        server.memory.baggage = Rc::default();
    }
    lease.give_back();
}
