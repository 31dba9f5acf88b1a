//! Collects samples and shows them: a block per scenario while running, JSON with every round, and
//! the compact table of the README. Must not know how anything was measured.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::metric::{Metric, Sample, Unit, median};
use crate::scenario::Scenario;

/// The results of one scenario.
pub struct Outcome {
    pub scenario: Scenario,
    /// By target, in order of print: subject, peer, direct.
    pub columns: Vec<Column>,
    pub notes: Vec<String>,
}

pub struct Column {
    pub label: String,
    pub role: Role,
    pub samples: Vec<Sample>,
    /// Why there are fewer samples than rounds.
    pub failure: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Subject,
    Peer,
    Direct,
}

impl Column {
    fn figures(&self, metric: Metric) -> Vec<f64> {
        self.samples.iter().filter_map(|s| s.get(metric)).collect()
    }

    fn median(&self, metric: Metric) -> Option<f64> {
        median(&mut self.figures(metric))
    }
}

impl Outcome {
    fn column(&self, role: Role) -> Option<&Column> {
        self.columns.iter().find(|column| column.role == role)
    }

    fn median(&self, role: Role, metric: Metric) -> Option<f64> {
        self.column(role)?.median(metric)
    }

    fn ratio(&self, metric: Metric) -> Option<f64> {
        let peer = self.median(Role::Peer, metric).filter(|peer| *peer > 0.0);
        Some(self.median(Role::Subject, metric)? / peer?)
    }

    fn metrics(&self) -> Vec<Metric> {
        let samples = self.columns.iter().flat_map(|column| &column.samples);
        let mut metrics: Vec<_> = samples.flat_map(|s| s.0.iter().map(|(m, _)| *m)).collect();
        metrics.sort_unstable();
        metrics.dedup();
        metrics
    }

    /// `None` when there is no goal or nothing to judge by.
    fn kept(&self, metric: Metric) -> Option<bool> {
        let subject = self.median(Role::Subject, metric)?;
        let peer = self.median(Role::Peer, metric);
        self.scenario.goal(metric)?.kept(subject, peer)
    }

    /// How many goals are kept, and how many were judged.
    pub fn goals(&self) -> (usize, usize) {
        let judged: Vec<_> = self.metrics().into_iter().filter_map(|m| self.kept(m)).collect();
        (judged.iter().filter(|kept| **kept).count(), judged.len())
    }

    /// The block that is printed when the scenario is done. Medians, with the range of the rounds.
    pub fn block(&self) -> String {
        let mut text = format!("\n{:<32}", self.scenario.name);
        for column in &self.columns {
            text += &format!("{:>26}", column.label);
        }
        text += "     ratio  goal\n";
        for metric in self.metrics() {
            text += &format!("  {:<30}", metric.title(self.scenario.unit()));
            for column in &self.columns {
                text += &format!("{:>26}", with_range(column.figures(metric)));
            }
            let ratio = self.ratio(metric).map_or("-".into(), |ratio| format!("{ratio:.2}"));
            text += &format!("{ratio:>10}");
            if let Some(goal) = self.scenario.goal(metric) {
                let verdict = match self.kept(metric) {
                    Some(true) => "kept",
                    Some(false) => "MISSED",
                    None => "not judged",
                };
                text += &format!("  {} {verdict}", goal.text());
            }
            text.push('\n');
        }
        for column in &self.columns {
            if let Some(failure) = &column.failure {
                text += &format!("  {} FAILED: {failure}\n", column.label);
            }
        }
        for note in &self.notes {
            text += &format!("  note: {note}\n");
        }
        text
    }

