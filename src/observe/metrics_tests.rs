//! Tests of the metrics page: each line is valid, numbers add up over workers, histograms are cumulative,
//! cardinality is bounded, and the files in `deploy/` name only metrics that exist.

use std::collections::{BTreeSet, HashSet};

use super::*;
use crate::observe::catalogs::Trouble;
use crate::observe::findings::Met;

/// One sample of the text format.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Sample {
    fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(label, _)| label == name)?;
        Some(&found.1)
    }
}

/// A strict reader of the text format 0.0.4, written from its description; panics on the first bad line.
fn parse(text: &str) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut typed: HashSet<String> = HashSet::new();
    let mut series: HashSet<String> = HashSet::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (kind, name) = (words.next().unwrap(), words.next().unwrap());
            assert!(["HELP", "TYPE"].contains(&kind), "{line}");
            assert!(is_name(name), "{line}");
            let rest = words.next().unwrap();
            if kind == "TYPE" {
                assert!(["counter", "gauge", "histogram"].contains(&rest), "{line}");
                assert!(typed.insert(name.to_owned()), "a second family: {line}");
                assert_eq!(rest == "counter", name.ends_with("_total"), "{line}");
            } else {
                assert!(rest.ends_with('.'), "help is a sentence: {line}");
            }
            continue;
        }
        let (head, value) = line.rsplit_once(' ').expect(line);
        assert!(series.insert(head.to_owned()), "a series twice: {line}");
        let (name, labels) = match head.split_once('{') {
            Some((name, rest)) => (name, parse_labels(rest.strip_suffix('}').expect(line))),
            None => (head, Vec::new()),
        };
        assert!(is_name(name), "{line}");
        let family =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(typed.contains(family) || typed.contains(name), "{line}");
        samples.push(Sample { name: name.to_owned(), labels, value: value.parse().expect(line) });
    }
    samples
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.as_bytes()[0].is_ascii_digit()
}

fn parse_labels(mut text: &str) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").expect(text);
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next().expect("the value ends") {
                (at, '"') => break at,
                (_, '\\') => match chars.next().expect("an escape is whole").1 {
                    'n' => value.push('\n'),
                    escaped @ ('\\' | '"') => value.push(escaped),
                    other => panic!("no such escape: {other}"),
                },
                (_, char) => value.push(char),
            }
        };
        labels.push((name.to_owned(), value));
        text = &rest[end + 1..];
        text = text.strip_prefix(',').unwrap_or(text);
    }
    labels
}

fn find<'a>(samples: &'a [Sample], name: &str, labels: &[(&str, &str)]) -> &'a Sample {
    let mut found = samples.iter().filter(|sample| {
        sample.name == name && labels.iter().all(|(label, value)| sample.label(label) == Some(*value))
    });
    let first = found.next().unwrap_or_else(|| panic!("no {name} {labels:?}"));
    assert!(found.next().is_none(), "more than one {name} {labels:?}");
    first
}

fn pool(registry: &Registry, database: &str, user: &str) -> Arc<PoolCounters> {
    let counters = Arc::new(PoolCounters::new(database, user));
    registry.register(counters.clone());
    counters
}

#[test]
fn workers_are_added_up_by_database_and_user() {
    let registry = Registry::default();
    let first = pool(&registry, "app", "ann");
    let second = pool(&registry, "app", "ann");
    let other = pool(&registry, "app", "bob");
    first.clients.add(3);
    second.clients.add(4);
    other.clients.add(1);
    second.servers_idle.add(2);
    second.pinned(PinReason::Listen).add(1);
    first.queries.add(10);
    second.queries.add(20);
    first.count_error(*b"23505");
    second.count_error(*b"23505");
    second.count_error(*b"57P01");
    registry.logins_failed.fetch_add(5, Relaxed);
    let samples = parse(&render(&registry));
    let ann = [("database", "app"), ("user", "ann")];
    assert_eq!(find(&samples, "pgweir_clients", &ann).value, 7.0);
    assert_eq!(find(&samples, "pgweir_queries_total", &ann).value, 30.0);
    let idle = [ann[0], ann[1], ("state", "idle")];
    assert_eq!(find(&samples, "pgweir_servers", &idle).value, 2.0);
    let listen = [ann[0], ann[1], ("reason", "listen")];
    assert_eq!(find(&samples, "pgweir_pinned_servers", &listen).value, 1.0);
    let unique = [ann[0], ann[1], ("sqlstate", "23505")];
    assert_eq!(find(&samples, "pgweir_errors_total", &unique).value, 2.0);
    let bob = [("database", "app"), ("user", "bob")];
    assert_eq!(find(&samples, "pgweir_clients", &bob).value, 1.0);
    assert_eq!(find(&samples, "pgweir_logins_failed_total", &[]).value, 5.0);
}

