//! The knobs of databases and pools. Plain data; `config` fills it in.

use std::path::PathBuf;
use std::time::Duration;

use crate::tls::ServerTls;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PoolMode {
    /// A server belongs to the client until it leaves.
    Session,
    /// A server belongs to the client for a transaction.
    #[default]
    Transaction,
    /// A server belongs to the client for a statement; transactions are refused.
    Statement,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServerAddress {
    Tcp {
        host: String,
        port: u16,
    },
    /// The directory of the socket; the file is `.s.PGSQL.<port>`.
    Unix {
        directory: PathBuf,
        port: u16,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSettings {
    pub mode: PoolMode,
    /// Server connections per (database, user), over all workers. Default 20.
    pub max_size: usize,
    /// Kept open even when idle. Default 0.
    pub min_size: usize,
    /// Statements kept prepared per server connection, least recently used closed first. Default 200.
    pub max_prepared_statements: usize,
    /// Serve an unnamed Parse from a statement the server knows already. Default true.
    pub reuse_unnamed: bool,
    /// How long a client waits for a server. Default 120 s.
    pub queue_wait: Duration,
    /// How long opening a server connection may take, login included. Default 15 s.
    pub connect: Duration,
    /// Idle server connections above `min_size` are closed after this. Zero: never. Default 600 s.
    pub server_idle: Duration,
    /// Server connections are closed after this, when idle. Zero: never. Default 3600 s.
    pub server_lifetime: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        PoolSettings {
            mode: PoolMode::Transaction,
            max_size: 20,
            min_size: 0,
            max_prepared_statements: 200,
            reuse_unnamed: true,
            queue_wait: Duration::from_secs(120),
            connect: Duration::from_secs(15),
            server_idle: Duration::from_secs(600),
            server_lifetime: Duration::from_secs(3600),
        }
    }
}

/// One entry of `databases:`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DatabaseSettings {
    /// Tried in order.
    pub servers: Vec<ServerAddress>,
    /// The name on the server; `None`: the name the client asked for.
    pub database: Option<String>,
    pub pool: PoolSettings,
    pub tls: ServerTls,
    /// Clients of this database; `None` means no limit of its own.
    pub max_clients: Option<usize>,
}

impl DatabaseSettings {
    /// Names the database itself: two names of pgweir's may lead to one. `name` is that by which clients ask.
    pub fn real(&self, name: &str) -> String {
        format!("{:?}/{}", self.servers, self.database.as_deref().unwrap_or(name))
    }
}
