//! What holds of a condition by the statistics and by its constants: how many rows it leaves, whether it is
//! the same in every call, and whether an expression may be indexed at all. Knows no index.

use super::index::quoted;
use super::{Statement, Surroundings};
use crate::catalog::{Attnum, Catalog, Column, Table, Volatility};
use crate::sql::facts::calls;
use crate::sql::scans::{Expression, Operator, Term};

/// A condition that is the same in every call, so that an index may leave out all other rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Constant {
    pub sql: String,
    pub column: Attnum,
    /// The part of the rows that fulfil it.
    pub selectivity: f64,
}

/// Values of a column without statistics.
const DISTINCT_UNKNOWN: f64 = 200.0;

/// PostgreSQL's own guesses where nothing is known.
const RANGE_UNKNOWN: f64 = 1.0 / 3.0;
const BOTH_UNKNOWN: f64 = 0.05;

pub fn distinct(table: &Table, column: &Column) -> f64 {
    let rows = table.rows.unwrap_or(1_000.0).max(1.0);
    match column.statistics.map(|statistics| statistics.n_distinct) {
        Some(count) if count > 0.0 => count,
        Some(part) if part < 0.0 => (-part * rows).max(1.0),
        _ if table.is_unique(&[column.number]) => rows,
        _ => DISTINCT_UNKNOWN.min(rows),
    }
}

/// The part of the rows for which a condition holds.
pub fn selectivity(term: &Term, table: &Table, surroundings: &Surroundings, statement: &Statement) -> f64 {
    let column = term.left.columns.first().and_then(|column| table.column(&column.name));
    let Some(column) = column else {
        return 1.0 / DISTINCT_UNKNOWN;
    };
    let nulls = column.statistics.map_or(0.0, |statistics| statistics.null_fraction);
    let known = surroundings.values.get(&(table.oid, column.number));
    let common = |text: &str| {
        let found = known.and_then(|known| known.common.iter().find(|(value, _)| value == text));
        found.map(|(_, part)| *part)
    };
    match term.operator {
        Operator::IsNull => nulls,
        Operator::IsNotNull => 1.0 - nulls,
        Operator::IsTrue => {
            common("t").unwrap_or(if known.is_some_and(|k| !k.common.is_empty()) { 0.0 } else { 0.5 })
        }
        Operator::IsFalse => {
            common("f").unwrap_or(if known.is_some_and(|k| !k.common.is_empty()) { 0.0 } else { 0.5 })
        }
        Operator::Between => BOTH_UNKNOWN,
        Operator::Less | Operator::Greater => RANGE_UNKNOWN,
        _ => {
            let values = sampled(term, statement);
            let one = |value: &String| {
                let rest = known.map_or(1.0 - nulls, |known| {
                    (1.0 - nulls - known.common.iter().map(|(_, part)| part).sum::<f64>()).max(0.0)
                });
                let others = distinct(table, column) - known.map_or(0.0, |known| known.common.len() as f64);
                common(value).unwrap_or(rest / others.max(1.0))
            };
            match values.is_empty() {
                false => values.iter().map(one).sum::<f64>() / values.len() as f64,
                true => (1.0 - nulls) / distinct(table, column),
            }
        }
    }
}

/// The texts that a term's only hole has in the samples.
fn sampled(term: &Term, statement: &Statement) -> Vec<String> {
    let Some([hole]) = term.right.as_ref().map(|right| &right.holes[..]) else {
        return Vec::new();
    };
    let at = usize::from(*hole).saturating_sub(1);
    let value = |sample: &super::Sample| sample.get(at).cloned().flatten().map(|value| unquoted(&value.sql));
    statement.samples.iter().filter_map(value).collect()
}

fn unquoted(sql: &str) -> String {
    match sql.strip_prefix('\'').and_then(|sql| sql.strip_suffix('\'')) {
        Some(inner) => inner.replace("''", "'"),
        None => sql.to_owned(),
    }
}

/// The condition, if every call has the same.
pub fn of(
    term: &Term,
    statement: &Statement,
    table: &Table,
    surroundings: &Surroundings,
) -> Option<Constant> {
    let column = table.column(&term.left.column()?.name)?;
    let name = quoted(&column.name);
    let sql = match term.operator {
        Operator::IsNull => format!("{name} IS NULL"),
        Operator::IsNotNull => format!("{name} IS NOT NULL"),
        Operator::IsTrue => name,
        Operator::IsFalse => format!("NOT {name}"),
        Operator::Equal => format!("{name} = {}", always(term.right.as_ref()?, statement)?),
        _ => return None,
    };
    Some(Constant {
        sql,
        column: column.number,
        selectivity: selectivity(term, table, surroundings, statement),
    })
}

