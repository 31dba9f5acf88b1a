//! Look-ups in a table that is small enough to be read as a whole. Where the keys come from the application's
//! own input, as in an upload, no earlier result says what will be asked next; but when a few rows of a small
//! table were asked for one by one, all answers that the statement can give are fetched with one query. Pure.
//!
//! The query is the original replayed over the keys that exist, and once over NULL:
//! `SELECT k.p1, q.* FROM (SELECT "id" FROM "s"."t" WHERE … UNION ALL SELECT NULL) AS k(p1) CROSS JOIN
//! LATERAL (original with k.p1 in the place of its value) AS q`. Why its answers are the original's, byte for
//! byte:
//!
//! 1. A key that comes back with rows: they are what the original gives for this key, made by the original's
//!    own text in the same snapshot, in its order and form (as for every replay).
//! 2. A value that is no key of the table: the statement uses the value only in `column = value`, one of the
//!    conditions of its WHERE that are joined by AND. That is then true of no row, as with NULL, of which it
//!    is true of no row either, so the original gives what it gives for NULL. If that is no rows, no rows are
//!    the answer for every key that did not come back, whether it does not exist or other conditions leave
//!    nothing of it.
//! 3. If NULL does give rows, as a count does, a key that did not come back is sent to the server: it need
//!    not be one that does not exist (`HAVING count(*) = 0` gives rows for those alone).
//! 4. Whether a value is one of the keys is decided by bytes or by meaning, so the column's `=` must decide
//!    alike: whole numbers, UUIDs, and text under a collation that is the type's own, hence deterministic.
//!    Numeric, float, time, padded and case-blind types are not taken. A value that the server might refuse
//!    is sent to it (`is_decisive`).
//!
//! One statement sees one snapshot, so what `level` says of a fetched answer holds for those of absent keys
//! as well: in REPEATABLE READ the answer is the transaction's own; under a fence no write to the tables can
//! have become visible.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;

use super::keys::{Key, oid};
use crate::catalog::{Catalog, Table, TableKind};
use crate::wire::{int16, int32, reply, server::tag};

/// Rows of a table that is small, and bytes; one that is larger costs more to read than it saves.
pub const ROWS_MAX: u32 = 1_000;
pub const BYTES_MAX: u64 = 256 * 1024;

/// Look-ups in one unit of work after which the table is read, if nobody knew of it before.
pub const LOOKUPS: u32 = 4;

/// Answers that must have been of use for a reading to have paid.
pub const HITS_WORTH: u64 = 3;

/// How a replay over one array begins (`coalesce::replay`).
const OVER_ARRAY: &[u8] =
    b"select pgw_k.pgw_o, pgw_q.* from rows from (pg_catalog.unnest($1)) with ordinality \
                            as pgw_k(pgw_1, pgw_o)";

/// A table that a statement looks up one row of, by one of its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Small {
    /// Which of the statement's values is the key.
    pub value: u16,
    /// The key column's type.
    pub type_oid: u32,
    /// The sub-select that gives every key once, and NULL: for the place of the arrays in a replay.
    pub keys: Box<str>,
}

/// Why a table is not read as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Not {
    Known,
    Table,
    Small,
    Column,
    Type,
    Unique,
}

impl Not {
    pub fn label(self) -> &'static str {
        match self {
            Not::Known => "its size is not known; ANALYZE would tell",
            Not::Table => "it is not a plain or partitioned table of its own",
            Not::Small => "it is larger than 1,000 rows or 256 KiB",
            Not::Column => "the column is not known",
            Not::Type => "keys of this type or collation may be equal without looking equal",
            Not::Unique => "no unique index holds the column alone",
        }
    }
}

impl Small {
    /// For a statement whose value is used only in `column = value`, a condition of its WHERE that is joined
    /// to the others by AND.
    ///
    /// # Errors
    /// The table does not qualify, and why.
    pub fn of(catalog: &Catalog, table: &Table, column: &str, value: u16) -> Result<Small, Not> {
        let inherited = table.kind == TableKind::Table && catalog.children_of(table.oid).next().is_some();
        if !matches!(table.kind, TableKind::Table | TableKind::Partitioned) || inherited {
            return Err(Not::Table);
        }
        let parts: Vec<&Table> = catalog.children_of(table.oid).collect();
        let rows = match table.kind {
            // Of a partitioned table only its partitions may have been analysed.
            TableKind::Partitioned => parts.iter().map(|part| part.rows).sum::<Option<f64>>(),
            _ => table.rows,
        };
        let bytes = table.bytes + parts.iter().map(|part| part.bytes).sum::<u64>();
        let rows = rows.ok_or(Not::Known)?;
        if rows > f64::from(ROWS_MAX)
            || bytes > BYTES_MAX
            || parts.iter().any(|part| part.partitioning.is_some())
        {
            return Err(Not::Small);
        }
        let column = table.columns.iter().find(|own| own.name == column).ok_or(Not::Column)?;
        let comparable = matches!(
            column.type_oid,
            oid::INT2 | oid::INT4 | oid::INT8 | oid::UUID | oid::TEXT | oid::VARCHAR
        );
        if !comparable || column.collation.is_some() {
            return Err(Not::Type);
        }
        let unique = table.indexes.iter().any(|index| {
            index.unique
                && index.valid
                && index.immediate
                && index.predicate.is_none()
                && index.columns.len() == 1
                && index.columns[0].default_class
                && index.columns[0].column == Some(column.number)
        });
        if !unique {
            return Err(Not::Unique);
        }
        let (schema, name, column_name) = (quoted(&table.schema), quoted(&table.name), quoted(&column.name));
        let keys = format!(
            "(SELECT {column_name} FROM {schema}.{name} WHERE {column_name} IS NOT NULL UNION ALL SELECT NULL)"
        );
        Ok(Small { value, type_oid: column.type_oid, keys: keys.into() })
    }

