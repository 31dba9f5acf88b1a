//! What is known of a database: an immutable snapshot of its tables, columns, keys, indexes, functions and
//! sizes, as plain data, and how to look things up in it. Knows neither where it came from nor what it is
//! used for. Names are as the catalog holds them: unquoted, case kept.

mod code;
pub mod effects;
mod look;
#[cfg(test)]
mod look_tests;
mod span;
mod types;

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

pub use code::{ArrayType, BODY_MAX, Expression, FunctionName, Hidden, Language};
pub use span::{OWN_CHECK, Span};
pub use types::{Type, TypeKind};

/// Identifies a table, index or type within one database.
pub type Oid = u32;

/// A column's number within its table; 1 is the first.
pub type Attnum = i16;

/// Tables of one snapshot. A database with more is cut to its largest: at about 2 KiB each, this is 40 MiB.
pub const TABLES_MAX: usize = 20_000;

/// Columns of one snapshot; at about 150 bytes each, this is 30 MiB.
pub const COLUMNS_MAX: usize = 200_000;

/// User-defined functions of one snapshot, and types.
pub const FUNCTIONS_MAX: usize = 20_000;

/// One database at one moment. Build it with [`Catalog::new`], which makes the look-ups.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Catalog {
    pub facts: Facts,
    /// By oid.
    pub tables: Vec<Table>,
    /// User-defined, by schema and name.
    pub functions: Vec<Function>,
    /// PostgreSQL's own functions by name; of overloads, the most volatile.
    #[serde(skip)]
    pub builtins: BTreeMap<String, Volatility>,
    /// User-defined types.
    pub types: BTreeMap<Oid, Type>,
    /// What may run unseen: behind operators, casts and types of the database's own.
    #[serde(skip)]
    pub hidden: Hidden,
    /// What runs without being named. Whoever makes the catalog adds it.
    #[serde(skip)]
    pub effects: effects::Effects,
    #[serde(skip)]
    by_name: HashMap<String, Vec<usize>>,
    #[serde(skip)]
    children: HashMap<Oid, Vec<usize>>,
    #[serde(skip)]
    referenced: HashMap<Oid, Vec<(usize, usize)>>,
    /// Array types by what they hold.
    #[serde(skip)]
    arrays: HashMap<Oid, Oid>,
}

/// What holds for the database as a whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Facts {
    /// The name on the server.
    pub database: String,
    /// As `server_version_num` has it: 150004 is 15.4.
    pub server_version: u32,
    /// The user who read it.
    pub role: String,
    /// Schemas that this user's unqualified names are searched in.
    pub search_path: Vec<String>,
    pub schemas: Vec<String>,
    /// Name and version.
    pub extensions: BTreeMap<String, String>,
    /// Unix time.
    pub read_at_s: u64,
    /// TimeZone of a session of this user.
    pub time_zone: String,
    /// The least and greatest offset from UTC, in seconds east, of the time zones that its sessions are likely to
    /// have, since 1972 and by the server's own data.
    pub zones: BTreeMap<String, (i32, i32)>,
    /// Somebody has defined comparison, `+` or `-` for times anew.
    pub own_time_operators: bool,
    /// Something was left out because a bound was reached; the largest tables are there.
    pub cut: bool,
    /// What could not be read, and what would help.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TableKind {
    #[default]
    Table,
    Partitioned,
    View,
    MaterializedView,
    Foreign,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Persistence {
    #[default]
    Permanent,
    Unlogged,
}

/// What identifies a row to logical replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaIdentity {
    #[default]
    PrimaryKey,
    Index,
    Full,
    Nothing,
}

