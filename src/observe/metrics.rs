//! Every Prometheus metric of pgweir, in one place: names, help texts, and where the numbers come from.
//! Knows nothing of HTTP; it is called at each scrape and keeps no state between scrapes.
//!
//! Cardinality is bounded: at most [`POOLS_MAX`] pairs of database and user have series of their own, in the
//! order in which they first appeared, and at most about [`ERROR_SERIES_MAX`] series count errors by SQLSTATE.
//! What comes after is added up under `database="(other)", user="(other)"`, so that totals stay true.

mod coalescing;
mod indexes;
mod partitions;
mod statements;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use prometheus::proto::LabelPair;

use super::counters::{Counter, Gauge, Histogram, PinReason, PoolCounters, Registry};
use super::exposition::{Buckets, Page, label, with};
use super::{log, process};

/// Pairs of database and user that are shown one by one. One pair costs about 100 series, most of them
/// histogram buckets, so a scrape stays below 20,000 series, which Prometheus takes in without strain.
pub const POOLS_MAX: usize = 200;

/// Series of `pgweir_errors_total`. A pool can see hundreds of SQLSTATEs, so pools alone do not bound them.
pub const ERROR_SERIES_MAX: usize = 2_000;

/// The label that stands for every pool beyond a bound.
pub const OTHER: &str = "(other)";

/// Stands for SQLSTATEs that are not counted one by one, here and in `counters`.
const UNNAMED: &str = "XXXXX";

/// The `Content-Type` of what [`render`] returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Name, help, and the counter of one worker's pool that it shows.
type Row<T> = (&'static str, &'static str, fn(&PoolCounters) -> &T);

const GAUGES: [Row<Gauge>; 2] = [
    ("pgweir_clients", "Clients logged in.", |p| &p.clients),
    ("pgweir_clients_waiting", "Clients waiting for a server.", |p| &p.clients_waiting),
];

const COUNTERS: [Row<Counter>; 15] = [
    ("pgweir_servers_opened_total", "Server connections opened and logged in.", |p| &p.servers_opened),
    ("pgweir_servers_closed_total", "Server connections closed, by either side.", |p| &p.servers_closed),
    ("pgweir_server_connect_errors_total", "Attempts to open a server connection that failed.", |p| {
        &p.server_connect_errors
    }),
    ("pgweir_queries_total", "Queries finished.", |p| &p.queries),
    (
        "pgweir_transactions_total",
        "Transactions finished; a single statement outside BEGIN counts as one.",
        |p| &p.transactions,
    ),
    ("pgweir_client_received_bytes_total", "Bytes received from clients.", |p| &p.bytes_in),
    ("pgweir_client_sent_bytes_total", "Bytes sent to clients.", |p| &p.bytes_out),
    ("pgweir_narrowed_statements_total", "Statements sent with bounds for a partitioned table.", |p| {
        &p.narrowed
    }),
    (
        "pgweir_widened_statements_total",
        "Statements sent once more as they are: the first partitions held too few rows for their LIMIT.",
        |p| &p.widened,
    ),
    ("pgweir_statement_cache_hits_total", "Statements that the server had prepared already.", |p| {
        &p.statement_hits
    }),
    ("pgweir_statement_cache_misses_total", "Statements that had to be prepared on the server.", |p| {
        &p.statement_misses
    }),
    ("pgweir_statement_cache_evictions_total", "Prepared statements closed on a server to make room.", |p| {
        &p.statement_evictions
    }),
    ("pgweir_state_probes_total", "Times a server was asked what state a session left behind.", |p| {
        &p.state_probes
    }),
    (
        "pgweir_state_alignments_total",
        "Times settings were sent so that a server matches its next client.",
        |p| &p.state_alignments,
    ),
    ("pgweir_cancels_total", "Cancel requests passed on to a server.", |p| &p.cancels),
];

