//! The audit log: who did what through the HTTP surface, and who was turned away. Append-only JSON lines.
//! Knows nothing of HTTP; a line that cannot be written is the caller's reason to refuse.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::access::Known;
use crate::observe::log::AUDIT_TARGET;

/// Denied attempts written per [`WINDOW`]; further ones are only counted, so that a stranger cannot fill the
/// disk. The next line of any kind tells how many were left out. Acts themselves are never left out.
const DENIED_MAX: u32 = 100;
const WINDOW: Duration = Duration::from_secs(60);

/// Bytes of a path that a line repeats.
const WHAT_MAX: usize = 200;

/// Bytes of a statement that a line repeats. A statement that makes a partition has some hundreds.
const STATEMENT_MAX: usize = 16 * 1024;

/// One line. `who` is `None` when no known token was presented.
pub(super) struct Entry<'a> {
    /// Joins the lines of one act: `started` and then `done` or `failed`.
    pub(super) id: u64,
    pub(super) who: Option<&'a Known>,
    pub(super) from: String,
    /// Method and path, without the query string.
    pub(super) what: &'a str,
    pub(super) result: Outcome,
    pub(super) reason: Option<&'a str>,
    /// What is sent to a database, where that is what is audited.
    pub(super) statement: Option<&'a str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Started,
    Done,
    Failed,
    Denied,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    id: String,
    who: Option<Who<'a>>,
    from: &'a str,
    what: &'a str,
    result: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<&'a str>,
    /// Denied attempts that were not written since the line before.
    #[serde(skip_serializing_if = "is_zero")]
    left_out: u64,
}

#[derive(Serialize)]
struct Who<'a> {
    token: &'a str,
    role: super::Role,
}

/// Where the lines go. Without a file they go to the log, which drops lines when nobody reads stderr; whoever needs
/// every line sets a file.
pub(super) struct Audit {
    state: Mutex<State>,
}

struct State {
    file: Option<LogFile>,
    window_start: Instant,
    denied_in_window: u32,
    left_out: u64,
}

impl Audit {
    /// Opens the file at once, so that a wrong path is known at start.
    pub(super) fn open(path: Option<&Path>) -> Result<Audit, String> {
        let file = match path {
            None => None,
            Some(path) => Some(LogFile::open(path).map_err(|error| {
                let path = path.display();
                format!(
                    "admin.audit_log {path} cannot be opened for appending: {error}; \
                     check the folder and its permissions"
                )
            })?),
        };
        Ok(Audit {
            state: Mutex::new(State { file, window_start: Instant::now(), denied_in_window: 0, left_out: 0 }),
        })
    }

    /// Writes one line. A `Started` line is on the disk when this returns; `Err` says why it is not.
    pub(super) fn write(&self, entry: &Entry<'_>) -> Result<(), String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if entry.result == Outcome::Denied && !state.may_write_denied(Instant::now()) {
            return Ok(());
        }
        let line = line(entry, state.left_out, SystemTime::now())?;
        match &mut state.file {
            None => write_to_log(&line, entry.result)?,
            Some(file) => file
                .append(&line, entry.result == Outcome::Started)
                .map_err(|error| format!("the audit log {}: {error}", file.path.display()))?,
        }
        state.left_out = 0;
        Ok(())
    }
}

impl State {
    fn may_write_denied(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.window_start) >= WINDOW {
            self.window_start = now;
            self.denied_in_window = 0;
        }
        let may = self.denied_in_window < DENIED_MAX;
        match may {
            true => self.denied_in_window += 1,
            false => self.left_out += 1,
        }
        may
    }
}

/// Refuses to begin what the log would not show.
fn write_to_log(line: &str, result: Outcome) -> Result<(), String> {
    let shown = tracing::enabled!(target: AUDIT_TARGET, tracing::Level::INFO);
    if !shown && result == Outcome::Started {
        return Err("there is no admin.audit_log, and the log does not show audit lines".to_owned());
    }
    tracing::info!(target: AUDIT_TARGET, "{line}");
    Ok(())
}

fn line(entry: &Entry<'_>, left_out: u64, now: SystemTime) -> Result<String, String> {
    let line = Line {
        time: rfc3339(now),
        id: format!("{}-{}", std::process::id(), entry.id),
        who: entry.who.map(|known| Who { token: &known.name, role: known.role }),
        from: &entry.from,
        what: cut(entry.what, WHAT_MAX),
        result: entry.result,
        reason: entry.reason,
        statement: entry.statement.map(|statement| cut(statement, STATEMENT_MAX)),
        left_out,
    };
    serde_json::to_string(&line).map_err(|error| format!("the audit line: {error}"))
}

fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

struct LogFile {
    path: PathBuf,
    file: File,
    /// A write failed half-way, so the next line must begin on a new one.
    torn: bool,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<LogFile> {
        Ok(LogFile { path: path.to_owned(), file: open_append(path)?, torn: false })
    }

    /// Appends `line` with one write call; `sync` waits for the disk.
    fn append(&mut self, line: &str, sync: bool) -> io::Result<()> {
        if self.was_moved() {
            // Log rotation renamed the file or removed it: go on under the name that the settings give.
            self.file = open_append(&self.path)?;
            self.torn = false;
        }
        let start = if self.torn { "\n" } else { "" };
        let whole = format!("{start}{line}\n");
        self.torn = true;
        self.file.write_all(whole.as_bytes())?;
        self.torn = false;
        // Pipes and terminals have no disk to wait for.
        if sync && self.file.metadata()?.file_type().is_file() {
            self.file.sync_data()?;
        }
        Ok(())
    }

    fn was_moved(&self) -> bool {
        let (Ok(own), named) = (self.file.metadata(), std::fs::metadata(&self.path)) else {
            return true;
        };
        if own.file_type().is_fifo() || own.file_type().is_char_device() {
            return false;
        }
        named.map_or(true, |named| (named.dev(), named.ino()) != (own.dev(), own.ino()))
    }
}

/// Only the owner reads it: it says who operates the database and from where.
fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// UTC with milliseconds, `2026-01-31T23:59:59.123Z`.
fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
