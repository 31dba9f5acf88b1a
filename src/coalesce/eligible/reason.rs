//! Why answers are not shared, as sentences for people. Names of objects are said, values are not known here.

use std::fmt;

use crate::catalog::FunctionName;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    NoRead,
    Locks,
    /// A view locks rows.
    LocksIn(String),
    TooLong,
    /// The catalog is not known, or not whole.
    Catalog,
    /// TABLESAMPLE.
    Samples,
    SamplesIn(String),
    /// An aggregate whose result depends on the order of its rows.
    OrderOf(String),
    /// The session has temporary objects, and this unqualified name may be one.
    Temporary(String),
    UnknownTable(String),
    Foreign(String),
    /// The query of a view or the conditions of a policy could not be read.
    UnknownCode(String),
    Volatile(String),
    /// Not volatile, and different for each connection or moment.
    Connection(String),
    UnknownFunction(String),
    /// Its text says nothing, or is not read.
    Opaque(String),
    /// What it reads is not known, and answers would be kept.
    UnknownReads(String),
    /// An operator, type or domain runs a function that is not known to be harmless.
    Operator(String, FunctionName),
    Type(String, FunctionName),
    /// It asks for the time, and answers would be kept.
    Time,
    /// Too many views, functions or tables behind it.
    TooWide,
}

impl Reason {
    /// A few words that stand for it in a metric.
    pub fn label(&self) -> &'static str {
        match self {
            Reason::NoRead => "no_read",
            Reason::Locks | Reason::LocksIn(_) => "locks",
            Reason::TooLong | Reason::TooWide => "size",
            Reason::Catalog => "catalog",
            Reason::Samples | Reason::SamplesIn(_) => "samples",
            Reason::OrderOf(_) => "order",
            Reason::Temporary(_) => "temporary",
            Reason::UnknownTable(_) => "unknown_table",
            Reason::Foreign(_) => "foreign",
            Reason::UnknownCode(_) => "unknown_code",
            Reason::Volatile(_) => "volatile",
            Reason::Connection(_) => "connection",
            Reason::UnknownFunction(_) => "unknown_function",
            Reason::Opaque(_) | Reason::UnknownReads(_) => "opaque",
            Reason::Operator(..) => "operator",
            Reason::Type(..) => "type",
            Reason::Time => "time",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let function = |of: &FunctionName| format!("{}.{}", of.schema, of.name);
        match self {
            Reason::NoRead => out.write_str("it is no read"),
            Reason::Locks => out.write_str("it locks rows, which each asker must do for itself"),
            Reason::LocksIn(view) => write!(out, "{view} locks rows, which each asker must do for itself"),
            Reason::TooLong => out.write_str("it is longer than what is kept of it"),
            Reason::Catalog => {
                out.write_str("the catalog of its database is not known, or only a part of it")
            }
            Reason::Samples => out.write_str("TABLESAMPLE returns other rows each time"),
            Reason::SamplesIn(view) => {
                write!(out, "{view} has a TABLESAMPLE, which returns other rows each time")
            }
            Reason::OrderOf(name) => {
                write!(out, "{name}() depends on the order of its rows and has no ORDER BY of its own")
            }
            Reason::Temporary(name) => {
                write!(out, "the session has temporary objects, and {name} without a schema may be one")
            }
            Reason::UnknownTable(name) => write!(out, "{name} is not in what is known of the database"),
            Reason::Foreign(name) => write!(out, "{name} is a foreign table, which another server answers"),
            Reason::UnknownCode(name) => write!(out, "what {name} runs could not be read"),
            Reason::Volatile(name) => write!(out, "{name}() is volatile"),
            Reason::Connection(name) => write!(out, "{name}() differs between connections or moments"),
            Reason::UnknownFunction(name) => {
                write!(out, "{name}() is not in what is known of the database")
            }
            Reason::Opaque(name) => write!(out, "what {name}() does cannot be known from its text"),
            Reason::UnknownReads(name) => {
                write!(
                    out,
                    "which tables {name}() reads is not known, so nobody could tell when answers are stale"
                )
            }
            Reason::Operator(name, of) => {
                write!(out, "operator {name} runs {}(), which is not known to be harmless", function(of))
            }
            Reason::Type(name, of) => {
                write!(out, "type {name} runs {}(), which is not known to be harmless", function(of))
            }
            Reason::Time => {
                out.write_str("it asks for the time, which an answer that is kept would tell wrong")
            }
            Reason::TooWide => out.write_str("there are too many views, functions or tables behind it"),
        }
    }
}
