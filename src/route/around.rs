//! Look-ups by a column that grows with the key: checks of closed partitions say which of its values they may hold
//! (`CHECK (id >= 1 AND id <= 500)`, validated), so that the others cannot hold the row that is looked for.
//! PostgreSQL knows, but plans and locks them all before it sees. Here the statement gets a condition on the key that
//! lets in everything but those partitions: what is not known to be empty of it stays in, new partitions too. Pure.

use super::calendar::Micros;
use super::fold::Terms;
use super::imply::{Implied, Key, Said};
use super::literal::{Value, binary_integer, is_writable};
use super::narrow::Addition;
use super::table::{Routed, Router};
use super::{Range, Values};
use crate::sql::filter::{Id, List, Node, Relation, Scope, Span, Type};

/// Fewer partitions are not worth leaving out.
const SPARED_MIN: usize = 4;

/// `key <= below OR key >= from AND key <= to OR key >= above`; what is left out between them holds no such row.
/// `Micros::MIN` and `Micros::MAX` stand for −∞ and ∞.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Around {
    /// What stands before the point of the column that was looked for.
    pub prefix: Option<Span>,
    pub below: Micros,
    pub from: Micros,
    pub to: Micros,
    pub above: Micros,
}

/// The values of a column that a partition may hold, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// From where to where the partition goes; the end is not included.
    pub piece: (Micros, Micros),
    pub least: i64,
    pub most: i64,
}

/// Values that a condition lets in.
type Whole = (i64, i64);

const ALL: Whole = (i64::MIN, i64::MAX);

impl Router {
    /// Adds what the checks of a table's partitions say of a look-up.
    pub(super) fn around<'a>(
        &'a self,
        terms: &Terms<'_>,
        at: usize,
        keys: &[(usize, Key<'a>)],
        found: &mut Vec<Addition<'a>>,
    ) {
        let scope = &terms.filter.scopes[at];
        for (source, key) in keys.iter().filter(|(_, key)| !key.table.held.is_empty()) {
            let there = |addition: &Addition<'_>| (addition.scope, addition.source) == (at, *source);
            if scope.outer_join || key.table.holds_nulls || found.iter().any(there) {
                continue;
            }
            found.extend(one(terms, scope, (at, *source), key));
        }
    }
}

fn one<'a>(
    terms: &Terms<'_>,
    scope: &Scope,
    (at, source): (usize, usize),
    key: &Key<'a>,
) -> Option<Addition<'a>> {
    let clauses = terms.filter.clauses(scope);
    let place = clauses.last()?;
    let implied = clauses.iter().map(|clause| terms.imply(clause.root, key, &mut Said::new()));
    if implied.reduce(Implied::and)?.range != Range::ALL {
        return None;
    }
    let sole = terms.filter.sources(scope).len() == 1;
    for (column, held) in &key.table.held {
        let mut seen = None;
        let each = clauses.iter().map(|clause| whole(terms, clause.root, (key, column, sole), &mut seen));
        let wanted = each.fold(ALL, |(a, b), (c, d)| (a.max(c), b.min(d)));
        let Some((prefix, span)) = seen.filter(|_| wanted != ALL) else {
            continue;
        };
        let around = match terms.values {
            // Which partitions they are shows at each Bind.
            Values::Sample { .. } => Some(Around { prefix, below: 0, from: 0, to: 0, above: 0 }),
            _ => around(held, wanted).map(|around| Around { prefix, ..around }),
        };
        let (clause, kind, range) = (*place, key.kind(), Range::ALL);
        let (column, said, table) = (span, vec![span], key.table);
        return around.map(|around| Addition {
            scope: at,
            source,
            clause,
            column,
            kind,
            range,
            lo: false,
            hi: false,
            said,
            table,
            page_rows: None,
            around: Some(around),
        });
    }
    None
}

/// What to let in when these values are looked for. `None`: too little would be left out.
fn around(held: &[Held], (least, most): Whole) -> Option<Around> {
    // Partitions without the values, those that touch as one, and how many.
    let mut runs: Vec<(Micros, Micros, usize)> = Vec::new();
    for without in held.iter().filter(|held| held.most < least || held.least > most) {
        let (from, to) = without.piece;
        match runs.last_mut().filter(|last| last.1 == from) {
            Some(last) => (last.1, last.2) = (to, last.2 + 1),
            None => runs.push((from, to, 1)),
        }
    }
    // The two longest are left out.
    runs.sort_unstable_by_key(|(.., count)| std::cmp::Reverse(*count));
    runs.truncate(2);
    runs.sort_unstable();
    let (first, last) = (*runs.first()?, *runs.last()?);
    let none =
        Around { prefix: None, below: Micros::MIN, from: Micros::MAX, to: Micros::MIN, above: Micros::MAX };
    let before = |at: Micros| if at == Micros::MIN { at } else { at - 1 };
    let found = match runs.len() {
        1 => Around { below: before(first.0), above: first.1, ..none },
        _ => Around { below: before(first.0), from: first.1, to: before(last.0), above: last.1, ..none },
    };
    let ends = [found.below, found.from, found.to, found.above];
    let written = ends.iter().all(|&at| at == Micros::MIN || at == Micros::MAX || is_writable(at));
    let some = found.below != Micros::MIN || found.from <= found.to || found.above != Micros::MAX;
    let spared: usize = runs.iter().map(|(.., count)| count).sum();
    (written && some && spared >= SPARED_MIN).then_some(found)
}

