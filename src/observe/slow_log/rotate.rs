//! A file of lines that is moved aside when it is full: `path` becomes `path.1`, that `path.2`, and so on. A
//! file that somebody else moved away, as logrotate does, is opened anew. Knows nothing of what the lines say.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::settings::FileSettings;

#[derive(Debug)]
pub struct Rotating {
    settings: FileSettings,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Device and inode, by which the file is known when its name belongs to another.
    id: (u64, u64),
    size: u64,
}

impl Rotating {
    /// Opens nothing yet.
    pub fn new(settings: FileSettings) -> Self {
        Rotating { settings, open: None }
    }

    /// Appends one line, which ends with a line end. Returns whether the file was moved aside before.
    ///
    /// # Errors
    /// The file cannot be opened, moved or written; the next line tries again.
    pub fn write(&mut self, line: &[u8]) -> io::Result<bool> {
        let mut open = match self.open.take() {
            Some(open) if is_still(&self.settings.path, &open) => open,
            _ => Open::at(&self.settings.path)?,
        };
        let full = open.size > 0 && open.size + line.len() as u64 > self.settings.max_size;
        if full {
            self.move_aside()?;
            open = Open::at(&self.settings.path)?;
        }
        open.file.write_all(line)?;
        open.size += line.len() as u64;
        self.open = Some(open);
        Ok(full)
    }

    fn move_aside(&self) -> io::Result<()> {
        let path = &self.settings.path;
        if self.settings.keep == 0 {
            return fs::remove_file(path);
        }
        for at in (1..self.settings.keep).rev() {
            match fs::rename(numbered(path, at), numbered(path, at + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(path, numbered(path, 1))
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Open> {
        // Statements are nobody else's business, with or without their values.
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let data = file.metadata()?;
        if !data.is_file() {
            return Err(io::Error::other("it is not a plain file; name another, or use stdout"));
        }
        Ok(Open { file, id: (data.dev(), data.ino()), size: data.len() })
    }
}

fn is_still(path: &Path, open: &Open) -> bool {
    fs::metadata(path).is_ok_and(|data| (data.dev(), data.ino()) == open.id)
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn rotating(folder: &Path, keep: u32) -> Rotating {
        Rotating::new(FileSettings { path: folder.join("slow.log"), max_size: 10, keep })
    }

    #[test]
    fn a_full_file_moves_on_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = rotating(folder.path(), 2);
        let moved: Vec<bool> = ["one\n", "two\n", "three\n", "four\n", "fivefivefive\n", "six\n"]
            .map(|line| file.write(line.as_bytes()).unwrap())
            .into();
        assert_eq!(moved, [false, false, true, true, true, true]);
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(names(folder.path()), ["slow.log", "slow.log.1", "slow.log.2"]);
        assert_eq!(
            [read("slow.log.2"), read("slow.log.1"), read("slow.log")],
            ["four\n", "fivefivefive\n", "six\n"]
        );
        let mut later = rotating(folder.path(), 2);
        assert!(later.write(b"seven-7\n").unwrap(), "what an earlier process wrote counts");
    }

    #[test]
    fn nothing_is_kept_when_nothing_shall_be() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = rotating(folder.path(), 0);
        for _ in 0..5 {
            file.write(b"12345678\n").unwrap();
        }
        assert_eq!(names(folder.path()), ["slow.log"]);
    }

    #[test]
    fn a_file_that_was_moved_or_removed_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = rotating(folder.path(), 2);
        file.write(b"1\n").unwrap();
        fs::rename(folder.path().join("slow.log"), folder.path().join("moved")).unwrap();
        file.write(b"2\n").unwrap();
        fs::remove_file(folder.path().join("slow.log")).unwrap();
        file.write(b"3\n").unwrap();
        assert_eq!(fs::read(folder.path().join("slow.log")).unwrap(), b"3\n");
        assert_eq!(fs::read(folder.path().join("moved")).unwrap(), b"1\n");
    }

    #[test]
    fn errors_pass_when_their_reason_does() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        let mut file = rotating(&inner, 2);
        assert!(file.write(b"1\n").is_err());
        fs::create_dir(&inner).unwrap();
        file.write(b"2\n").unwrap();
        assert_eq!(fs::read(inner.join("slow.log")).unwrap(), b"2\n");
        fs::create_dir(folder.path().join("slow.log")).unwrap();
        assert!(rotating(folder.path(), 1).write(b"x\n").is_err());
    }
}
