//! The table at the end of the tour: the same workload directly and through pgweir. Computes and prints
//! figures; runs nothing.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, Table};

use super::workload::{Outcome, Workload};

/// A workload measured both ways.
#[derive(Debug)]
pub struct Comparison {
    pub workload: Workload,
    pub direct: Outcome,
    pub pooled: Outcome,
}

/// An error if anything failed in either way: then the figures compare different work.
pub fn verdict(comparisons: &[Comparison]) -> Result<(), String> {
    let failed: u64 = comparisons.iter().map(|c| c.direct.failed() + c.pooled.failed()).sum();
    match failed {
        0 => Ok(()),
        n => Err(format!("{n} operations failed, see below the table; the figures are not comparable")),
    }
}

/// The figures of one outcome.
#[derive(Debug, Clone, PartialEq)]
struct Figures {
    per_second: f64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

/// The whole report as text.
pub fn render(comparisons: &[Comparison]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["workload", "measure", "direct", "through pgweir"]);
    for comparison in comparisons {
        add(&mut table, comparison);
    }
    for column in [2, 3] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    for comparison in comparisons {
        let Workload { name, about, .. } = comparison.workload;
        text.push_str(&format!("  {name}: {about}.\n"));
    }
    text.push_str(&errors(comparisons));
    text.push_str(FOOTNOTE);
    text
}

/// What the figures do not say.
const FOOTNOTE: &str = "
  Operations: 60 % point reads, 20 % range reads, 10 % inserts, 10 % transactions of two writes.
  Server connections: the most that pg_stat_activity showed at once for this way.
  Both ways ran in turns. The clients, pgweir and PostgreSQL share this machine's processors, so what
  pgweir costs is taken from the same budget; there is no TLS and no network in between. `make bench`
  measures pgweir alone, against another pooler.
";

fn add(table: &mut Table, comparison: &Comparison) {
    let Comparison { workload, direct, pooled } = comparison;
    let (d, p) = (figures(direct), figures(pooled));
    let mut row = |name: &str, measure: &str, direct: String, pooled: String| {
        table.add_row([name, measure, &direct, &pooled].map(Cell::new));
    };
    let whole = |n: f64| format!("{n:.0}");
    let ms = |n: Option<f64>| n.map_or("-".to_owned(), |n| format!("{n:.2} ms"));
    row(workload.name, "operations per second", whole(d.per_second), whole(p.per_second));
    row("", "latency, median", ms(d.p50_ms), ms(p.p50_ms));
    row("", "latency, 99th percentile", ms(d.p99_ms), ms(p.p99_ms));
    row(
        "",
        "server connections",
        direct.server_connections.to_string(),
        pooled.server_connections.to_string(),
    );
    if direct.failed() + pooled.failed() > 0 {
        let (direct, pooled) = (direct.failed(), pooled.failed());
        row("", "failed", direct.to_string(), pooled.to_string());
    }
}

fn figures(outcome: &Outcome) -> Figures {
    let mut sorted = outcome.latencies_us.clone();
    sorted.sort_unstable();
    let seconds = outcome.elapsed.as_secs_f64();
    Figures {
        per_second: if seconds > 0.0 { sorted.len() as f64 / seconds } else { 0.0 },
        p50_ms: percentile(&sorted, 50),
        p99_ms: percentile(&sorted, 99),
    }
}

/// Nearest rank: the smallest value that at least `percent` of all values do not exceed.
fn percentile(sorted_us: &[u64], percent: usize) -> Option<f64> {
    let rank = (sorted_us.len() * percent).div_ceil(100).max(1);
    sorted_us.get(rank - 1).map(|us| *us as f64 / 1000.0)
}

/// What failed, in PostgreSQL's or pgweir's words; the three most frequent messages of each way.
fn errors(comparisons: &[Comparison]) -> String {
    let mut text = String::new();
    for comparison in comparisons {
        for (way, outcome) in [("direct", &comparison.direct), ("through pgweir", &comparison.pooled)] {
            let mut messages: Vec<_> = outcome.errors.iter().collect();
            messages.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            for (message, count) in messages.into_iter().take(3) {
                let name = comparison.workload.name;
                text.push_str(&format!("  failed, {name}, {way}: {count} × {message}\n"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::demo::workload::WORKLOADS;

    fn outcome(latencies_us: Vec<u64>, server_connections: i64) -> Outcome {
        Outcome { elapsed: Duration::from_secs(2), latencies_us, server_connections, ..Default::default() }
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let hundred: Vec<u64> = (1..=100).map(|n| n * 1000).collect();
        assert_eq!(percentile(&hundred, 50), Some(50.0));
        assert_eq!(percentile(&hundred, 99), Some(99.0));
        assert_eq!(percentile(&[7000], 99), Some(7.0));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn the_report_holds_both_ways_and_their_failures() {
        let mut pooled = outcome(vec![3000; 50], 20);
        pooled.errors.insert("too slow".to_owned(), 4);
        let comparisons =
            [Comparison { workload: WORKLOADS[0], direct: outcome(vec![1500; 100], 150), pooled }];
        assert!(verdict(&comparisons).is_err_and(|e| e.starts_with("4 operations failed")));
        let text = render(&comparisons);
        for part in [WORKLOADS[0].name, WORKLOADS[0].about, "1.50 ms", "3.00 ms", "150", "4 × too slow"] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap();
        let numbers: Vec<_> = line("operations per second")
            .split_whitespace()
            .filter(|word| word.chars().all(|c| c.is_ascii_digit()))
            .collect();
        // The first is of the workload's name.
        assert_eq!(numbers, ["16", "50", "25"]);
    }
}
