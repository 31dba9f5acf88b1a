//! For the tests that look at pgweir from outside: the built program as a child process in front of a real
//! PostgreSQL, its metrics, its log, and a patient way to wait. Knows nothing of pgweir's insides.
#![allow(dead_code)] // Each subject uses its own part of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::cluster::{APP_PASSWORD, APP_USER, TestDatabase, ask, shared};
use crate::rawclient::{Fault, Raw};

/// Nothing that a test waits for takes this long, unless it is stuck.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Looks again and again until `found` gives something; panics with `what` when nothing comes.
pub fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The same for a condition.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    until(what, || holds().then_some(()));
}

/// A settings file: one database on one port of this machine, the user of the tests, and what a test adds.
pub fn settings(database: &str, port: u16, pool: &str, more: &str) -> String {
    format!(
        "listen: {{address: 127.0.0.1, port: 0}}\nadmin: {{address: 127.0.0.1, port: 0}}\n\
         workers: 2\nlog: {{level: debug}}\n\
         databases:\n  {database}: {{servers: [{{host: 127.0.0.1, port: {port}}}], pool: {{{pool}}}}}\n\
         users: {{{APP_USER}: {{password: {APP_PASSWORD}}}}}\n{more}\n"
    )
}

/// The same in front of the cluster that all tests share.
pub fn plain(database: &TestDatabase, pool: &str, more: &str) -> String {
    settings(&database.name, shared().port(), pool, more)
}

/// A running pgweir; killed when dropped. If the test fails, its log is shown.
pub struct Weir {
    child: Child,
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    folder: tempfile::TempDir,
}

impl Weir {
    /// Writes the settings and starts the program.
    pub fn start(settings: &str) -> Weir {
        Weir::start_in(tempfile::tempdir().unwrap(), settings, |_| {})
    }

    /// The same in a folder that has files already, with a word on the command.
    pub fn start_in(folder: tempfile::TempDir, settings: &str, arrange: impl FnOnce(&mut Command)) -> Weir {
        std::fs::write(folder.path().join("pgweir.yaml"), settings).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgweir"));
        command
            .arg("run")
            .arg("--config")
            .arg(folder.path().join("pgweir.yaml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        arrange(&mut command);
        let mut child = command.spawn().unwrap();
        let path = folder.path().join("log");
        let (listen, admin) = until("pgweir serves", || {
            let log = std::fs::read_to_string(&path).unwrap_or_default();
            if let Ok(Some(status)) = child.try_wait() {
                panic!("pgweir ended with {status}:\n{log}");
            }
            let line = log.lines().find(|line| line.contains("is serving"))?;
            Some((address(line, "listen=")?, address(line, "admin=")?))
        });
        Weir { child, listen, admin, folder }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    /// How often a text is in the log.
    pub fn logged(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: the child has not been waited for, so the id is its own.
        let sent = unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        assert_eq!(sent, 0);
    }

    /// Replaces the settings and waits until they were read.
    pub fn reload(&self, settings: &str) {
        let before = self.logged("settings reloaded");
        std::fs::write(self.file("pgweir.yaml"), settings).unwrap();
        self.signal(libc::SIGHUP);
        wait_for("a reload", || self.logged("settings reloaded") > before);
    }

    /// Waits for the program's own end.
    pub fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        until("pgweir ends", || child.try_wait().unwrap())
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Resident memory in KiB.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number.unwrap().parse().unwrap()
    }

    /// A connection string to a database through pgweir.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{APP_USER}:{APP_PASSWORD}@{}/{database}", self.listen)
    }

    /// Logs in as the tests' user.
    pub fn login(&self, database: &str) -> Raw {
        self.try_login(database).unwrap_or_else(|fault| panic!("no login: {fault:?}"))
    }

    pub fn try_login(&self, database: &str) -> Result<Raw, Fault> {
        Raw::connect(self.listen).login(APP_USER, APP_PASSWORD, database)
    }

    // --- the HTTP surface ---

    pub fn get(&self, path: &str) -> (u16, String) {
        http(self.admin, "GET", path, &[])
    }

    /// The sum of the samples of a metric that have all these labels, written `name="value"`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let (status, page) = self.get("/metrics");
        assert_eq!(status, 200);
        sum(&page, name, labels)
    }

