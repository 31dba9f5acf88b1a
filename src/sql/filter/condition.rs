//! Reads a condition from its tokens: ANDs and ORs, and in them comparisons of what `expression` understands. All
//! else is `Other`, as a whole. Pure.

use super::expression::Reader;
use super::names::{Packed, pack, pack_all};
use super::{Id, Node, Relation};
use crate::sql::token::Kind;

impl Reader<'_> {
    fn other(&mut self, from: usize, to: usize) -> Id {
        let span = self.between(from, to);
        self.filter.add(Node::Other, span)
    }

    /// The condition between two tokens, and whether an OR holds it together.
    pub fn condition(&mut self, from: usize, to: usize) -> (Id, bool) {
        let Some(parts) = self.split(from, to, pack("or")) else {
            return (self.other(from, to), true);
        };
        if parts.is_empty() {
            return (self.conjunction(from, to), false);
        }
        let arms: Vec<Id> = parts.iter().map(|&(from, to)| self.conjunction(from, to)).collect();
        let (list, span) = (self.filter.add_list(&arms), self.between(from, to));
        (self.filter.add(Node::Or(list), span), true)
    }

    fn conjunction(&mut self, from: usize, to: usize) -> Id {
        match self.split(from, to, pack("and")) {
            None => self.other(from, to),
            Some(parts) if parts.is_empty() => self.term(from, to),
            Some(parts) => {
                let terms: Vec<Id> = parts.iter().map(|&(from, to)| self.term(from, to)).collect();
                let (list, span) = (self.filter.add_list(&terms), self.between(from, to));
                self.filter.add(Node::And(list), span)
            }
        }
    }

    /// The parts between the ANDs or ORs outside of brackets; none of them: there is only one. `None`: something is missing between two of them.
    fn split(&self, from: usize, to: usize, word: Packed) -> Option<Vec<(usize, usize)>> {
        let (mut parts, mut at, mut start, mut cases, mut bounds) = (Vec::new(), from, from, 0, false);
        while at < to {
            match () {
                () if self.is(at, "case") => cases += 1,
                () if self.is(at, "end") => cases -= 1,
                () if cases == 0 && self.is(at, "between") => bounds = true,
                () if cases == 0 && bounds && self.is(at, "and") => bounds = false,
                () if cases == 0 && self.words[at] == word => {
                    parts.push((start, at));
                    start = at + 1;
                }
                () => {}
            }
            at = self.next(at);
        }
        if !parts.is_empty() {
            parts.push((start, to));
        }
        let whole = cases == 0 && parts.iter().all(|(from, to)| from < to);
        whole.then_some(parts)
    }

    /// What stands between two ANDs.
    fn term(&mut self, from: usize, to: usize) -> Id {
        let bracketed = self.kind(from) == Some(Kind::Open) && self.closes[from] as usize == to - 1;
        const QUERIES: [Packed; 4] = pack_all(["select", "with", "values", "table"]);
        let query = self.is_one_of(from + 1, &QUERIES);
        if bracketed && !query && from + 1 < to - 1 {
            return self.condition(from + 1, to - 1).0;
        }
        match self.comparison(from, to) {
            Some(id) => id,
            None => self.other(from, to),
        }
    }

    fn comparison(&mut self, from: usize, to: usize) -> Option<Id> {
        let (left, at) = self.sum(from, to)?;
        let (span, rest) = (self.between(from, to), at + 1);
        let all = |end: usize| (end == to).then_some(());
        if self.is(at, "in") && self.kind(rest) == Some(Kind::Open) {
            let list = self.items(rest)?;
            all(self.next(rest))?;
            return Some(self.filter.add(Node::In { left, list }, span));
        }
        if self.is(at, "between") {
            let (low, and) = self.sum(rest, to)?;
            self.is(and, "and").then_some(())?;
            let (high, end) = self.sum(and + 1, to)?;
            all(end)?;
            let low = self.filter.add(Node::Compare { op: Relation::GreaterEqual, left, right: low }, span);
            let high = self.filter.add(Node::Compare { op: Relation::LessEqual, left, right: high }, span);
            let list = self.filter.add_list(&[low, high]);
            return Some(self.filter.add(Node::And(list), span));
        }
        let operator = self.tokens.get(at).filter(|token| token.kind == Kind::Operator && at < to)?;
        let op = match operator.text(self.text.as_bytes()) {
            b"=" => Relation::Equal,
            b"<" => Relation::Less,
            b"<=" => Relation::LessEqual,
            b">" => Relation::Greater,
            b">=" => Relation::GreaterEqual,
            text @ (b"@>" | b"<@") => {
                let (right, end) = self.sum(rest, to)?;
                all(end)?;
                let (range, element) = if text == b"@>" { (left, right) } else { (right, left) };
                return Some(self.filter.add(Node::Contains { range, element }, span));
            }
            _ => return None,
        };
        if op == Relation::Equal && (self.is(rest, "any") || self.is(rest, "some")) {
            // = ANY (ARRAY[…])
            let inner = rest + 2;
            let array = self.kind(rest + 1) == Some(Kind::Open) && self.is(inner, "array");
            (array && self.kind(inner + 1) == Some(Kind::OpenBracket)).then_some(())?;
            (self.next(inner + 1) == self.closes[rest + 1] as usize).then_some(())?;
            let list = self.items(inner + 1)?;
            all(self.next(rest + 1))?;
            return Some(self.filter.add(Node::In { left, list }, span));
        }
        let (right, end) = self.sum(rest, to)?;
        all(end)?;
        Some(self.filter.add(Node::Compare { op, left, right }, span))
    }
}
