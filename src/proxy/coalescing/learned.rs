//! What the workers have learned of loops, for each other: a loop that one of them met is known to all, however the
//! clients are spread. Touched when something was learned and when a session begins to keep answers, never by a
//! statement.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::Lines;
use crate::coalesce::prefetch::template::{Record, TEMPLATES_MAX};

/// Databases and users whose loops are shared; each holds 1,000 loops at most, of about 200 bytes.
const BOARDS_MAX: usize = 1_000;

/// By the names that clients ask for: database and user.
#[derive(Default)]
pub struct Learned(Mutex<BTreeMap<(String, String), Arc<Board>>>);

/// The loops of one pool, on all workers.
#[derive(Default)]
pub struct Board {
    /// Counts what was put there.
    version: AtomicU64,
    records: Mutex<Vec<Record>>,
}

impl Learned {
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
}

impl Board {
    /// Puts records there in the place of those of the same loops. Returns the version from then on.
    fn put(&self, own: Vec<Record>) -> u64 {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.retain(|known| !own.iter().any(|record| record.is_of(known)));
        let room = TEMPLATES_MAX.saturating_sub(own.len());
        let surplus = records.len().saturating_sub(room);
        records.drain(..surplus);
        records.extend(own);
        self.version.fetch_add(1, Relaxed) + 1
    }
}

impl Lines {
    /// Tells the others what was learned here since the last time.
    pub(super) fn tell_learned(&self, now_us: u64) {
        let templates = self.templates.borrow();
        if self.told.replace(templates.changes) != templates.changes {
            self.heard.set(self.board.put(templates.records(now_us)));
        }
    }

    /// Takes over what the others have learned.
    pub(super) fn hear_learned(&self, now_us: u64) {
        if self.heard.get() == self.board.version.load(Relaxed) {
            return;
        }
        // What is new here goes first, so that what is heard is not told as one's own.
        self.tell_learned(now_us);
        let records = self.board.records.lock().unwrap_or_else(PoisonError::into_inner);
        self.heard.set(self.board.version.load(Relaxed));
        let mut templates = self.templates.borrow_mut();
        templates.remember(records.clone(), now_us);
        self.told.set(templates.changes);
    }
}
