//! Finds the queries of a statement, what their FROM names, and where WHERE and ON begin and end. Pure. What it
//! does not understand it leaves out, or gives up the whole statement.

use super::expression::{Reader, is_quoted};
use super::names::{Packed, pack_all, pack_at, pack_bytes};
use super::{Clause, DEPTH_MAX, Filter, Node, Scope, Source, Span};
use crate::sql::token::{Kind, Token};

/// Words at which a FROM, WHERE or ON is over.
const ENDS: [Packed; 13] = pack_all([
    "where",
    "group",
    "having",
    "window",
    "union",
    "intersect",
    "except",
    "order",
    "limit",
    "offset",
    "fetch",
    "for",
    "returning",
]);

/// Words that continue a FROM.
const JOINS: [Packed; 9] =
    pack_all(["join", "inner", "left", "right", "full", "cross", "natural", "on", "using"]);

/// Reads all queries of a statement. `None`: it is left alone.
pub fn read(
    text: &str,
    tokens: &[Token],
    (closes, words): (&mut Vec<u32>, &mut Vec<Packed>),
    filter: &mut Filter,
) -> Option<()> {
    pair(tokens, closes)?;
    find_words(text.as_bytes(), tokens, words);
    let mut clauses = Clauses { reader: Reader { text, tokens, closes, words, filter }, depth: 0 };
    clauses.start()?;
    clauses.frame(0, tokens.len())?;
    clauses.reader.note_page();
    Some(())
}

/// For each opening bracket, the token that closes it.
fn pair(tokens: &[Token], closes: &mut Vec<u32>) -> Option<()> {
    closes.clear();
    closes.resize(tokens.len(), 0);
    let (mut open, mut depth) = ([0_usize; DEPTH_MAX as usize], 0);
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open | Kind::OpenBracket => {
                *open.get_mut(depth)? = at;
                depth += 1;
            }
            Kind::Close | Kind::CloseBracket => {
                depth = depth.checked_sub(1)?;
                closes[open[depth]] = at as u32;
            }
            Kind::Semicolon | Kind::Other => return None,
            _ => {}
        }
    }
    (depth == 0).then_some(())
}

/// Behind a point or AS any word is a name; but AS MATERIALIZED is none.
fn find_words(text: &[u8], tokens: &[Token], words: &mut Vec<Packed>) {
    const AS: Packed = pack_bytes(b"as");
    const BEHIND_AS: [Packed; 2] = pack_all(["materialized", "not"]);
    words.clear();
    let (mut behind_point, mut behind_as) = (false, false);
    for token in tokens {
        let mut word = 0;
        if token.kind == Kind::Word && !behind_point && !is_quoted(text, token) {
            word = pack_at(text, token.start as usize, token.end as usize);
            if behind_as && !BEHIND_AS.contains(&word) {
                word = 0;
            }
        }
        words.push(word);
        (behind_point, behind_as) = (token.kind == Kind::Dot, word == AS);
    }
}

struct Clauses<'a> {
    reader: Reader<'a>,
    depth: u32,
}