/// A table, view or materialized view; a partition is one with `partition_of`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Table {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    pub kind: TableKind,
    pub owner: String,
    /// The planner's estimate; `None`: never vacuumed or analysed.
    pub rows: Option<f64>,
    /// Of the table with its TOAST, without indexes.
    pub bytes: u64,
    pub persistence: Persistence,
    pub row_security: bool,
    /// Row security holds for the owner too.
    pub force_row_security: bool,
    pub replica_identity: ReplicaIdentity,
    /// By number.
    pub columns: Vec<Column>,
    /// Primary key and unique constraints.
    pub keys: Vec<Key>,
    pub indexes: Vec<Index>,
    pub foreign_keys: Vec<ForeignKey>,
    /// What its validated checks say of single columns of whole numbers.
    pub spans: Vec<Span>,
    /// How it is divided, for a partitioned table.
    pub partitioning: Option<Partitioning>,
    pub partition_of: Option<PartitionOf>,
    /// Parents by table inheritance without partitioning.
    pub inherits: Vec<Oid>,
    pub triggers: Vec<Trigger>,
    pub policies: Vec<Policy>,
    /// Tables and views that a view's query reads.
    pub reads: Vec<Oid>,
    /// What a view's query runs. `None`: no view, or it could not be read.
    #[serde(skip)]
    pub query: Option<Expression>,
    /// Rules other than a view's own, which rewrite statements.
    pub rules: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Column {
    pub number: Attnum,
    pub name: String,
    pub type_oid: Oid,
    /// As SQL would write it, for example `character varying(20)`.
    pub type_name: String,
    /// −1: none.
    pub type_modifier: i32,
    pub not_null: bool,
    pub has_default: bool,
    pub generated: Option<Generated>,
    pub identity: Option<Identity>,
    /// Only where it is not the type's own.
    pub collation: Option<String>,
    /// `None`: never analysed, or not readable.
    pub statistics: Option<Statistics>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Generated {
    Stored,
    Virtual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    Always,
    ByDefault,
}

/// Of `pg_stats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Statistics {
    /// Above 0: so many values; below 0: this part of the rows, negated.
    pub n_distinct: f64,
    /// The part of the rows that is NULL, 0 to 1.
    pub null_fraction: f64,
    /// Of the values' order with the rows' order, −1 to 1.
    pub correlation: Option<f64>,
    /// Bytes.
    pub average_width: i32,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Key {
    pub name: String,
    pub primary: bool,
    pub columns: Vec<Attnum>,
    pub deferrable: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Index {
    pub oid: Oid,
    pub name: String,
    /// `btree`, `hash`, `gin`, …
    pub method: String,
    pub unique: bool,
    pub primary: bool,
    /// Complete, and used by queries.
    pub valid: bool,
    /// Several NULLs do not violate its uniqueness.
    pub nulls_distinct: bool,
    /// Uniqueness is checked at once, not at the end of a transaction.
    pub immediate: bool,
    /// In order.
    pub columns: Vec<IndexColumn>,
    /// Carried along without being searched.
    pub include: Vec<Attnum>,
    /// The condition of a partial index.
    pub predicate: Option<String>,
    pub bytes: u64,
    /// Since the statistics were reset.
    pub scans: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct IndexColumn {
    /// `None`: an expression.
    pub column: Option<Attnum>,
    pub expression: Option<String>,
    pub descending: bool,
    pub nulls_first: bool,
    pub operator_class: String,
    /// It is the one that its type has by default for this method.
    pub default_class: bool,
    /// Only where it is neither missing nor the database's own.
    pub collation: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ForeignKey {
    pub name: String,
    pub columns: Vec<Attnum>,
    pub to: Oid,
    /// In the order of `columns`.
    pub to_columns: Vec<Attnum>,
    pub on_update: Action,
    pub on_delete: Action,
    pub deferrable: bool,
    /// Every row is known to obey it.
    pub validated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    #[default]
    NoAction,
    Restrict,
    Cascade,
    SetNull,
    SetDefault,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    Range,
    List,
    Hash,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Partitioning {
    pub strategy: Strategy,
    /// `None` stands for an expression.
    pub columns: Vec<Option<Attnum>>,
    /// As SQL writes it, for example `RANGE (at)`.
    pub key: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartitionOf {
    pub parent: Oid,
    /// As SQL writes it, for example `FOR VALUES FROM (1) TO (10)` or `DEFAULT`.
    pub bound: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Trigger {
    pub name: String,
    /// Of `INSERT`, `UPDATE`, `DELETE`, `TRUNCATE`.
    pub events: Vec<&'static str>,
    pub timing: Timing,
    pub for_each_row: bool,
    /// Schema and name.
    pub function: String,
    pub enabled: TriggerState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    Before,
    #[default]
    After,
    InsteadOf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerState {
    #[default]
    Enabled,
    Disabled,
    /// Only in sessions that replicate.
    Replica,
    Always,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Policy {
    pub name: String,
    /// `ALL`, `SELECT`, `INSERT`, `UPDATE` or `DELETE`.
    pub command: &'static str,
    pub permissive: bool,
    /// Empty: everybody.
    pub roles: Vec<String>,
    /// What its conditions run. `None`: they could not be read.
    #[serde(skip)]
    pub condition: Option<Expression>,
}

/// How far a function's result may be relied on. Ordered: the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Volatility {
    Immutable,
    Stable,
    #[default]
    Volatile,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Function {
    pub schema: String,
    pub name: String,
    /// Types of the input arguments, as SQL writes them.
    pub arguments: Vec<String>,
    /// The type of its result.
    pub returns: String,
    pub volatility: Volatility,
    /// A procedure, which only CALL runs.
    pub procedure: bool,
    pub returns_set: bool,
    pub language: Language,
    /// Of a function in SQL, where it is not too long.
    #[serde(skip)]
    pub body: Option<String>,
    /// It sets parameters while it runs, so that names in it may mean other things.
    pub configured: bool,
}
