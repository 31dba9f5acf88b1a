//! What is known of look-ups that differ in nothing but their values, and how many are under way.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use super::line::{Line, push_value};
use crate::pool::baggage::Baggage;
use crate::pool::shape::Shape;
use crate::pool::statement::Statement;
use crate::session::lookup::{Lookup, Value, ValueKind, Values};

/// Look-ups that met others of their kind under way before it is worth to find out more about them.
const MEETINGS: u32 = 3;

/// Kinds of formats, constants and settings that look-ups of one site are asked with.
const LINES_MAX: usize = 8;

pub struct Site {
    pub shape: Rc<Shape>,
    /// Of the extended protocol: the statement that is executed; else the text of the first look-up, and where
    /// its values stand in it.
    pub statement: Option<Rc<Statement>>,
    pub text: Box<[u8]>,
    pub literals: Box<[Value]>,
    /// Under way alone.
    alone: Cell<u32>,
    /// Times that one met another under way.
    met: Cell<u32>,
    /// Slots whose values were seen to differ, one bit each, and the values seen first.
    pub varied: Cell<u32>,
    pub first: RefCell<Vec<Box<[u8]>>>,
    lines: RefCell<Vec<Rc<Line>>>,
    /// Who waits for the last one alone to land.
    waiting: RefCell<Vec<Waker>>,
}

impl Site {
    pub fn new(lookup: &Lookup, input: &[u8], values: &Values) -> Self {
        let (start, end) = lookup.text;
        let literal = |value: &&Value| matches!(value.kind, ValueKind::Integer | ValueKind::String);
        let move_to_text =
            |value: &Value| Value { start: value.start - start, end: value.end - start, ..*value };
        let first = values.each.iter().map(|value| value.bytes(input).unwrap_or_default().into());
        Site {
            shape: lookup.shape.clone(),
            statement: lookup.statement.clone(),
            text: input[start as usize..end as usize].into(),
            literals: values.each.iter().filter(literal).map(move_to_text).collect(),
            alone: Cell::new(0),
            met: Cell::new(0),
            varied: Cell::new(0),
            first: RefCell::new(first.collect()),
            lines: RefCell::default(),
            waiting: RefCell::default(),
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
    pub fn lead(self: &Rc<Self>) -> Lead {
        self.alone.set(self.alone.get() + 1);
        Lead(self.clone())
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
    pub input: &'a [u8],
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
pub struct Lead(Rc<Site>);

impl Drop for Lead {
    fn drop(&mut self) {
        let alone = self.0.alone.get() - 1;
        self.0.alone.set(alone);
        if alone == 0 {
            self.0.waiting.borrow_mut().drain(..).for_each(Waker::wake);
        }
    }
}
