//! pgweir's own questions: plans, the ledger's table, and the catalog as a running pgweir keeps it fresh.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pgweir::auth::{Secret, UserSettings};
use pgweir::demo::cluster::{Cluster, ClusterOptions, TlsFiles};
use pgweir::observe::findings::Finding;
use pgweir::observe::indexes::{Dismissal, Kept};
use pgweir::observe::state::{Line, Saved};
use pgweir::pool::settings::PoolMode;
use pgweir::probe::explain::{Analyze, Explain};
use pgweir::probe::state::Place;
use pgweir::probe::{APPLICATION_NAME, ProbeError};
use pgweir::tls::{ServerTls, SslMode};
use serde_json::Value;

use crate::catalog::{probe, probe_as, sample};
use crate::cluster::{APP_PASSWORD, APP_USER, TestDatabase, app_url, ask, batch, connect, prepare};
use crate::pgweir::Pgweir;
use crate::support::{Authority, http, until, wait_for};

fn question(statement: &str) -> Explain {
    Explain { statement: statement.to_owned(), ..Explain::default() }
}

fn node(plan: &str) -> Value {
    let plan: Value = serde_json::from_str(plan).unwrap();
    plan[0]["Plan"].clone()
}

#[tokio::test]
async fn statements_with_parameters_are_explained() {
    let database = TestDatabase::new("explain");
    batch(
        &database.url(),
        &["CREATE TABLE t (id int PRIMARY KEY, name text, key uuid, at timestamptz, tags text[])"],
    );
    let probe = probe(&database);
    type Case = (&'static str, Vec<u32>, Vec<Option<&'static str>>);
    let cases: [Case; 8] = [
        ("SELECT * FROM t WHERE id = $1", vec![], vec![Some("7")]),
        ("SELECT * FROM t WHERE id = $1", vec![20], vec![Some("7")]),
        ("SELECT * FROM t WHERE name = $1 AND id > $2", vec![0, 23], vec![Some("o'; x"), Some("1")]),
        ("SELECT * FROM t WHERE key = $1", vec![], vec![Some("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")]),
        ("SELECT * FROM t WHERE at < $1", vec![1184], vec![Some("2025-01-01 10:00:00+02")]),
        ("SELECT * FROM t WHERE id = ANY($1) AND tags && $2", vec![], vec![Some("{1,2}"), Some("{\"a b\"}")]),
        ("UPDATE t SET name = $2 WHERE id = $1 RETURNING at", vec![], vec![Some("1"), None]),
        ("SELECT count(*) FROM t", vec![], vec![]),
    ];
    for (statement, types, values) in cases {
        let generic = Explain { types: types.clone(), ..question(statement) };
        let plan = probe.explain(&generic).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        assert!(node(&plan)["Total Cost"].as_f64() > Some(0.0), "{statement}: {plan}");
        if !values.is_empty() {
            assert!(plan.contains("$1"), "{statement} is planned for any values: {plan}");
        }
        let values = values.into_iter().map(|value| value.map(str::to_owned)).collect();
        let custom = Explain { values: Some(values), types, ..question(statement) };
        let plan = probe.explain(&custom).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        assert!(!plan.contains("$1"), "{statement} is planned for these values: {plan}");
    }
    let missing = Explain { search_path: vec!["nowhere".into()], ..question("SELECT * FROM t") };
    let refused = probe.explain(&missing).await.unwrap_err();
    assert!(matches!(&refused, ProbeError::Refused { sqlstate, .. } if sqlstate == "42P01"), "{refused}");
    let secret =
        Explain { values: Some(vec![Some("hunter2".into())]), ..question("SELECT * FROM t WHERE id = $1") };
    let refused = probe.explain(&secret).await.unwrap_err().to_string();
    assert!(refused.contains("22P02") && !refused.contains("hunter2"), "{refused}");
    for odd in ["", "garbage", "SELECT $1::int + $2::int + $3", "BEGIN"] {
        let _ = probe.explain(&question(odd)).await;
    }
    assert!(probe.explain(&question("SELECT * FROM t WHERE id = $1")).await.is_ok(), "and it works on");
}

