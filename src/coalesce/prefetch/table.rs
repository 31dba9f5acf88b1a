//! The key columns of a session's last results, row by row, read from the frames as they pass: what a loop
//! over such a result will ask for. Bounded; what does not fit is not foreseen. Must not know who asks. Pure.

use std::collections::VecDeque;

use super::keys::{Key, oid};
use crate::wire::server::tag;
use crate::wire::{self, HEADER};

/// Rows of a result, results of a session, and bytes of all of them.
pub const ROWS_MAX: usize = 1_000;
pub const TABLES_MAX: usize = 4;
pub const BYTES_MAX: usize = 64 * 1024;

/// Columns of a result that loops take their keys from.
pub const COLUMNS_MAX: usize = 8;

/// A frame that is cut by the network is held until the rest of it comes, if it is no longer than this.
pub const REST_MAX: usize = 16 * 1024;

/// What is known of a result's columns.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields<'a> {
    /// Type OIDs; empty: as the result's own description has them, which stands in front of the rows.
    pub types: &'a [u32],
    /// Format codes as a Bind has them: none is text for all, one is for all; or [`ANY_FORMAT`].
    pub formats: &'a [i16],
}

/// The formats are not known: each cell is looked at.
pub const ANY_FORMAT: &[i16] = &[-1];

/// How the cells of a column are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Binary,
    Any,
}

impl Format {
    /// Of one cell. The forms of the types that keys have differ in their lengths, or in their bytes: a number in
    /// binary form that consists of digits alone is larger than 800 million. A mistake costs what is fetched for
    /// a key that nobody asks for, and changes no answer.
    fn is_binary(self, type_oid: u32, cell: &[u8]) -> bool {
        let length = match type_oid {
            oid::INT2 => 2,
            oid::INT4 => 4,
            oid::INT8 => 8,
            oid::UUID => 16,
            0 if self == Format::Any => return !cell.iter().all(|byte| byte.is_ascii_graphic()),
            _ => return self == Format::Binary,
        };
        let prints = |byte: &u8| byte.is_ascii_digit() || *byte == b'-';
        match self {
            Format::Any => cell.len() == length && (type_oid == oid::UUID || !cell.iter().all(prints)),
            own => own == Format::Binary,
        }
    }
}

impl Fields<'_> {
    fn format(&self, column: usize) -> Format {
        let code = if self.formats.len() == 1 { self.formats.first() } else { self.formats.get(column) };
        match code {
            Some(1) => Format::Binary,
            Some(-1) => Format::Any,
            _ => Format::Text,
        }
    }
}

/// What a cell in binary form may be whose type nobody knows, by its length.
fn guess(type_oid: u32, cell: &[u8]) -> u32 {
    match (type_oid, cell.len()) {
        (0, 2) => oid::INT2,
        (0, 4) => oid::INT4,
        (0, 8) => oid::INT8,
        (0, 16) => oid::UUID,
        _ => type_oid,
    }
}

/// The wanted columns of one result.
pub struct Table {
    /// The parent's shape.
    pub shape: u64,
    /// Counts the tables of a session.
    pub serial: u32,
    /// Counted from 0, in rising order.
    columns: Box<[u16]>,
    /// What the parent was asked with.
    pub parameters: Box<[Key]>,
    /// Row by row.
    keys: Vec<Key>,
    /// It ends before the result does.
    pub is_cut: bool,
    types: Vec<u32>,
    formats: Vec<Format>,
    bytes: usize,
}

impl Table {
    /// An empty one, for a result that will come.
    pub fn new(shape: u64, columns: &[u16], parameters: Box<[Key]>, fields: Fields<'_>) -> Self {
        let mut columns: Vec<u16> = columns.to_vec();
        columns.sort_unstable();
        columns.dedup();
        columns.truncate(COLUMNS_MAX);
        let types =
            columns.iter().map(|&at| fields.types.get(usize::from(at)).copied().unwrap_or(0)).collect();
        let formats = columns.iter().map(|&at| fields.format(usize::from(at))).collect();
        let bytes = size_of::<Table>() + parameters.iter().map(Key::weight).sum::<usize>();
        let (keys, columns) = (Vec::new(), columns.into_boxed_slice());
        Table { shape, serial: 0, columns, parameters, keys, is_cut: false, types, formats, bytes }
    }

