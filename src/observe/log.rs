//! Sets up the log: tracing's events as text or JSON lines on stderr, written by a thread of its own.
//! Knows nothing of what is logged. A slow reader of stderr never slows the data path: when the queue is full,
//! lines are dropped and counted.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt};

use super::{LogFormat, LogSettings};

/// Lines that may wait for stderr. Some seconds of a busy log; with [`LINE_MAX`] at most 32 MiB.
const QUEUE_LINES: usize = 4_096;

/// Bytes of one line; a longer one is cut, so that one event cannot take the queue's memory.
const LINE_MAX: usize = 8 * 1024;

/// The target of audit lines. They are shown at every level unless the level names this target itself.
pub const AUDIT_TARGET: &str = "pgweir::audit";

static HANDLES: OnceLock<Handles> = OnceLock::new();

struct Handles {
    filter: reload::Handle<EnvFilter, Registry>,
    sink: Sink,
}

/// Starts logging for the whole process; `Err` says what is wrong with the level, or that logging has begun
/// already. Call once, before the workers start.
pub fn init(settings: &LogSettings) -> Result<(), String> {
    let (filter, handle) = reload::Layer::new(filter(&settings.level)?);
    let sink = Sink::start(settings.format, io::stderr())
        .map_err(|error| format!("the log's thread did not start: {error}"))?;
    let lines = fmt::layer().with_writer(sink.clone());
    let base = tracing_subscriber::registry().with(filter);
    match settings.format {
        LogFormat::Text => base.with(lines.with_ansi(io::stderr().is_terminal())).try_init(),
        LogFormat::Json => base.with(lines.json().flatten_event(true)).try_init(),
    }
    .map_err(|error| format!("the log was set up twice: {error}"))?;
    let handles = Handles { filter: handle, sink };
    HANDLES.set(handles).map_err(|_| "the log was set up twice".to_owned())
}

/// Changes the level while running. The format stays what it was at start.
pub fn set_level(level: &str) -> Result<(), String> {
    let filter = filter(level)?;
    let handles = HANDLES.get().ok_or("the log is not set up yet, so its level cannot change")?;
    handles.filter.reload(filter).map_err(|error| format!("the log's level did not change: {error}"))
}

/// Whether `level` is a filter that [`init`] and [`set_level`] accept; `Err` says why not.
pub fn check_level(level: &str) -> Result<(), String> {
    filter(level).map(drop)
}

/// Waits until what was logged before has been written, at most `limit`. For the end of the process.
pub fn flush(limit: Duration) {
    let Some(handles) = HANDLES.get() else { return };
    handles.sink.flush(limit);
}

/// Lines dropped since the process began.
pub fn lines_dropped() -> u64 {
    HANDLES.get().map_or(0, |handles| handles.sink.dropped.load(Relaxed))
}

/// Parses a level such as `info`, or a list such as `info,pgweir::pool=debug`.
///
/// tracing takes a word that is no level for the name of a module and then logs nothing else, so that a
/// mistyped `wran` would silence the log. A word by itself must be a level here.
fn filter(level: &str) -> Result<EnvFilter, String> {
    for directive in level.split(',').map(str::trim) {
        let level_alone = !directive.is_empty() && directive.parse::<LevelFilter>().is_ok();
        if !directive.contains('=') && !level_alone {
            return Err(format!(
                "`{directive}` is not a log level; use off, error, warn, info, debug or trace, or a list \
                 such as `info,pgweir::pool=debug`"
            ));
        }
    }
    // Without a file of its own the audit log comes through here, and no level may silence it.
    let level_with_audit = match level.contains(AUDIT_TARGET) {
        true => level.to_owned(),
        false => format!("{level},{AUDIT_TARGET}=info"),
    };
    EnvFilter::builder()
        .parse(level_with_audit)
        .map_err(|error| format!("`{level}` is not a log filter: {error}"))
}

enum Item {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The sending end of the queue; tracing asks it for a writer for each event.
#[derive(Clone)]
struct Sink {
    queue: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
}

impl Sink {
    fn start(format: LogFormat, out: impl Write + Send + 'static) -> io::Result<Sink> {
        let (sender, receiver) = sync_channel(QUEUE_LINES);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = dropped.clone();
        std::thread::Builder::new()
            .name("pgweir-log".to_owned())
            .spawn(move || write_lines(&receiver, &counted, format, out))?;
        Ok(Sink { queue: sender, dropped })
    }

    fn flush(&self, limit: Duration) {
        let (done, wait) = sync_channel(1);
        let give_up = std::time::Instant::now() + limit;
        let mut item = Item::Flush(done);
        // The queue may be full; `send` would wait for ever behind a reader that is stuck.
        while let Err(std::sync::mpsc::TrySendError::Full(back)) = self.queue.try_send(item) {
            if std::time::Instant::now() >= give_up {
                return;
            }
            item = back;
            std::thread::sleep(Duration::from_millis(5));
        }
        let left = give_up.saturating_duration_since(std::time::Instant::now());
        // Either the lines are out or the time is; there is nothing else to do about it.
        let _ = wait.recv_timeout(left);
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter { sink: self, line: Vec::new() }
    }
}

/// Collects one event and queues it when the event ends.
struct LineWriter<'a> {
    sink: &'a Sink,
    line: Vec<u8>,
}

impl Write for LineWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = LINE_MAX.saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LineWriter<'_> {
    fn drop(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return;
        }
        if line.last() != Some(&b'\n') {
            line.pop();
            line.push(b'\n');
        }
        if self.sink.queue.try_send(Item::Line(line)).is_err() {
            self.sink.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// The log's thread. Errors of stderr have nowhere to go, so they are passed over.
fn write_lines(receiver: &Receiver<Item>, dropped: &AtomicU64, format: LogFormat, mut out: impl Write) {
    let mut told = 0;
    while let Ok(item) = receiver.recv() {
        match item {
            Item::Line(line) => {
                let _ = out.write_all(&line);
            }
            Item::Flush(done) => {
                let _ = out.flush();
                let _ = done.try_send(());
            }
        }
        let now = dropped.load(Relaxed);
        if now != told {
            let _ = out.write_all(dropped_note(format, now - told).as_bytes());
            told = now;
        }
    }
}

fn dropped_note(format: LogFormat, lines: u64) -> String {
    let note = "log lines were dropped here because stderr was not read fast enough";
    match format {
        LogFormat::Text => format!("WARN pgweir: {lines} {note}\n"),
        LogFormat::Json => {
            format!("{{\"level\":\"WARN\",\"message\":\"{lines} {note}\",\"dropped\":{lines}}}\n")
        }
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
