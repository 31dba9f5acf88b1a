//! The settings of the tour's pgweir: what `pgweir run --upstream` would use, with one database and one user.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::upstream::Upstream;
use crate::admin::{AdminSettings, Role, TokenSettings, token};
use crate::auth::{AuthSettings, Secret, UserSettings};
use crate::config::{ListenSettings, Settings, default_workers};
use crate::observe::LogSettings;
use crate::pool::settings::{DatabaseSettings, PoolSettings, ServerAddress};
use crate::session::limits::{Limits, Timeouts};

/// Clients of a demo are ours or somebody's psql; Ctrl-C should not wait for them longer than this.
const SHUTDOWN: Duration = Duration::from_secs(3);

/// The tour's own right to act: a new token each time, and a file where is written down what it did.
pub fn operator(settings: &mut Settings, audit_log: PathBuf) -> String {
    let (token, hash) = token::create();
    let name = "demo".to_owned();
    settings.admin.audit_log = Some(audit_log);
    settings.admin.tokens.push(TokenSettings { name, role: Role::Operator, hash });
    token
}

/// `listen` and `admin` are replaced by free ports of the same address where they are taken.
pub fn for_tour(upstream: &Upstream, listen: SocketAddr, admin: SocketAddr) -> Settings {
    let (listen, admin) = (free(listen), free(admin));
    let database = DatabaseSettings {
        servers: vec![ServerAddress::Tcp { host: upstream.host.clone(), port: upstream.port }],
        database: Some(upstream.database.clone()),
        pool: PoolSettings::default(),
        ..Default::default()
    };
    let user = UserSettings { secret: Some(Secret::Plain(upstream.password.clone())), ..Default::default() };
    Settings {
        listen: ListenSettings {
            address: listen.ip(),
            port: listen.port(),
            unix_socket_dir: None,
            tls: None,
        },
        admin: AdminSettings {
            address: admin.ip(),
            port: admin.port(),
            tls: None,
            tokens: Vec::new(),
            audit_log: None,
        },
        workers: default_workers(),
        databases: BTreeMap::from([(upstream.database.clone(), Arc::new(database))]),
        auth: AuthSettings { users: BTreeMap::from([(upstream.user.clone(), user)]), ..Default::default() },
        timeouts: Timeouts { shutdown: SHUTDOWN, ..Default::default() },
        limits: Limits::default(),
        // The screen belongs to the tour; what is wrong still shows.
        log: LogSettings { level: "warn".to_owned(), ..Default::default() },
        rules: Default::default(),
        rules_folder: None,
    }
}

/// The address, or port 0 (the system chooses) on it when the port is taken.
fn free(address: SocketAddr) -> SocketAddr {
    match TcpListener::bind(address) {
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => SocketAddr::new(address.ip(), 0),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_gives_way() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(free(address).port(), 0);
        assert_eq!(free(address).ip(), address.ip());
        drop(taken);
        assert_eq!(free(address), address);
    }
}
