//! INSERTs that are acknowledged before they are done: they are done before anything sees them, and their errors come
//! in time to undo the transaction.

use crate::frames::show;
use crate::inserts::{House, INSERT, SCHEMA, SYNC, bind, describe, execute, item, parse, query, text};
use crate::raw::Raw;

/// One INSERT with an answer of its own, as most drivers send it.
fn single(text: &str, values: &[Option<Vec<u8>>]) -> Vec<u8> {
    let ask = [parse("", text, &[]), bind("", &[], values), describe("P"), execute(0), SYNC.to_vec()];
    ask.concat()
}

#[test]
fn deferred_inserts_go_before_whatever_could_see_them() {
    let house = House::new(&[SCHEMA[0], SCHEMA[1], "ALTER TABLE items DROP COLUMN id"]);
    let mut pair = house.pair();
    let small = |a: usize| single("INSERT INTO small VALUES ($1, $2)", &[text(a), text("x")]);
    pair.query("SET pgweir.insert = 'deferred'");
    let mut k = 0;
    house.warm_up(|| {
        pair.query("BEGIN");
        for _ in 0..4 {
            k += 1;
            pair.both(&single(INSERT, &item(k)));
            pair.both(&small(k));
        }
        pair.query("COMMIT");
    });
    // Fifty of each: one statement per text.
    pair.query("BEGIN");
    for at in 0..50 {
        pair.both(&single(INSERT, &item(1_000 + at)));
        pair.both(&small(at));
    }
    pair.query("COMMIT");
    assert_eq!(house.counted(), (2, 0));
    // Own rows are seen, and what is rolled back is not.
    pair.query("BEGIN");
    pair.both(&small(7));
    pair.query("SELECT count(*) FROM small");
    pair.both(&small(8));
    pair.query("SAVEPOINT s");
    pair.both(&small(9));
    pair.query("ROLLBACK TO s");
    pair.both(&small(10));
    pair.both(&single("SELECT count(*), max(a) FROM small WHERE b = $1", &[text("x")]));
    pair.both(&small(11));
    pair.query("ROLLBACK");
    // Several at once with what follows them.
    pair.query("BEGIN");
    pair.both(&[small(1), small(2), query("SELECT sum(a) FROM small"), small(3), query("COMMIT")].concat());
    house.same("SELECT count(*) || md5(string_agg(i::text, '|' ORDER BY ctid)) FROM items i");
    house.same("SELECT count(*) || md5(string_agg(s::text, '|' ORDER BY ctid)) FROM small s");
    // Who goes away leaves nothing.
    pair.query("BEGIN");
    pair.both(&small(99));
    drop(pair);
    house.same("SELECT count(*) FROM small");
}

#[test]
fn errors_of_deferred_inserts_end_the_transaction() {
    let house = House::new(&[SCHEMA[0], SCHEMA[1], "ALTER TABLE items DROP COLUMN id"]);
    let mut pair = house.pair();
    pair.query("SET pgweir.insert = 'deferred'");
    let mut k = 10;
    house.warm_up(|| {
        pair.query("BEGIN");
        k += 1;
        pair.both(&single(INSERT, &item(k)));
        pair.query("COMMIT");
    });
    let shown = |frames: &[Vec<u8>]| show(&frames.concat());
    let mut wrong = item(20_000);
    wrong[0] = text(k);
    let commits: [Vec<u8>; 2] = [query("COMMIT"), single("COMMIT", &[])];
    for commit in commits {
        let before = house.ask("SELECT count(*) FROM items");
        let ask = |client: &mut Raw, bytes: &[u8]| {
            client.send(bytes);
            client.until(b'Z', 1)
        };
        let merged = &mut pair.merged;
        ask(merged, &query("BEGIN"));
        let acknowledged = ask(merged, &single(INSERT, &wrong));
        assert!(acknowledged.iter().any(|frame| frame[5..].starts_with(b"INSERT 0 1")));
        let failed = shown(&ask(merged, &commit));
        assert!(failed.contains("C23505") && failed.contains("items_k_key"), "{failed}");
        assert!(failed.ends_with("Z I"), "the transaction is over: {failed}");
        // Inside, the transaction is one that failed.
        ask(merged, &query("BEGIN"));
        ask(merged, &single(INSERT, &item(30_000)));
        ask(merged, &single(INSERT, &wrong));
        let failed = shown(&ask(merged, &query("SELECT 1")));
        assert!(failed.contains("C23505") && failed.ends_with("Z E"), "{failed}");
        let failed = shown(&ask(merged, &single("SELECT 2", &[])));
        assert!(failed.contains("C25P02") && failed.ends_with("Z E"), "{failed}");
        let over = shown(&ask(merged, &query("COMMIT")));
        assert!(over.contains("ROLLBACK") && over.ends_with("Z I"), "{over}");
        assert_eq!(house.ask("SELECT count(*) FROM items"), before);
    }
    // Afterwards all is as it was.
    pair.query("BEGIN");
    pair.both(&single(INSERT, &item(40_000)));
    pair.query("COMMIT");
    house.same("SELECT count(*) || md5(string_agg(i::text, '|' ORDER BY ctid)) FROM items i");
}