const HISTOGRAMS: [Row<Histogram>; 3] = [
    ("pgweir_queue_wait_seconds", "How long clients waited for a server.", |p| &p.queue_wait),
    (
        "pgweir_query_duration_seconds",
        "From the query's arrival at a server to the end of its answer.",
        |p| &p.query_time,
    ),
    ("pgweir_transaction_duration_seconds", "From the begin of a transaction to its end.", |p| {
        &p.transaction_time
    }),
];

/// The state of this moment in Prometheus' text format, for a `Content-Type` of [`CONTENT_TYPE`].
pub fn render(registry: &Registry) -> String {
    let groups = group(registry.pools());
    let mut page = Page::default();
    render_pools(&mut page, &groups);
    render_errors(&mut page, &groups);
    render_process_wide(&mut page, registry);
    statements::render(&mut page, registry);
    coalescing::render(&mut page, registry);
    partitions::render(&mut page, registry);
    indexes::render(&mut page, registry);
    render_process(&mut page, &process::read());
    page.text()
}

/// All workers' counters of one database and user.
struct Group {
    database: String,
    user: String,
    workers: Vec<Arc<PoolCounters>>,
}

impl Group {
    fn labels(&self) -> Vec<LabelPair> {
        vec![label("database", &self.database), label("user", &self.user)]
    }

    fn count(&self, of: fn(&PoolCounters) -> &Counter) -> f64 {
        // Wrapping, as the counters themselves do.
        self.workers.iter().fold(0_u64, |sum, worker| sum.wrapping_add(of(worker).get())) as f64
    }

    fn level(&self, of: impl Fn(&PoolCounters) -> &Gauge) -> f64 {
        self.workers.iter().map(|worker| of(worker).get()).sum::<i64>() as f64
    }

    fn histogram(&self, of: fn(&PoolCounters) -> &Histogram) -> (Buckets, u64) {
        let mut buckets = Buckets::default();
        let mut sum_us = 0_u64;
        for worker in &self.workers {
            let one = of(worker);
            for (sum, bucket) in buckets.iter_mut().zip(&one.buckets) {
                *sum = sum.wrapping_add(bucket.get());
            }
            sum_us = sum_us.wrapping_add(one.sum_us.get());
        }
        (buckets, sum_us)
    }

    fn errors(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for worker in &self.workers {
            for (sqlstate, count) in worker.errors() {
                *all.entry(readable(&sqlstate)).or_default() += count;
            }
        }
        all
    }
}

/// Gathers the workers' counters by database and user, in order of first appearance; pools beyond
/// [`POOLS_MAX`] share one more group. The registry only appends, so a pool never changes its group.
fn group(pools: Vec<Arc<PoolCounters>>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut at: HashMap<(String, String), usize> = HashMap::new();
    for pool in pools {
        let mut key = (pool.database.clone(), pool.user.clone());
        if groups.len() >= POOLS_MAX && !at.contains_key(&key) {
            key = (OTHER.to_owned(), OTHER.to_owned());
        }
        let index = *at.entry(key).or_insert_with_key(|(database, user)| {
            groups.push(Group { database: database.clone(), user: user.clone(), workers: Vec::new() });
            groups.len() - 1
        });
        groups[index].workers.push(pool);
    }
    groups
}

