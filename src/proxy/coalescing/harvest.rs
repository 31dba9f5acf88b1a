//! What a query for several look-ups brought: the rows of each, side by side. And how such an answer is read.

use std::future::poll_fn;
use std::ops::Range;

use crate::coalesce::prefetch::small::Answers;
use crate::coalesce::split::Split;
use crate::net::buffer::{Slab, Window};
use crate::net::send::{flush, send};
use crate::pool::server::{Server, ServerError};
use crate::wire::server::{TxStatus, error_field, tag};
use crate::wire::{self, HEADER};

/// Bytes of all rows of a query. One that brings more is given up, and its look-ups are asked alone.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// Rows by key.
#[derive(Default)]
pub struct Harvest {
    /// DataRow frames, as whoever asked for the key alone gets them.
    pub rows: Vec<u8>,
    /// Where the rows of each key stand, and how many there are.
    pub found: Vec<(Range<u32>, u32)>,
    split: Option<Split>,
    /// How many columns come twice, and what the second ones are: as `rows` and `found`.
    twice: Option<usize>,
    pub other_rows: Vec<u8>,
    pub other_found: Vec<Range<u32>>,
    /// In their place, all answers of a small table.
    pub whole: Option<Answers>,
    /// Nothing came but rows of these keys, in order.
    pub usable: bool,
    /// An error after which the server ends the connection.
    last_words: Option<Box<[u8]>>,
}

impl Harvest {
    /// Empty, for so many keys.
    pub fn begin(&mut self, keys: usize) {
        self.rows.clear();
        self.found.clear();
        self.found.resize(keys, (0..0, 0));
        (self.split, self.usable, self.twice) = (Some(Split::new(keys)), true, None);
    }

    /// Empty, for so many keys, whose rows have so many columns twice.
    pub fn begin_twice(&mut self, keys: usize, columns: usize) {
        self.begin(keys);
        self.other_found.resize(keys, 0..0);
        self.twice = Some(columns);
    }

    /// Empty, for every key of a small table.
    pub fn begin_whole(&mut self, answers: Answers) {
        self.begin(0);
        self.whole = Some(answers);
    }

    /// The rows of a key.
    pub fn of(&self, key: u32) -> (&[u8], u32) {
        let (at, count) = &self.found[key as usize];
        (&self.rows[at.start as usize..at.end as usize], *count)
    }

    /// Takes a frame of the answer.
    pub fn frame(&mut self, frame: &[u8]) {
        match frame[0] {
            tag::DATA_ROW if self.usable => self.usable = self.row(&frame[HEADER..]).is_some(),
            tag::DATA_ROW
            | tag::PARSE_COMPLETE
            | tag::BIND_COMPLETE
            | tag::CLOSE_COMPLETE
            | tag::COMMAND_COMPLETE
            | tag::READY => {}
            // Nobody knows whose error, notice or changed setting it is.
            other => {
                self.usable = false;
                let severity = error_field(&frame[HEADER..], b'V').filter(|_| other == tag::ERROR);
                if severity.is_some_and(|severity| matches!(severity, b"FATAL" | b"PANIC")) {
                    self.last_words = Some(frame.into());
                }
            }
        }
    }

    fn row(&mut self, body: &[u8]) -> Option<()> {
        if let Some(whole) = &mut self.whole {
            return whole.row(body).ok();
        }
        let (key, row) = self.split.as_mut()?.row(body).ok()?;
        let (at, count) = self.found.get_mut(key)?;
        let mut own = row;
        if let Some(columns) = self.twice {
            let (first, second) = row.halves(columns)?;
            let at = self.other_found.get_mut(key)?;
            if *count == 0 {
                at.start = self.other_rows.len() as u32;
            }
            second.write(&mut self.other_rows);
            at.end = self.other_rows.len() as u32;
            own = first;
        }
        if *count == 0 {
            at.start = self.rows.len() as u32;
        }
        own.write(&mut self.rows);
        at.end = self.rows.len() as u32;
        *count += 1;
        Some(())
    }
}

/// A conversation of pgweir's own with a borrowed server.
pub struct Talk<'a> {
    pub server: &'a mut Server,
    pub input: &'a mut Window,
    pub slab: &'a Slab,
    unsent: Vec<u8>,
}

impl<'a> Talk<'a> {
    pub fn new(server: &'a mut Server, input: &'a mut Window, slab: &'a Slab) -> Self {
        Talk { server, input, slab, unsent: Vec::new() }
    }

    /// # Errors
    /// The connection is lost.
    pub async fn say(&mut self, messages: &[u8]) -> Result<(), ServerError> {
        let (server, unsent) = (&mut *self.server, &mut self.unsent);
        Ok(poll_fn(|cx| std::task::Poll::Ready(send(&mut server.stream, cx, messages, unsent))).await?)
    }

    /// Reads up to the next ReadyForQuery; rows go into the harvest.
    ///
    /// # Errors
    /// The connection is lost, or must be closed.
    pub async fn hear(&mut self, harvest: &mut Harvest) -> Result<TxStatus, ServerError> {
        loop {
            let (used, ready) = take(self.input.bytes(), harvest)?;
            self.input.consume(used);
            if let Some(status) = ready {
                return Ok(status);
            }
            if harvest.rows.len() > BYTES_MAX {
                return Err(ServerError::Protocol("a batch brought too many rows".into()));
            }
            // A row may be larger than the buffer; it is then not for a batch.
            if self.input.is_full() && !self.input.grow(BYTES_MAX) {
                return Err(ServerError::Protocol("a batch brought a row that is too large".into()));
            }
            let (server, unsent) = (&mut *self.server, &mut self.unsent);
            let (input, slab) = (&mut *self.input, self.slab);
            let n = poll_fn(|cx| {
                if let Err(error) = flush(&mut server.stream, cx, unsent) {
                    return std::task::Poll::Ready(Err(error));
                }
                server.stream.poll_fill(cx, input, slab)
            })
            .await;
            match (n, harvest.last_words.take()) {
                (Ok(0) | Err(_), Some(frame)) => return Err(ServerError::Ended(frame)),
                (Ok(0), None) => {
                    return Err(ServerError::Unreachable("the server closed the connection".into()));
                }
                (Err(error), None) => return Err(error.into()),
                (Ok(_), words) => harvest.last_words = words,
            }
        }
    }

    /// Nothing more may come: the last answer was read.
    ///
    /// # Errors
    /// It did.
    pub fn end(&mut self) -> Result<(), ServerError> {
        let all = self.input.is_empty() && self.unsent.is_empty();
        self.input.release(self.slab);
        all.then_some(()).ok_or(ServerError::Protocol("more than was asked for".into()))
    }
}

/// Takes the whole frames that are there, up to ReadyForQuery. Returns their bytes, and what that said.
fn take(input: &[u8], harvest: &mut Harvest) -> Result<(usize, Option<TxStatus>), ServerError> {
    let mut at = 0;
    loop {
        let head = wire::head(&input[at..]).map_err(|bad| ServerError::Protocol(format!("{bad:?}")))?;
        let Some(frame) = head.and_then(|head| input.get(at..at + head.size)) else {
            return Ok((at, None));
        };
        at += frame.len();
        harvest.frame(frame);
        if frame[0] == tag::READY {
            let status = TxStatus::read(&frame[HEADER..]);
            return match status {
                Some(status) => Ok((at, Some(status))),
                None => Err(ServerError::Protocol("a ReadyForQuery without a status".into())),
            };
        }
    }
}
