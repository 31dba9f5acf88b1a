//! The end of a SELECT that asks for the first rows of an order: by which column they are ordered, and how many of
//! them are wanted. Pure. Knows no catalog; what it does not understand is no page.

use super::expression::Reader;
use super::names::{Packed, pack, pack_all};
use super::{Id, Node, Span, Type};
use crate::sql::token::Kind;

/// `SELECT … ORDER BY column … LIMIT rows`, one query without groups, DISTINCT, windows or row locks: each row of
/// the result comes of one row of each of its sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The query's place in [`super::Filter::scopes`].
    pub scope: usize,
    /// The column that comes first in the order, a node.
    pub by: Id,
    pub descending: bool,
    /// NULLs come before all else.
    pub nulls_first: bool,
    /// How many rows, a node; `None`: one.
    pub rows: Option<Id>,
    /// From ORDER BY to the end.
    pub span: Span,
    /// A name without a qualifier means no column of the result but the one that it names in the source, as long
    /// as there is only one source.
    pub own_name: bool,
    /// Nothing in the statement can fail for one row and not for another: it only compares.
    pub plain: bool,
}

/// Words outside of brackets that make something else of a query, or come where no page is read.
const NO_PAGE: [Packed; 11] = pack_all([
    "group",
    "having",
    "window",
    "union",
    "intersect",
    "except",
    "for",
    "limit",
    "offset",
    "fetch",
    "into",
]);

/// Words that begin what stands behind the order.
const TAIL: [Packed; 3] = pack_all(["limit", "offset", "fetch"]);

