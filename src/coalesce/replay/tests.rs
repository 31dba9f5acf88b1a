//! What a replay's text and messages look like; that they mean the same as the originals is for
//! `tests/it/replay.rs` to show.

use super::types::{ArrayType, INT4, INT8, TEXT};
use super::*;
use crate::sql::shape::Shaper;
use crate::wire::client::{Bind, Parse};

/// The slots of a text, without types.
fn slots(text: &str) -> Vec<Slot> {
    let mut slots = Vec::new();
    Shaper::default()
        .shapes(text.as_bytes(), true, |shape| slots.extend(shape.holes.iter().map(Slot::of_hole)));
    slots
}

fn none(_: Oid) -> Option<ArrayType> {
    None
}

/// All values of the type, those vary whose place is given.
fn build(text: &str, oid: Oid, varying: &[usize]) -> Result<Replay, Refusal> {
    let slots: Vec<Slot> = slots(text).into_iter().map(|slot| Slot { oid, ..slot }).collect();
    let varying: Vec<bool> = (0..slots.len()).map(|at| varying.contains(&at)).collect();
    Replay::build(text.as_bytes(), &slots, &varying, &none)
}

fn text(replay: &Replay) -> &str {
    std::str::from_utf8(replay.text()).expect("made of text")
}

#[test]
fn the_text_stands_within_another() {
    let replay = build("select a from t where b = $1 limit $2;", INT4, &[0]).expect("can be replayed");
    assert_eq!(
        text(&replay),
        "select pgw_k.pgw_o, pgw_q.* from rows from (pg_catalog.unnest($1)) with ordinality as pgw_k(pgw_1, \
         pgw_o) cross join lateral (select a from t where b =  pgw_k.pgw_1  limit  $2 \n) as pgw_q"
    );
    let mut out = Vec::new();
    replay.write_parse(b"s", &mut out);
    let parse = Parse::read(&out[5..]).expect("a Parse message");
    assert_eq!((parse.name, parse.types), (&b"s"[..], &b"\0\x02\0\0\x03\xef\0\0\0\x17"[..]));

    let replay = build("select a -- x\nfrom t where $2 = b and c = $1 and d = $2 -- y", TEXT, &[0, 1])
        .expect("can be replayed");
    let inner = text(&replay).split_once("lateral (").expect("has it").1;
    assert_eq!(
        inner,
        "select a -- x\nfrom t where  pgw_k.pgw_2  = b and c =  pgw_k.pgw_1  and d =  pgw_k.pgw_2 \n\
         offset 0) as pgw_q"
    );
}

