//! The proofs of consistency, as programs against any connection string: transactions and their anomalies,
//! linearizability of single rows, read-your-writes over two connections, all of it while backends are ended. Run
//! straight to PostgreSQL, which has to pass, and through pgweir; and with each mistake that a check is for, which
//! it has to find.
//!
//! A longer run: `PGWEIR_PROOF_SECONDS=600 cargo test --release --test it anomalies::long -- --ignored --nocapture`.
//! `PGWEIR_PROOF_URL` names what is to be tested, if not a pgweir of its own; `direct` is the server itself.
//! `PGWEIR_PROOF_DIRECT` names the server behind it, and `PGWEIR_PROOF_ROUNDS` are those of read-your-writes.

mod broken;
mod client;
mod history;
mod linear;
mod lists;
mod nemesis;
mod own_writes;
mod registers;
mod relay;
mod transactions;
mod versions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use pgweir::pool::settings::{PoolMode, ServerAddress};

use crate::cluster::{TestDatabase, batch};
use crate::pgweir::{Pgweir, pool};
use crate::support::PATIENCE;
use broken::{Broken, Kind as Mistake};
use client::Target;
use history::{End, Isolation, Kind, LEVELS, Txn};

/// How long each part takes.
struct Slice {
    transactions: Duration,
    registers: Duration,
    rounds: u64,
}

const SHORT: Slice =
    Slice { transactions: Duration::from_millis(700), registers: Duration::from_millis(900), rounds: 1_000 };

/// Keys that no other run of this process has used.
fn fresh_keys() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1_000_000, Relaxed) + 1
}

/// The tables, in a database where deadlocks are found soon.
fn database(subject: &str) -> TestDatabase {
    let database = TestDatabase::new(subject);
    let soon = format!("ALTER DATABASE {} SET deadlock_timeout = '30ms'", database.name());
    batch(&database.superuser_url(), &[&soon]);
    batch(&database.url(), &[linear::TABLE, "SELECT 1"]);
    for table in transactions::TABLES.split(';') {
        batch(&database.url(), &[table]);
    }
    database
}

fn transactions(
    target: &Target,
    direct: Option<&Target>,
    (kind, isolation): (Kind, Isolation),
    lasts: Duration,
    broken: Option<Arc<Broken>>,
) -> Vec<Txn> {
    let first_key = fresh_keys();
    let plan = transactions::Plan { target, direct, kind, isolation, clients: 8, lasts, broken, first_key };
    transactions::run(&plan).0
}

/// How transactions ended, for people.
fn ends(txns: &[Txn]) -> BTreeMap<String, usize> {
    let mut ends = BTreeMap::new();
    for txn in txns {
        let end = match (txn.end, &txn.fault) {
            (End::Committed, _) => "committed".to_owned(),
            (_, Some(fault)) => fault.clone(),
            (_, None) => "rolled back".to_owned(),
        };
        *ends.entry(end).or_default() += 1;
    }
    ends
}

/// Runs every proof; panics with the first fault.
fn prove(name: &str, target: &Target, direct: &Target, slice: &Slice) {
    let mut all: BTreeMap<String, usize> = BTreeMap::new();
    for kind in [Kind::Lists, Kind::Registers] {
        for isolation in LEVELS {
            let txns = transactions(target, Some(direct), (kind, isolation), slice.transactions, None);
            let (begun, ends) = (Instant::now(), ends(&txns));
            let faults = history::faults(kind, isolation, &txns);
            println!("{name} {kind:?} {isolation:?}: {ends:?}, judged in {:?}", begun.elapsed());
            assert!(faults.is_empty(), "{name} {kind:?} {isolation:?}:\n{}", faults.join("\n"));
            assert!(ends.get("committed").is_some_and(|count| *count > 20), "{name}: {ends:?}");
            ends.into_iter().for_each(|(end, count)| *all.entry(end).or_default() += count);
        }
    }
    for fault in ["40001", "lost"] {
        assert!(all.contains_key(fault), "{name}: no transaction met {fault}: {all:?}");
    }
    for direct in [None, Some(direct)] {
        let (broken, first_key) = (None, fresh_keys());
        let plan = linear::Plan { target, direct, clients: 12, lasts: slice.registers, broken, first_key };
        let (count, faults) = linear::run(&plan);
        println!("{name} registers: {count} operations");
        assert!(faults.is_empty(), "{name}:\n{}", faults.join("\n"));
        assert!(count > 200, "{name}: {count} operations show little");
    }
    read_your_writes(name, target, slice.rounds);
}

fn read_your_writes(name: &str, target: &Target, rounds: u64) {
    let key = fresh_keys();
    let report = own_writes::run(&own_writes::Plan { target, rounds, readers: 3, broken: None, key });
    println!("{name} read-your-writes: {report:?}");
    assert_eq!((report.stale, report.first), (0, None), "{name}");
    assert_eq!(report.rounds, rounds);
    assert!(report.beside > rounds / 4, "{name}: nothing was under way meanwhile");
}

