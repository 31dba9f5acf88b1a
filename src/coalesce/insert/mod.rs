//! Many INSERTs of one row as one statement: the same text, with a row of arrays in place of its parameters, so
//! that PostgreSQL itself makes of each value what it would have made of it alone. What may be written so, `Insert`
//! says of the text and `question` of the table. Knows no connection.
//!
//! ```sql
//! insert into <table> (<columns>) select <values, with pgw_k.pgw_1 for $1> from rows from
//! (pg_catalog.unnest($1), …) with ordinality as pgw_k(pgw_1, …, pgw_o) order by pgw_k.pgw_o
//! ```
//! Columns that get DEFAULT are left out, which means the same. Defaults are computed above the sorted rows, so that
//! sequences count in the order of the originals.

pub mod question;

use std::fmt;

use super::replay::types::{self, ArrayType};
use super::replay::{self, Replay};
use crate::catalog::Oid;
use crate::sql::insert::{Insert, Refusal as TextRefusal};

/// What is done with INSERTs of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// They are forwarded as they come.
    Off,
    /// Those that a client sends in one pipeline become one statement. No history can tell.
    #[default]
    Merged,
    /// Also, inside of a transaction each is acknowledged at once, and they go to the server before anything that
    /// could see them. Their errors come later, as the answer of what follows them.
    Deferred,
}

impl Mode {
    /// By its name.
    pub fn read(name: &[u8]) -> Option<Mode> {
        match name {
            b"off" => Some(Mode::Off),
            b"merged" => Some(Mode::Merged),
            b"deferred" => Some(Mode::Deferred),
            _ => None,
        }
    }
}

/// Fewer than this in a pipeline are not worth it.
pub const ROWS_MIN: u32 = 3;

/// Rows of one statement. Beyond it there is nothing to gain, and what is held back costs memory.
pub const ROWS_MAX: u32 = 8_192;

/// Why INSERTs stay as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    Text(TextRefusal),
    /// No array type, or none that can be taken apart again, for parameters of this type.
    Type(Oid),
    /// Its parameters are not those of its text, or there are none.
    Parameters,
    /// No column gets a value of its own, or it cannot be told which ones get their default.
    Columns,
    TooMany,
    /// What the database says of the table, see [`question`].
    Table(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Text(refusal) => refusal.fmt(formatter),
            Refusal::Type(oid) => {
                write!(formatter, "parameters of type {oid} have no array that can be taken apart")
            }
            Refusal::Parameters => formatter.write_str("its parameters are not those of its text"),
            Refusal::Columns => formatter.write_str("its defaults cannot be left out"),
            Refusal::TooMany => formatter.write_str("it has too many parameters"),
            Refusal::Table(why) => formatter.write_str(why),
        }
    }
}

/// The statement for many. `types` are those of the parameters, as the server said; `arrays` is asked for types
/// that are not PostgreSQL's own.
///
/// # Errors
/// Why they stay as they are.
pub fn merged(
    text: &[u8],
    insert: &Insert,
    types: &[Oid],
    arrays: &dyn Fn(Oid) -> Option<ArrayType>,
) -> Result<Replay, Refusal> {
    let mut used = vec![false; types.len()];
    for (_, number) in insert.values.iter().flat_map(|value| &value.parameters) {
        *used.get_mut(usize::from(*number) - 1).ok_or(Refusal::Parameters)? = true;
    }
    if used.is_empty() || used.contains(&false) {
        return Err(Refusal::Parameters);
    }
    if text.windows(4).any(|part| part.eq_ignore_ascii_case(b"pgw_")) {
        return Err(Refusal::Text(TextRefusal::Value(0)));
    }
    let array = |&oid: &Oid| {
        let known = types::builtin(oid).or_else(|| arrays(oid)).filter(|array| !array.composite);
        Ok((oid, known.ok_or(Refusal::Type(oid))?))
    };
    let parameters = types.iter().map(array).collect::<Result<Vec<_>, _>>()?;
    let mut out = b"insert into ".to_vec();
    out.extend_from_slice(&text[insert.table.clone()]);
    write_columns(text, insert, &mut out)?;
    out.extend_from_slice(b" select ");
    let mut first = true;
    for value in insert.values.iter().filter(|value| !value.default) {
        if !std::mem::take(&mut first) {
            out.extend_from_slice(b", ");
        }
        let mut done = value.at.start;
        for (at, number) in &value.parameters {
            out.extend_from_slice(&text[done..at.start]);
            out.extend_from_slice(format!(" pgw_k.pgw_{number} ").as_bytes());
            done = at.end;
        }
        out.extend_from_slice(&text[done..value.at.end]);
        // A comment may be the last thing of a value.
        out.push(b'\n');
    }
    out.extend_from_slice(b"from rows from (");
    for number in 1..=types.len() {
        let comma = if number == 1 { "" } else { ", " };
        out.extend_from_slice(format!("{comma}pg_catalog.unnest(${number})").as_bytes());
    }
    out.extend_from_slice(b") with ordinality as pgw_k(");
    (1..=types.len()).for_each(|number| out.extend_from_slice(format!("pgw_{number}, ").as_bytes()));
    out.extend_from_slice(b"pgw_o) order by pgw_k.pgw_o");
    Replay::of_arrays(out, &parameters, ROWS_MAX).map_err(|refusal| match refusal {
        replay::Refusal::TooMany => Refusal::TooMany,
        _ => Refusal::Parameters,
    })
}

