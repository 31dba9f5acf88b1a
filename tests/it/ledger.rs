//! The ledger beside pg_stat_statements: after a mixed run both have counted the same calls and rows for every
//! shape. PostgreSQL's texts are given to pgweir's own lexer, so that the two kinds of shapes meet.

use std::collections::BTreeMap;

use pgweir::demo::cluster::{Cluster, ClusterOptions};
use pgweir::pool::settings::PoolMode;
use pgweir::sql::shape::Shaper;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::cluster::{APP_USER, ask, batch, connect, prepare};
use crate::pgweir::Pgweir;
use crate::support::{http, psql};

/// Calls and rows by fingerprint.
type Counts = BTreeMap<String, (u64, u64, String)>;

const SCHEMA: [&str; 4] = [
    "CREATE TABLE facilities (id int PRIMARY KEY, name text, \"organizationId\" int)",
    "INSERT INTO facilities SELECT n, 'f' || n, n % 7 FROM generate_series(1, 200) n",
    "CREATE TABLE emissions (id serial PRIMARY KEY, facility_id int, quantity numeric, at timestamptz)",
    "GRANT ALL ON ALL TABLES IN SCHEMA public TO app; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app",
];

#[tokio::test]
async fn calls_and_rows_are_those_of_pg_stat_statements() {
    let settings = [
        ("shared_preload_libraries", "pg_stat_statements"),
        ("pg_stat_statements.track", "top"),
        ("pg_stat_statements.track_utility", "on"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let cluster = Cluster::start(ClusterOptions { settings, ..Default::default() })
        .unwrap_or_else(|e| panic!("the tests need a PostgreSQL: {e}"));
    prepare(&cluster);
    batch(&cluster.url("pgweir_template"), &SCHEMA);
    batch(&cluster.url("pgweir_template"), &["CREATE EXTENSION pg_stat_statements"]);
    let weir = Pgweir::before(&cluster, PoolMode::Transaction, |_| {});
    let url = weir.url("pgweir_template");
    let clients: Vec<_> = (0..3).map(|at| tokio::spawn(mixed_run(url.clone(), at))).collect();
    for client in clients {
        client.await.unwrap();
    }
    let ours = ledger(&weir);
    let theirs = statements(&cluster).await;
    let version: u32 = ask(&cluster.url("postgres"), "SHOW server_version_num").parse().unwrap();
    let version = version / 10_000;
    assert!(ours.len() >= 20, "{ours:#?}");
    for (fingerprint, (calls, rows, text)) in &ours {
        if text.contains("as in_parts") && version < 16 {
            // Until 16 it counts only the rows of a portal's last part.
            assert_eq!((*calls, *rows), (60, 60 * 25), "{text}");
            continue;
        }
        if version >= 17 && (text.starts_with("savepoint ") || text.starts_with("rollback to ")) {
            // From 17 on it leaves the names of savepoints out of its texts.
            assert_eq!((*calls, *rows), (60, 0), "{text}");
            continue;
        }
        let (their_calls, their_rows, _) = theirs.get(fingerprint).cloned().unwrap_or_default();
        assert_eq!((calls, rows), (&their_calls, &their_rows), "pgweir left, PostgreSQL right: {text}");
    }
}

/// What three clients do at once: every protocol, results in parts, errors, transactions, several statements in
/// one message, COPY.
async fn mixed_run(url: String, at: i32) {
    let mut client = connect(&url).await;
    for round in 0..20 {
        let id = at * 60 + round + 1;
        by_simple_queries(&client, id).await;
        by_prepared_statements(&client, id).await;
        in_parts(&mut client).await;
        with_errors(&client, id).await;
    }
    let copy = "\\copy emissions (facility_id) from program 'seq 50'";
    tokio::task::spawn_blocking(move || psql(&url, copy).unwrap()).await.unwrap();
}

async fn by_simple_queries(client: &Client, id: i32) {
    for text in [
        format!("SELECT id, name FROM facilities WHERE id = {id}"),
        format!("select  id,name from facilities where {id} = ID -- the same\n"),
        format!("SELECT name FROM facilities WHERE \"organizationId\" IN ({}, {id})", id % 5),
        format!("SELECT name FROM facilities WHERE \"organizationId\" IN ({}, 2, 3, NULL)", id % 5),
        format!(
            "INSERT INTO emissions (facility_id, quantity, at) VALUES ({id}, 1.5, now()), ({id}, -2, NULL)"
        ),
        format!("UPDATE emissions SET quantity = quantity * 1.1 WHERE facility_id = {id}"),
        format!(
            "SELECT count(*) FROM emissions WHERE facility_id = {id}; SELECT 'a''b', E'c\\'d', $x$e$x$; SELECT 1"
        ),
        "SELECT name FROM facilities ORDER BY 1 LIMIT 3".to_owned(),
        "SET TIME ZONE 'UTC'".to_owned(),
        "SHOW timezone".to_owned(),
        format!("BEGIN; SAVEPOINT a; DELETE FROM emissions WHERE facility_id = {id}; ROLLBACK TO a; COMMIT"),
    ] {
        client.simple_query(&text).await.unwrap_or_else(|e| panic!("{text}: {e}"));
    }
}

async fn by_prepared_statements(client: &Client, id: i32) {
    let named = client.prepare("SELECT id, name FROM facilities WHERE id = $1").await.unwrap();
    assert_eq!(client.query(&named, &[&id]).await.unwrap().len(), 1);
    assert_eq!(client.query(&named, &[&-id]).await.unwrap().len(), 0);
    let unnamed = "SELECT name FROM facilities WHERE id >= $1 AND id < $1 + 10 ORDER BY id";
    client.query_typed(unnamed, &[(&id, Type::INT4)]).await.unwrap();
    let insert = "INSERT INTO emissions (facility_id, quantity) SELECT n, 1 FROM generate_series(1, $1) n RETURNING id";
    assert_eq!(client.query(insert, &[&5]).await.unwrap().len(), 5);
    let delete = "DELETE FROM emissions WHERE facility_id = $1 AND quantity = 1";
    client.execute(delete, &[&(id % 5 + 1)]).await.unwrap();
}

/// A portal that is read in three parts, one that is left after its first, and an SQL cursor.
async fn in_parts(client: &mut Client) {
    let transaction = client.transaction().await.unwrap();
    let portal =
        transaction.bind("SELECT id AS in_parts FROM facilities WHERE id <= $1", &[&25]).await.unwrap();
    for expected in [10, 10, 5] {
        assert_eq!(transaction.query_portal(&portal, 10).await.unwrap().len(), expected);
    }
    let left = transaction.bind("SELECT id, 'left' FROM facilities WHERE id <= $1", &[&25]).await.unwrap();
    assert_eq!(transaction.query_portal(&left, 10).await.unwrap().len(), 10);
    transaction.batch_execute("DECLARE c CURSOR FOR SELECT id FROM facilities").await.unwrap();
    let fetched = transaction.simple_query("FETCH 7 FROM c").await.unwrap();
    let rows = fetched.iter().filter(|message| matches!(message, SimpleQueryMessage::Row(_)));
    assert_eq!(rows.count(), 7);
    transaction.commit().await.unwrap();
}

/// What fails is no call, here and there.
async fn with_errors(client: &Client, id: i32) {
    client.simple_query(&format!("SELECT id / 0 FROM facilities WHERE id = {id}")).await.unwrap_err();
    client.simple_query("SELECT nothing FROM nowhere").await.unwrap_err();
    client
        .simple_query(
            "SELECT min(id) FROM facilities; SELECT 1 / 0 FROM facilities; SELECT max(id) FROM facilities",
        )
        .await
        .unwrap_err();
    client.query("SELECT 10 / $1::int AS divided", &[&0]).await.unwrap_err();
    client.query("SELECT 10 / $1::int AS divided", &[&id]).await.unwrap();
}

fn ledger(weir: &Pgweir) -> Counts {
    let (status, body) = http(weir.admin(), "GET", "/api/database/queries?limit=10000", &[]);
    assert_eq!(status, 200, "{body}");
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    let rows = answer["queries"].as_array().unwrap().iter().map(|row| {
        let number = |key: &str| row[key].as_u64().unwrap();
        let text = row["statement"].as_str().unwrap().to_owned();
        (row["shape"].as_str().unwrap().to_owned(), (number("calls"), number("rows"), text))
    });
    rows.collect()
}

async fn statements(cluster: &Cluster) -> Counts {
    let client = connect(&cluster.url("pgweir_template")).await;
    let query = "SELECT query, sum(calls)::bigint, sum(rows)::bigint FROM pg_stat_statements s \
                 JOIN pg_roles r ON r.oid = s.userid WHERE rolname = $1 GROUP BY 1";
    let mut counts = Counts::new();
    let mut shaper = Shaper::default();
    for row in client.query(query, &[&APP_USER]).await.unwrap() {
        let (text, calls, rows): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
        shaper.shapes(text.as_bytes(), true, |shape| {
            let entry = counts.entry(format!("{:016x}", shape.fingerprint)).or_default();
            entry.0 += calls as u64;
            entry.1 += rows as u64;
            entry.2.clone_from(&text);
        });
    }
    counts
}
