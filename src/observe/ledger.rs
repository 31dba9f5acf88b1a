//! What each shape of statement came to: calls, rows, bytes and time, per database and user. Sessions count
//! into an entry of their own worker; readers add the workers up. Bounded: the least useful shapes go first.

mod totals;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::counters::Counter;
use super::facts::{Book, Known};
use super::latency::Latency;
use super::slow_log::threshold::{Judge, NEVER, Verdict};

pub use totals::{Outcome, Totals};

/// Whose shape it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub database: Arc<str>,
    pub user: Arc<str>,
    pub fingerprint: u64,
}

/// One shape on one worker, which is its only writer.
#[derive(Debug)]
pub struct Entry {
    pub key: Key,
    /// The statement without its values.
    pub text: Arc<str>,
    calls: Counter,
    errors: Counter,
    rows: Counter,
    bytes: Counter,
    queue_us: Counter,
    server_us: Counter,
    client_us: Counter,
    max_us: Counter,
    first_s: AtomicU64,
    last_s: AtomicU64,
    latency: Latency,
    /// From which time on it is slow.
    slow_us: AtomicU64,
    /// The rule that says so: its place in the file, counted from 1; 0: none.
    slow_rule: AtomicUsize,
    /// Values of one call, for people, where the settings allow to keep them.
    sample: Mutex<Option<Box<str>>>,
    gone: AtomicBool,
}

impl Entry {
    fn new(key: Key, text: Arc<str>) -> Self {
        Entry {
            key,
            text,
            calls: Counter::default(),
            errors: Counter::default(),
            rows: Counter::default(),
            bytes: Counter::default(),
            queue_us: Counter::default(),
            server_us: Counter::default(),
            client_us: Counter::default(),
            max_us: Counter::default(),
            first_s: AtomicU64::new(0),
            last_s: AtomicU64::new(0),
            latency: Latency::default(),
            slow_us: AtomicU64::new(NEVER),
            slow_rule: AtomicUsize::new(0),
            sample: Mutex::default(),
            gone: AtomicBool::new(false),
        }
    }

    /// Counts one statement. `now_s` is Unix time.
    #[inline]
    pub fn record(&self, outcome: &Outcome, now_s: u64) {
        let total = outcome.total_us();
        if outcome.failed {
            self.errors.add(1);
        } else if outcome.call {
            self.calls.add(1);
            self.latency.observe_us(total);
        }
        self.rows.add(outcome.rows);
        self.bytes.add(outcome.bytes);
        self.queue_us.add(outcome.queue_us);
        self.server_us.add(outcome.server_us);
        self.client_us.add(outcome.client_us);
        if total > self.max_us.get() {
            self.max_us.add(total - self.max_us.get());
        }
        if self.first_s.load(Relaxed) == 0 {
            self.first_s.store(now_s, Relaxed);
        }
        self.last_s.store(now_s, Relaxed);
    }

    /// The client took the end of an answer late.
    pub fn note_client_wait(&self, us: u64) {
        self.client_us.add(us);
    }

    /// It was evicted; whoever counts into it has to ask for another.
    #[inline]
    pub fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }

    /// Slow is what takes longer, µs.
    #[inline]
    pub fn slow_us(&self) -> u64 {
        self.slow_us.load(Relaxed)
    }

    /// The threshold and the rule that it comes from.
    pub fn slow(&self) -> Verdict {
        let rule = self.slow_rule.load(Relaxed).checked_sub(1);
        Verdict { over_us: self.slow_us(), rule }
    }

    fn set_slow(&self, verdict: Verdict) {
        self.slow_rule.store(verdict.rule.map_or(0, |at| at + 1), Relaxed);
        self.slow_us.store(verdict.over_us, Relaxed);
    }

    /// Keeps the values of one call if there are none; `values` is asked only then.
    pub fn keep_sample(&self, values: impl FnOnce() -> String) {
        let mut sample = self.sample.lock().unwrap_or_else(PoisonError::into_inner);
        sample.get_or_insert_with(|| values().into());
    }

    fn sample(&self) -> Option<Box<str>> {
        self.sample.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add_to(&self, totals: &mut Totals) {
        totals.calls += self.calls.get();
        totals.errors += self.errors.get();
        totals.rows += self.rows.get();
        totals.bytes += self.bytes.get();
        totals.queue_us += self.queue_us.get();
        totals.server_us += self.server_us.get();
        totals.client_us += self.client_us.get();
        totals.max_us = totals.max_us.max(self.max_us.get());
        let first = self.first_s.load(Relaxed);
        if first > 0 {
            totals.first_s = if totals.first_s == 0 { first } else { totals.first_s.min(first) };
        }
        totals.last_s = totals.last_s.max(self.last_s.load(Relaxed));
        self.latency.add_to(&mut totals.latency);
    }
}

