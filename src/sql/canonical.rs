//! Writes a statement's tokens in the one way in which all statements of its shape are written: `select a.b, c
//! from t where id = $1 and x in ($2)`. Which values leave a hole is decided here, from neighbouring tokens
//! alone; lists and turned comparisons are in `collapse`. Pure.

use super::collapse::Rows;
use super::keyword::{ENDS, Key, RESERVED, SIZED, SPACED, TYPE};
use super::output::{self, Output};
use super::shape::{Hole, HoleKind};
use super::token::{Kind, Token, expects_value, is_query};

/// One statement while it is written.
pub struct Canonical<'a> {
    pub text: &'a [u8],
    pub tokens: &'a [Token],
    pub out: &'a mut Output,
    /// What was written last, see `output`; a hole counts as a parameter.
    pub last: u8,
    /// Parameters may stand in this statement.
    query: bool,
    /// Of the last hole.
    pub number: u16,
    pub depth: u32,
    /// A bit for each of the innermost parentheses, the lowest for the innermost: in a list of ORDER BY or GROUP BY;
    ordered: u64,
    /// between BETWEEN and its AND;
    between: u64,
    /// a CASE stands between them, so that their AND is not certain.
    pub doubtful: u64,
    /// The last AND was that of a BETWEEN.
    pub bounds: bool,
    /// There were more parentheses than bits.
    pub deep: bool,
    pub rows: Option<Rows>,
}

impl<'a> Canonical<'a> {
    pub fn new(text: &'a [u8], tokens: &'a [Token], out: &'a mut Output) -> Self {
        Canonical {
            text,
            tokens,
            out,
            last: output::START,
            query: is_query(tokens),
            number: 0,
            depth: 0,
            ordered: 0,
            between: 0,
            doubtful: 0,
            bounds: false,
            deep: false,
            rows: None,
        }
    }

    pub fn write(mut self) {
        let mut at = 0;
        while at < self.tokens.len() {
            // Most tokens are names, commas and points, which mean nothing here.
            let (count, last) = self.out.plain(self.text, &self.tokens[at..], self.last);
            (at, self.last) = (at + count, last);
            at = match self.tokens.get(at.wrapping_sub(1)) {
                Some(word) if count > 0 && word.key != Key::None => self.after_word(at - 1),
                _ if at < self.tokens.len() => self.step(at),
                _ => break,
            };
        }
    }

    /// Writes from the token `at` on, and returns the token to go on with.
    fn step(&mut self, at: usize) -> usize {
        match self.tokens[at].kind {
            Kind::Open => {
                self.put_text(at);
                self.opened(at);
            }
            Kind::Close => {
                self.put_text(at);
                self.closed();
                return self.row_end(at);
            }
            Kind::Integer if self.is_ordinal(at) => self.put_text(at),
            Kind::String | Kind::Bits | Kind::Integer | Kind::Number | Kind::Parameter => {
                if let Some(next) = self.turn(at) {
                    return next;
                }
                self.put(at);
            }
            Kind::Word => {
                self.put(at);
                return self.after_word(at);
            }
            _ => self.put(at),
        }
        at + 1
    }

    fn after_word(&mut self, at: usize) -> usize {
        let next = |kind| self.tokens.get(at + 1).is_some_and(|token| token.kind == kind);
        match self.tokens[at].key {
            Key::In if next(Kind::Open) => return self.list(at + 1).unwrap_or(at + 1),
            Key::Array if next(Kind::OpenBracket) => return self.list(at + 1).unwrap_or(at + 1),
            Key::Values if self.rows.is_none() && next(Kind::Open) => self.begin_rows(at + 1),
            Key::By if at > 0 && matches!(self.tokens[at - 1].key, Key::Order | Key::Group) => {
                self.ordered |= 1;
            }
            Key::Order | Key::Group | Key::Clause => self.ordered &= !1,
            Key::Between => self.between |= 1,
            Key::Case => self.doubtful |= self.between & 1,
            Key::And => {
                self.bounds = self.between & 1 != 0;
                self.between &= !1;
            }
            _ => {}
        }
        at + 1
    }

