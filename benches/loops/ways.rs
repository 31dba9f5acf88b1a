//! The proxies, each started afresh: PgBouncer as a program, pgweir in this process.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pgweir::config;
use pgweir::proxy::{self, Running};

pub struct Way {
    pub name: &'static str,
    /// The consistency level that is asked for.
    pub level: &'static str,
    pub coalesces: bool,
    /// Where the server is, at the far end of the relay.
    upstream: u16,
}

/// In the order of the table; the others are compared with the first.
pub fn ways(upstream: u16) -> [Way; 3] {
    [
        Way { name: "PgBouncer", level: "", coalesces: false, upstream },
        Way { name: "pgweir, strict", level: "strict", coalesces: false, upstream },
        Way { name: "pgweir, fenced", level: "fenced", coalesces: true, upstream },
    ]
}

/// A proxy that takes connections.
pub struct Started {
    port: u16,
    what: What,
    _folder: tempfile::TempDir,
}

enum What {
    PgBouncer(Child),
    Pgweir(Box<Running>),
}

impl Way {
    /// `None`: it is not installed.
    pub fn start(&self) -> Option<Started> {
        let folder = tempfile::tempdir().unwrap();
        match self.name {
            "PgBouncer" => self.pgbouncer(folder),
            _ => Some(self.pgweir(folder)),
        }
    }

    fn pgweir(&self, folder: tempfile::TempDir) -> Started {
        let file = folder.path().join("pgweir.yaml");
        let settings = format!(
            "listen: {{address: 127.0.0.1, port: 0}}\nadmin: {{address: 127.0.0.1, port: 0}}\nworkers: 1\n\
             log: {{level: error}}\nrules: rules\n\
             databases: {{postgres: {{servers: [{{host: 127.0.0.1, port: {}}}]}}}}\n\
             users: {{app: {{password: secret}}}}\n",
            self.upstream
        );
        std::fs::write(&file, settings).unwrap();
        std::fs::create_dir(folder.path().join("rules")).unwrap();
        let rules = format!("coalesce: {{default: {{level: {}}}}}\n", self.level);
        std::fs::write(folder.path().join("rules/coalesce.yaml"), rules).unwrap();
        let running = proxy::start(config::load(&file).unwrap()).unwrap();
        Started { port: running.listen.port(), what: What::Pgweir(Box::new(running)), _folder: folder }
    }

    fn pgbouncer(&self, folder: tempfile::TempDir) -> Option<Started> {
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"];
        let program = program.iter().map(PathBuf::from).find(|path| path.exists())?;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (ini, users) = (folder.path().join("pgbouncer.ini"), folder.path().join("users.txt"));
        let settings = format!(
            "[databases]\npostgres = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\n\
             pool_mode = transaction\ndefault_pool_size = 20\nlog_connections = 0\nlog_disconnections = 0\n",
            self.upstream,
            users.display()
        );
        std::fs::write(&ini, settings).unwrap();
        std::fs::write(&users, "\"app\" \"secret\"\n").unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        // PgBouncer refuses to be root; `-u` changes who it is.
        let mut command = Command::new(program);
        // SAFETY: it only reads an id of this process.
        if unsafe { libc::geteuid() } == 0 {
            command.args(["-u", "nobody"]);
        }
        let child = command.arg("-q").arg(&ini).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "PgBouncer does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Started { port, what: What::PgBouncer(child), _folder: folder })
    }
}

impl Started {
    pub fn url(&self) -> String {
        format!("postgres://app:secret@127.0.0.1:{}/postgres", self.port)
    }

    pub fn end(self) {
        match self.what {
            What::PgBouncer(mut child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            What::Pgweir(running) => {
                running.kill();
                running.wait();
            }
        }
    }
}
