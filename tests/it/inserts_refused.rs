//! Which INSERTs are merged, and why others are not: the database itself knows its triggers, rules and functions.

use crate::inserts::{House, SYNC, bind, execute, parse, text};
use crate::support::until;

/// Tables, one for each thing that may tell many INSERTs from one, and some that look alike and cannot.
const TABLES: [&str; 39] = [
    "CREATE TABLE log (n serial, what text)",
    "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log (what) VALUES \
     (TG_TABLE_NAME); RETURN coalesce(NEW, OLD); END $$",
    "CREATE FUNCTION how_many() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM log'",
    "CREATE FUNCTION is_new(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END'",
    "CREATE DOMAIN checked AS int CHECK (is_new(VALUE))",
    "CREATE TABLE per_statement (a int)",
    "CREATE TRIGGER t AFTER INSERT ON per_statement EXECUTE FUNCTION note()",
    "CREATE TABLE per_row (a int)",
    "CREATE TRIGGER t BEFORE INSERT ON per_row FOR EACH ROW EXECUTE FUNCTION note()",
    "CREATE TABLE transition (a int)",
    "CREATE TRIGGER t AFTER INSERT ON transition REFERENCING NEW TABLE AS fresh FOR EACH ROW EXECUTE FUNCTION note()",
    "CREATE TABLE ruled (a int)",
    "CREATE RULE r AS ON INSERT TO ruled DO ALSO INSERT INTO log (what) VALUES ('rule')",
    "CREATE TABLE behind (a int)",
    "CREATE VIEW seen AS SELECT a FROM behind",
    "CREATE TABLE counted (a int, n bigint DEFAULT how_many())",
    "CREATE TABLE checked_rows (a int CHECK (is_new(a)))",
    "CREATE TABLE of_domain (a checked)",
    "CREATE TABLE indexed (a int)",
    "CREATE INDEX ON indexed (is_new(a))",
    "CREATE TABLE tree (a int PRIMARY KEY, b int REFERENCES tree)",
    "CREATE TABLE at_statement (a int, at timestamptz DEFAULT statement_timestamp())",
    "CREATE TABLE guarded (a int)",
    "ALTER TABLE guarded ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY p ON guarded USING (true)",
    "CREATE TABLE parts (a int) PARTITION BY RANGE (a)",
    "CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (100000)",
    "CREATE TRIGGER t AFTER INSERT ON part FOR EACH ROW EXECUTE FUNCTION note()",
    "CREATE TABLE lists (a int[])",
    "CREATE TABLE plain (a int, b serial)",
    "CREATE TABLE updated (a int)",
    "CREATE TRIGGER t BEFORE UPDATE ON updated FOR EACH ROW EXECUTE FUNCTION note()",
    "CREATE TABLE now_row (a int, at timestamptz DEFAULT now(), u uuid DEFAULT gen_random_uuid())",
    "CREATE TYPE mood AS ENUM ('sad', 'it''s \"fine\"')",
    "CREATE TABLE moods (a int, b mood)",
    "CREATE TABLE always (a int, b int GENERATED ALWAYS AS IDENTITY, c int GENERATED ALWAYS AS (a * 2) STORED)",
    "CREATE TABLE divided (a int) PARTITION BY RANGE (a)",
    "CREATE TABLE division PARTITION OF divided FOR VALUES FROM (0) TO (100000)",
    "CREATE TABLE other (a int REFERENCES tree DEFERRABLE INITIALLY DEFERRED)",
];

/// INSERTs that stay as they are, and why.
const REFUSED: [(&str, &str); 18] = [
    ("per_statement VALUES ($1)", "the trigger t runs once per statement"),
    ("per_row VALUES ($1)", "the trigger t runs a function"),
    ("transition VALUES ($1)", "the trigger t sees all rows"),
    ("ruled VALUES ($1)", "its table has rules"),
    ("seen VALUES ($1)", "something else than a table"),
    ("counted VALUES ($1)", "a default or generated column calls how_many()"),
    ("checked_rows VALUES ($1)", "a check calls is_new()"),
    ("of_domain VALUES ($1)", "a domain's check calls is_new()"),
    ("indexed VALUES ($1)", "an index calls is_new()"),
    ("tree VALUES ($1, $1)", "points to the table itself"),
    ("at_statement VALUES ($1)", "calls statement_timestamp()"),
    ("guarded VALUES ($1)", "policies of row security"),
    ("parts VALUES ($1)", "the trigger t runs a function"),
    ("lists VALUES ($1)", ""),
    ("plain (a) VALUES ($1) RETURNING b", "it has RETURNING"),
    ("plain (a) VALUES ($1) ON CONFLICT DO NOTHING", "it has ON CONFLICT"),
    ("plain (a) VALUES ($1 + 1)", "is no parameter, constant"),
    ("plain (a) VALUES ((SELECT max(a) FROM plain WHERE a < $1))", "is no parameter, constant"),
];

#[test]
fn what_may_tell_the_difference_is_left_alone() {
    let house = House::new(&TABLES);
    let mut pair = house.pair();
    let mut refused = |into: &str, reason: &str| {
        let insert = format!("INSERT INTO {into}");
        let row = |a: i32| [bind("", &[], &[text(a)]), execute(0)].concat();
        let all: Vec<u8> = (1..5).flat_map(row).collect();
        pair.both(&[parse("", &insert, &[]), all, SYNC.to_vec()].concat());
        if !reason.is_empty() {
            until(reason, || (house.weir.logged(reason) > 0).then_some(()));
        }
    };
    for (into, reason) in REFUSED {
        refused(into, reason);
        let (merged, _) = house.counted();
        assert_eq!(merged, 0, "{into}");
    }
    house.same("SELECT count(*) || md5(string_agg(what, '|' ORDER BY n)) FROM log");
    for into in [
        "plain (a) VALUES ($1)",
        "updated VALUES ($1)",
        "now_row (a, at) VALUES ($1, DEFAULT)",
        "now_row VALUES ($1, now(), NULL)",
        "moods VALUES ($1, 'sad')",
        "always (a) VALUES ($1)",
        "divided VALUES ($1)",
        "other VALUES ($1)",
    ] {
        house.warm_up(|| refused(into, ""));
    }
    let columns = "SELECT count(*) || ' ' || max(a) || ' ' || min(b) || ' ' || max(b) || ' ' || sum(a) FROM ";
    ["plain", "always"].iter().for_each(|table| house.same(&format!("{columns}{table}")));
    house.same("SELECT bool_and(b = rank) FROM (SELECT b, rank() OVER (ORDER BY b) FROM always) r");
    assert_eq!(house.ask("SELECT count(DISTINCT u) = count(u) FROM now_row")[1], "t");
}
