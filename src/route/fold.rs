//! Expressions without a column: between which values they lie. Pure. What depends on the session's time zone or
//! on the clock is as wide as these are uncertain, so that the true value is always within.

use super::calendar::{self, DAY, Micros, SECOND, Unit, add_months, days};
use super::literal::{self, Interval, Value};
use super::range::Range;
use super::zone::Zone;
use super::{Kind, Moment, Values};
use crate::sql::filter::{Arithmetic, Filter, Func, Id, List, Node, Span, Type};

/// What a constant is known to be. Times are on the axis of their kind, see [`Kind`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Const<'a> {
    Time(Kind, Range),
    Interval(Interval),
    Number(f64),
    Text(&'a str),
    Null,
}

/// The types of `pg_type` that are known here.
mod oid {
    pub const INT: [u32; 3] = [20, 21, 23];
    pub const TEXT: [u32; 2] = [25, 1043];
    pub const DATE: u32 = 1082;
    pub const TIMESTAMP: u32 = 1114;
    pub const TIMESTAMPTZ: u32 = 1184;
    pub const INTERVAL: u32 = 1186;
}

/// A statement's expressions, and all that their values depend on.
pub struct Terms<'a> {
    pub text: &'a str,
    pub filter: &'a Filter,
    pub values: Values<'a>,
    pub moment: &'a Moment<'a>,
}

/// The moment that stands for a parameter which is not known yet.
const SAMPLE: Micros = 19_797 * DAY + DAY / 2;

impl<'a> Terms<'a> {
    pub(super) fn zone(&self) -> Zone {
        self.moment.zone
    }

    /// The zone that a constant names.
    pub(super) fn zone_of(&self, id: Id) -> Option<Zone> {
        match self.fold(id, Some(Kind::Text))? {
            Const::Text(name) => self.moment.zone_named(name),
            _ => None,
        }
    }