    fn opened(&mut self, at: usize) {
        self.depth += 1;
        self.deep |= self.depth > 60;
        (self.ordered, self.between, self.doubtful) =
            (self.ordered << 1, self.between << 1, self.doubtful << 1);
        if let Some(rows) = &mut self.rows
            && rows.open == at
        {
            rows.start = self.out.length() - 1;
        }
    }

    fn closed(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        (self.ordered, self.between, self.doubtful) =
            (self.ordered >> 1, self.between >> 1, self.doubtful >> 1);
    }

    // --- what a token is ---

    fn before(&self, at: usize, distance: usize) -> Option<&Token> {
        self.tokens.get(at.checked_sub(distance)?)
    }

    /// A column's place in ORDER BY or GROUP BY, which is no value.
    fn is_ordinal(&self, at: usize) -> bool {
        let starts =
            self.before(at, 1).is_some_and(|token| token.kind == Kind::Comma || token.key == Key::By);
        let alone = match self.tokens.get(at + 1) {
            None => true,
            Some(next) => matches!(next.kind, Kind::Comma | Kind::Close | Kind::Semicolon | Kind::Word),
        };
        self.ordered & 1 != 0 && starts && alone && self.digits(at)
    }

    fn digits(&self, at: usize) -> bool {
        self.tokens[at].text(self.text).iter().all(u8::is_ascii_digit)
    }

    /// A length, precision or scale: the first or second number behind the name of a type.
    fn is_modifier(&self, at: usize) -> bool {
        let kind = |distance| self.before(at, distance).map(|token| token.kind);
        match kind(1) {
            Some(Kind::Open) => self.is_sized(at, 2),
            Some(Kind::Comma) if kind(3) == Some(Kind::Open) => {
                matches!(kind(2), Some(Kind::Integer | Kind::Word)) && self.is_sized(at, 4)
            }
            Some(Kind::OpenBracket) => self.before(at, 2).is_some_and(|name| {
                name.kind == Kind::Word
                    && (name.has(TYPE) || self.before(at, 3).is_some_and(|token| token.kind == Kind::Cast))
            }),
            _ => false,
        }
    }

    /// Whether the word `distance` tokens before is a type and no function.
    fn is_sized(&self, at: usize, distance: usize) -> bool {
        let Some(name) = self.before(at, distance).filter(|name| is_name(name)) else {
            return false;
        };
        if name.kind == Kind::Word && name.has(SIZED) {
            return true;
        }
        let mut distance = distance + 1;
        while self.before(at, distance).is_some_and(|token| token.kind == Kind::Dot)
            && self.before(at, distance + 1).is_some_and(is_name)
            && distance < 8
        {
            distance += 2;
        }
        let leads = |token: &Token| token.kind == Kind::Cast || token.key == Key::As;
        !name.has(RESERVED) && self.before(at, distance).is_some_and(leads)
    }

    /// NULL, TRUE and FALSE where a value stands alone.
    pub fn is_constant(&self, at: usize) -> bool {
        if !matches!(self.tokens[at].key, Key::Null | Key::Boolean) {
            return false;
        }
        let starts = self.before(at, 1).is_some_and(|token| {
            matches!(token.kind, Kind::Operator | Kind::Open | Kind::OpenBracket | Kind::Comma)
        });
        let ends = |next: &Token| match next.kind {
            Kind::Comma | Kind::Close | Kind::CloseBracket | Kind::Semicolon | Kind::Cast => true,
            _ => next.has(ENDS),
        };
        starts && self.tokens.get(at + 1).is_none_or(ends)
    }

    /// A literal stands where no parameter can: behind the name of a type, or in a command that takes none.
    fn keeps_quotes(&self, at: usize) -> bool {
        let key = |distance| self.before(at, distance).map(|token| token.key);
        let at_time_zone = || [key(1), key(2), key(3)] == [Some(Key::Zone), Some(Key::Time), Some(Key::At)];
        !self.query || !(expects_value(self.before(at, 1)) || at_time_zone())
    }

