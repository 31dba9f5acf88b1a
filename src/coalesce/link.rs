//! Where the values of a repeated statement come from: a column of an earlier result, row by row. Pure.

use std::cmp::Reverse;
use std::collections::VecDeque;

use super::rows::{BYTES_MAX, Columns};
use crate::sql::mark::Marks;
use crate::wire::{self, server::tag};

/// Results kept of one session, and bytes in all; a loop's parent is rarely further back.
const RESULTS_MAX: usize = 8;
const BYTES_ALL: usize = 24 * 1024;

/// Frames within which a result's first row stands: behind what answers Parse, Bind and Describe.
const ROW_WITHIN: usize = 8;

/// A result of several rows.
#[derive(Debug)]
pub struct Kept {
    pub fingerprint: u64,
    /// Counts the results of a session.
    pub serial: u32,
    /// Whether a way led through it.
    used: bool,
    /// There was more of it than is kept.
    cut: bool,
    bytes: usize,
    /// Given up when it has become columns, unless somebody wants the values themselves.
    frames: Vec<u8>,
    raw: bool,
    columns: Option<Columns>,
}

/// The last results of a session, read only when something may have come from them.
#[derive(Debug, Default)]
pub struct Results {
    kept: VecDeque<Kept>,
    serial: u32,
}

impl Results {
    /// Keeps the beginning of a result. `raw`: its frames too, when they have become columns.
    pub fn keep(&mut self, fingerprint: u64, parts: [&[u8]; 2], raw: bool) {
        if !parts.iter().any(|part| has_row(part)) {
            return;
        }
        let whole = parts.iter().map(|part| part.len()).sum::<usize>();
        let (bytes, cut) = (whole.min(BYTES_MAX), whole >= BYTES_MAX);
        let mut own = self.kept.iter().enumerate().filter(|(_, kept)| kept.fingerprint == fingerprint);
        let mut old = match (own.next(), own.next()) {
            (Some((at, _)), Some(_)) => self.kept.remove(at),
            _ => None,
        };
        while self.kept.len() >= RESULTS_MAX || self.bytes() + bytes > BYTES_ALL {
            old = self.make_room();
        }
        let mut frames = old.map_or_else(Vec::new, |old| old.frames);
        frames.clear();
        for part in parts {
            frames.extend_from_slice(&part[..part.len().min(BYTES_MAX - frames.len())]);
        }
        self.serial += 1;
        let (serial, used) = (self.serial, false);
        self.kept.push_back(Kept { fingerprint, serial, used, cut, bytes, frames, raw, columns: None });
    }

    fn bytes(&self) -> usize {
        self.kept.iter().map(|kept| kept.bytes).sum()
    }

    /// Gives one up. The children of a loop must not push out the parent of the loop around it: first goes an
    /// older result of a shape that has a newer one, then one that led nowhere, then the oldest.
    fn make_room(&mut self) -> Option<Kept> {
        let kept = &self.kept;
        let renewed =
            |at: &usize| kept.iter().skip(at + 1).any(|later| later.fingerprint == kept[*at].fingerprint);
        let at = (0..kept.len()).find(renewed).or_else(|| kept.iter().position(|kept| !kept.used));
        self.kept.remove(at.unwrap_or(0))
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The frames of a result, as far as they are kept.
    pub fn frames(&self, serial: u32) -> Option<&[u8]> {
        let kept = self.kept.iter().find(|kept| kept.serial == serial)?;
        (!kept.frames.is_empty()).then_some(kept.frames.as_slice())
    }

    /// Gives up frames that have become columns, the oldest first, until all is within its bound.
    fn trim(&mut self) {
        let mut over = self.bytes().saturating_sub(BYTES_ALL);
        for kept in self.kept.iter_mut().filter(|kept| kept.columns.is_some()) {
            if over == 0 {
                break;
            }
            let freed = std::mem::take(&mut kept.frames).len();
            kept.bytes -= freed;
            over = over.saturating_sub(freed);
        }
    }

    /// A way led through this result.
    fn note_use(&mut self, serial: u32) {
        self.kept.iter_mut().filter(|kept| kept.serial == serial).for_each(|kept| kept.used = true);
    }
}

/// Whether there is a row among the first frames; an UPDATE of many rows gives none back.
fn has_row(mut frames: &[u8]) -> bool {
    for _ in 0..ROW_WITHIN {
        match wire::head(frames) {
            Ok(Some(head)) if head.tag == tag::DATA_ROW => return true,
            Ok(Some(head)) => frames = frames.get(head.size..).unwrap_or_default(),
            _ => return false,
        }
    }
    false
}

impl Kept {
    fn columns(&mut self) -> &Columns {
        let (frames, bytes, raw) = (&mut self.frames, &mut self.bytes, self.raw);
        self.columns.get_or_insert_with(|| {
            let columns = Columns::read(frames);
            if !raw {
                *frames = Vec::new();
            }
            *bytes = columns.weight() + frames.len();
            columns
        })
    }
}

/// One way that the values may have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The parent's shape, and the column of its result.
    pub parent: u64,
    pub column: usize,
    pub name: Option<String>,
    /// Which of the statement's values it is.
    pub value: usize,
    pub hits: u32,
    /// Values behind the last row that was kept of a longer result: what held so long is taken to go on.
    beyond: u32,
    misses: u32,
    /// Hits on the last row of the parent's result, as pages have that start where the last one ended.
    pub last_row_hits: u32,
    serial: u32,
    /// The row behind the last hit.
    next: usize,
}

