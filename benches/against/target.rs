//! What can be measured: the database itself, pgweir, PgBouncer. Writes each program's settings so
//! that all have the same pool, the same login and quiet logs, and starts it afresh for each run.
//! Must not know what is measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::login::{DATABASE, PASSWORD, USER};
use crate::options::Options;
use crate::process::{Account, Process, free_port};
use crate::tls::Identity;
use crate::{Fail, fail};

/// Server connections of each proxy.
const POOL: u32 = 20;
/// More than the largest scenario opens.
const CLIENTS: u32 = 10_000;

/// A program that can stand between the load and PostgreSQL.
#[derive(Debug, Clone)]
pub enum Program {
    Direct,
    /// `observed`: shapes, ledger, slow log and the watch for loops are on, as they are by default.
    Pgweir {
        path: PathBuf,
        workers: u32,
        observed: bool,
    },
    PgBouncer {
        path: PathBuf,
        prepares: bool,
    },
}

/// One of the things compared: a program under a label.
#[derive(Debug, Clone)]
pub struct Target {
    pub label: String,
    pub version: String,
    pub program: Program,
}

/// How clients prove who they are, and what the proxy knows for that. Servers ask for SCRAM always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// SCRAM-SHA-256; the proxy has the password.
    Password,
    /// SCRAM-SHA-256; the proxy has only the verifier of `pg_authid`, so that it derives no key
    /// per login and logs in to servers with what it learns from clients.
    Verifier,
    /// Nothing is asked: the cost of a connection without any proof.
    Trust,
}

/// A target that takes connections.
pub struct Running {
    pub port: u16,
    /// `None` for the database itself.
    pub process: Option<Process>,
}

/// Where the targets find their database, certificate and a place for their files.
pub struct Site<'a> {
    pub folder: &'a Path,
    pub account: Option<Account>,
    pub tls: &'a Identity,
    pub postgres_port: u16,
    /// The SCRAM secret of the one user, as PostgreSQL stores it.
    pub verifier: &'a str,
}

impl Target {
    pub fn direct(version: &str) -> Target {
        Target { label: "direct".into(), version: version.into(), program: Program::Direct }
    }

    /// `name` is pgweir, pgweir-unobserved or pgbouncer.
    pub fn named(name: &str, options: &Options) -> Result<Target, Fail> {
        let path = match name {
            "pgweir" | "pgweir-unobserved" => options.pgweir.clone(),
            "pgbouncer" => options.pgbouncer.clone(),
            other => {
                return fail(format!(
                    "unknown program {other:?}; known: pgweir, pgweir-unobserved, pgbouncer"
                ));
            }
        };
        let output = Command::new(&path).arg("--version").output();
        let output =
            output.map_err(|e| format!("cannot run {}: {e}; install it or name its path", path.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.lines().next().unwrap_or_default();
        let version = version.split_whitespace().last().unwrap_or_default().to_owned();
        let program = if name.starts_with("pgweir") {
            Program::Pgweir { path, workers: options.workers, observed: name == "pgweir" }
        } else {
            // Prepared statements in transaction mode came with 1.21.
            let mut numbers = version.split('.').map(|n| n.parse().unwrap_or(0));
            let number: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
            let prepares = number >= (1, 21);
            Program::PgBouncer { path, prepares }
        };
        Ok(Target { label: name.into(), version, program })
    }

    /// Can it serve named prepared statements in transaction mode?
    pub fn prepares(&self) -> bool {
        !matches!(self.program, Program::PgBouncer { prepares: false, .. })
    }

    /// Starts it and waits until it takes connections.
    pub fn start(&self, site: &Site, auth: Auth) -> Result<Running, Fail> {
        let port = free_port()?;
        let (command, folder) = match &self.program {
            Program::Direct => {
                return Ok(Running { port: site.postgres_port, process: None });
            }
            Program::Pgweir { path, workers, observed } => {
                let folder = site.room("pgweir")?;
                fs::create_dir_all(folder.join("rules"))?;
                fs::write(folder.join("rules/observe.yaml"), format!("observe: {{enabled: {observed}}}\n"))?;
                let config = folder.join("pgweir.yaml");
                fs::write(&config, pgweir_yaml(port, free_port()?, *workers, auth, site))?;
                let mut command = Command::new(path);
                command.arg("run").arg("--config").arg(config);
                (command, folder)
            }
            Program::PgBouncer { path, prepares } => {
                let folder = site.room("pgbouncer")?;
                let config = folder.join("pgbouncer.ini");
                let users = folder.join("userlist.txt");
                fs::write(&users, format!("\"{USER}\" \"{}\"\n", site.secret(auth)))?;
                fs::write(&config, pgbouncer_ini(port, &users, *prepares, auth, site))?;
                let mut command = Command::new(path);
                command.arg(config);
                // PgBouncer refuses to run as root.
                if let Some(account) = site.account {
                    account.run(&mut command);
                }
                (command, folder)
            }
        };
        let mut process = Process::start(command, folder.join("log"), libc::SIGTERM)?;
        process.wait_for_port(port, Duration::from_secs(10))?;
        Ok(Running { port, process: Some(process) })
    }
}

impl Running {
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }
}

impl Site<'_> {
    fn secret(&self, auth: Auth) -> &str {
        match auth {
            Auth::Verifier => self.verifier,
            Auth::Password | Auth::Trust => PASSWORD,
        }
    }

