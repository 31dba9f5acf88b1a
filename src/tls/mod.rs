//! Certificates and trust: builds rustls configurations from files, and reads them again on reload.
//! Knows no protocol and no connection.

use std::path::PathBuf;

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