/// A pgweir in transaction mode with fewer servers than the workloads have clients.
fn weir() -> Pgweir {
    Pgweir::start(PoolMode::Transaction, |settings| pool(settings, |pool| pool.max_size = 5))
}

#[test]
fn postgresql_itself_passes() {
    let database = database("proof_direct");
    let direct = Target::parse(&database.url());
    prove("direct", &direct, &direct, &SHORT);
}

#[test]
fn pgweir_passes() {
    let database = database("proof_pgweir");
    let weir = weir();
    let target = Target::parse(&weir.url(database.name()));
    prove("pgweir", &target, &Target::parse(&database.url()), &SHORT);
}

#[test]
fn pgweir_passes_with_a_slow_and_uneven_network() {
    let database = database("proof_relay");
    let direct = Target::parse(&database.url());
    let between = relay::start(direct.address, Duration::from_millis(2));
    let weir = Pgweir::start(PoolMode::Transaction, |settings| {
        for database in settings.databases.values_mut() {
            let server = ServerAddress::Tcp { host: between.ip().to_string(), port: between.port() };
            Arc::make_mut(database).servers = vec![server];
        }
    });
    let target = Target::parse(&weir.url(database.name()));
    read_your_writes("relay", &target, 200);
    let (broken, first_key) = (None, fresh_keys());
    let lasts = Duration::from_secs(1);
    let plan = linear::Plan { target: &target, direct: None, clients: 12, lasts, broken, first_key };
    let (count, faults) = linear::run(&plan);
    assert!(faults.is_empty() && count > 200, "{count} operations: {}", faults.join("\n"));
}

// --- the checks can see ---

/// Runs a part again and again until its check finds a fault.
fn until_caught(what: &str, mut run: impl FnMut() -> Vec<String>) {
    let begun = Instant::now();
    loop {
        let faults = run();
        if let Some(first) = faults.first() {
            println!("{what}: {first}");
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "the check sees nothing: {what}");
    }
}

#[test]
fn stale_reads_in_transactions_are_caught() {
    let database = database("proof_stale");
    let target = Target::parse(&database.url());
    let some = Duration::from_millis(300);
    for kind in [Kind::Lists, Kind::Registers] {
        for isolation in LEVELS {
            let run = || transactions(&target, None, (kind, isolation), some, Some(Broken::stale()));
            // In READ COMMITTED two statements may see two states: there it takes the question for each statement.
            if isolation != Isolation::ReadCommitted {
                let what = format!("anomalies, {kind:?} {isolation:?}");
                until_caught(&what, || match history::as_lists(kind, &run()) {
                    Ok(txns) => history::anomalies(isolation, &txns),
                    Err(_) => Vec::new(),
                });
            }
            let what = format!("each statement, {kind:?} {isolation:?}");
            until_caught(&what, || history::faults(kind, isolation, &run()));
        }
    }
}

#[test]
fn stale_registers_and_own_writes_are_caught() {
    let database = database("proof_stale_registers");
    let target = Target::parse(&database.url());
    let in_flight = || Broken::new(Mistake::JoinsInFlight);
    for (what, broken) in [("stale", Broken::stale()), ("joins in flight", in_flight())] {
        until_caught(what, || {
            let (broken, first_key) = (Some(broken.clone()), fresh_keys());
            let lasts = Duration::from_millis(300);
            linear::run(&linear::Plan {
                target: &target,
                direct: None,
                clients: 12,
                lasts,
                broken,
                first_key,
            })
            .1
        });
        until_caught(what, || {
            let (broken, key) = (Some(broken.clone()), fresh_keys());
            own_writes::run(&own_writes::Plan { target: &target, rounds: 1_000, readers: 3, broken, key })
                .first
                .into_iter()
                .collect()
        });
    }
}

// --- at length ---

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

#[test]
#[ignore = "takes minutes; see the head of this file"]
fn long() {
    let seconds = setting("PGWEIR_PROOF_SECONDS", 60);
    let slice = Slice {
        transactions: Duration::from_secs(seconds),
        registers: Duration::from_secs(seconds),
        rounds: setting("PGWEIR_PROOF_ROUNDS", 100_000),
    };
    let (database, weir) = (database("proof_long"), weir());
    let direct = std::env::var("PGWEIR_PROOF_DIRECT").unwrap_or_else(|_| database.url());
    let url = match std::env::var("PGWEIR_PROOF_URL") {
        Ok(url) if url == "direct" => direct.clone(),
        Ok(url) => url,
        Err(_) => weir.url(database.name()),
    };
    for text in transactions::TABLES.split(';').chain([linear::TABLE, "TRUNCATE lists, regs, reg"]) {
        batch(&direct, &[text]);
    }
    prove("long", &Target::parse(&url), &Target::parse(&direct), &slice);
}
