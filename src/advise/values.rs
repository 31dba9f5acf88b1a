//! Values of calls, and statements with values in their holes again, so that the planner sees what it would
//! see. Where no values are kept, they are taken from the statistics, from different places of the
//! distribution. Values never leave by way of a suggestion.

use std::collections::HashMap;

use super::look::Resolved;
use super::{ColumnValues, Question, Statement, Surroundings};
use crate::sql::plannable;
use crate::sql::scans::Operator;

/// A value as SQL writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    pub sql: String,
    /// It stands in the statement's text and is no parameter.
    pub literal: bool,
}

/// Values by the hole's number − 1; `None`: not known.
pub type Sample = Vec<Option<Value>>;

/// Samples of one shape that are planned. One may be an exception; more than this say little more.
pub const SAMPLES_MAX: usize = 3;

impl Value {
    /// Of a parameter in text form; `None` is NULL.
    pub fn parameter(text: Option<&str>) -> Value {
        Value { sql: text.map_or_else(|| "NULL".to_owned(), quoted), literal: false }
    }
}

/// A string as SQL writes it, whatever is in it.
pub fn quoted(text: &str) -> String {
    match text.contains('\\') {
        true => format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
        false => format!("'{}'", text.replace('\'', "''")),
    }
}

/// The statement's texts to be planned.
///
/// # Errors
/// Why it has no plan, as a clause.
pub fn questions(
    statement: &Statement,
    resolved: &Resolved<'_>,
    surroundings: &Surroundings,
) -> Result<Vec<Question>, &'static str> {
    if !statement.whole.is_empty() {
        let whole = statement.whole.iter().take(SAMPLES_MAX);
        return Ok(whole.map(|text| Question { text: text.clone(), generic: false }).collect());
    }
    let text = plannable::of(&statement.text)?;
    let mut samples: Vec<Sample> = statement.samples.iter().take(SAMPLES_MAX).cloned().collect();
    let known = samples.first().is_some_and(|sample| sample.iter().all(Option::is_some));
    if !known {
        samples = (0..SAMPLES_MAX).map(|place| typical(statement, resolved, surroundings, place)).collect();
    }
    let mut questions: Vec<Question> = samples.iter().map(|sample| filled(&text, sample)).collect();
    questions.dedup();
    if questions.is_empty() {
        questions.push(filled(&text, &Vec::new()));
    }
    Ok(questions)
}

/// The text with values in place of `$n`.
pub fn filled(text: &str, sample: &Sample) -> Question {
    let (mut out, mut generic, mut rest) = (String::with_capacity(text.len() + 64), false, text);
    while let Some(at) = rest.find(['$', '\'', '"']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let mark = &from[..1];
        if mark != "$" {
            let end = from[1..].find(mark).map_or(from.len(), |end| end + 2);
            out.push_str(&from[..end]);
            rest = &from[end..];
            continue;
        }
        let digits = from[1..].bytes().take_while(u8::is_ascii_digit).count();
        let number = from[1..=digits].parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        match number.and_then(|at| sample.get(at)).and_then(Option::as_ref) {
            Some(value) if value.sql.starts_with('-') => out.push_str(&format!("({})", value.sql)),
            Some(value) => out.push_str(&value.sql),
            None => {
                generic |= digits > 0;
                out.push_str(&from[..=digits]);
            }
        }
        rest = &from[digits + 1..];
    }
    out.push_str(rest);
    Question { text: out, generic }
}

/// Values that calls may have, by the statistics: `place` says from where in the distribution.
fn typical(
    statement: &Statement,
    resolved: &Resolved<'_>,
    surroundings: &Surroundings,
    place: usize,
) -> Sample {
    let mut sample = statement.samples.first().cloned().unwrap_or_default();
    let mut put = |hole: u16, sql: Option<String>| {
        let at = usize::from(hole).saturating_sub(1);
        if sample.len() <= at {
            sample.resize(at + 1, None);
        }
        if sample[at].is_none() {
            sample[at] = sql.map(|sql| Value { sql, literal: false });
        }
    };
    for query in &statement.scans.queries {
        query.limit.iter().for_each(|&hole| put(hole, Some("20".to_owned())));
        query.offset.iter().for_each(|&hole| put(hole, Some("0".to_owned())));
    }
    // What a column is compared with from below and from above belongs together.
    let mut sides: HashMap<_, (bool, bool)> = HashMap::new();
    for (column, term) in resolved.columns() {
        let (below, above) = sides.entry(column).or_default();
        *below |= matches!(term.operator, Operator::Greater | Operator::Between);
        *above |= matches!(term.operator, Operator::Less | Operator::Between);
    }
    for (column, term) in resolved.columns() {
        let Some(right) = &term.right else {
            continue;
        };
        let both = sides.get(&column).is_some_and(|(below, above)| *below && *above);
        let mut value = |expression: &crate::sql::scans::Expression, operator: &Operator| {
            let [hole] = expression.holes[..] else {
                return;
            };
            if expression.text.to_lowercase().contains("interval") {
                return put(hole, Some("'7 days'".to_owned()));
            }
            let direct = expression.text.starts_with('$') || expression.text.contains(&format!("'${hole}'"));
            let known = surroundings.values.get(&column).filter(|_| direct);
            put(hole, known.and_then(|known| pick(known, operator, both, place)).map(|text| quoted(&text)));
        };
        match term.operator {
            Operator::Between => {
                value(right, &Operator::Greater);
                term.more.iter().for_each(|high| value(high, &Operator::Less));
            }
            ref operator => value(right, operator),
        }
    }
    sample
}

/// Places in a histogram, for the three samples.
const LOOKUP: [f64; 3] = [0.5, 0.25, 0.85];
const FROM: [f64; 3] = [0.9, 0.98, 0.75];
const WINDOW: [f64; 3] = [0.5, 0.9, 0.2];
const WINDOW_WIDTH: f64 = 0.03;

fn pick(known: &ColumnValues, operator: &Operator, both: bool, place: usize) -> Option<String> {
    let bound = |part: f64| {
        let last = known.bounds.len().checked_sub(1)?;
        known.bounds.get(((part * last as f64).round() as usize).min(last)).cloned()
    };
    let common = |at: usize| known.common.get(at).map(|(value, _)| value.clone());
    let place = place.min(LOOKUP.len() - 1);
    match operator {
        Operator::Equal | Operator::In | Operator::ArrayHolds => match place {
            0 => common(0).or_else(|| bound(LOOKUP[0])),
            _ => bound(LOOKUP[place]).or_else(|| common(place.min(known.common.len().saturating_sub(1)))),
        },
        Operator::Greater => bound(if both { WINDOW[place] } else { FROM[place] }).or_else(|| common(0)),
        Operator::Less if both => bound(WINDOW[place] + WINDOW_WIDTH).or_else(|| common(0)),
        Operator::Less => bound(1.0 - FROM[place]).or_else(|| common(0)),
        _ => None,
    }
}
