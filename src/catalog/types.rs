//! Types of the database's own.

use serde::Serialize;

use super::Oid;

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Type {
    pub schema: String,
    pub name: String,
    pub kind: TypeKind,
    /// What a domain is made of.
    pub base: Option<Oid>,
    /// What an array holds.
    pub element: Option<Oid>,
    /// Of an enum, in order.
    pub labels: Vec<String>,
    /// Stands between values of it in the text of an array.
    pub delimiter: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TypeKind {
    #[default]
    Base,
    Array,
    Composite,
    Domain,
    Enum,
    Range,
    Multirange,
}