    /// Waits until nobody is served or waits and no server is lent; checks that what is left is idle, within
    /// `max`, and that PostgreSQL sees just as many.
    pub fn settles(&self, max: usize, server_url: &str, database: &str) {
        let mut seen = String::new();
        let count = format!(
            "SELECT count(*) || ' ' || count(*) FILTER (WHERE state <> 'idle') FROM pg_stat_activity \
             WHERE datname = '{database}' AND pid <> pg_backend_pid() AND backend_type = 'client backend' \
             AND application_name <> 'pgweir probe'"
        );
        let begun = Instant::now();
        loop {
            let (_, page) = self.get("/metrics");
            let level = |name: &str, labels: &[&str]| sum(&page, name, labels) as i64;
            let levels = [
                level("pgweir_clients", &[]),
                level("pgweir_clients_waiting", &[]),
                level("pgweir_servers", &["state=\"active\""]),
                level("pgweir_pinned_servers", &[]),
                level("pgweir_servers", &["state=\"idle\""]),
                level("pgweir_servers_opened_total", &[]) - level("pgweir_servers_closed_total", &[]),
            ];
            let [clients, waiting, active, pinned, idle, open] = levels;
            let real = ask(server_url, &count);
            let calm = clients == 0 && waiting == 0 && active == 0 && pinned == 0;
            if calm && idle <= max as i64 && idle >= 0 && idle == open && real == format!("{idle} 0") {
                return;
            }
            if begun.elapsed() > PATIENCE {
                let api = self.get("/api/database/connections").1;
                seen = format!(
                    "clients, waiting, active, pinned, idle, opened - closed = {levels:?}; \
                     PostgreSQL sees (all, busy) {real}; at most {max}; {api}"
                );
            }
            assert!(seen.is_empty(), "not settled: {seen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log();
        if std::thread::panicking() {
            let from = log.len().saturating_sub(6000);
            let from = (from..log.len()).find(|&at| log.is_char_boundary(at));
            eprintln!("--- pgweir's log\n{}", &log[from.unwrap_or(0)..]);
        } else {
            assert!(!log.contains("panicked"), "pgweir panicked:\n{log}");
        }
    }
}

fn address(line: &str, key: &str) -> Option<SocketAddr> {
    let rest = &line[line.find(key)? + key.len()..];
    rest.split_whitespace().next()?.parse().ok()
}

fn sum(page: &str, name: &str, labels: &[&str]) -> f64 {
    let lines = page.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    });
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// One HTTP request on a connection of its own: status and body.
pub fn http(address: SocketAddr, method: &str, path: &str, headers: &[&str]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|header| header.starts_with("Host:")) {
        request.push_str(&format!("Host: {address}\r\n"));
    }
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    request.push_str("Content-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    (status.unwrap_or(0), body.unwrap_or_default())
}

/// A certificate authority and what it signs, as PEM files in a folder.
pub struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pub pem: String,
}

impl Authority {
    pub fn new() -> Authority {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = rcgen::Issuer::new(params, key);
        Authority { issuer, pem }
    }

    /// Writes `<name>.pem` and `<name>.key` for this common name; good for localhost and 127.0.0.1.
    pub fn issue(&self, folder: &Path, name: &str, common_name: &str) {
        use std::os::unix::fs::PermissionsExt;
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        let path = folder.join(format!("{name}.key"));
        std::fs::write(&path, key.serialize_pem()).unwrap();
        // libpq takes no key that others may read.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// Runs psql: what it printed, or its error text.
pub fn psql(conninfo: &str, query: &str) -> Result<String, String> {
    let output = Command::new("psql")
        .args(["-X", "-At", "-v", "ON_ERROR_STOP=1", "-c", query])
        .args(["-d", conninfo])
        .env("PGCONNECT_TIMEOUT", "20")
        .env_remove("PGPASSWORD")
        .stdin(Stdio::null())
        .output()
        .expect("psql is installed with the distribution's PostgreSQL");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}
