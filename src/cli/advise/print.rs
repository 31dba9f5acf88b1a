//! Advice as people read it.

use std::fmt::Write;

use serde_json::Value;

use crate::observe::story::readable;

/// Characters of a statement in a line.
const STATEMENT: usize = 90;

/// Shapes shown with each suggestion.
const SHAPES: usize = 5;

/// The whole answer. Writing to a String cannot fail.
pub(super) fn text(answer: &Value, notes: bool) -> String {
    let mut out = String::new();
    let suggestions = list(answer, "suggestions");
    for database in list(answer, "databases") {
        if let Some(error) = database["error"].as_str() {
            let _ = writeln!(out, "{}: no advice: {error}\n", word(database, "database"));
        }
    }
    for (at, suggestion) in suggestions.iter().enumerate() {
        one(&mut out, at + 1, suggestion);
    }
    if suggestions.is_empty() {
        out.push_str("No index is advised for what was observed; --notes says why.\n\n");
    }
    doubtful(&mut out, &list(answer, "existing"));
    if notes {
        out.push_str("Statements without a suggestion of their own\n");
        for note in list(answer, "notes") {
            let _ =
                writeln!(out, "  {}  {}: {}", word(note, "shape"), word(note, "table"), word(note, "reason"));
        }
        out.push('\n');
    }
    for hint in list(answer, "hints") {
        let _ = writeln!(out, "Note: {}", hint.as_str().unwrap_or_default());
    }
    for database in list(answer, "databases").into_iter().filter(|database| database["error"].is_null()) {
        let number = |key: &str| database[key].as_f64().unwrap_or_default();
        let (before, after) = (number("before_ms"), number("after_ms"));
        let less = if before > 0.0 { 100.0 * (before - after) / before } else { 0.0 };
        let _ = writeln!(
            out,
            "{}: {} shapes; with all suggestions ({}) their time is {less:.0} % less. {} questions to the planner, {} ms.",
            word(database, "database"),
            number("shapes"),
            bytes(number("size_bytes")),
            number("questions"),
            readable(number("took_ms")),
        );
    }
    out
}

fn one(out: &mut String, number: usize, suggestion: &Value) {
    let of = |key: &str| suggestion[key].as_f64().unwrap_or_default();
    let _ = writeln!(
        out,
        "{number}. {}  saves {} ms ({:.0} % of what it helps), {}, confidence {}",
        word(suggestion, "id"),
        readable(of("gain_ms")),
        of("gain_percent"),
        bytes(of("size_bytes")),
        word(suggestion, "confidence"),
    );
    let _ = writeln!(out, "   {};", word(suggestion, "ddl"));
    for then in list(suggestion, "then") {
        let _ = writeln!(out, "   -- then: {};", then.as_str().unwrap_or_default());
    }
    for why in list(suggestion, "why") {
        let _ = writeln!(out, "   {}", why.as_str().unwrap_or_default());
    }
    if of("writes") > 0.0 {
        let _ = writeln!(
            out,
            "   It costs those who write about {} ms for {:.0} entries in the same time.",
            readable(of("write_ms")),
            of("writes")
        );
    }
    for alternative in list(suggestion, "alternatives") {
        let _ = writeln!(
            out,
            "   Instead of {}: {} ms alone, {}.",
            word(alternative, "definition"),
            readable(alternative["gain_ms"].as_f64().unwrap_or_default()),
            bytes(alternative["size_bytes"].as_f64().unwrap_or_default()),
        );
    }
    for shape in list(suggestion, "shapes").into_iter().take(SHAPES) {
        let number = |key: &str| shape[key].as_f64().unwrap_or_default();
        let _ = writeln!(
            out,
            "     {}  {:.0} calls, mean {} ms, −{:.0} %: {} → {} (cost {} → {})",
            word(shape, "shape"),
            number("calls"),
            readable(number("mean_ms")),
            number("gain_percent"),
            word(shape, "plan_before"),
            word(shape, "plan_after"),
            readable(number("cost_before")),
            readable(number("cost_after")),
        );
        let _ = writeln!(out, "       {}", cut(word(shape, "statement")));
    }
    out.push('\n');
}

/// Existing indexes that something is wrong with.
fn doubtful(out: &mut String, existing: &[&Value]) {
    let doubtful: Vec<&&Value> = existing.iter().filter(|index| word(index, "verdict") != "fine").collect();
    if doubtful.is_empty() {
        return;
    }
    out.push_str("Indexes that exist\n");
    for index in doubtful {
        let _ = writeln!(
            out,
            "  {} {} on {} ({}): {}",
            word(index, "verdict"),
            word(index, "name"),
            word(index, "table"),
            bytes(index["bytes"].as_f64().unwrap_or_default()),
            word(index, "reason"),
        );
        let _ = writeln!(out, "    {};", word(index, "ddl"));
    }
    out.push('\n');
}

fn list<'a>(value: &'a Value, key: &str) -> Vec<&'a Value> {
    value[key].as_array().into_iter().flatten().collect()
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(STATEMENT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn bytes(bytes: f64) -> String {
    match bytes / 1024.0 / 1024.0 {
        mib if mib >= 1024.0 => format!("{:.1} GiB", mib / 1024.0),
        mib if mib >= 10.0 => format!("{mib:.0} MiB"),
        mib => format!("{mib:.1} MiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_readable() {
        let suggestion = serde_json::json!({"id": "ix-1", "ddl": "CREATE INDEX CONCURRENTLY a ON t (b)", "gain_ms": 1234.5,
            "gain_percent": 98.0, "size_bytes": 2_097_152, "confidence": "high", "why": ["Its columns are looked up."],
            "shapes": [{"shape": "00ff", "calls": 7, "plan_before": "Seq Scan", "plan_after": "Index Scan"}]});
        let existing =
            serde_json::json!({"verdict": "duplicate", "name": "x", "table": "public.t", "reason": "twin"});
        let answer =
            serde_json::json!({"suggestions": [suggestion], "existing": [existing], "hints": ["install it"]});
        let text = text(&answer, false);
        for part in [
            "1. ix-1  saves 1234 ms (98 %",
            "2.0 MiB",
            "CREATE INDEX",
            "Seq Scan → Index Scan",
            "duplicate x on",
            "Note: install it",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
