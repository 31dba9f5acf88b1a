//! Old partitions taken out and brought back: to a schema, a tablespace and Parquet files, equal by count and
//! checksum, and after a crash at every step.

use std::path::Path;
use std::process::Command;

use pgweir::demo::cluster::{Cluster, ClusterOptions};

use crate::cluster::{APP_PASSWORD, APP_USER, TestDatabase, ask, batch, connect, prepare};
use crate::support::{Weir, settings, until, wait_for};

use super::{audited, bounds, command, done, refused, run, start_with, view};

/// Rows of every type in three months of 2020 and in the present one.
const TABLE: &[&str] = &[
    "CREATE TYPE mood AS ENUM ('sad', 'ok')",
    "CREATE TABLE log (id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz NOT NULL, b bool, s smallint, i int, \
     r real, d double precision, n numeric, m numeric(12,3), t text, c char(5), v varchar(9), y bytea, day date, ts timestamp(3), \
     till timestamptz, iv interval, u uuid, j json, jb jsonb, a int[], aa text[], mo mood, rg int4range, ip inet, \
     up text GENERATED ALWAYS AS (upper(t)) STORED, \"Odd \"\"Name\" text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)",
    "CREATE INDEX ON log (t)",
    "CREATE TABLE log_2020_01 PARTITION OF log FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2020-02-01 00:00+00')",
    "CREATE TABLE log_2020_02 PARTITION OF log FOR VALUES FROM ('2020-02-01 00:00+00') TO ('2020-03-01 00:00+00')",
    "CREATE TABLE log_2020_03 PARTITION OF log FOR VALUES FROM ('2020-03-01 00:00+00') TO ('2020-04-01 00:00+00')",
    "INSERT INTO log (at, b, s, i, r, d, n, m, t, c, v, y, day, ts, till, iv, u, j, jb, a, aa, mo, rg, ip, \"Odd \"\"Name\") \
     SELECT '2020-01-01 00:00+00'::timestamptz + g * interval '130 seconds', g % 2 = 0, g % 100, g, g / 3.0, g / 7.0, g / 9.0, \
     g / 8.0, CASE WHEN g % 5 = 0 THEN NULL WHEN g % 5 = 1 THEN '' ELSE 'é' || g END, 'x', 'v' || g % 9, \
     decode(md5(g::text), 'hex'), '2020-01-01'::date + g % 900, now()::timestamp, NULL, g * interval '1 month 1 hour', \
     md5(g::text)::uuid, '{\"a\":  1}', '{\"a\": [1, 2]}', ARRAY[g, NULL], ARRAY['a,b', NULL, '\"'], 'ok', int4range(g, g + 5), \
     '10.0.0.1', 'q' FROM generate_series(0, 59999) g",
    "INSERT INTO log (at, r, d, n, m, day, ts, till, t) VALUES \
     ('2020-01-05 00:00+00', 'NaN', 'Infinity', 'NaN', -0.001, 'infinity', '-infinity', 'infinity', E'\\\\ back \\n \\t'), \
     ('2020-01-06 00:00+00', '-0', '-0', 1e40, 999999999.999, '0044-03-15 BC', '0001-01-01', '0044-03-15 00:00+00 BC', ''), \
     ('2020-01-07 00:00+00', 1e-40, 1e300, -1e-20, 0, '9999-12-31', '9999-12-31', '9999-12-31 23:59:59.999999+00', NULL)",
];

const TALLY: &str = "SELECT count(*) || ' ' || coalesce(sum(hashtextextended(x::text, 3)::numeric), 0) FROM";

fn tally(database: &TestDatabase, table: &str) -> String {
    ask(&database.superuser_url(), &format!("SET TimeZone = 'UTC'; {TALLY} {table} x"))
}

fn rule(keep: &str, archive: &str) -> String {
    format!(
        "{{table: log, column: at, interval: month, premake: 0, retention: {{keep: {keep}, archive: {archive}}}}}"
    )
}

fn start(database: &TestDatabase, keep: &str, archive: &str, crash: Option<&str>) -> Weir {
    let arrange = |command: &mut Command| {
        if let Some(place) = crash {
            command.env("PGWEIR_ABORT_AT", place);
        }
    };
    let more = "maintenance: {enabled: false, lock_timeout: 200ms}\n";
    // Months without rows are not made for half a century: the present one follows the last.
    start_with(database, &[&rule(keep, archive)], more, arrange)
}

