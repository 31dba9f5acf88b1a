//! Accounts for statements: what was asked when, and what came of it, as plain values for whoever watches.
//! Changes nothing of what is sent. Pure.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use super::exchange::Kind;
use super::{Desk, Session};
use crate::pool::settings::PoolMode;
use crate::pool::shape::{Known, Original, Shape, Shapes};
use crate::pool::values::{self, Values};
use crate::sql::comment::Origin;
use crate::sql::mark::{self, Marks};
use crate::wire::client::Bind;
use crate::wire::server::tag;

/// A statement that is on its way to the server.
#[derive(Debug, Clone)]
pub struct Ask {
    pub known: Rc<Known>,
    /// The first of its statements.
    pub shape: Rc<Shape>,
    pub marks: Marks,
    pub at_us: u64,
    pub formats: Formats,
}

/// Of a result's columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Formats {
    #[default]
    Text,
    Binary,
    Mixed,
}

impl Formats {
    /// As a Bind has them: count and codes.
    fn read(section: &[u8]) -> Formats {
        let codes = section.get(2..).unwrap_or_default().as_chunks::<2>().0;
        match codes.split_first() {
            None => Formats::Text,
            Some((first, rest)) if rest.iter().any(|code| code != first) => Formats::Mixed,
            Some(([0, 0], _)) => Formats::Text,
            Some(_) => Formats::Binary,
        }
    }
}

/// A statement that was answered, or a part of its answer.
#[derive(Debug, Clone)]
pub struct Done {
    pub shape: Rc<Shape>,
    /// False for a further part of a result whose first part was counted.
    pub call: bool,
    pub rows: u64,
    pub bytes: u64,
    /// Where the answer, or its last part, stands in the input of this step.
    pub at: Range<usize>,
    /// The answer began in an earlier step.
    pub continued: bool,
    pub waited_us: u64,
    pub server_us: u64,
    pub sqlstate: Option<[u8; 5]>,
    /// Its values and its own text, where some setting wants them.
    pub values: Option<Rc<Values>>,
    pub original: Option<Rc<Original>>,
    pub origin: Option<Rc<Origin<'static>>>,
}

/// What a step has to tell. The shell empties it after each.
#[derive(Debug, Default)]
pub struct Notes {
    pub asks: Vec<Ask>,
    pub done: Vec<Done>,
    /// Where rows stand in the input whose answer is not complete.
    pub partial: Range<usize>,
}

/// What the queue keeps of a statement that was asked.
#[derive(Debug, Default)]
pub struct Asked {
    pub known: Option<Rc<Known>>,
    pub at_us: u64,
    pub waited_us: u32,
    /// The row limit of an Execute; 0: none.
    pub rows_max: u32,
    /// Not the first Execute of its portal.
    pub again: bool,
    pub values: Option<Rc<Values>>,
}

/// What the session remembers for its accounts.
#[derive(Debug, Default)]
pub struct Account {
    /// What the unnamed portal runs, and whether it ran already.
    bound: Option<Rc<Known>>,
    ran: bool,
    portals: Option<Box<Portals>>,
    /// When the last answer ended: what comes next in a pipeline has a time of its own.
    ended_us: u64,
    /// Bytes of the present answer in earlier steps.
    carried: u64,
    /// Where the present answer began in the input of this step.
    from: usize,
    /// How many statements of the present Query are answered.
    part: usize,
    /// How long the client waited for its server; the next statement is told.
    pub waited_us: u64,
    /// What the values of the last Bind were, and in what form it wants the rows.
    marks: Marks,
    formats: Formats,
    values: Option<Rc<Values>>,
}

type Portals = HashMap<Box<[u8]>, (Rc<Known>, bool), foldhash::fast::RandomState>;

/// Named portals remembered; a client has few open.
const PORTALS_MAX: usize = 64;

impl Session {
    /// A Bind of a known statement was sent.
    pub(super) fn account_bind(&mut self, bind: Bind<'_>, known: &Rc<Known>, desk: &Desk<'_>) {
        let (account, reader) = (&mut self.account, &desk.interner.reader);
        if !reader.on || matches!(known.shapes, Shapes::None) {
            account.bound = None;
            return;
        }
        (account.marks, account.formats) = marks_of(bind, known.marks);
        if reader.values && bind.portal.is_empty() {
            let mut values = known.values.as_deref().cloned().unwrap_or_default();
            values::add_parameters(&mut values, bind);
            account.values = Some(Rc::new(values));
        }
        if bind.portal.is_empty() {
            (account.bound, account.ran) = (Some(known.clone()), false);
            return;
        }
        let portals = account.portals.get_or_insert_default();
        if portals.len() < PORTALS_MAX || portals.contains_key(bind.portal) {
            portals.insert(bind.portal.into(), (known.clone(), false));
        }
    }

    /// An Execute was queued; `body` is its own.
    pub(super) fn account_execute(&mut self, body: &[u8], desk: &mut Desk<'_>) {
        let Some((portal, rest)) = crate::wire::cstr(body) else {
            return;
        };
        let rows_max = crate::wire::int32(rest).map_or(0, |(rows, _)| rows.max(0) as u32);
        let account = &mut self.account;
        let (known, again) = if portal.is_empty() {
            (account.bound.clone(), std::mem::replace(&mut account.ran, true))
        } else {
            let held = account.portals.as_mut().and_then(|portals| portals.get_mut(portal));
            held.map_or((None, false), |(known, ran)| (Some(known.clone()), std::mem::replace(ran, true)))
        };
        let Some(known) = known else {
            return;
        };
        let marks = account.marks;
        // Of named portals the values are not kept; the last Bind may have been another one's.
        let values = if portal.is_empty() { account.values.take() } else { None };
        self.account_ask(known, (marks, values), rows_max, again, desk);
    }

