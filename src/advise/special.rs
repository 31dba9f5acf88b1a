//! Candidates for conditions that a plain B-tree does not serve: patterns, documents, arrays, full text, ordered
//! large tables, and foreign keys whose parents lose rows. Knows no cost.

use super::candidate::Maker;
use super::constant;
use super::index::{Index, Key, Method, quoted};
use super::look::Look;
use super::rule::Rule;
use crate::catalog::{Column, Table};
use crate::sql::scans::{Operator, Term, WriteKind};

/// GIN finds rows of which PostgreSQL knows little beforehand; its own guess for `@>` is a hundredth.
const GIN_SELECTIVITY: f64 = 0.01;

/// A pattern finds so little, by PostgreSQL's guess.
const PATTERN_SELECTIVITY: f64 = 0.002;

/// From here on the rows' order follows the column's.
const BRIN_CORRELATION: f64 = 0.95;

pub(super) fn of(maker: &mut Maker<'_, '_>, look: &Look<'_>) {
    for term in &look.special {
        match &term.operator {
            Operator::Like => pattern(maker, look, term),
            Operator::ILike | Operator::Regex => trigram(maker, look, term),
            Operator::ArrayHolds => array_any(maker, look, term),
            Operator::Other(operator) => other(maker, look, term, operator),
            _ => {}
        }
    }
    brin(maker, look);
}

fn plain(look: &Look<'_>, term: &Term) -> Option<Key> {
    let column = look.table.column(&term.left.column()?.name)?;
    Some(Key {
        column: Some(column.number),
        sql: quoted(&column.name),
        descending: false,
        nulls_first: false,
        class: None,
    })
}

/// The key that a term's left side is, an expression included.
fn subject(maker: &mut Maker<'_, '_>, look: &Look<'_>, term: &Term) -> Option<Key> {
    if let Some(key) = plain(look, term) {
        return Some(key);
    }
    let statement = &maker.workload.statements[maker.statement];
    match constant::expression(&term.left, statement, look.table, maker.workload.catalog) {
        Ok(sql) => Some(Key { column: None, sql, descending: false, nulls_first: false, class: None }),
        Err(reason) => {
            maker.note(look.table.oid, reason);
            None
        }
    }
}

/// What the pattern looks like, by its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pattern {
    Prefix,
    Infix,
    Unknown,
}

fn shape_of(maker: &Maker<'_, '_>, term: &Term) -> Pattern {
    let statement = &maker.workload.statements[maker.statement];
    let Some([hole]) = term.right.as_ref().map(|right| &right.holes[..]) else {
        return Pattern::Unknown;
    };
    let at = usize::from(*hole).saturating_sub(1);
    let values = statement.samples.iter().filter_map(|sample| sample.get(at)?.as_ref());
    let mut known = Pattern::Unknown;
    for value in values {
        let text = value.sql.trim_start_matches(['E', 'e']).trim_start_matches('\'');
        match text.starts_with(['%', '_']) {
            true => return Pattern::Infix,
            false => known = Pattern::Prefix,
        }
    }
    known
}

fn pattern(maker: &mut Maker<'_, '_>, look: &Look<'_>, term: &Term) {
    match shape_of(maker, term) {
        Pattern::Infix => trigram(maker, look, term),
        Pattern::Unknown => maker.note(
            look.table.oid,
            "whether its pattern begins with a wildcard is not known without values of a call".to_owned(),
        ),
        Pattern::Prefix => {
            let Some(key) = subject(maker, look, term) else {
                return;
            };
            let column = term.left.columns.first().and_then(|column| look.table.column(&column.name));
            let class = match maker.workload.surroundings.bytewise
                && column.is_none_or(|c| c.collation.is_none())
                || column.is_some_and(|column| column.collation.as_deref() == Some("C"))
            {
                true => None,
                false => Some(class_of(column)),
            };
            let steady: Vec<Key> = look
                .points
                .iter()
                .filter(|part| !part.many && part.selectivity <= 0.5)
                .map(|part| part.key.clone())
                .collect();
            let free = steady.len();
            let keys = steady.into_iter().chain([Key { class, ..key }]).collect();
            maker.add(look, keys, free, Rule::Prefix);
        }
    }
}