    /// The text of a replay with one varying value, over every key in place of an array: what comes first in
    /// each row is the key. The replay's parameters stay as they are; the array is not looked at. `None`: it is
    /// another kind of replay.
    pub fn over_keys(&self, replay: &[u8]) -> Option<Vec<u8>> {
        let rest = replay.strip_prefix(OVER_ARRAY)?;
        let from = format!(
            "select pgw_k.pgw_o, pgw_q.* from (select pgw_s.k, pgw_s.k from {} as pgw_s(k)) as pgw_k(pgw_1, pgw_o)",
            self.keys
        );
        Some([from.as_bytes(), rest].concat())
    }
}

/// One answer's place in the frames of all, and its rows.
pub type Answer = (Range<usize>, u32);

/// All answers that a statement can give by one of its values.
pub struct Whole {
    /// DataRow frames as the client gets them.
    pub frames: Rc<[u8]>,
    /// Of each key that gave rows, NULL too.
    pub keys: Vec<(Key, Answer)>,
    /// Every other key gives no rows; if not, what it gives is not known.
    pub others_give_none: bool,
}

/// The answer to a query over all keys while it comes in. Each row has the key in front of the original's
/// columns.
#[derive(Default)]
pub struct Answers {
    type_oid: u32,
    binary: bool,
    /// DataRow frames without keys.
    frames: Vec<u8>,
    keys: Vec<(Key, Answer)>,
    met: HashSet<Key>,
}

/// The answer is not what it must be, or too large to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unusable;

impl Answers {
    /// `binary`: the form in which the key comes.
    pub fn new(small: &Small, binary: bool) -> Self {
        Answers { type_oid: small.type_oid, binary, ..Answers::default() }
    }

    /// Takes the body of a DataRow.
    ///
    /// # Errors
    /// The rows of one key do not follow each other, a key cannot be compared, the row is malformed, or it is
    /// more than a session may keep. The answer has to be thrown away.
    pub fn row(&mut self, body: &[u8]) -> Result<(), Unusable> {
        let (count, rest) = int16(body).ok_or(Unusable)?;
        let (length, rest) = int32(rest).ok_or(Unusable)?;
        let (key, rest) = match usize::try_from(length) {
            Ok(length) => {
                let (cell, rest) = rest.split_at_checked(length).ok_or(Unusable)?;
                (Key::read(self.type_oid, self.binary, cell), rest)
            }
            Err(_) => (Key::Null, rest),
        };
        let columns = count.checked_sub(1).filter(|columns| *columns >= 0).ok_or(Unusable)?;
        let begin = self.frames.len();
        if begin + body.len() > super::buffer::BYTES_MAX || !key.is_decisive(self.type_oid) {
            return Err(Unusable);
        }
        reply::frame(&mut self.frames, tag::DATA_ROW, |out| {
            out.extend_from_slice(&columns.to_be_bytes());
            out.extend_from_slice(rest);
        });
        let end = self.frames.len();
        match self.keys.last_mut() {
            Some((last, (at, rows))) if *last == key => {
                at.end = end;
                *rows += 1;
            }
            _ if !self.met.insert(key.clone()) => return Err(Unusable),
            _ => self.keys.push((key, (begin..end, 1))),
        }
        Ok(())
    }

    /// All rows came.
    pub fn finish(self) -> Whole {
        let others_give_none = !self.met.contains(&Key::Null);
        Whole { frames: self.frames.into(), keys: self.keys, others_give_none }
    }
}

