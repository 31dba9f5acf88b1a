//! The metrics of coalescing, per database. Part of the one place where metrics are defined.

use std::collections::BTreeMap;

use crate::observe::coalescing::Totals;
use crate::observe::counters::{BUCKET_BOUNDS_US, Registry};
use crate::observe::exposition::{Buckets, Page, label, with};

/// Databases with series of their own, each with about 40; what comes after is added up as one more.
const DATABASES_MAX: usize = 100;

/// Name, help, and the count that it shows.
type Count = (&'static str, &'static str, fn(&Totals) -> u64);

const COUNTERS: [Count; 6] = [
    ("pgweir_coalescing_batches_total", "Queries that answered look-ups of many values at once.", |t| {
        t.batches
    }),
    ("pgweir_coalescing_members_total", "Look-ups that waited for them and were answered.", |t| t.members),
    ("pgweir_coalescing_prefetched_total", "Look-ups that they fetched ahead.", |t| t.prefetched),
    ("pgweir_coalescing_served_total", "Look-ups answered from what was fetched before.", |t| t.served),
    ("pgweir_coalescing_wasted_total", "Look-ups fetched ahead and never asked for.", |t| t.wasted),
    ("pgweir_coalescing_wasted_rows_total", "Rows of those.", |t| t.wasted_rows),
];

pub(super) fn render(page: &mut Page, registry: &Registry) {
    let mut all: BTreeMap<String, Totals> = BTreeMap::new();
    for row in registry.coalescing.rows() {
        let room = all.len() < DATABASES_MAX || all.contains_key(&*row.key.database);
        let name = if room { row.key.database.to_string() } else { super::OTHER.to_owned() };
        all.entry(name).or_default().add_all(&row.totals);
    }
    let others = registry.coalescing.others();
    if others != Totals::default() {
        all.entry(super::OTHER.to_owned()).or_default().add_all(&others);
    }
    let labels = |database: &String| vec![label("database", database)];
    for (name, help, of) in COUNTERS {
        page.counters(name, help, all.iter().map(|(database, totals)| (labels(database), of(totals) as f64)));
    }
    let reasons = all.iter().flat_map(|(database, totals)| {
        let with_reason = move |(reason, count): (&&'static str, &u64)| {
            (with(vec![label("database", database)], "reason", reason), *count as f64)
        };
        totals.fallbacks.iter().map(with_reason)
    });
    page.counters(
        "pgweir_coalescing_fallbacks_total",
        "Look-ups that might have been coalesced and went alone, by reason.",
        reasons,
    );
    page.histograms(
        "pgweir_coalescing_staleness_seconds",
        "How old the snapshot of an answer was that had been fetched before.",
        all.iter().map(|(database, totals)| (labels(database), buckets(totals), totals.staleness_us)),
    );
}

/// In the buckets of all other histograms; a duration is at most a fifth too high.
fn buckets(totals: &Totals) -> Buckets {
    let mut buckets: Buckets = [0; BUCKET_BOUNDS_US.len() + 1];
    for (up_to_us, count) in totals.staleness.counts() {
        let at = BUCKET_BOUNDS_US.iter().position(|&bound| up_to_us <= bound);
        buckets[at.unwrap_or(BUCKET_BOUNDS_US.len())] += count;
    }
    buckets
}
