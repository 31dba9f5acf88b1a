//! Adds the implied ranges to a statement: where each bound goes and how it is written. Pure.

use std::fmt;

use super::around::Around;
use super::calendar::{self, Micros, SECOND, Unit};
use super::fold::Terms;
use super::imply::{Implied, Key, Said};
use super::literal::is_writable;
use super::range::Range;
use super::table::{Routed, Router};
use super::{Kind, Moment, Values};
use crate::sql::edit::Splice;
use crate::sql::filter::{Clause, Filter, Id, List, Node, Scope, Scratch, Span};

/// Buffers that serve one statement after another.
#[derive(Default)]
pub struct Work {
    filter: Filter,
    scratch: Scratch,
    /// The last statement that was narrowed asks only some partitions for a page of so many rows.
    pub page_rows: Option<u64>,
}

/// Why a bound was added, for people. Holds parts of the statement's text, and so its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Schema and name.
    pub table: String,
    pub column: String,
    pub from: Option<String>,
    /// Not included.
    pub to: Option<String>,
    /// The conditions that imply it, as the user wrote them.
    pub because: Vec<String>,
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.table, self.column)?;
        self.from.iter().try_for_each(|from| write!(formatter, " from {from}"))?;
        self.to.iter().try_for_each(|to| write!(formatter, " to before {to}"))?;
        match self.because.is_empty() {
            true => Ok(()),
            false => write!(formatter, ", implied by {}", self.because.join(" and ")),
        }
    }
}

/// A range that is to be added for one key in one place.
#[derive(Debug, Clone)]
pub(super) struct Addition<'a> {
    pub scope: usize,
    pub source: usize,
    pub clause: Clause,
    /// The key as the user writes it.
    pub column: Span,
    pub kind: Kind,
    pub range: Range,
    /// Which ends PostgreSQL does not see by itself.
    pub lo: bool,
    pub hi: bool,
    pub said: Said,
    pub table: &'a Routed,
    /// One end is there for a page of so many rows, and nothing implies it.
    pub page_rows: Option<u64>,
    /// In place of both ends: everything but some partitions.
    pub around: Option<Around>,
}

impl Addition<'_> {
    /// The end of one part; the first is the range itself.
    pub fn end(&self, upper: bool, part: u8) -> Micros {
        match (self.around, part, upper) {
            (Some(around), 1, _) => around.below,
            (Some(around), 2, false) => around.from,
            (Some(around), 2, true) => around.to,
            (Some(around), 3, _) => around.above,
            (_, _, true) => self.range.hi,
            (_, _, false) => self.range.lo,
        }
    }
}

impl Router {
    /// What to put into a statement of the simple protocol. `None`: it is forwarded as it is.
    pub fn narrow(&self, text: &str, moment: &Moment<'_>, work: &mut Work) -> Option<Vec<Splice>> {
        work.page_rows = None;
        let additions = self.simple(text, moment, work)?;
        let page_rows = additions.iter().find_map(|addition| addition.page_rows);
        let splices = splices(text, &additions, |addition, upper, part, out| {
            literal(addition.kind, addition.end(upper, part), upper, out);
        });
        work.page_rows = page_rows;
        (!splices.is_empty()).then_some(splices)
    }

    /// Why that is put into it.
    pub fn reasons(&self, text: &str, moment: &Moment<'_>, work: &mut Work) -> Vec<Reason> {
        let additions = self.simple(text, moment, work).unwrap_or_default();
        additions.iter().map(|addition| reason(text, addition)).collect()
    }

