//! The slow-query log: what took longer than its threshold, sampled, as JSON lines or in pgweir's own log.
//! Sessions hand statements over and never wait; a thread of its own decides and writes.

pub mod explain;
mod line;
mod rotate;
mod sample;
pub mod settings;
pub mod threshold;
mod writer;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::settings::SlowLogSettings;
use self::threshold::Verdict;
use super::ledger::{Entry, Outcome};
use crate::sql::comment::Origin;

/// Statements that may wait for the writer. It takes a thousand in some milliseconds; at 20 KB each with the
/// largest values this is 20 MB at most.
const QUEUE_MAX: usize = 1_024;

/// A statement that was slow.
#[derive(Debug)]
pub struct Slow {
    pub entry: Arc<Entry>,
    pub application: Box<str>,
    /// The client's address.
    pub client: Box<str>,
    pub outcome: Outcome,
    pub sqlstate: Option<[u8; 5]>,
    pub in_transaction: bool,
    /// What it was compared with, and why.
    pub verdict: Verdict,
    pub origin: Origin<'static>,
    /// Values of parameters and literals, where the settings allow to keep them; `None` in it is NULL.
    pub parameters: Option<Box<[Option<Box<str>>]>>,
    /// The text as it was sent, and how many of `parameters` are literals of it; under the same condition.
    pub original: Option<(Box<str>, usize)>,
    /// The session's, as the setting is written; `None`: the server's default.
    pub search_path: Option<Box<str>>,
}

/// What became of slow statements.
#[derive(Debug, Default)]
pub struct Counts {
    pub seen: AtomicU64,
    pub written: AtomicU64,
    /// Left out by the limits of lines per minute.
    pub suppressed: AtomicU64,
    /// Left out because the writer did not keep up.
    pub dropped: AtomicU64,
    pub write_errors: AtomicU64,
    pub rotations: AtomicU64,
}

enum Item {
    Slow(Box<Slow>),
    /// Everything before this is written when the other end hears of it.
    End(SyncSender<()>),
}

/// The way to the writer.
pub struct SlowLog {
    queue: SyncSender<Item>,
    waiting: Mutex<Option<Receiver<Item>>>,
    /// The writer looks here before each line, so that nobody waits for a writer that is stuck.
    settings: Arc<Mutex<Arc<SlowLogSettings>>>,
    pub counts: Arc<Counts>,
    pub explains: Arc<explain::Explains>,
}

impl std::fmt::Debug for SlowLog {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SlowLog").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Default for SlowLog {
    fn default() -> Self {
        let (queue, waiting) = sync_channel(QUEUE_MAX);
        let waiting = Mutex::new(Some(waiting));
        SlowLog { queue, waiting, settings: Arc::default(), counts: Arc::default(), explains: Arc::default() }
    }
}

impl SlowLog {
    /// Starts the writer; the second call does nothing.
    ///
    /// # Errors
    /// A sentence: the system has no thread to give.
    pub fn start(&self) -> Result<(), String> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(items) = waiting else {
            return Ok(());
        };
        let (settings, counts) = (self.settings.clone(), self.counts.clone());
        let writer = writer::Writer::new(settings, counts, self.explains.clone());
        let thread = std::thread::Builder::new().name("pgweir-slow".to_owned());
        let spawned = thread.spawn(move || writer.run(&items));
        spawned.map(drop).map_err(|error| format!("cannot start the slow-query log's thread: {error}"))
    }

    /// Takes a slow statement; never waits.
    pub fn note(&self, slow: Slow) {
        self.counts.seen.fetch_add(1, Relaxed);
        if self.queue.try_send(Item::Slow(Box::new(slow))).is_err() {
            self.counts.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Other settings from the next line on.
    pub fn set(&self, settings: SlowLogSettings) {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings.into();
    }

    /// Ends the writer when all is written, at the latest after `limit`.
    pub fn finish(&self, limit: Duration) {
        let (done, heard) = sync_channel(1);
        let give_up = Instant::now() + limit;
        let mut item = Item::End(done);
        // The queue may be full, and `send` would wait for ever behind a reader of stdout that is stuck.
        while let Err(TrySendError::Full(back)) = self.queue.try_send(item) {
            if Instant::now() >= give_up {
                return;
            }
            item = back;
            std::thread::sleep(Duration::from_millis(5));
        }
        // Either the lines are out or the time is; there is nothing else to do about it.
        let _ = heard.recv_timeout(give_up.saturating_duration_since(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::ledger::{Key, Ledger};
    use super::*;

    fn slow(ledger: &Ledger) -> Slow {
        let key = Key { database: "app".into(), user: "me".into(), fingerprint: 1 };
        Slow {
            entry: ledger.enter(key, "select $1"),
            application: "".into(),
            client: "127.0.0.1:1".into(),
            outcome: Outcome { call: true, server_us: 2_000_000, ..Outcome::default() },
            sqlstate: None,
            in_transaction: false,
            verdict: Verdict { over_us: 1_000_000, rule: None },
            origin: Origin { route: Some("/cart".into()), ..Origin::default() },
            parameters: None,
            original: None,
            search_path: None,
        }
    }

    #[test]
    fn nobody_waits_for_a_writer_that_is_stuck() {
        let (log, ledger) = (SlowLog::default(), Ledger::default());
        (0..QUEUE_MAX + 5).for_each(|_| log.note(slow(&ledger)));
        log.set(SlowLogSettings::default());
        log.finish(Duration::from_millis(20));
        let counts = &log.counts;
        assert_eq!((counts.seen.load(Relaxed), counts.dropped.load(Relaxed)), (QUEUE_MAX as u64 + 5, 5));
        // It was only late: what waited is written, as the latest settings say.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slow.log");
        let file = settings::FileSettings { path: path.clone(), max_size: 1 << 20, keep: 1 };
        log.set(SlowLogSettings { file: Some(file), ..SlowLogSettings::default() });
        log.start().unwrap();
        log.finish(Duration::from_secs(30));
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!((text.lines().count(), counts.suppressed.load(Relaxed)), (10, QUEUE_MAX as u64 - 10));
        assert!(
            text.contains("\"route\":\"/cart\"") && text.contains("\"rule\":\"slow_log.over\""),
            "{text}"
        );
    }
}
