//! What is laid out beside partitions of every kind, and that the proof sees what is wrong.

use proptest::prelude::*;

use super::*;
use crate::maintain::bound::Kind;
use crate::maintain::civil;

fn at(text: &str) -> Edge {
    Kind::Timestamp.edge(civil::parse(text).unwrap_or_else(|| panic!("{text}"))).unwrap()
}

fn range(name: &str, lower: &str, upper: &str) -> Range {
    Range { name: name.to_owned(), lower: at(lower), upper: at(upper) }
}

/// The steps of a key without a zone.
fn plain(interval: Interval, from: i64, until: i64) -> Vec<Step> {
    let locals = calendar(interval, from, until).unwrap();
    let edges = locals.iter().map(|&local| Kind::Timestamp.edge(local).unwrap()).collect();
    steps(&locals, edges).unwrap()
}

fn lay(ranges: &[Range], interval: &str, from: &str, until: &str) -> Vec<(String, String, String)> {
    let interval = Interval::parse(interval).unwrap();
    let from = at(from);
    let steps = plain(interval, from.mark, at(until).mark);
    let pieces = pieces(ranges, &steps, interval, &from);
    let end = steps.last().unwrap().edge.mark;
    prove(ranges, &pieces, from.mark, end).unwrap_or_else(|fault| panic!("{fault}"));
    let bare = |edge: &Edge| edge.sql.trim_matches('\'').trim_end_matches(" 00:00:00").to_owned();
    pieces.iter().map(|piece| (bare(&piece.lower), bare(&piece.upper), piece.suffix.clone())).collect()
}

fn triple(lower: &str, upper: &str, suffix: &str) -> (String, String, String) {
    (lower.to_owned(), upper.to_owned(), suffix.to_owned())
}

#[test]
fn an_empty_table_gets_whole_periods() {
    // It begins in the middle of its first period.
    assert_eq!(
        lay(&[], "month", "2024-01-31", "2024-02-29"),
        [triple("2024-01-31", "2024-02-01", "2024_01"), triple("2024-02-01", "2024-03-01", "2024_02")]
    );
    assert_eq!(
        lay(&[], "week", "2020-12-28", "2020-12-30"),
        [triple("2020-12-28", "2021-01-04", "2020_w53")]
    );
    assert_eq!(lay(&[], "year", "9999-01-01", "9999-05-05"), [triple("9999-01-01", "10000-01-01", "9999")]);
    assert_eq!(
        lay(&[], "day", "1969-12-31", "1969-12-31"),
        [triple("1969-12-31", "1970-01-01", "1969_12_31")]
    );
    assert_eq!(
        lay(&[], "day", "2024-02-29", "2024-02-29"),
        [triple("2024-02-29", "2024-03-01", "2024_02_29")]
    );
}

#[test]
fn partitions_that_people_made_stay_and_what_is_new_fits_beside_them() {
    // One that overlaps two months, and one far in the future.
    let made = [range("odd", "2026-01-20", "2026-03-10"), range("far", "52217-01-01", "52218-01-01")];
    assert_eq!(
        lay(&made, "month", "2026-01-20", "2026-04-02"),
        [triple("2026-03-10", "2026-04-01", "2026_03"), triple("2026-04-01", "2026-05-01", "2026_04")]
    );
    // A day in the middle of a month divides it.
    let made = [range("holiday", "2026-03-10", "2026-03-11")];
    assert_eq!(
        lay(&made, "month", "2026-03-01", "2026-03-02"),
        [triple("2026-03-01", "2026-03-10", "2026_03"), triple("2026-03-11", "2026-04-01", "2026_03")]
    );
    // One without an end leaves nothing to do.
    let open =
        Range { name: "rest".to_owned(), lower: at("2026-01-01"), upper: Kind::Date.edge(HIGHEST).unwrap() };
    assert_eq!(lay(&[open], "month", "2026-01-01", "2026-06-01"), []);
}

#[test]
fn a_far_partition_is_not_chased() {
    let ranges = [range("a", "2026-01-01", "2026-02-01"), range("far", "52217-01-01", "52218-01-01")];
    let now = at("2026-01-15").mark;
    assert_eq!(front(&ranges, now), Some(&at("2026-02-01")));
    assert_eq!(covered_until(&ranges, now), at("2026-02-01").mark);
    assert_eq!(covered_until(&ranges, at("2026-03-15").mark), at("2026-03-15").mark);
    assert_eq!(front(&[], now), None);
    assert!(calendar(Interval::MONTH, now, at("52217-01-01").mark).is_err());
}

