//! Sequential loops, each look-up sent only when the one before it was answered: the same answers in far fewer queries,
//! at the level that is named with each figure.

mod house;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use pgweir::coalesce::prefetch::level::Level;

use crate::frames::{frame, show};
use crate::support::http;
pub(crate) use house::{Client, DATABASE, House, Send, by_literal, by_parameter, rows};

/// 50 records, and for each three look-ups, one after the other. Returns all answers.
fn page(client: &mut Client, from: usize, send: Send) -> Vec<Vec<u8>> {
    let parent = format!(
        "SELECT id, facility_id, source_id, user_id FROM records WHERE id > {from} ORDER BY id LIMIT 50"
    );
    let mut answers = vec![client.query(&parent)];
    for row in rows(&answers[0]) {
        answers.push(send(client, "SELECT id, name FROM facilities WHERE id = $1 LIMIT 21", &row[1]));
        answers.push(send(client, "SELECT kind FROM sources WHERE id = $1", &row[2]));
        answers.push(send(client, "SELECT email FROM users WHERE $1 = id", &row[3]));
    }
    answers
}

/// A page again and again, from a pgweir that knows nothing of it: the answers are those of a direct connection, always.
/// How soon it is found out what is asked depends on the machine, so a house that was slow to learn may be followed by
/// another.
fn check(level: Level, send: Send, transaction: Option<&str>) {
    let mut seen = Vec::new();
    for _ in 0..4 {
        let counts = pages(&House::new(level), send, transaction);
        println!("{level:?} {transaction:?}: {counts:?} data queries for 151");
        if counts[0] <= 10 && counts[9] <= 4 {
            return;
        }
        seen.push(counts);
    }
    panic!("10 are allowed cold, 4 warm: {seen:?}");
}

fn pages(house: &House, send: Send, transaction: Option<&str>) -> Vec<u64> {
    let (mut client, mut direct) = (house.client(), house.direct());
    let mut counts = Vec::new();
    for round in 0..10 {
        house.reset();
        let run = |client: &mut Client| {
            transaction.iter().for_each(|begin| drop(client.query(begin)));
            let answers = page(client, round * 60, send);
            transaction.iter().for_each(|_| drop(client.query("COMMIT")));
            answers
        };
        let ours = run(&mut client);
        counts.push(house.queries());
        for (ours, theirs) in ours.iter().zip(run(&mut direct)) {
            assert_eq!(show(ours), show(&theirs));
        }
    }
    counts
}

#[test]
fn a_page_of_records_takes_four_queries() {
    check(Level::Fenced, by_literal, None);
    check(Level::Fenced, by_parameter, None);
}

/// Who knows nothing of a loop sees it at the second look-up, and fetches for 49 of 50 records. Each kind of look-up is
/// compared with a direct one in either case, so that the number of queries is the same.
#[test]
fn what_was_learned_outlives_a_restart() {
    let prefetched = |house: &House| {
        page(&mut house.client(), 0, by_literal);
        let metrics = http(house.weir.admin(), "GET", "/metrics", &[]).1;
        let total = metrics.lines().find(|line| line.starts_with("pgweir_coalescing_prefetched_total"));
        total.and_then(|line| line.split(' ').next_back()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let mut house = House::new(Level::Fenced);
    let first = prefetched(&house);
    assert!(first <= 3 * 48, "{first}");
    pages(&house, by_literal, None);
    // On a busy machine it may take longer to find out about look-ups than one of them waits.
    for _ in 0..4 {
        house = house.restart(Level::Fenced);
        let again = prefetched(&house);
        println!("fetched ahead on the first page: {first}, after a restart {again}");
        if again == 3 * 49 {
            return;
        }
    }
    panic!("a loop was not known after a restart");
}

#[test]
fn and_so_it_does_in_transactions() {
    check(Level::Fenced, by_literal, Some("BEGIN"));
    check(Level::Strict, by_parameter, Some("BEGIN ISOLATION LEVEL REPEATABLE READ"));
}

/// As a driver that asks for text until it knows a statement, and then for binary rows.
fn in_two_forms(client: &mut Client, from: usize) -> Vec<Vec<u8>> {
    let parent =
        format!("SELECT id, facility_id, source_id FROM records WHERE id > {from} ORDER BY id LIMIT 50");
    let mut answers = vec![client.query(&parent)];
    for (at, row) in rows(&answers[0]).into_iter().enumerate() {
        for (text, key) in [
            ("SELECT id, name, id::float8 / 3, interval '1 day' * id FROM facilities WHERE id = $1", &row[1]),
            ("SELECT kind, id::numeric / 7, NULL::date FROM sources WHERE id = $1", &row[2]),
        ] {
            let parse = frame(b'P', format!("\0{text}\0\0\0").as_bytes());
            let mut bind = b"\0\0\0\0\0\x01".to_vec();
            bind.extend((key.len() as u32).to_be_bytes());
            bind.extend(key.as_bytes());
            bind.extend(if at < 4 { &[0, 0][..] } else { &[0, 1, 0, 1] });
            let rest = [frame(b'D', b"P\0"), frame(b'E', b"\0\0\0\0\0"), frame(b'S', b"")].concat();
            answers.push(client.send(&[parse, frame(b'B', &bind), rest].concat()));
        }
    }
    answers
}

#[test]
fn rows_are_fetched_in_both_forms_that_a_driver_asks_for() {
    let house = House::with(Level::Fenced, 1);
    let mut direct = house.direct();
    let mut counts = Vec::new();
    for round in 0..10 {
        house.reset();
        // A new connection begins with text again.
        let ours = in_two_forms(&mut house.client(), round * 60);
        counts.push(house.queries());
        for (ours, theirs) in ours.iter().zip(in_two_forms(&mut direct, round * 60)) {
            assert_eq!(show(ours), show(&theirs));
        }
    }
    println!("in two forms: {counts:?} data queries for 101");
    assert!(counts.iter().any(|count| *count <= 3), "{counts:?}");
}

/// A look-up that was answered alone is asked once more with the first fetch. Here somebody writes around pgweir in
/// between, which nothing else can tell from a fetch that brings wrong rows.
#[test]
fn a_fetch_that_differs_from_what_was_answered_alone_serves_nothing() {
    let house = House::with(Level::Fenced, 1);
    let (mut client, mut direct) = (house.client(), house.direct());
    let text = "SELECT id, name FROM facilities WHERE id = $1";
    let parent = "SELECT id, facility_id FROM records WHERE id > 0 ORDER BY id LIMIT 20";
    for row in rows(&client.query(parent)) {
        assert_eq!(
            show(&by_parameter(&mut client, text, &row[1])),
            show(&by_parameter(&mut direct, text, &row[1]))
        );
        direct.query(&format!("UPDATE facilities SET name = name || '!' WHERE id = {}", row[1]));
    }
    let (_, page) = http(house.weir.admin(), "GET", "/api/database/coalescing", &[]);
    assert!(page.contains("\"differs\":1") && page.contains("\"off\":"), "{page}");
    assert_eq!(served(&house), 0, "{page}");
}

/// One client writes ever larger numbers, another asks for the number again and again. Returns how many answers were
/// given, and how many of them were older than what had been acknowledged before they were asked for.
fn race(house: &House, send: Send) -> (u64, u64) {
    let (acknowledged, over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = house.client();
            for number in 1..=150 {
                client.query(&format!("UPDATE records SET quantity = {number} WHERE id = 7"));
                acknowledged.store(number, SeqCst);
                std::thread::sleep(Duration::from_millis(8));
            }
            over.store(true, SeqCst);
        });
        let (mut client, mut reads, mut stale) = (house.client(), 0, 0);
        while !over.load(SeqCst) {
            let before = acknowledged.load(SeqCst);
            let found = rows(&send(&mut client, "SELECT quantity FROM records WHERE id = $1", "7"));
            let found: u64 = found[0][0].parse().unwrap();
            reads += 1;
            stale += u64::from(found < before);
        }
        writer.join().unwrap();
        (reads, stale)
    })
}

