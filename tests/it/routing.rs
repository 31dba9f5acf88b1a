//! Statements on partitioned tables, narrowed, against a real PostgreSQL.

mod around;
mod dice;
mod judge;
mod pruning;
mod reach;
mod traffic;

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

use crate::cluster::TestDatabase;
use dice::FORMS;
use judge::Judge;

/// Zones whose clocks did what others' never did.
const HARD: [&str; 14] = [
    "America/Havana",
    "Antarctica/Casey",
    "America/Sao_Paulo",
    "Pacific/Apia",
    "Europe/Paris",
    "Pacific/Kwajalein",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "UTC",
    "America/St_Johns",
    "Pacific/Kiritimati",
    "Asia/Gaza",
    "Europe/Dublin",
];

/// A slice of what `cargo bench --bench routing -- equivalence` runs in full.
const SLICE: Duration = Duration::from_secs(15);

#[test]
fn narrowed_statements_bring_the_same_rows() {
    let database = TestDatabase::new("routing");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut judge = runtime.block_on(Judge::new(&database.superuser_url()));
    let begun = Instant::now();
    for (at, zone) in HARD.into_iter().enumerate() {
        runtime.block_on(judge.enter(zone, at as u64));
        let share = SLICE * (at as u32 + 1) / HARD.len() as u32;
        while begun.elapsed() < share {
            let mut runner =
                TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
            let strategy = (0..FORMS, any::<u64>());
            let cell = std::cell::RefCell::new(&mut judge);
            let outcome = runner.run(&strategy, |(form, seed)| {
                let told = runtime.block_on(cell.borrow_mut().case(form, seed));
                told.map_err(TestCaseError::fail)
            });
            if let Err(TestError::Fail(reason, _)) = outcome {
                panic!("{reason}");
            }
        }
    }
    let tally = judge.tally;
    assert!(tally.compared > 50 && tally.with_rows > tally.compared / 5, "{tally:?}");
}
