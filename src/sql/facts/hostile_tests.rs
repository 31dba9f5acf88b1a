//! Statements that mean harm, and texts that mean nothing.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::tests::on_own_thread;
use super::{properties, read};

/// Texts that would end the process, or keep the parser busy for ever, without the guard.
fn hostile() -> Vec<(String, &'static str)> {
    let many = |start: &str, part: &str, n: usize, end: &str| format!("{start}{}{end}", part.repeat(n));
    let mut all = vec![
        (many("select 1 where a = 1", " or a = 1", 100_000, ""), "size"),
        (many("select 1 where a", " or a", 1_900, ""), "terms"),
        (many("select ", "(", 10_000, ""), "depth"),
        (many("select ", "case when a then ", 60, "1"), "depth"),
        (many("select ", "array[", 60, "1"), "depth"),
        (many("select ", "- ", 990, "1"), "depth"),
        (many("select ", "not ", 990, "a"), ""),
        (many("select a", ".b", 990, ""), ""),
        (many("select a", "[1]", 900, ""), ""),
        (many("select a", "::int", 900, ""), ""),
        (many("select a in (1", ", 1", 100_000, ")"), "size"),
        (many("select a in (1", ",1", 5_000, ")"), ""),
        (many("select 1", " union select 1", 900, ""), ""),
        (many("select a", " is null", 900, ""), ""),
        (many("select a", " collate \"C\"", 900, ""), ""),
        (many("select a", " and a", 990, ""), ""),
        (many("select a", " || a", 900, ""), ""),
        (many("", "explain ", 900, "select 1"), "depth"),
        (many("select ", "interval ", 900, "1"), ""),
        (many("select ", "distinct ", 900, "1"), ""),
        (many("", "with a as (", 49, ""), ""),
        (many("select * from ", "(", 49, "a"), ""),
        (many("select * from a", " join a", 2_000, ""), "terms"),
        (many("select * from a", " join a", 199, ""), ""),
        (many("select ", "position(", 24, "1") + &")".repeat(23), "effort"),
    ];
    all.extend(OPENINGS.iter().flat_map(|opening| nested(opening)));
    all
}

/// What brackets and words may open.
const OPENINGS: [&str; 39] = [
    "(",
    "cast(",
    "f(",
    "a in (",
    "exists (",
    "(select ",
    "case ",
    "array[",
    "interval (",
    "if(",
    "(a, ",
    "lateral (",
    "current_time(",
    "not (",
    "- (",
    "x[",
    "trim(",
    "position(",
    "extract(day from ",
    "row(",
    "values (",
    "any(",
    "{",
    "[",
    "case case ",
    "f(x -> ",
    "substring(",
    "overlay(",
    "ceil(",
    "cast(case ",
    "convert(",
    "a.b(",
    "struct(",
    "map(",
    "interval ",
    "date (",
    "timestamp (",
    "(((",
    "from (",
];

fn nested(opening: &str) -> Vec<(String, &'static str)> {
    let mut all = Vec::new();
    for prefix in ["select ", "select * from ", "create table t (a ", "with a as (", "select 1 where "] {
        all.push((format!("{prefix}{}", opening.repeat(49)), ""));
        all.push((format!("{prefix}{}x !", opening.repeat(30)), ""));
        all.push((format!("{prefix}{}1{}", opening.repeat(24), ")".repeat(23)), ""));
    }
    all
}

/// Ten seconds of a debug build under load are far beyond what any text takes; a parser that tries every
/// combination would need years.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn hostile_statements_are_refused_and_nothing_ends() {
    let slow: Vec<String> = on_own_thread(|| {
        let mut slow = Vec::new();
        for (text, expected) in hostile() {
            let start = Instant::now();
            let found = read(&text);
            let short = &text[..text.len().min(80)];
            if start.elapsed() > PATIENCE {
                slow.push(format!("{short}: {:?}", start.elapsed()));
            }
            if !expected.is_empty() {
                assert_eq!(found.map_err(|refused| refused.label()), Err(expected), "{short}");
            }
        }
        slow
    });
    assert!(slow.is_empty(), "{slow:?}");
}

fn soup() -> impl Strategy<Value = String> {
    let words = "select insert update delete merge into from where and or not in is null like between case when \
                 then else end exists any all cast as array row union except with recursive values set on join \
                 left lateral using order by group having limit offset for update share nowait returning \
                 conflict do nothing distinct over partition interval date timestamp explain analyze create \
                 table index drop begin copy ( ( ( ) ) ) [ ] { } , , . . ; :: = <> < - + * / || -> ->> @> a b \
                 t id f lower count $1 $2 $3 '$4' \"A\" 'it''s' 1 1.5 true e'\\'' $$x$$ -- /* */ \u{e9}";
    let words: Vec<&'static str> = words.split_whitespace().collect();
    let piece = prop_oneof![8 => prop::sample::select(words), 1 => Just("\n"), 1 => Just("?")];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Sixteen at a time, since each has a thread.
    #[test]
    fn any_soup_has_facts_or_a_reason(texts in prop::collection::vec(soup(), 16)) {
        on_own_thread(move || {
            for text in texts {
                let start = Instant::now();
                properties::judge(&text);
                assert!(start.elapsed() < PATIENCE, "{text}");
            }
        });
    }
}
