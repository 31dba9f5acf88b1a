//! Index advice: statements and a catalog come in, questions to the planner go out, suggestions come of the
//! answers. Pure: it asks through [`Planner`] and knows neither connections nor clocks. What it decides: which
//! indexes are worth a question (`candidate`), what each is worth (`judge`), and which set fits a budget
//! (`select`). Changes nothing in any database.

pub mod candidate;
mod constant;
pub mod cover;
pub mod drops;
mod estimate;
pub mod index;
mod judge;
mod look;
mod relax;
mod rule;
pub mod run;
mod select;
pub mod size;
mod special;
pub mod suggestion;
#[cfg(test)]
mod tests;
pub mod values;
mod writes;

use std::collections::HashMap;

use crate::catalog::{Attnum, Catalog, Oid};
use crate::sql::scans::Scans;

pub use self::index::{Index, Key, Method};
pub use self::run::{Advice, advise};
pub use self::suggestion::{Confidence, Suggestion};
pub use self::values::{Sample, Value};

/// What may be advised, and from when on it is worth it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdviseSettings {
    /// Advice is made in the background. Default true.
    pub enabled: bool,
    /// All suggested indexes together. Default 2 GiB.
    pub budget_bytes: u64,
    /// Tables that are left alone, as `schema.name`, `*` standing for anything.
    pub ignore: Vec<String>,
    /// Shapes that count for nothing.
    pub ignore_shapes: Vec<u64>,
    /// Suggestions that nobody wants to hear of, by id.
    pub dismissed: Vec<String>,
    /// A smaller table is read whole in a fraction of a millisecond. Default 128 KiB.
    pub min_table_bytes: u64,
    /// Default 1,000.
    pub min_rows: u64,
    /// A statement that gains less of its time is not helped. Default 20 %.
    pub min_gain_percent: u32,
    /// Of all statements' time, an index has to save so much, or help one statement by half. Default 1 %.
    pub min_share_percent: u32,
    /// Attributes that are searched. Default 4.
    pub max_keys: usize,
    /// New indexes on one table. Default 5.
    pub max_per_table: usize,
    /// An ordered table above this size may get a BRIN index. Default 1 GiB.
    pub brin_table_bytes: u64,
    /// Default `idx_{table}_{columns}`.
    pub name: String,
    /// Microseconds that one entry in one B-tree costs a write; measured 3 to 10. Default 10.
    pub write_us: u32,
    /// Sizes are HypoPG's own instead of the formula, for comparisons with others. Default false.
    pub planner_sizes: bool,
    /// Questions to the planner, at most. Default 100,000.
    pub max_questions: usize,
    /// Advice is made anew so often, where there are clients. Default 10 min.
    pub every_s: u64,
    /// An index counts as unused after so many days without a scan. Default 30.
    pub unused_after_days: u32,
}

impl Default for AdviseSettings {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        AdviseSettings {
            enabled: true,
            budget_bytes: 2048 * MIB,
            ignore: Vec::new(),
            ignore_shapes: Vec::new(),
            dismissed: Vec::new(),
            min_table_bytes: 128 * 1024,
            min_rows: 1_000,
            min_gain_percent: 20,
            min_share_percent: 1,
            max_keys: 4,
            max_per_table: 5,
            brin_table_bytes: 1024 * MIB,
            name: "idx_{table}_{columns}".to_owned(),
            write_us: 10,
            planner_sizes: false,
            max_questions: 100_000,
            every_s: 600,
            unused_after_days: 30,
        }
    }
}

/// One shape of the workload.
#[derive(Debug, Clone)]
pub struct Statement {
    pub fingerprint: u64,
    /// Without its values.
    pub text: String,
    pub scans: Scans,
    pub calls: u64,
    /// Rows of all calls, returned or changed.
    pub rows: u64,
    /// Milliseconds that the server worked on it in all calls; 0: not known.
    pub total_ms: f64,
    /// Values of some calls.
    pub samples: Vec<Sample>,
    /// Whole texts of some calls, with their values; they are asked in place of samples.
    pub whole: Vec<String>,
}

/// What is known of the values of a column, from `pg_stats`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ColumnValues {
    /// Most common first, with their part of the rows.
    pub common: Vec<(String, f64)>,
    /// Bounds of parts with equally many rows.
    pub bounds: Vec<String>,
}

/// What matters of a server beside its catalog.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The database compares texts byte by byte, so that a plain index serves LIKE.
    pub bytewise: bool,
    pub values: HashMap<(Oid, Attnum), ColumnValues>,
    /// The part of a table's pages that index-only scans need not visit, 0 to 1.
    pub all_visible: HashMap<Oid, f64>,
    /// `random_page_cost`.
    pub random_page_cost: f64,
}

/// Everything that advice is made of.
pub struct Workload<'a> {
    pub catalog: &'a Catalog,
    pub surroundings: &'a Surroundings,
    pub statements: &'a [Statement],
    pub settings: &'a AdviseSettings,
}

/// A text to be planned. `generic`: parameters are left in it, so the plan is one for any values.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    pub text: String,
    pub generic: bool,
}

/// A plan in short.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Planned {
    pub cost: f64,
    pub nodes: Vec<Node>,
}

/// A node that reads a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    /// Such as `Seq Scan`.
    pub kind: String,
    pub table: String,
    /// A candidate that is used, by its place, or an index that exists, by its name.
    pub candidate: Option<usize>,
    pub index: Option<String>,
    pub rows: f64,
    pub cost: f64,
}

/// Whoever can ask PostgreSQL's planner. Executes nothing.
pub trait Planner {
    /// Whether indexes can be tried that do not exist.
    fn can_try(&self) -> bool;

    /// Offers candidates, which are then known by their places. The bytes that the planner believes each to
    /// have; `None`: it cannot be tried, and why.
    fn offer(&mut self, candidates: &[Index], ddl: &[String]) -> Vec<Result<u64, String>>;

    /// Plans of questions, by their numbers, with exactly these candidates in place. `None`: no plan.
    fn plan(&mut self, candidates: &[usize], questions: &[usize]) -> Vec<Option<Planned>>;

    /// Tells the questions that `plan` counts by.
    fn prepare(&mut self, questions: &[Question]);

    /// There is no time to search for more.
    fn exhausted(&self) -> bool;

    /// There is no time for any question.
    fn spent(&self) -> bool;

    /// So many questions would take most of the time that there is.
    fn is_long(&self, questions: usize) -> bool;
}
