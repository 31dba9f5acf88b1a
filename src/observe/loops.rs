//! What the workers have learned of loops, for each other and over restarts: a loop that one of them met is known to
//! all, however the clients are spread. Holds shapes and rates, no value of any statement.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::coalesce::prefetch::template::{Record, TEMPLATES_MAX};

/// Databases and users whose loops are shared; each holds 1,000 loops at most, of about 200 bytes.
const BOARDS_MAX: usize = 1_000;

/// By the names that clients ask for: database and user.
#[derive(Debug, Default)]
pub struct Loops(Mutex<BTreeMap<(String, String), Arc<Board>>>);

/// The loops of one pool, on all workers.
#[derive(Debug, Default)]
pub struct Board {
    /// Counts what was put there.
    version: AtomicU64,
    records: Mutex<Vec<Record>>,
}

/// One loop as it is kept in a file or a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub database: String,
    pub user: String,
    pub record: Record,
}

impl Kept {
    /// Tells it from the others.
    pub fn key(&self) -> String {
        // In quotes, as a name may hold anything.
        format!("{:?}/{:?}/{}", self.database, self.user, self.record.key())
    }
}

impl Loops {
    /// The board of a pool; a worker asks once and keeps it.
    pub fn of(&self, database: &str, user: &str) -> Arc<Board> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (database.to_owned(), user.to_owned());
        if all.len() >= BOARDS_MAX && !all.contains_key(&key) {
            // A worker by itself learns the same, only later.
            return Arc::default();
        }
        all.entry(key).or_default().clone()
    }

    /// For keeping them over a restart.
    pub fn every(&self) -> Vec<Kept> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |((database, user), board): (&(String, String), &Arc<Board>)| {
            let kept = |record| Kept { database: database.clone(), user: user.clone(), record };
            board.read().1.into_iter().map(kept).collect::<Vec<_>>()
        };
        all.iter().flat_map(of).collect()
    }

    /// Takes over what an earlier process learned; what is known already stays as it is.
    pub fn remember(&self, kept: Vec<Kept>) {
        for Kept { database, user, record } in kept {
            self.of(&database, &user).add(record);
        }
    }
}

impl Board {
    /// Counts what was put there: whoever has this version has everything.
    pub fn version(&self) -> u64 {
        self.version.load(Relaxed)
    }

    /// All records, and the version that they are.
    pub fn read(&self) -> (u64, Vec<Record>) {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        (self.version(), records.clone())
    }

    /// Puts records there in the place of those of the same loops. Returns the version from then on.
    pub fn put(&self, own: Vec<Record>) -> u64 {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.retain(|known| !own.iter().any(|record| record.is_of(known)));
        let room = TEMPLATES_MAX.saturating_sub(own.len());
        let surplus = records.len().saturating_sub(room);
        records.drain(..surplus);
        records.extend(own);
        self.version.fetch_add(1, Relaxed) + 1
    }

    fn add(&self, record: Record) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        if records.len() < TEMPLATES_MAX && !records.iter().any(|known| known.is_of(&record)) {
            records.push(record);
            self.version.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coalesce::prefetch::template::{Kind, Source};

    fn record(child: &str, used: u64) -> Record {
        Record {
            template: Kind::Rows,
            parent: Some("00000000000000aa".to_owned()),
            child: child.to_owned(),
            sources: vec![Source::Column(1), Source::Same],
            fetched: 9,
            used,
            episodes: 3,
            off: None,
        }
    }

    #[test]
    fn what_is_known_stays_and_what_is_kept_comes_back() {
        let loops = Loops::default();
        loops.of("app", "me").put(vec![record("01", 7), record("02", 8)]);
        let kept = loops.every();
        assert_eq!(kept.len(), 2);
        assert_ne!(kept[0].key(), kept[1].key());
        let named = |database: &str, user: &str| Kept {
            database: database.to_owned(),
            user: user.to_owned(),
            record: record("01", 7),
        };
        assert_ne!(named("a/b", "c").key(), named("a", "b/c").key());
        let later = Loops::default();
        let board = later.of("app", "me");
        board.put(vec![record("01", 1)]);
        later.remember(kept);
        let (version, records) = board.read();
        assert_eq!((version, records), (2, vec![record("01", 1), record("02", 8)]));
        assert!(later.of("app", "you").read().1.is_empty());
    }

    #[test]
    fn the_newest_loops_stay_on_a_full_board() {
        let board = Board::default();
        let many: Vec<Record> = (0..TEMPLATES_MAX).map(|n| record(&n.to_string(), 1)).collect();
        board.put(many);
        board.put(vec![record("new", 1)]);
        let (_, records) = board.read();
        assert_eq!(records.len(), TEMPLATES_MAX);
        assert_eq!(records.last(), Some(&record("new", 1)));
    }
}
