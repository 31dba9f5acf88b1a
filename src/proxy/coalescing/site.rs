//! What is known of look-ups that differ in nothing but their values, and how many are under way.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use super::line::{Line, push_value};
use super::witness::UNCHECKED;
use crate::observe::coalescing::Entry;
use crate::pool::baggage::Baggage;
use crate::pool::clock::Clock;
use crate::pool::shape::Shape;
use crate::pool::statement::Statement;
use crate::pool::template::Site as SiteId;
use crate::session::lookup::{self, Lookup, Value, ValueKind, Values};
use crate::wire::reply;

/// Look-ups that met others of their kind under way before it is worth to find out more about them.
const MEETINGS: u32 = 3;

/// Result formats that are told apart at one time; libraries use two or three.
const FORMATS_MAX: usize = 64;

/// Kinds of formats, constants and settings that look-ups of one site are asked with.
const LINES_MAX: usize = 8;

pub struct Site {
    pub id: SiteId,
    pub shape: Rc<Shape>,
    /// Of the extended protocol: the statement that is executed; else the text of the first look-up, and where
    /// its values stand in it.
    pub statement: Option<Rc<Statement>>,
    pub text: Box<[u8]>,
    pub literals: Box<[Value]>,
    /// Under way alone.
    alone: Cell<u32>,
    /// The mean time of one alone, in µs.
    alone_us: Cell<u32>,
    /// Times that one met another under way.
    met: Cell<u32>,
    /// Slots whose values were seen to differ, one bit each, and the values seen first.
    varied: Cell<u32>,
    first: RefCell<Vec<Box<[u8]>>>,
    lines: RefCell<Vec<Rc<Line>>>,
    /// Where is counted what became of its look-ups.
    pub counts: Arc<Entry>,
    /// Which sets of varying values were compared, under which schema; and how many fetches until the next time.
    proved: RefCell<Vec<(u32, u64)>>,
    until_check: Cell<u32>,
    /// Result formats that were met, and their numbers.
    formats: RefCell<VecDeque<(Box<[u8]>, u32)>>,
    /// Who waits for the last one alone to land.
    waiting: RefCell<Vec<Waker>>,
}

impl Site {
    pub fn new(lookup: &Lookup, input: &[u8], values: &Values, counts: Arc<Entry>) -> Self {
        let (start, end) = lookup.text;
        let literal = |value: &&Value| matches!(value.kind, ValueKind::Integer | ValueKind::String);
        let move_to_text =
            |value: &Value| Value { start: value.start - start, end: value.end - start, ..*value };
        let first = values.each.iter().map(|value| value.bytes(input).unwrap_or_default().into());
        Site {
            id: lookup.site,
            shape: lookup.shape.clone(),
            statement: lookup.statement.clone(),
            text: input[start as usize..end as usize].into(),
            literals: values.each.iter().filter(literal).map(move_to_text).collect(),
            alone: Cell::new(0),
            alone_us: Cell::new(0),
            met: Cell::new(0),
            varied: Cell::new(0),
            first: RefCell::new(first.collect()),
            lines: RefCell::default(),
            counts,
            proved: RefCell::default(),
            until_check: Cell::new(UNCHECKED),
            formats: RefCell::default(),
            waiting: RefCell::default(),
        }
    }

    /// The text of one of its look-ups.
    pub fn sample(&self) -> &[u8] {
        match &self.statement {
            Some(statement) if self.literals.is_empty() => &statement.text,
            _ => &self.text,
        }
    }

    /// Compares values with those seen first.
    pub fn note_values(&self, input: &[u8], values: &Values) {
        let mut varied = self.varied.get();
        for (at, (value, first)) in values.each.iter().zip(self.first.borrow().iter()).enumerate() {
            if value.bytes(input).unwrap_or_default() != &**first {
                varied |= 1 << at;
            }
        }
        self.varied.set(varied);
    }

    /// Writes a look-up as it came, so that it can be asked on any server.
    pub fn write_alone(&self, request: &[u8], out: &mut Vec<u8>) {
        let (Some(statement), Some(bind)) = (&self.statement, lookup::bind_of(request)) else {
            return out.extend_from_slice(request);
        };
        // A text with values in it differs from one look-up to the next.
        let text = lookup::text_of(request).unwrap_or(&statement.text);
        reply::parse(out, b"", text, &statement.types);
        reply::bind_head(out, b"", b"", bind.rest.len());
        out.extend_from_slice(bind.rest);
        out.extend_from_slice(&reply::DESCRIBE_PORTAL);
        out.extend_from_slice(&reply::EXECUTE_ALL);
        out.extend_from_slice(&reply::SYNC);
    }

    /// A number for result formats, the same for the same ones.
    pub fn formats_number(&self, formats: &[u8]) -> u32 {
        let mut known = self.formats.borrow_mut();
        if let Some((_, number)) = known.iter().find(|(own, _)| **own == *formats) {
            return *number;
        }
        let number = known.back().map_or(0, |(_, last)| last + 1);
        if known.len() >= FORMATS_MAX {
            known.pop_front();
        }
        known.push_back((formats.into(), number));
        number
    }

