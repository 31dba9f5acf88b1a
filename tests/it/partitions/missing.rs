//! A row that finds no partition gets one and is sent again: the client sees one answer, and no error.

use std::time::Duration;

use crate::cluster::{TestDatabase, ask, connect};
use crate::rawclient::{Raw, bound, extended, query};
use crate::support::{Weir, until};

use super::{audited, bounds, run, start_with};

/// What is done by itself is done once, at the start.
const SELDOM: &str = "maintenance: {every: 1h}\n";

fn start(database: &TestDatabase) -> Weir {
    run(
        database,
        &[
            "CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz NOT NULL, v text, PRIMARY KEY (id, at)) \
             PARTITION BY RANGE (at)",
            "CREATE TABLE counted (ms bigint NOT NULL) PARTITION BY RANGE (ms)",
            "CREATE TABLE refused (at timestamptz NOT NULL) PARTITION BY RANGE (at)",
        ],
    );
    let rules = [
        "{table: events, column: at, interval: month, premake: 1}",
        "{table: counted, column: ms, interval: day, format: epoch_ms, time_zone: Asia/Tokyo}",
        "{table: refused, column: at, interval: month, create_missing: off}",
    ];
    let weir = start_with(database, &rules, SELDOM, |_| {});
    for (table, count) in [("events", 2), ("counted", 4), ("refused", 4)] {
        until("the partitions", || (bounds(database, table).len() == count).then_some(()));
    }
    weir
}

fn tags(client: &mut Raw, request: &[u8], readies: usize) -> (String, Vec<(u8, Vec<u8>)>) {
    client.send(request);
    let mut frames = Vec::new();
    while frames.iter().filter(|(tag, _)| *tag == b'Z').count() < readies {
        frames.push(client.frame().expect("an answer"));
    }
    (frames.iter().map(|(tag, _)| char::from(*tag)).collect(), frames)
}

fn count(database: &TestDatabase, table: &str) -> u32 {
    ask(&database.url(), &format!("SELECT count(*)::text FROM {table}")).parse().unwrap()
}

#[test]
fn a_row_without_a_partition_gets_one() {
    let database = TestDatabase::new("missing");
    let weir = start(&database);
    let mut client = weir.login(&database.name);
    let month = |n: i32| format!("date_trunc('month', now()) + interval '{n} months 10 days'");
    let insert = |n: i32| format!("INSERT INTO events (at) VALUES ({})", month(n));
    let cases = [
        (query(&insert(4)), "CZ"),
        (query(&format!("{} RETURNING id, at", insert(5))), "TDCZ"),
        (extended(&insert(6)), "12CZ"),
        (query(&format!("INSERT INTO events (at) VALUES (now()), ({}) RETURNING id", month(7))), "TDDCZ"),
        (query("SET timezone = 'Asia/Kolkata'"), "CSZ"),
        (extended(&format!("{} RETURNING id", insert(-3))), "12DCZ"),
        (query("SET timezone = 'UTC'"), "CSZ"),
    ];
    for (at, (request, expected)) in cases.into_iter().enumerate() {
        let (seen, _) = tags(&mut client, &request, 1);
        let sorted = |text: &str| {
            let mut letters: Vec<char> = text.chars().collect();
            letters.sort_unstable();
            letters
        };
        assert_eq!(sorted(&seen), sorted(expected), "{at}: {seen}");
    }
    assert_eq!((bounds(&database, "events").len(), count(&database, "events")), (7, 6));
    // Its key is a number of milliseconds, its days those of Tokyo.
    let far = "INSERT INTO counted VALUES ((extract(epoch FROM now() + interval '9 days') * 1000)::bigint)";
    assert_eq!(tags(&mut client, &query(far), 1).0, "CZ");
    assert_eq!(bounds(&database, "counted").len(), 5);
    // A driver that prepares, describes and binds.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = connect(&weir.url(&database.name)).await;
        let text = "INSERT INTO events (at, v) VALUES (now() + $1::int * interval '1 month', $2) RETURNING v";
        let statement = client.prepare(text).await.unwrap();
        for (n, v) in [(8, "a"), (8, "b"), (-4, "c"), (9, "d")] {
            let row = client.query_one(&statement, &[&n, &v]).await.unwrap();
            assert_eq!(row.get::<_, String>(0), v);
        }
        let moved = "UPDATE events SET at = at + interval '2 months' WHERE v = 'd'";
        assert_eq!(client.execute(moved, &[]).await.unwrap(), 1);
    });
    assert_eq!(bounds(&database, "events").len(), 11);
    let created = |act: &&serde_json::Value| act.to_string().contains("CREATE TABLE");
    assert_eq!(audited(&weir).iter().filter(created).count(), 2 * (11 + 5 + 4));
    assert!(weir.metric("pgweir_partitions_created_total", &[]) >= 9.0);
    drop((client, runtime));
    weir.settles(5, &database.superuser_url(), &database.name);
}