/// One shape for a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub key: Key,
    pub text: Arc<str>,
    pub totals: Totals,
    /// Values of one call of this process.
    pub sample: Option<Box<str>>,
}

/// One shape: what it came to before this process, and an entry for each worker that saw it.
#[derive(Clone)]
struct Record {
    text: Arc<str>,
    before: Arc<Totals>,
    entries: Vec<Arc<Entry>>,
}

impl Record {
    fn set_threshold(&self, judge: &Judge, key: &Key, known: Option<&Known>) {
        let verdict = judge.verdict(key, (&self.text, known), || self.totals());
        self.entries.iter().for_each(|entry| entry.set_slow(verdict));
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals::clone(&self.before);
        self.entries.iter().for_each(|entry| entry.add_to(&mut totals));
        totals
    }
}

/// Shapes kept by default. An application has hundreds; at 1 KB each this is 5 MB per worker at most.
pub const SHAPES_MAX: usize = 5_000;

/// A text is kept to this length, for people to read.
const TEXT_MAX: usize = 4 * 1024;

/// Ends a text that was cut; no statement ends so.
const CUT: &str = " …";

/// All shapes of this process.
pub struct Ledger {
    records: Mutex<HashMap<Key, Record>>,
    /// Says what is slow, and the facts which tables a shape is about.
    judge: RwLock<Arc<Judge>>,
    facts: Arc<Book>,
    /// Readers may see values.
    samples: AtomicBool,
    max: AtomicUsize,
    evicted: AtomicU64,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Ledger").field("shapes", &self.shapes()).finish_non_exhaustive()
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Ledger::new(Arc::default())
    }
}

impl Ledger {
    /// An empty ledger of shapes whose facts are in the book.
    pub fn new(facts: Arc<Book>) -> Self {
        Ledger {
            records: Mutex::default(),
            judge: RwLock::default(),
            facts,
            samples: AtomicBool::new(false),
            max: AtomicUsize::new(SHAPES_MAX),
            evicted: AtomicU64::new(0),
        }
    }

    fn records(&self) -> MutexGuard<'_, HashMap<Key, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new entry for one worker to count into. Takes a lock; meant for a shape that the worker has not
    /// seen before.
    pub fn enter(&self, key: Key, text: &str) -> Arc<Entry> {
        let (judge, known) = (self.judge(), self.facts.get(key.fingerprint));
        let mut records = self.records();
        if !records.contains_key(&key) {
            self.make_room(&mut records);
        }
        let record = records.entry(key.clone()).or_insert_with(|| Record {
            text: shortened(text).into(),
            before: Arc::default(),
            entries: Vec::new(),
        });
        let entry = Arc::new(Entry::new(key, record.text.clone()));
        record.entries.push(entry.clone());
        record.set_threshold(&judge, &entry.key, known.as_deref());
        entry
    }

