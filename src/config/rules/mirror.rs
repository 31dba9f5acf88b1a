//! The mirror of the rule files: every key, its type, its default and its description, nothing resolved.
//! The JSON Schema of the rules is made from these types, so the comments here are what editors show.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::coalesce::Coalesce;
use super::defaults::pgweir_schema;
use super::indexes::Auto;
use super::partitions::{Maintenance, PartitionedTable};
use crate::config::human::{Human, Size};

/// The rules of pgweir. A file in the folder of rules has one or more of these sections; each section stands
/// in one file only. Unknown keys are mistakes. Relative paths start at the folder of pgweir.yaml.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "rules of pgweir")]
pub struct RuleFile {
    /// What is observed, and where it is kept.
    pub observe: Observe,
    /// The slow-query log.
    pub slow_log: SlowLog,
    /// Loops of statements that one statement could replace.
    pub nplus1: NPlusOne,
    /// Look-ups that are answered together, or from what was fetched ahead.
    pub coalesce: Coalesce,
    /// Index advice.
    pub indexes: Indexes,
    /// Tables that are divided by time.
    pub partitions: Vec<PartitionedTable>,
    /// How pgweir acts on the databases by itself.
    pub maintenance: Maintenance,
}

/// What is observed of statements, and where it is kept.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Observe {
    /// false: no statement is read for its shape; ledger, slow-query log and loops rest.
    pub enabled: bool,
    /// Shapes that the ledger keeps; the least useful make room.
    #[schemars(range(min = 100, max = 100_000))]
    pub shapes: u32,
    /// Keep one sample of parameter values with each shape, shown to operators only.
    pub parameters: bool,
    /// Where ledger and findings outlive the process.
    pub state: State,
    /// pgweir's own questions to the databases.
    pub probe: Probe,
}

/// Where ledger and findings outlive the process; file or postgres. Default: nowhere.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    /// A file. Default: none.
    pub file: Option<String>,
    /// Tables in a database. Default: none.
    pub postgres: Option<StatePostgres>,
    /// How often it is saved. Not 0.
    pub every: Human,
}

/// Tables in a database.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatePostgres {
    /// One of the databases of pgweir.yaml.
    pub database: String,
    /// The schema that holds the tables.
    #[serde(default = "pgweir_schema")]
    pub schema: String,
    /// Tells the pgweir that share a schema apart. Default: the name of the host.
    pub instance: Option<String>,
}

/// pgweir's own questions to the databases: tables, keys, indexes, sizes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Probe {
    pub enabled: bool,
    /// Who asks; one of the users of pgweir.yaml. Default: a user whose pool is in use.
    pub user: Option<String>,
    /// How often everything is read again. Not 0.
    pub refresh: Human,
    /// How long one question may take. Not 0.
    pub statement_timeout: Human,
}

/// The slow-query log.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SlowLog {
    pub enabled: bool,
    /// What takes longer is slow, from the wait for a server to the last row. 0: every statement.
    pub over: Human,
    /// Other thresholds for some statements. The most specific wins: shape, then table, user, database; of
    /// equals the first.
    pub rules: Vec<SlowRule>,
    /// How many lines are written; what is left out is counted.
    pub lines_per_minute: LinesPerMinute,
    /// Write the values of parameters and literals.
    pub parameters: bool,
    /// Ask PostgreSQL how it runs slow statements.
    pub explain: Explain,
    /// Write JSON lines to a file. Default: with neither file nor stdout, lines go to pgweir's own log.
    pub file: Option<SlowFile>,
    /// Write JSON lines to standard output.
    pub stdout: bool,
}

/// A threshold for some statements: over, p99 (or both), or never.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SlowRule {
    /// As clients name it.
    pub database: Option<String>,
    pub user: Option<String>,
    /// A table's name, with or without its schema.
    pub table: Option<String>,
    /// As `pgweir report queries` prints it: 16 hexadecimal digits, in quotes.
    #[schemars(regex(pattern = "^[0-9a-f]{16}$"))]
    pub shape: Option<String>,
    /// What takes longer is slow.
    pub over: Option<Human>,
    /// Slow is what takes longer than so many times the shape's own 99th percentile, once it has 100 calls.
    /// With over: and longer than that.
    #[schemars(range(min = 1, max = 1000))]
    pub p99: Option<u32>,
    /// Never slow.
    pub never: bool,
    /// In place of explain.mode.
    pub explain: Option<ExplainMode>,
}