/// The last partition reaches to the present, so that nothing has to be made.
fn fill(database: &TestDatabase) {
    run(database, TABLE);
    run(
        database,
        &["CREATE TABLE log_rest PARTITION OF log FOR VALUES FROM ('2020-04-01 00:00+00') TO ('2999-01-01')"],
    );
}

#[test]
fn what_is_past_its_time_goes_to_a_schema_and_comes_back() {
    let database = TestDatabase::new("to_schema");
    fill(&database);
    let before = tally(&database, "log");
    let weir = start(&database, "12 months", "{schema: cold}", None);
    let dry = done(&weir, &["maintain", "--dry-run"]);
    assert_eq!(dry.lines().count(), 3, "{dry}");
    assert!(dry.starts_with("public.log_2020_01 is older than 12 months: schema cold\n"), "{dry}");
    assert_eq!(bounds(&database, "log").len(), 4);
    done(&weir, &["maintain"]);
    assert_eq!(bounds(&database, "log").len(), 1);
    let rows: u64 = ["log_2020_01", "log_2020_02", "log_2020_03"]
        .iter()
        .map(|name| {
            tally(&database, &format!("cold.{name}")).split(' ').next().unwrap().parse::<u64>().unwrap()
        })
        .sum();
    let kept: u64 = tally(&database, "log").split(' ').next().unwrap().parse().unwrap();
    assert_eq!(rows + kept, 60_003);
    let seen = view(&weir);
    let archives = seen["archives"].as_array().unwrap();
    assert_eq!(archives.len(), 3, "{seen}");
    assert!(
        archives.iter().all(|one| one["state"] == "archived" && one["rows"].as_i64().unwrap() > 10_000),
        "{seen}"
    );
    assert_eq!(weir.metric("pgweir_partitions_archived_total", &[]), 3.0);
    assert_eq!(done(&weir, &["maintain"]), "nothing to do\n");
    for name in ["log_2020_02", "log_2020_01", "log_2020_03"] {
        let text = done(&weir, &["restore", "log", name]);
        assert!(text.contains("is back") && text.contains("equal by count and checksum"), "{text}");
    }
    assert_eq!(tally(&database, "log"), before);
    // What an operator has brought back stays until an operator takes it away.
    assert_eq!(done(&weir, &["maintain"]), "nothing to do\n");
    assert!(refused(&weir, &["restore", "log", "log_2020_01"]).contains("is back already"));
    let text = done(&weir, &["archive", "log", "log_2020_01"]);
    assert!(text.contains("archived to schema cold"), "{text}");
    assert!(refused(&weir, &["archive", "log", "log_rest"]).contains("is not past"));
    assert!(refused(&weir, &["archive", "log", "log_2020_01"]).contains("has no partition"));
    // Somebody changed it: it does not come back as if nothing had happened.
    run(&database, &["UPDATE cold.log_2020_01 SET t = 'forged' WHERE id = 7"]);
    assert!(refused(&weir, &["restore", "log", "log_2020_01"]).contains("is not as it was archived"));
    let statements: Vec<String> =
        audited(&weir).iter().filter_map(|line| line["statement"].as_str().map(str::to_owned)).collect();
    assert!(statements.iter().any(|statement| statement.contains("DETACH PARTITION")), "{statements:?}");
    assert!(statements.iter().any(|statement| statement.contains("SET SCHEMA \"cold\"")), "{statements:?}");
}

/// Needs a Python with duckdb, named by PGWEIR_PYTHON; without one it is left out.
fn opens_in_duckdb(file: &std::path::Path, rows: &serde_json::Value) {
    let Ok(python) = std::env::var("PGWEIR_PYTHON") else {
        println!("left out: PGWEIR_PYTHON names no Python with duckdb");
        return;
    };
    let script = "import duckdb, sys; \
        [(n, a)] = duckdb.sql(f'''select count(*), min(\"at\") from '{sys.argv[1]}' ''').fetchall(); print(n, a.year)";
    let output = Command::new(python).args(["-c", script]).arg(file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.trim(), format!("{rows} 2020"));
}