/// The columns that do not get their default.
fn write_columns(text: &[u8], insert: &Insert, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let defaults = insert.values.iter().any(|value| value.default);
    if insert.columns.is_empty() {
        return if defaults { Err(Refusal::Columns) } else { Ok(()) };
    }
    let given = insert.columns.iter().zip(&insert.values).filter(|(_, value)| !value.default);
    let mut before: &[u8] = b" (";
    for (column, _) in given {
        out.extend_from_slice(before);
        out.extend_from_slice(&text[column.clone()]);
        before = b", ";
    }
    if before == b" (" {
        return Err(Refusal::Columns);
    }
    out.push(b')');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::types::{INT4, TEXT};
    use super::*;

    fn merge(text: &str, types: &[Oid]) -> Result<String, Refusal> {
        let insert = Insert::read(text.as_bytes()).map_err(Refusal::Text)?;
        let replay = merged(text.as_bytes(), &insert, types, &|_| None)?;
        Ok(String::from_utf8_lossy(replay.text()).into_owned())
    }

    #[test]
    fn the_text_of_many() {
        assert_eq!(
            merge("INSERT INTO \"T\" (id, a, \"B\") VALUES (DEFAULT, $2, $1::text) -- x", &[TEXT, INT4])
                .as_deref(),
            Ok("insert into \"T\" (a, \"B\") select  pgw_k.pgw_2 \n,  pgw_k.pgw_1 ::text\nfrom rows from \
                (pg_catalog.unnest($1), pg_catalog.unnest($2)) with ordinality as pgw_k(pgw_1, pgw_2, pgw_o) \
                order by pgw_k.pgw_o")
        );
        assert_eq!(
            merge("insert into t values ($1, 5, $1)", &[INT4]).as_deref(),
            Ok(
                "insert into t select  pgw_k.pgw_1 \n, 5\n,  pgw_k.pgw_1 \nfrom rows from (pg_catalog.unnest($1)) \
                with ordinality as pgw_k(pgw_1, pgw_o) order by pgw_k.pgw_o"
            )
        );
    }

    #[test]
    fn what_stays_as_it_is() {
        for (text, types, refusal) in [
            ("insert into t values ($1, $3)", &[INT4, INT4, INT4][..], Refusal::Parameters),
            ("insert into t values ($1, $2)", &[INT4], Refusal::Parameters),
            ("insert into t values (1)", &[], Refusal::Parameters),
            ("insert into t (a) values (default)", &[], Refusal::Parameters),
            ("insert into t values ($1, default)", &[INT4], Refusal::Columns),
            ("insert into t values ($1)", &[1007], Refusal::Type(1007)),
            ("insert into t values ($1)", &[99_999], Refusal::Type(99_999)),
            ("insert into pgw_t values ($1)", &[INT4], Refusal::Text(TextRefusal::Value(0))),
        ] {
            assert_eq!(merge(text, types), Err(refusal), "{text}");
        }
    }
}
