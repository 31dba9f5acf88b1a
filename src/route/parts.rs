//! Conditions on the year, month and day of a time apart: each alone says little, together they are a date. Pure.

use super::calendar::{DAY, days};
use super::fold::Terms;
use super::imply::{Key, Said};
use super::range::Range;
use crate::sql::filter::{Id, Node, Relation};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Year,
    Month,
    Day,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    field: Field,
    time: Id,
    from: i64,
    to: i64,
}

impl Terms<'_> {
    /// `extract(year from x) = … and extract(month from x) = …`: each alone says little, together they are a date.
    pub(super) fn date_in_parts(&self, terms: &[Id], key: &Key<'_>, said: &mut Said) -> Option<Range> {
        let parts: Vec<(Part, Id)> =
            terms.iter().filter_map(|&term| Some((self.part(term, key)?, term))).collect();
        let (year, _) = parts.iter().find(|(part, _)| part.field == Field::Year && part.from == part.to)?;
        let of = |field| {
            let same = parts
                .iter()
                .filter(move |(part, _)| part.field == field && self.is_same(part.time, year.time));
            same.fold((i64::MIN, i64::MAX), |(lo, hi), (part, _)| (lo.max(part.from), hi.min(part.to)))
        };
        let (months, of_month) = (of(Field::Month), of(Field::Day));
        let sane = 1 <= months.0 && months.0 <= months.1 && months.1 <= 12 && (1..9_999).contains(&year.from);
        sane.then_some(())?;
        let first = days(year.from, months.0, 1) * DAY;
        let shown = match of_month {
            (from, to) if months.0 == months.1 && 1 <= from && from <= to && to <= 31 => {
                Range::new(first + (from - 1) * DAY, first + to * DAY - 1)
            }
            _ => Range::new(first, days(year.from, months.1 + 1, 1) * DAY - 1),
        };
        for (_, term) in &parts {
            let span = self.filter.span(*term);
            if !said.contains(&span) {
                said.push(span);
            }
        }
        self.invert_shown(year.time, shown, key)
    }

    fn is_same(&self, one: Id, other: Id) -> bool {
        self.filter.span(one).of(self.text) == self.filter.span(other).of(self.text)
    }

    /// A condition on the year, month or day of a time.
    fn part(&self, term: Id, key: &Key<'_>) -> Option<Part> {
        match self.filter.node(term) {
            Node::Compare { op, left, right } => {
                let (op, left, right) =
                    if self.has_key(left, key) { (op, left, right) } else { (op.flipped(), right, left) };
                let (field, time) = self.field(left, key)?;
                let number = self.whole(right)?;
                let (from, to) = match op {
                    Relation::Equal => (number, number),
                    Relation::Less => (i64::MIN, number - 1),
                    Relation::LessEqual => (i64::MIN, number),
                    Relation::Greater => (number + 1, i64::MAX),
                    Relation::GreaterEqual => (number, i64::MAX),
                };
                Some(Part { field, time, from, to })
            }
            Node::In { left, list } => {
                let (field, time) = self.field(left, key)?;
                let numbers: Option<Vec<i64>> =
                    self.filter.list(list).iter().map(|&value| self.whole(value)).collect();
                let numbers = numbers?;
                let (from, to) = (*numbers.iter().min()?, *numbers.iter().max()?);
                Some(Part { field, time, from, to })
            }
            // BETWEEN, or terms in brackets.
            Node::And(list) => match self.filter.list(list) {
                [one, other] => {
                    let (one, other) = (self.part(*one, key)?, self.part(*other, key)?);
                    let same = one.field == other.field && self.is_same(one.time, other.time);
                    same.then(|| Part { from: one.from.max(other.from), to: one.to.min(other.to), ..one })
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn field(&self, id: Id, key: &Key<'_>) -> Option<(Field, Id)> {
        let (name, time) = self.extracted(id)?;
        let field = match () {
            () if name.eq_ignore_ascii_case("year") => Field::Year,
            () if name.eq_ignore_ascii_case("month") => Field::Month,
            () if name.eq_ignore_ascii_case("day") => Field::Day,
            () => return None,
        };
        self.is_of_key(time, key).then_some((field, time))
    }
}