fn class_of(column: Option<&Column>) -> &'static str {
    match column.map(|column| column.type_name.as_str()) {
        Some(name) if name.starts_with("character varying") => "varchar_pattern_ops",
        Some(name) if name.starts_with("character(") => "bpchar_pattern_ops",
        _ => "text_pattern_ops",
    }
}

fn trigram(maker: &mut Maker<'_, '_>, look: &Look<'_>, term: &Term) {
    if !maker.workload.catalog.facts.extensions.contains_key("pg_trgm") {
        let reason = "a pattern that begins with a wildcard takes a trigram index, and the extension pg_trgm is \
                      not installed in this database (CREATE EXTENSION pg_trgm)";
        return maker.note(look.table.oid, reason.to_owned());
    }
    if let Some(key) = subject(maker, look, term) {
        gin(maker, look, Key { class: Some("gin_trgm_ops"), ..key }, Rule::Trigram, PATTERN_SELECTIVITY);
    }
}

fn gin(maker: &mut Maker<'_, '_>, look: &Look<'_>, key: Key, rule: Rule, selectivity: f64) {
    let index = Index {
        table: look.table.oid,
        method: Method::Gin,
        keys: vec![key],
        include: Vec::new(),
        predicate: None,
    };
    maker.keep(look.table, index, 0, rule, Some(selectivity));
}

fn array_any(maker: &mut Maker<'_, '_>, look: &Look<'_>, term: &Term) {
    let reason = "an index on an array serves `column @> ARRAY[value]`; `value = ANY (column)` it does not, so the \
                  statement has to be written that way first";
    if plain(look, term).is_some() {
        maker.note(look.table.oid, reason.to_owned());
    }
}

fn other(maker: &mut Maker<'_, '_>, look: &Look<'_>, term: &Term, operator: &str) {
    let column = term.left.column().and_then(|column| look.table.column(&column.name));
    let type_name = column.map(|column| column.type_name.as_str()).unwrap_or_default();
    let array = type_name.ends_with("[]");
    match operator {
        "@>" if type_name == "jsonb" => {
            if let Some(key) = plain(look, term) {
                gin(maker, look, Key { class: Some("jsonb_path_ops"), ..key }, Rule::Gin, GIN_SELECTIVITY);
            }
        }
        "@@" | "@?" if type_name == "jsonb" => {
            if let Some(key) = plain(look, term) {
                gin(maker, look, Key { class: Some("jsonb_path_ops"), ..key }, Rule::Gin, GIN_SELECTIVITY);
            }
        }
        "?" | "?|" | "?&" if type_name == "jsonb" => {
            plain(look, term).into_iter().for_each(|key| gin(maker, look, key, Rule::Gin, GIN_SELECTIVITY));
        }
        "@>" | "&&" | "<@" if array => {
            plain(look, term).into_iter().for_each(|key| gin(maker, look, key, Rule::Gin, GIN_SELECTIVITY));
        }
        "@@" if type_name == "tsvector" || term.left.text.to_lowercase().contains("to_tsvector") => {
            full_text(maker, look, term);
        }
        "<>" | "not in" | "not like" | "not between" => maker.note(
            look.table.oid,
            "a condition that excludes values leaves most rows, which no index narrows down".to_owned(),
        ),
        "is not distinct from" => maker.note(
            look.table.oid,
            "IS NOT DISTINCT FROM is served by no index; `=` would be, where NULL is not looked for"
                .to_owned(),
        ),
        _ => maker.note(look.table.oid, format!("no index is known here for the operator {operator}")),
    }
}

