//! Reads expressions whose every token is understood. Precedence is PostgreSQL's (gram.y). Pure.

use super::names::{Packed, is_no_call, pack, pack_all, pack_bytes};
use super::{Arithmetic, Call, Filter, Func, Id, List, Node, Span, Type};
use crate::sql::token::{Kind, Token};

/// Operators in a row; the tree is as deep, and is read by recursion.
const CHAIN_MAX: usize = 32;

/// What is read from, and where to.
pub struct Reader<'a> {
    pub text: &'a str,
    pub tokens: &'a [Token],
    /// For each opening bracket, the token that closes it.
    pub closes: &'a [u32],
    /// For each token the unquoted word that it is; 0 where it is none, or a name behind a point or AS.
    pub words: &'a [Packed],
    pub filter: &'a mut Filter,
}

impl Reader<'_> {
    /// Whether an unquoted word stands here, and in a place where it is itself.
    #[inline(always)]
    pub fn is(&self, at: usize, word: &str) -> bool {
        self.words.get(at) == Some(&pack(word))
    }

    #[inline(always)]
    pub fn is_one_of(&self, at: usize, words: &[Packed]) -> bool {
        self.words.get(at).is_some_and(|word| *word != 0 && words.contains(word))
    }

    /// The lexer leaves out quotes that a name does not need.
    fn is_quoted(&self, at: usize) -> bool {
        is_quoted(self.text.as_bytes(), &self.tokens[at])
    }

    /// A token with its quotes.
    pub fn outer(&self, at: usize) -> Span {
        let token = &self.tokens[at];
        let quote = u32::from(self.is_quoted(at));
        Span { start: token.start - quote, end: token.end + quote }
    }

    /// A name, quoted or not; keywords are not told apart.
    pub fn name(&self, at: usize) -> Option<Span> {
        let token = self.tokens.get(at)?;
        matches!(token.kind, Kind::Word | Kind::Quoted).then_some(Span { start: token.start, end: token.end })
    }

    pub fn parameter(&self, token: Token) -> u16 {
        let digits = token.text(self.text.as_bytes()).iter().skip(1);
        digits.fold(0_u16, |number, &digit| {
            number.saturating_mul(10).saturating_add(u16::from(digit.wrapping_sub(b'0')))
        })
    }

    /// The call that begins here.
    pub(super) fn call(&self, at: usize) -> Option<Call> {
        let name = self.name(at).filter(|_| self.kind(at + 1) == Some(Kind::Open))?;
        let before = at.checked_sub(1).and_then(|before| self.kind(before));
        // A type may have brackets too.
        if before == Some(Kind::Cast) || is_no_call(self.words[at]) {
            return None;
        }
        let schema = if before == Some(Kind::Dot) { self.name(at.saturating_sub(2)) } else { None };
        Some(Call { schema, name })
    }

    pub(super) fn kind(&self, at: usize) -> Option<Kind> {
        self.tokens.get(at).map(|token| token.kind)
    }

    pub(super) fn next(&self, at: usize) -> usize {
        match self.kind(at) {
            Some(Kind::Open | Kind::OpenBracket) => self.closes[at] as usize + 1,
            _ => at + 1,
        }
    }

    pub(super) fn between(&self, from: usize, to: usize) -> Span {
        Span { start: self.outer(from).start, end: self.outer(to - 1).end }
    }

    // --- expressions: each returns the node and the token behind ---

    fn binary(&mut self, op: Arithmetic, left: Id, right: Id) -> Id {
        let span = Span { start: self.filter.span(left).start, end: self.filter.span(right).end };
        self.filter.add(Node::Binary { op, left, right }, span)
    }

    fn operator(&self, at: usize, to: usize) -> &[u8] {
        let token = self.tokens.get(at).filter(|token| token.kind == Kind::Operator && at < to);
        token.map_or(b"", |token| token.text(self.text.as_bytes()))
    }

    pub(super) fn sum(&mut self, at: usize, to: usize) -> Option<(Id, usize)> {
        let (mut left, mut at) = self.product(at, to)?;
        for _ in 0..CHAIN_MAX {
            let op = match self.operator(at, to) {
                b"+" => Arithmetic::Add,
                b"-" => Arithmetic::Subtract,
                _ => return Some((left, at)),
            };
            let (right, end) = self.product(at + 1, to)?;
            (left, at) = (self.binary(op, left, right), end);
        }
        None
    }

    fn product(&mut self, at: usize, to: usize) -> Option<(Id, usize)> {
        let (mut left, mut at) = self.at_zone(at, to)?;
        for _ in 0..CHAIN_MAX {
            let op = match self.operator(at, to) {
                b"*" => Arithmetic::Multiply,
                b"/" => Arithmetic::Divide,
                _ => return Some((left, at)),
            };
            let (right, end) = self.at_zone(at + 1, to)?;
            (left, at) = (self.binary(op, left, right), end);
        }
        None
    }

    fn at_zone(&mut self, at: usize, to: usize) -> Option<(Id, usize)> {
        let ((mut inner, mut at), mut chain) = (self.cast(at, to)?, 0);
        while at < to && self.is(at, "at") && self.is(at + 1, "time") && self.is(at + 2, "zone") {
            let (zone, end) = self.cast(at + 3, to)?;
            let span = Span { start: self.filter.span(inner).start, end: self.filter.span(zone).end };
            (inner, at) = (self.filter.add(Node::AtZone { inner, zone }, span), end);
            chain += 1;
        }
        (chain < CHAIN_MAX).then_some((inner, at))
    }

    fn cast(&mut self, from: usize, to: usize) -> Option<(Id, usize)> {
        let ((mut inner, mut at), mut chain) = (self.primary(from, to)?, 0);
        while at < to && self.kind(at) == Some(Kind::Cast) {
            let (of, end) = self.data_type(at + 1)?;
            let span = self.between(from, end);
            (inner, at) = (self.filter.add(Node::Cast { inner, to: of }, span), end);
            chain += 1;
        }
        (chain < CHAIN_MAX).then_some((inner, at))
    }

    fn primary(&mut self, at: usize, to: usize) -> Option<(Id, usize)> {
        let token = *self.tokens.get(at).filter(|_| at < to)?;
        let span = self.outer(at);
        let node = match token.kind {
            Kind::String => Node::String,
            Kind::Integer | Kind::Number => Node::Number,
            Kind::Parameter => Node::Parameter(self.parameter(token)),
            Kind::Open => return self.bracketed(at),
            Kind::Word | Kind::Quoted => return self.word(at, to),
            _ => return None,
        };
        Some((self.filter.add(node, span), at + 1))
    }

    /// `(a)` or a row `(a, b)`.
    fn bracketed(&mut self, at: usize) -> Option<(Id, usize)> {
        let list = self.items(at)?;
        let (end, items) = (self.next(at), self.filter.list(list));
        if let [only] = items {
            return Some((*only, end));
        }
        let span = self.between(at, end);
        Some((self.filter.add(Node::Row(list), span), end))
    }

    /// The expressions between brackets; `at` is the opening one.
    pub(super) fn items(&mut self, at: usize) -> Option<List> {
        let (to, mut at, mut found) = (self.closes[at] as usize, at + 1, Vec::with_capacity(4));
        while at < to {
            let (id, end) = self.sum(at, to)?;
            found.push(id);
            if end < to && (self.kind(end) != Some(Kind::Comma) || end + 1 == to) {
                return None;
            }
            at = end + 1;
        }
        Some(self.filter.add_list(&found))
    }

    fn word(&mut self, at: usize, to: usize) -> Option<(Id, usize)> {
        if self.is(at, "null") {
            let span = self.outer(at);
            return Some((self.filter.add(Node::Null, span), at + 1));
        }
        const CLOCKS: [Packed; 3] = pack_all(["current_timestamp", "current_date", "localtimestamp"]);
        if self.is_one_of(at, &CLOCKS) {
            return self.clock(at);
        }
        let open = self.kind(at + 1) == Some(Kind::Open);
        if open && self.is(at, "cast") {
            return self.cast_call(at);
        }
        if open && self.is(at, "extract") {
            return self.extract(at);
        }
        if open && self.is(at, "row") {
            return self.bracketed(at + 1);
        }
        const NONE: [Packed; 8] =
            pack_all(["case", "array", "exists", "not", "select", "any", "all", "some"]);
        if self.is_one_of(at, &NONE) {
            return None;
        }
        if let Some(typed) = self.typed(at) {
            return Some(typed);
        }
        self.path(at, to)
    }

    /// `current_date`, `current_timestamp(0)`.
    fn clock(&mut self, at: usize) -> Option<(Id, usize)> {
        let func = Func::named(self.tokens[at].text(self.text.as_bytes()));
        // A long word that only begins like one of them.
        (func != Func::Other).then_some(())?;
        let precise = self.kind(at + 1) == Some(Kind::Open);
        let end = if precise { self.next(at + 1) } else { at + 1 };
        let span = self.between(at, end);
        Some((self.filter.add(Node::Call { func, args: List::default() }, span), end))
    }

    /// `cast(x as type)`.
    fn cast_call(&mut self, at: usize) -> Option<(Id, usize)> {
        let close = self.closes[at + 1] as usize;
        let (inner, as_) = self.sum(at + 2, close)?;
        self.is(as_, "as").then_some(())?;
        let (of, end) = self.data_type(as_ + 1)?;
        (end == close).then_some(())?;
        let span = self.between(at, close + 1);
        Some((self.filter.add(Node::Cast { inner, to: of }, span), close + 1))
    }

    /// `extract(field from x)`.
    fn extract(&mut self, at: usize) -> Option<(Id, usize)> {
        let close = self.closes[at + 1] as usize;
        self.is(at + 3, "from").then_some(())?;
        let token = self.tokens[at + 2];
        matches!(token.kind, Kind::Word | Kind::String).then_some(())?;
        let field = Span { start: token.start, end: token.end };
        let (from, end) = self.sum(at + 4, close)?;
        (end == close).then_some(())?;
        let span = self.between(at, close + 1);
        Some((self.filter.add(Node::Extract { field, from }, span), close + 1))
    }

    /// `date '…'`, `interval '…' day`.
    fn typed(&mut self, at: usize) -> Option<(Id, usize)> {
        let (of, literal) = self.data_type(at)?;
        let token = self.tokens.get(literal).filter(|token| token.kind == Kind::String)?;
        let value = Span { start: token.start, end: token.end };
        let (mut end, mut unit) = (literal + 1, None);
        const UNITS: [Packed; 6] = pack_all(["second", "minute", "hour", "day", "month", "year"]);
        if of == Type::Interval && self.is_one_of(end, &UNITS) {
            unit = self.name(end);
            end += 1;
            // `day to second`
            (!self.is(end, "to") && self.kind(end) != Some(Kind::Open)).then_some(())?;
        }
        let span = self.between(at, end);
        Some((self.filter.add(Node::Typed { of, value, unit }, span), end))
    }

    /// `a.b.c`, or a call.
    fn path(&mut self, at: usize, to: usize) -> Option<(Id, usize)> {
        let (mut names, mut end) = ([None; 3], at);
        for slot in &mut names {
            *slot = Some(self.name(end)?);
            end += 1;
            if end >= to || self.kind(end) != Some(Kind::Dot) {
                break;
            }
            end += 1;
        }
        if end < to && matches!(self.kind(end), Some(Kind::Dot | Kind::OpenBracket)) {
            return None;
        }
        if end < to && self.kind(end) == Some(Kind::Open) {
            let name = match names {
                [Some(name), None, None] => name,
                [Some(schema), Some(name), None] if schema.is_name(self.text, "pg_catalog") => name,
                _ => return None,
            };
            let func = Func::named(name.of(self.text).as_bytes());
            let args = self.items(end)?;
            let behind = self.next(end);
            // OVER, FILTER and WITHIN make something else of it, and are left for the caller to stumble over.
            let span = self.between(at, behind);
            return Some((self.filter.add(Node::Call { func, args }, span), behind));
        }
        let (schema, qualifier, name) = match names {
            [Some(name), None, None] => (None, None, name),
            [qualifier, Some(name), None] => (None, qualifier, name),
            [schema, qualifier, Some(name)] => (schema, qualifier, name),
            _ => return None,
        };
        let span = self.between(at, end);
        Some((self.filter.add(Node::Column { schema, qualifier, name }, span), end))
    }

    fn data_type(&self, at: usize) -> Option<(Type, usize)> {
        let mut at = at;
        if self.is(at, "pg_catalog") && self.kind(at + 1) == Some(Kind::Dot) {
            at += 2;
        }
        const TYPES: [(Packed, Type); 19] = [
            (pack("date"), Type::Date),
            (pack("timestamptz"), Type::Timestamptz),
            (pack("timestamp"), Type::Timestamp),
            (pack("interval"), Type::Interval),
            (pack("text"), Type::Text),
            (pack("varchar"), Type::Text),
            (pack("int"), Type::Integer),
            (pack("integer"), Type::Integer),
            (pack("bigint"), Type::Integer),
            (pack("smallint"), Type::Integer),
            (pack("int2"), Type::Integer),
            (pack("int4"), Type::Integer),
            (pack("int8"), Type::Integer),
            (pack("numeric"), Type::Number),
            (pack("float8"), Type::Number),
            (pack("float"), Type::Number),
            (pack("tstzrange"), Type::Range),
            (pack("tsrange"), Type::Range),
            (pack("daterange"), Type::Range),
        ];
        let token = self.tokens.get(at).filter(|token| token.kind == Kind::Word)?;
        let written = pack_bytes(token.text(self.text.as_bytes()));
        let (_, mut of) = *TYPES.iter().find(|(name, _)| *name == written)?;
        let mut end = at + 1;
        if of == Type::Timestamp
            && (self.is(end, "with") || self.is(end, "without"))
            && self.is(end + 1, "time")
            && self.is(end + 2, "zone")
        {
            of = if self.is(end, "with") { Type::Timestamptz } else { of };
            end += 3;
        }
        // A precision would round, and an array is something else.
        let plain = !matches!(self.kind(end), Some(Kind::Open | Kind::OpenBracket | Kind::Dot));
        plain.then_some((of, end))
    }
}

/// Whether the quotes around a word were left out.
pub fn is_quoted(text: &[u8], token: &Token) -> bool {
    let before = (token.start as usize).checked_sub(1).and_then(|at| text.get(at));
    token.kind == Kind::Word && before == Some(&b'"') && text.get(token.end as usize) == Some(&b'"')
}
