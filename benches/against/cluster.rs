//! The private PostgreSQL that both proxies stand before: made in a temporary folder, filled,
//! thrown away at the end. Must not know the proxies.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::load::{ACCOUNTS, balance};
use crate::login::{DATABASE, PASSWORD, USER};
use crate::process::{Account, Process, free_port};
use crate::tls::Identity;
use crate::{Fail, fail};

/// A running cluster; stopped when dropped.
pub struct Cluster {
    process: Process,
    pub port: u16,
    pub version: String,
    /// The SCRAM secret of the one user.
    pub verifier: String,
    sockets: PathBuf,
    psql: PathBuf,
}

/// How long the server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many rows the big result has and COPY brings in.
#[derive(Debug, Clone, Copy)]
pub struct Bulk(pub u64);

impl Cluster {
    /// Creates, starts and fills it.
    pub fn start(
        bin: &Path,
        folder: &Path,
        account: Option<Account>,
        tls: &Identity,
        bulk: Bulk,
    ) -> Result<Cluster, Fail> {
        let data = folder.join("data");
        let mut initdb = Command::new(bin.join("initdb"));
        initdb.args(["--username=postgres", "--auth-host=scram-sha-256", "--auth-local=trust"]);
        initdb.args(["--no-sync", "--encoding=UTF8", "--locale=C", "--pgdata"]).arg(&data);
        initdb.current_dir(folder).stdin(Stdio::null());
        if let Some(account) = account {
            account.run(&mut initdb);
        }
        let made = initdb.output().map_err(|e| format!("cannot run initdb in {}: {e}", bin.display()))?;
        if !made.status.success() {
            return fail(format!("initdb failed: {}", String::from_utf8_lossy(&made.stderr)));
        }
        let port = free_port()?;
        let settings = settings(folder, port, tls);
        let mut file = std::fs::OpenOptions::new().append(true).open(data.join("postgresql.conf"))?;
        file.write_all(settings.as_bytes())?;
        let mut postgres = Command::new(bin.join("postgres"));
        postgres.arg("-D").arg(&data).current_dir(folder);
        if let Some(account) = account {
            account.run(&mut postgres);
        }
        // SIGINT is PostgreSQL's fast shutdown: it does not wait for clients.
        let mut process = Process::start(postgres, folder.join("postgres.log"), libc::SIGINT)?;
        process.wait_for_port(port, PATIENCE)?;
        let mut cluster = Cluster {
            process,
            port,
            version: String::new(),
            verifier: String::new(),
            sockets: folder.to_owned(),
            psql: bin.join("psql"),
        };
        cluster.wait_until_ready()?;
        cluster.sql(
            "postgres",
            &format!(
                "CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'; CREATE DATABASE {DATABASE} OWNER {USER};"
            ),
        )?;
        cluster.sql(DATABASE, &tables(bulk))?;
        cluster.version = cluster.sql("postgres", "SHOW server_version;")?;
        let secret = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{USER}';");
        cluster.verifier = cluster.sql("postgres", &secret)?;
        Ok(cluster)
    }

    /// The port is open a moment before the server takes anybody in.
    fn wait_until_ready(&self) -> Result<(), Fail> {
        let start = Instant::now();
        loop {
            match self.sql("postgres", "SELECT 1;") {
                Ok(_) => return Ok(()),
                Err(error) if start.elapsed() > PATIENCE => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Runs SQL as the superuser over the Unix socket; returns unaligned output.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String, Fail> {
        let mut psql = Command::new(&self.psql);
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database]);
        psql.arg("-h").arg(&self.sockets).args(["-p", &self.port.to_string()]);
        psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = psql.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(sql.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            return fail(format!("psql: {}", String::from_utf8_lossy(&output.stderr)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// Finds the folder of `initdb` and `postgres`: the one asked for, or the newest installed.
pub fn find_bin(asked: Option<&Path>) -> Result<PathBuf, Fail> {
    if let Some(folder) = asked {
        return Ok(folder.to_owned());
    }
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let bins = installed.map(|entry| entry.path().join("bin"));
    let mut usable: Vec<_> = bins.filter(|bin| bin.join("initdb").exists()).collect();
    let major = |path: &PathBuf| -> u32 {
        let folder = path.parent().and_then(|p| p.file_name());
        folder.and_then(|name| name.to_str()?.parse().ok()).unwrap_or(0)
    };
    usable.sort_by_key(major);
    if let Some(bin) = usable.pop() {
        return Ok(bin);
    }
    let told = Command::new("pg_config").arg("--bindir").output();
    match told {
        Ok(output) if output.status.success() => {
            Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
        }
        _ => fail(
            "no PostgreSQL server programs found; install the package postgresql or pass --pg-bin FOLDER",
        ),
    }
}

/// Settings that leave out what would disturb a measurement: disk, vacuum, shared scans.
fn settings(folder: &Path, port: u16, tls: &Identity) -> String {
    format!(
        "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\n\
         max_connections = 300\nshared_buffers = 512MB\nfsync = off\nsynchronous_commit = off\n\
         full_page_writes = off\nwal_level = minimal\nmax_wal_senders = 0\nmax_wal_size = 4GB\n\
         checkpoint_timeout = 1h\nautovacuum = off\njit = off\nsynchronize_seqscans = off\n\
         max_parallel_workers_per_gather = 0\nlogging_collector = off\nlog_min_messages = fatal\n\
         ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'\n",
        folder.display(),
        tls.cert.display(),
        tls.key.display(),
    )
}

/// `accounts` for look-ups, `rows_out` for the big result, `rows_in` for COPY; rows are shaped
/// like those of pgbench_accounts.
fn tables(Bulk(rows): Bulk) -> String {
    let shape = "aid int, bid int, abalance int, filler char(84)";
    let one = balance(1);
    let step = balance(2) - one;
    let row = format!("i, i % 100 + 1, {one} + (i - 1) * {step}, ''");
    format!(
        "SET ROLE {USER};\n\
         CREATE UNLOGGED TABLE accounts ({shape});\n\
         INSERT INTO accounts SELECT {row} FROM generate_series(1, {ACCOUNTS}) i;\n\
         ALTER TABLE accounts ADD PRIMARY KEY (aid);\n\
         CREATE UNLOGGED TABLE rows_out ({shape});\n\
         INSERT INTO rows_out SELECT {row} FROM generate_series(1, {rows}) i;\n\
         CREATE UNLOGGED TABLE rows_in ({shape});\n\
         RESET ROLE;\nVACUUM ANALYZE accounts, rows_out;\nCHECKPOINT;\n"
    )
}
