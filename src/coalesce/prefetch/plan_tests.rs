//! Loops as applications write them: how many queries reach the server.

use super::level::{Isolation, Level};
use super::play::Play;
use super::rate::Off;
use super::template::{Kind, Templates};

/// Keys of a list, in no order.
fn keys(count: i64) -> Vec<(i64, i64)> {
    (0..count).map(|at| (1_000 + at * 7_919 % 5_003, 9_000 + at * 31 % 997)).collect()
}

/// A list, and for each of its rows three look-ups.
fn page(play: &mut Play, rows: &[(i64, i64)]) -> u32 {
    let before = play.queries;
    play.list(rows);
    for (a, b) in rows {
        play.look(2, *a);
        play.look(3, *b);
        play.look(4, *a);
    }
    play.queries - before
}

#[test]
fn fifty_records_with_three_look_ups_each() {
    let mut play = Play::new(Level::Fenced);
    let rows = keys(50);
    let cold = page(&mut play, &rows);
    assert!(cold <= 10, "{cold} queries");
    play.session.unit_ended();
    for _ in 0..3 {
        assert_eq!(page(&mut play, &rows), 4);
        play.session.unit_ended();
    }
}

#[test]
fn strict_reads_ahead_in_repeatable_read_alone() {
    let rows = keys(50);
    for (isolation, expected) in [
        (None, 151),
        (Some(Isolation::ReadCommitted), 151),
        (Some(Isolation::RepeatableRead), 4),
        (Some(Isolation::Serializable), 151),
    ] {
        let mut play = Play::new(Level::Strict);
        for round in 0..3 {
            isolation.into_iter().for_each(|isolation| play.begin(isolation));
            let queries = page(&mut play, &rows);
            play.end(true);
            assert!(round == 0 || queries == expected, "{isolation:?}: {queries} queries");
        }
    }
}

#[test]
fn loops_in_loops_take_one_query_per_level() {
    let mut play = Play::new(Level::Fenced);
    play.rows_per_key = |table, _| if table == 2 { 10 } else { 1 };
    for round in 0..4 {
        let before = play.queries;
        play.list(&keys(50));
        for (key, _) in keys(50) {
            play.look(2, key);
            (0..10).for_each(|row| drop(play.look(3, key * 10 + row)));
        }
        let queries = play.queries - before;
        assert!(if round == 0 { queries <= 20 } else { queries == 3 }, "{queries} queries in round {round}");
        play.session.unit_ended();
    }
}

#[test]
fn a_list_that_is_long_is_fetched_in_pieces() {
    let mut play = Play::new(Level::Fenced);
    // The first time, only the list's first 12 KiB are known, of which the look-ups behind the first come in
    // pieces of 64 and 256 keys; then its first 1,000 rows, in pieces of 512.
    for expected in [1 + 1 + 4 + 400, 1 + 2] {
        let before = play.queries;
        let rows = keys(900);
        play.list(&rows);
        rows.iter().for_each(|(key, _)| drop(play.look(2, *key)));
        let queries = play.queries - before;
        assert!(queries <= expected, "{queries} queries");
        play.session.unit_ended();
    }
}

#[test]
fn what_is_broken_off_wastes_little_and_is_turned_off() {
    let mut play = Play::new(Level::Fenced);
    let rows = keys(400);
    let mut off = Vec::new();
    for _ in 0..8 {
        play.list(&rows);
        rows.iter().take(5).for_each(|(key, _)| drop(play.look(2, *key)));
        play.session.unit_ended();
        play.session.settle(&mut play.templates, play.now_us);
        off.extend(play.session.settled());
    }
    let whys: Vec<Option<Off>> = off.iter().map(|settled| settled.off).collect();
    assert_eq!(whys, [None, None, Some(Off::Wasteful)]);
    let wasted: Vec<u64> = off.iter().map(|settled| settled.unused).collect();
    assert!(wasted[0] < 128 && wasted[1..].iter().all(|rows| *rows <= 2 * 16), "{wasted:?} rows");
}

#[test]
fn a_loop_that_writes_what_it_reads_is_left_alone_soon() {
    let mut play = Play::new(Level::Fenced);
    let rows = keys(100);
    play.list(&rows);
    for (key, _) in &rows {
        play.look(2, *key);
        play.write(2, *key);
    }
    play.session.settle(&mut play.templates, play.now_us);
    let settled = play.session.settled();
    assert_eq!(settled.len(), 3, "{settled:?}");
    assert_eq!(settled[2].off, Some(Off::Wasteful));
}

#[test]
fn an_upload_reads_its_small_tables_once() {
    let mut play = Play::new(Level::Fenced);
    play.small = Some(2);
    play.rows_per_key = |_, key| u64::from(key < 30);
    // Keys of the table, and of none: an absent one is known to be absent.
    let input: Vec<i64> = (0..50).map(|at| at * 17 % 41).collect();
    for expected in [5, 1, 1] {
        let before = play.queries;
        play.begin(Isolation::ReadCommitted);
        for key in &input {
            let (frames, _) = play.look(2, *key);
            assert_eq!(frames.is_empty(), *key >= 30);
            // The record itself, which is written to another table.
            play.write(9, *key);
        }
        play.end(true);
        play.session.unit_ended();
        assert!(play.queries - before <= expected, "{} queries", play.queries - before);
    }
}

#[test]
fn what_is_asked_again_is_answered_from_before() {
    let mut play = Play::new(Level::Fenced);
    for expected in [2, 1, 1] {
        let before = play.queries;
        (0..20).for_each(|_| drop(play.look(5, 8)));
        assert_eq!(play.queries - before, expected);
        play.session.unit_ended();
    }
    play.write(5, 8);
    let (frames, served) = play.look(5, 8);
    assert!(served.is_none() && frames.ends_with(play.history.last().unwrap().0.to_string().as_bytes()));
}

#[test]
fn other_result_formats_are_other_answers() {
    let mut play = Play::new(Level::Fenced);
    let rows = keys(20);
    page(&mut play, &rows);
    play.list(&rows);
    play.look(2, rows[0].0);
    assert!(play.look(2, rows[1].0).1.is_some());
    play.formats = 1;
    assert!(play.look(2, rows[2].0).1.is_none());
}

#[test]
fn templates_outlive_the_process_without_values() {
    let mut play = Play::new(Level::Fenced);
    let rows = keys(50);
    page(&mut play, &rows);
    play.session.unit_ended();
    play.session.settle(&mut play.templates, play.now_us);
    let records = play.templates.records(play.now_us);
    let text = serde_json::to_string(&records).expect("it is plain data");
    assert_eq!(records.len(), 3, "{text}");
    assert!(
        !rows.iter().any(|(a, b)| text.contains(&a.to_string()) || text.contains(&b.to_string())),
        "{text}"
    );
    let mut later = Play::new(Level::Fenced);
    later.templates.remember(serde_json::from_str(&text).expect("it was written so"), 0);
    assert_eq!(later.templates.len(), 3);
    assert_eq!(page(&mut later, &rows), 4);
    later.templates.remember(records, 0);
    assert_eq!(later.templates.len(), 3, "what is known is not learned again");
}

#[test]
fn templates_are_bounded() {
    let mut templates = Templates::default();
    for shape in 0..3_000_u64 {
        for parent in 0..9 {
            templates.learn((Kind::Rows, Some(parent), shape), Box::default(), shape);
        }
        assert!(templates.of_child(shape).count() <= 6);
    }
    assert_eq!(templates.len(), super::template::TEMPLATES_MAX);
    assert!(templates.watched(8, 0).is_empty());
}
