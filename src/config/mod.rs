//! Settings: pgweir.yaml, checked and gathered from the types that the rooms own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::admin::AdminSettings;
use crate::auth::AuthSettings;
use crate::observe::LogSettings;
use crate::pool::settings::DatabaseSettings;
use crate::session::limits::{Limits, Timeouts};
use crate::tls::ClientTls;

/// Everything a running pgweir obeys, resolved: no file is read and no default applied after this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub listen: ListenSettings,
    pub admin: AdminSettings,
    /// Worker threads, at least 1.
    pub workers: usize,
    /// By the name clients ask for; `*` matches any other.
    pub databases: BTreeMap<String, Arc<DatabaseSettings>>,
    pub auth: AuthSettings,
    pub timeouts: Timeouts,
    pub limits: Limits,
    pub log: LogSettings,
    /// The folder of rule files.
    pub rules: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenSettings {
    /// Default 127.0.0.1.
    pub address: IpAddr,
    /// Default 6432; 0 lets the system choose.
    pub port: u16,
    /// A socket `.s.PGSQL.<port>` is made here too.
    pub unix_socket_dir: Option<PathBuf>,
    pub tls: Option<ClientTls>,
}
