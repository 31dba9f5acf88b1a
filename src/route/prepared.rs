//! The extended protocol: the bounds of a prepared statement are parameters behind its own, which get their values
//! at each Bind, from the values of the others, the time zone and the clock of that moment. PostgreSQL plans a
//! statement with parameters for the values at hand as long as that is cheaper, which it is where partitions can be
//! left out. Pure.
//!
//! The shell prepares [`Prepared::text`] in place of the client's text, with the parameter types that the client
//! declared; appends [`Prepared::bounds`] to the values of each Bind; and leaves [`Prepared::added`] parameters out
//! of what Describe tells the client.

use super::calendar::{self, DAY, Micros, POSTGRES_EPOCH, Unit};
use super::fold::Terms;
use super::literal::{is_writable, to_binary};
use super::narrow::{Addition, Reason, splices};
use super::table::Router;
use super::{Kind, Moment, Values, literal::Value};
use crate::sql::edit::{self, Splice};
use crate::sql::filter::Filter;

/// A statement whose bounds are parameters.
#[derive(Debug)]
pub struct Prepared {
    original: Box<str>,
    text: Box<str>,
    pub splices: Vec<Splice>,
    filter: Filter,
    types: Box<[u32]>,
    sides: Box<[Side]>,
    /// So many parameters has the statement without the added ones.
    pub own: usize,
    /// It may ask only some partitions for a page.
    pub page: bool,
}

/// One added parameter.
#[derive(Debug, Clone, Copy)]
struct Side {
    scope: usize,
    source: usize,
    /// Where the clause ends, which tells clauses of one scope apart.
    place: u32,
    upper: bool,
    /// Which part of what lies around some partitions; 0: of the range.
    part: u8,
    kind: Kind,
}

/// The value of an added parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    kind: Kind,
    at: Micros,
}

impl Default for Bound {
    /// No lower bound of a `timestamptz`.
    fn default() -> Self {
        Bound { kind: Kind::Timestamptz, at: Micros::MIN }
    }
}

impl Bound {
    /// It leaves nothing out.
    pub fn is_open(&self) -> bool {
        matches!(self.at, Micros::MIN | Micros::MAX)
    }

    /// As text that means the same under every DateStyle and TimeZone.
    pub fn text(&self) -> String {
        match (self.at, self.kind) {
            (Micros::MIN, _) => "-infinity".to_owned(),
            (Micros::MAX, _) => "infinity".to_owned(),
            (at, Kind::Timestamptz) => calendar::write(at, true) + "+00",
            (at, kind) => calendar::write(at, kind == Kind::Timestamp),
        }
    }

    /// As PostgreSQL's binary form, of 8 bytes, or 4 for a date.
    pub fn binary(&self) -> Vec<u8> {
        match (self.kind, self.at) {
            (Kind::Date, Micros::MIN) => i32::MIN.to_be_bytes().to_vec(),
            (Kind::Date, Micros::MAX) => i32::MAX.to_be_bytes().to_vec(),
            (Kind::Date, at) => ((at - POSTGRES_EPOCH).div_euclid(DAY) as i32).to_be_bytes().to_vec(),
            (_, at) => to_binary(at).to_vec(),
        }
    }
}

/// PostgreSQL's own bound on parameters.
const PARAMETERS_MAX: usize = 65_535;

impl Router {
    /// A statement of the extended protocol with room for bounds. `types`: the declared parameter types, 0 for none.
    /// `None`: it is prepared as it is.
    pub fn prepare(&self, text: &str, types: &[u32], moment: &Moment<'_>) -> Option<Prepared> {
        let filter = Filter::read(text, moment.standard_strings)?;
        let values = Values::Sample { types };
        let additions = self.additions(&Terms { text, filter: &filter, values, moment })?;
        let own = usize::from(filter.parameters).max(types.len());
        let mut sides = Vec::new();
        let splices = splices(text, &additions, |addition, upper, part, out| {
            sides.push(side(addition, upper, part));
            let (op, name) = (if upper { "<=" } else { ">=" }, type_name(addition.kind));
            out.push_str(&format!(" {op} ${}::{name}", own + sides.len()));
        });
        (own + sides.len() <= PARAMETERS_MAX).then_some(())?;
        Some(Prepared {
            text: edit::apply(text, &splices)?.into(),
            original: text.into(),
            splices,
            filter,
            types: types.into(),
            sides: sides.into(),
            own,
            page: additions.iter().any(|addition| addition.page_rows.is_some()),
        })
    }
}

impl Prepared {
    /// The text to prepare.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many parameters were added.
    pub fn added(&self) -> usize {
        self.sides.len()
    }

    /// The values of the added parameters, given those of the others. What is not known has no bound.
    pub fn bounds(&self, router: &Router, values: &[Value<'_>], moment: &Moment<'_>) -> Vec<Bound> {
        self.bounds_and_rows(router, values, moment).0
    }

    /// The same, and of how many rows the page is for which only some partitions are asked.
    pub fn bounds_and_rows(
        &self,
        router: &Router,
        values: &[Value<'_>],
        moment: &Moment<'_>,
    ) -> (Vec<Bound>, Option<u64>) {
        let values = Values::Bound { types: &self.types, values };
        let terms = Terms { text: &self.original, filter: &self.filter, values, moment };
        let additions = router.additions(&terms).unwrap_or_default();
        let rows = additions.iter().find_map(|addition| addition.page_rows);
        (self.sides.iter().map(|side| side.bound(&additions)).collect(), rows)
    }

    /// The same when something is in doubt: no bounds.
    pub fn no_bounds(&self) -> Vec<Bound> {
        self.sides.iter().map(|side| side.bound(&[])).collect()
    }

    /// Why it is narrowed, with what stands for a value in place of those that are not known.
    pub fn reasons(&self, router: &Router, moment: &Moment<'_>) -> Vec<Reason> {
        let values = Values::Sample { types: &self.types };
        let terms = Terms { text: &self.original, filter: &self.filter, values, moment };
        let said = |addition: &Addition<'_>| Reason {
            table: format!("{}.{}", addition.table.schema, addition.table.name),
            column: addition.table.column.clone(),
            from: None,
            to: None,
            because: addition.said.iter().map(|span| span.of(&self.original).to_owned()).collect(),
        };
        router.additions(&terms).unwrap_or_default().iter().map(said).collect()
    }
}

impl Side {
    fn bound(&self, additions: &[Addition<'_>]) -> Bound {
        let same = |addition: &&Addition<'_>| {
            (addition.scope, addition.source, addition.clause.span.end)
                == (self.scope, self.source, self.place)
        };
        let none = if self.upper { Micros::MAX } else { Micros::MIN };
        let at = additions.iter().find(same).map_or(none, |addition| addition.end(self.upper, self.part));
        let at = match (is_writable(at), self.kind, self.upper) {
            // A part that holds nothing has its ends the wrong way round.
            (false, ..) if self.part > 0 => at,
            (false, ..) => none,
            (true, Kind::Date, false) => Unit::Day.ceiling(at),
            (true, Kind::Date, true) => Unit::Day.floor(at),
            _ => at,
        };
        Bound { kind: self.kind, at }
    }
}

fn side(addition: &Addition<'_>, upper: bool, part: u8) -> Side {
    Side {
        scope: addition.scope,
        source: addition.source,
        place: addition.clause.span.end,
        upper,
        part,
        kind: addition.kind,
    }
}

fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Timestamptz => "timestamptz",
        Kind::Timestamp => "timestamp",
        _ => "date",
    }
}