    /// A statement was queued: notes it on the question at the queue's end.
    pub(super) fn account_ask(
        &mut self,
        known: Rc<Known>,
        (marks, values): (Marks, Option<Rc<Values>>),
        rows_max: u32,
        again: bool,
        desk: &mut Desk<'_>,
    ) {
        let Some(shape) = known.shapes.get(0).filter(|_| desk.interner.reader.on) else {
            return;
        };
        if !again {
            let (shape, formats) = (shape.clone(), std::mem::take(&mut self.account.formats));
            desk.notes.asks.push(Ask { known: known.clone(), shape, marks, at_us: desk.now_us, formats });
        }
        let waited_us = u32::try_from(std::mem::take(&mut self.account.waited_us)).unwrap_or(u32::MAX);
        if let Some(item) = self.exchange.queue.back_mut() {
            item.asked = Asked { known: Some(known), at_us: desk.now_us, waited_us, rows_max, again, values };
        }
    }

    /// The statement at the queue's front was answered by a frame that ends at `end`. `failed`: with this
    /// SQLSTATE.
    pub(super) fn account_done(
        &mut self,
        (kind, body): (u8, &[u8]),
        end: usize,
        failed: Option<[u8; 5]>,
        desk: &mut Desk<'_>,
    ) {
        let account = &mut self.account;
        let item = self.exchange.queue.front();
        let asked = item.map(|item| &item.asked);
        // One Query may hold several statements.
        let part = if item.is_some_and(|item| item.kind == Kind::Query) { account.part } else { 0 };
        let at = std::mem::replace(&mut account.from, end)..end;
        let carried = std::mem::take(&mut account.carried);
        let started = asked.map_or(0, |asked| asked.at_us).max(account.ended_us);
        account.ended_us = desk.now_us;
        account.part += 1;
        let Some((asked, known, shape)) = asked
            .and_then(|asked| {
                let known = asked.known.as_ref()?;
                Some((asked, known, known.shapes.get(part)?))
            })
            .filter(|_| desk.interner.reader.on)
        else {
            return;
        };
        let rows = match kind {
            tag::PORTAL_SUSPENDED => u64::from(asked.rows_max),
            tag::COMMAND_COMPLETE => rows_of(body),
            _ => 0,
        };
        desk.notes.done.push(Done {
            shape: shape.clone(),
            call: !asked.again,
            rows,
            bytes: carried + at.len() as u64,
            at,
            continued: carried > 0,
            waited_us: if part == 0 { asked.waited_us.into() } else { 0 },
            server_us: desk.now_us.saturating_sub(started),
            sqlstate: failed,
            values: asked.values.clone(),
            original: known.original.clone(),
            origin: known.origin.clone(),
        });
    }

    /// An answer begins behind the frame that ends here.
    pub(super) fn account_begin(&mut self, end: usize) {
        self.account.from = end;
        self.account.carried = 0;
        self.account.part = 0;
    }

    /// A step over the server's bytes begins.
    pub(super) fn account_step(&mut self) {
        self.account.from = 0;
    }

    /// It ends, with an answer that may go on.
    pub(super) fn account_rest(&mut self, consumed: usize, desk: &mut Desk<'_>) {
        let account = &mut self.account;
        if consumed > account.from && !self.exchange.queue.is_empty() {
            desk.notes.partial = account.from..consumed;
            account.carried += (consumed - account.from) as u64;
        }
    }

    /// The transaction ended, and with it every portal.
    pub(super) fn account_idle(&mut self) {
        self.account.portals = None;
    }

    /// In session mode names are the server's own; they are remembered only to know what runs.
    pub(super) fn account_parse(&mut self, name: &[u8], text: &[u8], types: &[u8], desk: &mut Desk<'_>) {
        if self.mode == PoolMode::Session && desk.interner.reader.on {
            let context = self.context(desk);
            let statement = desk.interner.private(text, types, context, name.is_empty());
            self.prepared.put(name, Some(statement));
        }
    }
}

/// Marks of the parameters, and behind them those of the values in the text, which are rarely the key when
/// there are parameters; and the formats of the result.
#[inline]
pub fn marks_of(bind: Bind<'_>, text: Marks) -> (Marks, Formats) {
    let mut marks = Marks::default();
    // A message that is cut or wrong is the server's to refuse.
    let formats = bind.each_value(|value, binary| {
        marks.add(match value {
            None => mark::NULL,
            Some(value) if binary => mark::binary(value),
            Some(value) => mark::text(value),
        });
    });
    marks.append(&text);
    (marks, formats.map_or(Formats::Mixed, Formats::read))
}

/// The count at the end of a command's tag; `SELECT 5`, `INSERT 0 3`. Commands without one touched no rows.
pub(super) fn rows_of(tag: &[u8]) -> u64 {
    let tag = tag.strip_suffix(b"\0").unwrap_or(tag);
    let digits = tag.rsplit(|&byte| byte == b' ').next().unwrap_or_default();
    let number = digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    number.filter(|_| !digits.is_empty() && digits.len() < tag.len()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_at_the_end_of_a_tag() {
        assert_eq!(rows_of(b"SELECT 5\0"), 5);
        assert_eq!(rows_of(b"INSERT 0 3\0"), 3);
        assert_eq!(rows_of(b"BEGIN\0"), 0);
        assert_eq!(rows_of(b"CREATE TABLE\0"), 0);
        assert_eq!(rows_of(b"COPY 1000000"), 1_000_000);
        assert_eq!(rows_of(b"7\0"), 0);
        assert_eq!(rows_of(b"SELECT 99999999999999999999999\0"), 0);
    }
}
