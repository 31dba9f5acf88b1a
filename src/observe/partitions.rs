//! What is known of partitioned tables and of the work on them, as plain data: written by `maintain`, read by
//! the API and the metrics.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// Commands whose outcome is kept.
const JOBS_MAX: usize = 50;

/// Lines of one command that are kept; a plan has some dozens.
const LINES_MAX: usize = 2_000;

/// A partition, for people.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Partition {
    pub name: String,
    /// As PostgreSQL writes them.
    pub lower: String,
    pub upper: String,
    /// The planner's estimate; −1: not known.
    pub rows: i64,
    /// With indexes and TOAST.
    pub bytes: i64,
    /// `past`, `current` or `future`.
    pub state: &'static str,
}

/// A partition that was taken out, and where it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Archived {
    pub id: i64,
    pub partition: String,
    pub lower: String,
    pub upper: String,
    /// `schema`, `tablespace`, `parquet` or `drop`.
    pub kind: String,
    pub place: String,
    /// The last step that is done.
    pub state: String,
    pub rows: i64,
    pub bytes: i64,
}

/// One table of the rules, after it was last looked at.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TableView {
    pub database: String,
    pub table: String,
    pub column: String,
    pub interval: String,
    pub time_zone: String,
    pub route: bool,
    pub premake: u32,
    pub keep: Option<String>,
    pub partitions: Vec<Partition>,
    pub archives: Vec<Archived>,
    /// The begin of the first moment that no partition holds.
    pub covered_until: Option<String>,
    /// Seconds until then; negative: it is past, and rows are refused.
    pub covered_s: Option<f64>,
    /// Unix time.
    pub looked_at_s: u64,
    pub next_s: u64,
    /// What people should know: gaps, a default partition, partitions that end soon.
    pub notes: Vec<String>,
    pub error: Option<String>,
    pub error_kind: Option<&'static str>,
    pub created: u64,
    pub archived: u64,
    pub failures: u64,
}

/// A command, under way or done.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Job {
    pub id: u64,
    /// `maintain`, `convert`, …
    pub kind: String,
    pub database: String,
    pub table: String,
    /// `running`, `done` or `failed`.
    pub state: &'static str,
    /// What it said so far.
    pub lines: Vec<String>,
    pub error: Option<String>,
    pub progress: Option<Progress>,
    pub started_s: u64,
    pub ended_s: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Progress {
    pub step: String,
    pub rows: i64,
    /// An estimate.
    pub of: i64,
    pub rows_per_s: f64,
    pub left_s: Option<f64>,
}

/// Everything there is to tell.
#[derive(Debug, Default)]
pub struct Board {
    tables: Mutex<BTreeMap<(String, String), Arc<TableView>>>,
    jobs: Mutex<VecDeque<Job>>,
    next: AtomicU64,
    /// Statements that changed a schema.
    pub acts: AtomicU64,
    pub acts_failed: AtomicU64,
}

impl Board {
    pub fn tables(&self) -> Vec<Arc<TableView>> {
        locked(&self.tables).values().cloned().collect()
    }

    pub fn update(&self, database: &str, table: &str, change: impl FnOnce(&mut TableView)) {
        let mut tables = locked(&self.tables);
        let view = tables.entry((database.to_owned(), table.to_owned())).or_default();
        let view = Arc::make_mut(view);
        (view.database, view.table) = (database.to_owned(), table.to_owned());
        change(view);
    }

    /// Only these tables are in the rules now.
    pub fn keep(&self, known: impl Fn(&str, &str) -> bool) {
        locked(&self.tables).retain(|(database, table), _| known(database, table));
    }

    pub fn jobs(&self) -> Vec<Job> {
        locked(&self.jobs).iter().cloned().collect()
    }

    pub fn job(&self, id: u64) -> Option<Job> {
        locked(&self.jobs).iter().find(|job| job.id == id).cloned()
    }

    /// A new command; its number.
    pub fn begin(&self, kind: &str, database: &str, table: &str, now_s: u64) -> u64 {
        let id = self.next.fetch_add(1, Relaxed) + 1;
        let job = Job {
            id,
            kind: kind.to_owned(),
            database: database.to_owned(),
            table: table.to_owned(),
            state: "running",
            started_s: now_s,
            ..Job::default()
        };
        let mut jobs = locked(&self.jobs);
        if jobs.len() >= JOBS_MAX {
            // One that runs is not forgotten.
            let ended = jobs.iter().position(|job| job.state != "running").unwrap_or(0);
            jobs.remove(ended);
        }
        jobs.push_back(job);
        id
    }

    pub fn tell(&self, id: u64, change: impl FnOnce(&mut Job)) {
        let mut jobs = locked(&self.jobs);
        if let Some(job) = jobs.iter_mut().find(|job| job.id == id) {
            change(job);
            job.lines.truncate(LINES_MAX);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
