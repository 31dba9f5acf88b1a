//! A pgweir of a test's own, in this process, on ports of the system's choice, in front of the shared
//! cluster. It ends with the value.
#![allow(dead_code)] // Each subject uses its own part of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pgweir::admin::AdminSettings;
use pgweir::auth::{AuthSettings, Secret, UserSettings};
use pgweir::config::{ListenSettings, Settings};
use pgweir::demo::cluster::Cluster;
use pgweir::observe::LogSettings;
use pgweir::pool::settings::{DatabaseSettings, PoolMode, PoolSettings, ServerAddress};
use pgweir::proxy::running::{Running, start};
use pgweir::session::limits::{Limits, Timeouts};

use crate::cluster::{APP_PASSWORD, APP_USER, ask, shared};
use crate::support::{http, wait_for};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub struct Pgweir {
    running: Option<Running>,
}

impl Pgweir {
    /// In front of the shared cluster, in this pool mode; `change` may change any setting.
    pub fn start(mode: PoolMode, change: impl FnOnce(&mut Settings)) -> Pgweir {
        Pgweir::before(shared(), mode, change)
    }

    /// In front of a cluster of the test's own, which has to be `cluster::prepare`d.
    pub fn before(cluster: &Cluster, mode: PoolMode, change: impl FnOnce(&mut Settings)) -> Pgweir {
        let mut settings = settings(cluster, mode);
        change(&mut settings);
        let running = start(settings).unwrap_or_else(|e| panic!("pgweir does not start: {e}"));
        Pgweir { running: Some(running) }
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs until it is dropped")
    }

    pub fn port(&self) -> u16 {
        self.running().listen.port()
    }

    /// Where the HTTP surface listens.
    pub fn admin(&self) -> SocketAddr {
        self.running().admin
    }

    /// The connection string of `APP_USER`, through pgweir.
    pub fn url(&self, database: &str) -> String {
        let port = self.port();
        format!("postgres://{APP_USER}:{APP_PASSWORD}@127.0.0.1:{port}/{database}")
    }

    /// Waits until it has read the catalog, which it does soon after a database's first use.
    pub fn knows(&self, database: &str, table: &str) {
        wait_for("the catalog is known", || {
            ask(&self.url(database), "SELECT 1");
            let path = format!("/api/database/catalog?database={database}&table={table}");
            http(self.admin(), "GET", &path, &[]).1.contains(table)
        });
    }
}

impl Drop for Pgweir {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill();
            running.wait();
        }
    }
}

/// Any database name leads to the cluster's database of that name; `APP_USER` may log in; two workers.
pub fn settings(cluster: &Cluster, mode: PoolMode) -> Settings {
    let database = DatabaseSettings {
        servers: vec![ServerAddress::Tcp { host: LOOPBACK.to_string(), port: cluster.port() }],
        pool: PoolSettings {
            mode,
            // A test that waits for a server waits in vain.
            queue_wait: Duration::from_secs(20),
            ..Default::default()
        },
        ..Default::default()
    };
    let user = UserSettings { secret: Some(Secret::Plain(APP_PASSWORD.to_owned())), ..Default::default() };
    Settings {
        listen: ListenSettings { address: LOOPBACK, port: 0, unix_socket_dir: None, tls: None },
        admin: AdminSettings { address: LOOPBACK, port: 0, tls: None, tokens: Vec::new(), audit_log: None },
        workers: 2,
        databases: BTreeMap::from([("*".to_owned(), Arc::new(database))]),
        auth: AuthSettings { users: BTreeMap::from([(APP_USER.to_owned(), user)]), ..Default::default() },
        timeouts: Timeouts { shutdown: Duration::from_secs(5), ..Default::default() },
        limits: Limits::default(),
        log: LogSettings { level: "warn".to_owned(), ..Default::default() },
        rules: Default::default(),
        rules_folder: None,
    }
}

/// The settings of every database, to be changed before the start.
pub fn pool(settings: &mut Settings, change: impl Fn(&mut PoolSettings)) {
    for database in settings.databases.values_mut() {
        change(&mut Arc::make_mut(database).pool);
    }
}
