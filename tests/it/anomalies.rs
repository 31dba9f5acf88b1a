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
mod fenced;
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

use pgweir::coalesce::prefetch::level::Level;
use pgweir::pool::settings::{PoolMode, ServerAddress};

use crate::cluster::{TestDatabase, batch};
use crate::pgweir::{Pgweir, pool};
use crate::support::{PATIENCE, wait_for};
use broken::{Broken, Kind as Mistake};
use client::{Client, Clock, Front, Outcome, Statement, Style, Target};
use fenced::{Fenced, Omit};
use history::{End, Isolation, Kind, LEVELS, Txn};

/// How long each part takes.
struct Slice {
    transactions: Duration,
    registers: Duration,
    rounds: u64,
}

const SHORT: Slice =
    Slice { transactions: Duration::from_millis(500), registers: Duration::from_millis(600), rounds: 800 };

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
    front: Front,
) -> Vec<Txn> {
    let first_key = fresh_keys();
    let plan = transactions::Plan { target, direct, kind, isolation, clients: 8, lasts, front, first_key };
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
fn prove(name: &str, target: &Target, direct: Option<&Target>, slice: &Slice) {
    let mut all: BTreeMap<String, usize> = BTreeMap::new();
    for kind in [Kind::Lists, Kind::Registers] {
        for isolation in LEVELS {
            let txns = transactions(target, direct, (kind, isolation), slice.transactions, Front::Nothing);
            let (begun, ends) = (Instant::now(), ends(&txns));
            let faults = history::faults(kind, isolation, &txns);
            println!("{name} {kind:?} {isolation:?}: {ends:?}, judged in {:?}", begun.elapsed());
            assert!(faults.is_empty(), "{name} {kind:?} {isolation:?}:\n{}", faults.join("\n"));
            assert!(ends.get("committed").is_some_and(|count| *count > 20), "{name}: {ends:?}");
            ends.into_iter().for_each(|(end, count)| *all.entry(end).or_default() += count);
        }
    }
    // Connections are cut where the server itself can be reached.
    for fault in ["40001", "lost"].into_iter().filter(|fault| *fault != "lost" || direct.is_some()) {
        assert!(all.contains_key(fault), "{name}: no transaction met {fault}: {all:?}");
    }
    for direct in [None, direct] {
        let (front, first_key) = (Front::Nothing, fresh_keys());
        let pause = Duration::from_millis(1);
        let lasts = slice.registers;
        let plan = linear::Plan { target, direct, clients: 12, lasts, pause, abandons: 20, front, first_key };
        let (count, faults) = linear::run(&plan);
        println!("{name} registers: {count} operations");
        assert!(faults.is_empty(), "{name}:\n{}", faults.join("\n"));
        assert!(count > 200, "{name}: {count} operations show little");
    }
    read_your_writes(name, target, slice.rounds);
}

fn read_your_writes(name: &str, target: &Target, rounds: u64) {
    let report = own_writes(target, rounds, Front::Nothing, false);
    println!("{name} read-your-writes: {report:?}");
    assert_eq!((report.stale, report.first), (0, None), "{name}");
    assert_eq!(report.rounds, rounds);
    assert!(report.beside > rounds / 4, "{name}: nothing was under way meanwhile");
}

fn own_writes(target: &Target, rounds: u64, front: Front, stop_at_first: bool) -> own_writes::Report {
    own_writes::run(&own_writes::Plan { target, rounds, readers: 3, front, key: fresh_keys(), stop_at_first })
}

/// A pgweir in transaction mode with fewer servers than the workloads have clients.
fn weir() -> Pgweir {
    Pgweir::start(PoolMode::Transaction, |settings| pool(settings, |pool| pool.max_size = 5))
}

#[test]
fn postgresql_itself_passes() {
    let database = database("proof_direct");
    let direct = Target::parse(&database.url());
    prove("direct", &direct, Some(&direct), &SHORT);
}

#[test]
fn pgweir_passes() {
    let database = database("proof_pgweir");
    let weir = weir();
    let target = Target::parse(&weir.url(database.name()));
    prove("pgweir", &target, Some(&Target::parse(&database.url())), &SHORT);
}

/// The same with answers that are fetched ahead and kept, at this level for all tables.
fn keeping(level: Level) -> Pgweir {
    Pgweir::start(PoolMode::Transaction, |settings| {
        settings.rules.coalesce.default = Some(level);
        pool(settings, |pool| pool.max_size = 5);
    })
}

#[test]
fn pgweir_passes_where_answers_are_kept_behind_its_fence() {
    let database = database("proof_kept");
    let weir = keeping(Level::Fenced);
    prove("fenced", &Target::parse(&weir.url(database.name())), None, &SHORT);
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
    let (count, faults) = registers(&target, None, 1_000, Front::Nothing);
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
            let run = || transactions(&target, None, (kind, isolation), some, Front::Broken(Broken::stale()));
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
        until_caught(what, || registers(&target, None, 300, Front::Broken(broken.clone())).1);
        until_caught(what, || {
            let report = own_writes(&target, 1_000, Front::Broken(broken.clone()), true);
            report.first.into_iter().collect()
        });
    }
}

