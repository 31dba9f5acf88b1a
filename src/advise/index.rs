//! An index as it may be created: what is searched, carried and left out, and its text in SQL. Knows no
//! statement.

use std::fmt::Write;

use crate::catalog::{Attnum, Oid, Table};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    Btree,
    Gin,
    Brin,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Method::Btree => "btree",
            Method::Gin => "gin",
            Method::Brin => "brin",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// `None`: an expression.
    pub column: Option<Attnum>,
    /// As SQL writes it: a name, quoted if it must be, or an expression in brackets.
    pub sql: String,
    pub descending: bool,
    pub nulls_first: bool,
    /// An operator class other than the type's own.
    pub class: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Index {
    pub table: Oid,
    pub method: Method,
    pub keys: Vec<Key>,
    pub include: Vec<Attnum>,
    pub predicate: Option<String>,
}

impl Index {
    /// What is within: `(a, b DESC) INCLUDE (c) WHERE d IS NULL`, with `USING` unless it is a B-tree.
    pub fn definition(&self, table: &Table) -> String {
        let mut out = String::new();
        if self.method != Method::Btree {
            let _ = write!(out, "USING {} ", self.method.name());
        }
        let keys: Vec<String> = self.keys.iter().map(key).collect();
        let _ = write!(out, "({})", keys.join(", "));
        if !self.include.is_empty() {
            let names: Vec<String> = self
                .include
                .iter()
                .filter_map(|&number| table.column_by_number(number))
                .map(|c| quoted(&c.name))
                .collect();
            let _ = write!(out, " INCLUDE ({})", names.join(", "));
        }
        if let Some(predicate) = &self.predicate {
            let _ = write!(out, " WHERE {predicate}");
        }
        out
    }

    /// `CREATE INDEX` as it is asked of HypoPG, which takes neither a name nor CONCURRENTLY.
    pub fn plain_ddl(&self, table: &Table) -> String {
        format!("CREATE INDEX ON {} {}", full_name(table), self.definition(table))
    }

    pub fn ddl(&self, table: &Table, name: &str) -> String {
        let concurrently = match table.partitioning {
            // PostgreSQL builds those partition by partition only.
            Some(_) => "",
            None => "CONCURRENTLY ",
        };
        format!(
            "CREATE INDEX {concurrently}{} ON {} {}",
            quoted(name),
            full_name(table),
            self.definition(table)
        )
    }

    /// Columns that are searched or carried.
    pub fn columns(&self) -> impl Iterator<Item = Attnum> {
        self.keys.iter().filter_map(|key| key.column).chain(self.include.iter().copied())
    }

    pub fn attributes(&self) -> usize {
        self.keys.len() + self.include.len()
    }

    /// The name by a template with `{table}` and `{columns}`, in PostgreSQL's 63 bytes, unlike those taken.
    pub fn name(&self, table: &Table, template: &str, taken: &dyn Fn(&str) -> bool) -> String {
        let word = |sql: &str| -> String {
            let plain: String =
                sql.chars().map(|char| if char.is_alphanumeric() { char } else { '_' }).collect();
            plain.split('_').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_").to_lowercase()
        };
        let mut columns: Vec<String> = self.keys.iter().map(|key| word(&key.sql)).collect();
        if self.method != Method::Btree {
            columns.push(self.method.name().to_owned());
        }
        if self.predicate.is_some() {
            columns.push("partial".to_owned());
        }
        let whole = template.replace("{table}", &table.name).replace("{columns}", &columns.join("_"));
        for number in 1..100 {
            let suffix = if number == 1 { String::new() } else { format!("_{number}") };
            let mut name = whole.clone();
            while name.len() + suffix.len() > NAME_MAX {
                name.pop();
            }
            name.push_str(&suffix);
            if !taken(&name) {
                return name;
            }
        }
        whole
    }
}

/// Bytes of a name in PostgreSQL.
const NAME_MAX: usize = 63;

fn key(key: &Key) -> String {
    let class = key.class.map(|class| format!(" {class}")).unwrap_or_default();
    let order = match (key.descending, key.nulls_first) {
        (false, false) | (true, true) => "",
        (false, true) => " NULLS FIRST",
        (true, false) => " NULLS LAST",
    };
    let descending = if key.descending { " DESC" } else { "" };
    format!("{}{class}{descending}{order}", key.sql)
}

pub fn full_name(table: &Table) -> String {
    format!("{}.{}", quoted(&table.schema), quoted(&table.name))
}

/// As PostgreSQL's `quote_ident`, which leaves alone what needs no quotes.
pub fn quoted(name: &str) -> String {
    let mut chars = name.chars();
    let plain = chars.next().is_some_and(|char| char.is_ascii_lowercase() || char == '_')
        && chars.all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_')
        && !RESERVED.contains(&name);
    match plain {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// Words that are no names without quotes.
const RESERVED: [&str; 78] = [
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "binary",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "group",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "natural",
    "not",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "placing",
    "primary",
    "references",
    "returning",
    "right",
    "select",
    "similar",
    "some",
    "symmetric",
    "table",
    "then",
    "to",
    "union",
    "user",
    "where",
];