    fn json(&self) -> Value {
        let columns = self.columns.iter().map(|column| {
            let metrics = self.metrics().into_iter().map(|metric| {
                let figures = column.figures(metric);
                (metric.key(), json!({"median": column.median(metric), "rounds": figures}))
            });
            let metrics: BTreeMap<_, _> = metrics.collect();
            let value = json!({"metrics": metrics, "failure": column.failure});
            (column.label.clone(), value)
        });
        let ratios = self.metrics().into_iter().map(|m| (m.key(), self.ratio(m)));
        json!({
            "scenario": self.scenario.name,
            "targets": columns.collect::<serde_json::Map<_, _>>(),
            "ratios": ratios.collect::<BTreeMap<_, _>>(),
            "notes": self.notes,
        })
    }
}

/// Everything, for machines.
pub fn json(environment: &BTreeMap<&'static str, String>, outcomes: &[Outcome]) -> Value {
    let scenarios: Vec<_> = outcomes.iter().map(Outcome::json).collect();
    json!({"environment": environment, "scenarios": scenarios})
}

/// The tables of the README: one per kind of scenario, cells are "subject / peer (ratio)".
pub fn markdown(environment: &BTreeMap<&'static str, String>, outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for unit in [Unit::Query, Unit::Login, Unit::Bytes, Unit::Nothing] {
        let rows: Vec<_> = outcomes.iter().filter(|o| o.scenario.unit() == unit).collect();
        let shown =
            |metric: &Metric| !matches!(metric, Metric::ServerCpu | Metric::LoadCpu | Metric::Proportional);
        let mut metrics: Vec<_> = rows.iter().flat_map(|o| o.metrics()).filter(shown).collect();
        metrics.sort_unstable();
        metrics.dedup();
        if metrics.is_empty() {
            continue;
        }
        let titles: Vec<_> = metrics.iter().map(|m| m.title(unit)).collect();
        let has_direct = rows.iter().any(|o| o.column(Role::Direct).is_some());
        let direct = if has_direct { " direct |" } else { "" };
        text += &format!("| scenario | {} |{direct}\n", titles.join(" | "));
        text += &format!("|---|{}\n", "---:|".repeat(titles.len() + usize::from(has_direct)));
        for outcome in rows {
            let cells: Vec<_> = metrics.iter().map(|m| outcome.cell(*m)).collect();
            text += &format!("| {} | {} |", outcome.scenario.name, cells.join(" | "));
            if has_direct {
                let rate = outcome.median(Role::Direct, Metric::Rate);
                text += &format!(" {} |", rate.map_or("–".into(), number));
            }
            text.push('\n');
        }
        text.push('\n');
    }
    let mut notes: Vec<_> = outcomes.iter().flat_map(|o| o.notes.clone()).collect();
    notes.dedup();
    notes.iter().for_each(|note| text += &format!("{note}.\n"));
    let facts: Vec<_> = environment.iter().map(|(name, value)| format!("{name} {value}")).collect();
    text + &format!("Measured with {}.\n", facts.join("; "))
}

impl Outcome {
    fn cell(&self, metric: Metric) -> String {
        let show = |role| self.median(role, metric).map_or("–".into(), number);
        match (self.column(Role::Subject), self.column(Role::Peer)) {
            (Some(_), Some(_)) => {
                let ratio = self.ratio(metric).map_or(String::new(), |r| format!(" (**{r:.2}**)"));
                format!("{} / {}{ratio}", show(Role::Subject), show(Role::Peer))
            }
            (Some(_), None) => show(Role::Subject),
            _ => show(Role::Peer),
        }
    }
}

fn with_range(figures: Vec<f64>) -> String {
    let mut sorted = figures;
    let Some(middle) = median(&mut sorted) else {
        return "-".into();
    };
    match sorted[..] {
        [low, .., high] => format!("{} ({}–{})", number(middle), number(low), number(high)),
        _ => number(middle),
    }
}

/// Three digits that matter, thousands apart.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => {
            let whole = value.round() as i64;
            let (thousands, rest) = (whole / 1000, (whole % 1000).abs());
            if thousands.abs() >= 1000 {
                format!("{},{:03},{rest:03}", thousands / 1000, (thousands % 1000).abs())
            } else {
                format!("{thousands},{rest:03}")
            }
        }
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
