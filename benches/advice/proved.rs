//! Builds what is advised one by one, the largest gain first, as `indexes.auto` does, executes each statement whose
//! plan has changed before and after, and takes back what the product's own verification finds wanting.

use std::time::Instant;

use pgweir::maintain::index::history::{self, Counts, Tallies};
use pgweir::maintain::index::settings::AutoSettings;
use pgweir::maintain::index::{Outcome, verify};
use pgweir::observe::indexes::{By, Role, State, Tally};
use pgweir::observe::latency::Latency;
use pgweir::observe::ledger::Totals;
use tokio::runtime::Runtime;
use tokio_postgres::Client;

/// A statement that takes longer counts as this.
const TIMEOUT_S: f64 = 60.0;

/// Executions of a statement on each side; one is enough to know that a slow one is slow.
const TIMES: usize = 3;
const SLOW_S: f64 = 10.0;

/// Each execution stands for so many calls: verification waits for 30, and these queries take seconds.
const CALLS: usize = 10;

/// What is left slower by more than this after verification has failed its purpose.
const SLOWER: f64 = 1.10;

/// How often those that seem slower at the end are measured again: the machine does other things too.
const AGAIN: usize = 3;

struct Measured {
    name: String,
    sql: String,
    fingerprint: u64,
    plan: String,
    first: f64,
    seconds: Vec<f64>,
}

impl Measured {
    fn least(&self) -> f64 {
        self.seconds.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn tally(&self) -> Tally {
        let (latency, mut totals) = (Latency::default(), Totals::default());
        for seconds in self.seconds.iter().flat_map(|seconds| std::iter::repeat_n(seconds, CALLS)) {
            let us = (seconds * 1e6) as u64;
            latency.observe_us(us);
            (totals.calls, totals.server_us) = (totals.calls + 1, totals.server_us + us);
        }
        latency.add_to(&mut totals.latency);
        Tally::of(&totals)
    }
}

/// Prints the table. `queries`: names, texts and fingerprints.
pub fn run(runtime: &Runtime, client: &Client, queries: Vec<(String, String, u64)>, outcome: &Outcome) {
    // Whether a plan is compiled depends on its cost, and would change times where indexes do not.
    runtime.block_on(client.batch_execute("SET jit = off")).unwrap();
    let mut all: Vec<Measured> = Vec::new();
    for (name, sql, fingerprint) in queries {
        let plan = plan(runtime, client, &sql);
        let seconds = times(runtime, client, &sql);
        let mut one = Measured { name, sql, fingerprint, plan, first: 0.0, seconds };
        one.first = one.least();
        all.push(one);
    }
    println!("executed without indexes: {:.1} s in all", all.iter().map(Measured::least).sum::<f64>());
    for suggestion in &outcome.advice.suggestions {
        let begun = Instant::now();
        runtime.block_on(client.batch_execute(&suggestion.ddl)).unwrap();
        let build_s = begun.elapsed().as_secs_f64();
        let plans: Vec<String> = all.iter().map(|one| plan(runtime, client, &one.sql)).collect();
        let before: Tallies = all.iter().map(|one| (one.fingerprint, one.tally())).collect();
        let others: Vec<(u64, Role)> = all.iter().map(|one| (one.fingerprint, Role::Reads)).collect();
        let mut act =
            history::begin(suggestion, By::Auto, 1, Counts { now: &before, earlier: None }, &others);
        history::built(&mut act, 1, &before);
        let mut measured: Vec<Option<Vec<f64>>> = Vec::new();
        let mut now = before.clone();
        for (one, plan) in all.iter().zip(&plans) {
            let seconds = (one.plan != *plan).then(|| times(runtime, client, &one.sql));
            if let Some(seconds) = &seconds {
                let after = Measured { seconds: seconds.clone(), ..copy(one) };
                now.entry(one.fingerprint).or_default().add(&after.tally());
            }
            measured.push(seconds);
        }
        let settings = AutoSettings::default().verify;
        let of = |shape: &str| history::hex(shape).and_then(|shape| now.get(&shape)).copied();
        verify::look(&mut act, &settings, 2, of);
        // What its plans do not use is not measured, and cannot be slower.
        let (before_s, after_s) = all.iter().zip(&measured).fold((0.0, 0.0), |sum, (one, after)| {
            let least = after.as_ref().map(|all| all.iter().copied().fold(f64::INFINITY, f64::min));
            (sum.0 + one.least(), sum.1 + least.unwrap_or_else(|| one.least()))
        });
        let kept = act.state != State::Disappointing;
        println!(
            "{} {} {}: built in {build_s:.1} s, {} plans changed, {before_s:.1} → {after_s:.1} s in all; {}",
            if kept { "kept      " } else { "taken back" },
            suggestion.table,
            suggestion.definition,
            measured.iter().flatten().count(),
            act.message
        );
        if kept {
            for ((one, plan), seconds) in all.iter_mut().zip(plans).zip(measured) {
                one.plan = plan;
                one.seconds = seconds.unwrap_or_else(|| one.seconds.clone());
            }
        } else {
            let drop = format!("DROP INDEX {}", suggestion.name);
            runtime.block_on(client.batch_execute(&drop)).unwrap();
        }
    }
    finish(runtime, client, all);
}

fn copy(one: &Measured) -> Measured {
    Measured {
        name: one.name.clone(),
        sql: String::new(),
        fingerprint: one.fingerprint,
        plan: String::new(),
        first: one.first,
        seconds: Vec::new(),
    }
}

fn finish(runtime: &Runtime, client: &Client, mut all: Vec<Measured>) {
    for _ in 0..AGAIN {
        for one in all.iter_mut().filter(|one| one.least() > one.first * SLOWER) {
            one.seconds.extend(times(runtime, client, &one.sql));
        }
    }
    println!("\n{:>6} {:>9} {:>9} {:>7}", "query", "before s", "after s", "ratio");
    for one in &all {
        println!("{:>6} {:>9.3} {:>9.3} {:>7.2}", one.name, one.first, one.least(), one.least() / one.first);
    }
    let (before, after) = all.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.first, sum.1 + one.least()));
    println!("{:>6} {before:>9.2} {after:>9.2} {:>7.2}", "sum", after / before);
    let slower: Vec<&str> =
        all.iter().filter(|one| one.least() > one.first * SLOWER).map(|one| one.name.as_str()).collect();
    println!("left more than 10 % slower: {slower:?}");
}

