//! While a conversion waits for its lock, statements through pgweir wait in pgweir: none of them meets the lock, however
//! short its patience, and those on other tables go on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::cluster::{TestDatabase, connect};
use crate::support::wait_for;

use super::{done, run, start};

/// Runs `each` over and over on a thread of its own.
fn repeat<'a>(
    scope: &'a std::thread::Scope<'a, '_>,
    stop: &'a AtomicBool,
    url: String,
    setting: &'a str,
    text: &'a str,
    each: impl Fn(Duration, Result<(), tokio_postgres::Error>) + Send + 'a,
) {
    scope.spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(connect(&url));
        runtime.block_on(client.batch_execute(setting)).unwrap();
        while !stop.load(Relaxed) {
            let begun = Instant::now();
            let outcome = runtime.block_on(client.batch_execute(text));
            each(begun.elapsed(), outcome);
        }
    });
}

#[test]
fn statements_wait_in_pgweir_while_the_switch_waits_for_its_lock() {
    let database = TestDatabase::new("held");
    run(
        &database,
        &[
            "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL)",
            "INSERT INTO t (at) SELECT now() - n * interval '1 hour' FROM generate_series(1, 3000) n",
            "CREATE TABLE other (id int)",
        ],
    );
    let weir = start(&database, &[]);
    let (stop, reads, longest, longest_other) =
        (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let counted = |longest: &AtomicU64, took: Duration, outcome: Result<(), tokio_postgres::Error>| {
        if let Err(error) = outcome {
            stop.store(true, Relaxed);
            panic!("{:?}", error.as_db_error().map(|error| error.to_string()));
        }
        reads.fetch_add(1, Relaxed);
        longest.fetch_max(took.as_millis() as u64, Relaxed);
    };
    std::thread::scope(|scope| {
        // Around pgweir, and in nobody's hurry: the lock is waited for.
        for _ in 0..3 {
            let text = "BEGIN; SELECT count(*) FROM t WHERE id < 3; SELECT pg_sleep(0.1); COMMIT";
            repeat(scope, &stop, database.url(), "", text, |_, outcome| outcome.unwrap());
        }
        // More clients than servers, each with little patience.
        for _ in 0..8 {
            let text = "SELECT id FROM t WHERE id < 5";
            let url = weir.url(&database.name);
            let longest = &longest;
            repeat(scope, &stop, url, "SET lock_timeout = '40ms'", text, move |took, outcome| {
                counted(longest, took, outcome);
            });
        }
        let longest_other = &longest_other;
        repeat(scope, &stop, weir.url(&database.name), "", "SELECT id FROM other", move |took, outcome| {
            counted(longest_other, took, outcome);
        });
        wait_for("reads go on", || reads.load(Relaxed) > 200);
        let said = done(&weir, &["convert", "t", "--column", "at", "--interval", "month"]);
        assert!(said.contains("was held for"), "{said}");
        let after = reads.load(Relaxed);
        wait_for("reads go on", || reads.load(Relaxed) > after + 200);
        stop.store(true, Relaxed);
    });
    let [longest, other] = [&longest, &longest_other].map(|longest| longest.load(Relaxed));
    println!("longest wait {longest} ms, on another table {other} ms");
    assert!(longest < 500, "{longest} ms");
}
