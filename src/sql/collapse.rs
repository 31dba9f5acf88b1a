//! Where texts of different build are one shape: lists of values of any length, rows of VALUES, and
//! comparisons with the value on the left. Each is done only where the tokens around leave no doubt. Pure.

use super::canonical::{Canonical, is_name};
use super::keyword::{CONDITION, ENDS, Key, RESERVED, TYPE};
use super::token::{Kind, Token};

/// The rows of one VALUES while they are written. A row is tried with the numbers of the row before; if it
/// looks the same then, it is dropped, otherwise it is written again with numbers of its own.
pub struct Rows {
    depth: u32,
    /// The token that opens the current row, and where the row starts in the output.
    pub open: usize,
    pub start: usize,
    /// The row is on trial.
    tried: bool,
    /// Where to cut if the row is dropped: in the output, and its holes.
    cut: usize,
    holes: usize,
    /// The row before: where it stands in the output, the number before its first hole, and of its last.
    kept: (usize, usize),
    base: u16,
    reached: u16,
}

impl Canonical<'_> {
    pub fn begin_rows(&mut self, open: usize) {
        self.rows = Some(Rows {
            depth: self.depth,
            open,
            start: 0,
            tried: false,
            cut: 0,
            holes: 0,
            kept: (0, 0),
            base: self.number,
            reached: 0,
        });
    }

    /// Called behind each closing parenthesis; returns the token to go on with.
    pub fn row_end(&mut self, at: usize) -> usize {
        let Some(rows) = &mut self.rows else {
            return at + 1;
        };
        if rows.depth != self.depth {
            return at + 1;
        }
        if !rows.tried {
            (rows.kept, rows.reached) = ((rows.start, self.out.length()), self.number);
        } else {
            let bytes = self.out.text();
            let same = bytes[rows.kept.0..rows.kept.1] == bytes[rows.start..];
            self.out.truncate(rows.cut);
            self.number = rows.reached;
            if !same {
                self.out.holes.truncate(rows.holes);
                (rows.base, rows.tried) = (rows.reached, false);
                let open = rows.open;
                self.put(open - 1);
                return open;
            }
        }
        let kind = |at: usize| self.tokens.get(at).map(|token| token.kind);
        if (kind(at + 1), kind(at + 2)) != (Some(Kind::Comma), Some(Kind::Open)) {
            self.rows = None;
            return at + 1;
        }
        (rows.open, rows.tried, self.number) = (at + 2, true, rows.base);
        (rows.cut, rows.holes) = (self.out.length(), self.out.holes.len());
        self.put(at + 1);
        at + 2
    }

    /// Writes the list that opens at `open` with one value for all, and returns the token behind it. `None`: it
    /// has something else than values, and nothing has been written.
    pub fn list(&mut self, open: usize) -> Option<usize> {
        if !self.is_list(open) {
            return None;
        }
        let before = (self.out.length(), self.out.holes.len(), self.number, self.last);
        self.put(open);
        let (base, start) = (self.number, self.out.length());
        let (mut at, mut first) = (open + 1, None);
        loop {
            let end = self.value_end(at)?;
            let written = self.out.length();
            (self.number, self.last) = (base, Kind::Open as u8);
            (at..end).for_each(|at| self.put(at));
            let first_end = *first.get_or_insert(self.out.length());
            if written > start {
                let bytes = self.out.text();
                let same = bytes[start..first_end] == bytes[written..];
                self.out.truncate(written);
                if !same {
                    self.out.truncate(before.0);
                    self.out.holes.truncate(before.1);
                    (self.number, self.last) = (before.2, before.3);
                    return None;
                }
            }
            at = end + 1;
            if self.tokens[end].kind != Kind::Comma {
                self.put(end);
                return Some(at);
            }
        }
    }

    /// Whether there are at least two elements, and each is one value.
    fn is_list(&self, open: usize) -> bool {
        let (mut at, mut count) = (open + 1, 1);
        let close = if self.tokens[open].kind == Kind::Open { Kind::Close } else { Kind::CloseBracket };
        while let Some(end) = self.value_end(at) {
            match self.tokens.get(end).map(|token| token.kind) {
                Some(Kind::Comma) => (at, count) = (end + 1, count + 1),
                Some(kind) => return kind == close && count > 1,
                None => return false,
            }
        }
        false
    }

    /// The token behind one value and its casts.
    fn value_end(&self, at: usize) -> Option<usize> {
        let token = self.tokens.get(at)?;
        match token.kind {
            Kind::String | Kind::Bits | Kind::Integer | Kind::Number | Kind::Parameter => {
                Some(self.casts_end(at + 1))
            }
            Kind::Word if self.is_constant(at) => Some(self.casts_end(at + 1)),
            Kind::Word if is_type(token) && self.tokens.get(at + 1)?.kind == Kind::String => {
                Some(self.casts_end(at + 2))
            }
            _ => None,
        }
    }

    /// The token behind `::type`, any number of times. Stops in front of what is no such thing.
    fn casts_end(&self, mut at: usize) -> usize {
        while let Some(end) = self.cast_end(at) {
            at = end;
        }
        at
    }

    fn cast_end(&self, at: usize) -> Option<usize> {
        let kind = |at: usize| self.tokens.get(at).map(|token| token.kind);
        let key = |at: usize| self.tokens.get(at).map(|token| token.key);
        if kind(at) != Some(Kind::Cast) || !self.tokens.get(at + 1).is_some_and(is_type) {
            return None;
        }
        let mut at = at + 2;
        while kind(at) == Some(Kind::Dot) && self.tokens.get(at + 1).is_some_and(is_name) {
            at += 2;
        }
        // DOUBLE PRECISION, CHARACTER VARYING.
        if matches!(key(at), Some(Key::Precision | Key::Varying)) {
            at += 1;
        }
        if kind(at) == Some(Kind::Open) && kind(at + 1) == Some(Kind::Integer) {
            let more = kind(at + 2) == Some(Kind::Comma) && kind(at + 3) == Some(Kind::Integer);
            at += if more { 4 } else { 2 };
            if kind(at) != Some(Kind::Close) {
                return None;
            }
            at += 1;
        }
        if key(at) == Some(Key::With) && key(at + 1) == Some(Key::Time) && key(at + 2) == Some(Key::Zone) {
            at += 3;
        }
        while kind(at) == Some(Kind::OpenBracket) {
            let size = usize::from(kind(at + 1) == Some(Kind::Integer));
            if kind(at + 1 + size) != Some(Kind::CloseBracket) {
                break;
            }
            at += 2 + size;
        }
        Some(at)
    }

    /// `$1 = x` is written as `x = $1` where the value starts a condition and the column ends it, so that no
    /// other operator competes for either. Returns the token behind it.
    pub fn turn(&mut self, at: usize) -> Option<usize> {
        let before = self.tokens.get(at.checked_sub(1)?)?;
        let starts = before.kind == Kind::Open || before.has(CONDITION);
        if !starts || self.deep || self.doubtful & 1 != 0 || (before.key == Key::And && self.bounds) {
            return None;
        }
        let operator = self.casts_end(at + 1);
        let mirrored: &[u8] = match self.tokens.get(operator)?.text(self.text) {
            [b'='] => b"=",
            [b'<', b'>'] | [b'!', b'='] => b"<>",
            [b'<'] => b">",
            [b'>'] => b"<",
            [b'<', b'='] => b">=",
            [b'>', b'='] => b"<=",
            _ => return None,
        };
        let column = operator + 1;
        let end = self.column_end(column)?;
        let ends = |next: &Token| matches!(next.kind, Kind::Close | Kind::Semicolon) || next.has(ENDS);
        if !self.tokens.get(end).is_none_or(ends) {
            return None;
        }
        (column..end).for_each(|at| self.put(at));
        self.put_operator(mirrored);
        (at..operator).for_each(|at| self.put(at));
        Some(end)
    }

    /// The token behind a column with its table and schema.
    fn column_end(&self, at: usize) -> Option<usize> {
        let first = self.tokens.get(at)?;
        if !is_name(first) || first.has(RESERVED) {
            return None;
        }
        let kind = |at: usize| self.tokens.get(at).map(|token| token.kind);
        let mut at = at + 1;
        while kind(at) == Some(Kind::Dot) && self.tokens.get(at + 1).is_some_and(is_name) {
            at += 2;
        }
        Some(at)
    }
}

fn is_type(token: &Token) -> bool {
    is_name(token) && (!token.has(RESERVED) || token.has(TYPE))
}
