//! The ledger: totals over workers, what makes room, and thresholds.

use super::*;

fn key(fingerprint: u64) -> Key {
    Key { database: "app".into(), user: "app".into(), fingerprint }
}

fn took(us: u64) -> Outcome {
    Outcome { call: true, rows: 2, bytes: 10, server_us: us, ..Outcome::default() }
}

#[test]
fn workers_add_up_and_so_does_what_was_before() {
    let ledger = Ledger::default();
    let (one, two) = (ledger.enter(key(1), "select $1"), ledger.enter(key(1), "select $1"));
    one.record(&took(100), 50);
    two.record(&Outcome { queue_us: 7, client_us: 3, ..took(200) }, 60);
    two.record(&Outcome { failed: true, server_us: 5, ..Outcome::default() }, 61);
    ledger.remember(ledger.rows());
    let [row] = &ledger.rows()[..] else { panic!("one shape") };
    let totals = &row.totals;
    assert_eq!((totals.calls, totals.errors, totals.rows, totals.bytes), (4, 2, 8, 40));
    assert_eq!((totals.queue_us, totals.server_us, totals.client_us), (14, 610, 6));
    assert_eq!((totals.max_us, totals.first_s, totals.last_s), (210, 50, 61));
    assert!((200..=250).contains(&totals.latency.percentile(0.99)));
}

#[test]
fn the_least_useful_shapes_make_room() {
    let ledger = Ledger::default();
    ledger.set_max(20);
    let entries: Vec<_> = (0..20)
        .map(|fingerprint| {
            let entry = ledger.enter(key(fingerprint), "x");
            entry.record(&took(1 + fingerprint), 1);
            entry
        })
        .collect();
    ledger.enter(key(99), "y");
    assert!(entries[0].is_gone() && entries[1].is_gone());
    assert!(!entries[2].is_gone() && !entries[19].is_gone());
    assert_eq!((ledger.shapes(), ledger.evicted()), (19, 2));
}

#[test]
fn thresholds_follow_the_rules_and_what_a_shape_took() {
    use std::sync::Arc;
    use std::time::Duration;

    use crate::observe::slow_log::settings::{Limit, Rule, SlowLogSettings};
    let ledger = Ledger::default();
    let entry = ledger.enter(key(1), "select $1");
    assert_eq!(entry.slow_us(), 1_000_000);
    let limit = Limit::P99 { times: 3, floor: Some(Duration::from_millis(1)) };
    let rule = Rule { database: None, user: None, table: None, shape: Some(1), limit, explain: None };
    let settings = SlowLogSettings { rules: vec![rule], ..SlowLogSettings::default() };
    ledger.set_judge(Judge::new(Arc::new(settings)));
    assert_eq!(entry.slow_us(), 1_000);
    (0..100).for_each(|_| entry.record(&took(10_000), 1));
    assert_eq!(entry.slow_us(), 1_000, "until somebody looks");
    ledger.judge_anew();
    assert!((30_000..=37_500).contains(&entry.slow_us()), "{}", entry.slow_us());
    let later = ledger.enter(key(1), "select $1");
    assert_eq!(later.slow_us(), entry.slow_us(), "another worker's entry starts with the same");
}

#[test]
fn one_sample_is_kept_until_it_may_not() {
    let ledger = Ledger::default();
    ledger.allow_samples(true);
    let entry = ledger.enter(key(1), "select $1");
    entry.keep_sample(|| "1".to_owned());
    entry.keep_sample(|| unreachable!("there is one"));
    assert_eq!(ledger.rows()[0].sample.as_deref(), Some("1"));
    ledger.allow_samples(false);
    assert_eq!(ledger.rows()[0].sample, None);
    entry.keep_sample(|| "2".to_owned());
    assert_eq!(ledger.rows()[0].sample, None, "a worker that has not heard of it yet");
}