#[test]
fn what_gets_none_sees_the_servers_error() {
    let database = TestDatabase::new("missing_refused");
    let weir = start(&database);
    let mut client = weir.login(&database.name);
    let before = bounds(&database, "events");
    let far = "'52217-01-01'";
    let soon = "now() + interval '5 months'";
    let insert = |table: &str, at: &str| format!("INSERT INTO {table} (at) VALUES ({at})");
    for (request, readies) in [
        (query(&insert("events", far)), 1),
        (extended(&insert("events", "'1815-06-18'")), 1),
        (bound("INSERT INTO events (at) VALUES ($1)", &["2222-01-01"]), 1),
        (query(&insert("refused", soon)), 1),
        // Whatever else is under way would be done twice, or is lost already.
        ([query("BEGIN"), query(&insert("events", soon)), query("ROLLBACK")].concat(), 3),
        (query(&format!("{}; {}", insert("events", "now()"), insert("events", soon))), 1),
        ([extended(&insert("events", soon)), query("SELECT 1")].concat(), 2),
        // DateStyle decides what the error's value means.
        (
            [query("SET datestyle = 'SQL, DMY'"), query(&insert("events", soon)), query("RESET datestyle")]
                .concat(),
            3,
        ),
    ] {
        let (seen, frames) = tags(&mut client, &request, readies);
        let error = frames.iter().find(|(tag, _)| *tag == b'E').unwrap_or_else(|| panic!("{seen}"));
        assert!(String::from_utf8_lossy(&error.1).contains("C23514"), "{seen}");
    }
    assert_eq!(bounds(&database, "events"), before);
    assert_eq!(count(&database, "events"), 0);
    for told in ["52217", "1815-06"] {
        assert!(!weir.log().contains(told), "{told}");
    }
    // Held by somebody for longer than a client waits: the error comes, and the session goes on.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let holder = runtime.block_on(connect(&database.url()));
    runtime
        .block_on(holder.batch_execute(
            "BEGIN; LOCK TABLE events IN ACCESS SHARE MODE; LOCK TABLE events IN SHARE UPDATE EXCLUSIVE MODE",
        ))
        .unwrap();
    let begun = std::time::Instant::now();
    let (seen, _) = tags(&mut client, &query(&insert("events", soon)), 1);
    assert!(seen == "EZ" && begun.elapsed() < Duration::from_secs(12), "{seen}");
    runtime.block_on(holder.batch_execute("ROLLBACK")).unwrap();
    assert_eq!(client.query("SELECT 7").value(), "7");
}

#[test]
fn many_rows_at_once_get_one_partition() {
    let database = TestDatabase::new("missing_many");
    let weir = start(&database);
    let mut clients: Vec<Raw> = (0..12).map(|_| weir.login(&database.name)).collect();
    let insert = query("INSERT INTO events (at) VALUES (date_trunc('month', now()) + interval '7 months')");
    clients.iter_mut().for_each(|client| client.send(&insert));
    for client in &mut clients {
        let reply = client.reply();
        assert_eq!((reply.errors, reply.status), (0, b'I'), "{reply:?}");
    }
    assert_eq!((bounds(&database, "events").len(), count(&database, "events")), (3, 12));
}
