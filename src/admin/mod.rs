//! The HTTP surface: metrics, health, the API, tokens and the audit log. Closed by default.
//! Knows the proxy only through `Fabric`.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::pin::Pin;

use serde::Serialize;

use crate::maintain::desk::Desk;
use crate::maintain::index::Outcome;
use crate::observe::indexes as indexes_done;

mod access;
mod acts;
mod api;
mod audit;
mod catalog;
mod coalescing;
mod eligibility;
mod guard;
mod indexes;
mod partitions;
mod queries;
mod serve;
mod state;
mod throttle;
pub mod token;

pub use acts::Auditor;
pub use serve::{AdminHandle, start};

/// Where the HTTP surface listens and whom it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSettings {
    /// Default 127.0.0.1. Another address needs `tls` and at least one token.
    pub address: IpAddr,
    pub port: u16,
    /// Certificate and key (PEM).
    pub tls: Option<(PathBuf, PathBuf)>,
    pub tokens: Vec<TokenSettings>,
    /// Append-only JSON lines; `None`: audit lines go to the log.
    pub audit_log: Option<PathBuf>,
}

impl Default for AdminSettings {
    fn default() -> Self {
        AdminSettings {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 6433,
            tls: None,
            tokens: Vec::new(),
            audit_log: None,
        }
    }
}

impl AdminSettings {
    /// Whether the rules allow these settings; `Err` says what is missing. [`start`] checks the same.
    pub fn check(&self) -> Result<(), String> {
        access::check(self)
    }
}

/// What a token may do; each role may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Viewer,
    Operator,
    Admin,
}

/// A bearer token as stored: never the token itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    pub name: String,
    pub role: Role,
    /// `sha256:` + 64 hex digits of the token.
    pub hash: String,
}

/// One pool over all workers, as `/api/database/connections` shows it.
#[derive(Debug, Clone, Serialize, Default)]
pub struct PoolView {
    pub database: String,
    pub user: String,
    pub mode: &'static str,
    pub max_size: usize,
    pub clients: Vec<ClientView>,
    pub servers: Vec<ServerView>,
}

#[derive(Debug, Clone, Serialize, Default)]
pub struct ClientView {
    pub id: u64,
    pub worker: usize,
    pub address: String,
    pub application_name: String,
    /// idle, waiting, active, in_transaction, pinned
    pub state: &'static str,
    /// How long it has been in this state.
    pub state_ms: u64,
    pub pinned_by: Option<&'static str>,
    /// The backend process id that serves it now.
    pub server_pid: Option<i32>,
}

#[derive(Debug, Clone, Serialize, Default)]
pub struct ServerView {
    pub worker: usize,
    pub address: String,
    pub pid: i32,
    /// idle or active
    pub state: &'static str,
    pub age_ms: u64,
    pub prepared_statements: usize,
}

/// Advice for one database: what came of it, or why there is none, and when, Unix time.
#[derive(Debug, Clone)]
pub struct Advised {
    pub database: String,
    pub outcome: Result<std::sync::Arc<Outcome>, String>,
    pub at_s: u64,
}

/// What may be done about a suggestion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexAct {
    /// `force`: whatever the server has to do beside.
    Apply {
        force: bool,
    },
    Drop,
    /// Nobody wants to hear of it.
    Dismiss {
        reason: String,
    },
    /// It was dismissed by a command, and is not any more.
    Recall,
}

/// Advice for all databases in use.
#[derive(Debug, Clone, Default)]
pub struct Advices {
    pub databases: Vec<Advised>,
    /// Other advice is being made, so that it is worth asking again.
    pub making: bool,
    /// What was done on command, the latest first.
    pub history: Vec<indexes_done::Act>,
    /// What was dismissed by a command.
    pub dismissed: Vec<indexes_done::Dismissal>,
    /// What `indexes.auto` waits for, by database.
    pub auto: std::collections::BTreeMap<String, String>,
}

pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the HTTP surface may ask of the running proxy.
pub trait Fabric: Send + Sync + 'static {
    fn connections(&self) -> Answer<'_, Vec<PoolView>>;
    /// `Err` says why this process should get no traffic.
    fn ready(&self) -> Result<(), String>;
    /// Reads the settings again; `Err` holds what is wrong with them, and the old ones stay.
    fn reload(&self) -> Answer<'_, Result<(), String>>;
    /// Index advice; made first if there is none or if it is to be `fresh`. Databases by name.
    fn advice(&self, fresh: bool, budget_bytes: Option<u64>) -> Answer<'_, Result<Advices, String>>;
    /// Begins to build what was suggested under this id, or to take it away.
    fn act_on_index(&self, id: &str, what: IndexAct) -> Result<(), String>;
    /// Where acts on the databases are asked for; `None`: nowhere.
    fn maintenance(&self) -> Option<&Desk> {
        None
    }
}

#[cfg(test)]
#[path = "surface_tests.rs"]
mod tests;
