//! Promises that are kept, and not.

use super::*;
use crate::maintain::index::settings::AutoSettings;
use crate::observe::indexes::By;
use crate::observe::latency::Latency;
use crate::observe::ledger::Totals;

/// Calls that take so many microseconds, a little more and a little less.
fn tally(us: u64, calls: u64) -> Tally {
    let (latency, mut totals) = (Latency::default(), Totals { calls, ..Totals::default() });
    for at in 0..calls {
        let each = us * (90 + at % 21) / 100;
        latency.observe_us(each);
        totals.server_us += each;
    }
    latency.add_to(&mut totals.latency);
    Tally::of(&totals)
}

fn shape(name: &str, role: Role, before: Tally, after: Tally) -> Shape {
    let mut shape = Shape::new(name.to_owned(), role, before, before);
    let mut now = before;
    now.add(&after);
    shape.look(now);
    shape
}

fn act(shapes: Vec<Shape>, others: Vec<Shape>) -> Act {
    Act {
        id: "ix-1".to_owned(),
        database: String::new(),
        table: "public.t".to_owned(),
        schema: "public".to_owned(),
        name: "i".to_owned(),
        definition: "(a)".to_owned(),
        ddl: String::new(),
        then: Vec::new(),
        by: By::Auto,
        state: State::Verifying,
        message: String::new(),
        asked_s: 1,
        built_s: 1_000,
        ended_s: 1_000,
        promised_percent: 90.0,
        gain_percent: None,
        size_bytes: 1,
        taken_back: false,
        executed: Vec::new(),
        shapes,
        others,
    }
}

fn judged(shapes: Vec<Shape>, others: Vec<Shape>, now_s: u64) -> Verdict {
    verdict(&act(shapes, others), &AutoSettings::default().verify, now_s)
}

#[test]
fn a_promise_is_kept_or_not() {
    let helped = |after, calls| shape("01", Role::Helped, tally(10_000, 100), tally(after, calls));
    let verdict = judged(vec![helped(500, 29)], vec![], 2_000);
    assert_eq!(verdict.state, State::Verifying, "29 calls say little");
    let verdict = judged(vec![helped(500, 30)], vec![], 2_000);
    assert_eq!(verdict.state, State::Proved, "{verdict:?}");
    assert!(verdict.gain_percent.unwrap() > 90.0 && verdict.message.contains("90 % promised"));
    let verdict = judged(vec![helped(8_000, 30)], vec![], 2_000);
    assert_eq!(verdict.state, State::Disappointing, "{verdict:?}");
    let rare = || shape("02", Role::Helped, tally(50_000, 100), tally(100, 3));
    let verdict = judged(vec![helped(500, 30), rare()], vec![], 2_000);
    assert_eq!(verdict.state, State::Verifying, "most of the gain is not known yet");
    let verdict = judged(vec![helped(500, 30), rare()], vec![], 100_000);
    assert_eq!(verdict.state, State::Proved, "a day is enough");
    let verdict = judged(vec![rare()], vec![], 100_000);
    assert_eq!(verdict.state, State::Disappointing, "{verdict:?}");
    assert!(verdict.message.contains("called 30 times in 24 h"), "{}", verdict.message);
    assert_eq!(judged(vec![], vec![], 100_000).state, State::Proved);
}

#[test]
fn others_must_not_get_slower() {
    let helped = || shape("01", Role::Helped, tally(10_000, 100), tally(500, 50));
    let write = |after| shape("02", Role::Writes, tally(1_000, 100), tally(after, 50));
    assert_eq!(judged(vec![helped()], vec![write(1_400)], 2_000).state, State::Proved);
    let read = shape("02", Role::Reads, tally(1_000, 100), tally(1_400, 50));
    assert_eq!(judged(vec![helped()], vec![read], 2_000).state, State::Disappointing);
    let verdict = judged(vec![helped()], vec![write(2_000)], 2_000);
    assert_eq!(verdict.state, State::Disappointing);
    assert!(verdict.message.contains("02 (a write) 0.99"), "{}", verdict.message);
    let early = shape("01", Role::Helped, tally(10_000, 100), tally(500, 3));
    let verdict = judged(vec![early], vec![write(2_000)], 2_000);
    assert_eq!(verdict.state, State::Disappointing, "it is not waited for");
    let few = shape("02", Role::Writes, tally(1_000, 100), tally(2_000, 29));
    assert_eq!(judged(vec![helped()], vec![few], 2_000).state, State::Proved);
    let tiny = shape("02", Role::Writes, tally(100, 100), tally(200, 50));
    assert_eq!(judged(vec![helped()], vec![tiny], 2_000).state, State::Proved, "a tenth of a millisecond");
}

#[test]
fn one_slow_call_and_a_slow_server_are_excused() {
    let helped = || shape("01", Role::Helped, tally(10_000, 100), tally(500, 50));
    let mut after = tally(1_000, 99);
    after.add(&tally(900_000, 1));
    let hiccup = shape("02", Role::Reads, tally(1_000, 100), after);
    assert_eq!(judged(vec![helped()], vec![hiccup], 2_000).state, State::Proved);
    let slow = || shape("02", Role::Reads, tally(1_000, 100), tally(2_000, 50));
    let control = |after| shape("03", Role::Control, tally(3_000, 100), tally(after, 50));
    assert_eq!(judged(vec![helped()], vec![slow(), control(3_000)], 2_000).state, State::Disappointing);
    let verdict = judged(vec![helped()], vec![slow(), control(6_000)], 2_000);
    assert_eq!(verdict.state, State::Proved, "{verdict:?}");
    assert!(verdict.message.contains("other statements took 99 % longer"), "{}", verdict.message);
}

#[test]
fn it_is_watched_for_a_while_and_then_left_alone() {
    let mut act = act(
        vec![shape("01", Role::Helped, tally(10_000, 100), tally(500, 50))],
        vec![shape("02", Role::Writes, tally(1_000, 100), Tally::default())],
    );
    let settings = AutoSettings::default().verify;
    assert!(look(&mut act, &settings, 2_000, |_| None));
    assert_eq!(act.state, State::Proved);
    let mut worse = tally(1_000, 100);
    worse.add(&tally(5_000, 40));
    let now = |shape: &str| (shape == "02").then_some(worse);
    assert!(!look(&mut act.clone(), &settings, 90_000, now), "it was proved a day ago");
    assert!(look(&mut act, &settings, 3_000, now));
    assert_eq!(act.state, State::Disappointing, "{act:?}");
}