#[test]
fn histograms_are_cumulative_in_seconds_and_agree_with_their_count() {
    let registry = Registry::default();
    let first = pool(&registry, "app", "ann");
    let second = pool(&registry, "app", "ann");
    for us in [10, 50, 51, 900, 1_000_000] {
        first.query_time.observe_us(us);
    }
    second.query_time.observe_us(900);
    second.query_time.observe_us(200_000_000);
    let samples = parse(&render(&registry));
    let buckets: Vec<(f64, f64)> = samples
        .iter()
        .filter(|sample| sample.name == "pgweir_query_duration_seconds_bucket")
        .map(|sample| (sample.label("le").unwrap().parse().unwrap(), sample.value))
        .collect();
    assert_eq!(buckets.len(), 21);
    assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
    let at = |le: f64| buckets.iter().find(|bucket| bucket.0 == le).unwrap().1;
    assert_eq!(at(0.00005), 2.0);
    assert_eq!(at(0.0001), 3.0);
    assert_eq!(at(0.001), 5.0);
    assert_eq!(at(1.0), 6.0);
    assert_eq!(at(100.0), 6.0);
    assert_eq!(at(f64::INFINITY), 7.0);
    let count = find(&samples, "pgweir_query_duration_seconds_count", &[]);
    assert_eq!(count.value, 7.0);
    let sum = find(&samples, "pgweir_query_duration_seconds_sum", &[]);
    assert!((sum.value - 201.001_911).abs() < 1e-6, "{}", sum.value);
}

#[test]
fn coalescing_is_added_up_by_database() {
    use crate::observe::coalescing::{Key, SHAPES_MAX};
    let registry = Registry::default();
    for database in 0..SHAPES_MAX as u64 + 5 {
        // A hundred databases have series of their own, the first one with two shapes.
        for fingerprint in 0..if database == 0 { 2 } else { 1 } {
            let key = Key { database: format!("db{database:04}").into(), fingerprint };
            let entry = registry.coalescing.enter(key, &"select 1".into());
            entry.batch(2);
            entry.serve(3_000);
            entry.waste(1, 7);
            entry.fall_back("level");
        }
    }
    let samples = parse(&render(&registry));
    let value = |name: &str, labels: &[(&str, &str)]| find(&samples, name, labels).value;
    let first = ("database", "db0000");
    assert_eq!(value("pgweir_coalescing_batches_total", &[first]), 2.0);
    assert_eq!(value("pgweir_coalescing_members_total", &[first]), 4.0);
    assert_eq!(value("pgweir_coalescing_wasted_rows_total", &[first]), 14.0);
    assert_eq!(value("pgweir_coalescing_fallbacks_total", &[first, ("reason", "level")]), 2.0);
    assert_eq!(value("pgweir_coalescing_staleness_seconds_count", &[first]), 2.0);
    assert_eq!(value("pgweir_coalescing_staleness_seconds_sum", &[first]), 0.006);
    let served = samples.iter().filter(|sample| sample.name == "pgweir_coalescing_served_total");
    let served: Vec<f64> = served.map(|sample| sample.value).collect();
    assert_eq!((served.len(), served.iter().sum()), (101, SHAPES_MAX as f64 + 6.0));
}

#[test]
fn names_of_any_kind_stay_inside_their_label() {
    let registry = Registry::default();
    let odd = "a\"b\\c\nd}\u{e9} 1";
    pool(&registry, odd, "u").count_error([b'"', 0, 0xff, b'\n', b' ']);
    pool(&registry, odd, "u").count_error(*b"XXXXX");
    let samples = parse(&render(&registry));
    find(&samples, "pgweir_clients", &[("database", odd)]);
    let unnamed = find(&samples, "pgweir_errors_total", &[("sqlstate", "XXXXX")]);
    assert_eq!(unnamed.value, 2.0);
}

