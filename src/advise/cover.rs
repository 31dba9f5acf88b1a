//! Which index serves what another one is wanted for: the same keys first, in the same or the opposite order.
//! Knows no statement and no cost.

use super::index::{Index, Key, Method};
use crate::catalog::{self, Attnum, IndexColumn, Table};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Covered {
    No,
    By(String),
    /// One that would serve cannot be used.
    Invalid(String),
    /// One that exists is a part of it, and needless beside it.
    Widens(String),
}

/// What of the table's own indexes a candidate stands beside. `free`: so many of its first keys may change
/// places.
pub fn existing(wanted: &Index, free: usize, table: &Table) -> Covered {
    let mut widens = Covered::No;
    for index in table.indexes.iter().filter(|index| index.method == wanted.method.name()) {
        let same_rows = match (&index.predicate, &wanted.predicate) {
            (None, _) => true,
            (Some(one), Some(other)) => squeezed(one) == squeezed(other),
            (Some(_), None) => false,
        };
        if same_rows && serves(index, wanted, free, table) {
            return match index.valid {
                true => Covered::By(index.name.clone()),
                false => Covered::Invalid(index.name.clone()),
            };
        }
        let constraint = index.unique || index.primary || table.keys.iter().any(|key| key.name == index.name);
        if index.valid
            && !constraint
            && index.predicate.is_none()
            && wanted.predicate.is_none()
            && is_part(index, wanted, table)
        {
            widens = Covered::Widens(index.name.clone());
        }
    }
    widens
}

/// The existing index finds the rows in the wanted way.
fn serves(index: &catalog::Index, wanted: &Index, free: usize, table: &Table) -> bool {
    if wanted.method != Method::Btree {
        return index.columns.len() == wanted.keys.len()
            && index.columns.iter().zip(&wanted.keys).all(|(have, want)| same(have, want, table));
    }
    if index.columns.len() < wanted.keys.len() {
        return false;
    }
    let (have, ordered) = index.columns.split_at(free.min(index.columns.len()));
    let points = wanted.keys[..free].iter().all(|want| have.iter().any(|have| same(have, want, table)));
    let rest = &wanted.keys[free..];
    let in_order = |turned: bool| {
        rest.iter().zip(ordered).all(|(want, have)| {
            same(have, want, table) && (rest.len() == 1 && is_plain(want) || directed(have, want, turned))
        })
    };
    let carries = |number: &Attnum| {
        index.include.contains(number) || index.columns.iter().any(|column| column.column == Some(*number))
    };
    points && (in_order(false) || in_order(true)) && wanted.include.iter().all(carries)
}

/// One column is read from either end.
fn is_plain(key: &Key) -> bool {
    key.descending == key.nulls_first
}

fn directed(have: &IndexColumn, want: &Key, turned: bool) -> bool {
    (have.descending != turned) == want.descending && (have.nulls_first != turned) == want.nulls_first
}

/// All that the existing index has stands at the beginning of the wanted one.
fn is_part(index: &catalog::Index, wanted: &Index, table: &Table) -> bool {
    wanted.method == Method::Btree
        && index.columns.len() <= wanted.keys.len()
        && index.columns.iter().zip(&wanted.keys).all(|(have, want)| {
            same(have, want, table)
                && have.descending == want.descending
                && have.nulls_first == want.nulls_first
        })
        && index.include.iter().all(|number| wanted.columns().any(|known| known == *number))
}

fn same(have: &IndexColumn, want: &Key, table: &Table) -> bool {
    let column = match (have.column, want.column) {
        (Some(have), Some(want)) => have == want,
        (None, None) => have.expression.as_ref().is_some_and(|text| squeezed(text) == squeezed(&want.sql)),
        _ => false,
    };
    let class = match want.class {
        None => have.default_class || have.operator_class.ends_with("pattern_ops"),
        Some(class) => have.operator_class == class,
    };
    let collation = want
        .column
        .and_then(|number| table.column_by_number(number))
        .is_none_or(|column| have.collation.is_none() || have.collation == column.collation);
    column && class && collation
}

/// Two spellings of one expression, as far as brackets, spaces and the casts that PostgreSQL adds go.
fn squeezed(text: &str) -> String {
    let mut out = text.to_lowercase();
    for cast in ["::text", "::character varying", "::bpchar", "::boolean"] {
        out = out.replace(cast, "");
    }
    out.retain(|char| !matches!(char, ' ' | '(' | ')' | '"'));
    out
}

/// One candidate serves what the other is for, so that both are one too many.
pub fn covers(one: &Index, other: &Index) -> bool {
    one.table == other.table
        && one.method == other.method
        && one.predicate == other.predicate
        && one.keys.len() >= other.keys.len()
        && one.keys.iter().zip(&other.keys).all(|(have, want)| have == want)
        && other.include.iter().all(|number| one.columns().any(|known| known == *number))
}
