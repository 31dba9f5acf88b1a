//! Loops and look-alikes, as a session would show them.

use super::Thresholds;
use super::episode::{Class, Episode};
use super::unit::Watch;
use crate::sql::kind::Kind;
use crate::sql::mark::{self, Marks};
use crate::wire::reply;
use crate::wire::server::tag;

fn values(values: &[i64]) -> Marks {
    let mut marks = Marks::default();
    values.iter().for_each(|value| marks.add(mark::text(value.to_string().as_bytes())));
    marks
}

fn rows(name: &str, keys: &[i64]) -> Vec<u8> {
    let mut frames = Vec::new();
    reply::frame(&mut frames, tag::ROW_DESCRIPTION, |out| {
        out.extend_from_slice(b"\0\x02");
        for name in [name, "quantity"] {
            reply::cstr(out, name.as_bytes());
            out.extend_from_slice(&[0; 18]);
        }
    });
    for key in keys {
        reply::frame(&mut frames, tag::DATA_ROW, |out| {
            out.extend_from_slice(b"\0\x02");
            let text = key.to_string();
            out.extend_from_slice(&(text.len() as i32).to_be_bytes());
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\0\0\0\x011");
        });
    }
    frames
}

struct Play {
    watch: Watch,
    now: u64,
    found: Vec<Episode>,
}

impl Play {
    fn new() -> Self {
        Play { watch: Watch::default(), now: 1_000_000, found: Vec::new() }
    }

    fn query(&mut self, shape: u64, kind: Kind, keys: &[i64], answer: (u64, &[u8])) {
        self.now += 300;
        let thresholds = Thresholds::default();
        self.found.extend(self.watch.asked((shape, kind), &values(keys), self.now, &thresholds));
        self.now += 500;
        self.watch.answered(shape, answer.0, 500, answer.1, self.now);
    }

    fn read(&mut self, shape: u64, keys: &[i64]) {
        self.query(shape, Kind::Read, keys, (1, &[]));
    }

    fn list(&mut self, shape: u64, name: &str, keys: &[i64]) {
        self.query(shape, Kind::Read, &[], (keys.len() as u64, &rows(name, keys)));
    }

    fn end(mut self) -> Vec<(Class, u64, u32, Option<String>)> {
        self.found.extend(self.watch.end(&Thresholds::default()));
        let brief = |episode: Episode| {
            let parent = episode.parent.map(|parent| {
                format!("{}.{}", parent.fingerprint, parent.name.unwrap_or_else(|| parent.column.to_string()))
            });
            (episode.class, episode.fingerprint, episode.count, parent)
        };
        self.found.into_iter().map(brief).collect()
    }
}

const KEYS: [i64; 8] = [31, 12, 55, 7, 90, 14, 66, 2];

#[test]
fn a_loop_over_a_result_is_proved() {
    let mut play = Play::new();
    play.list(1, "author_id", &KEYS);
    KEYS.iter().for_each(|&key| play.read(2, &[key]));
    assert_eq!(play.end(), [(Class::Proved, 2, 8, Some("1.author_id".into()))]);
}

#[test]
fn a_loop_over_more_rows_than_are_kept_is_proved() {
    let mut play = Play::new();
    let keys: Vec<i64> = (0..900).map(|at| 10_000 + at * 7_919 % 5_003).collect();
    play.list(1, "author_id", &keys);
    keys.iter().for_each(|&key| play.read(2, &[key]));
    assert_eq!(play.end(), [(Class::Proved, 2, 900, Some("1.author_id".into()))]);
}

#[test]
fn a_loop_that_skips_rows_and_has_a_limit_is_proved() {
    let mut play = Play::new();
    play.list(1, "id", &KEYS);
    for key in KEYS.iter().step_by(2).chain([&2]) {
        play.read(2, &[*key, 21]);
    }
    assert_eq!(play.end(), [(Class::Proved, 2, 5, Some("1.id".into()))]);
}

#[test]
fn loops_in_a_loop_are_each_found() {
    let mut play = Play::new();
    play.list(1, "id", &KEYS);
    for key in KEYS {
        let inner: Vec<i64> = (0..3).map(|at| key * 1000 + at).collect();
        play.query(2, Kind::Read, &[key], (3, &rows("book_id", &inner)));
        inner.iter().for_each(|&key| play.read(3, &[key]));
    }
    let found = play.end();
    assert!(found.contains(&(Class::Interleaved, 2, 8, Some("1.id".into()))), "{found:?}");
    assert!(found.contains(&(Class::Nested, 3, 24, Some("2.book_id".into()))), "{found:?}");
}

#[test]
fn an_interleaved_cycle_is_found_for_each_shape() {
    let mut play = Play::new();
    play.list(1, "id", &KEYS);
    for key in KEYS {
        (2..5).for_each(|shape| play.read(shape, &[key]));
    }
    let found = play.end();
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().all(|found| found.0 == Class::Interleaved && found.3.as_deref() == Some("1.id")));
}

