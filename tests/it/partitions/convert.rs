//! A plain table becomes a partitioned one while clients write: nothing is lost or doubled, everything that hangs on
//! the table goes with its name, and a crash at any step is gone on from.

use std::process::Command;

use pgweir::demo::cluster::{Cluster, ClusterOptions};

use crate::cluster::{APP_PASSWORD, APP_USER, TestDatabase, ask, batch, connect, prepare};
use crate::support::{Weir, settings, until, wait_for};

use super::writers::{Writers, compare};
use super::{bounds, command, done, refused, run, start_with, tokens};

/// A table with all that may hang on one.
const TABLE: &[&str] = &[
    "CREATE TABLE kind (id int PRIMARY KEY)",
    "INSERT INTO kind SELECT generate_series(1, 5)",
    "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, owner int NOT NULL DEFAULT 0, serial bigint, \
     at timestamptz NOT NULL, kind int DEFAULT 1 REFERENCES kind ON DELETE SET NULL, v text DEFAULT 'd', \
     n int CONSTRAINT positive CHECK (n > 0), up text GENERATED ALWAYS AS (upper(v)) STORED) WITH (fillfactor = 90)",
    "CREATE INDEX by_owner ON t (owner) WHERE owner > 0",
    "CREATE UNIQUE INDEX by_at ON t (at, id) INCLUDE (serial)",
    "COMMENT ON TABLE t IS 'it''s a table'",
    "CREATE VIEW seen WITH (security_barrier = true) AS SELECT id, v FROM t WHERE id > 10",
    "CREATE TABLE noted (id bigint, what text)",
    "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.noted VALUES (NEW.id, TG_OP); \
     RETURN NULL; END'",
    "CREATE TRIGGER note AFTER INSERT ON t FOR EACH ROW WHEN (NEW.owner = 99) EXECUTE FUNCTION note()",
    "INSERT INTO t (at, v) SELECT '2025-11-24 00:00+00'::timestamptz - g * interval '11 minutes', md5(g::text) \
     FROM generate_series(1, 12000) g",
    "ANALYZE t",
];

const TALLY: &str = "SELECT count(*) || ' ' || coalesce(sum(hashtextextended(x::text, 3)::numeric), 0) FROM t x WHERE owner = 0";

fn start(database: &TestDatabase, crash: Option<&str>) -> Weir {
    start_with(
        database,
        &[],
        "maintenance: {enabled: false, lock_timeout: 300ms}\n",
        |command: &mut Command| {
            if let Some(place) = crash {
                command.env("PGWEIR_ABORT_AT", place);
            }
        },
    )
}

const CONVERT: [&str; 6] = ["convert", "t", "--column", "at", "--interval", "month"];

/// What a client may see of the table's shape, apart from its being divided.
fn shape(database: &TestDatabase) -> Vec<String> {
    let url = database.superuser_url();
    [
        "SELECT string_agg(attname || atttypid::regtype || attnotnull || attidentity::text || attgenerated::text, ',' ORDER BY attnum) \
         FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0",
        "SELECT string_agg(regexp_replace(pg_get_indexdef(indexrelid), ' ON (ONLY )?public.t | \\(.*', ' ', 'g'), ',' \
         ORDER BY indexrelid::regclass::text) FROM pg_index WHERE indrelid = 't'::regclass",
        "SELECT string_agg(conname || ' ' || CASE contype WHEN 'p' THEN '' ELSE pg_get_constraintdef(oid) END, ',' ORDER BY conname) \
         FROM pg_constraint WHERE conrelid = 't'::regclass AND contype <> 'n'",
        "SELECT string_agg(tgname || tgenabled::text, ',' ORDER BY tgname) FROM pg_trigger WHERE tgrelid = 't'::regclass \
         AND NOT tgisinternal AND tgname NOT LIKE 'pgweir%'",
        "SELECT obj_description('t'::regclass) || pg_get_serial_sequence('t', 'id')",
        "SELECT pg_get_viewdef('seen'::regclass) || reloptions::text FROM pg_class WHERE oid = 'seen'::regclass",
        "SELECT string_agg(x::text, ',' ORDER BY x::text) FROM pg_class, unnest(relacl) x WHERE oid = 't'::regclass",
    ]
    .iter()
    .map(|query| ask(&url, query))
    .collect()
}

