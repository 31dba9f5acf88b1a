//! One child process and the thread that waits for it. Signals can never hit a recycled process id, and the
//! child's end is an event, not a poll. Knows nothing of PostgreSQL.

use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// A running or ended child process. Dropping it does not stop the child.
#[derive(Debug)]
pub struct Server {
    pid: u32,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    ended: Mutex<Option<ExitStatus>>,
    changed: Condvar,
}

impl Server {
    /// Starts the command in a thread that lives exactly as long as the child: Linux sends the signal of
    /// `PR_SET_PDEATHSIG` when the spawning *thread* ends, so the caller's own thread will not do.
    pub fn spawn(mut command: Command) -> Result<Server, String> {
        let state = Arc::new(State::default());
        let (tell, told) = mpsc::sync_channel(1);
        let keeper = Arc::clone(&state);
        std::thread::Builder::new()
            .name("pgweir-demo-child".to_owned())
            .spawn(move || match command.spawn() {
                Ok(child) => {
                    let _ = tell.send(Ok(child.id()));
                    keeper.keep(child);
                }
                Err(e) => {
                    let program = command.get_program().to_string_lossy();
                    let _ = tell.send(Err(format!("cannot run {program}: {e}")));
                }
            })
            .map_err(|e| format!("cannot start a thread: {e}"))?;
        let pid = told.recv().map_err(|_| "the thread that starts PostgreSQL ended early".to_owned())??;
        Ok(Server { pid, state })
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal; false when the child has ended already.
    pub fn signal(&self, signal: libc::c_int) -> bool {
        let ended = self.state.lock();
        if ended.is_some() {
            return false;
        }
        // SAFETY: kill takes integers. The child is not reaped while the lock is held and the state says it
        // runs, so the process id is still its own.
        unsafe { libc::kill(self.pid as libc::pid_t, signal) == 0 }
    }

    /// Waits for the child's end, at most `bound`; `None` means it still runs.
    pub fn wait(&self, bound: Duration) -> Option<ExitStatus> {
        let ended = self.state.lock();
        let (ended, _) = self
            .state
            .changed
            .wait_timeout_while(ended, bound, |ended| ended.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        *ended
    }

    /// SIGKILL for the process and its children; returns when all are gone, at the latest after `bound`.
    pub fn kill_family(&self, bound: Duration) -> Result<(), String> {
        // Stopped first, so that it starts no child after they have been listed.
        self.signal(libc::SIGSTOP);
        let children = children(self.pid);
        self.signal(libc::SIGKILL);
        for child in &children {
            // SAFETY: kill takes integers. The process was this one's child a moment ago.
            unsafe { libc::kill(*child, libc::SIGKILL) };
        }
        let begun = Instant::now();
        let mut all_gone = self.wait(bound).is_some();
        while all_gone && children.iter().any(|child| runs(*child)) {
            all_gone = begun.elapsed() < bound;
            std::thread::sleep(Duration::from_millis(5));
        }
        all_gone
            .then_some(())
            .ok_or_else(|| format!("process {} or a child of it cannot be killed", self.pid))
    }
}

/// The children of a process that still run; zombies do not.
#[cfg(target_os = "linux")]
fn children(parent: u32) -> Vec<libc::pid_t> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| state_and_parent(*pid).is_some_and(|(_, p)| p == parent))
        .collect()
}

#[cfg(target_os = "linux")]
fn runs(pid: libc::pid_t) -> bool {
    state_and_parent(pid).is_some_and(|(state, _)| state != 'Z')
}

/// From /proc/<pid>/stat, whose second field is a name in parentheses that may hold anything.
#[cfg(target_os = "linux")]
fn state_and_parent(pid: libc::pid_t) -> Option<(char, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = text.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Elsewhere PostgreSQL's children notice by themselves that their parent is gone.
#[cfg(not(target_os = "linux"))]
fn children(_parent: u32) -> Vec<libc::pid_t> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
fn runs(_pid: libc::pid_t) -> bool {
    false
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Option<ExitStatus>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, mut child: Child) {
        wait_without_reaping(child.id());
        let mut ended = self.lock();
        // The child has ended, so this returns at once, and the process id is free only from here on.
        if let Ok(status) = child.wait() {
            *ended = Some(status);
        }
        self.changed.notify_all();
    }
}

fn wait_without_reaping(pid: u32) {
    loop {
        // SAFETY: siginfo_t is plain data for which all-zero bytes are a valid value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `info` is a live local of the right type; the other arguments are integers.
        let status = unsafe { libc::waitid(libc::P_PID, pid, &mut info, libc::WEXITED | libc::WNOWAIT) };
        let interrupted = std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted;
        if status == 0 || !interrupted {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_seen_and_signals_stop() {
        let mut command = Command::new("/bin/sleep");
        command.arg("600");
        let server = Server::spawn(command).unwrap();
        assert_eq!(server.wait(Duration::from_millis(10)), None);
        assert!(server.signal(libc::SIGTERM));
        let status = server.wait(Duration::from_secs(20)).unwrap();
        assert!(!status.success());
        assert!(!server.signal(libc::SIGTERM));
    }

    #[test]
    fn a_family_is_killed_as_one() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "trap '' INT TERM; sleep 600 & sleep 600"]);
        let server = Server::spawn(command).unwrap();
        let begun = Instant::now();
        while children(server.pid()).len() < 2 {
            assert!(begun.elapsed() < Duration::from_secs(20), "sh starts no children");
            std::thread::sleep(Duration::from_millis(5));
        }
        let family = children(server.pid());
        server.kill_family(Duration::from_secs(20)).unwrap();
        assert!(server.wait(Duration::ZERO).is_some());
        assert!(family.iter().all(|pid| !runs(*pid)));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Server::spawn(Command::new("/no/such/program")).unwrap_err();
        assert!(error.contains("/no/such/program"), "{error}");
    }
}
