//! What a conversion and an archive cost, measured: `cargo test --release --test it partitions::measure -- --ignored
//! --nocapture`, with PGWEIR_ROWS for another number of rows than a million. Run by hand; a busy machine proves nothing.

use std::time::Instant;

use crate::cluster::{TestDatabase, ask};

use super::writers::{Writers, compare};
use super::{done, run, start, start_with};

fn rows() -> u64 {
    std::env::var("PGWEIR_ROWS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000)
}

/// A table of four years, with the indexes that a reasonable user would have.
fn fill(database: &TestDatabase) {
    let rows = rows();
    run(
        database,
        &[
            "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, owner int NOT NULL DEFAULT 0, serial bigint, \
             at timestamptz NOT NULL, site int, value double precision)",
            &format!(
                "INSERT INTO t (at, site, value) SELECT '2025-11-24 00:00+00'::timestamptz - g * interval '4 years' / {rows}, \
                 g % 500, g * 0.1 FROM generate_series(1, {rows}) g"
            ),
            "CREATE INDEX ON t (at)",
            "CREATE INDEX ON t (owner) WHERE owner > 0",
        ],
    );
    crate::cluster::batch(&database.url(), &["VACUUM ANALYZE t"]);
}

#[test]
#[ignore = "takes minutes, and means something on a quiet machine only"]
fn a_conversion() {
    let database = TestDatabase::new("measure");
    fill(&database);
    let weir = start(&database, &[]);
    let urls: Vec<String> = (0..4).map(|_| weir.url(&database.name)).collect();
    let writers = Writers::start(&urls);
    let begun = Instant::now();
    writers.more(3_000);
    let converting = Instant::now();
    let text = done(&weir, &["convert", "t", "--column", "at", "--interval", "month"]);
    let converted = Instant::now();
    writers.more(3_000);
    let ended = Instant::now();
    for (what, from, until) in
        [("before", begun, converting), ("during", converting, converted), ("after", converted, ended)]
    {
        let (p99, longest) = writers.p99(from, until);
        println!("{what}: p99 {p99:?}, longest {longest:?}");
    }
    let took = converted - converting;
    let rate = rows() as f64 / took.as_secs_f64();
    let held = text.lines().filter(|line| line.contains("was held"));
    held.for_each(|line| println!("{line}"));
    let fill = text.lines().rfind(|line| line.starts_with("fill: ")).unwrap_or_default();
    println!("{} rows in {took:?}, all steps: {rate:.0} rows/s; {fill}", rows());
    done(&weir, &["finish", "t"]);
    let (known, _, writes) = writers.end();
    compare(&database.url(), &known);
    println!("{writes} writes, none lost or doubled");
}

/// Alternating runs of each query; printed are medians.
const RUNS: usize = 5;

#[test]
#[ignore = "takes minutes, and means something on a quiet machine only"]
fn queries() {
    let database = TestDatabase::new("measure_queries");
    fill(&database);
    run(
        &database,
        &[
            // As it is without an index on the time, and with one.
            "CREATE TABLE plain (LIKE t INCLUDING DEFAULTS, PRIMARY KEY (id))",
            "INSERT INTO plain SELECT * FROM t ORDER BY id",
            "CREATE TABLE indexed (LIKE t INCLUDING DEFAULTS, PRIMARY KEY (id))",
            "INSERT INTO indexed SELECT * FROM t ORDER BY id",
            "CREATE INDEX ON indexed (at)",
        ],
    );
    let weir = start(&database, &[]);
    done(&weir, &["convert", "t", "--column", "at", "--interval", "month"]);
    done(&weir, &["finish", "t"]);
    crate::cluster::batch(
        &database.url(),
        &["VACUUM ANALYZE t", "VACUUM ANALYZE plain", "VACUUM ANALYZE indexed"],
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(crate::cluster::connect(&weir.url(&database.name)));
    for (what, condition) in [
        ("a month", "at >= '2023-05-01 00:00+00' AND at < '2023-06-01 00:00+00'"),
        ("a month, by date_trunc", "date_trunc('month', at) = '2023-05-01'"),
        ("the most recent day", "at >= '2025-11-23 00:00+00'"),
    ] {
        let mut took = [const { Vec::new() }; 3];
        for _ in 0..RUNS {
            for (table, took) in ["plain", "indexed", "t"].iter().zip(&mut took) {
                let query =
                    format!("SELECT site, count(*), avg(value) FROM {table} WHERE {condition} GROUP BY site");
                let begun = Instant::now();
                runtime.block_on(client.simple_query(&query)).unwrap();
                took.push(begun.elapsed());
            }
        }
        let [plain, indexed, parted] = took.map(|mut took| {
            took.sort_unstable();
            took[RUNS / 2]
        });
        let less = 100.0 * (1.0 - parted.as_secs_f64() / plain.as_secs_f64());
        println!(
            "{what}: plain {plain:?}, with an index {indexed:?}, partitioned {parted:?} (-{less:.1} % against plain)"
        );
    }
}

#[test]
#[ignore = "takes minutes, and means something on a quiet machine only"]
fn an_archive() {
    let database = TestDatabase::new("measure_archive");
    fill(&database);
    let month = "at >= '2023-05-01 00:00+00' AND at < '2023-06-01 00:00+00'";
    run(
        &database,
        &[
            "CREATE TABLE plain (LIKE t INCLUDING ALL)",
            "INSERT INTO plain OVERRIDING SYSTEM VALUE SELECT * FROM t",
        ],
    );
    let count = ask(&database.url(), &format!("SELECT count(*)::text FROM t WHERE {month}"));
    let begun = Instant::now();
    run(&database, &[&format!("DELETE FROM plain WHERE {month}"), "VACUUM plain"]);
    println!("DELETE and VACUUM of a month, {count} rows: {:?}", begun.elapsed());
    let weir = start(&database, &[]);
    done(&weir, &["convert", "t", "--column", "at", "--interval", "month"]);
    done(&weir, &["finish", "t"]);
    drop(weir);
    let rule =
        "{table: t, column: at, interval: month, retention: {keep: 100 years, archive: {schema: cold}}}";
    let weir = start_with(&database, &[rule], "maintenance: {enabled: false}\n", |_| {});
    let begun = Instant::now();
    println!("{}all of it: {:?}", done(&weir, &["archive", "t", "t_2023_05"]), begun.elapsed());
}
