//! What a statement's shape says about it: class, tables, conditions and which holes feed them, order, joins,
//! locks, functions. Plain data, found once per shape; `walk` fills it in from the syntax tree, which nobody
//! else sees. Pure. Knows nothing of the catalog: names are as they were written.
//!
//! The text is canonical: literals are holes `$1 … $n`, a typed literal is `date '$1'`, and a list `in ($n)`
//! stands for a list of any length.

pub mod calls;
mod dialect;
mod from;
mod predicate;
mod select;
mod walk;

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};
use sqlparser::ast::Statement;
use sqlparser::parser::{Parser, ParserError};

use super::class::Class;
use super::guard::{self, Refused};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    pub class: Class,
    /// It changes rows or the schema, or may; see [`super::class::Classified`].
    pub may_write: bool,
    /// The statement's first word, in lower case; of EXPLAIN, `explain`.
    pub statement: String,
    pub tables: Vec<TableRef>,
    /// Every column that is named, once each.
    pub columns: Vec<ColumnRef>,
    /// Of all queries in the statement, in order of appearance.
    pub predicates: Vec<Predicate>,
    /// The main query's rows are exactly those for which each of the `predicates` with `top` holds.
    pub plain: bool,
    /// Columns of two relations that are compared by `=`.
    pub joins: Vec<JoinPair>,
    /// Of the main query, as are `group_by`, `distinct`, `limit` and `offset`.
    pub order: Vec<Order>,
    pub group_by: Vec<Operand>,
    pub distinct: bool,
    pub limit: Option<Operand>,
    pub offset: Option<Operand>,
    /// A row lock, in any of the queries.
    pub locking: Option<Locking>,
    /// Functions that are called, in lower case, with their schema if it was written; once each.
    pub functions: Vec<String>,
    /// Names of WITH queries.
    pub ctes: Vec<String>,
    /// Queries within the statement, WITH queries and branches of set operations aside.
    pub subqueries: u16,
    /// UNION, INTERSECT, EXCEPT.
    pub set_operations: u16,
    /// Columns that INSERT, UPDATE or MERGE give values to.
    pub assigned: Vec<String>,
    pub returning: bool,
    pub on_conflict: Option<OnConflict>,
    /// The main query aggregates: GROUP BY, HAVING, or a function that PostgreSQL's own aggregates are named
    /// like. An application's own aggregate is not known to be one.
    pub aggregate: bool,
    pub window: bool,
    /// A list was longer than [`LIST_MAX`] and was cut.
    pub cut: bool,
}

/// Entries of each list of [`Facts`] at most: more than any index or rule can use, and so few that the facts
/// of 10,000 hostile statements stay within memory.
pub const LIST_MAX: usize = 200;

impl Facts {
    /// Bytes of memory, about.
    pub fn weight(&self) -> usize {
        // A name is a String of 24 bytes with some 16 on the heap; lists double as they grow.
        const NAME: usize = 60;
        let (names, columns) = (
            self.functions.len() + self.ctes.len() + self.assigned.len(),
            self.columns.len() + self.order.len() + self.group_by.len() + 2 * self.joins.len(),
        );
        size_of::<Facts>() + NAME * (names + 3 * self.tables.len() + 3 * columns + 7 * self.predicates.len())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableRef {
    pub schema: Option<String>,
    pub name: String,
    pub alias: Option<String>,
    pub role: Role,
}

impl TableRef {
    /// As one would write it: `schema.name` or `name`.
    pub fn full_name(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{schema}.{}", self.name),
            None => self.name.clone(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Read,
    Written,
}

/// A column as it was named. Without a qualifier it has a table only if no other could be meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ColumnRef {
    /// `schema.name` or `name` of the table, or the name of the WITH query, that it belongs to.
    pub table: Option<String>,
    /// The name that the table goes by in its query, if that is another.
    pub alias: Option<String>,
    pub column: String,
}

impl fmt::Display for ColumnRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.table.as_ref().or(self.alias.as_ref()) {
            Some(table) => write!(formatter, "{table}.{}", self.column),
            None => formatter.write_str(&self.column),
        }
    }
}

/// One condition on one column. BETWEEN comes as two. A negated one that has no operator of its own has
/// `top` false.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Predicate {
    pub column: ColumnRef,
    /// What is done to the column before it is compared: `lower`, `::date`, `->>`. An index on the column
    /// alone does not serve such a condition.
    pub wrapped: Option<String>,
    pub operator: Operator,
    pub operand: Operand,
    pub clause: Clause,
    /// 0 for the statement's main query, other numbers for queries within it.
    pub query: u16,
    /// One of the conditions that must all hold for a row of the main query.
    pub top: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Clause {
    Where,
    On,
    Having,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    /// In a list or in the rows of a query.
    In,
    NotIn,
    /// `= any(…)`.
    Any,
    Like,
    ILike,
    IsNull,
    IsNotNull,
    /// The column itself is the condition.
    IsTrue,
    IsNotTrue,
    /// As it is written, such as `@>`, `not like` or `row <`.
    Other(String),
}

impl fmt::Display for Operator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Operator::Equal => "=",
            Operator::NotEqual => "<>",
            Operator::Less => "<",
            Operator::LessEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterEqual => ">=",
            Operator::In => "in",
            Operator::NotIn => "not in",
            Operator::Any => "= any",
            Operator::Like => "like",
            Operator::ILike => "ilike",
            Operator::IsNull => "is null",
            Operator::IsNotNull => "is not null",
            Operator::IsTrue => "is true",
            Operator::IsNotTrue => "is not true",
            Operator::Other(text) => text,
        })
    }
}

