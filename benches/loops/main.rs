//! Loops as applications write them, over a network that takes its time: through PgBouncer, and through pgweir. Counts
//! what reaches the server and measures what the client waits. Starts a PostgreSQL, a relay and both proxies of its own.
//!
//!     cargo bench --bench loops                # 5 ms there and back, 10 rounds
//!     cargo bench --bench loops -- 20 30       # 20 ms, 30 rounds

// A panic is how the benchmark reports.
#![allow(clippy::unwrap_used)]

mod programs;
mod ways;

use std::time::{Duration, Instant};

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use pgweir::demo::cluster::{Cluster, ClusterOptions};
use pgweir::demo::relay::Relay;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use programs::{PROGRAMS, Program};
use ways::{Way, ways};

/// The data, and the counting.
const SCHEMA: &str = include_str!("schema.sql");

/// Statements on the programs' tables, as the server has counted them.
const COUNT: &str = "SELECT coalesce(sum(calls), 0)::int8 FROM pg_stat_statements WHERE toplevel \
     AND query ~ '(facilities|sources|users|records|notes|lines|readings)' AND query !~ 'pg_stat_statements'";

fn main() {
    // cargo adds --bench.
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let (network_ms, rounds) = (numbers.first().copied().unwrap_or(5), numbers.get(1).copied().unwrap_or(10));
    let settings = [("shared_preload_libraries", "pg_stat_statements"), ("max_connections", "100")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let cluster = Cluster::start(ClusterOptions { settings, ..ClusterOptions::default() }).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let watcher = runtime.block_on(connect(&cluster.url("postgres")));
    runtime.block_on(watcher.batch_execute(SCHEMA)).unwrap();
    let delay = Duration::from_micros(network_ms * 500);
    let relay = Relay::start(("127.0.0.1".to_owned(), cluster.port()), delay).unwrap();
    let bench = Bench { runtime: &runtime, watcher: &watcher, rounds };
    println!(
        "{network_ms} ms of network there and back between proxy and server, medians of {rounds} rounds\n"
    );
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header([
        "program",
        "way",
        "level",
        "queries, first",
        "queries, later",
        "ms, later",
        "beside the first",
    ]);
    for program in &PROGRAMS {
        bench.compare(program, &ways(relay.address.port()), &mut table);
    }
    println!("{table}");
}

struct Bench<'a> {
    runtime: &'a Runtime,
    watcher: &'a Client,
    rounds: u64,
}

/// What a program came to in one round.
struct Round {
    queries: i64,
    took: Duration,
    answers: Vec<String>,
}

impl Bench<'_> {
    /// One way after the other, each with a proxy of its own that knows nothing yet. All have to answer alike.
    fn compare(&self, program: &Program, ways: &[Way], table: &mut Table) {
        let mut first: Option<(f64, Vec<Vec<String>>)> = None;
        for way in ways {
            let Some(running) = way.start() else {
                println!("{} is not installed and left out", way.name);
                continue;
            };
            let mut rounds: Vec<Round> = {
                let client = self.runtime.block_on(connect(&running.url()));
                if program.deferred && way.coalesces {
                    self.runtime.block_on(client.batch_execute("SET pgweir.insert = 'deferred'")).unwrap();
                }
                (0..self.rounds).map(|round| self.round(program, &client, round)).collect()
            };
            running.end();
            let answers: Vec<Vec<String>> =
                rounds.iter_mut().map(|round| std::mem::take(&mut round.answers)).collect();
            // The first rounds teach, where there is something to learn.
            let mut later: Vec<&Round> = rounds.iter().skip(rounds.len() / 2).collect();
            later.sort_by_key(|round| round.took);
            let median = later[later.len() / 2];
            let ms = median.took.as_secs_f64() * 1e3;
            let queries = later.iter().map(|round| round.queries).max().unwrap_or(0);
            let beside = match &first {
                None => String::new(),
                Some((base, expected)) => {
                    assert!(*expected == answers, "{} through {}: other answers", program.name, way.name);
                    format!("{:+.1} %", (ms / base - 1.0) * 100.0)
                }
            };
            let row = [
                program.name.to_owned(),
                way.name.to_owned(),
                way.level.to_owned(),
                rounds[0].queries.to_string(),
                queries.to_string(),
                format!("{ms:.1}"),
                beside,
            ];
            table.add_row(row);
            first.get_or_insert((ms, answers));
        }
    }

    fn round(&self, program: &Program, client: &Client, round: u64) -> Round {
        let count = || -> i64 { self.runtime.block_on(self.watcher.query_one(COUNT, &[])).unwrap().get(0) };
        self.runtime.block_on(self.watcher.batch_execute("TRUNCATE readings")).unwrap();
        let before = count();
        let begun = Instant::now();
        let mut answers = self.runtime.block_on((program.run)(client, round));
        let took = begun.elapsed();
        let queries = count() - before;
        let left = "SELECT count(*)::text || coalesce(md5(string_agg(r::text, '|' ORDER BY name)), '') FROM readings r";
        answers.push(self.runtime.block_on(self.watcher.query_one(left, &[])).unwrap().get(0));
        Round { queries, took, answers }
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