/// Samples that must agree before a value counts as the application's own constant, unless it stands beside
/// parameters.
const AGREE: usize = 3;

/// The value that an expression always has.
fn always(right: &Expression, statement: &Statement) -> Option<String> {
    let [hole] = right.holes[..] else {
        return None;
    };
    if right.text != format!("${hole}") {
        return None;
    }
    let at = usize::from(hole).checked_sub(1)?;
    let first = statement.samples.first()?.get(at)?.as_ref()?;
    let same = |sample: &super::Sample| {
        sample
            .get(at)
            .and_then(Option::as_ref)
            .is_some_and(|value| value.sql == first.sql && value.literal && value.sql.starts_with('\''))
    };
    let agree = statement.samples.iter().all(same);
    let beside = statement.samples.iter().any(|sample| sample.iter().flatten().any(|value| !value.literal));
    (agree && (beside || statement.samples.len() >= AGREE)).then(|| first.sql.clone())
}

/// Types without an order, or whose order nobody looks for.
pub fn sortable(type_name: &str) -> bool {
    const NONE: [&str; 13] = [
        "json", "jsonb", "xml", "point", "line", "lseg", "box", "path", "polygon", "circle", "tsvector",
        "tsquery", "hstore",
    ];
    !type_name.ends_with("[]") && !NONE.contains(&type_name) && !type_name.contains("range")
}

/// An expression as the key of an index, in SQL.
///
/// # Errors
/// Why an index cannot have it, as a sentence.
pub fn expression(
    expression: &Expression,
    statement: &Statement,
    table: &Table,
    catalog: &Catalog,
) -> Result<String, String> {
    if expression.query {
        return Err("an expression that holds a query cannot be indexed".to_owned());
    }
    let mut text = expression.text.clone();
    for hole in expression.holes.iter().rev() {
        let at = usize::from(*hole).saturating_sub(1);
        let value = statement.samples.first().and_then(|sample| sample.get(at)).cloned().flatten();
        let Some(value) = value else {
            return Err(format!("the constant in {text} is not known without values of a call"));
        };
        text = replaced(&text, *hole, &value.sql);
    }
    let lower = text.to_lowercase();
    let zoned = expression.columns.iter().filter_map(|column| table.column(&column.name)).find(|column| {
        matches!(column.type_name.as_str(), "timestamp with time zone" | "time with time zone")
    });
    if let Some(column) = zoned
        && !lower.contains("at time zone")
    {
        return Err(format!(
            "{text} depends on the session's time zone and cannot be indexed; a range of {} can",
            quoted(&column.name)
        ));
    }
    let words = called(&lower);
    if words.iter().any(|name| calls::is_aggregate(name)) || lower.contains(" over ") {
        return Err(format!("{text} is known only when all rows are, so no index has it"));
    }
    // Stable in one of its forms only, which has just been ruled out.
    let mutable = words.iter().find(|name| {
        !matches!(name.as_str(), "date_trunc" | "extract" | "date_part" | "timezone")
            && catalog.volatility(&catalog.facts.search_path, None, name) != Some(Volatility::Immutable)
            && !SYNTAX.contains(&name.as_str())
    });
    if let Some(name) = mutable {
        return Err(format!("{name}() is not immutable, so {text} cannot be indexed"));
    }
    let (function, rest) = text.split_once('(').unwrap_or_default();
    let is_call = !function.is_empty()
        && function.chars().all(|char| char.is_alphanumeric() || char == '_')
        && closes_at_end(rest);
    Ok(if is_call { text } else { format!("({text})") })
}

/// Words before a bracket that call nothing volatile.
const SYNTAX: [&str; 10] =
    ["coalesce", "nullif", "greatest", "least", "cast", "numeric", "varchar", "char", "in", "trim"];

fn replaced(text: &str, hole: u16, sql: &str) -> String {
    let quoted = format!("'${hole}'");
    if text.contains(&quoted) {
        return text.replace(&quoted, sql);
    }
    // From the highest hole down, so that `$1` is not found in `$12`.
    text.replace(&format!("${hole}"), sql)
}

/// The bracket that opened before `rest` closes at its very end.
fn closes_at_end(rest: &str) -> bool {
    let mut depth = 1_i32;
    for (at, char) in rest.char_indices() {
        match char {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1 == rest.len();
        }
    }
    false
}

/// Names before an opening bracket.
fn called(text: &str) -> Vec<String> {
    let (mut found, mut word) = (Vec::new(), String::new());
    for char in text.chars() {
        match char {
            '(' if !word.is_empty() => found.push(std::mem::take(&mut word)),
            char if char.is_alphanumeric() || char == '_' => word.push(char),
            _ => word.clear(),
        }
    }
    found
}