fn registers(target: &Target, direct: Option<&Target>, ms: u64, front: Front) -> (usize, Vec<String>) {
    let (lasts, pause) = (Duration::from_millis(ms), Duration::from_millis(10));
    let (abandons, first_key) = (50, fresh_keys());
    linear::run(&linear::Plan { target, direct, clients: 12, lasts, pause, abandons, front, first_key })
}

// --- pgweir's fence before a real PostgreSQL ---

#[test]
fn a_cache_behind_the_fence_is_never_stale() {
    let database = database("proof_fence");
    let direct = Target::parse(&database.url());
    let fenced = Fenced::new(&database, Omit::Nothing);
    let front = || Front::Fenced(fenced.clone());
    fenced.while_settling(|| {
        let (count, faults) = registers(&direct, Some(&direct), 1_500, front());
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        println!("behind the fence: {count} operations, (served, asked) = {:?}", fenced.served());
        for kind in [Kind::Lists, Kind::Registers] {
            for isolation in LEVELS {
                let some = Duration::from_millis(500);
                let txns = transactions(&direct, Some(&direct), (kind, isolation), some, front());
                let faults = history::faults(kind, isolation, &txns);
                assert!(faults.is_empty(), "{kind:?} {isolation:?}:\n{}", faults.join("\n"));
            }
        }
        let report = own_writes(&direct, 500, front(), true);
        assert_eq!(report.first, None);
        let (served, asked) = fenced.served();
        assert!(served > 100 && asked > 100, "{served} served, {asked} asked: that shows little");
    });
}

#[test]
fn a_fence_with_a_part_left_out_is_caught_by_postgresql() {
    let database = database("proof_omit");
    let direct = Target::parse(&database.url());
    for omit in [Omit::Forward, Omit::Acknowledgement] {
        let fenced = Fenced::new(&database, omit);
        fenced.while_settling(|| {
            until_caught(&format!("{omit:?}"), || {
                registers(&direct, None, 400, Front::Fenced(fenced.clone())).1
            });
        });
    }
}

/// A client sends a write that waits for a lock, and is gone; the write takes effect when the lock is given up.
#[test]
fn a_write_outlives_its_connection() {
    let database = database("proof_loss");
    let direct = Target::parse(&database.url());
    for omit in [Omit::Nothing, Omit::Loss] {
        let (fenced, key) = (Fenced::new(&database, omit), fresh_keys());
        linear::prepare(&direct, key, 1);
        let client = |front| Client::new(&direct, Clock::start(), Style::Simple, front);
        let (mut writer, mut reader) =
            (client(Front::Fenced(fenced.clone())), client(Front::Fenced(fenced.clone())));
        let (mut locker, mut judge) = (client(Front::Nothing), client(Front::Nothing));
        let read = Statement::new(linear::READ, &[&key]);
        let look = |client: &mut Client| match client.look_up(std::slice::from_ref(&read)).remove(0).outcome {
            Outcome::Rows(rows) => rows[0].clone(),
            failure => panic!("{failure:?}"),
        };
        let lock = Statement::new("SELECT v FROM reg WHERE k = $1 FOR UPDATE", &[&key]);
        locker.run(&[Statement::new("BEGIN", &[]), lock]);
        writer.connect();
        writer.abandon(&Statement::new(linear::WRITE, &[&key, &7]));
        let waits = "SELECT count(*) FROM pg_stat_activity \
            WHERE wait_event_type = 'Lock' AND datname = current_database()";
        wait_for("the write waits", || crate::cluster::ask(&database.superuser_url(), waits) != "0");
        assert_eq!((look(&mut reader), look(&mut reader)), ("0".to_owned(), "0".to_owned()));
        locker.run(&[Statement::new("ROLLBACK", &[])]);
        wait_for("the write takes effect", || look(&mut judge) == "7");
        let seen = look(&mut reader);
        assert_eq!(seen, if omit == Omit::Loss { "0" } else { "7" }, "{omit:?}");
        let before = fenced.served();
        fenced.while_settling(|| {
            wait_for("the fence stands again", || {
                look(&mut reader);
                fenced.served().0 > before.0
            });
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
    prove("long", &Target::parse(&url), Some(&Target::parse(&direct)), &slice);
}
