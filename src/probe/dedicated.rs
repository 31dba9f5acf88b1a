//! A connection of its own, opened as the probe's are, for work that needs a session to itself: locks that it
//! holds, statements that take hours. Must not know what that work is.

use deadpool_postgres::Connect;
use tokio_postgres::Client;

use super::carrier::Carrier;
use super::{ProbeError, Target};

/// Logs in with these start-up parameters. The connection ends when the client is dropped; what the server does
/// at that moment it may carry to its end.
///
/// # Errors
/// There is no connection within the target's time to connect.
pub async fn connect(target: Target, startup: &[(&str, String)]) -> Result<Client, ProbeError> {
    let bound = target.connect;
    let carrier = Carrier::new(target, startup);
    let config = carrier.config();
    match tokio::time::timeout(bound, carrier.connect(&config)).await {
        // The connection's task ends by itself.
        Ok(opened) => Ok(opened.map(|(client, _)| client)?),
        Err(_) => Err(ProbeError::TimedOut(bound)),
    }
}
