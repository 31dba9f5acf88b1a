//! The account a private PostgreSQL runs under: PostgreSQL refuses to run as root, so root hands it to
//! somebody else. Knows nothing of clusters.

use std::ffi::CString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Tried in order; `nobody` runs initdb and a server well, it only needs a name.
const NAMES: [&str; 2] = ["postgres", "nobody"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// Whom the server has to run as; `None` when this process is not root and can run it itself.
pub fn for_server() -> Result<Option<Account>, String> {
    // SAFETY: geteuid takes no argument, touches no memory and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return Ok(None);
    }
    NAMES.iter().find_map(|name| look_up(name)).map(Some).ok_or_else(|| {
        "PostgreSQL does not run as root, and this system has neither a user `postgres` nor `nobody` \
         to run it; start pgweir as an ordinary user, or create one: useradd --system postgres"
            .to_owned()
    })
}

/// A command with an empty environment that runs in `folder` as `account`, apart from the terminal, and is
/// interrupted when the thread that spawns it ends.
pub fn command(program: &Path, account: Option<&Account>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LC_ALL", "C")
        .current_dir(folder)
        .stdin(Stdio::null());
    if let Some(account) = account {
        // As root, `uid` also drops the supplementary groups.
        command.uid(account.uid).gid(account.gid);
    }
    let parent = std::process::id();
    // SAFETY: the closure runs between fork and exec and makes only async-signal-safe system calls; it
    // allocates nothing and captures one integer.
    unsafe {
        command.pre_exec(move || detach(parent));
    }
    command
}

/// Leaves the terminal's process group, so that Ctrl-C reaches pgweir first, and asks the kernel for an
/// interrupt when the parent dies.
fn detach(parent: u32) -> std::io::Result<()> {
    // SAFETY: setsid takes no argument; it fails harmlessly if this is a group leader already.
    unsafe { libc::setsid() };
    #[cfg(target_os = "linux")]
    {
        // SAFETY: PR_SET_PDEATHSIG takes one integer and touches no memory.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGINT) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: getppid takes no argument and cannot fail.
        if unsafe { libc::getppid() } as u32 != parent {
            // The parent ended before the kernel was asked.
            return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = parent;
    Ok(())
}

/// Hands a file or folder to the account; nothing to do without one.
pub fn give(path: &Path, account: Option<&Account>) -> Result<(), String> {
    let Some(account) = account else {
        return Ok(());
    };
    std::os::unix::fs::chown(path, Some(account.uid), Some(account.gid))
        .map_err(|e| format!("cannot hand {} to user {}: {e}", path.display(), account.name))
}

fn look_up(name: &str) -> Option<Account> {
    let c_name = CString::new(name).ok()?;
    // Plenty for one passwd line; a longer one counts as absent.
    let mut text = [0 as libc::c_char; 4096];
    // SAFETY: passwd is plain data for which all-zero bytes are a valid value.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: every pointer is to a live local, the length is that of `text`, and the strings that `entry`
    // points into are not read after `text` is gone.
    let status =
        unsafe { libc::getpwnam_r(c_name.as_ptr(), &mut entry, text.as_mut_ptr(), text.len(), &mut found) };
    (status == 0 && !found.is_null()).then(|| Account {
        name: name.to_owned(),
        uid: entry.pw_uid,
        gid: entry.pw_gid,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up() {
        assert_eq!(look_up("root").map(|a| (a.uid, a.gid)), Some((0, 0)));
        assert_eq!(look_up("no-such-user-of-pgweir"), None);
    }

    #[test]
    fn root_hands_over_and_others_do_not() {
        // SAFETY: geteuid takes no argument, touches no memory and cannot fail.
        let root = unsafe { libc::geteuid() } == 0;
        let account = for_server().unwrap();
        assert_eq!(account.is_some(), root);
        assert!(account.is_none_or(|a| a.uid != 0));
    }

    #[test]
    fn a_command_runs_as_the_account_with_an_empty_environment() {
        let account = for_server().unwrap();
        let output = command(Path::new("/bin/sh"), account.as_ref(), Path::new("/"))
            .args(["-c", "id -u; echo \"[$HOME]\""])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        // SAFETY: as above.
        let uid = account.map_or_else(|| unsafe { libc::geteuid() }, |a| a.uid);
        assert_eq!(text, format!("{uid}\n[]\n"));
    }
}