impl Clauses<'_> {
    #[inline(always)]
    fn is(&self, at: usize, word: &str) -> bool {
        self.reader.is(at, word)
    }

    #[inline(always)]
    fn is_one_of(&self, at: usize, words: &[Packed]) -> bool {
        self.reader.is_one_of(at, words)
    }

    fn kind(&self, at: usize) -> Option<Kind> {
        self.reader.tokens.get(at).map(|token| token.kind)
    }

    /// The token behind this one and what it brackets.
    fn next(&self, at: usize) -> usize {
        match self.kind(at) {
            Some(Kind::Open | Kind::OpenBracket) => self.reader.closes[at] as usize + 1,
            _ => at + 1,
        }
    }

    /// Only statements whose rows a condition decides on.
    fn start(&mut self) -> Option<()> {
        let count = self.reader.tokens.len();
        let mut first = 0;
        while self.kind(first) == Some(Kind::Open) {
            first += 1;
        }
        self.is_one_of(first, &const { pack_all(["select", "with", "update", "delete"]) }).then_some(())?;
        for at in 0..count {
            let token = self.reader.tokens[at];
            match token.kind {
                Kind::Parameter => self.parameter(token),
                Kind::Word
                    if self
                        .is_one_of(at, &const { pack_all(["insert", "merge", "into", "tablesample"]) }) =>
                {
                    // `insert(…)` is a function.
                    let verb = self.kind(at + 1) != Some(Kind::Open);
                    verb.then_some(()).map_or(Some(()), |()| None)?;
                }
                Kind::Word if self.is(at, "current") && self.is(at + 1, "of") => return None,
                Kind::Word if self.is(at, "as") => self.with_name(at),
                _ => {}
            }
        }
        Some(())
    }

    fn parameter(&mut self, token: Token) {
        let number = self.reader.parameter(token);
        self.reader.filter.parameters = self.reader.filter.parameters.max(number);
    }

    /// `name AS (`, `name (…) AS MATERIALIZED (`: a WITH query, or at worst a window.
    fn with_name(&mut self, at: usize) {
        let mut open = at + 1;
        while self.is_one_of(open, &const { pack_all(["not", "materialized"]) }) {
            open += 1;
        }
        let Some(mut name) = at.checked_sub(1).filter(|_| self.kind(open) == Some(Kind::Open)) else {
            return;
        };
        if self.kind(name) == Some(Kind::Close) {
            let opens = |open: &usize| self.reader.closes[*open] as usize == name;
            let Some(open) = (0..name).rev().find(opens) else {
                return;
            };
            name = open.saturating_sub(1);
        }
        let span = self.reader.name(name);
        self.reader.filter.ctes.extend(span);
    }

    /// The queries between two tokens, those in brackets first.
    fn frame(&mut self, from: usize, to: usize) -> Option<()> {
        self.depth += 1;
        let mut at = from;
        while at < to {
            if let Some(Kind::Open | Kind::OpenBracket) = self.kind(at) {
                self.frame(at + 1, self.reader.closes[at] as usize)?;
            }
            at = self.next(at);
        }
        at = from;
        while at < to {
            let first = at == from || self.kind(at - 1) == Some(Kind::Close);
            at = if self.is(at, "select") {
                self.select(at + 1, to)?
            } else if self.is(at, "update") && first {
                self.update(at + 1, to)?
            } else if self.is(at, "delete") && first {
                self.delete(at + 1, to)?
            } else {
                self.next(at)
            };
        }
        self.depth -= 1;
        Some(())
    }

    fn select(&mut self, mut at: usize, to: usize) -> Option<usize> {
        while at < to && !self.is_one_of(at, &ENDS) {
            let distinct_from = at > 1
                && self.is(at - 1, "distinct")
                && self.is_one_of(at - 2, &const { pack_all(["is", "not"]) });
            if self.is(at, "from") && !distinct_from {
                let mut scope = self.open();
                let end = self.from(at + 1, to, &mut scope)?;
                return self.filter(end, to, scope);
            }
            at = self.next(at);
        }
        Some(at)
    }

    fn update(&mut self, at: usize, to: usize) -> Option<usize> {
        let mut scope = self.open();
        let mut at = self.item(at, to, &mut scope)?;
        while at < to && !self.is_one_of(at, &const { pack_all(["where", "from", "returning"]) }) {
            let distinct = self.is(at, "distinct") && self.is(at + 1, "from");
            at = self.next(at + usize::from(distinct));
        }
        if self.is(at, "from") {
            at = self.from(at + 1, to, &mut scope)?;
        }
        self.filter(at, to, scope)
    }

    fn delete(&mut self, at: usize, to: usize) -> Option<usize> {
        if !self.is(at, "from") {
            return Some(at);
        }
        let mut scope = self.open();
        let mut at = self.item(at + 1, to, &mut scope)?;
        if self.is(at, "using") {
            at = self.from(at + 1, to, &mut scope)?;
        }
        self.filter(at, to, scope)
    }

    fn open(&self) -> Scope {
        let sources = self.reader.filter.sources.len() as u32;
        let clauses = self.reader.filter.clauses.len() as u32;
        Scope { sources: (sources, sources), clauses: (clauses, clauses), ..Scope::default() }
    }

    /// Reads the WHERE, if there is one at `at`, and closes the scope.
    fn filter(&mut self, at: usize, to: usize, mut scope: Scope) -> Option<usize> {
        let mut end = at;
        if self.is(at, "where") {
            end = self.end(at + 1, to, &[]);
            self.clause(at + 1, end, false)?;
        } else if at > 0 {
            let place = self.reader.outer(at - 1).end;
            let root = self.reader.filter.add(Node::Other, Span::default());
            let span = Span { start: place, end: place };
            let clause = Clause { root, span, loose: false, on: false, missing: true };
            self.reader.filter.clauses.push(clause);
        }
        scope.sources.1 = self.reader.filter.sources.len() as u32;
        scope.clauses.1 = self.reader.filter.clauses.len() as u32;
        self.reader.filter.scopes.push(scope);
        Some(end)
    }

    /// The token at which a clause is over.
    fn end(&self, mut at: usize, to: usize, more: &[Packed]) -> usize {
        while at < to && !self.is_one_of(at, &ENDS) {
            // `left(…)` is a function.
            let call = self.kind(at + 1) == Some(Kind::Open);
            if !more.is_empty() && (self.kind(at) == Some(Kind::Comma) || (self.is_one_of(at, more) && !call))
            {
                break;
            }
            at = self.next(at);
        }
        at
    }

    fn clause(&mut self, from: usize, to: usize, on: bool) -> Option<()> {
        if from >= to {
            return None;
        }
        self.calls(from, to);
        let (root, loose) = self.reader.condition(from, to);
        let span = Span { start: self.reader.outer(from).start, end: self.reader.outer(to - 1).end };
        self.reader.filter.clauses.push(Clause { root, span, loose, on, missing: false });
        Some(())
    }

    fn calls(&mut self, from: usize, to: usize) {
        for at in from..to {
            if let Some(call) = self.reader.call(at) {
                self.reader.filter.calls.push(call);
            }
        }
    }

    // --- FROM ---

    /// Reads what FROM names, with its joins; returns the token behind.
    fn from(&mut self, mut at: usize, to: usize, scope: &mut Scope) -> Option<usize> {
        at = self.item(at, to, scope)?;
        while at < to && !self.is_one_of(at, &ENDS) {
            if self.kind(at) == Some(Kind::Comma) {
                at = self.item(at + 1, to, scope)?;
            } else if self.is(at, "on") {
                let end = self.end(at + 1, to, &JOINS);
                self.clause(at + 1, end, true)?;
                at = end;
            } else if self.is(at, "using") {
                scope.merged = true;
                at = self.next(at + 1);
                if self.is(at, "as") {
                    at += 2;
                }
            } else {
                at = self.join(at, to, scope)?;
            }
        }
        Some(at)
    }

    fn join(&mut self, mut at: usize, to: usize, scope: &mut Scope) -> Option<usize> {
        while !self.is(at, "join") {
            match () {
                () if self.is(at, "natural") => scope.merged = true,
                () if self.is_one_of(at, &const { pack_all(["left", "right", "full", "outer"]) }) => {
                    scope.outer_join = true;
                    scope.right_join |= self.is_one_of(at, &const { pack_all(["right", "full"]) });
                }
                () if self.is_one_of(at, &const { pack_all(["inner", "cross"]) }) => {}
                () => return None,
            }
            at += 1;
        }
        self.item(at + 1, to, scope)
    }

    /// One table, query or function, with its alias.
    fn item(&mut self, mut at: usize, to: usize, scope: &mut Scope) -> Option<usize> {
        let mut source = Source { schema: None, table: None, alias: None };
        while self.is_one_of(at, &const { pack_all(["only", "lateral"]) }) {
            at += 1;
        }
        if self.kind(at) == Some(Kind::Open) {
            // A query, or joins in brackets, whose tables are not looked at.
            scope.merged |=
                !self.is_one_of(at + 1, &const { pack_all(["select", "with", "values", "table"]) });
            at = self.next(at);
        } else if self.is(at, "rows") && self.is(at + 1, "from") {
            at = self.next(at + 2);
        } else {
            source.table = Some(self.reader.name(at)?);
            at += 1;
            while self.kind(at) == Some(Kind::Dot) {
                source.schema = source.table.replace(self.reader.name(at + 1)?);
                at += 2;
            }
            if self.kind(at) == Some(Kind::Open) {
                source.table = None;
                at = self.next(at);
            } else if self.kind(at) == Some(Kind::Operator) {
                at += 1;
            }
        }
        if self.is(at, "with") && self.is(at + 1, "ordinality") {
            at += 2;
        }
        let marked = self.is(at, "as");
        at += usize::from(marked);
        let goes_on = self.is_one_of(at, &ENDS)
            || self.is_one_of(at, &JOINS)
            || self.is_one_of(at, &const { pack_all(["set", "from", "returning"]) });
        if at < to && (marked || !goes_on) {
            if let Some(alias) = self.reader.name(at) {
                source.alias = Some(alias);
                at += 1;
            }
            if self.kind(at) == Some(Kind::Open) {
                // The columns have other names here.
                source.table = None;
                scope.merged = true;
                at = self.next(at);
            }
        }
        self.reader.filter.sources.push(source);
        Some(at)
    }
}
