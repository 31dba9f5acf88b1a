//! Passes a cancel request on to the server that runs the statement.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connector::Connector;
use super::login::connect;
use super::server::{BackendKey, ServerError};
use super::settings::ServerAddress;

/// A server that has not taken a cancel request by then will not take it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the server at `address` to cancel what the backend with this key runs, and waits until the server
/// has passed the signal on, which it shows by closing the connection. Only after that may the backend
/// serve somebody else.
///
/// # Errors
/// The server could not be reached or did not close in time.
pub async fn send(address: ServerAddress, key: BackendKey, tls: Arc<Connector>) -> Result<(), ServerError> {
    let work = async {
        let (mut stream, _) = connect(&address, &tls).await?;
        let mut packet = (12 + key.secret.len() as i32).to_be_bytes().to_vec();
        packet.extend_from_slice(&80_877_102i32.to_be_bytes());
        packet.extend_from_slice(&key.pid.to_be_bytes());
        packet.extend_from_slice(&key.secret);
        stream.write_all(&packet).await?;
        stream.flush().await?;
        let mut rest = [0; 64];
        while stream.read(&mut rest).await.unwrap_or(0) > 0 {}
        Ok(())
    };
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(result) => result,
        Err(_) => Err(ServerError::Unreachable("the server took no cancel request in time".into())),
    }
}
