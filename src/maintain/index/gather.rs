//! Shapes and what they came to, made ready for advice: parsed on a thread that has the stack for it, samples
//! put to their holes. Knows no file and no connection.

use std::collections::HashMap;

use crate::advise::{Sample, Statement, Value};
use crate::observe::ledger::Row;
use crate::sql::guard;
use crate::sql::scans::{self, Scans};
use crate::sql::shape::{HoleKind, Shaper};

/// Shapes of one run: those that took the most time.
pub const SHAPES_MAX: usize = 1_000;

/// Samples kept of one shape; a few of them are planned, and all of them say whether a value is always the same.
const SAMPLES_KEPT: usize = 8;

/// A shape before it is parsed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shape {
    pub fingerprint: u64,
    /// Without its values.
    pub text: String,
    pub calls: u64,
    pub rows: u64,
    pub total_ms: f64,
    pub samples: Vec<Sample>,
    pub whole: Vec<String>,
}

/// Parses shapes, the most expensive first. Those that cannot be parsed are left out.
pub fn statements(mut shapes: Vec<Shape>) -> Vec<Statement> {
    shapes.sort_by(|one, other| other.total_ms.total_cmp(&one.total_ms).then(other.calls.cmp(&one.calls)));
    shapes.truncate(SHAPES_MAX);
    let texts: Vec<String> = shapes.iter().map(|shape| shape.text.clone()).collect();
    let parse = move || texts.iter().map(|text| scans::read(text).ok()).collect::<Vec<Option<Scans>>>();
    let thread = std::thread::Builder::new().name("parser".to_owned()).stack_size(guard::STACK).spawn(parse);
    let parsed = thread.map(std::thread::JoinHandle::join);
    let Ok(Ok(parsed)) = parsed else {
        return Vec::new();
    };
    let one = |(shape, scans): (Shape, Option<Scans>)| {
        Some(Statement {
            fingerprint: shape.fingerprint,
            text: shape.text,
            scans: scans?,
            calls: shape.calls,
            rows: shape.rows,
            total_ms: shape.total_ms,
            samples: shape.samples,
            whole: shape.whole,
        })
    };
    shapes.into_iter().zip(parsed).filter_map(one).collect()
}

/// Shapes of a ledger that one user ran in one database.
pub fn from_ledger(rows: &[Row]) -> Vec<Shape> {
    let one = |row: &Row| Shape {
        fingerprint: row.key.fingerprint,
        text: row.text.to_string(),
        calls: row.totals.calls,
        rows: row.totals.rows,
        total_ms: row.totals.server_us as f64 / 1000.0,
        samples: row.sample.as_deref().and_then(|text| described(text, &row.text)).into_iter().collect(),
        whole: Vec::new(),
    };
    rows.iter().map(one).collect()
}

/// Adds what the same shape came to elsewhere.
pub fn merge(shapes: Vec<Shape>) -> Vec<Shape> {
    let mut merged: HashMap<u64, Shape> = HashMap::new();
    for shape in shapes {
        let known = merged.entry(shape.fingerprint).or_insert_with(|| Shape {
            fingerprint: shape.fingerprint,
            text: shape.text.clone(),
            ..Shape::default()
        });
        known.calls += shape.calls;
        known.rows += shape.rows;
        known.total_ms += shape.total_ms;
        known.samples.extend(shape.samples);
        known.samples.truncate(SAMPLES_KEPT);
        known.whole.extend(shape.whole);
        known.whole.truncate(SAMPLES_KEPT);
    }
    let mut all: Vec<Shape> = merged.into_values().collect();
    all.sort_by_key(|shape| shape.fingerprint);
    all
}

/// Shapes of a text with values: each statement is one call. `parameters`: what `$1` and so on stand for, in text
/// form; without them the values of none are known.
pub fn from_sql(text: &str, parameters: &[Option<&str>]) -> Vec<Shape> {
    let mut shapes = Vec::new();
    let bytes = text.as_bytes();
    Shaper::default().shapes(bytes, true, |shape| {
        let canonical = String::from_utf8_lossy(shape.canonical).into_owned();
        if canonical.trim().is_empty() {
            return;
        }
        let mut sample: Sample = Vec::new();
        for hole in shape.holes {
            let at = usize::from(hole.number).saturating_sub(1);
            if sample.len() <= at {
                sample.resize(at + 1, None);
            }
            let own = bytes.get(hole.start as usize..hole.end as usize).unwrap_or_default();
            match hole.kind {
                HoleKind::Parameter(number) => {
                    let given = usize::from(number).checked_sub(1).and_then(|at| parameters.get(at));
                    sample[at] = given.map(|text| Value::parameter(*text));
                }
                _ if sample[at].is_none() => {
                    sample[at] =
                        Some(Value { sql: String::from_utf8_lossy(own).into_owned(), literal: true });
                }
                _ => {}
            }
        }
        let samples = if sample.iter().any(Option::is_some) { vec![sample] } else { Vec::new() };
        shapes.push(Shape {
            fingerprint: shape.fingerprint,
            text: canonical,
            calls: 1,
            rows: 0,
            total_ms: 0.0,
            samples,
            whole: Vec::new(),
        });
    });
    shapes
}