    /// A folder for one program's files, in which the servers' user may write.
    fn room(&self, name: &str) -> Result<PathBuf, Fail> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder)?;
        if let Some(account) = self.account {
            account.own(&folder)?;
        }
        Ok(folder)
    }
}

fn pgweir_yaml(port: u16, admin: u16, workers: u32, auth: Auth, site: &Site) -> String {
    let secret = site.secret(auth);
    let method = if auth == Auth::Trust { "trust" } else { "scram" };
    let cert = site.tls.cert.display();
    let key = site.tls.key.display();
    let server = site.postgres_port;
    format!(
        "listen: {{address: 127.0.0.1, port: {port}, tls: {{cert: {cert}, key: {key}}}}}\n\
         admin: {{address: 127.0.0.1, port: {admin}}}\n\
         workers: {workers}\n\
         databases:\n\
         \x20 {DATABASE}:\n\
         \x20   servers: [{{host: 127.0.0.1, port: {server}}}]\n\
         \x20   pool: {{mode: transaction, max_size: {POOL}}}\n\
         \x20   tls: {{mode: disable}}\n\
         users:\n\
         \x20 {USER}: {{password: \"{secret}\"}}\n\
         auth: {{method: {method}}}\n\
         limits: {{clients: {CLIENTS}}}\n\
         log: {{level: warn}}\n\
         rules: rules\n"
    )
}

fn pgbouncer_ini(port: u16, users: &Path, prepares: bool, auth: Auth, site: &Site) -> String {
    let method = if auth == Auth::Trust { "trust" } else { "scram-sha-256" };
    let prepared = if prepares { "max_prepared_statements = 200\n" } else { "" };
    format!(
        "[databases]\n\
         {DATABASE} = host=127.0.0.1 port={} dbname={DATABASE}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
         auth_type = {method}\nauth_file = {}\n\
         pool_mode = transaction\ndefault_pool_size = {POOL}\nmax_client_conn = {CLIENTS}\n\
         client_tls_sslmode = allow\nclient_tls_cert_file = {}\nclient_tls_key_file = {}\n\
         server_tls_sslmode = disable\n\
         log_connections = 0\nlog_disconnections = 0\nlog_stats = 0\n{prepared}",
        site.postgres_port,
        users.display(),
        site.tls.cert.display(),
        site.tls.key.display(),
    )
}
