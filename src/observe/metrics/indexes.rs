//! The metrics of indexes that were built or taken away. Part of the one place where metrics are defined.

use std::iter::once;
use std::sync::atomic::Ordering::Relaxed;

use crate::observe::counters::Registry;
use crate::observe::exposition::{Page, label};
use crate::observe::indexes::State;

pub(super) fn render(page: &mut Page, registry: &Registry) {
    let acts = registry.indexes.list();
    let count = |state: State| acts.iter().filter(|act| act.state == state).count() as f64;
    page.gauges(
        "pgweir_index_acts",
        "Indexes that were asked for, on command or by indexes.auto, by what came of it.",
        State::ALL.into_iter().map(|(state, word)| (vec![label("state", word)], count(state))),
    );
    let counters = [
        ("pgweir_indexes_built_total", "Indexes that pgweir has built.", &registry.indexes.built),
        (
            "pgweir_indexes_taken_back_total",
            "Indexes that indexes.auto has dropped, because they did not keep their promise.",
            &registry.indexes.taken_back,
        ),
        (
            "pgweir_index_failures_total",
            "Builds and removals of indexes that have failed.",
            &registry.indexes.failures,
        ),
    ];
    for (name, help, value) in counters {
        page.counters(name, help, once((Vec::new(), value.load(Relaxed) as f64)));
    }
}
