//! Closed partitions get checks of the ids they hold; look-ups by id leave the others out; a late row takes a check away.

use crate::cluster::{TestDatabase, ask, batch};
use crate::support::wait_for;

use super::{done, run, start_with};

const CHECKS: &str = "SELECT coalesce(string_agg(conrelid::regclass || ' ' || convalidated || ' ' || pg_get_expr(conbin, conrelid), \
    E'\\n' ORDER BY conrelid::regclass::text), '') FROM pg_constraint WHERE conname = 'pgweir_zone_id'";

#[test]
fn closed_partitions_say_which_ids_they_hold() {
    let database = TestDatabase::new("zones_made");
    run(
        &database,
        &[
            "CREATE TABLE events (id bigint NOT NULL, at timestamptz NOT NULL, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)",
            "SET timezone = 'UTC'; DO $$ DECLARE d date := (now() AT TIME ZONE 'UTC')::date; BEGIN FOR n IN 0..29 LOOP \
             EXECUTE format('CREATE TABLE events_%s PARTITION OF events FOR VALUES FROM (%L) TO (%L)', n, d - 30 + n, d - 29 + n); \
             EXECUTE format('INSERT INTO events SELECT %s * 10 + k, %L::timestamptz + k * interval ''1 hour'' FROM \
                 generate_series(0, 9) k', n, d - 30 + n); \
             END LOOP; END $$",
            "DELETE FROM events WHERE id < 10",
        ],
    );
    let rule = "{table: events, column: at, interval: day, premake: 1, zone_maps: [id]}";
    let weir = start_with(&database, &[rule], "maintenance: {every: 1h}\n", |_| {});
    wait_for("the checks", || ask(&database.url(), CHECKS).lines().count() == 28);
    let checks = ask(&database.url(), CHECKS);
    assert!(checks.contains("events_7 true ((id >= 70) AND (id <= 79))"), "{checks}");
    // Empty, not over for a whole period, and the present and the next.
    assert!(!checks.contains("events_0 ") && !checks.contains("events_29 "), "{checks}");
    let said = done(&weir, &["maintain", "--table", "events"]);
    assert!(said == "nothing to do\n", "{said}");
    let mut client = weir.login(&database.name);
    let mut locks = |id: i64| {
        client.query("BEGIN");
        let found = client.query(&format!("SELECT v FROM events WHERE id = {id}")).rows.len();
        let locks = client.query(
            "SELECT count(*) FROM pg_locks JOIN pg_class c ON c.oid = relation WHERE pid = pg_backend_pid() \
             AND relname ~ '^events_[0-9_]+$' AND relkind = 'r'",
        );
        client.query("ROLLBACK");
        (found, locks.value().parse::<u32>().unwrap())
    };
    wait_for("look-ups are narrowed", || locks(155).1 <= 6);
    assert_eq!([locks(155).0, locks(12_345).0], [1, 0]);
    // A late row: the server refuses it, and through pgweir the check goes away.
    let late = "INSERT INTO events VALUES (7000, date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '20 days', 'late')";
    let refused = std::panic::catch_unwind(|| batch(&database.url(), &[late]));
    assert!(refused.is_err(), "the server enforces it");
    let mut client = weir.login(&database.name);
    let reply = client.query(late);
    assert_eq!((reply.errors, reply.status), (0, b'I'), "{reply:?}");
    assert_eq!(ask(&database.url(), CHECKS).lines().count(), 27);
    assert_eq!(client.query("SELECT v FROM events WHERE id = 7000").value(), "late");
    // The next look says what is true now.
    done(&weir, &["maintain", "--table", "events"]);
    assert!(ask(&database.url(), CHECKS).contains("(id >= 100) AND (id <= 7000)"));
    assert_eq!(client.query("SELECT v FROM events WHERE id = 7000").value(), "late");
}

#[test]
fn large_tables_that_are_asked_by_time_are_suggested() {
    let database = TestDatabase::new("suggested");
    run(
        &database,
        &[
            "CREATE TABLE log (id int, at timestamptz NOT NULL)",
            "INSERT INTO log SELECT n, now() - n * interval '1 second' FROM generate_series(1, 1000000) n",
            "ANALYZE log",
        ],
    );
    let weir = start_with(&database, &[], "maintenance: {enabled: false}\n", |_| {});
    let mut client = weir.login(&database.name);
    for days in 0..5 {
        client.query(&format!("SELECT count(*) FROM log WHERE at > now() - interval '{days} days'"));
    }
    client.query("DELETE FROM log WHERE at < now() - interval '11 days'");
    wait_for("the suggestion", || {
        done(&weir, &["list"]).contains("public.log has 1.0 million rows and would gain")
    });
    let said = done(&weir, &["list"]);
    assert!(said.contains("calls ask by at, and old rows are deleted"), "{said}");
    assert!(
        said.contains("pgweir partitions convert public.log --column at --interval month --dry-run"),
        "{said}"
    );
    let answer: serde_json::Value = serde_json::from_str(&done(&weir, &["list", "--json"])).unwrap();
    assert_eq!(answer["suggestions"][0]["deletes"], 1, "{answer}");
}