    // --- writing ---

    /// Writes one token as its neighbours want it.
    pub fn put(&mut self, at: usize) {
        let token = &self.tokens[at];
        match token.kind {
            Kind::Word if self.is_constant(at) => {
                let kind = if token.key == Key::Null { HoleKind::Null } else { HoleKind::Boolean };
                self.put_hole(at, kind, false);
            }
            Kind::String => self.put_hole(at, HoleKind::String, self.keeps_quotes(at)),
            Kind::Bits => self.put_hole(at, HoleKind::Bits, self.keeps_quotes(at)),
            Kind::Integer if self.is_modifier(at) => self.put_text(at),
            Kind::Integer => self.put_hole(at, HoleKind::Integer, false),
            Kind::Number => self.put_hole(at, HoleKind::Number, false),
            Kind::Parameter => {
                let digits = token.text(self.text).iter().skip(1);
                let number = digits.fold(0_u16, |number, &digit| {
                    number.saturating_mul(10).saturating_add(u16::from(digit - b'0'))
                });
                self.put_hole(at, HoleKind::Parameter(number), false);
            }
            _ => self.put_text(at),
        }
    }

    #[inline]
    fn put_text(&mut self, at: usize) {
        let token = &self.tokens[at];
        let text = token.text(self.text);
        let (start, end) = (token.start as usize, token.end as usize);
        let spaced = token.kind == Kind::Word && token.has(SPACED);
        let star = text == b"*";
        let before =
            std::mem::replace(&mut self.last, if spaced { output::SPACED } else { token.kind as u8 });
        if output::is_apart(before, token.kind, star) {
            self.out.push(b' ');
        }
        if token.kind == Kind::Word {
            return self.out.lower(self.text, start, end);
        }
        if let [byte] = text {
            return self.out.push(*byte);
        }
        match token.kind {
            Kind::Operator if text == b"!=" => self.out.copy(b"<>", 0, 2),
            Kind::Quoted if text[0] != b'"' => put_unicode_name(self.out, text),
            Kind::Integer => {
                // Between sign and digits there may be white space; digits may be those of `0x1f` and `1_000`.
                let is_digit = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
                let digits = text.iter().rev().take_while(is_digit).count();
                if !text[0].is_ascii_digit() {
                    self.out.push(text[0]);
                }
                self.out.copy(self.text, end - digits, end);
            }
            _ => self.out.copy(self.text, start, end),
        }
    }

    #[inline]
    fn put_hole(&mut self, at: usize, kind: HoleKind, quotes: bool) {
        let token = self.tokens[at];
        let before = std::mem::replace(&mut self.last, Kind::Parameter as u8);
        if output::is_apart(before, Kind::Parameter, false) {
            self.out.push(b' ');
        }
        self.number = self.number.saturating_add(1);
        if quotes {
            self.out.push(b'\'');
        }
        self.out.push(b'$');
        self.out.decimal(self.number);
        if quotes {
            self.out.push(b'\'');
        }
        self.out.holes.push(Hole { start: token.start, end: token.end, kind, number: self.number });
    }

    /// Writes an operator that is not in the text.
    pub fn put_operator(&mut self, operator: &[u8]) {
        self.out.push(b' ');
        self.out.copy(operator, 0, operator.len());
        self.last = Kind::Operator as u8;
    }
}

pub fn is_name(token: &Token) -> bool {
    matches!(token.kind, Kind::Word | Kind::Quoted)
}

/// `u&"…"`, and its escape character in one way of writing.
fn put_unicode_name(out: &mut Output, text: &[u8]) {
    let end = super::scan::name(text, 2).unwrap_or(text.len());
    out.copy(b"u&", 0, 2);
    out.copy(text, 2, end);
    if end < text.len() {
        out.copy(b" uescape ", 0, 9);
        out.copy(text, text.len() - 3, text.len());
    }
}