/// Values as the ledger keeps them for people: `'5', NULL, 'it''s'`, literals with quotes of their own.
pub fn described(text: &str, canonical: &str) -> Option<Sample> {
    let (mut values, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (value, behind) = match rest.strip_prefix("NULL") {
            Some(behind) => (None, behind),
            None => {
                let inner = rest.strip_prefix('\'')?;
                let end = closing(inner)?;
                (Some(inner[..end].replace("''", "'")), &inner[end + 1..])
            }
        };
        values.push(value);
        rest = behind.strip_prefix(", ").unwrap_or(behind);
        if rest == behind && !rest.is_empty() {
            return None;
        }
    }
    sample(&values, canonical)
}

/// Where the quote is that ends a string.
fn closing(inner: &str) -> Option<usize> {
    let bytes = inner.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'\'', Some(b'\'')) => at += 2,
            (b'\'', _) => return Some(at),
            _ => at += 1,
        }
    }
    None
}

/// Values in the order in which they are kept, put to the holes of a shape; none where that is in doubt.
pub(super) fn sample(values: &[Option<String>], canonical: &str) -> Option<Sample> {
    let whole = |value: &Option<String>| {
        value.as_ref().is_none_or(|text| !text.ends_with('…') && !text.starts_with("\\x"))
    };
    if values.len() != holes(canonical) || !values.iter().all(whole) {
        return None;
    }
    let quoted = |value: &Option<String>| {
        value.as_ref().is_some_and(|text| text.len() > 1 && text.starts_with('\'') && text.ends_with('\''))
    };
    let literals = values.iter().filter(|value| quoted(value)).count();
    let written = |value: &Option<String>| {
        quoted(value) || value.as_ref().is_some_and(|text| text.parse::<f64>().is_ok()) || value.is_none()
    };
    // Literals are kept before parameters, whatever their order in the text: with both, nobody knows which is
    // which.
    if literals > 0 && !values.iter().all(written) {
        return None;
    }
    let value = |value: &Option<String>| match value {
        Some(text) if literals > 0 => Value { sql: text.clone(), literal: true },
        other => Value::parameter(other.as_deref()),
    };
    Some(values.iter().map(|one| Some(value(one))).collect())
}

/// The highest number of a hole.
fn holes(canonical: &str) -> usize {
    let mut highest = 0;
    for part in canonical.split('$').skip(1) {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        highest = highest.max(digits.parse().unwrap_or(0));
    }
    highest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_the_ledger_find_their_holes() {
        let found = described("'5', NULL, 'it''s'", "select $1, $2, $3").expect("all are there");
        let sql: Vec<String> = found.into_iter().flatten().map(|value| value.sql).collect();
        assert_eq!(sql, ["'5'", "NULL", "'it''s'"]);
        let literals = described("'''open''', '5'", "select $1 limit $2").expect("all are there");
        assert_eq!(literals[0], Some(Value { sql: "'open'".to_owned(), literal: true }));
        assert_eq!(described("'''open''', 'x'", "select $1 limit $2"), None, "literals and parameters");
        assert_eq!(described("'5'", "select $1, $2"), None);
        assert_eq!(described("'5…'", "select $1"), None);
    }

    #[test]
    fn a_text_gives_shapes_with_their_literals() {
        let shapes = merge(from_sql(
            "select a from t where b = 'x' limit 3; select a from t where b = 'y' limit 4",
            &[],
        ));
        assert_eq!(shapes.len(), 1);
        assert_eq!((shapes[0].calls, shapes[0].samples.len()), (2, 2));
        let statements = statements(shapes);
        assert_eq!(statements[0].scans.queries[0].limit, [2]);
    }
}
