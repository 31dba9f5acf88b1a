//! Conditions: which range of a key they imply, and what of it PostgreSQL sees by itself when it plans. Pure. A
//! condition is true only for keys within its range; for which of those it is true is not asked here.

use super::Kind;
use super::calendar::Micros;
use super::fold::{Const, Terms};
use super::invert::is_time;
use super::range::Range;
use super::table::Routed;
use crate::sql::filter::{Arithmetic, Func, Id, List, Node, Relation, Source, Span, Type};

/// A partition key as one query names it.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    pub table: &'a Routed,
    pub source: Source,
    /// No other source can be meant by the bare name.
    pub bare: bool,
}

impl Key<'_> {
    pub fn kind(&self) -> Kind {
        self.table.kind
    }
}

/// What a condition says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Implied {
    pub range: Range,
    /// The part that PostgreSQL prunes partitions by when it plans.
    pub seen: Range,
}

impl Implied {
    pub const NOTHING: Implied = Implied { range: Range::ALL, seen: Range::ALL };

    pub fn and(self, other: Implied) -> Implied {
        Implied { range: self.range.and(other.range), seen: self.seen.and(other.seen) }
    }

    fn hull(self, other: Implied) -> Implied {
        Implied { range: self.range.hull(other.range), seen: self.seen.hull(other.seen) }
    }

    fn unseen(range: Range) -> Implied {
        Implied { range, seen: Range::ALL }
    }
}

/// Where the conditions stand that imply something PostgreSQL does not see.
pub type Said = Vec<Span>;