pub(crate) fn served(house: &House) -> u64 {
    let (_, page) = http(house.weir.admin(), "GET", "/api/database/coalescing", &[]);
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    page["totals"]["served"].as_u64().unwrap_or_else(|| panic!("{page}"))
}

#[test]
fn kept_answers_are_never_older_than_what_was_acknowledged() {
    for send in [by_literal as Send, by_parameter] {
        let house = House::new(Level::Fenced);
        // On a busy machine it may take a while until answers are kept at all.
        for _ in 0..10 {
            // The number starts where the race does.
            house.client().query("UPDATE records SET quantity = 0 WHERE id = 7");
            let (reads, stale) = race(&house, send);
            println!("fenced: {reads} reads, {} from what was kept so far", served(&house));
            assert_eq!(stale, 0, "of {reads}");
            if served(&house) > 100 {
                break;
            }
        }
        assert!(served(&house) > 100, "only {} were answered from what was kept", served(&house));
    }
}

#[test]
fn the_race_can_see_what_is_stale() {
    let house = House::new(Level::Bounded { max_staleness_ms: 200 });
    let found = (0..10).any(|_| {
        house.client().query("UPDATE records SET quantity = 0 WHERE id = 7");
        race(&house, by_literal).1 > 0
    });
    assert!(found, "no read was stale, {} were kept", served(&house));
}

/// An upload looks up what its own input names: no result says what comes next, but the table is small.
#[test]
fn a_small_table_is_read_once() {
    for send in [by_literal as Send, by_parameter] {
        let house = House::new(Level::Fenced);
        let (mut client, mut direct) = (house.client(), house.direct());
        let mut counts = Vec::new();
        for round in 0..4 {
            house.reset();
            for at in 0..60 {
                let key = ((at * 7919 + round * 31) % 320).to_string();
                let text = "SELECT name, factor FROM units WHERE id = $1";
                assert_eq!(
                    show(&send(&mut client, text, &key)),
                    show(&send(&mut direct, text, &key)),
                    "{key}"
                );
            }
            // The direct connection asked just as often.
            counts.push(house.queries() - 60);
            // Nothing is kept for longer than a second.
            std::thread::sleep(Duration::from_millis(1_100));
        }
        // What is written otherwise than PostgreSQL prints it may be there all the same, and what is no number is an
        // error: neither is a key that the table does not have.
        for key in ["1", "3", "5", "7", "9", " 11", "013", "+15", "x", ""].map(str::to_owned) {
            let parameter = std::ptr::fn_addr_eq(send, by_parameter as Send);
            if parameter || key.parse::<u32>().is_ok() {
                let text = "SELECT name, factor FROM units WHERE id = $1";
                let [ours, theirs] = [&mut client, &mut direct].map(|who| show(&send(who, text, &key)));
                assert_eq!(ours, theirs, "{key:?}");
            }
        }
        println!("small table: {counts:?} queries for 60 look-ups");
        assert!(counts.iter().any(|count| *count <= 2), "{counts:?}");
    }
}