#[test]
fn parquet_files_hold_every_type_and_come_back_equal() {
    let database = TestDatabase::new("to_parquet");
    fill(&database);
    let before = tally(&database, "log");
    let folder = tempfile::tempdir().unwrap();
    let weir =
        start(&database, "12 months", &format!("{{parquet: {{path: {}}}}}", folder.path().display()), None);
    done(&weir, &["maintain"]);
    assert_eq!(bounds(&database, "log").len(), 1);
    let gone = ask(&database.url(), "SELECT (to_regclass('log_2020_01') IS NULL)::text");
    assert_eq!(gone, "true");
    let inner = folder.path().join(format!("{}.public.log", database.name));
    let manifest: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(inner.join("log_2020_01.json")).unwrap()).unwrap();
    assert_eq!(manifest["lower"], "2020-01-01 00:00:00+00");
    let form = |name: &str| {
        let columns = manifest["columns"].as_array().unwrap();
        columns.iter().find(|column| column["name"] == name).unwrap()["form"].clone()
    };
    // Columns that hold infinity or BC have gone as text.
    assert_eq!([form("at"), form("till"), form("day")], ["timestamp_tz", "text", "text"]);
    assert!(manifest["columns"].as_array().unwrap().iter().all(|column| column["name"] != "up"));
    opens_in_duckdb(&inner.join("log_2020_01.parquet"), &manifest["rows"]);
    for name in ["log_2020_01", "log_2020_02", "log_2020_03"] {
        done(&weir, &["restore", "log", name]);
    }
    assert_eq!(tally(&database, "log"), before);
    assert_eq!(bounds(&database, "log").len(), 4);
    // The restored partition is one like its siblings, and an identity goes on.
    run(&database, &["INSERT INTO log (at) VALUES (now())", "ANALYZE log"]);
    let keys = "SELECT count(*)::text FROM pg_index WHERE indrelid = 'log_2020_01'::regclass AND indisvalid";
    assert_eq!(ask(&database.url(), keys), "2");
    // A damaged file is not loaded, and the table is as it was.
    done(&weir, &["archive", "log", "log_2020_02"]);
    let file = inner.join("log_2020_02.parquet");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let text = refused(&weir, &["restore", "log", "log_2020_02"]);
    assert!(
        text.contains("Parquet file") || text.contains("does not hold") || text.contains("does not take"),
        "{text}"
    );
    assert_eq!(bounds(&database, "log").len(), 3);
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    done(&weir, &["restore", "log", "log_2020_02"]);
    run(&database, &["DELETE FROM log WHERE at > now() - interval '1 hour'"]);
    assert_eq!(tally(&database, "log"), before);
}

#[test]
fn a_tablespace_and_nowhere_are_places_too() {
    let database = TestDatabase::new("to_space");
    fill(&database);
    let before = tally(&database, "log");
    let weir = start(&database, "12 months", "{tablespace: pg_default}", None);
    done(&weir, &["archive", "log", "log_2020_01"]);
    assert_eq!(bounds(&database, "log").len(), 3);
    done(&weir, &["restore", "log", "log_2020_01"]);
    assert_eq!(tally(&database, "log"), before);
    drop(weir);
    let weir = start(&database, "12 months", "{drop: true}", None);
    done(&weir, &["archive", "log", "log_2020_02"]);
    assert_eq!(ask(&database.url(), "SELECT (to_regclass('log_2020_02') IS NULL)::text"), "true");
    assert!(refused(&weir, &["restore", "log", "log_2020_02"]).contains("was dropped"));
}

/// Archives and restores one partition with a crash at this place on the way, and compares.
fn crash_and_go_on(database: &TestDatabase, archive: &str, place: &str, before: &str) {
    let broken = start(database, "1000 years", archive, Some(place));
    let mut broken = broken;
    let (there, back) = (["archive", "log", "log_2020_02"], ["restore", "log", "log_2020_02"]);
    if command(&broken, &there).0 {
        // It is a place of the way back.
        assert!(!command(&broken, &back).0, "{place} was not come by");
    }
    assert!(!broken.ended().success(), "{place}");
    drop(broken);
    let weir = start(database, "1000 years", archive, None);
    let attached = || bounds(database, "log").len() == 4;
    let state = || {
        let seen = view(&weir);
        seen["archives"][0]["state"].as_str().unwrap_or("none").to_owned()
    };
    // The server notices the lost connection, and lets the table go.
    let text = until("the table is free", || {
        let (good, text) = command(&weir, &["maintain"]);
        assert!(good || text.contains("worked on already"), "{place}: {text}");
        good.then_some(text)
    });
    if place.starts_with("archive.")
        && !state().starts_with("restore")
        && !(attached() && state() == "archived")
    {
        assert!(!attached(), "{place}: {text}");
        assert_eq!(state(), "archived", "{place}: {text}");
    }
    if !attached() {
        let (good, text) = command(&weir, &back);
        assert!(good, "{place}: {text}");
    }
    assert!(attached(), "{place}");
    assert_eq!(tally(database, "log"), before, "{place}");
}