/// `to_tsvector('english', body)` is immutable, `to_tsvector(body)` is not.
fn full_text(maker: &mut Maker<'_, '_>, look: &Look<'_>, term: &Term) {
    let lower = term.left.text.to_lowercase();
    if !term.left.plain && !lower.contains("to_tsvector($") && !lower.contains("to_tsvector('") {
        let reason = "to_tsvector() without its configuration depends on a setting and cannot be indexed; write \
                      to_tsvector('english', …) in the statement";
        return maker.note(look.table.oid, reason.to_owned());
    }
    if term.left.plain {
        return plain(look, term)
            .into_iter()
            .for_each(|key| gin(maker, look, key, Rule::Gin, GIN_SELECTIVITY));
    }
    let statement = &maker.workload.statements[maker.statement];
    let mut sql = term.left.text.clone();
    for &hole in term.left.holes.iter().rev() {
        let at = usize::from(hole).saturating_sub(1);
        let Some(value) = statement.samples.first().and_then(|sample| sample.get(at)?.clone()) else {
            let reason = "the configuration of its full-text search is not known without values of a call";
            return maker.note(look.table.oid, reason.to_owned());
        };
        sql = sql.replace(&format!("${hole}"), &value.sql);
    }
    let key =
        Key { column: None, sql: format!("({sql})"), descending: false, nulls_first: false, class: None };
    gin(maker, look, key, Rule::Gin, GIN_SELECTIVITY);
}

/// Where rows lie in the order of a column, a few kilobytes tell which pages may have a range.
fn brin(maker: &mut Maker<'_, '_>, look: &Look<'_>) {
    let settings = maker.workload.settings;
    if look.table.bytes < settings.brin_table_bytes || !look.points.is_empty() {
        return;
    }
    let updated = maker.workload.statements.iter().any(|statement| {
        statement
            .scans
            .writes
            .iter()
            .any(|write| write.kind == WriteKind::Update && write.relation.name == look.table.name)
    });
    for range in look.ranges.iter().filter(|_| !updated) {
        let column = range.key.column.and_then(|number| look.table.column_by_number(number));
        let follows = column
            .and_then(|column| column.statistics?.correlation)
            .is_some_and(|correlation| correlation.abs() > BRIN_CORRELATION);
        if follows {
            let keys = vec![range.key.clone()];
            let index = Index {
                table: look.table.oid,
                method: Method::Brin,
                keys,
                include: Vec::new(),
                predicate: None,
            };
            maker.keep(look.table, index, 0, Rule::Brin, None);
        }
    }
}

/// DELETE of a parent, and UPDATE of its key, look for children one by one, which no plan shows.
pub(super) fn foreign_keys(maker: &mut Maker<'_, '_>) {
    let catalog = maker.workload.catalog;
    let statements = maker.workload.statements;
    for (at, statement) in statements.iter().enumerate() {
        for write in &statement.scans.writes {
            let path = &catalog.facts.search_path;
            let Some(parent) = catalog.table(path, write.relation.schema.as_deref(), &write.relation.name)
            else {
                continue;
            };
            for (child, key) in catalog.foreign_keys_to(parent.oid) {
                let looked_for = match write.kind {
                    WriteKind::Delete => true,
                    WriteKind::Update => key.to_columns.iter().any(|number| {
                        parent
                            .column_by_number(*number)
                            .is_some_and(|column| write.columns.contains(&column.name))
                    }),
                    WriteKind::Insert | WriteKind::Merge => false,
                };
                if looked_for {
                    maker.statement = at;
                    foreign_key(maker, child, &key.columns);
                }
            }
        }
    }
}

fn foreign_key(maker: &mut Maker<'_, '_>, child: &Table, columns: &[crate::catalog::Attnum]) {
    if let Some(reason) = maker.unfit(child) {
        return maker.note(child.oid, reason);
    }
    let mut selectivity = 1.0;
    let mut keys = Vec::new();
    for column in columns.iter().filter_map(|number| child.column_by_number(*number)) {
        selectivity /= constant::distinct(child, column).max(1.0);
        keys.push(Key {
            column: Some(column.number),
            sql: quoted(&column.name),
            descending: false,
            nulls_first: false,
            class: None,
        });
    }
    let free = keys.len();
    let index = Index { table: child.oid, method: Method::Btree, keys, include: Vec::new(), predicate: None };
    maker.keep(child, index, free, Rule::ForeignKey, Some(selectivity));
}