    /// Whether a fetch may serve without a comparison.
    pub fn is_proved(&self, varying: u32, epoch: u64) -> bool {
        self.until_check.get() > 0 && self.proved.borrow().contains(&(varying, epoch))
    }

    /// A fetch goes unseen.
    pub fn note_fetch(&self) {
        self.until_check.set(self.until_check.get().saturating_sub(1));
    }

    /// A fetch brought what a look-up got alone.
    pub fn prove(&self, varying: u32, epoch: u64) {
        let mut proved = self.proved.borrow_mut();
        proved.retain(|known| known.1 == epoch && known.0 != varying);
        proved.truncate(LINES_MAX);
        proved.push((varying, epoch));
        self.until_check.set(UNCHECKED);
    }

    /// One met another that is under way. True: that happens often enough to look closer.
    pub fn meet(&self) -> bool {
        let met = self.met.get();
        if met < MEETINGS {
            self.met.set(met + 1);
        }
        met >= MEETINGS
    }

    pub fn alone(&self) -> u32 {
        self.alone.get()
    }

    /// One more goes alone.
    pub fn lead(self: &Rc<Self>, clock: &Rc<Clock>) -> Lead {
        self.alone.set(self.alone.get() + 1);
        Lead { site: self.clone(), clock: clock.clone(), since_us: clock.us() }
    }

    /// How long one takes alone, in µs; 0: nobody knows.
    pub fn alone_us(&self) -> u64 {
        self.alone_us.get().into()
    }

    pub fn wake_when_landed(&self, waker: &Waker) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }

    /// The line of look-ups with this key, by clients with this baggage. `None`: there are too many kinds of them.
    pub fn line(self: &Rc<Self>, kind: &Kind<'_>, baggage: &Rc<Baggage>) -> Option<(Rc<Line>, bool)> {
        let mut lines = self.lines.borrow_mut();
        if let Some(line) = lines.iter().find(|line| line.is_for(kind.key, baggage)) {
            return Some((line.clone(), false));
        }
        if lines.len() >= LINES_MAX {
            lines.retain(|line| !line.is_idle());
        }
        if lines.len() >= LINES_MAX {
            return None;
        }
        let line = Rc::new(Line::new(self.clone(), kind, baggage.clone()));
        lines.push(line.clone());
        Some((line, true))
    }

    pub fn lines(&self) -> std::cell::Ref<'_, Vec<Rc<Line>>> {
        self.lines.borrow()
    }

    /// A look-up of this site waits for its flight, or is on it.
    pub fn is_busy(&self) -> bool {
        self.lines.borrow().iter().any(|line| !line.is_idle())
    }

    /// Which slots differ from one look-up to the next. The first is lifted in any case, so that equal look-ups can
    /// share a row.
    pub fn varying(&self) -> u32 {
        self.varied.get().max(1)
    }

    /// Writes what look-ups have to have in common to leave together: which slots vary, the formats, the widths of
    /// numbers, and the values that do not vary.
    pub fn key(&self, input: &[u8], values: &Values, key: &mut Vec<u8>) {
        let varying = self.varying();
        key.clear();
        key.extend_from_slice(&varying.to_be_bytes());
        key.extend_from_slice(&values.parameters);
        key.extend_from_slice(&values.formats);
        for (at, value) in values.each.iter().enumerate() {
            if varying & 1 << at == 0 {
                push_value(*value, input, key);
            } else if value.kind == ValueKind::Integer {
                key.push(width(value.bytes(input).unwrap_or_default()));
            }
        }
    }
}

/// What the look-ups of a line have in common.
pub struct Kind<'a> {
    pub key: &'a [u8],
    pub varying: u32,
    pub values: &'a Values,
}

/// How wide a whole number in a text is to PostgreSQL: `int4`, `int8`, or `numeric`, told by 4, 8 and 16.
fn width(digits: &[u8]) -> u8 {
    match str::from_utf8(digits).ok().and_then(|digits| digits.parse::<i64>().ok()) {
        Some(number) if i32::try_from(number).is_ok() => 4,
        Some(_) => 8,
        None => 16,
    }
}

/// A look-up that is under way alone; others of its site wait for it.
pub struct Lead {
    site: Rc<Site>,
    clock: Rc<Clock>,
    since_us: u64,
}

impl Drop for Lead {
    fn drop(&mut self) {
        let site = &self.site;
        let took = u32::try_from(self.clock.us().saturating_sub(self.since_us)).unwrap_or(u32::MAX);
        let mean = site.alone_us.get();
        // A moving mean over about eight.
        site.alone_us.set(if mean == 0 { took } else { mean - mean / 8 + took / 8 });
        site.alone.set(site.alone.get() - 1);
        if site.alone.get() == 0 {
            site.waiting.borrow_mut().drain(..).for_each(Waker::wake);
        }
    }
}
