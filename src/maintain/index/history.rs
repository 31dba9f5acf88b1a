//! What was done to indexes on command, and whether it kept what it promised: measured times of the shapes that it
//! was to help, before and after. Knows no connection.

use serde::Serialize;

use crate::advise::Suggestion;

/// Calls after which a shape's new mean is believed.
const CALLS_MIN: u64 = 30;

/// Of the promised gain, what has to come.
const KEPT: f64 = 0.5;

/// What is slower by more than this, and by this many milliseconds, is slower.
const SLOWER: f64 = 1.2;
const SLOWER_MS: f64 = 1.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Waiting,
    Building,
    Failed,
    /// Built; there are not enough calls yet.
    Verifying,
    Proved,
    /// The promised gain did not come, or something got slower: it is proposed for removal.
    Disappointing,
    Removed,
}

/// One index that was asked for.
#[derive(Debug, Clone, Serialize)]
pub struct Act {
    pub id: String,
    pub database: String,
    pub table: String,
    pub name: String,
    /// As executed.
    pub ddl: String,
    pub state: State,
    /// How far it is, what went wrong, or what came of it.
    pub message: String,
    /// Unix time.
    pub asked_s: u64,
    pub ended_s: u64,
    pub promised_percent: f64,
    pub shapes: Vec<Shape>,
}

/// A shape that it was to help.
#[derive(Debug, Clone, Serialize)]
pub struct Shape {
    pub shape: String,
    pub before_ms: f64,
    /// None until there were calls.
    pub after_ms: Option<f64>,
    pub calls_after: u64,
    #[serde(skip)]
    calls: u64,
    #[serde(skip)]
    total_ms: f64,
}

impl Act {
    /// `totals`: calls and milliseconds of a shape so far.
    pub fn new(suggestion: &Suggestion, asked_s: u64, totals: impl Fn(&str) -> (u64, f64)) -> Act {
        let shape = |helped: &crate::advise::suggestion::Helped| {
            let (calls, total_ms) = totals(&helped.shape);
            let before_ms = total_ms / calls.max(1) as f64;
            Shape { shape: helped.shape.clone(), before_ms, after_ms: None, calls_after: 0, calls, total_ms }
        };
        Act {
            id: suggestion.id.clone(),
            database: suggestion.database.clone(),
            table: suggestion.table.clone(),
            name: suggestion.name.clone(),
            ddl: suggestion.ddl.clone(),
            state: State::Waiting,
            message: String::new(),
            asked_s,
            ended_s: 0,
            promised_percent: suggestion.gain_percent,
            shapes: suggestion.shapes.iter().map(shape).collect(),
        }
    }

    /// It is built: what is counted from now on is after it.
    pub fn built(&mut self, now_s: u64, totals: impl Fn(&str) -> (u64, f64)) {
        (self.state, self.ended_s) = (State::Verifying, now_s);
        for shape in &mut self.shapes {
            let (calls, total_ms) = totals(&shape.shape);
            if calls > 0 {
                shape.before_ms = total_ms / calls as f64;
            }
            (shape.calls, shape.total_ms) = (calls, total_ms);
        }
        self.message = format!("waiting for {CALLS_MIN} calls of each shape");
    }

    /// Looks at what the shapes came to since.
    pub fn verify(&mut self, totals: impl Fn(&str) -> (u64, f64)) {
        if !matches!(self.state, State::Verifying | State::Proved | State::Disappointing) {
            return;
        }
        for shape in &mut self.shapes {
            let (calls, total_ms) = totals(&shape.shape);
            shape.calls_after = calls.saturating_sub(shape.calls);
            let spent = (total_ms - shape.total_ms).max(0.0);
            shape.after_ms = (shape.calls_after > 0).then(|| spent / shape.calls_after as f64);
        }
        let known: Vec<(f64, f64)> = self
            .shapes
            .iter()
            .filter(|shape| shape.calls_after >= CALLS_MIN)
            .filter_map(|shape| Some((shape.before_ms, shape.after_ms?)))
            .collect();
        if known.is_empty() {
            return;
        }
        let (before, after) = known.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let gain = 100.0 * (before - after) / f64::max(before, 1e-9);
        let slower = known.iter().any(|(before, after)| *after > before * SLOWER + SLOWER_MS);
        let kept = gain >= self.promised_percent * KEPT && !slower;
        self.state = if kept { State::Proved } else { State::Disappointing };
        self.message = format!(
            "measured: {before:.3} ms → {after:.3} ms in the mean ({gain:.0} % less, {:.0} % promised){}",
            self.promised_percent,
            if kept { "" } else { "; proposed for removal: pgweir indexes drop" },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suggestion() -> Suggestion {
        let helped = serde_json::json!({"shape": "01", "statement": "", "calls": 10, "mean_ms": 10.0, "gain_percent": 90.0,
            "cost_before": 1.0, "cost_after": 1.0, "plan_before": "", "plan_after": ""});
        let value = serde_json::json!({"id": "ix-1", "table": "public.t", "name": "i", "definition": "(a)", "ddl": "x",
            "then": [], "size_bytes": 1, "build_s": 0.1, "gain_percent": 90.0, "gain_ms": 1.0, "confidence": "high",
            "judged_by": "planner", "writes": 0, "write_ms": 0.0, "why": [], "alternatives": [], "shapes": [helped]});
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_promise_is_kept_or_not() {
        let mut act = Act::new(&suggestion(), 1, |_| (10, 100.0));
        act.built(2, |_| (20, 200.0));
        act.verify(|_| (25, 201.0));
        assert_eq!(act.state, State::Verifying, "five calls say little");
        act.verify(|_| (60, 220.0));
        assert_eq!(act.state, State::Proved, "{act:?}");
        act.verify(|_| (60, 580.0));
        assert_eq!(act.state, State::Disappointing, "{act:?}");
        assert!(act.message.contains("90 % promised"), "{}", act.message);
    }
}
