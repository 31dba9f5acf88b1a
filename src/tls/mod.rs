//! Certificates and trust: builds rustls configurations from files, and reads them again on reload.
//! Knows no protocol and no connection.

pub mod certificate;
pub mod client;
mod files;
pub mod server;
mod verifier;

#[cfg(test)]
mod certificate_tests;
#[cfg(test)]
mod test_files;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The name that PostgreSQL gave its protocol in ALPN. Direct TLS needs it; behind an SSLRequest it may be missing.
pub const ALPN: &[u8] = b"postgresql";

/// Why no TLS can be set up. Names the file or setting, for the operator.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}: {source}", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {problem}", .path.display())]
    Content { path: PathBuf, problem: String },
    #[error("{0}")]
    Settings(String),
}

/// TLS towards clients. Without it `SSLRequest` is answered with `N`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Certificate authority for client certificates; they are asked for only when it is set.
    pub client_ca: Option<PathBuf>,
    /// Clients without TLS are refused (Unix sockets excepted).
    pub required: bool,
}

/// TLS towards servers, named as in libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SslMode {
    Disable,
    #[default]
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerTls {
    pub mode: SslMode,
    /// Trusted authorities (PEM).
    pub ca: Option<PathBuf>,
    /// Certificate and key that pgweir shows to servers.
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// One provider for all configurations; nothing is installed for the whole process.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