#[test]
fn literals_that_vary_are_lifted_and_others_stay() {
    let original = "select a from t where b = 7 and c = 'it''s' limit 21";
    let probe =
        Probe::build(original.as_bytes(), &slots(original), &[true, true, false]).expect("can be asked");
    assert_eq!(probe.text(), b"select a from t where b =  $1  and c =  $2  limit 21");
    let replay = probe.replay(&[INT4, TEXT], &none).expect("can be replayed");
    assert!(text(&replay).contains("b =  pgw_k.pgw_1  and c =  pgw_k.pgw_2  limit 21\n) as"));
    assert_eq!(probe.replay(&[INT4], &none).map(drop), Err(Refusal::Slots));

    let mut batch = Batch::default();
    batch.clear(&replay);
    let mut add = |text: &str| {
        let slots = slots(text);
        batch.add(&replay, &Member { text: text.as_bytes(), slots: &slots, bind: None })
    };
    assert_eq!(add(original), Ok(()));
    assert_eq!(add("select a from t where b = -70 and c = 'a\\b\"' limit 21"), Ok(()));
    for other in [
        "select a from t where b = 7 and c = 'x' limit 22",
        "select a from t where b = 7 and c = 8 limit 21",
        "select a from t where b = 5000000000 and c = '' limit 21",
        "select a from t where b = 7 and c = E'x' limit 21",
        "select A from t where b = 7 and c = 'x' limit 21",
        "select a from t where b = 7 and c = 'x' limit 21 ",
    ] {
        assert_eq!(add(other), Err(Unfit::Text), "{other}");
    }
    let mut out = Vec::new();
    batch.write_bind(&replay, b"", b"s", &mut out);
    let bind = Bind::read(&out[5..]).expect("a Bind message");
    assert_eq!(bind.values(), [Some(&b"{7,-70}"[..]), Some(br#"{"it's","a\\b\""}"#)]);
    assert_eq!(bind.results(), Some(&b""[..]));
}

fn bind(values: &[(Option<&[u8]>, bool)], results: &[u8]) -> Vec<u8> {
    let mut body = b"\0s\0".to_vec();
    let count = (values.len() as u16).to_be_bytes();
    body.extend_from_slice(&count);
    values.iter().for_each(|value| body.extend_from_slice(&[0, u8::from(value.1)]));
    body.extend_from_slice(&count);
    for (value, _) in values {
        body.extend_from_slice(&value.map_or(-1, |value| value.len() as i32).to_be_bytes());
        body.extend_from_slice(value.unwrap_or_default());
    }
    body.extend_from_slice(&((results.len() / 2) as u16).to_be_bytes());
    body.extend_from_slice(results);
    body
}

#[test]
fn binary_values_become_binary_arrays() {
    let replay = build("select a from t where b = $1 limit $2", INT8, &[0]).expect("can be replayed");
    let mut batch = Batch::default();
    let mut out = Vec::new();
    for _ in 0..2 {
        batch.clear(&replay);
        let mut add = |key, limit, binary, results: &[u8]| {
            let body = bind(&[(key, binary), (Some(limit), false)], results);
            batch.add(&replay, &Member { text: b"", slots: &[], bind: Bind::read(&body) })
        };
        assert_eq!(add(Some(&b"\0\0\0\0\0\0\0\x05"[..]), b"1", true, b"\0\x01"), Ok(()));
        assert_eq!(add(None, b"1", true, b"\0\x01"), Ok(()));
        assert_eq!(add(Some(&b"5"[..]), b"1", false, b"\0\x01"), Err(Unfit::Form));
        assert_eq!(add(None, b"2", true, b"\0\x01"), Err(Unfit::Scalar));
        assert_eq!(add(None, b"1", true, b""), Err(Unfit::Results));
        out.clear();
        batch.write_bind(&replay, b"", b"s", &mut out);
    }
    let sent = Bind::read(&out[5..]).expect("a Bind message");
    let array =
        b"\0\0\0\x01\0\0\0\x01\0\0\0\x14\0\0\0\x02\0\0\0\x01\0\0\0\x08\0\0\0\0\0\0\0\x05\xff\xff\xff\xff";
    assert_eq!(sent.values(), [Some(&array[..]), Some(b"1")]);
    assert_eq!(sent.results(), Some(&b"\0\x01"[..]));
    assert_eq!(crate::wire::head(&out).ok().flatten().map(|head| head.size), Some(out.len()));
}

#[test]
fn a_member_that_does_not_fit_leaves_nothing() {
    let replay = build("select $1, $2", TEXT, &[0, 1]).expect("can be replayed");
    let mut batch = Batch::default();
    batch.clear(&replay);
    let large = vec![b'x'; batch::BYTES_MAX];
    for values in [&[(Some(&b"1"[..]), false)][..], &[(Some(b"1"), false), (Some(&large), false)]] {
        let body = bind(values, b"\0\x01\0\0");
        let member = Member { text: b"", slots: &[], bind: Bind::read(&body) };
        assert!(batch.add(&replay, &member).is_err());
        assert_eq!((batch.len(), batch.bytes()), (0, 0));
    }
    let body = bind(&[(Some(b""), false), (None, false)], b"\0\x01\0\0");
    let member = Member { text: b"", slots: &[], bind: Bind::read(&body) };
    for _ in 0..batch::MEMBERS_MAX {
        assert_eq!(batch.add(&replay, &member), Ok(()));
    }
    assert_eq!(batch.add(&replay, &member), Err(Unfit::Full));
    let mut out = Vec::new();
    batch.write_bind(&replay, b"", b"s", &mut out);
    let sent = Bind::read(&out[5..]).expect("a Bind message");
    assert_eq!(sent.results(), Some(&b"\0\0\0\x01\0\0"[..]));
    assert!(sent.values()[1].expect("an array").starts_with(b"{NULL,NULL,"));
}

#[test]
fn values_with_columns_of_their_own_stay_whole() {
    let text = "select a from t where b = $1";
    let slot = Slot { start: 26, end: 28, kind: SlotKind::Parameter(1), oid: 70_000 };
    let array = ArrayType { oid: 70_001, delimiter: b',', composite: true };
    let replay = Replay::build(text.as_bytes(), &[slot], &[true], &|oid| (oid == 70_000).then_some(array))
        .expect("can be replayed");
    let text = std::str::from_utf8(replay.text()).expect("made of text");
    assert!(text.contains("(pg_catalog.generate_subscripts($1, 1))"), "{text}");
    assert!(text.contains("where b =  ($1)[pgw_k.pgw_o] \n"), "{text}");
}

#[test]
fn what_cannot_be_replayed_says_why() {
    for (text, varying, refusal) in [
        ("insert into t values ($1)", 0, Refusal::NoQuery),
        ("select $1; select 2", 0, Refusal::NoQuery),
        ("select a from t where b = $1 for update", 0, Refusal::Locking),
        ("select b, count(*) from t where b = $1 group by rollup (b)", 0, Refusal::GroupingSets),
        ("select pgw_k from t where b = $1", 0, Refusal::Name),
        ("select a from t where b = $2", 0, Refusal::Slots),
        ("select a from t where b = 1 limit 5", 2, Refusal::NothingVaries),
        ("select a from t where b = 1.5", 0, Refusal::Literal(26)),
        ("select a from t where b = E'x'", 0, Refusal::Literal(26)),
        ("select a, 1 from t group by (1)", 1, Refusal::Literal(29)),
        ("select a from t where b = -5::int2", 0, Refusal::Literal(26)),
        ("select a from t where b = $1::numeric(3)", 0, Refusal::Literal(26)),
    ] {
        assert_eq!(build(text, INT4, &[varying]).map(drop), Err(refusal), "{text}");
    }
    assert_eq!(build("select $1", 1007, &[0]).map(drop), Err(Refusal::Type(1007)));
    assert_eq!(build("select $1", 0, &[0]).map(drop), Err(Refusal::Type(0)));
    assert_eq!(build("select 'x'", types::INTERVAL, &[0]).map(drop), Err(Refusal::Literal(7)));
}
