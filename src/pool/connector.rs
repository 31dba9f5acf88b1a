//! TLS towards servers, as one pool's settings ask for it.

use std::sync::Arc;

use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::tls::certificate::channel_binding;
use crate::tls::{ServerTls, SslMode, client};

/// Built once per settings; the certificate files are read then.
pub struct Connector {
    mode: SslMode,
    config: Option<Arc<ClientConfig>>,
}

impl Connector {
    /// # Errors
    /// A sentence that names the file that cannot be used.
    pub fn new(settings: &ServerTls) -> Result<Self, String> {
        let config = client::connector(settings).map_err(|error| error.to_string())?;
        Ok(Connector { mode: settings.mode, config })
    }

    /// Whether the server is asked for TLS.
    pub fn asks(&self) -> bool {
        self.config.is_some()
    }

    /// Whether a connection without TLS is refused.
    pub fn insists(&self) -> bool {
        !matches!(self.mode, SslMode::Disable | SslMode::Prefer)
    }

    /// Shakes hands; returns the stream, and the hash that channel binding needs.
    ///
    /// # Errors
    /// A sentence that names the host and what was wrong.
    pub async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Option<Vec<u8>>), String> {
        let config = self.config.clone().ok_or("TLS is off for this database")?;
        let name = client::server_name(host).map_err(|error| error.to_string())?;
        let connector = tokio_rustls::TlsConnector::from(config);
        let failed = |error| format!("TLS handshake with the server at {host} failed: {error}");
        let stream = connector.connect(name, stream).await.map_err(failed)?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let binding = certificate.and_then(channel_binding);
        Ok((stream, binding))
    }
}