#[tokio::test]
async fn explain_changes_nothing() {
    let database = sample("explain_reads");
    batch(
        &database.superuser_url(),
        &[
            "CREATE FUNCTION app.writes() RETURNS int LANGUAGE sql AS 'INSERT INTO app.parent VALUES (1) RETURNING x'",
            "CREATE FUNCTION app.lies() RETURNS int STABLE LANGUAGE plpgsql AS \
                'BEGIN EXECUTE ''INSERT INTO app.parent VALUES (1)''; RETURN 1; END'",
            "CREATE FUNCTION app.calm() RETURNS int STABLE LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'",
            "ALTER TABLE app.parent OWNER TO app",
            "ALTER TABLE app.author OWNER TO app",
        ],
    );
    let count = "SELECT (SELECT count(*) FROM app.book) || ' ' || (SELECT count(*) FROM app.parent) || ' ' || \
        (SELECT count(*) FROM app.author) || ' ' || (SELECT max(id) FROM app.author)";
    let before = ask(&database.superuser_url(), count);
    let probe = probe(&database);
    let catalog = Arc::new(probe.catalog().await.unwrap());
    for write in [
        "DELETE FROM app.book",
        "INSERT INTO app.parent SELECT 1 FROM generate_series(1, 10)",
        "UPDATE app.author SET name = 'x' || id",
        "WITH gone AS (DELETE FROM app.book RETURNING id) SELECT * FROM gone",
        "SELECT app.writes()",
        "SELECT * FROM app.book FOR UPDATE",
    ] {
        probe.explain(&question(write)).await.unwrap_or_else(|error| panic!("{write}: {error}"));
        let catalog = catalog.clone();
        let executed = Explain { analyze: Some(Analyze { pure_read: true, catalog }), ..question(write) };
        let refused = probe.explain(&executed).await.expect_err(write);
        assert!(!matches!(refused, ProbeError::Lost(_)), "{write}: {refused}");
    }
    for sly in ["SELECT 1; COMMIT; DELETE FROM app.book", "ANALYZE DELETE FROM app.book", "SELECT app.lies()"]
    {
        let executed =
            Explain { analyze: Some(Analyze { pure_read: true, catalog: catalog.clone() }), ..question(sly) };
        assert!(probe.explain(&executed).await.is_err(), "{sly}");
    }
    let read = "SELECT a.name, app.calm() FROM app.author a JOIN app.book b ON b.author_id = a.id \
        WHERE lower(b.title) LIKE 'title 1%' AND b.pages > $1 AND a.name <> 'random()'";
    let asked = |pure_read| Explain {
        values: Some(vec![Some("10".into())]),
        analyze: Some(Analyze { pure_read, catalog: catalog.clone() }),
        ..question(read)
    };
    let plan = probe.explain(&asked(true)).await.unwrap();
    assert!(node(&plan)["Actual Rows"].as_f64() > Some(0.0), "{plan}");
    assert!(matches!(probe.explain(&asked(false)).await, Err(ProbeError::Unfit(_))));
    assert_eq!(ask(&database.superuser_url(), count), before);
}

fn line(shape: &str, calls: u64) -> Line {
    Line {
        database: "shop".into(),
        user: "o'me".into(),
        shape: shape.into(),
        text: "select \"a\" from t where x = $1".into(),
        calls,
        errors: 1,
        rows: u64::MAX / 2,
        bytes: 5,
        queue_us: 6,
        server_us: 7,
        client_us: 8,
        max_us: 9,
        first_s: 10,
        last_s: 11,
        latency: vec![(3, 4), (90, calls)],
    }
}

/// Shapes by name and calls, and findings by name and episodes.
fn saved(shapes: &[(&str, u64)], findings: &[(&str, u64)]) -> Saved {
    let finding = |&(id, episodes): &(&str, u64)| Finding {
        id: id.into(),
        statement: "select \"ä\\\" from t where x = $1".into(),
        episodes,
        time_ms: 0.1,
        recent: vec![(7, episodes)],
        ..Finding::default()
    };
    let shapes = shapes.iter().map(|&(shape, calls)| line(shape, calls)).collect();
    Saved { shapes, findings: findings.iter().map(finding).collect(), indexes: Vec::new(), loops: Vec::new() }
}

