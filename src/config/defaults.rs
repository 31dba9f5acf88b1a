//! The defaults of pgweir.yaml. Where a room states a default, it is taken from the room, so that the
//! file, its schema and the code that obeys cannot drift apart.

use std::net::{IpAddr, Ipv4Addr};

use super::file::{Admin, Limits, Listen, Log, LogFormat, Pool, PoolMode, Timeouts};
use super::human::Human;
use crate::observe::LogSettings;
use crate::pool::settings::PoolSettings;
use crate::session::limits;

/// Where clients connect unless the settings say otherwise: PgBouncer's port, on loopback.
pub const LISTEN_PORT: u16 = 6432;
/// The port of the HTTP surface.
pub const ADMIN_PORT: u16 = 6433;

/// The port of a server that names none.
pub fn postgres_port() -> u16 {
    5432
}

/// The auth query when only its user is named. Expired and NOLOGIN roles have no secret.
pub fn auth_query() -> String {
    "SELECT rolname, CASE WHEN rolvaliduntil < pg_catalog.now() THEN NULL ELSE rolpassword END \
     FROM pg_catalog.pg_authid WHERE rolname = $1 AND rolcanlogin"
        .to_owned()
}

fn loopback() -> IpAddr {
    IpAddr::V4(Ipv4Addr::LOCALHOST)
}

/// A count of the rooms as the mirror has it. Defaults are far below the bound.
pub fn count(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

impl Default for Listen {
    fn default() -> Self {
        Listen { address: loopback(), port: LISTEN_PORT, unix_socket_dir: None, tls: None }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Admin { address: loopback(), port: ADMIN_PORT, tls: None, tokens: Vec::new(), audit_log: None }
    }
}

impl Default for Pool {
    fn default() -> Self {
        let room = PoolSettings::default();
        Pool {
            mode: PoolMode::Transaction,
            max_size: count(room.max_size),
            min_size: count(room.min_size),
            max_prepared_statements: count(room.max_prepared_statements),
            reuse_unnamed: room.reuse_unnamed,
            queue_wait: Human(room.queue_wait),
            connect: Human(room.connect),
            server_idle: Human(room.server_idle),
            server_lifetime: Human(room.server_lifetime),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        let room = limits::Timeouts::default();
        Timeouts {
            login: Human(room.login),
            query: Human(room.query),
            transaction: Human(room.transaction),
            idle_in_transaction: Human(room.idle_in_transaction),
            client_idle: Human(room.client_idle),
            shutdown: Human(room.shutdown),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let room = limits::Limits::default();
        Limits {
            clients: count(room.clients),
            clients_per_user: room.clients_per_user.map(count),
            clients_per_database: room.clients_per_database.map(count),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log { level: LogSettings::default().level, format: LogFormat::Text }
    }
}
