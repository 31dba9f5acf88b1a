//! What coalescing came to, per database and shape: look-ups that shared queries, answers from what was
//! fetched ahead, what was fetched for nothing, and why statements went alone. One entry per worker that
//! counts; bounded.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::latency::{Distribution, Latency};

/// Shapes with counts of their own: those that were looked up again and again, which are dozens. At 1 KiB per
/// worker each.
pub const SHAPES_MAX: usize = 2_000;

/// Reasons that are counted one by one for a shape; there are few, and all of them are in the source.
const REASONS_MAX: usize = 32;

/// Stands for what is beyond a bound.
pub const OTHER: &str = "other";

/// A shape of a database.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub database: Arc<str>,
    pub fingerprint: u64,
}

/// What one worker counts of a shape.
#[derive(Debug, Default)]
pub struct Entry {
    batches: AtomicU64,
    members: AtomicU64,
    prefetched: AtomicU64,
    served: AtomicU64,
    wasted: AtomicU64,
    wasted_rows: AtomicU64,
    staleness: Latency,
    staleness_us: AtomicU64,
    fallbacks: Mutex<BTreeMap<&'static str, u64>>,
}

/// Only one worker counts into an entry, so that no addition is lost.
fn add(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

impl Entry {
    /// A query answered look-ups of so many clients that waited for it, or of the one that asked.
    #[inline]
    pub fn batch(&self, members: u64) {
        add(&self.batches, 1);
        add(&self.members, members);
    }

    /// It fetched so many more that nobody had asked for yet.
    #[inline]
    pub fn prefetch(&self, look_ups: u64) {
        add(&self.prefetched, look_ups);
    }

    /// A look-up was answered from what was fetched before; `age_us`: how old its snapshot may have been.
    #[inline]
    pub fn serve(&self, age_us: u64) {
        add(&self.served, 1);
        self.staleness.observe_us(age_us);
        add(&self.staleness_us, age_us);
    }

    /// So many look-ups, with so many rows, were fetched and never asked for.
    pub fn waste(&self, look_ups: u64, rows: u64) {
        add(&self.wasted, look_ups);
        add(&self.wasted_rows, rows);
    }

    /// A look-up that might have been coalesced went alone; `reason` is a word.
    pub fn fall_back(&self, reason: &'static str) {
        let mut fallbacks = self.fallbacks.lock().unwrap_or_else(PoisonError::into_inner);
        let known = fallbacks.len() < REASONS_MAX || fallbacks.contains_key(reason);
        *fallbacks.entry(if known { reason } else { OTHER }).or_default() += 1;
    }
}

/// What a shape's entries come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    pub batches: u64,
    pub members: u64,
    /// Look-ups fetched ahead, and those of them that were never asked for, with their rows.
    pub prefetched: u64,
    pub wasted: u64,
    pub wasted_rows: u64,
    /// Answers given from what was fetched before; one that is given twice counts twice.
    pub served: u64,
    pub staleness: Distribution,
    /// Of all served answers together.
    pub staleness_us: u64,
    pub fallbacks: BTreeMap<&'static str, u64>,
}

impl Totals {
    fn add(&mut self, entry: &Entry) {
        self.batches += entry.batches.load(Relaxed);
        self.members += entry.members.load(Relaxed);
        self.prefetched += entry.prefetched.load(Relaxed);
        self.wasted += entry.wasted.load(Relaxed);
        self.wasted_rows += entry.wasted_rows.load(Relaxed);
        self.served += entry.served.load(Relaxed);
        self.staleness_us += entry.staleness_us.load(Relaxed);
        entry.staleness.add_to(&mut self.staleness);
        for (reason, count) in entry.fallbacks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            *self.fallbacks.entry(reason).or_default() += count;
        }
    }

    /// Adds what another shape came to.
    pub fn add_all(&mut self, other: &Totals) {
        self.batches += other.batches;
        self.members += other.members;
        self.prefetched += other.prefetched;
        self.wasted += other.wasted;
        self.wasted_rows += other.wasted_rows;
        self.served += other.served;
        self.staleness_us += other.staleness_us;
        self.staleness.add(&other.staleness);
        other
            .fallbacks
            .iter()
            .for_each(|(reason, count)| *self.fallbacks.entry(reason).or_default() += count);
    }

    /// Queries that PostgreSQL was spared.
    pub fn saved(&self) -> u64 {
        (self.members + self.served).saturating_sub(self.batches)
    }
}

/// How a shape stands at present.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// `strict`, `fenced`, `bounded`, `off`.
    pub level: &'static str,
    /// Why it is not coalesced, as a sentence; `None`: it is.
    pub off: Option<String>,
}

/// One shape for a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub key: Key,
    pub text: Arc<str>,
    pub status: Status,
    pub totals: Totals,
}

