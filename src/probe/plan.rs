//! What can be seen in the text of a plan: whether it calls anything volatile; and how a large one is cut.
//! Knows no connection.

use serde_json::Value;

use super::ProbeError;
use crate::catalog::{Catalog, Volatility};

/// Bytes of a plan that is kept or shown.
pub const PLAN_MAX: usize = 64 * 1024;

/// How many parts of one node are kept when a plan is too large, one bound after the other.
const PARTS: [usize; 4] = [32, 8, 2, 1];

/// The plan as compact JSON within the bound. Of a node with many parts, such as partitions, the first stay,
/// and the node says how many are missing.
pub(super) fn bounded(text: &str) -> Result<String, ProbeError> {
    let unread = |error: serde_json::Error| ProbeError::Unfit(format!("the plan is no JSON: {error}"));
    let mut plan: Value = serde_json::from_str(text).map_err(unread)?;
    let mut compact = plan.to_string();
    for parts in PARTS {
        if compact.len() <= PLAN_MAX {
            break;
        }
        cut(&mut plan, parts);
        compact = plan.to_string();
    }
    match compact.len() {
        0..=PLAN_MAX => Ok(compact),
        _ => Err(ProbeError::Unfit(format!("the plan is larger than {PLAN_MAX} bytes"))),
    }
}

/// serde_json reads to a depth of 128, so that this ends.
fn cut(value: &mut Value, parts: usize) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| cut(value, parts)),
        Value::Object(node) => {
            let mut missing = 0;
            if let Some(Value::Array(plans)) = node.get_mut("Plans") {
                missing = plans.len().saturating_sub(parts);
                plans.truncate(parts);
            }
            if missing > 0 {
                let before = node.get("Plans Omitted").and_then(Value::as_u64).unwrap_or_default();
                node.insert("Plans Omitted".to_owned(), (before + missing as u64).into());
            }
            node.values_mut().for_each(|value| cut(value, parts));
        }
        _ => {}
    }
}

/// Words that are followed by a parenthesis and call no function.
const NO_CALLS: [&str; 32] = [
    "ALL", "AND", "ANY", "ARRAY", "AS", "BETWEEN", "BY", "CASE", "CAST", "COALESCE", "DISTINCT", "ELSE",
    "EXISTS", "FILTER", "FROM", "GREATEST", "GROUP", "IN", "KEY", "LEAST", "NOT", "NULLIF", "ON", "OR",
    "OVER", "ROW", "SOME", "THEN", "VALUES", "WHEN", "WHERE", "WITHIN",
];

/// Types that are written with a length.
const SIZED_TYPES: [&str; 10] =
    ["bit", "bpchar", "char", "character", "interval", "numeric", "time", "timestamp", "varchar", "varying"];

/// The first function in a verbose plan that is volatile or not known. Any doubt counts as one. Operators are
/// not looked through: that of a user's own whose function is volatile goes unseen.
pub(super) fn volatile_function(plan: &str, path: &[String], catalog: &Catalog) -> Option<String> {
    let Ok(plan) = serde_json::from_str::<Value>(plan) else {
        return Some("something that cannot be read".to_owned());
    };
    // A function that is not in the path of names is written with its schema.
    let path: Vec<&str> = path.iter().chain(&catalog.facts.search_path).map(String::as_str).collect();
    in_value(&plan, &path, catalog)
}

fn in_value(value: &Value, path: &[&str], catalog: &Catalog) -> Option<String> {
    match value {
        Value::String(text) => calls(text).into_iter().find(|call| !is_calm(call, path, catalog)),
        Value::Array(values) => values.iter().find_map(|value| in_value(value, path, catalog)),
        Value::Object(node) => {
            let kind = node.get("Node Type").and_then(Value::as_str).unwrap_or_default();
            // Rows are locked or changed, or come from somewhere else.
            if matches!(kind, "LockRows" | "ModifyTable" | "Foreign Scan") {
                return Some(format!("a {kind} node"));
            }
            node.values().find_map(|value| in_value(value, path, catalog))
        }
        _ => None,
    }
}

fn is_calm(call: &str, path: &[&str], catalog: &Catalog) -> bool {
    let (schema, name) = match call.rsplit_once('.') {
        Some((schema, name)) => (Some(schema), name),
        None => (None, call),
    };
    let known = match schema {
        Some(schema) => catalog.volatility::<&str>(&[], Some(schema), name),
        None => catalog.volatility(path, None, name),
    };
    match known {
        Some(volatility) => volatility < Volatility::Volatile,
        None => schema.is_none() && (NO_CALLS.contains(&name) || SIZED_TYPES.contains(&name)),
    }
}

/// The names in an expression that stand before a parenthesis, unquoted: `schema.name` or `name`. What is
/// within single quotes is no name.
fn calls(text: &str) -> Vec<String> {
    let (mut found, mut name, mut chars) = (Vec::new(), String::new(), text.chars().peekable());
    while let Some(char) = chars.next() {
        match char {
            '\'' => {
                name.clear();
                // A doubled quote opens and closes once more, which comes to the same.
                chars.by_ref().find(|&char| char == '\'');
            }
            '"' => name.extend(chars.by_ref().take_while(|&char| char != '"')),
            '(' => {
                let call = std::mem::take(&mut name);
                if !call.trim().is_empty() {
                    found.push(call.trim().to_owned());
                }
            }
            // `IN (` and `foo (` are calls to be looked at, `x (` too; `a b(` is one of b.
            ' ' => {
                if chars.peek() != Some(&'(') {
                    name.clear();
                }
            }
            char if char.is_alphanumeric() || matches!(char, '_' | '.' | '$') => name.push(char),
            _ => name.clear(),
        }
    }
    found
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