#[tokio::test]
async fn the_ledger_is_kept_in_a_schema() {
    let database = TestDatabase::new("ledger");
    let place = |instance: &str| Place { schema: "Weir \"kept\"".into(), instance: instance.into() };
    let poor = probe(&database);
    batch(&database.superuser_url(), &[&format!("ALTER DATABASE {} OWNER TO CURRENT_USER", database.name())]);
    assert_eq!(poor.load(&place("a")).await.unwrap(), Saved::default());
    let refused = poor.save(&place("a"), &saved(&[("1", 2)], &[])).await.unwrap_err().to_string();
    assert!(refused.contains("CREATE SCHEMA \"Weir \"\"kept\"\"\" AUTHORIZATION"), "{refused}");
    batch(&database.superuser_url(), &["CREATE SCHEMA \"Weir \"\"kept\"\"\" AUTHORIZATION app"]);

    let first = saved(&[("1", 20), ("2", 3)], &[("np-1", 2)]);
    assert_eq!(poor.save(&place("a"), &first).await.unwrap(), 3);
    let other = saved(&[("1", 7)], &[]);
    assert_eq!(poor.save(&place("b"), &other).await.unwrap(), 1);
    assert_eq!(poor.load(&place("a")).await.unwrap(), first);
    assert_eq!(poor.save(&place("a"), &Saved::default()).await.unwrap(), 0, "an empty ledger wipes nothing");
    let mut second = saved(&[("1", 20), ("3", 4)], &[("np-1", 2), ("np-2", 1)]);
    second.indexes = vec![Kept::Dismissal(Dismissal { id: "1".into(), reason: "no".into(), at_s: 7 })];
    let written = poor.save(&place("a"), &second).await.unwrap();
    assert_eq!(
        written, 3,
        "what has not changed stays, the second is gone, a shape, a finding and an index are new"
    );
    assert_eq!(poor.load(&place("a")).await.unwrap(), second);
    assert_eq!(poor.load(&place("b")).await.unwrap(), other);

    batch(
        &database.superuser_url(),
        &["CREATE SCHEMA theirs AUTHORIZATION app", "CREATE TABLE theirs.findings (a int)"],
    );
    batch(&database.superuser_url(), &["ALTER TABLE theirs.findings OWNER TO app"]);
    let theirs = Place { schema: "theirs".into(), instance: "a".into() };
    let refused = poor.save(&theirs, &saved(&[("1", 2)], &[("np-1", 1)])).await.unwrap_err().to_string();
    assert!(refused.contains("tables of pgweir's"), "{refused}");
    let refused = poor.load(&theirs).await.unwrap_err().to_string();
    assert!(refused.contains("tables of pgweir's"), "{refused}");
}

#[tokio::test]
async fn connections_that_nobody_uses_are_closed() {
    let database = TestDatabase::new("probe_idle");
    let probe = probe(&database);
    assert!(probe.is_idle(), "none is opened in advance");
    probe.explain(&question("SELECT 1")).await.unwrap();
    let open = format!(
        "SELECT count(*) || ' ' || max(application_name) FROM pg_stat_activity \
         WHERE datname = '{}' AND pid <> pg_backend_pid()",
        database.name()
    );
    assert_eq!(ask(&database.superuser_url(), &open), format!("1 {APPLICATION_NAME}"));
    probe.close_idle(Duration::from_secs(3600));
    assert!(!probe.is_idle());
    probe.close_idle(Duration::ZERO);
    assert!(probe.is_idle());
    // The connection's task has the same thread, and ends when it has its turn.
    tokio::task::yield_now().await;
    wait_for("the server to see it", || {
        ask(&database.superuser_url(), &open.replace(" || ' ' || max(application_name)", "")) == "0"
    });
    probe.explain(&question("SELECT 1")).await.unwrap();
}