struct Record {
    text: Arc<str>,
    status: Status,
    entries: Vec<Arc<Entry>>,
}

/// All shapes of this process.
#[derive(Default)]
pub struct Coalescing {
    records: Mutex<HashMap<Key, Record>>,
    /// Counted together, for want of room.
    others: Mutex<Vec<Arc<Entry>>>,
}

impl std::fmt::Debug for Coalescing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Coalescing").field("shapes", &self.records().len()).finish_non_exhaustive()
    }
}

impl Coalescing {
    fn records(&self) -> MutexGuard<'_, HashMap<Key, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new entry for one worker to count into, once per shape and worker. Takes a lock. `text`: the
    /// statement without its values.
    pub fn enter(&self, key: Key, text: &Arc<str>) -> Arc<Entry> {
        let entry = Arc::<Entry>::default();
        let mut records = self.records();
        if records.len() >= SHAPES_MAX && !records.contains_key(&key) {
            let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
            // As many as there may be workers; who comes later counts into the first.
            if others.len() >= REASONS_MAX {
                return others[0].clone();
            }
            others.push(entry.clone());
            return entry;
        }
        let fresh = || Record { text: text.clone(), status: Status::default(), entries: Vec::new() };
        records.entry(key).or_insert_with(fresh).entries.push(entry.clone());
        entry
    }

    /// A shape is coalesced from now on, or no more.
    pub fn set_status(&self, key: &Key, status: Status) {
        if let Some(record) = self.records().get_mut(key) {
            record.status = status;
        }
    }

    /// Every shape, what saved most first.
    pub fn rows(&self) -> Vec<Row> {
        let records = self.records();
        let mut rows: Vec<Row> = records.iter().map(|(key, record)| row(key, record)).collect();
        drop(records);
        rows.sort_by_cached_key(|row| (std::cmp::Reverse(row.totals.saved()), row.key.clone()));
        rows
    }

    /// What all shapes come to, those too that have no row.
    pub fn totals(&self) -> Totals {
        let mut totals = self.others();
        self.records().values().flat_map(|record| &record.entries).for_each(|entry| totals.add(entry));
        totals
    }

    /// What those come to that have none.
    pub fn others(&self) -> Totals {
        let mut totals = Totals::default();
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.iter().for_each(|entry| totals.add(entry));
        totals
    }
}

fn row(key: &Key, record: &Record) -> Row {
    let mut totals = Totals::default();
    record.entries.iter().for_each(|entry| totals.add(entry));
    Row { key: key.clone(), text: record.text.clone(), status: record.status.clone(), totals }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(fingerprint: u64) -> Key {
        Key { database: "app".into(), fingerprint }
    }

    #[test]
    fn workers_count_apart_and_are_read_together() {
        let all = Coalescing::default();
        let workers = [all.enter(key(1), &"select a".into()), all.enter(key(1), &"select a".into())];
        for entry in &workers {
            entry.batch(1);
            entry.prefetch(49);
            (0..40).for_each(|age_us| entry.serve(age_us * 1_000));
            entry.waste(9, 30);
            entry.fall_back("level");
        }
        workers[0].fall_back("writes");
        all.enter(key(2), &"select b".into()).batch(3);
        all.set_status(&key(2), Status { level: "strict", off: Some("it locks rows".to_owned()) });
        let rows = all.rows();
        assert_eq!(rows.iter().map(|row| row.key.fingerprint).collect::<Vec<_>>(), [1, 2]);
        let totals = &rows[0].totals;
        assert_eq!((totals.batches, totals.members, totals.served, totals.saved()), (2, 2, 80, 80));
        assert_eq!((totals.prefetched, totals.wasted, totals.wasted_rows), (98, 18, 60));
        assert_eq!(totals.fallbacks, BTreeMap::from([("level", 2), ("writes", 1)]));
        assert!((39_000..=48_000).contains(&totals.staleness.percentile(1.0)));
        assert_eq!((rows[1].totals.saved(), rows[1].status.level), (2, "strict"));
        assert_eq!(all.totals().members, 5);
    }

    #[test]
    fn what_is_beyond_the_bound_is_counted_together() {
        let all = Coalescing::default();
        (0..SHAPES_MAX as u64 + 100).for_each(|shape| all.enter(key(shape), &"x".into()).batch(2));
        assert_eq!(all.rows().len(), SHAPES_MAX);
        assert_eq!(all.totals().batches, SHAPES_MAX as u64 + 100);
        let entry = all.enter(key(1), &"x".into());
        let reasons: Vec<&'static str> = (0..100).map(|at| &*format!("reason {at}").leak()).collect();
        reasons.iter().for_each(|reason| entry.fall_back(reason));
        assert!(all.totals().fallbacks.len() <= REASONS_MAX + 1);
        assert_eq!(all.totals().fallbacks.values().sum::<u64>(), 100);
    }
}