impl Serialize for Operator {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Operator {
    /// An index in the order of the column can find the rows.
    pub fn is_range(&self) -> bool {
        matches!(self, Operator::Less | Operator::LessEqual | Operator::Greater | Operator::GreaterEqual)
    }

    /// One value, or one of several, is looked up.
    pub fn is_lookup(&self) -> bool {
        matches!(self, Operator::Equal | Operator::In | Operator::Any)
    }
}

/// What a column is compared with, or sorted, grouped or limited by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operand {
    /// The hole `$number`, cast to a type if the text says so.
    Hole {
        number: u16,
        cast: Option<String>,
    },
    /// A list of any length.
    Holes(Vec<u16>),
    Column(ColumnRef),
    /// NULL, TRUE, or a literal that is no hole.
    Constant,
    /// The rows of a query.
    Query,
    /// All else, with the holes in it and whether it names columns.
    Expression {
        holes: Vec<u16>,
        columns: bool,
    },
    /// There is nothing to compare with.
    None,
}

impl fmt::Display for Operand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |holes: &[u16]| holes.iter().map(|hole| format!("${hole}")).collect::<Vec<_>>().join(", ");
        match self {
            Operand::Hole { number, cast: None } => write!(formatter, "${number}"),
            Operand::Hole { number, cast: Some(cast) } => write!(formatter, "${number}::{cast}"),
            Operand::Holes(holes) => write!(formatter, "({})", list(holes)),
            Operand::Column(column) => column.fmt(formatter),
            Operand::Constant => formatter.write_str("a constant"),
            Operand::Query => formatter.write_str("the rows of a query"),
            Operand::Expression { holes, .. } if holes.is_empty() => formatter.write_str("an expression"),
            Operand::Expression { holes, .. } => write!(formatter, "an expression of {}", list(holes)),
            Operand::None => Ok(()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JoinPair {
    pub left: ColumnRef,
    pub right: ColumnRef,
    pub query: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Order {
    pub by: Operand,
    pub descending: bool,
    /// None: PostgreSQL's default, last when ascending and first when descending.
    pub nulls_first: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Locking {
    pub strength: LockStrength,
    /// What happens when another has the lock; None: it is waited for.
    pub otherwise: Option<LockOtherwise>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LockStrength {
    KeyShare,
    Share,
    NoKeyUpdate,
    Update,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LockOtherwise {
    Nowait,
    SkipLocked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    Nothing,
    Update,
}

/// The facts of one canonical statement.
///
/// Call it on a thread with a stack of [`guard::STACK`] bytes: the tree is dropped before this returns, and
/// neither making nor dropping it is safe on a small stack.
///
/// # Errors
/// Why there are none. The statement is forwarded all the same.
pub fn read(canonical: &str) -> Result<Facts, Refused> {
    let (statement, strength) = guarded(canonical)?;
    let mut facts = walk::facts(canonical, &statement);
    if let (Some(locking), Some(strength)) = (&mut facts.locking, strength) {
        locking.strength = strength;
    }
    Ok(facts)
}

/// The syntax tree, for others who read it; what is said of [`read`] holds for it too.
pub(super) fn tree(canonical: &str) -> Result<Statement, Refused> {
    guarded(canonical).map(|(statement, _)| statement)
}

fn guarded(canonical: &str) -> Result<(Statement, Option<LockStrength>), Refused> {
    guard::check(canonical)?;
    let (text, strength) = with_known_lock(canonical);
    Ok((parse(&text)?, strength))
}

/// The row locks that the parser does not know, and their nearest that it does.
const LOCKS: [(&str, &str, LockStrength); 2] = [
    (" for no key update", " for update", LockStrength::NoKeyUpdate),
    (" for key share", " for share", LockStrength::KeyShare),
];

/// The text with a row lock that the parser knows, and what it stands for. Object mappers lock so by default.
fn with_known_lock(canonical: &str) -> (Cow<'_, str>, Option<LockStrength>) {
    for (lock, known, strength) in LOCKS {
        if let Some((before, after)) = canonical.split_once(lock)
            // Not within a name.
            && before.matches('"').count() % 2 == 0
        {
            return (format!("{before}{known}{after}").into(), Some(strength));
        }
    }
    (canonical.into(), None)
}

/// Levels that the parser may descend. One pair of brackets costs it a few, [`guard::DEPTH_MAX`] of them
/// must pass.
const RECURSION_MAX: usize = 4 * guard::DEPTH_MAX;

fn parse(canonical: &str) -> Result<Statement, Refused> {
    let dialect = dialect::Bounded::default();
    let parser = Parser::new(&dialect).with_recursion_limit(RECURSION_MAX);
    let statements = parser.try_with_sql(canonical).and_then(|mut parser| parser.parse_statements());
    let mut statements = statements.map_err(|error| match error {
        _ if dialect.is_exhausted() => Refused::Effort,
        ParserError::RecursionLimitExceeded => Refused::Depth,
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => Refused::Syntax(message),
    })?;
    match (statements.pop(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        (None, _) => Err(Refused::Syntax("there is no statement".to_owned())),
        (Some(_), false) => Err(Refused::Syntax("there is more than one statement".to_owned())),
    }
}

/// What holds for any text, for tests and for the fuzzer.
#[cfg(any(test, fuzzing))]
pub mod properties;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;
