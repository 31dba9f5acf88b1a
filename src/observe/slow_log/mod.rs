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
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use self::settings::SlowLogSettings;
use super::ledger::{Entry, Outcome};

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
    /// What it was compared with, µs.
    pub over_us: u64,
    pub origin: Origin,
    /// Values of parameters and literals, where the settings allow to keep them; `None` in it is NULL.
    pub parameters: Option<Box<[Option<Box<str>>]>>,
    /// It only reads, as far as its first word tells.
    pub reads: bool,
}

/// Where in the application a statement comes from, as its comments say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    pub route: Option<String>,
    pub action: Option<String>,
    pub traceparent: Option<String>,
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
    Settings(Arc<SlowLogSettings>),
    /// Everything before this is written when the other end hears of it.
    End(SyncSender<()>),
}

/// The way to the writer.
pub struct SlowLog {
    queue: SyncSender<Item>,
    waiting: Mutex<Option<Receiver<Item>>>,
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
        SlowLog { queue, waiting, counts: Arc::default(), explains: Arc::default() }
    }
}

impl SlowLog {
    /// Starts the writer; the second call does nothing.
    ///
    /// # Errors
    /// A sentence: the system has no thread to give.
    pub fn start(&self, settings: &SlowLogSettings) -> Result<(), String> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(items) = waiting else {
            return Ok(());
        };
        let writer = writer::Writer::new(settings.clone().into(), self.counts.clone(), self.explains.clone());
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

    /// Other settings from now on. Waits for room in the queue; not for the data path.
    pub fn set(&self, settings: SlowLogSettings) {
        // It fails only when the writer has ended, and then there is nothing to set.
        let _ = self.queue.send(Item::Settings(settings.into()));
    }

    /// Ends the writer when all is written, at the latest after `limit`.
    pub fn finish(&self, limit: Duration) {
        let (done, heard) = sync_channel(1);
        // Nobody waits behind a reader of stdout that is stuck: the queue has room, or the lines are lost.
        if self.queue.try_send(Item::End(done)).is_ok() {
            let _ = heard.recv_timeout(limit);
        }
    }
}
