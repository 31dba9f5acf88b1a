//! What statements may write, by facts and catalog, against what PostgreSQL says they wrote: each statement is run
//! and rolled back, and the tables whose rows it changed must be in its set. The sets themselves are in the table.

use std::collections::{BTreeMap, BTreeSet};

use pgweir::catalog::Catalog;
use pgweir::coalesce::writes::{self, WriteSet, Writes};
use pgweir::sql::facts;
use pgweir::sql::shape::Shaper;
use tokio_postgres::Client;

use crate::catalog::probe;
use crate::cluster::{TestDatabase, batch, connect};

/// What pgweir makes of one statement.
fn writes(catalog: &Catalog, text: &str) -> Writes {
    let mut found = None;
    Shaper::default().shapes(text.as_bytes(), true, |shape| {
        let canonical = String::from_utf8(shape.canonical.to_vec()).unwrap();
        found = Some(writes::of(&canonical, facts::read(&canonical).ok().as_ref(), Some(catalog)));
    });
    found.unwrap_or_else(|| panic!("{text} has no shape"))
}

fn names(catalog: &Catalog, tables: &[u32]) -> BTreeSet<String> {
    let name = |oid: &u32| {
        let table = catalog.table_by_oid(*oid).expect("a set holds tables of the catalog");
        match table.schema.as_str() {
            "public" => table.name.clone(),
            schema => format!("{schema}.{}", table.name),
        }
    };
    tables.iter().map(name).collect()
}

/// Rows that this session changed, by table, since it last told PostgreSQL's statistics.
const COUNTS: &str = "SELECT CASE schemaname WHEN 'public' THEN relname ELSE schemaname || '.' || relname END::text, \
        n_tup_ins + n_tup_upd + n_tup_del \
    FROM pg_stat_xact_all_tables WHERE schemaname NOT LIKE 'pg\\_%'";