/// Ways followed at the same time, and misses after which one is given up.
const LINKS_MAX: usize = 6;
const MISSES_MAX: u32 = 3;

/// Rows met in order before a way is followed past the end of what is kept of its result.
const HITS_BEYOND: u32 = 10;

/// How often a statement without a way is looked up anew.
const SEARCHES_MAX: u8 = 12;

/// The ways that are still open.
#[derive(Debug, Default)]
pub struct Links {
    links: Vec<Link>,
    searches: u8,
}

impl Links {
    /// A statement with these values is asked again; `first`: what the values were the first time.
    pub fn follow(&mut self, marks: &Marks, first: &Marks, results: &mut Results) {
        if results.is_empty() {
            return;
        }
        self.links.retain_mut(|link| {
            if link.advance(marks, results) {
                return true;
            }
            if link.is_beyond(results) {
                link.beyond += 1;
                return true;
            }
            link.misses += 1;
            link.misses < MISSES_MAX.max(link.hits / 8)
        });
        if self.links.is_empty() && self.searches < SEARCHES_MAX {
            self.searches += 1;
            self.search(marks, first, results);
            results.trim();
        }
    }

    /// The row that all values which vary came from the last time, if the same ways led there each time,
    /// twice at least.
    pub fn provenance(&self, marks: &Marks, first: &Marks) -> Option<Provenance> {
        let varies = |value: usize| marks.each().get(value) != first.each().get(value);
        let varying: Vec<usize> = (0..marks.each().len()).filter(|&value| varies(value)).collect();
        let held = self.links.iter().filter(|link| link.misses == 0 && link.beyond == 0 && link.hits >= 2);
        let key = |link: &&Link| link.is_key();
        // A way without a gap from the first row on is no accident; next to that, names tell.
        let rank = |link: &&Link| (link.next as u64 == u64::from(link.hits), key(link), Reverse(link.column));
        let best = held.clone().filter(|link| varies(link.value)).max_by_key(rank)?;
        let of = |&value: &usize| {
            let same = held
                .clone()
                .filter(|link| (link.value, link.serial, link.next) == (value, best.serial, best.next));
            same.max_by_key(rank).map(|link| (value, link.column))
        };
        let columns: Option<Vec<_>> = varying.iter().map(of).collect();
        let row = best.next.checked_sub(1)?;
        Some(Provenance { parent: best.parent, serial: best.serial, row, columns: columns? })
    }

    /// Looks for columns that hold both the first and the present values, in this order.
    fn search(&mut self, marks: &Marks, first: &Marks, results: &mut Results) {
        // What never changes beside a value that does is a limit or a filter.
        let varies = marks.each() != first.each();
        for kept in results.kept.iter_mut().rev() {
            let (serial, parent) = (kept.serial, kept.fingerprint);
            let columns = kept.columns();
            for (column, cells) in columns.values.iter().enumerate() {
                for (value, &mark) in marks.each().iter().enumerate() {
                    let before = first.each().get(value).copied();
                    let begin = match before {
                        Some(before) if before == mark && varies => continue,
                        Some(before) if before != mark => {
                            let at = cells.iter().position(|cell| cell.is(before));
                            at.map_or((0, 1), |at| (at + 1, 2))
                        }
                        _ => (0, 1),
                    };
                    let (from, hits) = begin;
                    let Some(at) = cells[from..].iter().position(|cell| cell.is(mark)) else { continue };
                    if self.links.len() >= LINKS_MAX {
                        return;
                    }
                    let next = from + at + 1;
                    let name = columns.names.get(column).cloned();
                    let last_row_hits = u32::from(next == cells.len());
                    self.links.push(Link {
                        parent,
                        column,
                        name,
                        value,
                        hits,
                        beyond: 0,
                        misses: 0,
                        last_row_hits,
                        serial,
                        next,
                    });
                }
            }
        }
    }

