//! The metrics of partitioned tables and of the acts on the databases. Part of the one place where metrics are
//! defined. The rules bound how many tables there are.

use std::iter::once;
use std::sync::atomic::Ordering::Relaxed;

use prometheus::proto::LabelPair;

use crate::observe::counters::Registry;
use crate::observe::exposition::{Page, label, with};
use crate::observe::partitions::TableView;

fn labels(view: &TableView) -> Vec<LabelPair> {
    with(vec![label("database", &view.database)], "table", &view.table)
}

pub(super) fn render(page: &mut Page, registry: &Registry) {
    let board = &registry.partitions;
    let tables = board.tables();
    type Of = fn(&TableView) -> Option<f64>;
    let count = |view: &TableView, state: &str| {
        view.partitions.iter().filter(|partition| partition.state == state).count() as f64
    };
    let states = ["past", "current", "future"];
    let by_state = tables
        .iter()
        .flat_map(|view| states.map(|state| (with(labels(view), "state", state), count(view, state))));
    page.gauges("pgweir_partitions", "Partitions of a table of the rules.", by_state);
    let gauges: [(&str, &str, Of); 3] = [
        (
            "pgweir_partitions_ahead_seconds",
            "For how long there are partitions from now on; below 0, rows are refused.",
            |view| view.covered_s,
        ),
        ("pgweir_partitions_bytes", "Of all partitions, with indexes and TOAST.", |view| {
            Some(view.partitions.iter().map(|partition| partition.bytes as f64).sum())
        }),
        ("pgweir_partitions_looked_at_seconds", "When a table was last looked at, in Unix time.", |view| {
            (view.looked_at_s > 0).then_some(view.looked_at_s as f64)
        }),
    ];
    for (name, help, of) in gauges {
        page.gauges(name, help, tables.iter().filter_map(|view| Some((labels(view), of(view)?))));
    }
    type Count = (&'static str, &'static str, fn(&TableView) -> u64);
    let counters: [Count; 3] = [
        ("pgweir_partitions_created_total", "Partitions that pgweir has created.", |view| view.created),
        ("pgweir_partitions_archived_total", "Partitions that pgweir has archived.", |view| view.archived),
        ("pgweir_partitions_failures_total", "Times that looking after a table failed.", |view| {
            view.failures
        }),
    ];
    for (name, help, of) in counters {
        page.counters(name, help, tables.iter().map(|view| (labels(view), of(view) as f64)));
    }
    page.gauges(
        "pgweir_partitions_error",
        "Always 1; the kind says why looking after a table failed. Missing: it did not.",
        tables.iter().filter_map(|view| Some((with(labels(view), "kind", view.error_kind?), 1.0))),
    );
    for (name, help, count) in [
        ("pgweir_schema_acts_total", "Statements that pgweir sent to change a schema.", &board.acts),
        ("pgweir_schema_acts_failed_total", "Of these, those that failed.", &board.acts_failed),
    ] {
        page.counters(name, help, once((Vec::new(), count.load(Relaxed) as f64)));
    }
}