    pub(super) fn literal(&self, span: Span) -> Option<&'a str> {
        literal::unquoted(span.of(self.text))
    }

    pub(super) fn kind_of_type(of: Type) -> Option<Kind> {
        Some(match of {
            Type::Date => Kind::Date,
            Type::Timestamp => Kind::Timestamp,
            Type::Timestamptz => Kind::Timestamptz,
            Type::Interval => Kind::Interval,
            Type::Integer | Type::Number => Kind::Number,
            Type::Text => Kind::Text,
            Type::Range => return None,
        })
    }

    /// The value of an expression; one of unknown type is read as `want`.
    pub(super) fn fold(&self, id: Id, want: Option<Kind>) -> Option<Const<'a>> {
        match self.filter.node(id) {
            Node::String => {
                let text = self.literal(self.filter.span(id))?;
                self.text_as(text, want.unwrap_or(Kind::Text))
            }
            Node::Number => literal::number(self.filter.span(id).of(self.text)).map(Const::Number),
            Node::Parameter(number) => self.parameter(number, want),
            Node::Null => Some(Const::Null),
            Node::Typed { of, value, unit } => {
                let text = self.literal(value)?;
                match unit {
                    Some(unit) => literal::interval(text, Some(unit.of(self.text))).map(Const::Interval),
                    None => self.text_as(text, Self::kind_of_type(of)?),
                }
            }
            Node::Cast { inner, to } => self.cast(inner, to),
            Node::Call { func, args } => self.call(func, args),
            Node::AtZone { inner, zone } => self.at_zone(inner, zone),
            Node::Binary { op, left, right } => self.binary(op, left, right),
            _ => None,
        }
    }

    /// A quoted literal of unknown type, read as PostgreSQL's input function reads it.
    fn text_as(&self, text: &'a str, kind: Kind) -> Option<Const<'a>> {
        match kind {
            Kind::Text => return Some(Const::Text(text)),
            Kind::Interval => return literal::interval(text, None).map(Const::Interval),
            Kind::Number => return literal::number(text).map(Const::Number),
            Kind::Date | Kind::Timestamp | Kind::Timestamptz => {}
        }
        let iso = calendar::read(text)?;
        Some(Const::Time(
            kind,
            match kind {
                Kind::Timestamptz => match iso.offset_s {
                    Some(offset) => Range::at(iso.at - offset * SECOND),
                    None => self.zone().moments(Range::at(iso.at)),
                },
                // An offset is read and thrown away.
                Kind::Timestamp => Range::at(iso.at),
                _ => Range::at(Unit::Day.floor(iso.at)),
            },
        ))
    }

    fn parameter(&self, number: u16, want: Option<Kind>) -> Option<Const<'a>> {
        let at = usize::from(number).checked_sub(1)?;
        let declared = self.values.types().get(at).copied().unwrap_or(0);
        let kind = match declared {
            0 => want?,
            oid::DATE => Kind::Date,
            oid::TIMESTAMP => Kind::Timestamp,
            oid::TIMESTAMPTZ => Kind::Timestamptz,
            oid::INTERVAL => Kind::Interval,
            of if oid::INT.contains(&of) => Kind::Number,
            of if oid::TEXT.contains(&of) => Kind::Text,
            _ => return None,
        };
        let values = match self.values {
            Values::None => return None,
            Values::Sample { .. } => return Some(sample(kind)),
            Values::Bound { values, .. } => values,
        };
        match *values.get(at)? {
            Value::Null => Some(Const::Null),
            Value::Text(text) => self.text_as(text, kind),
            Value::Binary(bytes) => binary_as(bytes, kind, declared),
        }
    }

    fn cast(&self, inner: Id, to: Type) -> Option<Const<'a>> {
        let kind = Self::kind_of_type(to)?;
        match self.fold(inner, Some(kind))? {
            Const::Null => Some(Const::Null),
            Const::Time(from, range) => Some(Const::Time(kind, self.convert(from, kind, range)?)),
            Const::Text(text) => self.text_as(text, kind),
            found @ Const::Interval(_) if kind == Kind::Interval => Some(found),
            // A cast to an integer rounds.
            Const::Number(number) if kind == Kind::Number => {
                (to == Type::Number || number.fract() == 0.0).then_some(Const::Number(number))
            }
            _ => None,
        }
    }

    /// A time of one kind as another; as PostgreSQL casts it.
    pub(super) fn convert(&self, from: Kind, to: Kind, range: Range) -> Option<Range> {
        let floor = |range: Range| range.map(|lo| Some(Unit::Day.floor(lo)), |hi| Some(Unit::Day.floor(hi)));
        Some(match (from, to) {
            _ if from == to => range,
            (Kind::Timestamptz, Kind::Timestamp) => self.zone().shown(range),
            (Kind::Timestamptz, Kind::Date) => floor(self.zone().shown(range)),
            (Kind::Timestamp, Kind::Date) => floor(range),
            (Kind::Date, Kind::Timestamp) => range,
            (Kind::Date | Kind::Timestamp, Kind::Timestamptz) => self.zone().moments(range),
            _ => return None,
        })
    }

    /// The time of a constant as this kind.
    pub(super) fn time(&self, id: Id, kind: Kind) -> Option<Range> {
        match self.fold(id, Some(kind))? {
            Const::Time(from, range) => self.convert(from, kind, range),
            _ => None,
        }
    }

    pub(super) fn number(&self, id: Id) -> Option<f64> {
        match self.fold(id, Some(Kind::Number))? {
            Const::Number(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn whole(&self, id: Id) -> Option<i64> {
        let number = self.number(id)?;
        (number.fract() == 0.0 && number.abs() < 1e12).then_some(number as i64)
    }

    pub(super) fn unit(&self, id: Id) -> Option<Unit> {
        match self.fold(id, Some(Kind::Text))? {
            Const::Text(name) => Unit::named(name),
            _ => None,
        }
    }

    fn call(&self, func: Func, args: List) -> Option<Const<'a>> {
        let args = self.filter.list(args);
        let now = self.moment.now;
        match (func, args) {
            // The precision of current_timestamp(0) rounds.
            (Func::Now, _) => Some(Const::Time(Kind::Timestamptz, now.widened(SECOND))),
            (Func::ClockTimestamp, []) => Some(Const::Time(Kind::Timestamptz, Range::from(now.lo))),
            (Func::LocalTimestamp, _) => {
                Some(Const::Time(Kind::Timestamp, self.zone().shown(now.widened(SECOND))))
            }
            (Func::CurrentDate, []) => {
                Some(Const::Time(Kind::Date, self.convert(Kind::Timestamptz, Kind::Date, now)?))
            }
            (Func::DateTrunc, [unit, time]) => self.truncate(self.unit(*unit)?, *time),
            (Func::Date, [time]) => self.cast(*time, Type::Date),
            (Func::Timezone, [zone, time]) => self.at_zone(*time, *zone),
            (Func::ToTimestamp, [number]) => {
                let micros = self.number(*number)? * 1e6;
                (micros.abs() < 2e17).then_some(())?;
                let range = Range::at(micros.round() as Micros).widened(1);
                Some(Const::Time(Kind::Timestamptz, range))
            }
            (Func::MakeDate, [year, month, day]) => {
                Some(Const::Time(Kind::Date, Range::at(self.date(*year, *month, *day)?)))
            }
            (Func::MakeTimestamptz, [year, month, day, hour, minute, second]) => {
                let second = self.whole(*second).filter(|second| (0..60).contains(second))?;
                let (hour, minute) = (self.whole(*hour)?, self.whole(*minute)?);
                ((0..24).contains(&hour) && (0..60).contains(&minute)).then_some(())?;
                let time = ((hour * 60 + minute) * 60 + second) * SECOND;
                let shown = Range::at(self.date(*year, *month, *day)? + time);
                Some(Const::Time(Kind::Timestamptz, self.zone().moments(shown)))
            }
            (Func::ToDate, [text, format]) => {
                let (Const::Text(text), Const::Text(format)) =
                    (self.fold(*text, Some(Kind::Text))?, self.fold(*format, Some(Kind::Text))?)
                else {
                    return None;
                };
                (format.eq_ignore_ascii_case("yyyy-mm-dd") && text.len() == 10).then_some(())?;
                self.text_as(text, Kind::Date)
            }
            _ => None,
        }
    }

    fn date(&self, year: Id, month: Id, day: Id) -> Option<Micros> {
        let (year, month, day) = (self.whole(year)?, self.whole(month)?, self.whole(day)?);
        let valid = (calendar::YEAR_MIN..=calendar::YEAR_MAX).contains(&year)
            && (1..=12).contains(&month)
            && (1..=calendar::days_in_month(year, month)).contains(&day);
        valid.then(|| days(year, month, day) * DAY)
    }

    fn truncate(&self, unit: Unit, time: Id) -> Option<Const<'a>> {
        let floor = |range: Range| range.map(|lo| Some(unit.floor(lo)), |hi| Some(unit.floor(hi)));
        match self.fold(time, Some(Kind::Timestamptz))? {
            Const::Time(Kind::Timestamp, range) => Some(Const::Time(Kind::Timestamp, floor(range))),
            Const::Time(from, range) => {
                let shown = self.zone().shown(self.convert(from, Kind::Timestamptz, range)?);
                Some(Const::Time(Kind::Timestamptz, self.zone().moments(floor(shown))))
            }
            Const::Null => Some(Const::Null),
            _ => None,
        }
    }

    fn at_zone(&self, inner: Id, zone: Id) -> Option<Const<'a>> {
        let zone = self.zone_of(zone)?;
        match self.fold(inner, Some(Kind::Timestamptz))? {
            Const::Time(Kind::Timestamp, range) => Some(Const::Time(Kind::Timestamptz, zone.moments(range))),
            Const::Time(from, range) => {
                let moments = self.convert(from, Kind::Timestamptz, range)?;
                Some(Const::Time(Kind::Timestamp, zone.shown(moments)))
            }
            Const::Null => Some(Const::Null),
            _ => None,
        }
    }

    fn binary(&self, op: Arithmetic, left: Id, right: Id) -> Option<Const<'a>> {
        let (one, other) = match op {
            // `number * interval`: what is unknown is a number.
            Arithmetic::Multiply => {
                (self.fold(left, Some(Kind::Number))?, self.fold(right, Some(Kind::Number))?)
            }
            // A literal of unknown type behind a minus would be read as the type of the other side.
            _ => (self.fold(left, None)?, self.fold(right, None)?),
        };
        match (op, one, other) {
            (_, Const::Null, _) | (_, _, Const::Null) => Some(Const::Null),
            (Arithmetic::Add, Const::Interval(by), Const::Time(kind, at))
            | (Arithmetic::Add, Const::Time(kind, at), Const::Interval(by)) => self.plus(kind, at, by),
            (Arithmetic::Subtract, Const::Time(kind, at), Const::Interval(by)) => {
                self.plus(kind, at, by.negated())
            }
            (Arithmetic::Add, Const::Time(Kind::Date, at), Const::Number(days)) => date_plus(at, days),
            (Arithmetic::Subtract, Const::Time(Kind::Date, at), Const::Number(days)) => date_plus(at, -days),
            (Arithmetic::Add, Const::Interval(one), Const::Interval(other)) => sum(one, other),
            (Arithmetic::Subtract, Const::Interval(one), Const::Interval(other)) => sum(one, other.negated()),
            (Arithmetic::Multiply, Const::Interval(one), Const::Number(times))
            | (Arithmetic::Multiply, Const::Number(times), Const::Interval(one)) => multiple(one, times),
            (Arithmetic::Multiply, Const::Number(one), Const::Number(other)) => {
                Some(Const::Number(one * other))
            }
            _ => None,
        }
    }

    fn plus(&self, kind: Kind, at: Range, by: Interval) -> Option<Const<'a>> {
        let months = |at: Range| at.map(|lo| add_months(lo, by.months), |hi| add_months(hi, by.months));
        let days = by.days.checked_mul(DAY)?;
        match kind {
            Kind::Date | Kind::Timestamp => {
                let at = months(at).shifted(days).shifted(by.micros);
                Some(Const::Time(Kind::Timestamp, at))
            }
            Kind::Timestamptz => {
                let mut at = at;
                if by.months != 0 {
                    at = self.zone().moments(months(self.zone().shown(at)));
                }
                if by.days != 0 {
                    at = self.zone().moments(self.zone().shown(at).shifted(days));
                }
                Some(Const::Time(Kind::Timestamptz, at.shifted(by.micros)))
            }
            _ => None,
        }
    }
}

