//! A result that was kept, as marks: one column of values beside the other. Pure.

use crate::sql::mark;
use crate::wire::server::{columns, tag};
use crate::wire::{self, HEADER};

/// Bytes of one result that are kept; a page of 50 to 200 rows fits.
pub const BYTES_MAX: usize = 12 * 1024;

/// Rows and columns that are looked at.
const ROWS_MAX: usize = 1_000;
const COLUMNS_MAX: usize = 16;

/// What a column's value may be the mark of: it came as text or as binary, and the row does not say which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    pub text: u32,
    pub binary: u32,
}

/// The columns of a result.
#[derive(Debug, Default)]
pub struct Columns {
    /// As the result's own description names them; empty if the client did not ask for it.
    pub names: Vec<String>,
    pub values: Vec<Vec<Cell>>,
}

impl Columns {
    /// Reads an answer's frames. What is cut off or malformed at their end is left out.
    pub fn read(mut frames: &[u8]) -> Self {
        let mut all = Columns::default();
        while let Ok(Some(head)) = wire::head(frames)
            && let Some(body) = frames.get(HEADER..head.size)
        {
            match head.tag {
                tag::ROW_DESCRIPTION => all.names = names(body).unwrap_or_default(),
                tag::DATA_ROW => all.add(body),
                _ => {}
            }
            frames = &frames[head.size..];
        }
        // Rows come one by one, and what is read stays as it is.
        all.values.iter_mut().for_each(Vec::shrink_to_fit);
        all
    }

    fn add(&mut self, row: &[u8]) {
        let Some(row) = columns(row) else {
            return;
        };
        if self.values.is_empty() {
            self.values = vec![Vec::new(); row.len().min(COLUMNS_MAX)];
        }
        for (column, value) in self.values.iter_mut().zip(&row) {
            if column.len() < ROWS_MAX {
                column.push(value.map_or(Cell { text: mark::NULL, binary: mark::NULL }, |value| Cell {
                    text: mark::text(value),
                    binary: mark::binary(value),
                }));
            }
        }
    }

    /// Bytes of memory, about.
    pub fn weight(&self) -> usize {
        let values: usize = self.values.iter().map(Vec::capacity).sum();
        values * size_of::<Cell>() + self.names.iter().map(|name| name.capacity() + 24).sum::<usize>()
    }

    pub fn rows(&self) -> usize {
        self.values.first().map_or(0, Vec::len)
    }
}

impl Cell {
    /// Whether a value with this mark stands here. NULL is no key.
    #[inline]
    pub fn is(self, mark: u32) -> bool {
        mark != mark::NULL && (self.text == mark || self.binary == mark)
    }
}

/// The names in a RowDescription.
fn names(body: &[u8]) -> Option<Vec<String>> {
    let (count, mut rest) = wire::int16(body)?;
    let mut names = Vec::new();
    for _ in 0..count {
        let (name, tail) = wire::cstr(rest)?;
        names.push(String::from_utf8_lossy(name).into_owned());
        // Table, column, type, its length and modifier, format.
        rest = tail.get(18..)?;
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::reply;

    #[test]
    fn frames_become_columns() {
        let mut frames = Vec::new();
        reply::frame(&mut frames, tag::ROW_DESCRIPTION, |out| {
            out.extend_from_slice(b"\0\x02id\0");
            out.extend_from_slice(&[0; 18]);
            out.extend_from_slice(b"name\0");
            out.extend_from_slice(&[0; 18]);
        });
        reply::frame(&mut frames, tag::DATA_ROW, |out| {
            out.extend_from_slice(b"\0\x02\0\0\0\x0242\xff\xff\xff\xff");
        });
        frames.extend_from_slice(b"D\0\0\0\x20cut");
        let columns = Columns::read(&frames);
        assert_eq!(columns.names, ["id", "name"]);
        assert_eq!(columns.rows(), 1);
        assert!(columns.values[0][0].is(mark::binary(&42_i64.to_be_bytes())));
        assert!(!columns.values[1][0].is(mark::NULL));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read(frames: Vec<u8>) {
            Columns::read(&frames);
        }
    }
}