#[test]
fn pools_beyond_the_bound_are_added_up_and_the_totals_stay_true() {
    let registry = Registry::default();
    for number in 0..POOLS_MAX + 50 {
        pool(&registry, "app", &format!("user{number}")).queries.add(1);
    }
    // Somebody's database may really have this name; it must not make a series appear twice.
    pool(&registry, OTHER, OTHER).queries.add(1);
    // A second worker's counters of a pool that is shown one by one.
    pool(&registry, "app", "user0").queries.add(1);
    let samples = parse(&render(&registry));
    let queries: Vec<&Sample> =
        samples.iter().filter(|sample| sample.name == "pgweir_queries_total").collect();
    assert_eq!(queries.len(), POOLS_MAX + 1);
    let total: f64 = queries.iter().map(|sample| sample.value).sum();
    assert_eq!(total, (POOLS_MAX + 52) as f64);
    let other = find(&samples, "pgweir_queries_total", &[("user", OTHER)]);
    assert_eq!(other.value, 51.0);
    assert_eq!(find(&samples, "pgweir_queries_total", &[("user", "user0")]).value, 2.0);
}

#[test]
fn sqlstates_beyond_the_bound_are_added_up() {
    let registry = Registry::default();
    let codes = |number: usize| -> [u8; 5] {
        let text = format!("{number:05}");
        text.as_bytes().try_into().expect("five digits")
    };
    for user in 0..10 {
        let pool = pool(&registry, "app", &format!("user{user}"));
        for number in 0..290 {
            pool.count_error(codes(number));
        }
    }
    let samples = parse(&render(&registry));
    let errors: Vec<&Sample> = samples.iter().filter(|sample| sample.name == "pgweir_errors_total").collect();
    assert!(errors.len() <= ERROR_SERIES_MAX + 290, "{}", errors.len());
    let total: f64 = errors.iter().map(|sample| sample.value).sum();
    assert_eq!(total, 2_900.0);
    let folded = [("user", OTHER), ("sqlstate", "00007")];
    assert_eq!(find(&samples, "pgweir_errors_total", &folded).value, 4.0);
}

#[test]
fn a_fresh_process_has_a_page_without_pools() {
    let samples = parse(&render(&Registry::default()));
    assert_eq!(find(&samples, "pgweir_build_info", &[]).value, 1.0);
    assert!(find(&samples, "process_resident_memory_bytes", &[]).value > 0.0);
    assert!(find(&samples, "pgweir_uptime_seconds", &[]).value >= 0.0);
    assert!(!samples.iter().any(|sample| sample.name == "pgweir_clients"));
}

/// Everything that looks like a metric of ours in a file of `deploy/`.
fn names_in(file: &str) -> BTreeSet<String> {
    let path = format!("{}/deploy/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.split(|char: char| !(char.is_ascii_alphanumeric() || char == '_'))
        .filter(|word| word.starts_with("pgweir_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_files_in_deploy_name_only_metrics_that_exist() {
    let registry = Registry::default();
    pool(&registry, "app", "ann").count_error(*b"23505");
    let trouble = Trouble { kind: "lost", text: String::new(), at_s: 0 };
    registry.catalogs.update("app", |known| {
        (known.catalog, known.error) = (Some(Arc::default()), Some(trouble));
    });
    registry.findings.note(Met { class: "counted", ..Met::default() });
    registry.partitions.update("app", "public.log", |view| {
        (view.covered_s, view.error_kind) = (Some(1.0), Some("lost"));
    });
    let emitted: BTreeSet<String> = parse(&render(&registry)).into_iter().map(|sample| sample.name).collect();
    for (file, at_least) in [("grafana-dashboard.json", 20), ("alerts.yml", 8), ("prometheus.yml", 0)] {
        let named = names_in(file);
        let unknown: Vec<&String> = named.difference(&emitted).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}");
        assert!(named.len() >= at_least, "{file} names only {named:?}");
    }
}

#[test]
fn the_dashboard_is_json_with_distinct_panels() {
    let path = format!("{}/deploy/grafana-dashboard.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: HashSet<i64> = panels.iter().map(|p| p["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().unwrap();
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{title}");
        assert!(panel["description"].is_string(), "{title}");
    }
}