#[test]
fn without_a_parent_it_takes_more() {
    for (count, expected) in [(9, 0), (10, 1)] {
        let mut play = Play::new();
        (0..count).for_each(|key| play.read(2, &[key * 17]));
        let found = play.end();
        assert_eq!(found.len(), expected, "{found:?}");
        assert!(found.iter().all(|found| found.0 == Class::Counted));
    }
}

#[test]
fn writes_and_repetitions_have_classes_of_their_own() {
    let mut play = Play::new();
    (0..6).for_each(|_| play.read(1, &[5]));
    (0..6).for_each(|key| play.query(2, Kind::Write, &[key, 1], (1, &[])));
    assert_eq!(play.end(), [(Class::Redundant, 1, 6, None), (Class::WriteLoop, 2, 6, None)]);
}

#[test]
fn look_alikes_stay_quiet() {
    let mut keyset = Play::new();
    for page in 0..12 {
        let keys: Vec<i64> = (0..5).map(|at| page * 5 + at).collect();
        keyset.query(1, Kind::Read, &[page * 5 - 1], (5, &rows("id", &keys)));
    }
    assert_eq!(keyset.end(), []);

    let mut unique = Play::new();
    for key in 0..12 {
        unique.query(1, Kind::Read, &[key], (0, &[]));
        unique.query(2, Kind::Write, &[7], (1, &[]));
    }
    assert_eq!(unique.end(), []);

    let mut chunks = Play::new();
    for chunk in 0..12 {
        let keys: Vec<i64> = (0..20).map(|at| chunk * 20 + at).collect();
        chunks.read(1, &keys);
    }
    assert_eq!(chunks.end(), []);

    let mut poller = Play::new();
    for _ in 0..50 {
        poller.now += 200_000;
        poller.read(1, &[1]);
    }
    assert_eq!(poller.end(), []);

    let mut bulk = Play::new();
    (0..12).for_each(|key| bulk.query(1, Kind::Insert, &[key * 13, key], (10, &[])));
    assert_eq!(bulk.end(), []);

    let mut offset = Play::new();
    (0..14).for_each(|page| offset.query(1, Kind::Page, &[10, page * 10], (10, &rows("id", &KEYS))));
    assert_eq!(offset.end(), []);

    let mut pings = Play::new();
    (0..50).for_each(|_| pings.query(1, Kind::Marker, &[1], (1, &[])));
    assert_eq!(pings.end(), []);
}

#[test]
fn a_pause_ends_the_unit() {
    let mut play = Play::new();
    for key in 0..12 {
        if key == 6 {
            play.now += 80_000;
        }
        play.read(1, &[key]);
    }
    assert_eq!(play.end(), []);
}

#[test]
fn the_results_of_an_inner_loop_do_not_push_out_those_of_the_outer() {
    let mut play = Play::new();
    play.list(1, "id", &KEYS);
    for key in KEYS {
        let inner: Vec<i64> = (1..4).map(|at| key * 1000 + at * at).collect();
        play.query(2, Kind::Read, &[key], (3, &rows("id", &inner)));
        for key in inner {
            let innermost: Vec<i64> = (1..4).map(|at| key * 1000 + at * at).collect();
            play.query(3, Kind::Read, &[key], (3, &rows("id", &innermost)));
            innermost.iter().for_each(|&key| play.query(4, Kind::Read, &[key], (2, &rows("id", &[1, 2]))));
        }
    }
    let found = play.end();
    for (shape, count) in [(2, 8), (3, 24), (4, 72)] {
        let parent = Some(format!("{}.id", shape - 1));
        assert!(found.iter().any(|f| (f.1, f.2, &f.3) == (shape, count, &parent)), "{shape}: {found:?}");
    }
}

#[test]
fn a_constant_offset_does_not_hide_a_loop() {
    let mut play = Play::new();
    play.list(1, "id", &KEYS);
    KEYS.iter().for_each(|&key| play.query(2, Kind::Page, &[key, 1, 0], (1, &[])));
    assert_eq!(play.end(), [(Class::Proved, 2, 8, Some("1.id".into()))]);
}

#[test]
fn the_key_may_stand_behind_constants() {
    let mut play = Play::new();
    play.list(1, "id", &KEYS);
    KEYS.iter().for_each(|&key| play.read(2, &[1, 1, 1, 1, key]));
    assert_eq!(play.end(), [(Class::Proved, 2, 8, Some("1.id".into()))]);
}

#[test]
fn many_constants_are_no_batch() {
    let mut play = Play::new();
    play.list(1, "id", &KEYS);
    KEYS.iter().for_each(|&key| play.read(2, &[3, key, 1, 4, 1, 5, 9, 2, 6, 5]));
    assert_eq!(play.end(), [(Class::Proved, 2, 8, Some("1.id".into()))]);
}