fn nothing_is_left(database: &TestDatabase) {
    let query = "SELECT coalesce(string_agg(relname, ','), '') FROM pg_class WHERE relname ~ '_pgweir_|^pgweir_|^(log|back)_\\d' \
        OR (relname LIKE 'note_%' AND relnamespace = 'pgweir'::regnamespace)";
    assert_eq!(ask(&database.url(), query), "");
    let triggers = "SELECT count(*)::text FROM pg_trigger WHERE tgname LIKE 'pgweir%'";
    assert_eq!(ask(&database.url(), triggers), "0");
}

#[test]
fn a_table_is_converted_under_writers_reverted_and_converted_again() {
    let database = TestDatabase::new("convert");
    run(&database, TABLE);
    run(&database, &["GRANT SELECT ON t TO PUBLIC"]);
    let (before, tally) = (shape(&database), ask(&database.url(), TALLY));
    let weir = start(&database, None);
    let plan = done(&weir, &[&CONVERT[..], &["--dry-run"]].concat());
    for expected in [
        "12000 rows",
        "partitions by month of at (UTC)",
        "ACCESS EXCLUSIVE",
        "the primary key becomes (id, at)",
    ] {
        assert!(plan.contains(expected), "{expected}: {plan}");
    }
    assert_eq!(ask(&database.url(), "SELECT relkind::text FROM pg_class WHERE relname = 't'"), "r");
    let urls = [weir.url(&database.name), database.url(), database.url()];
    let writers = Writers::start(&urls);
    writers.more(200);
    let text = done(&weir, &CONVERT);
    assert!(text.contains("equal by count and checksum") && text.contains("switched"), "{text}");
    writers.more(200);
    assert_eq!(ask(&database.url(), "SELECT relkind::text FROM pg_class WHERE relname = 't'"), "p");
    assert_eq!(shape(&database), before);
    assert_eq!(ask(&database.url(), TALLY), tally);
    assert!(bounds(&database, "t").len() > 6);
    // What hangs on it works: the view, the trigger once, the foreign key, the identity.
    run(&database, &["INSERT INTO t (owner, at) VALUES (99, now())", "DELETE FROM kind WHERE id = 5"]);
    assert_eq!(ask(&database.url(), "SELECT count(*)::text FROM noted"), "1");
    assert_eq!(ask(&database.url(), "SELECT (count(*) > 12000)::text FROM seen"), "true");
    let refusal = ask(
        &database.url(),
        "SELECT count(*)::text FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'f' AND convalidated",
    );
    assert_eq!(refusal, "1");
    // Back again, with everything that was written meanwhile.
    let text = done(&weir, &["revert", "t"]);
    assert!(text.contains("plain table again"), "{text}");
    writers.more(200);
    assert_eq!(ask(&database.url(), "SELECT relkind::text FROM pg_class WHERE relname = 't'"), "r");
    assert_eq!(shape(&database), before);
    assert_eq!(ask(&database.url(), TALLY), tally);
    assert_eq!(ask(&database.url(), "SELECT count(*)::text FROM noted"), "1");
    nothing_is_left(&database);
    // And for good.
    done(&weir, &CONVERT);
    writers.more(100);
    assert!(refused(&weir, &["cancel", "t"]).contains("revert"));
    done(&weir, &["finish", "t"]);
    writers.more(100);
    let (known, longest, writes) = writers.end();
    compare(&database.url(), &known);
    println!("{writes} writes, the longest statement took {longest:?}");
    assert_eq!(ask(&database.url(), TALLY), tally);
    assert_eq!(shape(&database), before);
    nothing_is_left(&database);
    assert!(refused(&weir, &["finish", "t"]).contains("no conversion"));
    assert!(refused(&weir, &CONVERT).contains("partitioned already"));
}

/// Converts with a crash at this place, goes on, and reverts, while clients write around pgweir.
fn crash_and_go_on(database: &TestDatabase, place: &str, tally: &str) {
    let mut broken = start(database, Some(place));
    let revert = ["revert", "t"];
    if command(&broken, &CONVERT).0 {
        assert!(!command(&broken, &revert).0, "{place} was not come by");
    }
    assert!(!broken.ended().success(), "{place}");
    drop(broken);
    let weir = start(database, None);
    let go_on = |arguments: &[&str]| {
        until("the table is free", || {
            let (good, text) = command(&weir, arguments);
            assert!(good || text.contains("worked on already"), "{place}: {text}");
            good.then_some(())
        });
    };
    if place != "convert.revert" {
        go_on(&CONVERT);
        assert_eq!(ask(&database.url(), TALLY), tally, "{place}");
        assert!(bounds(database, "t").len() > 3, "{place}");
    }
    go_on(&revert);
    assert_eq!(ask(&database.url(), TALLY), tally, "{place}");
    nothing_is_left(database);
}