/// A name as SQL writes it, whatever is in it.
fn quoted(name: &str) -> String {
    let inner = if name.contains('"') { Cow::Owned(name.replace('"', "\"\"")) } else { Cow::Borrowed(name) };
    format!("\"{inner}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Column, Index, IndexColumn};

    fn table() -> Table {
        let index_column = IndexColumn { column: Some(1), default_class: true, ..IndexColumn::default() };
        let index = Index {
            unique: true,
            valid: true,
            immediate: true,
            columns: vec![index_column],
            ..Index::default()
        };
        let column = Column { number: 1, name: "co\"de".into(), type_oid: oid::TEXT, ..Column::default() };
        Table {
            oid: 7,
            schema: "public".into(),
            name: "Facility".into(),
            rows: Some(50.0),
            bytes: 8_192,
            columns: vec![column],
            indexes: vec![index],
            ..Table::default()
        }
    }

    fn of(table: &Table) -> Result<Small, Not> {
        Small::of(&Catalog::default(), table, "co\"de", 2)
    }

    #[test]
    fn the_keys_of_a_small_table() {
        let small = of(&table()).expect("it qualifies");
        assert_eq!((small.value, small.type_oid), (2, oid::TEXT));
        let expected = "(SELECT \"co\"\"de\" FROM \"public\".\"Facility\" WHERE \"co\"\"de\" IS NOT NULL \
                        UNION ALL SELECT NULL)";
        assert_eq!(&*small.keys, expected);
    }

    #[test]
    fn a_replay_over_keys() {
        let small = Small { value: 0, type_oid: oid::INT4, keys: "(SELECT 1)".into() };
        let replay = [OVER_ARRAY, b" cross join lateral (select pgw_k.pgw_1\noffset 0) as pgw_q"].concat();
        let expected = "select pgw_k.pgw_o, pgw_q.* from (select pgw_s.k, pgw_s.k from (SELECT 1) as pgw_s(k)) \
                        as pgw_k(pgw_1, pgw_o) cross join lateral (select pgw_k.pgw_1\noffset 0) as pgw_q";
        assert_eq!(small.over_keys(&replay).as_deref(), Some(expected.as_bytes()));
        assert_eq!(small.over_keys(b"select 1"), None);
    }

    #[test]
    fn what_is_not_sure_is_not_read() {
        let changed = |change: &dyn Fn(&mut Table)| {
            let mut table = table();
            change(&mut table);
            of(&table)
        };
        assert_eq!(changed(&|table| table.rows = None), Err(Not::Known));
        assert_eq!(changed(&|table| table.rows = Some(2e3)), Err(Not::Small));
        assert_eq!(changed(&|table| table.bytes = 1 << 20), Err(Not::Small));
        assert_eq!(changed(&|table| table.kind = TableKind::View), Err(Not::Table));
        assert_eq!(changed(&|table| table.columns[0].name = "other".into()), Err(Not::Column));
        assert_eq!(changed(&|table| table.columns[0].type_oid = 1700), Err(Not::Type));
        assert_eq!(changed(&|table| table.columns[0].collation = Some("ci".into())), Err(Not::Type));
        assert_eq!(changed(&|table| table.indexes[0].unique = false), Err(Not::Unique));
        assert_eq!(changed(&|table| table.indexes[0].predicate = Some("x".into())), Err(Not::Unique));
    }

    fn row(key: Option<&str>, cell: &str) -> Vec<u8> {
        let mut body = vec![0, 2];
        match key {
            None => body.extend_from_slice(&[0xff; 4]),
            Some(key) => {
                body.extend_from_slice(&(key.len() as i32).to_be_bytes());
                body.extend_from_slice(key.as_bytes());
            }
        }
        body.extend_from_slice(&(cell.len() as i32).to_be_bytes());
        body.extend_from_slice(cell.as_bytes());
        body
    }

    #[test]
    fn rows_are_divided_by_their_keys() {
        let small = Small { value: 0, type_oid: oid::INT4, keys: "".into() };
        let mut answers = Answers::new(&small, false);
        for (key, cell) in [(Some("3"), "a"), (Some("3"), "b"), (None, "0"), (Some("7"), "c")] {
            answers.row(&row(key, cell)).expect("it is in order");
        }
        let Whole { frames, keys, others_give_none } = answers.finish();
        let without_key = |cells: &str| {
            let each = cells.chars().map(|cell| format!("D\0\0\0\x0b\0\x01\0\0\0\x01{cell}"));
            each.collect::<String>().into_bytes()
        };
        assert_eq!(*frames, *without_key("ab0c"));
        let expected =
            [(Key::Integer(3), (0..24, 2)), (Key::Null, (24..36, 1)), (Key::Integer(7), (36..48, 1))];
        assert!(keys == expected && !others_give_none);
    }

    #[test]
    fn what_is_out_of_order_or_cannot_be_compared_is_not_used() {
        let small = Small { value: 0, type_oid: oid::INT4, keys: "".into() };
        let mut answers = Answers::new(&small, false);
        assert_eq!(answers.row(&row(Some("3"), "a")), Ok(()));
        assert_eq!(answers.row(&row(Some("4"), "a")), Ok(()));
        assert_eq!(answers.row(&row(Some("3"), "a")), Err(Unusable));
        assert_eq!(answers.row(b"\0\0"), Err(Unusable));
        assert_eq!(answers.row(&row(Some("5"), &"x".repeat(1 << 20))), Err(Unusable));
        assert!(Answers::new(&small, false).finish().others_give_none, "NULL gives no rows");
    }

    proptest::proptest! {
        #[test]
        fn any_rows_are_read(bodies: Vec<Vec<u8>>, binary: bool) {
            let mut answers = Answers::new(&Small { value: 0, type_oid: oid::INT4, keys: "".into() }, binary);
            let right = bodies.iter().filter(|body| answers.row(body).is_ok()).count();
            assert!(answers.finish().keys.len() <= right);
        }
    }
}
