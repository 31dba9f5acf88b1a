//! Child processes and what the operating system says of them: CPU time in nanoseconds, resident
//! and proportional memory. Must not know what the programs do.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::{Fail, fail};

/// A running child; it ends when this is dropped, and when the benchmark dies.
pub struct Process {
    child: Child,
    log: PathBuf,
    stop: libc::c_int,
}

impl Process {
    /// Starts it with its output in `log`. `stop` is the signal that ends it in order.
    pub fn start(mut command: Command, log: PathBuf, stop: libc::c_int) -> Result<Process, Fail> {
        let file = fs::File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        // SAFETY: prctl is async-signal-safe and touches only the child's own state. Without it
        // a killed benchmark would leave a database and proxies running.
        unsafe {
            command.pre_exec(move || {
                libc::prctl(libc::PR_SET_PDEATHSIG, stop);
                Ok(())
            });
        }
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().map_err(|e| format!("cannot start {program}: {e}"))?;
        Ok(Process { child, log, stop })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a TCP connection to `port` is taken.
    pub fn wait_for_port(&mut self, port: u16, patience: Duration) -> Result<(), Fail> {
        let start = Instant::now();
        loop {
            if std::net::TcpStream::connect(crate::connection::address(port)).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return fail(format!("it ended at once ({status}): {}", self.last_words()));
            }
            if start.elapsed() > patience {
                return fail(format!(
                    "nothing listens on port {port} after {patience:?}: {}",
                    self.last_words()
                ));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The end of its log, for error messages.
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: kill has no memory effects; the child has not been waited for, so its id is ours.
        unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(self.stop);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                _ => return,
            }
        }
        eprintln!("process {} does not end; killing it", self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system time of a process with all its threads, ended ones too, in nanoseconds.
/// The kernel's own run-time sum, not the 10 ms ticks of `/proc/<pid>/stat`.
pub fn cpu_time(pid: u32) -> Result<Duration, Fail> {
    let mut clock: libc::clockid_t = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls only write to the locals that they are given.
    let known = unsafe {
        libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock) == 0
            && libc::clock_gettime(clock, &mut time) == 0
    };
    if !known {
        return fail(format!("process {pid} is gone"));
    }
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// CPU time of the processes that `pid` has started and that still run.
pub fn cpu_time_of_children(pid: u32) -> Duration {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = list.split_whitespace().filter_map(|id| id.parse().ok());
    children.filter_map(|id| cpu_time(id).ok()).sum()
}

/// Memory of a process in KiB.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    pub resident: f64,
    /// Shared pages divided among their users; `None` where the system does not tell.
    pub proportional: Option<f64>,
}

pub fn memory(pid: u32) -> Result<Memory, Fail> {
    let resident = kib(&format!("/proc/{pid}/status"), "VmRSS:");
    Ok(Memory {
        resident: resident.ok_or_else(|| format!("process {pid} is gone"))?,
        proportional: kib(&format!("/proc/{pid}/smaps_rollup"), "Pss:"),
    })
}

fn kib(file: &str, name: &str) -> Option<f64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A user whom servers that refuse root can run as.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// `None` when this process is not root: then everything runs as the current user.
    pub fn for_servers() -> Result<Option<Account>, Fail> {
        // SAFETY: geteuid cannot fail and has no effects.
        if unsafe { libc::geteuid() } != 0 {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd")?;
        let find = |name: &str| {
            let line = users.lines().find(|line| line.starts_with(name))?;
            let mut fields = line.split(':').skip(2);
            Some(Account { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
        };
        let found = find("postgres:").or_else(|| find("nobody:"));
        found
            .map(Some)
            .ok_or_else(|| "neither postgres nor nobody exists here; run as an ordinary user".into())
    }

    /// Makes `command` run as this user.
    pub fn run(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Gives a file or folder to this user.
    pub fn own(self, path: &Path) -> Result<(), Fail> {
        Ok(std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))?)
    }
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From here on Ctrl-C and SIGTERM end the benchmark in order, with nothing left behind.
pub fn catch_interrupts() {
    extern "C" fn note(_: libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    let handler = note as extern "C" fn(libc::c_int);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler does nothing but store to an atomic.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Lets this process and its children open many sockets; returns the limit reached.
pub fn raise_file_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only read or write the local.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
    limit.rlim_cur
}

/// A port that nobody listens on now.
pub fn free_port() -> Result<u16, Fail> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
