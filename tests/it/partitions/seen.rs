//! What pgweir itself changes is seen by its own workers at once: no answer that was kept outlives an archive.

use std::time::{Duration, Instant};

use crate::cluster::{TestDatabase, ask};
use crate::support::{until, wait_for};

use super::{done, run, start_with};

/// An answer may be kept for a second; one that is asked for all the time is there nearly always.
const ROUNDS: usize = 5;

#[test]
fn an_archive_breaks_fences() {
    let database = TestDatabase::new("seen");
    run(
        &database,
        &[
            "CREATE TABLE log (id int NOT NULL, at timestamptz NOT NULL, t text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)",
            "CREATE TABLE log_2020_01 PARTITION OF log FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2020-02-01 00:00+00')",
            "CREATE TABLE log_rest PARTITION OF log FOR VALUES FROM ('2020-02-01 00:00+00') TO ('2999-01-01')",
            "INSERT INTO log SELECT n, '2020-01-07 00:00+00', 'row ' || n FROM generate_series(1, 1000) n",
            "ANALYZE log",
        ],
    );
    let rule = "{table: log, column: at, interval: month, premake: 0, retention: {keep: 12 months, archive: {schema: cold}}}";
    let more = "maintenance: {enabled: false, lock_timeout: 200ms}\ncoalesce: {tables: {public.log: {level: fenced}}}\n";
    let weir = start_with(&database, &[rule], more, |_| {});
    let mut client = weir.login(database.name());
    let mut rows = || client.query("SELECT t FROM log WHERE id = 7").rows.len();
    for _ in 0..ROUNDS {
        let served = weir.metric("pgweir_coalescing_served_total", &[]);
        wait_for("an answer is kept and served", || {
            assert_eq!(rows(), 1);
            weir.metric("pgweir_coalescing_served_total", &[]) > served + 20.0
        });
        std::thread::scope(|scope| {
            let archive = scope.spawn(|| done(&weir, &["archive", "log", "log_2020_01"]));
            until("the partition is taken out", || {
                let before = rows();
                let gone = ask(&database.superuser_url(), "SELECT count(*) FROM log") == "0";
                // What was asked for before it was known to be gone may hold it.
                gone.then_some(before)
            });
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(200) {
                assert_eq!(rows(), 0, "the row was answered though its partition is gone");
            }
            archive.join().unwrap();
        });
        done(&weir, &["restore", "log", "log_2020_01"]);
    }
}
