//! The knobs of time and numbers that a session obeys. Plain data; `config` fills it in.

use std::time::Duration;

/// Zero means no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept to the end of authentication. Default 60 s.
    pub login: Duration,
    /// A statement on its server. Default 0.
    pub query: Duration,
    /// From BEGIN to COMMIT. Default 0.
    pub transaction: Duration,
    /// A transaction that waits for its client. Default 0.
    pub idle_in_transaction: Duration,
    /// A client that does nothing. Default 0.
    pub client_idle: Duration,
    /// From SIGTERM to the end. Default 60 s.
    pub shutdown: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let none = Duration::ZERO;
        Timeouts {
            login: Duration::from_secs(60),
            query: none,
            transaction: none,
            idle_in_transaction: none,
            client_idle: none,
            shutdown: Duration::from_secs(60),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Clients in all. Default 10,000.
    pub clients: usize,
    /// Clients per user and per database unless those say otherwise; `None`: no limit. Default none.
    pub clients_per_user: Option<usize>,
    pub clients_per_database: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { clients: 10_000, clients_per_user: None, clients_per_database: None }
    }
}