/// The server takes nothing but TLS, and pgweir knows no password: it asks with what a client's login showed.
#[tokio::test]
async fn the_probe_logs_in_as_the_pools_do() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.issue(folder.path(), "server", "localhost");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let file = |name: &str| folder.path().join(name);
    let (cert, key) = (file("server.pem"), file("server.key"));
    let sealed = Cluster::start(ClusterOptions {
        tls: Some(TlsFiles { cert, key, ca: None }),
        hba: vec!["hostnossl all app all reject".into()],
        ..ClusterOptions::default()
    });
    let (cluster, mode) = match sealed {
        Ok(cluster) => (cluster, SslMode::VerifyFull),
        // The bundle of PostgreSQL 18 is built without TLS; the keys are to be had all the same.
        Err(error) => {
            assert!(error.contains("SSL is not supported by this build"), "{error}");
            (Cluster::start(ClusterOptions::default()).unwrap(), SslMode::Prefer)
        }
    };
    prepare(&cluster);
    batch(&cluster.url("pgweir_template"), &["CREATE TABLE sealed (id int PRIMARY KEY)"]);
    let verifier = ask(&cluster.url("postgres"), "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'");
    let weir = Pgweir::before(&cluster, PoolMode::Transaction, |settings| {
        for database in settings.databases.values_mut() {
            let tls = ServerTls { mode, ca: Some(ca.clone()), ..ServerTls::default() };
            Arc::make_mut(database).tls = tls;
        }
        let user = UserSettings { secret: Some(Secret::Scram(verifier.clone())), ..UserSettings::default() };
        settings.auth.users = BTreeMap::from([(APP_USER.to_owned(), user)]);
    });
    let client = connect(&weir.url("pgweir_template")).await;
    client.simple_query("SELECT 1").await.unwrap();
    until("the catalog", || shown(&weir, "pgweir_template", "sealed"));
    let query = format!(
        "SELECT string_agg(DISTINCT ssl::text, ' ') FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
        WHERE application_name = '{APPLICATION_NAME}'"
    );
    assert_eq!(ask(&cluster.url("postgres"), &query), (mode == SslMode::VerifyFull).to_string());
}

/// What the API says of one table, once it knows it.
fn shown(weir: &Pgweir, database: &str, table: &str) -> Option<Value> {
    let (status, body) =
        http(weir.admin(), "GET", &format!("/api/database/catalog?database={database}&table={table}"), &[]);
    let answer: Value = serde_json::from_str(&body).unwrap();
    (status == 200).then(|| answer["tables"][0].clone()).filter(|table| !table.is_null())
}

#[tokio::test]
async fn a_schema_change_that_passes_is_noticed() {
    let database = sample("catalog_ddl");
    let weir = Pgweir::start(PoolMode::Transaction, |_| {});
    assert_eq!(http(weir.admin(), "GET", "/api/database/catalog?database=nobody", &[]).0, 404);
    let client = connect(&weir.url(database.name())).await;
    client.simple_query("SELECT 1").await.unwrap();
    let book = until("the catalog", || shown(&weir, database.name(), "app.book"));
    assert_eq!(book["indexes"].as_array().map(Vec::len), Some(3), "{book}");
    client.batch_execute("BEGIN; CREATE INDEX extra ON app.book (title)").await.unwrap();
    client.batch_execute("ALTER TABLE app.book ADD COLUMN isbn text; COMMIT").await.unwrap();
    let book = until("the new column", || {
        shown(&weir, database.name(), "book").filter(|book| book["columns"].as_array().unwrap().len() == 6)
    });
    assert!(book["indexes"].to_string().contains("\"extra\""), "{book}");
    let (_, page) = http(weir.admin(), "GET", "/metrics", &[]);
    for metric in
        ["catalog_age_seconds", "catalog_tables", "catalog_refreshes_total", "catalog_refresh_seconds"]
    {
        let sample = format!("pgweir_{metric}{{database=\"{}\"}}", database.name());
        assert!(page.contains(&sample), "{sample}");
    }
    let (_, list) = http(weir.admin(), "GET", "/api/database/catalog", &[]);
    assert!(list.contains(database.name()) && list.contains("\"table_count\""), "{list}");
    let (_, brief) = http(
        weir.admin(),
        "GET",
        &format!("/api/database/catalog?database={}&limit=2", database.name()),
        &[],
    );
    let brief: Value = serde_json::from_str(&brief).unwrap();
    assert_eq!(brief["tables"].as_array().map(Vec::len), Some(2));
    assert_eq!(brief["tables"][0]["name"], "book", "the largest comes first");

    let desk = weir.running().probing();
    let plan =
        desk.explain(database.name(), APP_USER, question("SELECT * FROM app.book WHERE id = $1")).await;
    assert!(node(&plan.unwrap().unwrap())["Total Cost"].is_number());
    let connections = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{APPLICATION_NAME}' \
        AND datname = '{}'",
        database.name()
    );
    let open: u32 = ask(&database.superuser_url(), &connections).parse().unwrap();
    assert!((1..=2).contains(&open), "{open}");
}