    fn simple(&self, text: &str, moment: &Moment<'_>, work: &mut Work) -> Option<Vec<Addition<'_>>> {
        let Work { filter, scratch, .. } = work;
        let readable = filter.again(text, moment.standard_strings, scratch) && filter.parameters == 0;
        readable.then_some(())?;
        let terms = Terms { text, filter, values: Values::None, moment };
        let mut additions = self.additions(&terms)?;
        // Only ends that can be written as a literal.
        for addition in &mut additions {
            addition.lo &= is_writable(addition.range.lo);
            addition.hi &= is_writable(addition.range.hi);
        }
        additions.retain(|addition| addition.lo || addition.hi || addition.around.is_some());
        Some(additions)
    }

    /// All ranges that are worth adding. `None`: there is none.
    pub(super) fn additions<'a>(&'a self, terms: &Terms<'_>) -> Option<Vec<Addition<'a>>> {
        let (mut found, mut harmless) = (Vec::new(), None);
        for (at, scope) in terms.filter.scopes.iter().enumerate() {
            let keys = self.keys(terms, scope);
            if keys.is_empty() {
                continue;
            }
            let all = || terms.filter.calls.iter().all(|call| self.is_harmless(terms.text, call));
            if !*harmless.get_or_insert_with(all) {
                return None;
            }
            let clauses = terms.filter.clauses(scope);
            if scope.outer_join {
                // A condition on one side of an outer join says nothing of the rows that the other adds.
                let present = clauses.iter().filter(|clause| !clause.missing);
                present
                    .for_each(|clause| in_group(terms, at, std::slice::from_ref(clause), &keys, &mut found));
            } else {
                in_group(terms, at, clauses, &keys, &mut found);
            }
            self.around(terms, at, &keys, &mut found);
            self.reach(terms, at, &keys, &mut found);
        }
        (!found.is_empty()).then_some(found)
    }

    /// The routed tables among a query's sources.
    fn keys<'a>(&'a self, terms: &Terms<'_>, scope: &Scope) -> Vec<(usize, Key<'a>)> {
        let sources = terms.filter.sources(scope);
        let routed = |source| self.find(terms.text, source, &terms.filter.ctes, terms.moment.default_path);
        let mut keys: Vec<(usize, Key<'a>)> = Vec::new();
        for (at, source) in sources.iter().enumerate() {
            if let Some(table) = routed(source) {
                keys.push((at, Key { table, source: *source, bare: !scope.merged }));
            }
        }
        // Two with a column of the same name: the bare name would be ambiguous.
        for at in 0..keys.len() {
            let column = &keys[at].1.table.column;
            keys[at].1.bare &= keys.iter().filter(|(_, key)| key.table.column == *column).count() == 1;
        }
        keys
    }
}

/// Reads conditions that must all hold, and adds what they imply behind the last of them.
fn in_group<'a>(
    terms: &Terms<'_>,
    scope: usize,
    clauses: &[Clause],
    keys: &[(usize, Key<'a>)],
    found: &mut Vec<Addition<'a>>,
) {
    let Some(place) = clauses.last() else {
        return;
    };
    let mut implied: Vec<(Implied, Said)> = Vec::with_capacity(keys.len());
    for (_, key) in keys {
        let mut said = Said::new();
        let each = clauses.iter().map(|clause| terms.imply(clause.root, key, &mut said));
        let all = each.reduce(Implied::and).unwrap_or(Implied::NOTHING);
        implied.push((all, said));
    }
    if keys.len() > 1 {
        share(terms, clauses, keys, &mut implied);
    }
    for ((source, key), (implied, said)) in keys.iter().zip(implied) {
        let (range, seen) = (implied.range, implied.seen);
        let (lo, hi) = (range.lo > seen.lo, range.hi < seen.hi);
        let column = clauses.iter().find_map(|clause| terms.place_of_key(clause.root, key));
        let Some(column) = column.filter(|_| lo || hi) else {
            continue;
        };
        let (source, clause, kind) = (*source, *place, key.kind());
        found.push(Addition {
            scope,
            source,
            clause,
            column,
            kind,
            range,
            lo,
            hi,
            said,
            table: key.table,
            page_rows: None,
            around: None,
        });
    }
}

/// Keys that are equal have one range.
fn share(terms: &Terms<'_>, clauses: &[Clause], keys: &[(usize, Key<'_>)], implied: &mut [(Implied, Said)]) {
    for one in 0..keys.len() {
        for other in 0..keys.len() {
            let (from, to) = (&keys[one].1, &keys[other].1);
            if one == other || from.kind() != to.kind() {
                continue;
            }
            let pair = clauses.iter().find_map(|clause| pair(terms, clause.root, from, to));
            let Some(pair) = pair else {
                continue;
            };
            let range = implied[one].0.range;
            if implied[other].0.range.and(range) == implied[other].0.range {
                continue;
            }
            implied[other].0.range = implied[other].0.range.and(range);
            let because = [terms.filter.span(pair)].into_iter().chain(implied[one].1.clone());
            implied[other].1 = because.collect();
        }
    }
}

/// The condition that makes two keys equal, among those that must all hold.
fn pair(terms: &Terms<'_>, root: Id, one: &Key<'_>, other: &Key<'_>) -> Option<Id> {
    match terms.filter.node(root) {
        Node::And(list) => in_list(terms, list, one, other),
        Node::Compare { left, right, .. } => match (terms.filter.node(left), terms.filter.node(right)) {
            // Rows that are equal are so column by column; the bound needs only the keys.
            (Node::Row(lefts), Node::Row(rights)) => {
                let (lefts, rights) = (terms.filter.list(lefts), terms.filter.list(rights));
                let is = |(left, right): (&Id, &Id)| {
                    let (left, right) = (terms.filter.node(*left), terms.filter.node(*right));
                    (terms.is_key(left, one) && terms.is_key(right, other))
                        || (terms.is_key(left, other) && terms.is_key(right, one))
                };
                let equal = matches!(
                    terms.filter.node(root),
                    Node::Compare { op: crate::sql::filter::Relation::Equal, .. }
                );
                (equal && lefts.len() == rights.len() && lefts.iter().zip(rights).any(is)).then_some(root)
            }
            _ => terms.is_pair(root, one, other).then_some(root),
        },
        _ => None,
    }
}

