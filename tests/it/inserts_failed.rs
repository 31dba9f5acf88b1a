//! Pipelines of INSERTs of which one fails: the answers up to it, and its error, are those of a direct connection.

use crate::inserts::{House, SCHEMA, SYNC, bind, describe, execute, item, prepare_named, text};
use crate::support::{until, wait_for};

/// A pipeline of these rows in a way that a test chooses: alone, or in a transaction that was begun before.
fn named_rows(rows: &[Vec<Option<Vec<u8>>>], syncs: bool) -> Vec<u8> {
    let row = |values: &Vec<Option<Vec<u8>>>| {
        let sync = if syncs { &SYNC[..] } else { b"" };
        [&bind("S_1", &[], values), &describe("P"), &execute(0), sync].concat()
    };
    let all: Vec<u8> = rows.iter().flat_map(row).collect();
    if syncs { all } else { [all, SYNC.to_vec()].concat() }
}

/// Something that is wrong with a row.
fn spoil(row: &mut [Option<Vec<u8>>], how: usize, k: usize) {
    match how {
        0 => row[0] = text(1),
        1 => row[1] = None,
        2 => row[2] = text(-1),
        3 => row[0] = text("no number"),
        4 => row[1] = text("longer than twelve"),
        5 => row[4] = text("{\"k\": "),
        6 => row[2] = text("99999999999"),
        // The same as the row before it.
        _ => row[0] = text(k.saturating_sub(1)),
    }
}

#[test]
fn errors_are_those_of_the_row_that_has_them() {
    // Numbers that a failure took from a sequence are gone, and some errors show the whole row.
    let house = House::new(&[SCHEMA[0], SCHEMA[1], "ALTER TABLE items DROP COLUMN id"]);
    let mut pair = house.pair();
    prepare_named(&mut pair, 0);
    pair.query("INSERT INTO items (k, name) VALUES (1, 'one')");
    let mut k = 10;
    let mut good = |n: usize| {
        k += n;
        (k - n..k).map(item).collect::<Vec<_>>()
    };
    house.warm_up(|| drop(pair.both(&named_rows(&good(4), false))));
    let mut merges = 0;
    for how in 0..8 {
        for at in 0..6 {
            for (block, syncs) in [(false, false), (true, false), (true, true)] {
                let mut rows = good(6);
                let first: usize = String::from_utf8(rows[0][0].clone().unwrap()).unwrap().parse().unwrap();
                spoil(&mut rows[at], how, first + at);
                if block {
                    pair.query("BEGIN");
                    pair.query("INSERT INTO small VALUES (1, 'before')");
                }
                pair.both(&named_rows(&rows, syncs));
                merges += 1;
                if block {
                    pair.query("SELECT count(*) FROM items");
                    pair.query(if at % 2 == 0 { "COMMIT" } else { "ROLLBACK" });
                }
                // What works in between keeps the hope up.
                pair.both(&named_rows(&good(3), false));
            }
        }
    }
    // Inside of a transaction a client's own savepoint saves what was before.
    for syncs in [false, true] {
        pair.query("BEGIN");
        pair.both(&named_rows(&good(5), syncs));
        pair.query("SAVEPOINT mine");
        let mut rows = good(5);
        rows[3][1] = None;
        pair.both(&named_rows(&rows, syncs));
        pair.query("ROLLBACK TO mine");
        pair.both(&named_rows(&good(5), syncs));
        pair.query("COMMIT");
    }
    until("each of them was tried as one", || {
        (house.weir.logged("failed as one") == merges + 2).then_some(())
    });
    house.same("SELECT count(*) || md5(string_agg(i::text, '|' ORDER BY ctid)) FROM items i");
    house.same("SELECT count(*) FROM small");
    // Nobody is left holding anything, as soon as the server has seen the last COMMIT.
    let open = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%' AND datname = 'merged'";
    wait_for("no transaction is open", || house.ask(open).iter().all(|count| count == "0"));
}

#[test]
fn a_cancel_request_reaches_what_was_merged() {
    let house = House::new(&[SCHEMA[0], SCHEMA[1], "ALTER TABLE items DROP COLUMN id"]);
    let (mut pair, mut holder) = (house.pair(), house.pair());
    prepare_named(&mut pair, 0);
    let mut k = 10;
    let mut good = |n: usize| {
        k += n;
        (k - n..k).map(item).collect::<Vec<_>>()
    };
    house.warm_up(|| drop(pair.both(&named_rows(&good(4), false))));
    for block in [false, true] {
        let rows = good(4);
        let first = String::from_utf8(rows[0][0].clone().unwrap()).unwrap();
        holder.query("BEGIN");
        holder.query(&format!("INSERT INTO items (k, name) VALUES ({first}, 'held')"));
        if block {
            pair.query("BEGIN");
        }
        let bytes = named_rows(&rows, false);
        let ends = [(&mut pair.direct, house.direct_port()), (&mut pair.merged, house.weir.listen.port())];
        let answers = ends.map(|(client, port)| {
            let key = client.greeting.iter().find(|frame| frame[0] == b'K').unwrap().clone();
            client.send(&bytes);
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
            until("it waits for the lock", || (house.ask(waits)[0] == "1").then_some(()));
            let pid = i32::from_be_bytes(key[5..9].try_into().unwrap());
            crate::rawclient::Raw::cancel(([127, 0, 0, 1], port).into(), pid, &key[9..]);
            crate::frames::show(&client.until(b'Z', 1).concat())
        });
        assert!(answers[0].contains("C57014"), "{}", answers[0]);
        assert_eq!(answers[0], answers[1]);
        holder.query("ROLLBACK");
        if block {
            pair.query("ROLLBACK");
        }
        pair.both(&named_rows(&good(3), false));
    }
    house.same("SELECT count(*) || md5(string_agg(i::text, '|' ORDER BY ctid)) FROM items i");
}