/// How many lines are written.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LinesPerMinute {
    #[schemars(range(min = 1, max = 100_000))]
    pub per_shape: u32,
    #[schemars(range(min = 1, max = 100_000))]
    pub all: u32,
}

/// One EXPLAIN of a slow statement now and then, kept with its shape.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Explain {
    pub mode: ExplainMode,
    /// At most one per shape in this time. Not 0.
    pub every: Human,
    /// How long each question for it may take. Not 0.
    pub timeout: Human,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExplainMode {
    /// Nothing is asked.
    Off,
    /// EXPLAIN, which executes nothing.
    Plain,
    /// EXPLAIN ANALYZE of pure reads, which executes them again; EXPLAIN of all else.
    Analyze,
}

/// A file that is moved aside when it is full.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlowFile {
    /// Its folder must exist.
    pub path: String,
    /// When it is larger it becomes path.1, path.1 becomes path.2, and so on.
    #[serde(default = "super::defaults::file_size")]
    pub max_size: Size,
    /// How many of those are kept.
    #[serde(default = "super::defaults::files_kept")]
    #[schemars(range(min = 0, max = 1000))]
    pub keep: u32,
}

/// What counts as a loop.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NPlusOne {
    pub enabled: bool,
    /// Repetitions of one shape in one unit of work.
    #[schemars(range(min = 2, max = 100_000))]
    pub minimum: u32,
    /// Different values among them.
    #[schemars(range(min = 1, max = 100_000))]
    pub distinct: u32,
    /// Repetitions that count although nobody knows where the values came from.
    #[schemars(range(min = 2, max = 100_000))]
    pub counted: u32,
    /// Time in all that counts although nobody knows where the values came from.
    pub total: Human,
    /// A pause that ends a unit of work. Not 0.
    pub gap: Human,
    /// Loops that nobody wants to hear of.
    pub silence: Vec<Silence>,
}

/// One of finding, shape and table.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Silence {
    /// A finding's id, as `pgweir report nplus1` prints it.
    pub finding: Option<String>,
    /// The shape of what is repeated: 16 hexadecimal digits, in quotes.
    #[schemars(regex(pattern = "^[0-9a-f]{16}$"))]
    pub shape: Option<String>,
    /// A table of what is repeated.
    pub table: Option<String>,
    /// For whoever reads this later.
    pub reason: Option<String>,
}

/// Which indexes may be advised.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Indexes {
    /// Advice is made in the background; false: only when somebody asks for it.
    pub enabled: bool,
    /// Megabytes that all suggested indexes may have together.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub budget_mb: u64,
    /// Tables that are left alone, as schema.name; * stands for anything.
    pub ignore: Vec<String>,
    /// Suggestions that nobody wants to hear of.
    pub dismiss: Vec<Dismiss>,
    /// Smaller tables get no index.
    pub min_table: Size,
    /// Tables with fewer rows get no index.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub min_rows: u64,
    /// A statement that gains less of its time is not helped, percent.
    #[schemars(range(min = 1, max = 99))]
    pub min_gain_percent: u32,
    /// New indexes on one table, at most.
    #[schemars(range(min = 1, max = 50))]
    pub max_per_table: u32,
    /// How new indexes are named, with {table} and {columns}.
    pub name: String,
    /// How often advice is made anew. Not 0.
    pub every: Human,
    /// An index without a scan in so many days counts as unused.
    #[schemars(range(min = 1, max = 3650))]
    pub unused_after_days: u32,
    /// Building indexes without being told.
    pub auto: Auto,
}

/// One suggestion.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dismiss {
    /// Its id, as `pgweir advise` prints it.
    pub id: String,
    /// For whoever reads this later.
    pub reason: Option<String>,
}