async fn counts(client: &Client) -> BTreeMap<String, i64> {
    let rows = client.query(COUNTS, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// The tables whose rows the statement changed; it is rolled back.
async fn changed(client: &Client, text: &str) -> BTreeSet<String> {
    client.batch_execute("BEGIN; SET CONSTRAINTS ALL IMMEDIATE").await.unwrap();
    let before = counts(client).await;
    let run = client.batch_execute(text).await;
    run.unwrap_or_else(|error| panic!("{text}: {}", error.as_db_error().map_or("", |error| error.message())));
    let after = counts(client).await;
    client.batch_execute("ROLLBACK").await.unwrap();
    let more = |(name, count): &(&String, &i64)| before.get(*name).copied().unwrap_or_default() < **count;
    after.iter().filter(more).map(|(name, _)| name.clone()).collect()
}

const SCHEMA: &[&str] = &[
    "CREATE SCHEMA other",
    "CREATE SEQUENCE s",
    "CREATE TABLE log (what text)",
    "CREATE FUNCTION writer() RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (''x''); RETURN 1; END'",
    "CREATE FUNCTION quiet_one() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN nextval(''s'') + random(); END'",
    "CREATE FUNCTION stable_one() RETURNS int STABLE LANGUAGE sql AS 'SELECT 1 FROM log'",
    "CREATE FUNCTION mixed() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'",
    "CREATE FUNCTION mixed(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN writer(); END'",
    "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS \
        'BEGIN NEW.at := now(); IF NEW.name IS DISTINCT FROM OLD.name THEN NEW.n := nextval(''s''); END IF; RETURN NEW; END'",
    "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (TG_OP); RETURN NEW; END'",
    "CREATE PROCEDURE p() LANGUAGE sql AS 'INSERT INTO log VALUES (''p'')'",
    "CREATE TABLE author (id int PRIMARY KEY, name text, at timestamptz, n bigint)",
    "CREATE TRIGGER touch BEFORE UPDATE ON author FOR EACH ROW EXECUTE FUNCTION touch()",
    "CREATE TABLE book (id int PRIMARY KEY, title text, \
        author_id int REFERENCES author ON DELETE CASCADE ON UPDATE CASCADE)",
    "CREATE TABLE review (id int, book_id int REFERENCES book ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED)",
    "CREATE TABLE shelf (id int PRIMARY KEY, book_id int REFERENCES book)",
    "CREATE TABLE other.book (id int, title text)",
    "CREATE TABLE country (code text PRIMARY KEY, name text)",
    "CREATE TABLE city (id int, country text REFERENCES country ON UPDATE CASCADE)",
    "CREATE TABLE event (at int NOT NULL, what text) PARTITION BY RANGE (at)",
    "CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (10)",
    "CREATE TABLE event_2 PARTITION OF event FOR VALUES FROM (10) TO (20)",
    "CREATE TABLE moved (at int NOT NULL) PARTITION BY RANGE (at)",
    "CREATE TABLE moved_1 PARTITION OF moved FOR VALUES FROM (0) TO (10)",
    "CREATE TABLE moved_2 PARTITION OF moved FOR VALUES FROM (10) TO (20)",
    "CREATE TRIGGER arrived AFTER INSERT ON moved_2 FOR EACH ROW EXECUTE FUNCTION audit()",
    "CREATE TABLE whole (at int PRIMARY KEY) PARTITION BY RANGE (at)",
    "CREATE TABLE whole_1 PARTITION OF whole FOR VALUES FROM (0) TO (10)",
    "CREATE TABLE part (at int REFERENCES whole ON DELETE CASCADE)",
    "CREATE TABLE parent (a int)",
    "CREATE TABLE heir () INHERITS (parent)",
    "CREATE TABLE grandchild () INHERITS (heir)",
    "CREATE VIEW titles AS SELECT id, title FROM public.book",
    "CREATE VIEW titles_again AS SELECT * FROM titles",
    "CREATE VIEW loud AS SELECT writer() AS a",
    "CREATE VIEW loud_again AS SELECT * FROM loud",
    "CREATE VIEW instead AS SELECT id FROM shelf",
    "CREATE TRIGGER instead INSTEAD OF INSERT ON instead FOR EACH ROW EXECUTE FUNCTION audit()",
    "CREATE TABLE tracked (id int)",
    "CREATE TRIGGER audit AFTER INSERT ON tracked FOR EACH ROW EXECUTE FUNCTION audit()",
    "CREATE TABLE untracked (id int)",
    "CREATE TRIGGER audit AFTER INSERT ON untracked FOR EACH ROW EXECUTE FUNCTION audit()",
    "ALTER TABLE untracked DISABLE TRIGGER audit",
    "CREATE TABLE ruled (id int)",
    "CREATE RULE also AS ON INSERT TO ruled DO ALSO INSERT INTO log VALUES ('rule')",
    "CREATE TABLE loud_default (id int DEFAULT writer(), x int)",
    "CREATE TABLE quiet_default (id bigint DEFAULT quiet_one(), u uuid DEFAULT gen_random_uuid(), x int)",
    "CREATE TABLE loud_check (id int CHECK (id < writer() + 10))",
    "CREATE TABLE guarded (id int)",
    "ALTER TABLE guarded ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY limited ON guarded USING (id IN (SELECT id FROM shelf) AND id < writer())",
    "CREATE VIEW large AS SELECT lo_creat(-1) AS a",
    "CREATE TABLE large_default (id oid DEFAULT lo_creat(-1), x int)",
    "CREATE TABLE divided (at int NOT NULL) PARTITION BY RANGE (at)",
    "CREATE TABLE divided_1 PARTITION OF divided FOR VALUES FROM (0) TO (10)",
    "CREATE TRIGGER audit AFTER INSERT ON divided FOR EACH ROW EXECUTE FUNCTION audit()",
    "CREATE MATERIALIZED VIEW kept AS SELECT count(*) FROM book",
    "INSERT INTO author VALUES (1, 'a'), (2, 'b')",
    "INSERT INTO book VALUES (1, 'one', 1), (2, 'two', 1), (3, 'three', 2)",
    "INSERT INTO review VALUES (1, 1), (2, 3)",
    "INSERT INTO country VALUES ('A', 'a'), ('B', 'b')",
    "INSERT INTO city VALUES (1, 'A')",
    "INSERT INTO event VALUES (1, 'x'), (11, 'y')",
    "INSERT INTO moved VALUES (1)",
    "INSERT INTO whole VALUES (1)",
    "INSERT INTO part VALUES (1)",
    "INSERT INTO grandchild VALUES (1)",
    "INSERT INTO guarded VALUES (1)",
    "INSERT INTO shelf VALUES (7, NULL)",
    "INSERT INTO other.book VALUES (1, 'other')",
];

const ALL: &str = "*";

/// Statement, and the tables of its set. PostgreSQL runs each.
const RUN: &[(&str, &str)] = &[
    ("select title from public.book where id = 1", ""),
    ("select count(*), coalesce(max(id), 0), now(), current_timestamp from author", ""),
    ("select nextval('s'), random(), clock_timestamp()", ""),
    ("select quiet_one(), stable_one()", ""),
    ("select mixed()", ALL),
    ("select writer()", ALL),
    ("select * from generate_series(1, writer())", ALL),
    ("select 1 where exists (select writer())", ALL),
    ("select * from loud", ALL),
    ("select * from loud_again", ALL),
    ("select * from titles_again", ""),
    ("select * from large", ALL),
    ("insert into large_default (x) values (1)", ALL),
    ("insert into divided_1 values (1)", ALL),
    ("delete from divided_1", "divided_1"),
    ("select * from guarded", ALL),
    ("select relname from pg_class", ""),
    ("select * from pg_catalog.pg_locks", ""),
    ("select id from author where id = 1 for update", ""),
    ("insert into shelf (id) values (1)", "shelf"),
    ("insert into author (id) values (1) on conflict (id) do update set id = 9", "author book"),
    ("insert into author (id) values (1) on conflict do nothing", "author"),
    ("insert into other.book values (1, 'x')", "other.book"),
    ("update book set title = 'x' where id = 1", "book other.book"),
    ("update author set name = 'x' where id = 1", "author book"),
    ("update country set name = 'x'", "country"),
    ("update country set code = 'Z' where code = 'A'", "country city"),
    ("with x as (select 1) update country set code = 'Z' where code = 'A'", "country city"),
    ("delete from author where id = 2", "author book review"),
    ("delete from public.book where id = 1", "book review"),
    (
        "with x as (delete from public.book where id = 1 returning id) insert into shelf select id + 9 from x",
        "book review shelf",
    ),
    ("insert into event values (1, 'x')", "event event_1 event_2"),
    ("insert into event_1 values (1, 'x')", "event_1"),
    ("update event set at = 12 where at = 1", "event event_1 event_2"),
    ("update moved set at = 12 where at = 1", ALL),
    ("delete from moved where at = 1", "moved moved_1 moved_2"),
    ("delete from whole", "whole whole_1 part"),
    ("delete from whole_1", "whole_1 part"),
    ("update parent set a = 2", "parent heir grandchild"),
    ("update only parent set a = 2", ALL),
    ("update titles set title = 'x' where id = 1", "titles book"),
    ("delete from titles_again where id = 1", "titles_again titles book review"),
    ("insert into instead values (1)", ALL),
    ("insert into tracked values (1)", ALL),
    ("update tracked set id = 2", "tracked"),
    ("insert into untracked values (1)", "untracked"),
    ("insert into ruled values (1)", ALL),
    ("insert into loud_default (x) values (1)", ALL),
    ("insert into loud_check values (1)", ALL),
    ("insert into quiet_default (x) values (1)", "quiet_default"),
    ("insert into shelf (id) values (writer())", ALL),
    ("update guarded set id = 3", ALL),
    ("explain analyze insert into shelf (id) values (1)", "shelf"),
    ("explain insert into shelf (id) values (1)", "shelf"),
    (
        "merge into shelf using author on shelf.id = author.id when not matched then insert values (author.id, null)",
        "shelf",
    ),
    (
        "merge into shelf using author on false when not matched then insert values (author.id + writer(), null)",
        ALL,
    ),
    ("call p()", ALL),
    ("do $$ begin insert into log values ('do'); end $$", ALL),
    ("create table fresh (a int)", ALL),
    ("select * into fresh from author", ALL),
    ("create index on author (name)", ALL),
    ("refresh materialized view kept", ALL),
    ("lock table book", ""),
    ("set local work_mem = '1MB'", ""),
    ("savepoint a", ""),
    ("listen x", ""),
    ("notify x", ""),
    ("declare c cursor for select title from titles", ""),
    ("declare c cursor for select writer()", ALL),
    ("prepare q as insert into shelf (id) values (1)", ""),
    ("comment on table log is 'x'", ALL),
    ("create temp table mine (a int)", ALL),
    ("truncate shelf", "shelf"),
    ("truncate author cascade", "author book review shelf"),
    ("truncate whole cascade", "whole whole_1 part"),
];

/// What cannot be run in a transaction that is rolled back, or not at all.
const NOT_RUN: &[(&str, &str)] = &[
    ("begin", ""),
    ("commit", ""),
    ("rollback to savepoint a", ""),
    ("commit prepared 'x'", ALL),
    ("prepare transaction 'x'", ALL),
    ("vacuum", ALL),
    ("execute q", ALL),
    ("copy shelf from stdin", ALL),
    ("copy shelf to stdout", ""),
    ("copy (select writer()) to stdout", ALL),
    ("copy (delete from shelf returning id) to stdout", ALL),
    ("select missing(1)", ALL),
    ("select * from missing", ALL),
    ("insert into missing values (1)", ALL),
    ("insert into pg_class (relname) values ('x')", ALL),
    ("gibberish", ALL),
    // PostgreSQL may have been built without XML.
    ("select query_to_xml('select writer()', true, true, '')", ALL),
];

#[tokio::test]
async fn what_statements_may_write_is_what_postgresql_says_and_more() {
    let database = TestDatabase::new("writes");
    batch(&database.superuser_url(), SCHEMA);
    let catalog = probe(&database).catalog().await.unwrap();
    assert!(catalog.effects.known, "{:?}", catalog.facts.notes);
    let client = connect(&database.superuser_url()).await;
    let merges = catalog.facts.server_version >= 150_000;
    let (mut faults, mut wrote) = (Vec::new(), 0);
    for &(text, expected) in RUN.iter().chain(NOT_RUN) {
        let found = writes(&catalog, text);
        let set = match &found.set {
            WriteSet::All => None,
            WriteSet::Tables(tables) => Some(names(&catalog, tables)),
        };
        let wanted: Option<BTreeSet<String>> =
            (expected != ALL).then(|| expected.split_whitespace().map(str::to_owned).collect());
        if set != wanted {
            faults.push(format!("{text}: {set:?} {:?}, expected {expected}", found.why));
        }
        assert_eq!(found.why.is_some(), set.is_none(), "whoever may write all says why: {text}");
        let run = RUN.iter().any(|(own, _)| *own == text) && (merges || !text.starts_with("merge"));
        if run {
            let changed = changed(&client, text).await;
            wrote += usize::from(!changed.is_empty());
            if set.as_ref().is_some_and(|set| !changed.is_subset(set)) {
                faults.push(format!("{text} changed {changed:?}, more than {set:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(wrote >= 35, "PostgreSQL tells of no more than {wrote} statements that wrote");
}

/// Each makes every statement of its database doubtful.
const ANYWHERE: &[&[&str]] = &[
    &[
        "CREATE FUNCTION f(point, point) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (1); RETURN true; END'",
        "CREATE OPERATOR @@@ (leftarg = point, rightarg = point, function = f)",
    ],
    &[
        "CREATE TYPE pair AS (a int, b int)",
        "CREATE FUNCTION f(pair) RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (1); RETURN 1; END'",
        "CREATE CAST (pair AS int) WITH FUNCTION f(pair) AS IMPLICIT",
    ],
    &[
        "CREATE FUNCTION f(log) RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (1); RETURN 1; END'",
    ],
    &[
        "CREATE FUNCTION f(int, int) RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (1); RETURN 1; END'",
        "CREATE AGGREGATE total (int) (sfunc = f, stype = int)",
    ],
    &[
        "CREATE FUNCTION f(text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (1); RETURN true; END'",
        "CREATE DOMAIN checked AS text CHECK (f(VALUE))",
    ],
];

#[tokio::test]
async fn what_runs_without_a_name_makes_everything_doubtful() {
    for (at, statements) in ANYWHERE.iter().enumerate() {
        let database = TestDatabase::new(&format!("anywhere_{at}"));
        batch(&database.superuser_url(), &["CREATE TABLE log (a int)"]);
        let before = probe(&database).catalog().await.unwrap();
        assert_eq!(writes(&before, "select a from log").set, WriteSet::default());
        batch(&database.superuser_url(), statements);
        let catalog = probe(&database).catalog().await.unwrap();
        let found = writes(&catalog, "select a from log");
        let why = found.why.unwrap_or_default();
        assert!(found.set == WriteSet::All && why.contains("public.f"), "{statements:?}: {why}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_not_known() {
    let database = TestDatabase::new("writes_hidden");
    let statements = [
        "CREATE TABLE log (a int)",
        "CREATE FUNCTION writer() RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (1); RETURN 1; END'",
        "REVOKE SELECT ON pg_catalog.pg_policy FROM PUBLIC",
    ];
    batch(&database.superuser_url(), &statements);
    let catalog = probe(&database).catalog().await.unwrap();
    assert!(!catalog.effects.known);
    assert_eq!(writes(&catalog, "insert into log values (1)").set, WriteSet::All);
    assert!(
        catalog.facts.notes.iter().any(|note| note.contains("beyond their words")),
        "{:?}",
        catalog.facts.notes
    );
}
