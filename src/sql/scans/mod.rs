//! What each query of a statement looks for in its tables, in the detail that an index has to be chosen by:
//! conditions with their expressions as text, order and grouping of every query, alternatives of OR, columns
//! that are read. `facts` says what a statement is; this says how its rows could be found. Pure. Knows nothing
//! of the catalog: which table an unqualified column belongs to is for whoever knows the tables.

mod name;
mod read;
mod term;
#[cfg(test)]
mod tests;

use super::guard::Refused;

/// Queries, conditions and columns of one statement that are read; more than any index could serve.
pub const LIST_MAX: usize = 200;

/// All queries of a statement: the main one first, if it has one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scans {
    pub queries: Vec<Query>,
    /// What INSERT, UPDATE, DELETE and MERGE change.
    pub writes: Vec<Write>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub relation: Relation,
    pub kind: WriteKind,
    /// Columns that an UPDATE gives values to.
    pub columns: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteKind {
    Insert,
    Update,
    Delete,
    Merge,
}

/// One SELECT, UPDATE or DELETE within a statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// The query around it, whose relations it may name too.
    pub parent: Option<usize>,
    pub relations: Vec<Relation>,
    /// All of them hold for each row.
    pub terms: Vec<Term>,
    /// Of each list, one holds at least.
    pub alternatives: Vec<Vec<Term>>,
    pub order: Vec<Sort>,
    pub group: Vec<Expression>,
    pub distinct: bool,
    pub distinct_on: Vec<Expression>,
    pub limited: bool,
    /// Holes of LIMIT, and of OFFSET.
    pub limit: Vec<u16>,
    pub offset: Vec<u16>,
    /// The only outputs are min() or max() of these, without GROUP BY.
    pub extremes: Vec<Sort>,
    /// Columns that this query itself names.
    pub used: Vec<Column>,
    /// `*` stands among the outputs, of this relation or of all.
    pub whole: Vec<Option<String>>,
    pub outputs: Vec<Expression>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    pub schema: Option<String>,
    pub name: String,
    /// What its columns are qualified by.
    pub alias: String,
    /// A WITH query, a query in brackets or a function: no table.
    pub derived: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Column {
    pub qualifier: Option<String>,
    pub name: String,
}

/// An expression without the qualifiers of its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    pub text: String,
    /// It is one column and nothing else.
    pub plain: bool,
    pub columns: Vec<Column>,
    pub holes: Vec<u16>,
    /// It holds a query.
    pub query: bool,
}

impl Expression {
    /// The column that it is.
    pub fn column(&self) -> Option<&Column> {
        self.columns.first().filter(|_| self.plain)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sort {
    pub by: Expression,
    pub descending: bool,
    /// As PostgreSQL has it by default: first when descending.
    pub nulls_first: bool,
}

/// One condition: something of a row, compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    pub left: Expression,
    pub operator: Operator,
    /// `None`: there is nothing to compare with.
    pub right: Option<Expression>,
    /// Columns of a row comparison such as `(a, b) < ($1, $2)`, from the second on; of BETWEEN, the upper bound.
    pub more: Vec<Expression>,
    /// The whole condition as it can be asked again, without qualifiers.
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operator {
    Equal,
    /// One of a list, or of the rows of a query.
    In,
    Less,
    Greater,
    /// In both directions, as BETWEEN has it.
    Between,
    Like,
    ILike,
    Regex,
    IsNull,
    IsNotNull,
    IsTrue,
    IsFalse,
    /// `column = any(array column)` turned round: the array holds a value.
    ArrayHolds,
    /// Such as `@>`, `@@`, `&&`, `<>`.
    Other(String),
}

impl Operator {
    pub fn is_range(&self) -> bool {
        matches!(self, Operator::Less | Operator::Greater | Operator::Between)
    }

    /// One value is looked up, so that what follows in an index keeps its order.
    pub fn is_point(&self) -> bool {
        matches!(self, Operator::Equal | Operator::IsNull | Operator::IsTrue | Operator::IsFalse)
    }
}

/// Reads a canonical statement.
///
/// Call it on a thread with a stack of [`super::guard::STACK`] bytes, as `facts::read`.
///
/// # Errors
/// The statement cannot be parsed, or is too large to be.
pub fn read(canonical: &str) -> Result<Scans, Refused> {
    let statement = super::facts::tree(canonical)?;
    Ok(read::scans(&statement))
}
