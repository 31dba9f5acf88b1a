//! The temporary folder of a private cluster: made where the server's account can reach it, removed when
//! dropped, and swept by the next start if its owner was killed. Knows nothing of PostgreSQL.

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::account::{Account, give};

const PREFIX: &str = "pgweir-pg-";

/// Held by the owner for as long as it lives; the kernel lets go of it however the owner ends.
const LOCK: &str = "owner.lock";

#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    /// Keeps the lock.
    _lock: File,
}

impl Home {
    /// Makes the folder, and removes those of owners that are gone.
    pub fn create(account: Option<&Account>) -> Result<Home, String> {
        let base = base(account)?;
        sweep(&base);
        let path = base.join(format!("{PREFIX}{:08x}", rand::random::<u32>()));
        let say = |what: &str, e: std::io::Error| format!("cannot {what} {}: {e}", path.display());
        // Others may pass through to the socket, but not list or write.
        DirBuilder::new().mode(0o711).create(&path).map_err(|e| say("create", e))?;
        // Locked before it has its name, so that no sweep can find it unlocked.
        let unnamed = path.join("new.lock");
        let lock = File::create(&unnamed).map_err(|e| say("write to", e))?;
        lock.try_lock().map_err(|e| format!("cannot lock {}: {e}", unnamed.display()))?;
        std::fs::rename(&unnamed, path.join(LOCK)).map_err(|e| say("write to", e))?;
        Ok(Home { path, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a folder inside that belongs to the server's account.
    pub fn folder(&self, name: &str, mode: u32, account: Option<&Account>) -> Result<PathBuf, String> {
        let folder = self.path.join(name);
        DirBuilder::new()
            .mode(mode)
            .create(&folder)
            .map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
        give(&folder, account)?;
        Ok(folder)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A child of the server may still be writing its last file, so a second try is worth it.
        for _ in 0..3 {
            match std::fs::remove_dir_all(&self.path) {
                Ok(()) => return,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return,
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(50)),
            }
        }
        tracing::warn!(folder = %self.path.display(), "could not remove the private cluster's folder; remove it by hand");
    }
}

/// The system's folder for temporary files, unless the server's account cannot reach it.
fn base(account: Option<&Account>) -> Result<PathBuf, String> {
    let usual = std::env::temp_dir();
    if account.is_none() {
        return Ok(usual);
    }
    [usual, PathBuf::from("/tmp"), PathBuf::from("/var/tmp")]
        .into_iter()
        .find(|folder| open_to_all(folder))
        .ok_or_else(|| {
            "no folder for temporary files is open to other users, which the server's account needs; \
             set TMPDIR to one that is (chmod 1777)"
                .to_owned()
        })
}

/// Whether anybody may pass through this folder and every one above it.
fn open_to_all(folder: &Path) -> bool {
    folder
        .canonicalize()
        .is_ok_and(|real| real.ancestors().all(|step| step.metadata().is_ok_and(|m| m.mode() & 0o001 != 0)))
}

/// Removes the folders whose owners are gone: those whose lock can be taken.
fn sweep(base: &Path) {
    let Ok(entries) = std::fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(lock) = File::options().write(true).open(entry.path().join(LOCK)) else {
            continue;
        };
        match lock.try_lock() {
            // A folder of another user cannot be removed; that user's next start will.
            Ok(()) => drop(std::fs::remove_dir_all(entry.path())),
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_home_is_gone() {
        let home = Home::create(None).unwrap();
        let path = home.path().to_path_buf();
        std::fs::write(path.join("file"), "x").unwrap();
        assert!(path.is_dir());
        drop(home);
        assert!(!path.exists());
    }

    #[test]
    fn only_abandoned_homes_are_swept() {
        let base = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let folder = base.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            (File::create(folder.join(LOCK)).unwrap(), folder)
        };
        let (held, alive) = make("pgweir-pg-alive");
        held.try_lock().unwrap();
        let (_, abandoned) = make("pgweir-pg-abandoned");
        let (_, foreign) = make("something-else");
        sweep(base.path());
        assert!(alive.exists() && foreign.exists());
        assert!(!abandoned.exists());
    }

    #[test]
    fn a_closed_ancestor_is_noticed() {
        use std::os::unix::fs::PermissionsExt;
        let closed = tempfile::tempdir().unwrap();
        let inner = closed.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::set_permissions(closed.path(), PermissionsExt::from_mode(0o700)).unwrap();
        assert!(!open_to_all(&inner));
        assert!(open_to_all(Path::new("/")));
    }
}