#[test]
fn what_one_transaction_read_may_be_looped_over_in_the_next() {
    let mut play = Play::new();
    play.list(1, "id", &KEYS);
    (0..5).for_each(|_| play.watch.in_transaction());
    play.found.extend(play.watch.transaction_ended(&Thresholds::default()));
    KEYS.iter().for_each(|&key| play.read(2, &[key]));
    assert_eq!(play.end(), [(Class::Proved, 2, 8, Some("1.id".into()))]);
}

#[test]
fn a_transaction_around_the_insert_leaves_a_check_a_check() {
    let mut play = Play::new();
    for key in 0..12 {
        play.query(1, Kind::Page, &[key * 17], (0, &[]));
        play.query(9, Kind::Other, &[], (0, &[]));
        play.query(2, Kind::Insert, &[key], (1, &[]));
        play.query(8, Kind::Other, &[], (0, &[]));
    }
    assert_eq!(play.end(), [(Class::WriteLoop, 2, 12, None)]);
}

#[test]
fn begin_in_the_same_flush_is_no_pipeline() {
    let (mut play, thresholds) = (Play::new(), Thresholds::default());
    for key in 0..12 {
        play.now += 300;
        play.watch.asked((9, Kind::Other), &values(&[]), play.now, &thresholds);
        play.watch.asked((2, Kind::Insert), &values(&[key]), play.now, &thresholds);
        play.watch.answered(9, 0, 100, &[], play.now + 100);
        play.watch.answered(2, 1, 100, &[], play.now + 200);
    }
    assert_eq!(play.end(), [(Class::WriteLoop, 2, 12, None)]);

    let mut pipeline = Play::new();
    pipeline.now += 300;
    for key in 0..12 {
        pipeline.watch.asked((2, Kind::Insert), &values(&[key]), pipeline.now, &thresholds);
    }
    (0..12).for_each(|_| pipeline.watch.answered(2, 1, 100, &[], pipeline.now));
    assert_eq!(pipeline.end(), []);
}

#[test]
fn a_client_may_think_before_a_loop_and_within_one() {
    let mut play = Play::new();
    play.list(1, "id", &KEYS);
    play.now += 400_000;
    for (at, &key) in KEYS.iter().enumerate() {
        play.now += if at == 4 { 200_000 } else { 0 };
        play.read(2, &[key]);
    }
    assert_eq!(play.end(), [(Class::Proved, 2, 8, Some("1.id".into()))]);
}

#[test]
fn requests_of_a_slow_application_stay_apart() {
    let mut play = Play::new();
    for key in 0..30 {
        play.now += 120_000;
        play.read(1, &[key * 17]);
        play.now += 8_000;
        play.read(2, &[key * 17]);
    }
    assert_eq!(play.end(), []);
}

#[test]
fn a_marker_ends_the_unit() {
    let mut play = Play::new();
    for key in KEYS.iter().chain(&KEYS) {
        play.read(1, &[*key]);
        play.query(9, Kind::Marker, &[], (0, &[]));
    }
    assert_eq!(play.end(), []);
}

/// As wide and as many as makes the most of every bound: 16 columns of short values in many results, and many
/// shapes whose values come from all of them.
#[test]
fn a_session_holds_no_more_than_64_kib() {
    let row = |key: i64| {
        let mut row = Vec::new();
        reply::frame(&mut row, tag::DATA_ROW, |out| {
            out.extend_from_slice(b"\0\x10");
            (0..16).for_each(|_| {
                out.extend_from_slice(b"\0\0\0\x01");
                out.push(b'0' + (key % 10) as u8);
            });
        });
        row
    };
    let wide: Vec<u8> = (0..400).flat_map(row).collect();
    for watch in [Watch::default(), Watch::with_values()] {
        let (mut play, mut most) = (Play::new(), 0);
        play.watch = watch;
        for round in 0..200 {
            let shape = round % 40;
            play.query(shape, Kind::Read, &[round as i64 % 10; 8], (400, &wide));
            play.watch.part(&wide);
            most = most.max(play.watch.weight());
        }
        assert!((32 * 1024..=64 * 1024).contains(&most), "{most} bytes");
    }
}

proptest::proptest! {
    #[test]
    fn whatever_comes_stays_within_bounds(
        steps in proptest::collection::vec((0_u64..40, 0_u8..5, 0_i64..6, proptest::bool::ANY), 0..300),
    ) {
        let mut play = Play::new();
        for (shape, kind, key, list) in steps {
            let kind = [Kind::Read, Kind::Page, Kind::Insert, Kind::Marker, Kind::Other][usize::from(kind)];
            let frames = if list { rows("id", &[key, key + 1]) } else { Vec::new() };
            play.query(shape, kind, &[key], (if list { 2 } else { 1 }, &frames));
        }
        play.end();
    }
}
