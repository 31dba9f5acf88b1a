//! What every integration test needs: one private PostgreSQL per test binary and a database of its own per
//! test. PostgreSQL is found as by `pgweir demo`; `PGWEIR_PG_BIN` names another one.
#![allow(dead_code)] // Each subject uses its own part of it.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use pgweir::demo::cluster::{Cluster, ClusterOptions};
use pgweir::demo::locate;

/// The role of the tests' clients. Its password is `APP_PASSWORD`; it owns every test database.
pub const APP_USER: &str = "app";
pub const APP_PASSWORD: &str = "secret";

const TEMPLATE: &str = "pgweir_template";

static SHARED: OnceLock<Cluster> = OnceLock::new();

/// The cluster that all tests of this binary share; stopped and removed when the binary ends.
/// A test that kills or reconfigures a server starts its own with `Cluster::start`.
pub fn shared() -> &'static Cluster {
    SHARED.get_or_init(|| {
        let cluster = Cluster::start(ClusterOptions::default())
            .unwrap_or_else(|e| panic!("the tests need a PostgreSQL: {e}"));
        // SAFETY: the function is `extern "C"`, unwinds nowhere and lives as long as the program.
        unsafe { libc::atexit(stop_shared) };
        prepare(&cluster);
        cluster
    })
}

/// A cluster of a test's own that counts statements, prepared.
pub fn counting() -> Cluster {
    let settings = [("shared_preload_libraries", "pg_stat_statements"), ("pg_stat_statements.track", "top")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let cluster = Cluster::start(ClusterOptions { settings, ..Default::default() })
        .unwrap_or_else(|e| panic!("the tests need a PostgreSQL: {e}"));
    prepare(&cluster);
    cluster
}

/// Makes the `app` role and the template that `TestDatabase` copies, on a cluster of the test's own.
pub fn prepare(cluster: &Cluster) {
    batch(
        &cluster.url("postgres"),
        &[
            &format!("CREATE ROLE {APP_USER} LOGIN PASSWORD '{APP_PASSWORD}'"),
            &format!("CREATE DATABASE {TEMPLATE} OWNER {APP_USER}"),
        ],
    );
}

/// A database of one test's own, owned by `APP_USER`, dropped at the end of the test.
pub struct TestDatabase {
    pub name: String,
    cluster: &'static Cluster,
}

impl TestDatabase {
    /// `subject` makes the name readable in logs: lower-case letters, digits and underscores.
    pub fn new(subject: &str) -> TestDatabase {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}_{subject}", COUNT.fetch_add(1, Ordering::Relaxed));
        let cluster = shared();
        let create = format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER {APP_USER}");
        batch(&cluster.url("postgres"), &[&create]);
        TestDatabase { name, cluster }
    }

    /// Straight to the server as `APP_USER`.
    pub fn url(&self) -> String {
        app_url(self.cluster, &self.name)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Straight to the server as superuser.
    pub fn superuser_url(&self) -> String {
        self.cluster.url(&self.name)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        batch(&self.cluster.url("postgres"), &[&drop]);
    }
}

/// The connection string of `APP_USER`, past pgweir.
pub fn app_url(cluster: &Cluster, database: &str) -> String {
    let port = cluster.port();
    format!("postgres://{APP_USER}:{APP_PASSWORD}@127.0.0.1:{port}/{database}")
}

/// The programs of PostgreSQL 18 (its libpq speaks protocol 3.2) where `make test` has fetched them.
pub fn pg_bin_18() -> Option<PathBuf> {
    locate::cached().map(|programs| programs.folder)
}

/// Runs statements one by one, each in its own transaction, as superuser. Works inside and outside of an
/// async test, because it has a thread and a runtime of its own.
pub fn batch(url: &str, statements: &[&str]) {
    on_own_runtime(async {
        let client = connect(url).await;
        for statement in statements {
            if let Err(e) = client.batch_execute(statement).await {
                panic!("{statement}: {}", explain(&e));
            }
        }
    });
}

/// The first column of the first row, as text.
pub fn ask(url: &str, query: &str) -> String {
    on_own_runtime(async {
        let messages = connect(url).await.simple_query(query).await;
        let messages = messages.unwrap_or_else(|e| panic!("{query}: {}", explain(&e)));
        messages
            .iter()
            .find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
            .unwrap_or_else(|| panic!("{query}: no row"))
    })
}

/// Connects and leaves the connection's driving to a task of the current runtime.
pub async fn connect(url: &str) -> tokio_postgres::Client {
    try_connect(url).await.unwrap_or_else(|e| panic!("cannot connect: {}", explain(&e)))
}

pub async fn try_connect(url: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn on_own_runtime<T: Send>(work: impl Future<Output = T> + Send) -> T {
    let run = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime needs only a few file descriptors")
            .block_on(work)
    };
    std::thread::scope(|scope| match scope.spawn(run).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// tokio-postgres says only "db error" by itself.
fn explain(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |e| e.to_string())
}

extern "C" fn stop_shared() {
    if let Some(cluster) = SHARED.get() {
        let _ = cluster.stop();
        let _ = std::fs::remove_dir_all(cluster.folder());
    }
}
