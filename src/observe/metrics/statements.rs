//! The metrics of statements: their shapes, what was slow, loops, what is kept of them, and the catalogs.
//! Part of the one place where metrics are defined.

use std::iter::once;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::observe::catalogs::Known;
use crate::observe::counters::Registry;
use crate::observe::exposition::{Page, label, with};
use crate::observe::findings::Tally;
use crate::observe::process;

pub(super) fn render(page: &mut Page, registry: &Registry) {
    render_catalogs(page, registry, process::now_s());
    render_slow(page, registry);
    render_state(page, registry);
    render_nplus1(page, registry);
    render_shapes(page, registry);
}

/// One set per database that pgweir asks; the probe bounds how many.
fn render_catalogs(page: &mut Page, registry: &Registry, now_s: u64) {
    let all = registry.catalogs.list();
    type Of = fn(&Known, u64) -> Option<f64>;
    let gauges: [(&str, &str, Of); 3] = [
        ("pgweir_catalog_age_seconds", "Since the catalog of a database was read.", |known, now_s| {
            known.catalog.as_ref().map(|catalog| now_s.saturating_sub(catalog.facts.read_at_s) as f64)
        }),
        ("pgweir_catalog_tables", "Tables and views in it.", |known, _| {
            known.catalog.as_ref().map(|catalog| catalog.tables.len() as f64)
        }),
        ("pgweir_catalog_refresh_seconds", "How long reading it took last.", |known, _| {
            Some(known.took_ms as f64 / 1000.0)
        }),
    ];
    for (name, help, of) in gauges {
        let sample = |(database, known): &(String, Arc<Known>)| {
            of(known, now_s).map(|value| (vec![label("database", database)], value))
        };
        page.gauges(name, help, all.iter().filter_map(sample));
    }
    type Count = (&'static str, &'static str, fn(&Known) -> u64);
    let counters: [Count; 2] = [
        ("pgweir_catalog_refreshes_total", "Times it was read.", |known| known.refreshes),
        ("pgweir_catalog_failures_total", "Times it could not be read.", |known| known.failures),
    ];
    for (name, help, of) in counters {
        let sample =
            |(database, known): &(String, Arc<Known>)| (vec![label("database", database)], of(known) as f64);
        page.counters(name, help, all.iter().map(sample));
    }
    page.gauges(
        "pgweir_catalog_error",
        "Always 1; the kind says why the last attempt to read it failed. Missing: it did not.",
        all.iter().filter_map(|(database, known)| {
            let kind = known.error.as_ref()?.kind;
            Some((with(vec![label("database", database)], "kind", kind), 1.0))
        }),
    );
}

fn render_slow(page: &mut Page, registry: &Registry) {
    let slow = &registry.slow_log.counts;
    for (name, help, count) in [
        ("pgweir_slow_statements_total", "Statements that took longer than their threshold.", &slow.seen),
        ("pgweir_slow_log_written_total", "Of these, written to the slow-query log.", &slow.written),
        ("pgweir_slow_log_suppressed_total", "Left out by its limits of lines per minute.", &slow.suppressed),
        ("pgweir_slow_log_dropped_total", "Left out because its writer did not keep up.", &slow.dropped),
        ("pgweir_slow_log_write_errors_total", "Lines that could not be written.", &slow.write_errors),
        ("pgweir_slow_log_rotations_total", "Times its file was moved aside.", &slow.rotations),
    ] {
        page.counters(name, help, once((Vec::new(), count.load(Relaxed) as f64)));
    }
    let explains = &registry.slow_log.explains;
    let outcomes = [("plan", &explains.made), ("none", &explains.failed)];
    page.counters(
        "pgweir_slow_explains_total",
        "Plans of slow statements that were asked for, by what came of it.",
        outcomes
            .into_iter()
            .map(|(outcome, count)| (vec![label("outcome", outcome)], count.load(Relaxed) as f64)),
    );
}

/// Where ledger and findings outlive the process.
fn render_state(page: &mut Page, registry: &Registry) {
    let state = &registry.state;
    for (name, help, count) in [
        ("pgweir_state_saves_total", "Times ledger and findings were saved.", &state.saves),
        ("pgweir_state_errors_total", "Times they could be neither loaded nor saved.", &state.errors),
    ] {
        page.counters(name, help, once((Vec::new(), count.load(Relaxed) as f64)));
    }
}

fn render_nplus1(page: &mut Page, registry: &Registry) {
    let tallies = registry.findings.tallies();
    let by_class = |number: fn(&Tally) -> u64| {
        let sample = move |(class, tally): (&&'static str, &Tally)| {
            (vec![label("class", class)], number(tally) as f64)
        };
        tallies.iter().map(sample)
    };
    page.counters(
        "pgweir_nplus1_episodes_total",
        "Loops of statements that were met, by class.",
        by_class(|tally| tally.episodes),
    );
    page.counters(
        "pgweir_nplus1_statements_total",
        "Statements in them.",
        by_class(|tally| tally.statements),
    );
    page.counters(
        "pgweir_nplus1_unwatched_total",
        "Statements not looked at for loops, because too many sessions were at work at the same time.",
        once((Vec::new(), registry.findings.unwatched.load(Relaxed) as f64)),
    );
}

/// What the parser made of the shapes.
fn render_shapes(page: &mut Page, registry: &Registry) {
    let (facts, one) = (&registry.facts, |value: u64| once((Vec::new(), value as f64)));
    page.gauges("pgweir_shapes", "Shapes of statements in the ledger.", one(registry.ledger.shapes() as u64));
    page.counters(
        "pgweir_shapes_evicted_total",
        "Shapes of statements that made room for others in the ledger.",
        one(registry.ledger.evicted()),
    );
    page.counters("pgweir_shapes_parsed_total", "Shapes that the parser has read.", one(facts.parsed()));
    let refused = facts.refused().map(|(reason, count)| (vec![label("reason", reason)], count as f64));
    page.counters(
        "pgweir_shapes_unparsed_total",
        "Shapes that the parser could not read, by the reason; they are forwarded unchanged.",
        refused,
    );
    page.counters(
        "pgweir_shapes_dropped_total",
        "Times a shape found the parser's queue or the book of facts full.",
        one(facts.dropped()),
    );
    page.gauges(
        "pgweir_unparsed_calls",
        "Calls in the ledger of shapes that the parser could not read.",
        one(registry.ledger.calls_of(&facts.unparsed())),
    );
}