#[test]
fn a_day_that_does_not_exist_has_no_partition() {
    // Samoa had no 30th of December 2011: the server puts its begin and the next one at the same instant.
    let day = Interval::parse("day").unwrap();
    let locals = calendar(day, at("2011-12-29").mark, at("2011-12-31").mark).unwrap();
    let instants =
        ["2011-12-29 10:00:00", "2011-12-30 10:00:00", "2011-12-30 10:00:00", "2011-12-31 10:00:00"];
    let edges: Vec<Edge> = instants.iter().map(|text| at(text)).collect();
    let steps_found = steps(&locals, edges.clone()).unwrap();
    assert_eq!(steps_found.len(), 3);
    let names: Vec<String> =
        pieces(&[], &steps_found, day, &edges[0]).into_iter().map(|piece| piece.suffix).collect();
    assert_eq!(names, ["2011_12_29", "2011_12_31"]);
    let backwards = vec![edges[1].clone(), edges[0].clone()];
    assert!(steps(&locals[..2], backwards).is_err());
}

#[test]
fn the_proof_sees_overlaps_gaps_and_nothing() {
    let two = |a: (&str, &str), b: (&str, &str)| [range("a", a.0, a.1), range("b", b.0, b.1)];
    let (from, until) = (at("2026-01-01").mark, at("2026-03-01").mark);
    let fault = |ranges: &[Range]| prove(ranges, &[], from, until).unwrap_err();
    let good = two(("2026-01-01", "2026-02-01"), ("2026-02-01", "2026-03-01"));
    assert_eq!(prove(&good, &[], from, until), Ok(()));
    assert!(fault(&two(("2026-01-01", "2026-02-02"), ("2026-02-01", "2026-03-01"))).contains("overlap"));
    assert!(fault(&two(("2026-01-01", "2026-01-31"), ("2026-02-01", "2026-03-01"))).contains("gap before"));
    assert!(fault(&two(("2026-01-01", "2026-02-01"), ("2026-02-01", "2026-02-28"))).contains("too early"));
    assert!(fault(&two(("2026-01-01", "2026-01-01"), ("2026-01-01", "2026-03-01"))).contains("nothing"));
    assert!(fault(&two(("2026-01-02", "2026-02-01"), ("2026-02-01", "2026-03-01"))).contains("gap"));
}

#[test]
fn what_is_expired_is_whole_and_past() {
    let mut ranges = vec![
        range("b", "2023-02-01", "2023-03-01"),
        range("a", "2023-01-01", "2023-02-01"),
        range("c", "2023-03-01", "2023-04-01"),
    ];
    let names = |ranges: &[Range], cutoff: &str| -> Vec<String> {
        expired(ranges, at(cutoff).mark).into_iter().map(|range| range.name.clone()).collect()
    };
    assert_eq!(names(&ranges, "2023-03-31"), ["a", "b"]);
    assert_eq!(names(&ranges, "2023-04-01"), ["a", "b", "c"]);
    ranges[1].lower = Kind::Timestamp.edge(LOWEST).unwrap();
    assert_eq!(names(&ranges, "2023-03-31"), ["b"]);
    assert_eq!(gaps(&ranges, at("2026-01-01").mark), []);
    ranges.remove(0);
    assert_eq!(gaps(&ranges, at("2026-01-01").mark), [("a".to_owned(), "c".to_owned())]);
}

proptest! {
    /// Whatever people have made, what is laid out beside it passes the proof, or they overlap themselves.
    #[test]
    fn what_is_laid_out_is_proved(
        mut days in proptest::collection::vec((0i64..400, 1i64..60), 0..8),
        start in 0i64..300,
        length in 0i64..200,
        unit in prop_oneof!["day", "week", "month", "quarter", "3 days"],
    ) {
        days.sort_unstable();
        let mut end = i64::MIN;
        // Made by people, so they do not overlap: PostgreSQL would not have it.
        days.retain(|(begin, length)| {
            let apart = *begin >= end;
            if apart {
                end = begin + length;
            }
            apart
        });
        let edge = |day: i64| Kind::Timestamp.edge((day + 20_000) * civil::DAY_US).unwrap();
        let ranges: Vec<Range> = days
            .iter()
            .map(|(begin, length)| Range { name: "made".to_owned(), lower: edge(*begin), upper: edge(begin + length) })
            .collect();
        let (interval, from) = (Interval::parse(&unit).unwrap(), edge(start));
        let steps = plain(interval, from.mark, edge(start + length).mark);
        let pieces = pieces(&ranges, &steps, interval, &from);
        let until = steps.last().unwrap().edge.mark;
        prop_assert_eq!(prove(&ranges, &pieces, from.mark, until), Ok(()));
        // One of them more or less is noticed.
        if let Some(piece) = pieces.first() {
            prop_assert!(prove(&ranges, &pieces[1..], from.mark, until).is_err());
            let twice: Vec<Piece> = std::iter::once(piece.clone()).chain(pieces.iter().cloned()).collect();
            prop_assert!(prove(&ranges, &twice, from.mark, until).is_err());
        }
    }
}