#[test]
fn a_crash_at_any_step_is_gone_on_from() {
    let database = TestDatabase::new("convert_crash");
    run(&database, TABLE);
    let tally = ask(&database.url(), TALLY);
    let writers = Writers::start(&[database.url(), database.url()]);
    for place in [
        "planned",
        "shadow",
        "partition",
        "log",
        "logged",
        "batch",
        "filled",
        "index",
        "indexed",
        "verified",
        "direct",
        "switch",
        "switched",
        "validate",
        "revert",
    ] {
        crash_and_go_on(&database, &format!("convert.{place}"), &tally);
    }
    let (known, _, writes) = writers.end();
    compare(&database.url(), &known);
    assert!(writes > 1000, "{writes}");
    // The last crash is that of finish.
    let mut broken = start(&database, Some("convert.end"));
    done(&broken, &CONVERT);
    assert!(!command(&broken, &["finish", "t"]).0);
    assert!(!broken.ended().success());
    drop(broken);
    let weir = start(&database, None);
    until("the table is free", || command(&weir, &["finish", "t"]).0.then_some(()));
    compare(&database.url(), &known);
    nothing_is_left(&database);
}

#[test]
fn a_server_that_is_killed_is_gone_on_with() {
    let cluster = Cluster::start(ClusterOptions {
        settings: vec![("synchronous_commit".to_owned(), "on".to_owned())],
        ..Default::default()
    })
    .unwrap();
    prepare(&cluster);
    batch(&cluster.url("postgres"), &["CREATE DATABASE shop OWNER app"]);
    let app = format!("postgres://{APP_USER}:{APP_PASSWORD}@127.0.0.1:{}/shop", cluster.port());
    batch(&app, TABLE);
    let tally = ask(&app, TALLY);
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    let rule = "partitions:\n  - {table: t, column: at, interval: month}\nmaintenance: {enabled: false}\n";
    std::fs::write(folder.path().join("rules/a.yaml"), rule).unwrap();
    let text = settings("shop", cluster.port(), "max_size: 5", "rules: rules")
        .replace("admin: {address: 127.0.0.1, port: 0}", &tokens());
    let weir = Weir::start_in(folder, &text, |_| {});
    std::thread::scope(|scope| {
        let converted = scope.spawn(|| command(&weir, &["convert", "t", "--rate", "5000"]));
        let filled = "SELECT coalesce((SELECT max(filled) FROM pgweir.conversions), 0)::text";
        wait_for("it is half filled", || {
            let there = ask(&app, "SELECT (to_regclass('pgweir.conversions') IS NOT NULL)::text") == "true";
            there && ask(&app, filled) != "0"
        });
        cluster.kill_hard().unwrap();
        assert!(!converted.join().unwrap().0);
    });
    cluster.restart().unwrap();
    batch(&app, &["UPDATE t SET serial = 5 WHERE id < 100", "UPDATE t SET serial = NULL WHERE id < 100"]);
    let text = done(&weir, &["maintain"]);
    assert!(text.contains("a conversion of public.t is under way: logged"), "{text}");
    assert_eq!(ask(&app, TALLY), tally);
    let early = refused(&weir, &["archive", "t", "t_2025_10"]);
    assert!(early.contains("is not over"), "{early}");
    assert_eq!(ask(&app, "SELECT relkind::text FROM pg_class WHERE relname = 't'"), "p");
    done(&weir, &["finish", "t"]);
    assert_eq!(done(&weir, &["maintain"]), "nothing to do\n");
}

#[test]
fn what_stands_in_the_way_is_listed() {
    let database = TestDatabase::new("obstacles");
    batch(
        &database.superuser_url(),
        &["CREATE TABLE strangers (id int PRIMARY KEY, at timestamptz NOT NULL)"],
    );
    run(
        &database,
        &[
            "CREATE TABLE bad (id int PRIMARY KEY, at timestamptz, email text UNIQUE, c box)",
            "CREATE TABLE child (id int, bad int CONSTRAINT child_bad REFERENCES bad)",
            "CREATE TABLE heir () INHERITS (bad)",
            "CREATE MATERIALIZED VIEW kept AS SELECT id FROM bad",
            "ALTER TABLE bad ADD EXCLUDE USING gist (c WITH &&)",
            "CREATE TABLE keyless (at timestamptz NOT NULL)",
            "CREATE TABLE far (id int PRIMARY KEY, at timestamptz NOT NULL)",
            "INSERT INTO far VALUES (1, now()), (2, '52217-01-01')",
            "CREATE TABLE ever (id int PRIMARY KEY, at timestamptz NOT NULL)",
            "INSERT INTO ever VALUES (1, 'infinity')",
            "CREATE VIEW v AS SELECT 1 AS at",
        ],
    );
    let weir = start(&database, None);
    let convert = |table: &str| {
        refused(&weir, &["convert", table, "--column", "at", "--interval", "month", "--dry-run"])
    };
    let bad = convert("bad");
    for expected in [
        "in the way: at may be NULL",
        "in the way: bad_email_key is unique without at",
        "in the way: child_bad of child refers to it",
        "in the way: heir inherits from it",
        "in the way: kept (kind m) reads it",
        "is an exclusion constraint",
        "things stand in the way",
    ] {
        assert!(bad.replace("public.", "").contains(expected), "{expected}:\n{bad}");
    }
    for (table, expected) in [
        ("keyless", "has no primary key"),
        ("far", "look for rows with a wrong at"),
        ("ever", "a row is dated infinity"),
        ("strangers", "does not own it"),
        ("v", "is not a table"),
        ("nothing", "there is no table"),
    ] {
        let text = convert(table);
        assert!(text.contains(expected), "{table}: {text}");
    }
}