impl Terms<'_> {
    pub(super) fn is_key(&self, node: Node, key: &Key<'_>) -> bool {
        let bare = matches!(node, Node::Column { qualifier: None, .. });
        self.is_column(node, key, &key.table.column) && (key.bare || !bare)
    }

    /// A column of the key's table, if a name without a qualifier means none of another.
    pub(super) fn is_column(&self, node: Node, key: &Key<'_>, column: &str) -> bool {
        let Node::Column { schema, qualifier, name } = node else {
            return false;
        };
        if !name.is_name(self.text, column) {
            return false;
        }
        match (qualifier, key.source.alias) {
            (None, _) => true,
            (Some(qualifier), Some(alias)) => schema.is_none() && self.is_same_name(qualifier, alias),
            (Some(qualifier), None) => {
                qualifier.is_name(self.text, &key.table.name)
                    && schema.is_none_or(|schema| schema.is_name(self.text, &key.table.schema))
            }
        }
    }

    fn is_same_name(&self, one: Span, other: Span) -> bool {
        let (one, other) = (one.of(self.text), other.of(self.text));
        let quoted = |name: &str| name.starts_with('"');
        match quoted(one) || quoted(other) {
            true => one == other,
            false => one.eq_ignore_ascii_case(other),
        }
    }

    /// Whether the key stands somewhere in an expression.
    pub(super) fn has_key(&self, id: Id, key: &Key<'_>) -> bool {
        self.count(id, &|node| self.is_key(node, key)) > 0
    }

    /// How many nodes of an expression are such.
    fn count(&self, id: Id, is: &impl Fn(Node) -> bool) -> usize {
        let node = self.filter.node(id);
        let all = |list: List| self.filter.list(list).iter().map(|&id| self.count(id, is)).sum();
        usize::from(is(node))
            + match node {
                Node::Cast { inner, .. } | Node::Extract { from: inner, .. } => self.count(inner, is),
                Node::Call { args: list, .. } | Node::Row(list) => all(list),
                Node::AtZone { inner: left, zone: right } | Node::Binary { left, right, .. } => {
                    self.count(left, is) + self.count(right, is)
                }
                _ => 0,
            }
    }

    fn columns(&self, id: Id) -> usize {
        self.count(id, &|node| matches!(node, Node::Column { .. } | Node::Other))
    }

    /// The key is the only column in the expression, and stands there once.
    pub(super) fn is_of_key(&self, id: Id, key: &Key<'_>) -> bool {
        self.has_key(id, key) && self.columns(id) == 1
    }

    // --- conditions ---

    /// What a condition implies; where it stands is added to `said`.
    pub(super) fn imply(&self, id: Id, key: &Key<'_>, said: &mut Said) -> Implied {
        let before = said.len();
        let found = match self.filter.node(id) {
            Node::And(list) => return self.all_of(list, key, said),
            Node::Or(list) => {
                let arms = self.filter.list(list).iter().map(|&arm| self.imply(arm, key, said));
                let hull = arms.reduce(Implied::hull).unwrap_or(Implied::NOTHING);
                said.truncate(before);
                hull
            }
            Node::Compare { op, left, right } => self.compare(op, left, right, key),
            Node::In { left, list } => self.one_of(left, list, key),
            Node::Contains { range, element } => {
                self.contains(range, element, key).unwrap_or(Implied::NOTHING)
            }
            _ => Implied::NOTHING,
        };
        if found.range != Range::ALL && found.range != found.seen {
            let span = self.filter.span(id);
            if !said.contains(&span) {
                said.push(span);
            }
        }
        found
    }

    fn all_of(&self, list: List, key: &Key<'_>, said: &mut Said) -> Implied {
        let terms = self.filter.list(list);
        let each = terms.iter().map(|&term| self.imply(term, key, said));
        let all = each.reduce(Implied::and).unwrap_or(Implied::NOTHING);
        match self.date_in_parts(terms, key, said) {
            Some(range) => all.and(Implied::unseen(range)),
            None => all,
        }
    }

    fn compare(&self, op: Relation, left: Id, right: Id, key: &Key<'_>) -> Implied {
        if let (Node::Row(lefts), Node::Row(rights)) = (self.filter.node(left), self.filter.node(right)) {
            return self.rows(op, lefts, rights, key).unwrap_or(Implied::NOTHING);
        }
        let (op, with_key, other) = match () {
            () if self.is_of_key(left, key) && self.columns(right) == 0 => (op, left, right),
            () if self.is_of_key(right, key) && self.columns(left) == 0 => (op.flipped(), right, left),
            () => return Implied::NOTHING,
        };
        match self.against(op, with_key, other, key) {
            Some(range) if self.is_seen(with_key, other, key) => Implied { range, seen: range },
            Some(range) => Implied::unseen(range),
            None => Implied::NOTHING,
        }
    }

    /// The keys for which `with_key op other` may be true.
    fn against(&self, op: Relation, with_key: Id, other: Id, key: &Key<'_>) -> Option<Range> {
        let kind = self.kind_of(with_key, key)?;
        match (kind, self.fold(other, Some(kind))?) {
            (Kind::Number, Const::Number(number)) => {
                let (from, to) = match op {
                    Relation::Equal => (number, number),
                    Relation::Less | Relation::LessEqual => (f64::NEG_INFINITY, number),
                    Relation::Greater | Relation::GreaterEqual => (number, f64::INFINITY),
                };
                self.invert_number(with_key, from, to, key)
            }
            (Kind::Text, Const::Text(text)) if op == Relation::Equal => self.invert_text(with_key, text, key),
            (Kind::Interval, Const::Interval(by)) => {
                self.invert(with_key, within(op, Range::at(by.compared()?)), key)
            }
            (Kind::Date | Kind::Timestamp | Kind::Timestamptz, Const::Time(of, at)) => {
                // Compared is as the greater of the two kinds.
                let wide = kind.max(of);
                let target = within(op, self.convert(of, wide, at)?);
                self.invert(with_key, self.unconverted(kind, wide, target)?, key)
            }
            _ => None,
        }
    }

    /// Whether PostgreSQL prunes by this comparison when it plans: the bare key and a constant of its own type. A
    /// parameter is one, as it plans anew for each execution where there are many partitions.
    fn is_seen(&self, with_key: Id, other: Id, key: &Key<'_>) -> bool {
        let same = |of: Type| match (Self::kind_of_type(of), key.kind()) {
            (Some(of), kind) if of == kind => true,
            // Without a time zone nothing depends on the session.
            (Some(Kind::Date | Kind::Timestamp), Kind::Date | Kind::Timestamp) => true,
            _ => false,
        };
        let constant = match self.filter.node(other) {
            Node::String => true,
            Node::Typed { of, .. } => same(of),
            Node::Parameter(number) => self.is_own_type(number, key.kind()),
            Node::Cast { inner, to } => {
                let own = match self.filter.node(inner) {
                    Node::String => true,
                    Node::Typed { of, .. } => of == to,
                    Node::Parameter(number) => {
                        Self::kind_of_type(to).is_some_and(|kind| self.is_own_type(number, kind))
                    }
                    _ => false,
                };
                own && is_time(to) && same(to)
            }
            _ => false,
        };
        constant && self.is_key(self.filter.node(with_key), key)
    }

    fn is_own_type(&self, number: u16, kind: Kind) -> bool {
        let at = usize::from(number).wrapping_sub(1);
        match self.values.types().get(at).copied().unwrap_or(0) {
            0 => true,
            1082 => kind == Kind::Date,
            1114 => kind == Kind::Timestamp,
            1184 => kind == Kind::Timestamptz,
            _ => false,
        }
    }

    /// Rows compare by their first columns, unless those are equal.
    fn rows(&self, op: Relation, lefts: List, rights: List, key: &Key<'_>) -> Option<Implied> {
        let (lefts, rights) = (self.filter.list(lefts), self.filter.list(rights));
        (lefts.len() == rights.len()).then_some(())?;
        let (left, right) = (*lefts.first()?, *rights.first()?);
        if op == Relation::Equal {
            let all = lefts.iter().zip(rights).map(|(&left, &right)| self.compare(op, left, right, key));
            return all.reduce(Implied::and);
        }
        let op = match op {
            Relation::Less => Relation::LessEqual,
            Relation::Greater => Relation::GreaterEqual,
            op => op,
        };
        Some(Implied::unseen(self.compare(op, left, right, key).range))
    }

    fn one_of(&self, left: Id, list: List, key: &Key<'_>) -> Implied {
        let values = self.filter.list(list);
        let known = values.iter().filter(|&&value| self.filter.node(value) != Node::Null);
        let each = known.map(|&value| self.compare(Relation::Equal, left, value, key));
        each.reduce(Implied::hull).unwrap_or(Implied::NOTHING)
    }

    // --- ranges ---

    fn contains(&self, range: Id, element: Id, key: &Key<'_>) -> Option<Implied> {
        (self.is_of_key(element, key) && self.columns(range) == 0).then_some(())?;
        let kind = self.kind_of(element, key)?;
        let bounds = match self.filter.node(range) {
            Node::Call { func, args } => {
                let (Func::TstzRange | Func::TsRange | Func::DateRange) = func else {
                    return None;
                };
                let of = match func {
                    Func::TstzRange => Kind::Timestamptz,
                    Func::TsRange => Kind::Timestamp,
                    _ => Kind::Date,
                };
                let args = self.filter.list(args);
                let ([lower, upper] | [lower, upper, _]) = args else {
                    return None;
                };
                (of == kind).then_some(())?;
                // By default the upper end does not belong to the range.
                let upper = self.bound(*upper, kind)?.shifted(if args.len() == 2 { -1 } else { 0 });
                self.bound(*lower, kind)?.lo_of(upper)
            }
            Node::Typed { of: Type::Range, value, .. } => self.written_range(self.literal(value)?, kind)?,
            Node::Cast { inner, to: Type::Range } => {
                let Node::String = self.filter.node(inner) else {
                    return None;
                };
                self.written_range(self.literal(self.filter.span(inner))?, kind)?
            }
            _ => return None,
        };
        self.invert(element, bounds, key).map(Implied::unseen)
    }

    /// One bound of a range; NULL is none.
    fn bound(&self, id: Id, kind: Kind) -> Option<Range> {
        match self.fold(id, Some(kind))? {
            Const::Null => Some(Range::ALL),
            Const::Time(of, at) => self.convert(of, kind, at),
            _ => None,
        }
    }

    /// `[2024-01-01,2024-02-01)`
    fn written_range(&self, text: &str, kind: Kind) -> Option<Range> {
        let inner = text.strip_prefix(['[', '('])?.strip_suffix([']', ')'])?;
        let (lower, upper) = inner.split_once(',')?;
        let bound = |text: &str| {
            let text = text.trim_matches('"');
            if text.is_empty() {
                return Some(Range::ALL);
            }
            let iso = super::calendar::read(text)?;
            Some(match (kind, iso.offset_s) {
                (Kind::Timestamptz, Some(offset)) => Range::at(iso.at - offset * super::calendar::SECOND),
                (Kind::Timestamptz, None) => self.zone().moments(Range::at(iso.at)),
                // Of a date, the time of day is thrown away.
                (Kind::Date, _) => Range::at(super::calendar::Unit::Day.floor(iso.at)),
                _ => Range::at(iso.at),
            })
        };
        Some(bound(lower)?.lo_of(bound(upper)?))
    }

    /// Columns of two keys that must be equal.
    pub(super) fn is_pair(&self, id: Id, one: &Key<'_>, other: &Key<'_>) -> bool {
        let Node::Compare { op: Relation::Equal, left, right } = self.filter.node(id) else {
            return false;
        };
        let (left, right) = (self.filter.node(left), self.filter.node(right));
        (self.is_key(left, one) && self.is_key(right, other))
            || (self.is_key(left, other) && self.is_key(right, one))
    }

    /// The place of a key in a condition, as the user writes it.
    pub(super) fn place_of_key(&self, id: Id, key: &Key<'_>) -> Option<Span> {
        let node = self.filter.node(id);
        if self.is_key(node, key) {
            return Some(self.filter.span(id));
        }
        let first = |list: List| self.filter.list(list).iter().find_map(|&id| self.place_of_key(id, key));
        match node {
            Node::Cast { inner, .. } | Node::Extract { from: inner, .. } => self.place_of_key(inner, key),
            Node::Call { args: list, .. } | Node::Row(list) | Node::And(list) | Node::Or(list) => first(list),
            Node::In { left, list } => self.place_of_key(left, key).or_else(|| first(list)),
            Node::AtZone { inner: left, zone: right }
            | Node::Binary { op: Arithmetic::Add | Arithmetic::Subtract, left, right }
            | Node::Binary { left, right, .. }
            | Node::Compare { left, right, .. }
            | Node::Contains { range: left, element: right } => {
                self.place_of_key(left, key).or_else(|| self.place_of_key(right, key))
            }
            _ => None,
        }
    }
}

/// What stands in this relation to a value that lies somewhere in a range.
fn within(op: Relation, value: Range) -> Range {
    let before = |at: Micros| if at == Micros::MAX { at } else { at.saturating_sub(1) };
    let behind = |at: Micros| if at == Micros::MIN { at } else { at.saturating_add(1) };
    match op {
        Relation::Equal => value,
        Relation::Less => Range::until(before(value.hi)),
        Relation::LessEqual => Range::until(value.hi),
        Relation::Greater => Range::from(behind(value.lo)),
        Relation::GreaterEqual => Range::from(value.lo),
    }
}

impl Range {
    /// From this range's lower end to the other's upper one.
    fn lo_of(self, upper: Range) -> Range {
        Range::new(self.lo, upper.hi)
    }
}