impl Reader<'_> {
    /// Notes the page that the statement asks for, if it is one.
    pub(super) fn note_page(&mut self) {
        self.filter.page = self.page();
        if self.filter.page.is_some() {
            for at in 0..self.tokens.len() {
                let call = self.call(at);
                self.filter.page_calls.extend(call);
                if self.kind(at) == Some(Kind::Operator) {
                    let span = self.outer(at);
                    self.filter.page_operators.push(span);
                }
            }
        }
    }

    fn page(&mut self) -> Option<Page> {
        let scope = self.filter.scopes.len().checked_sub(1)?;
        let (from, order) = self.frame_of_page()?;
        let (by, mut at) = self.sum(order + 2, self.tokens.len())?;
        let Node::Column { qualifier, name, .. } = self.filter.node(by) else {
            return None;
        };
        let descending = self.is(at, "desc");
        at += usize::from(descending || self.is(at, "asc"));
        let mut nulls_first = descending;
        if self.is(at, "nulls") {
            nulls_first = self.is(at + 1, "first");
            (nulls_first || self.is(at + 1, "last")).then_some(())?;
            at += 2;
        }
        // Whatever follows decides only between rows of one time.
        if !self.is_one_of(at, &TAIL) {
            (self.kind(at) == Some(Kind::Comma)).then_some(())?;
            while at < self.tokens.len() && !self.is_one_of(at, &TAIL) {
                at = self.next(at);
            }
        }
        let rows = self.tail(at)?;
        let own_name = qualifier.is_some() || self.is_own_name(name, from);
        let plain = (0..self.tokens.len()).all(|at| self.is_plain(at));
        let span = self.between(order, self.tokens.len());
        Some(Page { scope, by, descending, nulls_first, rows, span, own_name, plain })
    }

    /// Where FROM and ORDER stand.
    fn frame_of_page(&self) -> Option<(usize, usize)> {
        let count = self.tokens.len();
        (self.is(0, "select") && !self.is(1, "distinct")).then_some(())?;
        for at in 0..count {
            // A window stands in brackets now and then, a lock in a query of its own.
            let lock = self.is(at, "for")
                && self.is_one_of(at + 1, &const { pack_all(["update", "share", "no", "key"]) });
            (!lock && !self.is_one_of(at, &const { pack_all(["over", "table", "with"]) })).then_some(())?;
        }
        let (mut at, mut from) = (1, None);
        while at < count {
            if from.is_none() && self.is(at, "from") && !self.is(at - 1, "distinct") {
                from = Some(at);
            }
            if self.is(at, "order") && self.is(at + 1, "by") {
                return Some((from?, at));
            }
            (!self.is_one_of(at, &NO_PAGE)).then_some(())?;
            at = self.next(at);
        }
        None
    }

    /// Reads LIMIT, OFFSET and FETCH up to the end; returns how many rows are wanted.
    fn tail(&mut self, mut at: usize) -> Option<Option<Id>> {
        let mut rows = None;
        const ROWS: [Packed; 2] = pack_all(["row", "rows"]);
        while at < self.tokens.len() {
            if self.is(at, "limit") && rows.is_none() {
                let (id, end) = self.count(at + 1)?;
                (rows, at) = (Some(Some(id)), end);
            } else if self.is(at, "offset") {
                at = self.count(at + 1)?.1;
                at += usize::from(self.is_one_of(at, &ROWS));
            } else if self.is(at, "fetch") && rows.is_none() {
                self.is_one_of(at + 1, &const { pack_all(["first", "next"]) }).then_some(())?;
                at += 2;
                let mut count = None;
                if !self.is_one_of(at, &ROWS) {
                    let (id, end) = self.count(at)?;
                    (count, at) = (Some(id), end);
                }
                // WITH TIES gives more.
                (self.is_one_of(at, &ROWS) && self.is(at + 1, "only")).then_some(())?;
                (rows, at) = (Some(count), at + 2);
            } else {
                return None;
            }
        }
        rows
    }

    /// A number or a parameter, which drivers cast now and then.
    fn count(&mut self, at: usize) -> Option<(Id, usize)> {
        let (id, end) = self.sum(at, self.tokens.len())?;
        let inner = match self.filter.node(id) {
            Node::Cast { inner, to: Type::Integer } => inner,
            _ => id,
        };
        let fits = matches!(self.filter.node(inner), Node::Number | Node::Parameter(_));
        fits.then_some((inner, end))
    }

    /// ORDER BY looks for a name among the columns of the result first. There it must be the column itself, as an
    /// item of its own and without another name.
    fn is_own_name(&self, name: Span, from: usize) -> bool {
        let same = |at: usize| {
            let (one, other) = (self.name(at).map(|span| span.of(self.text)), name.of(self.text));
            one.is_some_and(|one| one.trim_matches('"').eq_ignore_ascii_case(other.trim_matches('"')))
        };
        let begins = |at: usize| at == 1 || self.kind(at - 1) == Some(Kind::Comma);
        let mut at = 1;
        while at < from {
            if let Some(Kind::Open | Kind::OpenBracket) = self.kind(at) {
                let end = self.next(at);
                if (at..end).any(same) {
                    return false;
                }
                at = end;
                continue;
            }
            if same(at) {
                let qualified = at > 2 && self.kind(at - 1) == Some(Kind::Dot) && begins(at - 2);
                let ends = at + 1 == from || self.kind(at + 1) == Some(Kind::Comma);
                if !ends || !(begins(at) || qualified) {
                    return false;
                }
            }
            at += 1;
        }
        true
    }

    /// Whether this token belongs to a comparison or to something as harmless.
    fn is_plain(&self, at: usize) -> bool {
        const BRACKETS: [Packed; 12] =
            pack_all(["in", "any", "all", "and", "or", "not", "where", "on", "from", "by", "exists", "join"]);
        match self.kind(at) {
            Some(Kind::Operator) => {
                let text = self.tokens[at].text(self.text.as_bytes());
                [&b"="[..], b"<", b">", b"<=", b">=", b"<>", b"!=", b"*"].contains(&text)
            }
            // What is cast is the same for all rows.
            Some(Kind::Cast) => at > 0 && matches!(self.kind(at - 1), Some(Kind::Parameter | Kind::String)),
            Some(Kind::Open) => match at.checked_sub(1) {
                Some(before) if matches!(self.kind(before), Some(Kind::Word | Kind::Quoted)) => {
                    self.is_one_of(before, &BRACKETS)
                }
                _ => true,
            },
            Some(Kind::Word) => self.words[at] != pack("case"),
            Some(Kind::OpenBracket | Kind::CloseBracket) => false,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Filter;
    use super::*;

    fn page(text: &str) -> Option<Page> {
        Filter::read(text, true).unwrap_or_else(|| panic!("{text}")).page
    }

    fn told(text: &str) -> String {
        let filter = Filter::read(text, true).unwrap();
        let page = filter.page.unwrap_or_else(|| panic!("{text}"));
        let by = filter.span(page.by).of(text);
        let rows = page.rows.map_or("1", |rows| filter.span(rows).of(text));
        let way = if page.descending { "down" } else { "up" };
        format!("{by} {way}{} {rows}", if page.nulls_first { " nulls" } else { "" })
    }

    #[test]
    fn pages_are_read() {
        for (end, expected) in [
            ("order by ts limit 10", "ts up 10"),
            ("order by t.ts desc, id desc limit 10 offset 20", "t.ts down nulls 10"),
            ("order by ts desc nulls last offset 5 rows fetch next 7 rows only", "ts down 7"),
            ("order by ts nulls first, lower(v), id limit $2::integer offset $3", "ts up nulls $2"),
            ("where a = 1 and b is distinct from c order by ts fetch first row only", "ts up 1"),
            ("order by \"ts\" asc limit 3;", "\"ts\" up 3"),
        ] {
            assert_eq!(told(&format!("select a, t.ts, b from t {end}")), expected, "{end}");
        }
        let joined =
            "select * from a join t on t.id = a.id left join b on b.id = t.id where x order by t.ts limit 1";
        assert_eq!(told(joined), "t.ts up 1");
    }

    #[test]
    fn all_else_is_no_page() {
        for text in [
            "select a from t order by ts",
            "select a from t limit 10",
            "select a from t order by 1 limit 10",
            "select a from t order by ts + '1 day' limit 10",
            "select a from t order by ts using > limit 10",
            "select a from t order by ts collate x limit 10",
            "select a from t order by ts limit all",
            "select a from t order by ts limit 1 + 1",
            "select a from t order by ts limit (select 1)",
            "select a from t order by ts limit 10 for update",
            "select a from t order by ts for update limit 10",
            "select a from t order by ts fetch first 10 rows with ties",
            "select distinct a from t order by ts limit 10",
            "select a, (sum(a) over ()) from t order by ts limit 10",
            "select a from t group by a order by ts limit 10",
            "select a from t union select b from u order by ts limit 10",
            "with x as (select 1) select a from t order by ts limit 10",
            "select a from t where id in (select id from q for update) order by ts limit 10",
            "(select a from t order by ts limit 10)",
            "select a from (select a, ts from t order by ts limit 10) x",
            "delete from t where id in (select id from t order by ts limit 10)",
        ] {
            assert_eq!(page(text), None, "{text}");
        }
    }

    #[test]
    fn a_bare_name_may_be_one_of_the_result() {
        let own = |list: &str| page(&format!("select {list} from t order by ts limit 10")).unwrap().own_name;
        for list in ["*", "t.*, a", "ts", "a, ts", "t.ts, a", "a as b, \"ts\", c", "count(a), ts", "a + b"] {
            assert!(own(list), "{list}");
        }
        for list in [
            "a as ts",
            "a ts",
            "x::ts",
            "ts(a)",
            "(select ts from u)",
            "date_trunc('day', ts) as ts",
            "(a).ts",
            "case when a then b else ts end",
            "ts at time zone 'UTC'",
            "a as \"ts\"",
            "ts as b",
            "-ts",
        ] {
            assert!(!own(list), "{list}");
        }
        assert!(page("select a as ts from t order by t.ts limit 10").unwrap().own_name);
    }

    #[test]
    fn what_only_compares_is_plain() {
        let plain = |text: &str| page(&format!("select {text} order by ts limit 10")).unwrap().plain;
        for text in [
            "* from t where a = $1 and (b > 2 or c in (3, 4)) and d = any($2::int[])",
            "t.a, b from t join u on (t.x = u.x)",
        ] {
            assert_eq!(plain(text), !text.contains('['), "{text}");
        }
        for text in
            ["1 / a from t", "* from t where a::int = 1", "lower(a) from t", "* from t where a || b = 'x'"]
        {
            assert!(!plain(text), "{text}");
        }
    }
}