/// Planner costs of all statements, without and with what is advised, asked of HypoPG anew: nothing that the adviser
/// remembers or assumes has a part in it. Megabytes by HypoPG too.
pub fn checked(runtime: &Runtime, client: &Client, queries: &[String], outcome: &Outcome) -> (f64, f64, f64) {
    let cost = || -> f64 {
        let one = |sql: &String| {
            let rows = runtime.block_on(client.query(&format!("EXPLAIN {sql}"), &[])).unwrap();
            let line: String = rows[0].get(0);
            let cost = line.split("cost=").nth(1).and_then(|rest| rest.split_once("..")).unwrap().1;
            cost.split_whitespace().next().unwrap().parse::<f64>().unwrap()
        };
        queries.iter().map(one).sum()
    };
    runtime.block_on(client.batch_execute("SET jit = off; SELECT hypopg_reset()")).unwrap();
    let before = cost();
    for one in &outcome.advice.suggestions {
        let plain = one.ddl.replacen("CONCURRENTLY ", "", 1).replacen(&format!("{} ON", one.name), "ON", 1);
        runtime.block_on(client.query("SELECT * FROM hypopg_create_index($1)", &[&plain])).unwrap();
    }
    let after = cost();
    let size = "SELECT (sum(hypopg_relation_size(indexrelid)) / 1048576)::float8 FROM hypopg_list_indexes";
    let megabytes = runtime.block_on(client.query_one(size, &[])).unwrap().get(0);
    runtime.block_on(client.batch_execute("SELECT hypopg_reset()")).unwrap();
    (before, after, megabytes)
}

/// The plan without its costs.
fn plan(runtime: &Runtime, client: &Client, sql: &str) -> String {
    let rows = runtime.block_on(client.query(&format!("EXPLAIN (COSTS OFF) {sql}"), &[])).unwrap();
    rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
}

fn times(runtime: &Runtime, client: &Client, sql: &str) -> Vec<f64> {
    let mut all = Vec::new();
    let bound = format!("SET statement_timeout = '{TIMEOUT_S}s'");
    runtime.block_on(client.batch_execute(&bound)).unwrap();
    while all.len() < TIMES {
        let begun = Instant::now();
        let answer = runtime.block_on(client.simple_query(sql));
        let seconds = if answer.is_ok() { begun.elapsed().as_secs_f64() } else { TIMEOUT_S };
        all.push(seconds);
        if seconds > SLOW_S {
            // Once more would tell nothing else.
            all.resize(TIMES, seconds);
        }
    }
    all
}