/// Which values of a column a condition lets in; where the column is first met is noted.
fn whole(
    terms: &Terms<'_>,
    id: Id,
    column: (&Key<'_>, &str, bool),
    seen: &mut Option<(Option<Span>, Span)>,
) -> Whole {
    match terms.filter.node(id) {
        Node::And(list) => {
            let each = terms.filter.list(list).iter().map(|&term| whole(terms, term, column, seen));
            each.fold(ALL, |(a, b), (c, d)| (a.max(c), b.min(d)))
        }
        Node::Compare { op, left, right } => {
            let (op, left, right) =
                if is_column(terms, left, column) { (op, left, right) } else { (op.flipped(), right, left) };
            let value = if is_column(terms, left, column) { integer(terms, right) } else { None };
            let Some(value) = value else {
                return ALL;
            };
            seen.get_or_insert_with(|| (prefix(terms, left), terms.filter.span(left)));
            match op {
                Relation::Equal => (value, value),
                Relation::Less | Relation::LessEqual => (i64::MIN, value),
                Relation::Greater | Relation::GreaterEqual => (value, i64::MAX),
            }
        }
        Node::In { left, list } if is_column(terms, left, column) => {
            let Some((least, most)) = hull(terms, list) else {
                return ALL;
            };
            seen.get_or_insert_with(|| (prefix(terms, left), terms.filter.span(left)));
            (least, most)
        }
        _ => ALL,
    }
}

fn hull(terms: &Terms<'_>, list: List) -> Option<Whole> {
    let values: Option<Vec<i64>> = terms.filter.list(list).iter().map(|&id| integer(terms, id)).collect();
    let values = values?;
    Some((*values.iter().min()?, *values.iter().max()?))
}

fn is_column(terms: &Terms<'_>, id: Id, (key, column, sole): (&Key<'_>, &str, bool)) -> bool {
    let node = terms.filter.node(id);
    let bare = matches!(node, Node::Column { qualifier: None, .. });
    terms.is_column(node, key, column) && (sole || !bare)
}

fn prefix(terms: &Terms<'_>, id: Id) -> Option<Span> {
    match terms.filter.node(id) {
        Node::Column { schema, qualifier: Some(qualifier), .. } => {
            Some(Span { start: schema.map_or(qualifier.start, |schema| schema.start), end: qualifier.end })
        }
        _ => None,
    }
}

/// A whole number in the text, or a parameter that is one: declared so, or left to PostgreSQL, which takes it for
/// what the column is.
fn integer(terms: &Terms<'_>, id: Id) -> Option<i64> {
    match terms.filter.node(id) {
        Node::Number => terms.filter.span(id).of(terms.text).parse().ok(),
        Node::Parameter(number) => match terms.values {
            Values::None => None,
            Values::Sample { .. } => Some(0),
            Values::Bound { types, values } => {
                let at = usize::from(number).checked_sub(1)?;
                let whole = [0, 21, 23, 20].contains(&types.get(at).copied().unwrap_or(0));
                match *values.get(at).filter(|_| whole)? {
                    Value::Null => None,
                    Value::Text(text) => text.parse().ok(),
                    Value::Binary(bytes) => binary_integer(bytes),
                }
            }
        },
        Node::Cast { inner, to: Type::Integer } => match terms.filter.node(inner) {
            Node::Parameter(_) => integer(terms, inner),
            _ => None,
        },
        _ => None,
    }
}

impl Routed {
    /// Notes which values the partitions may hold.
    pub(super) fn hold(&mut self, column: &str, mut held: Vec<Held>) {
        held.sort_unstable_by_key(|held| held.piece);
        if held.len() >= SPARED_MIN {
            self.held.push((column.to_owned(), held));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_but_partitions_without_the_value_is_let_in() {
        // Ten closed partitions of a hundred days each; a gap before the last one.
        let day = |n: i64| 1_600_000_000_000_000 + n * 86_400_000_000;
        let mut held: Vec<Held> = (0..10)
            .map(|n| Held { piece: (day(n * 100), day(n * 100 + 100)), least: n * 50, most: n * 50 + 60 })
            .collect();
        held[9].piece = (day(950), day(1_000));
        let found = |least, most| around(&held, (least, most)).map(|a| (a.below, a.from, a.to, a.above));
        // Values at a seam may be in two of them.
        assert_eq!(found(155, 155), Some((day(0) - 1, day(200), day(400) - 1, day(900))));
        assert_eq!(found(5, 5), Some((day(100) - 1, day(900), day(950) - 1, day(1_000))));
        assert_eq!(found(9_999, 9_999), Some((day(0) - 1, day(900), day(950) - 1, day(1_000))));
        assert_eq!(found(i64::MIN, i64::MAX), None);
        assert_eq!(found(0, 300), None);
        held.truncate(9);
        let found = |least, most| around(&held, (least, most)).map(|a| (a.below, a.from, a.to, a.above));
        assert_eq!(found(175, 175), Some((day(0) - 1, day(300), day(400) - 1, day(900))));
        assert_eq!(found(9_999, 9_999), Some((day(0) - 1, Micros::MAX, Micros::MIN, day(900))));
        assert_eq!(found(420, 9_999), Some((day(0) - 1, Micros::MAX, Micros::MIN, day(800))));
    }
}