#[test]
fn a_crash_at_any_step_loses_nothing() {
    let database = TestDatabase::new("crash");
    fill(&database);
    run(&database, &["DELETE FROM log WHERE id % 20 <> 0"]);
    let before = tally(&database, "log");
    let schema = ["planned", "detach", "detached", "move", "moved"];
    for place in schema.map(|place| format!("archive.{place}")) {
        crash_and_go_on(&database, "{schema: cold}", &place, &before);
    }
    for place in ["restore.archived", "restore.restore_here", "restore.restore_equal", "restore.attach"] {
        crash_and_go_on(&database, "{schema: cold}", place, &before);
    }
    let folder = tempfile::tempdir().unwrap();
    let parquet = format!("{{parquet: {{path: {}}}}}", folder.path().display());
    let steps = ["planned", "detach", "detached", "write", "written", "verified", "drop"];
    for place in steps.map(|place| format!("archive.{place}")) {
        crash_and_go_on(&database, &parquet, &place, &before);
    }
    for place in ["restore.load", "restore.restore_here", "restore.attach"] {
        crash_and_go_on(&database, &parquet, place, &before);
    }
}

#[test]
fn a_server_killed_within_a_detach_is_gone_on_with() {
    let cluster = Cluster::start(ClusterOptions {
        // What was committed outlives the kill.
        settings: vec![("synchronous_commit".to_owned(), "on".to_owned())],
        ..Default::default()
    })
    .unwrap();
    prepare(&cluster);
    let url = cluster.url("postgres");
    batch(&url, &["CREATE DATABASE shop OWNER app"]);
    let url = cluster.url("shop");
    batch(&url, &["SET ROLE app"]);
    let app = format!("postgres://{APP_USER}:{APP_PASSWORD}@127.0.0.1:{}/shop", cluster.port());
    batch(&app, TABLE);
    batch(
        &app,
        &["CREATE TABLE log_rest PARTITION OF log FOR VALUES FROM ('2020-04-01 00:00+00') TO ('2999-01-01')"],
    );
    let before = ask(&url, &format!("SET TimeZone = 'UTC'; {TALLY} log x"));
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    let rules = format!(
        "partitions:\n  - {}\nmaintenance: {{enabled: false}}\n",
        rule("1000 years", "{schema: cold}")
    );
    std::fs::write(folder.path().join("rules/a.yaml"), rules).unwrap();
    let text = settings("shop", cluster.port(), "max_size: 5", "rules: rules")
        .replace("admin: {address: 127.0.0.1, port: 0}", &super::tokens());
    let weir = Weir::start_in(folder, &text, |_| {});
    // A reader's transaction keeps the detach in its second half.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let reader = runtime.block_on(async {
        let reader = connect(&app).await;
        reader.batch_execute("BEGIN; SELECT count(*) FROM log").await.unwrap();
        reader
    });
    std::thread::scope(|scope| {
        let archived = scope.spawn(|| command(&weir, &["archive", "log", "log_2020_02"]));
        let pending = "SELECT count(*)::text FROM pg_inherits WHERE to_jsonb(pg_inherits)->>'inhdetachpending' = 'true'";
        wait_for("the detach is half done", || ask(&url, pending) == "1");
        cluster.kill_hard().unwrap();
        assert!(!archived.join().unwrap().0);
    });
    drop(reader);
    cluster.restart().unwrap();
    let text = done(&weir, &["maintain"]);
    assert!(text.contains("finish the detach of public.log_2020_02"), "{text}");
    assert!(text.contains("public.log_2020_02 archived to schema cold"), "{text}");
    done(&weir, &["restore", "log", "log_2020_02"]);
    assert_eq!(ask(&url, &format!("SET TimeZone = 'UTC'; {TALLY} log x")), before);
    assert!(Path::new(&weir.file("audit")).exists());
}