    /// Takes out the tenth of the shapes that took the least time, so that the search is rare.
    fn make_room(&self, records: &mut HashMap<Key, Record>) {
        let max = self.max.load(Relaxed).max(10);
        if records.len() < max {
            return;
        }
        let usefulness = |record: &Record| {
            let totals = record.totals();
            (totals.total_us(), totals.last_s)
        };
        let mut all: Vec<_> = records.iter().map(|(key, record)| (usefulness(record), key.clone())).collect();
        all.sort_unstable();
        let surplus = records.len() + max / 10 - max;
        for (_, key) in all.into_iter().take(surplus.max(1)) {
            if let Some(record) = records.remove(&key) {
                record.entries.iter().for_each(|entry| entry.gone.store(true, Relaxed));
                self.evicted.fetch_add(1, Relaxed);
            }
        }
    }

    /// Every shape, in no order.
    pub fn rows(&self) -> Vec<Row> {
        let samples = self.samples.load(Relaxed);
        let row = |(key, record): (Key, Record)| Row {
            totals: record.totals(),
            sample: record.entries.iter().filter(|_| samples).find_map(|entry| entry.sample()),
            key,
            text: record.text,
        };
        self.some(|_| true).into_iter().map(row).collect()
    }

    /// What is wanted, to be looked at without the lock: adding up takes longer than a worker should wait.
    fn some(&self, wanted: impl Fn(&Key) -> bool) -> Vec<(Key, Record)> {
        let records = self.records();
        let wanted = records.iter().filter(|(key, _)| wanted(key));
        wanted.map(|(key, record)| (key.clone(), record.clone())).collect()
    }

    fn judge(&self) -> Arc<Judge> {
        self.judge.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Other rules of what is slow, for every shape.
    pub fn set_judge(&self, judge: Judge) {
        *self.judge.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(judge);
        self.judge_all(|_| true);
    }

    /// Looks again at thresholds that depend on what a shape took until now, or on facts.
    pub fn judge_anew(&self) {
        let judge = self.judge();
        if judge.is_relative() || judge.asks_facts() {
            self.judge_all(|_| true);
        }
    }

    /// The facts of this shape have become known.
    pub fn judge_shape(&self, fingerprint: u64) {
        if self.judge().asks_facts() {
            self.judge_all(|key| key.fingerprint == fingerprint);
        }
    }

    fn judge_all(&self, wanted: impl Fn(&Key) -> bool) {
        let judge = self.judge();
        for (key, record) in self.some(wanted) {
            record.set_threshold(&judge, &key, self.facts.get(key.fingerprint).as_deref());
        }
    }

    /// Whether values of calls may be shown. What was kept before goes when they may not.
    pub fn allow_samples(&self, allow: bool) {
        self.samples.store(allow, Relaxed);
        if allow {
            return;
        }
        for entry in self.records().values().flat_map(|record| &record.entries) {
            *entry.sample.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Puts in what an earlier process counted.
    pub fn remember(&self, rows: Vec<Row>) {
        let mut records = self.records();
        for row in rows {
            if !records.contains_key(&row.key) {
                self.make_room(&mut records);
            }
            let fresh = || Record { text: row.text, before: Arc::default(), entries: Vec::new() };
            let record = records.entry(row.key).or_insert_with(fresh);
            Arc::make_mut(&mut record.before).add(&row.totals);
        }
    }

    /// The text of each shape, and whether it is whole.
    pub fn texts(&self) -> HashMap<u64, (Arc<str>, bool)> {
        let records = self.records();
        let text = |record: &Record| (record.text.clone(), !record.text.ends_with(CUT));
        records.iter().map(|(key, record)| (key.fingerprint, text(record))).collect()
    }

    /// Calls of these shapes, by all users.
    pub fn calls_of(&self, shapes: &HashSet<u64>) -> u64 {
        let records = self.records();
        let wanted = records.iter().filter(|(key, _)| shapes.contains(&key.fingerprint));
        let calls = |record: &Record| {
            record.entries.iter().fold(record.before.calls, |sum, entry| sum + entry.calls.get())
        };
        wanted.map(|(_, record)| calls(record)).sum()
    }

    pub fn set_max(&self, max: usize) {
        self.max.store(max, Relaxed);
    }

    pub fn shapes(&self) -> usize {
        self.records().len()
    }

    pub fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}{CUT}", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