#[test]
fn keys_of_other_kinds_a_truncate_and_a_cancel() {
    let database = TestDatabase::new("convert_kinds");
    run(
        &database,
        &[
            "CREATE TABLE ms (id serial PRIMARY KEY, k bigint NOT NULL)",
            "INSERT INTO ms (k) SELECT 1700000000000 + g * 86400000::bigint FROM generate_series(1, 900) g",
            "CREATE TABLE v7 (k uuid PRIMARY KEY, v text)",
            "INSERT INTO v7 SELECT (lpad(to_hex(1750000000000 + g * 3600000::bigint), 12, '0') || '7' || substr(md5(g::text), 1, 3) || \
             '8' || substr(md5(g::text), 4, 15))::uuid, g FROM generate_series(1, 3000) g",
            "CREATE TABLE t (id int, part text, d date NOT NULL, PRIMARY KEY (part, id))",
            "INSERT INTO t SELECT g, 'p''' || g % 7, '2025-01-01'::date + g % 300 FROM generate_series(1, 20000) g",
        ],
    );
    let weir = start(&database, None);
    done(&weir, &["convert", "ms", "--column", "k", "--interval", "quarter", "--format", "epoch_ms"]);
    done(&weir, &["finish", "ms"]);
    run(&database, &["INSERT INTO ms (k) VALUES (1700000000000)"]);
    assert_eq!(
        ask(
            &database.url(),
            "SELECT count(*) || ' ' || max(id) || ' ' || pg_get_serial_sequence('ms', 'id') FROM ms"
        ),
        "901 901 public.ms_id_seq"
    );
    done(&weir, &["convert", "v7", "--column", "k", "--interval", "week"]);
    assert_eq!(ask(&database.url(), "SELECT count(*)::text FROM v7"), "3000");
    done(&weir, &["revert", "v7"]);
    // A table that is emptied while it is copied.
    let rate = ["convert", "t", "--column", "d", "--interval", "month", "--rate", "4000"];
    std::thread::scope(|scope| {
        let converted = scope.spawn(|| done(&weir, &rate));
        wait_for("it is half filled", || {
            ask(
                &database.url(),
                "SELECT coalesce(max(filled), 0)::text FROM pgweir.conversions WHERE table_name = 't'",
            ) == "5000"
        });
        run(
            &database,
            &["TRUNCATE t", "INSERT INTO t VALUES (1, 'x', '2025-05-05'), (2, 'y', '2031-01-01')"],
        );
        converted.join().unwrap();
    });
    assert_eq!(ask(&database.url(), "SELECT count(*)::text FROM t"), "2");
    done(&weir, &["revert", "t"]);
    // One that is broken off leaves nothing.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let holder = runtime.block_on(async {
        let holder = connect(&database.url()).await;
        holder.batch_execute("BEGIN; INSERT INTO t VALUES (7, 'z', '2025-05-05')").await.unwrap();
        holder
    });
    drop(weir);
    let mut broken = start(&database, Some("convert.shadow"));
    assert!(!command(&broken, &["convert", "t", "--column", "d", "--interval", "month"]).0);
    assert!(!broken.ended().success());
    drop(broken);
    runtime.block_on(holder.batch_execute("COMMIT")).unwrap();
    let weir = start(&database, None);
    until("the table is free", || command(&weir, &["cancel", "t"]).0.then_some(()));
    nothing_is_left(&database);
    assert_eq!(ask(&database.url(), "SELECT count(*)::text FROM t"), "3");
}
