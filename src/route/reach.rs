//! Pages in the order of the key: `ORDER BY key DESC LIMIT n` finds its rows in the newest partitions, but PostgreSQL
//! plans and locks all of them. Here the statement gets a bound that leaves the others out. Nothing implies this
//! bound: it is right if as many rows come as the page may have, since all rows that it leaves out come later in the
//! order; otherwise the statement has to be sent without it. Pure. Who counts the rows is not known here.

use super::calendar::Micros;
use super::fold::Terms;
use super::imply::{Implied, Key, Said};
use super::literal::{Value, binary_integer};
use super::narrow::Addition;
use super::table::{Routed, Router};
use super::{Range, Values};
use crate::sql::filter::{Clause, Node, Page, Scope};

/// Fewer partitions are not worth leaving out: planning 16 takes 0.2 ms.
const SPARED_MIN: usize = 16;

/// At most one of so many partitions is asked, or all.
const SHARE: usize = 4;

/// A longer page is forwarded: its rows have to be held until they are counted.
const ROWS_MAX: u64 = 1_000;

impl Router {
    /// Adds the bound of a page to what was found for its query.
    pub(super) fn reach<'a>(
        &'a self,
        terms: &Terms<'_>,
        at: usize,
        keys: &[(usize, Key<'a>)],
        found: &mut Vec<Addition<'a>>,
    ) {
        let page = terms.filter.page.filter(|page| page.scope == at && terms.moment.reach > 0);
        let Some(page) = page.filter(|page| page.plain || !terms.moment.plain_only) else {
            return;
        };
        let scope = &terms.filter.scopes[at];
        let by = terms.filter.node(page.by);
        let Some((source, key)) = keys.iter().find(|(_, key)| terms.is_key(by, key)) else {
            return;
        };
        if !is_sound(terms, scope, &page, (*source, key)) || !self.may_run_twice(terms) {
            return;
        }
        let clauses = terms.filter.clauses(scope);
        let (Some(place), Some(rows)) = (clauses.last(), rows(terms, &page)) else {
            return;
        };
        let sample = matches!(terms.values, Values::Sample { .. });
        let Some(range) = bounds(terms, key, scope, clauses, &page, sample) else {
            return;
        };
        let same = |addition: &&mut Addition<'_>| {
            (addition.scope, addition.source, addition.clause.span) == (at, *source, place.span)
        };
        if let Some(addition) = found.iter_mut().find(same) {
            if addition.around.is_some() {
                return;
            }
            addition.range = addition.range.and(range);
            addition.lo |= range.has_lo();
            addition.hi |= range.has_hi();
            addition.said.push(page.span);
            addition.page_rows = Some(rows);
            return;
        }
        found.push(Addition {
            scope: at,
            source: *source,
            clause: *place,
            column: terms.filter.span(page.by),
            kind: key.kind(),
            range,
            lo: range.has_lo(),
            hi: range.has_hi(),
            said: vec![page.span],
            table: key.table,
            page_rows: Some(rows),
            around: None,
        });
    }

    /// Whether nobody notices that the statement runs twice.
    fn may_run_twice(&self, terms: &Terms<'_>) -> bool {
        let filter = terms.filter;
        let mut sources = filter.scopes.iter().flat_map(|scope| filter.sources(scope));
        let quiet = sources.all(|source| {
            let Some(name) = source.table else {
                return true;
            };
            let written = name.of(terms.text);
            match written.strip_prefix('"') {
                Some(inner) => self.quiet.contains(inner.trim_end_matches('"')),
                None => self.quiet.contains(written) || self.quiet.contains(&written.to_ascii_lowercase()),
            }
        });
        let hidden = self.hidden();
        quiet
            && filter.ctes.is_empty()
            && filter.scopes.iter().all(|scope| !scope.merged)
            && filter.page_calls.iter().all(|call| self.is_harmless(terms.text, call))
            && (hidden.operators.is_empty()
                || filter
                    .page_operators
                    .iter()
                    .all(|span| !hidden.operators.contains_key(span.of(terms.text))))
            && !self.hidden_types().any(|name| terms.text.contains(name))
    }
}

