//! What transcripts cannot show: values that the shell reads off a session. The conversations themselves
//! are in `tests/transcripts`.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::exchange::{Exchange, Kind, alias};
use super::settings::State;
use super::*;

fn baggage(pairs: &[(&str, &str)]) -> Baggage {
    let bytes = |text: &str| text.as_bytes().into();
    let settings = pairs.iter().map(|(a, b)| (bytes(a), bytes(b))).collect();
    Baggage::new(settings, BTreeMap::new())
}

#[test]
fn a_start_up_value_that_came_back_is_told() {
    let startup = [("TimeZone", "UTC"), ("work_mem", "5MB")];
    let mut session = Session::new(PoolMode::Transaction, Rc::new(baggage(&startup)));
    let mut memory = Memory::new(1);
    memory.report(b"TimeZone", b"GMT");
    session.learn_state(Some(State::default()));
    let mut told = Vec::new();
    reply::parameter_status(&mut told, "TimeZone", "UTC");
    assert_eq!(session.returned_parameters(&memory), told);
    memory.report(b"TimeZone", b"UTC");
    assert!(session.returned_parameters(&memory).is_empty());
}

#[test]
fn a_value_that_was_set_is_not_told_again() {
    let startup = baggage(&[("TimeZone", "UTC")]);
    let mut session = Session::new(PoolMode::Transaction, Rc::new(startup));
    let mut memory = Memory::new(1);
    memory.report(b"TimeZone", b"Asia/Tokyo");
    session.learn_state(Some(State { baggage: baggage(&[("TimeZone", "Asia/Tokyo")]), pins: Vec::new() }));
    assert!(session.returned_parameters(&memory).is_empty());
}

#[test]
fn what_may_be_skipped_and_what_may_have_failed() {
    let mut exchange = Exchange::default();
    exchange.push(Kind::Bind);
    exchange.push(Kind::Query);
    assert!(exchange.may_skip_next());
    exchange.push(Kind::Sync);
    assert!(!exchange.may_skip_next());
    assert!(!exchange.may_have_failed(), "no transaction block is open");
    exchange.begun = true;
    assert!(exchange.may_have_failed());
}

#[test]
fn aliases_differ() {
    let names: [&[u8]; 4] = [b"", b"a", b"b", b"ab"];
    let mut aliases = names.map(alias);
    aliases.sort_unstable();
    assert!(aliases.windows(2).all(|pair| pair[0] != pair[1]));
}
