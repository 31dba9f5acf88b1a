//! Key columns are read from frames in any form and however they are cut, within their bounds.

use super::keys::Key;
use super::keys::oid;
use super::table::*;
use crate::wire;
use crate::wire::reply;
use crate::wire::server::tag;

/// A result of two columns: a number, NULL for 0, and a text.
fn result(numbers: &[i32], binary: bool) -> Vec<u8> {
    let mut frames = Vec::new();
    reply::frame(&mut frames, tag::ROW_DESCRIPTION, |out| {
        out.extend_from_slice(b"\0\x02");
        for type_oid in [oid::INT4, oid::TEXT] {
            out.extend_from_slice(b"name\0\0\0\0\0\0\0");
            out.extend_from_slice(&type_oid.to_be_bytes());
            out.extend_from_slice(&[0; 8]);
        }
    });
    for &number in numbers {
        reply::frame(&mut frames, tag::DATA_ROW, |out| {
            out.extend_from_slice(b"\0\x02");
            let mut cell = Vec::new();
            match (number, binary) {
                (0, _) => out.extend_from_slice(&[0xff; 4]),
                (_, true) => cell.extend_from_slice(&number.to_be_bytes()),
                (_, false) => cell.extend_from_slice(number.to_string().as_bytes()),
            }
            if number != 0 {
                out.extend_from_slice(&(cell.len() as i32).to_be_bytes());
                out.extend_from_slice(&cell);
            }
            out.extend_from_slice(b"\0\0\0\x01x");
        });
    }
    frames
}

fn number(table: &Table, row: usize) -> Option<Key> {
    table.row(row, &[0])?.first().map(|key| (*key).clone())
}

#[test]
fn wanted_columns_are_read_in_both_forms_and_however_they_are_cut() {
    for binary in [false, true] {
        let frames = result(&[7, 0, -3, 7], binary);
        let formats: &[i16] = if binary { &[1] } else { &[] };
        for size in [1, 3, 40, frames.len()] {
            let mut tables = Tables::default();
            tables.begin(9, &[0], Box::default(), Fields { types: &[], formats });
            frames.chunks(size).for_each(|chunk| tables.part(chunk));
            tables.end();
            let table = tables.of(9).next().expect("it has rows");
            let keys: Vec<Key> = (0..table.rows()).filter_map(|row| number(table, row)).collect();
            assert!(keys == [Key::Integer(7), Key::Null, Key::Integer(-3), Key::Integer(7)]);
            assert_eq!(table.find(&[0], &[&Key::Integer(7)], 1), Some(3));
            assert_eq!(table.find(&[0], &[&Key::Integer(-3)], 3), Some(2));
            assert_eq!(table.find(&[1], &[&Key::Null], 0), None, "a column that is not kept");
        }
    }
}

#[test]
fn forms_that_nobody_named_are_told_from_the_cells() {
    for binary in [false, true] {
        let mut tables = Tables::default();
        tables.begin(9, &[0], Box::default(), Fields { types: &[], formats: ANY_FORMAT });
        tables.part(&result(&[1234, 0, -123, 70_000], binary));
        tables.end();
        let table = tables.of(9).next().expect("it has rows");
        let keys: Vec<Key> = (0..table.rows()).filter_map(|row| number(table, row)).collect();
        assert!(keys == [Key::Integer(1234), Key::Null, Key::Integer(-123), Key::Integer(70_000)]);
    }
}

#[test]
fn rows_without_a_description_are_read_by_what_keys_look_like() {
    let frames = result(&[7, 8], true);
    let description = wire::head(&frames).ok().flatten().expect("it stands in front").size;
    for formats in [&[1][..], ANY_FORMAT] {
        let mut tables = Tables::default();
        tables.begin(9, &[0], Box::default(), Fields { types: &[], formats });
        tables.part(&frames[description..]);
        tables.end();
        let table = tables.of(9).next().expect("it has rows");
        assert!(number(table, 0) == Some(Key::Integer(7)) && number(table, 1) == Some(Key::Integer(8)));
    }
}

#[test]
fn a_session_keeps_four_tables_of_a_thousand_rows_and_64_kib() {
    let mut tables = Tables::default();
    let numbers: Vec<i32> = (1..5_000).collect();
    for shape in 0..9 {
        tables.begin(shape, &[0, 1], Box::default(), Fields::default());
        tables.part(&result(&numbers, false));
        tables.end();
        assert!(tables.bytes() <= BYTES_MAX + 64, "{}", tables.bytes());
        let table = tables.of(shape).next().expect("the newest is kept");
        assert!(table.is_cut && table.rows() <= ROWS_MAX && table.rows() > 500);
    }
    (20..29).for_each(|shape| {
        tables.begin(shape, &[0], Box::default(), Fields::default());
        tables.part(&result(&[1, 2], false));
        tables.end();
    });
    assert_eq!((20..29).filter(|&shape| tables.of(shape).next().is_some()).count(), TABLES_MAX);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read(parts: Vec<Vec<u8>>, columns: Vec<u16>) {
        let mut tables = Tables::default();
        tables.begin(1, &columns, Box::default(), Fields::default());
        for part in parts {
            let mut row = Vec::new();
            reply::frame(&mut row, tag::DATA_ROW, |out| out.extend_from_slice(&part));
            tables.part(&row);
            tables.part(&part);
            assert!(tables.bytes() <= BYTES_MAX + REST_MAX);
        }
        tables.end();
    }
}