    /// Reads whole frames. Returns the bytes that are left of a frame which is cut.
    pub fn read<'a>(&mut self, mut frames: &'a [u8], bytes_max: usize) -> &'a [u8] {
        while let Ok(Some(head)) = wire::head(frames) {
            let Some(body) = frames.get(HEADER..head.size) else { break };
            match head.tag {
                tag::ROW_DESCRIPTION => self.describe(body),
                tag::DATA_ROW => self.add(body, bytes_max),
                _ => {}
            }
            frames = &frames[head.size..];
        }
        frames
    }

    /// The types that a RowDescription names. Its formats are true only of a portal, so they are not taken.
    fn describe(&mut self, body: &[u8]) {
        let Some((count, mut rest)) = wire::int16(body) else { return };
        for at in 0..count.max(0) as u16 {
            let Some((_, tail)) = wire::cstr(rest) else { return };
            let Some(&[_, _, _, _, _, _, a, b, c, d, ..]) = tail.first_chunk::<18>() else { return };
            if let Ok(place) = self.columns.binary_search(&at) {
                self.types[place] = u32::from_be_bytes([a, b, c, d]);
            }
            rest = &tail[18..];
        }
    }

    fn add(&mut self, row: &[u8], bytes_max: usize) {
        let width = self.columns.len();
        if width == 0 || self.is_cut || self.rows() >= ROWS_MAX || self.bytes >= bytes_max {
            self.is_cut = true;
            return;
        }
        let begin = self.keys.len();
        if self.cells(row).is_none() || self.keys.len() != begin + width {
            // A row that does not have these columns, or lies about its lengths, is nobody's parent.
            self.keys.truncate(begin);
            self.is_cut = true;
        }
        self.bytes += self.keys[begin..].iter().map(Key::weight).sum::<usize>();
    }

    fn cells(&mut self, row: &[u8]) -> Option<()> {
        let (count, mut rest) = wire::int16(row)?;
        let mut place = 0;
        for at in 0..count.max(0) as u16 {
            let (length, tail) = wire::int32(rest)?;
            let (cell, tail) = match usize::try_from(length) {
                Ok(length) => tail.split_at_checked(length).map(|(cell, tail)| (Some(cell), tail))?,
                Err(_) => (None, tail),
            };
            rest = tail;
            if self.columns.get(place) != Some(&at) {
                continue;
            }
            let (type_oid, format) = (self.types[place], self.formats[place]);
            self.keys.push(cell.map_or(Key::Null, |cell| match format.is_binary(type_oid, cell) {
                true => Key::read(guess(type_oid, cell), true, cell),
                false => Key::read(type_oid, false, cell),
            }));
            place += 1;
        }
        Some(())
    }

    pub fn rows(&self) -> usize {
        self.keys.len() / self.columns.len().max(1)
    }

    /// The values of these columns in a row. `None`: there is no such row, or one of the columns is not kept.
    pub fn row<'a>(&'a self, row: usize, columns: &[u16]) -> Option<Vec<&'a Key>> {
        let row = self.keys.chunks_exact(self.columns.len().max(1)).nth(row)?;
        columns.iter().map(|column| row.get(self.columns.binary_search(column).ok()?)).collect()
    }

    /// The first row from `from` on in which these columns have these values; failing that, the first before
    /// it.
    pub fn find(&self, columns: &[u16], keys: &[&Key], from: usize) -> Option<usize> {
        let places: Option<Vec<usize>> =
            columns.iter().map(|column| self.columns.binary_search(column).ok()).collect();
        let places = places.filter(|places| places.len() == keys.len() && !places.is_empty())?;
        let width = self.columns.len();
        let is = |row: &usize| {
            places.iter().zip(keys).all(|(place, key)| self.keys.get(row * width + place) == Some(*key))
        };
        (from..self.rows()).find(is).or_else(|| (0..from.min(self.rows())).find(is))
    }

    pub fn weight(&self) -> usize {
        self.bytes
    }
}

/// The tables of one session.
#[derive(Default)]
pub struct Tables {
    kept: VecDeque<Table>,
    serial: u32,
    /// The one that is being read, and the beginning of a frame that is cut.
    reading: Option<(Table, Vec<u8>)>,
}

impl Tables {
    /// A result of a watched shape will come.
    pub fn begin(&mut self, shape: u64, columns: &[u16], parameters: Box<[Key]>, fields: Fields<'_>) {
        self.reading = Some((Table::new(shape, columns, parameters, fields), Vec::new()));
    }

    /// A part of it came; frames may be cut anywhere.
    pub fn part(&mut self, bytes: &[u8]) {
        let Some((mut table, mut rest)) = self.reading.take() else { return };
        if rest.is_empty() {
            rest = table.read(bytes, BYTES_MAX).to_vec();
        } else {
            rest.extend_from_slice(bytes);
            let left = table.read(&rest, BYTES_MAX).len();
            rest.drain(..rest.len() - left);
        }
        if table.is_cut || rest.len() > REST_MAX {
            // What follows is not wanted any more.
            table.is_cut = true;
            self.keep(table);
        } else {
            self.reading = Some((table, rest));
        }
    }

    /// The result is complete.
    pub fn end(&mut self) {
        if let Some((table, _)) = self.reading.take() {
            self.keep(table);
        }
    }

    /// Whether a result is being read.
    pub fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Whether it is one of this shape.
    pub fn reads(&self, shape: u64) -> bool {
        self.reading.as_ref().is_some_and(|(table, _)| table.shape == shape)
    }

    /// Keeps a table. Older ones make room. Returns its number.
    pub fn keep(&mut self, mut table: Table) -> u32 {
        self.serial += 1;
        table.serial = self.serial;
        // One row is nobody's list.
        if table.rows() >= 2 {
            while self.kept.len() >= TABLES_MAX || self.bytes() + table.bytes > BYTES_MAX {
                if self.kept.pop_front().is_none() {
                    break;
                }
            }
            self.kept.push_back(table);
        }
        self.serial
    }

    /// Of these shapes, the newest first.
    pub fn of(&self, shape: u64) -> impl Iterator<Item = &Table> {
        self.kept.iter().rev().filter(move |table| table.shape == shape)
    }

    pub fn get(&self, serial: u32) -> Option<&Table> {
        self.kept.iter().find(|table| table.serial == serial)
    }

    pub fn bytes(&self) -> usize {
        let reading = self.reading.as_ref().map_or(0, |(table, rest)| table.bytes + rest.len());
        self.kept.iter().map(Table::weight).sum::<usize>() + reading
    }
}