    /// Whether these values are the next step of a way that held so far.
    pub fn go_on(&self, marks: &Marks, results: &mut Results) -> bool {
        self.links.iter().any(|link| link.hits >= 2 && link.find(marks, results).is_some())
    }

    /// The way that explains most of `count` repetitions, if it explains nine of ten.
    pub fn best(&self, count: u32) -> Option<&Link> {
        let explains =
            |link: &&Link| link.hits >= 3 && (link.hits + link.beyond) * 10 >= count.saturating_sub(1) * 9;
        // Columns that keys live in come before those that share values with them by chance.
        let rank = |link: &&Link| (link.hits, link.is_key(), Reverse(link.value), Reverse(link.column));
        self.links.iter().filter(explains).max_by_key(rank)
    }
}

/// Where the values of a statement that was just asked came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// The parent's shape, and which of its results.
    pub parent: u64,
    pub serial: u32,
    /// Counted from 0.
    pub row: usize,
    /// Which of the statement's values came from which column of that row; the others have not changed so
    /// far.
    pub columns: Vec<(usize, usize)>,
}

impl Link {
    /// The column is called as those that keys live in.
    fn is_key(&self) -> bool {
        let name = self.name.as_deref();
        name.is_some_and(|name| name == "id" || name.ends_with("_id") || name.ends_with("Id"))
    }

    /// Goes one step with the present values, if they allow it.
    fn advance(&mut self, marks: &Marks, results: &mut Results) -> bool {
        let Some((serial, next, is_last)) = self.find(marks, results) else {
            return false;
        };
        (self.serial, self.next) = (serial, next);
        self.hits += 1;
        self.last_row_hits += u32::from(is_last);
        results.note_use(serial);
        true
    }

    /// Whether it has come to the end of what is kept of a longer result.
    fn is_beyond(&self, results: &mut Results) -> bool {
        let mut own = results.kept.iter_mut().filter(|kept| kept.serial == self.serial && kept.cut);
        self.hits >= HITS_BEYOND
            && own.next().is_some_and(|kept| {
                let rows = kept.columns().rows();
                // Rows without a key, and those whose key came before, were passed over.
                self.next + rows / 8 + 2 >= rows
            })
    }

    /// Where the present value stands further down in the column, or in a newer result of the parent: which
    /// result, the row behind it, and whether it is the last.
    fn find(&self, marks: &Marks, results: &mut Results) -> Option<(u32, usize, bool)> {
        let &mark = marks.each().get(self.value)?;
        let (parent, since) = (self.parent, self.serial);
        // The oldest first: that is the one at work.
        let newer = results.kept.iter_mut().filter(|kept| kept.fingerprint == parent && kept.serial >= since);
        for kept in newer {
            let serial = kept.serial;
            let from = if serial == self.serial { self.next } else { 0 };
            let Some(cells) = kept.columns().values.get(self.column) else { continue };
            // A parent's row may be skipped, and a value may come twice in a row.
            let again = from.saturating_sub(1);
            if let Some(at) = cells.get(again..).and_then(|rest| rest.iter().position(|cell| cell.is(mark))) {
                let next = again + at + 1;
                return Some((serial, next, next == cells.len()));
            }
        }
        None
    }
}

#[cfg(test)]
impl Results {
    pub fn weight(&self) -> usize {
        let columns = |kept: &Kept| kept.columns.as_ref().map_or(0, Columns::weight);
        self.kept.iter().map(|kept| size_of::<Kept>() + kept.frames.capacity() + columns(kept)).sum()
    }
}

#[cfg(test)]
impl Links {
    pub fn weight(&self) -> usize {
        let name = |link: &Link| link.name.as_ref().map_or(0, String::capacity);
        self.links.capacity() * size_of::<Link>() + self.links.iter().map(name).sum::<usize>()
    }
}