#[tokio::test]
async fn without_rights_there_is_a_note_and_traffic() {
    let database = sample("catalog_notes");
    let role = format!("noted_{}", database.name());
    batch(&database.superuser_url(), &[&format!("CREATE ROLE {role} LOGIN PASSWORD 'noted'")]);
    let user = UserSettings { secret: Some(Secret::Plain("wrong".into())), ..UserSettings::default() };
    let weir = Pgweir::start(PoolMode::Transaction, |settings| {
        settings.auth.users.extend(BTreeMap::from([("broken".to_owned(), user)]));
        settings.rules.probe.user = Some("broken".to_owned());
    });
    let client = connect(&weir.url(database.name())).await;
    let path = format!("/api/database/catalog?database={}", database.name());
    let answer = until("the error", || {
        let (status, body) = http(weir.admin(), "GET", &path, &[]);
        (status == 200).then_some(body)
    });
    assert!(answer.contains("\"login_refused\"") && !answer.contains("wrong"), "{answer}");
    let (_, page) = http(weir.admin(), "GET", "/metrics", &[]);
    assert!(page.contains("pgweir_catalog_error{") && page.contains("kind=\"login_refused\""));
    client.simple_query("SELECT count(*) FROM app.book").await.unwrap();
    drop((client, weir));
    let known = probe_as(database.name(), &role, "noted").catalog().await.unwrap();
    assert!(!known.facts.notes.is_empty());
    batch(&database.superuser_url(), &[&format!("DROP ROLE {role}")]);
}

#[tokio::test]
async fn a_server_that_comes_late_is_asked_late() {
    let cluster = Cluster::start(ClusterOptions::default()).unwrap();
    prepare(&cluster);
    batch(&app_url(&cluster, "pgweir_template"), &["CREATE TABLE late (id int PRIMARY KEY)"]);
    let weir = Pgweir::before(&cluster, PoolMode::Transaction, |_| {});
    let client = connect(&weir.url("pgweir_template")).await;
    until("the catalog", || shown(&weir, "pgweir_template", "late"));
    cluster.stop().unwrap();
    // The client is told, and stays; its next statement and the next reading need the server.
    let desk = weir.running().probing();
    let place = Place { schema: "kept".into(), instance: "a".into() };
    let down = desk.load("pgweir_template", None, place.clone()).await.unwrap();
    assert!(down.is_err(), "the server is down");
    cluster.restart().unwrap();
    wait_for("the server again", || client_sees(&weir));
    drop(client);
    let again = desk.load("pgweir_template", None, place).await.unwrap();
    assert_eq!(again.unwrap(), Saved::default());
}

fn client_sees(weir: &Pgweir) -> bool {
    let url = format!(
        "host=127.0.0.1 port={} user={APP_USER} password={APP_PASSWORD} dbname=pgweir_template",
        weir.port()
    );
    crate::support::psql(&url, "SELECT 1").is_ok()
}

#[tokio::test]
async fn a_server_that_is_down_at_first_is_read_later() {
    let cluster = Cluster::start(ClusterOptions::default()).unwrap();
    prepare(&cluster);
    batch(&app_url(&cluster, "pgweir_template"), &["CREATE TABLE late (id int PRIMARY KEY)"]);
    cluster.stop().unwrap();
    let weir = Pgweir::before(&cluster, PoolMode::Transaction, |_| {});
    assert!(!client_sees(&weir));
    tokio::time::timeout(Duration::from_secs(60), async {
        let desk = weir.running().probing();
        let kind = |error: ProbeError| error.kind();
        assert_eq!(
            desk.explain("pgweir_template", APP_USER, question("SELECT 1")).await.unwrap().map_err(kind),
            Err("unreachable")
        );
        cluster.restart().unwrap();
        until("a client", || client_sees(&weir).then_some(()));
        until("the catalog", || shown(&weir, "pgweir_template", "late"));
    })
    .await
    .unwrap();
}