/// Whether all rows that the bound leaves out come behind all that it lets in.
fn is_sound(terms: &Terms<'_>, scope: &Scope, page: &Page, (source, key): (usize, &Key<'_>)) -> bool {
    let Node::Column { qualifier, .. } = terms.filter.node(page.by) else {
        return false;
    };
    let sole = terms.filter.sources(scope).len() == 1;
    if qualifier.is_none() && !(sole && page.own_name) {
        return false;
    }
    // An outer join may add rows without a key.
    let no_nulls = !key.table.holds_nulls && (!scope.outer_join || (source == 0 && !scope.right_join));
    !page.nulls_first || no_nulls
}

/// How many rows the page may have. `None`: that is not known, or the page is too long or empty.
fn rows(terms: &Terms<'_>, page: &Page) -> Option<u64> {
    let Some(id) = page.rows else {
        return Some(1);
    };
    let rows = match terms.filter.node(id) {
        Node::Number => terms.filter.span(id).of(terms.text).parse().ok()?,
        Node::Parameter(number) => match terms.values {
            Values::None => return None,
            Values::Sample { .. } => 1,
            Values::Bound { types, values } => {
                let at = usize::from(number).checked_sub(1)?;
                // int2, int4, int8, or left to PostgreSQL, which takes LIMIT's for the last.
                let whole = [0, 21, 23, 20].contains(&types.get(at).copied().unwrap_or(0));
                match *values.get(at).filter(|_| whole)? {
                    Value::Null => return None,
                    Value::Text(text) => text.parse().ok()?,
                    Value::Binary(bytes) => u64::try_from(binary_integer(bytes)?).ok()?,
                }
            }
        },
        _ => return None,
    };
    (1..=ROWS_MAX).contains(&rows).then_some(rows)
}

/// The part of the table to look in. `None`: the statement says where it ends itself, or too little would be spared.
fn bounds(
    terms: &Terms<'_>,
    key: &Key<'_>,
    scope: &Scope,
    clauses: &[Clause],
    page: &Page,
    sample: bool,
) -> Option<Range> {
    let mut implied = Implied::NOTHING;
    if !scope.outer_join {
        let each = clauses.iter().map(|clause| terms.imply(clause.root, key, &mut Said::new()));
        implied = each.reduce(Implied::and)?;
    }
    let (range, depth) = (implied.range, terms.moment.reach);
    match page.descending {
        true if range.has_lo() => None,
        true => {
            let until = if sample { Micros::MAX } else { range.hi.min(terms.moment.now.lo) };
            Some(Range::from(key.table.newest(depth, until)?))
        }
        false if range.has_hi() => None,
        false => {
            let from = if sample { Micros::MIN } else { range.lo };
            Some(Range::until(key.table.oldest(depth, from)?))
        }
    }
}

impl Routed {
    /// Where the newest partitions begin of those that begin until then.
    fn newest(&self, depth: usize, until: Micros) -> Option<Micros> {
        let begun = self.pieces.partition_point(|(from, _)| *from <= until);
        let spared = begun.checked_sub(depth.min(begun / SHARE).max(1))?;
        let (from, _) = self.pieces.get(spared).filter(|_| spared >= SPARED_MIN)?;
        Some(*from)
    }

    /// Where the oldest partitions end of those that end behind that moment.
    fn oldest(&self, depth: usize, from: Micros) -> Option<Micros> {
        let over = self.pieces.partition_point(|(_, to)| *to <= from);
        let rest = self.pieces.len() - over;
        let end = over + depth.min(rest / SHARE).max(1);
        let (_, to) = self.pieces.get(end - 1).filter(|_| self.pieces.len() - end >= SPARED_MIN)?;
        // The end of a range is included.
        Some(*to - 1)
    }
}
