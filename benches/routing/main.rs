//! Routing, measured and judged. `cost`: nanoseconds of the decision per statement. `plans [partitions]`: forms of
//! statements on a real server with many partitions, before and after. `equivalence [cases]`: as the integration
//! test, but in every time zone of the server. Starts its own PostgreSQL where it needs one.

// A panic is how the judge reports.
#![allow(clippy::unwrap_used)]

mod cost;
#[path = "../../tests/it/routing/dice.rs"]
mod dice;
#[path = "../../tests/it/routing/judge.rs"]
mod judge;
mod plans;

use std::time::Instant;

use pgweir::demo::cluster::{Cluster, ClusterOptions};

use dice::{Dice, FORMS};
use judge::Judge;

/// What the project asks for.
const CASES: usize = 100_000;

const PARTITIONS: usize = 1_200;

fn main() {
    // cargo adds --bench.
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let number = |otherwise| arguments.get(1).and_then(|number| number.parse().ok()).unwrap_or(otherwise);
    match arguments.first().map(String::as_str) {
        Some("cost") => cost::run(),
        Some("plans") => on_server(|url, runtime| runtime.block_on(plans::run(url, number(PARTITIONS)))),
        Some("equivalence") => on_server(|url, runtime| runtime.block_on(equivalence(url, number(CASES)))),
        // `cargo test --benches` runs it without arguments.
        _ => println!("routing: cost | plans [partitions] | equivalence [cases]"),
    }
}

fn on_server(work: impl FnOnce(&str, &tokio::runtime::Runtime)) {
    // One statement on 1,200 partitions takes 4,801 locks.
    let settings = [("max_locks_per_transaction", "1024"), ("shared_buffers", "256MB"), ("jit", "off")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let cluster = Cluster::start(ClusterOptions { settings, ..ClusterOptions::default() }).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    work(&cluster.url("postgres"), &runtime);
}

/// Every zone gets an equal share of the cases.
async fn equivalence(url: &str, cases: usize) {
    let mut judge = Judge::new(url).await;
    let zones = judge.zones.clone();
    let (begun, each) = (Instant::now(), cases.div_ceil(zones.len()));
    let mut dice = Dice(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64);
    let mut differences = 0;
    for (at, zone) in zones.iter().enumerate() {
        judge.enter(zone, dice.next()).await;
        for case in 0..each {
            if let Err(told) = judge.case(case % FORMS, dice.next()).await {
                differences += 1;
                println!("DIFFERENT: {told}");
            }
        }
        if at % 20 == 19 || at + 1 == zones.len() {
            let tally = judge.tally;
            println!(
                "{:>4} of {} zones, {} s: {} statements, {} compared, {} with rows, {} unchanged, {} refused by \
                 the server, {differences} different",
                at + 1,
                zones.len(),
                begun.elapsed().as_secs(),
                tally.cases,
                tally.compared,
                tally.with_rows,
                tally.unchanged,
                tally.refused
            );
        }
    }
    assert_eq!(differences, 0);
}