fn sample(kind: Kind) -> Const<'static> {
    match kind {
        Kind::Date => Const::Time(kind, Range::at(Unit::Day.floor(SAMPLE))),
        Kind::Timestamp | Kind::Timestamptz => Const::Time(kind, Range::at(SAMPLE)),
        Kind::Interval => Const::Interval(Interval { months: 0, days: 1, micros: 0 }),
        Kind::Number => Const::Number(2024.0),
        Kind::Text => Const::Text("2024-03-15"),
    }
}

fn binary_as(bytes: &[u8], kind: Kind, declared: u32) -> Option<Const<'_>> {
    match kind {
        Kind::Date => literal::binary_date(bytes).map(|at| Const::Time(kind, Range::at(at))),
        Kind::Timestamp | Kind::Timestamptz => {
            literal::binary_timestamp(bytes).map(|at| Const::Time(kind, Range::at(at)))
        }
        Kind::Interval => literal::binary_interval(bytes).map(Const::Interval),
        // Of unknown type it may be a float.
        Kind::Number if declared != 0 => {
            literal::binary_integer(bytes).map(|number| Const::Number(number as f64))
        }
        Kind::Number => None,
        Kind::Text => str::from_utf8(bytes).ok().map(Const::Text),
    }
}

fn date_plus(at: Range, days: f64) -> Option<Const<'static>> {
    let whole = days.fract() == 0.0 && days.abs() < 1e7;
    whole.then(|| Const::Time(Kind::Date, at.shifted(days as i64 * DAY)))
}

fn sum(one: Interval, other: Interval) -> Option<Const<'static>> {
    Some(Const::Interval(Interval {
        months: one.months.checked_add(other.months)?,
        days: one.days.checked_add(other.days)?,
        micros: one.micros.checked_add(other.micros)?,
    }))
}

/// A multiple that is no whole number would spill months into days.
fn multiple(one: Interval, times: f64) -> Option<Const<'static>> {
    (times.fract() == 0.0 && times.abs() < 1e6).then_some(())?;
    let times = times as i64;
    Some(Const::Interval(Interval {
        months: one.months.checked_mul(times)?,
        days: one.days.checked_mul(times)?,
        micros: one.micros.checked_mul(times)?,
    }))
}
