//! What a database runs without being asked by name: the functions of its views, policies, operators, casts and
//! types; and what is known of a function's own text. Plain data.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Oid;

/// Bytes of a function in SQL that are kept: one-line helpers, which is what views and policies call.
pub const BODY_MAX: usize = 2_048;

/// What is known of the text of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// Compiled: of PostgreSQL or an extension, which say truly how volatile their functions are. An aggregate
    /// is compiled if all of its functions are.
    Compiled,
    Sql,
    #[default]
    Other,
}

/// What an expression or query runs that the database keeps: of a view, a policy.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expression {
    /// Functions, those behind operators too, with their schema, once each; without PostgreSQL's immutable ones.
    pub calls: Vec<FunctionName>,
    /// Tables and views.
    pub reads: Vec<Oid>,
    /// User-defined types that it computes.
    pub types: Vec<Oid>,
    pub locks_rows: bool,
    /// TABLESAMPLE: the rows are others each time.
    pub samples: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FunctionName {
    pub schema: String,
    pub name: String,
}

/// Functions that run without being named in a statement, where they are not known to be harmless: volatile, or
/// written in a language whose text says nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Hidden {
    /// By operator, without its schema.
    pub operators: BTreeMap<String, Vec<FunctionName>>,
    /// By type: of its casts, its input and output, its order.
    pub types: BTreeMap<Oid, FunctionName>,
    /// By domain: of its conditions, which run whenever something becomes such a value.
    pub domains: BTreeMap<Oid, FunctionName>,
    /// All of it was read.
    pub known: bool,
}

/// An array type, as needed to write its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArrayType {
    pub oid: Oid,
    /// Stands between elements in the text form; `pg_type.typdelim` of the element.
    pub delimiter: u8,
    /// The element has columns of its own, or is a domain over such a type: `unnest` would take it apart.
    pub composite: bool,
}
