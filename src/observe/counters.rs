//! Counters on the data path. Each worker owns a set per (database, user) and is its only writer, so a
//! bump is a plain load and store; readers sum over the workers when somebody scrapes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::catalogs::Catalogs;
use super::coalescing::Coalescing;
use super::facts::Book;
use super::fences::Fences;
use super::findings::Findings;
use super::indexes::Acts;
use super::ledger::{Entry, Key, Ledger};
use super::loops::Loops;
use super::partitions::Board;
use super::slow_log::SlowLog;
use super::state::{self, Books};

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A level that goes up and down, with one writer.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn add(&self, n: i64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the histogram buckets in microseconds: 1-2.5-5 steps from 50 µs to 100 s.
pub const BUCKET_BOUNDS_US: [u64; 20] = [
    50,
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
];

/// Durations by bucket, not cumulative; the last bucket holds what exceeds every bound.
#[derive(Debug, Default)]
pub struct Histogram {
    pub buckets: [Counter; 21],
    pub sum_us: Counter,
}

impl Histogram {
    pub fn observe_us(&self, us: u64) {
        let at = BUCKET_BOUNDS_US.partition_point(|&bound| bound < us);
        self.buckets[at].add(1);
        self.sum_us.add(us);
    }
}

/// Why a session keeps its server between transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PinReason {
    AdvisoryLock,
    TemporaryTable,
    HoldCursor,
    Listen,
    Replication,
    /// A prepared statement too large to be kept for sending it to another server.
    LargeStatement,
    /// The server could not say what state it is in, so it is kept.
    Unknown,
}

impl PinReason {
    pub const ALL: [PinReason; 7] = [
        PinReason::AdvisoryLock,
        PinReason::TemporaryTable,
        PinReason::HoldCursor,
        PinReason::Listen,
        PinReason::Replication,
        PinReason::LargeStatement,
        PinReason::Unknown,
    ];

    pub fn label(self) -> &'static str {
        match self {
            PinReason::AdvisoryLock => "advisory_lock",
            PinReason::TemporaryTable => "temporary_table",
            PinReason::HoldCursor => "hold_cursor",
            PinReason::Listen => "listen",
            PinReason::Replication => "replication",
            PinReason::LargeStatement => "large_statement",
            PinReason::Unknown => "unknown",
        }
    }
}

/// What one worker counted for one (database, user).
#[derive(Debug, Default)]
pub struct PoolCounters {
    pub database: String,
    pub user: String,
    pub clients: Gauge,
    pub clients_waiting: Gauge,
    pub servers_active: Gauge,
    pub servers_idle: Gauge,
    pub servers_opened: Counter,
    pub servers_closed: Counter,
    pub server_connect_errors: Counter,
    pub queries: Counter,
    pub transactions: Counter,
    /// Bytes from clients, and to clients.
    pub bytes_in: Counter,
    pub bytes_out: Counter,
    pub queue_wait: Histogram,
    pub query_time: Histogram,
    pub transaction_time: Histogram,
    pub pinned: [Gauge; 7],
    pub statement_hits: Counter,
    /// Statements that were sent with bounds for a partitioned table.
    pub narrowed: Counter,
    /// Pages that the newest or oldest partitions did not fill, so that they were asked for once more.
    pub widened: Counter,
    pub statement_misses: Counter,
    pub statement_evictions: Counter,
    pub state_probes: Counter,
    pub state_alignments: Counter,
    pub cancels: Counter,
    errors: Mutex<BTreeMap<[u8; 5], u64>>,
}

/// SQLSTATEs counted one by one; what comes after goes to `XXXXX` so that a server cannot fill memory.
const SQLSTATES_MAX: usize = 300;

impl PoolCounters {
    pub fn new(database: &str, user: &str) -> Self {
        PoolCounters { database: database.to_owned(), user: user.to_owned(), ..Default::default() }
    }

    pub fn pinned(&self, reason: PinReason) -> &Gauge {
        &self.pinned[reason as usize]
    }

    /// Counts an error by its SQLSTATE. Errors are rare enough for a lock that only a scrape shares.
    pub fn count_error(&self, sqlstate: [u8; 5]) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let full = errors.len() >= SQLSTATES_MAX && !errors.contains_key(&sqlstate);
        *errors.entry(if full { *b"XXXXX" } else { sqlstate }).or_default() += 1;
    }

    pub fn errors(&self) -> BTreeMap<[u8; 5], u64> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Every worker's counters, for whoever scrapes. `client_logins_failed` has no pool yet.
#[derive(Debug)]
pub struct Registry {
    pools: Mutex<Vec<Arc<PoolCounters>>>,
    pub logins_failed: AtomicU64,
    pub clients_refused: AtomicU64,
    pub log_lines_dropped: AtomicU64,
    /// What statements came to.
    pub ledger: Ledger,
    /// What their shapes say.
    pub facts: Arc<Book>,
    /// Loops of statements that were found.
    pub findings: Findings,
    /// What coalescing came to.
    pub coalescing: Coalescing,
    /// What is known of the databases.
    pub catalogs: Catalogs,
    pub fences: Fences,
    /// Statements that were slow.
    pub slow_log: SlowLog,
    /// How keeping ledger and findings goes.
    pub state: state::Counts,
    /// Partitioned tables, and the work on them.
    pub partitions: Board,
    /// What was done to indexes.
    pub indexes: Acts,
    /// What the workers have learned of loops.
    pub loops: Loops,
}

impl Default for Registry {
    fn default() -> Self {
        let facts = Arc::<Book>::default();
        Registry {
            pools: Mutex::default(),
            logins_failed: AtomicU64::new(0),
            clients_refused: AtomicU64::new(0),
            log_lines_dropped: AtomicU64::new(0),
            ledger: Ledger::new(facts.clone()),
            findings: Findings::new(facts.clone()),
            facts,
            coalescing: Coalescing::default(),
            catalogs: Catalogs::default(),
            fences: Fences::default(),
            slow_log: SlowLog::default(),
            state: state::Counts::default(),
            partitions: Board::default(),
            indexes: Acts::default(),
            loops: Loops::default(),
        }
    }
}

impl Registry {
    /// What is kept over restarts.
    pub fn books(&self) -> Books<'_> {
        Books { ledger: &self.ledger, findings: &self.findings, indexes: &self.indexes, loops: &self.loops }
    }

    /// An entry of the ledger for a shape that a worker has not seen before, which the parser is told of.
    pub fn enter(&self, key: Key, text: &str) -> Arc<Entry> {
        self.facts.announce(key.fingerprint, text);
        self.ledger.enter(key, text)
    }

    pub fn register(&self, counters: Arc<PoolCounters>) {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).push(counters);
    }

    pub fn pools(&self) -> Vec<Arc<PoolCounters>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