fn render_pools(page: &mut Page, groups: &[Group]) {
    for (name, help, of) in GAUGES {
        page.gauges(name, help, groups.iter().map(|g| (g.labels(), g.level(of))));
    }
    type State = (&'static str, fn(&PoolCounters) -> &Gauge);
    let states: [State; 2] = [("active", |p| &p.servers_active), ("idle", |p| &p.servers_idle)];
    page.gauges(
        "pgweir_servers",
        "Server connections by state.",
        groups.iter().flat_map(|g| states.map(|(state, of)| (with(g.labels(), "state", state), g.level(of)))),
    );
    page.gauges(
        "pgweir_pinned_servers",
        "Servers kept by one client between transactions, by the reason.",
        groups.iter().flat_map(|g| {
            PinReason::ALL.map(|reason| {
                let level = g.level(|p| p.pinned(reason));
                (with(g.labels(), "reason", reason.label()), level)
            })
        }),
    );
    for (name, help, of) in COUNTERS {
        page.counters(name, help, groups.iter().map(|g| (g.labels(), g.count(of))));
    }
    for (name, help, of) in HISTOGRAMS {
        let samples = groups.iter().map(|g| {
            let (buckets, sum_us) = g.histogram(of);
            (g.labels(), buckets, sum_us)
        });
        page.histograms(name, help, samples);
    }
}

/// Errors by SQLSTATE. A pool whose codes no longer fit under the bound joins `(other)` as a whole.
fn render_errors(page: &mut Page, groups: &[Group]) {
    let mut samples = Vec::new();
    let mut other: BTreeMap<String, u64> = BTreeMap::new();
    for group in groups {
        let errors = group.errors();
        let own = group.database != OTHER && samples.len() + errors.len() <= ERROR_SERIES_MAX;
        for (sqlstate, count) in errors {
            if own {
                samples.push((with(group.labels(), "sqlstate", &sqlstate), count as f64));
                continue;
            }
            let full = other.len() >= ERROR_SERIES_MAX && !other.contains_key(&sqlstate);
            let sqlstate = if full { UNNAMED.to_owned() } else { sqlstate };
            *other.entry(sqlstate).or_default() += count;
        }
    }
    samples.extend(other.iter().map(|(sqlstate, &count)| {
        let labels = vec![label("database", OTHER), label("user", OTHER)];
        (with(labels, "sqlstate", sqlstate), count as f64)
    }));
    page.counters(
        "pgweir_errors_total",
        "Errors that clients received, by SQLSTATE, from a server or from pgweir.",
        samples.into_iter(),
    );
}

fn render_process_wide(page: &mut Page, registry: &Registry) {
    let mut counter = |name, help, value: u64| {
        page.counters(name, help, std::iter::once((Vec::new(), value as f64)));
    };
    counter(
        "pgweir_logins_failed_total",
        "Logins of clients that failed.",
        registry.logins_failed.load(Relaxed),
    );
    counter(
        "pgweir_clients_refused_total",
        "Clients refused because a limit was reached or pgweir is shutting down.",
        registry.clients_refused.load(Relaxed),
    );
    let dropped = registry.log_lines_dropped.load(Relaxed) + log::lines_dropped();
    counter(
        "pgweir_log_lines_dropped_total",
        "Log lines dropped because the reader of stderr did not keep up.",
        dropped,
    );
    let version = vec![label("version", env!("CARGO_PKG_VERSION"))];
    page.gauges(
        "pgweir_build_info",
        "Always 1; the labels say which pgweir this is.",
        std::iter::once((version, 1.0)),
    );
}

/// The `process_…` names are the ones that every Prometheus client library uses.
fn render_process(page: &mut Page, process: &process::Process) {
    let one = |value: Option<f64>| value.map(|value| (Vec::new(), value)).into_iter();
    page.counters(
        "process_cpu_seconds_total",
        "User and system CPU time of this process.",
        one(process.cpu_seconds),
    );
    let whole = |value: Option<u64>| value.map(|value| value as f64);
    let gauges = [
        ("process_resident_memory_bytes", "Resident memory of this process.", whole(process.resident_bytes)),
        ("process_open_fds", "Open file descriptors.", whole(process.open_fds)),
        ("process_max_fds", "File descriptors that may be open.", whole(process.max_fds)),
        ("process_threads", "Threads of this process.", whole(process.threads)),
        (
            "process_start_time_seconds",
            "When this process started, in Unix time.",
            process.start_time_seconds,
        ),
        ("pgweir_uptime_seconds", "For how long this process has been running.", process.uptime_seconds),
    ];
    for (name, help, value) in gauges {
        page.gauges(name, help, one(value));
    }
}

/// Servers write SQLSTATEs; a code that is none must not reach the page as bytes of somebody's choice.
fn readable(sqlstate: &[u8; 5]) -> String {
    match sqlstate.iter().all(u8::is_ascii_alphanumeric) {
        true => String::from_utf8_lossy(sqlstate).into_owned(),
        false => UNNAMED.to_owned(),
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