fn in_list(terms: &Terms<'_>, list: List, one: &Key<'_>, other: &Key<'_>) -> Option<Id> {
    terms.filter.list(list).iter().find_map(|&term| pair(terms, term, one, other))
}

/// Two bounds with a qualified column have about so many bytes.
const BOUNDS: usize = 128;

/// The splices for these ranges; `write` writes one end of a part, the upper one if asked.
pub(super) fn splices(
    text: &str,
    additions: &[Addition<'_>],
    mut write: impl FnMut(&Addition<'_>, bool, u8, &mut String),
) -> Vec<Splice> {
    let mut splices: Vec<Splice> = Vec::new();
    let mut done: Vec<Span> = Vec::new();
    for addition in additions {
        let clause = addition.clause;
        if done.contains(&clause.span) {
            continue;
        }
        done.push(clause.span);
        let mut said = String::with_capacity(BOUNDS);
        if clause.loose {
            splices.push(Splice::new(clause.span.start, "("));
            said.push(')');
        }
        let mut joint = if clause.missing { " WHERE " } else { " AND " };
        for addition in additions.iter().filter(|other| other.clause.span == clause.span) {
            if let Some(around) = addition.around {
                said.push_str(joint);
                write_around(text, addition, around, &mut write, &mut said);
                joint = " AND ";
            }
            for (upper, wanted) in [(false, addition.lo), (true, addition.hi)] {
                if wanted {
                    said.push_str(joint);
                    said.push_str(addition.column.of(text));
                    write(addition, upper, 0, &mut said);
                    joint = " AND ";
                }
            }
        }
        splices.push(Splice::new(clause.span.end, said));
    }
    splices.sort_by_key(|splice| splice.at);
    splices
}

/// `(key <= … OR key >= … AND key <= … OR key >= …)`, without parts that hold nothing.
fn write_around(
    text: &str,
    addition: &Addition<'_>,
    around: Around,
    write: &mut impl FnMut(&Addition<'_>, bool, u8, &mut String),
    said: &mut String,
) {
    let prefix = around.prefix.map_or(String::new(), |prefix| format!("{}.", prefix.of(text)));
    let name = format!("{prefix}\"{}\"", addition.table.column);
    let parts: [(bool, u8, &[bool]); 3] = [
        (around.below != Micros::MIN, 1, &[true]),
        (around.from <= around.to, 2, &[false, true]),
        (around.above != Micros::MAX, 3, &[false]),
    ];
    let mut joint = "(";
    for (_, part, ends) in parts.into_iter().filter(|(holds, ..)| *holds) {
        for &upper in ends {
            said.push_str(joint);
            said.push_str(&name);
            write(addition, upper, part, said);
            joint = " AND ";
        }
        joint = " OR ";
    }
    said.push(')');
}

/// ` >= '2024-03-01 00:00:00+00'::timestamptz`: means the same under every DateStyle and TimeZone. Rounded outwards
/// to whole seconds, or days.
fn literal(kind: Kind, end: Micros, upper: bool, out: &mut String) {
    match kind {
        Kind::Date => {
            let (op, day) =
                if upper { (" <= '", Unit::Day.floor(end)) } else { (" >= '", Unit::Day.ceiling(end)) };
            out.push_str(op);
            calendar::write_to(day, false, out);
            out.push_str("'::date");
        }
        kind => {
            out.push_str(if upper { " < '" } else { " >= '" });
            calendar::write_to(rounded(end, upper), true, out);
            out.push_str(if kind == Kind::Timestamptz { "+00'::timestamptz" } else { "'::timestamp" });
        }
    }
}

/// A closed end as a whole second: the lower one as it is, the upper one not included any more.
fn rounded(end: Micros, upper: bool) -> Micros {
    if upper { end.div_euclid(SECOND) * SECOND + SECOND } else { end.div_euclid(SECOND) * SECOND }
}

fn reason(text: &str, addition: &Addition<'_>) -> Reason {
    let table = addition.table;
    let zone = if addition.kind == Kind::Timestamptz { "+00" } else { "" };
    let with_time = addition.kind != Kind::Date;
    let shown = |end, upper| {
        let end = if with_time { rounded(end, upper) } else { Unit::Day.next(end) };
        format!("{}{zone}", calendar::write(end, with_time))
    };
    let from = match addition.kind {
        Kind::Date => calendar::write(Unit::Day.ceiling(addition.range.lo.max(-1 << 60)), false),
        _ => shown(addition.range.lo.max(-1 << 60), false),
    };
    Reason {
        table: format!("{}.{}", table.schema, table.name),
        column: table.column.clone(),
        from: addition.lo.then_some(from),
        to: addition.hi.then(|| shown(addition.range.hi.min(1 << 60), true)),
        because: addition.said.iter().map(|span| span.of(text).to_owned()).collect(),
    }
}
