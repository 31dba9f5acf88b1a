//! The other direction: indexes that serve nobody, serve what others serve, or are broken or swollen, each
//! with the reason. Knows no statement: how often an index was used is PostgreSQL's own count.

use serde::{Deserialize, Serialize};

use super::index::quoted;
use super::size;
use crate::catalog::{Catalog, Index, IndexColumn, ReplicaIdentity, Table, TableKind};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Built or working.
    Fine,
    Unused,
    /// Another one is the same.
    Duplicate,
    /// It is the beginning of another one.
    Redundant,
    /// A build has failed; it costs writes and serves nobody.
    Invalid,
    /// Much larger than its content.
    Bloated,
}

/// An index that exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Existing {
    /// By the name that clients ask for; empty when there is only one.
    #[serde(default)]
    pub database: String,
    pub table: String,
    pub name: String,
    pub method: String,
    /// Names or expressions, in order.
    pub columns: Vec<String>,
    pub unique: bool,
    pub bytes: u64,
    pub scans: u64,
    pub verdict: Verdict,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub reason: String,
    /// What would put it right; never run by itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ddl: Option<String>,
}

/// From when on an index counts as unused or swollen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DropSettings {
    /// Seconds that counts must have been kept. Default 30 days: there are reports that run once a month.
    pub unused_after_s: f64,
    /// Larger than so many times its content. Default 2.
    pub bloat: f64,
    /// Smaller ones are not looked at for their size. Default 10 MiB.
    pub bloat_bytes: u64,
}

impl Default for DropSettings {
    fn default() -> Self {
        DropSettings { unused_after_s: 30.0 * 86_400.0, bloat: 2.0, bloat_bytes: 10 * 1024 * 1024 }
    }
}

/// All indexes, the doubtful ones first. `counted_s`: seconds since when uses are counted. `building`: oids of
/// indexes that somebody builds right now.
pub fn existing(
    catalog: &Catalog,
    counted_s: f64,
    building: &[u32],
    settings: DropSettings,
) -> Vec<Existing> {
    let mut found = Vec::new();
    for table in catalog.tables.iter().filter(|table| table.kind != TableKind::View) {
        for index in &table.indexes {
            let (verdict, reason) = verdict(catalog, table, index, counted_s, building, settings);
            found.push(Existing {
                database: String::new(),
                table: format!("{}.{}", table.schema, table.name),
                name: index.name.clone(),
                method: index.method.clone(),
                columns: index.columns.iter().map(|column| name(column, table)).collect(),
                unique: index.unique,
                bytes: index.bytes,
                scans: index.scans,
                ddl: remedy(verdict, table, index),
                verdict,
                reason,
            });
        }
    }
    found.sort_by_key(|index| (index.verdict == Verdict::Fine, std::cmp::Reverse(index.bytes)));
    found
}

fn name(column: &IndexColumn, table: &Table) -> String {
    let known = column.column.and_then(|number| table.column_by_number(number));
    known.map_or_else(|| column.expression.clone().unwrap_or_default(), |column| column.name.clone())
}

fn remedy(verdict: Verdict, table: &Table, index: &Index) -> Option<String> {
    let name = format!("{}.{}", quoted(&table.schema), quoted(&index.name));
    match verdict {
        Verdict::Fine => None,
        Verdict::Bloated => Some(format!("REINDEX INDEX CONCURRENTLY {name}")),
        Verdict::Invalid if is_bound(table, index) => Some(format!("REINDEX INDEX CONCURRENTLY {name}")),
        _ => Some(format!("DROP INDEX CONCURRENTLY {name}")),
    }
}

fn verdict(
    catalog: &Catalog,
    table: &Table,
    index: &Index,
    counted_s: f64,
    building: &[u32],
    settings: DropSettings,
) -> (Verdict, String) {
    let fine = (Verdict::Fine, String::new());
    // Those of a partition belong to the index of the whole.
    if table.is_partition() {
        return fine;
    }
    if !index.valid {
        return match building.contains(&index.oid) {
            true => fine,
            false => (
                Verdict::Invalid,
                "a build of it has failed; queries do not use it, and writes keep it up to date".to_owned(),
            ),
        };
    }
    if !is_bound(table, index) {
        let others = || table.indexes.iter().filter(|other| other.valid && other.oid != index.oid);
        let twin =
            others().find(|other| same(index, other) && (is_bound(table, other) || other.oid < index.oid));
        if let Some(twin) = twin {
            return (Verdict::Duplicate, format!("it is the same as {}", twin.name));
        }
        if let Some(wide) = others().find(|other| begins(index, other)) {
            let reason = format!(
                "all of it stands at the beginning of {}; keep it only if its smaller size is known to matter",
                wide.name
            );
            return (Verdict::Redundant, reason);
        }
        if index.scans == 0 && counted_s >= settings.unused_after_s && !supports_key(catalog, table, index) {
            let reason = format!(
                "no query has used it on this server in {:.0} days; replicas count for themselves",
                counted_s / 86_400.0
            );
            return (Verdict::Unused, reason);
        }
    }
    match swollen(table, index, settings) {
        Some(reason) => (Verdict::Bloated, reason),
        None => fine,
    }
}

/// Something other than speed depends on it.
fn is_bound(table: &Table, index: &Index) -> bool {
    index.unique
        || index.primary
        || table.replica_identity == ReplicaIdentity::Index
        || table.keys.iter().any(|key| key.name == index.name)
}

/// A foreign key's children are found by it when a parent goes.
fn supports_key(_: &Catalog, table: &Table, index: &Index) -> bool {
    table.foreign_keys.iter().any(|key| {
        let first: Vec<i16> =
            index.columns.iter().take(key.columns.len()).filter_map(|column| column.column).collect();
        first.len() == key.columns.len() && key.columns.iter().all(|number| first.contains(number))
    })
}

fn same(one: &Index, other: &Index) -> bool {
    one.method == other.method
        && one.columns == other.columns
        && one.predicate == other.predicate
        && one.include.iter().all(|number| other.include.contains(number))
        && (one.include.len() == other.include.len() || other.include.is_empty())
}

fn begins(one: &Index, other: &Index) -> bool {
    one.method == "btree"
        && other.method == "btree"
        && one.predicate == other.predicate
        && (one.columns.len() < other.columns.len()
            || one.columns == other.columns && one.include.len() < other.include.len())
        && one.columns.iter().zip(&other.columns).all(|(a, b)| a == b)
        && one.include.iter().all(|number| {
            other.include.contains(number)
                || other.columns.iter().any(|column| column.column == Some(*number))
        })
}

fn swollen(table: &Table, index: &Index, settings: DropSettings) -> Option<String> {
    if index.bytes < settings.bloat_bytes || index.method != "btree" || index.predicate.is_some() {
        return None;
    }
    let keys = index.columns.iter().map(|column| super::Key {
        column: column.column,
        sql: String::new(),
        descending: false,
        nulls_first: false,
        class: None,
    });
    let alike = super::Index {
        table: table.oid,
        method: super::Method::Btree,
        keys: keys.collect(),
        include: index.include.clone(),
        predicate: None,
    };
    // Expressions have no width here.
    if alike.keys.iter().any(|key| key.column.is_none()) {
        return None;
    }
    let expected = size::of(&alike, table, table.rows?, 1.0);
    (index.bytes as f64 > expected as f64 * settings.bloat).then(|| {
        let mib = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
        format!(
            "it has {:.0} MiB, and its rows would fit into about {:.0} MiB",
            mib(index.bytes),
            mib(expected)
        )
    })
}
