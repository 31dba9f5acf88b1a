//! From what an expression over the key must be to what the key must be. Pure. Every step gives a range that holds
//! all keys for which the expression may lie in its target, never one that is smaller.

use super::calendar::{DAY, Micros, Unit, add_months, days};
use super::fold::{Const, Terms};
use super::imply::Key;
use super::literal::Interval;
use super::range::{Range, clamped};
use super::{Kind, Values};
use crate::sql::filter::{Arithmetic, Func, Id, List, Node, Type};

/// Adding months is no one-to-one thing: 29, 30 and 31 January + 1 month are one day.
const MONTHS_SLACK: Micros = 4 * DAY;

/// `date_part` gives a double, which does not hold every microsecond.
const EPOCH_SLACK: Micros = 1_000;

/// What the formats of `to_char` say that are known here: how many digits of `YYYYMMDD`, and the separator.
const FORMATS: [(&str, usize, bool); 5] = [
    ("YYYY-MM-DD", 8, true),
    ("YYYY-MM", 6, true),
    ("YYYY", 4, false),
    ("YYYYMMDD", 8, false),
    ("YYYYMM", 6, false),
];

impl Terms<'_> {
    /// What an expression with the key in it is.
    pub(super) fn kind_of(&self, id: Id, key: &Key<'_>) -> Option<Kind> {
        let as_zoned = |kind: Kind| match kind {
            Kind::Timestamp => Some(kind),
            Kind::Date | Kind::Timestamptz => Some(Kind::Timestamptz),
            _ => None,
        };
        match self.filter.node(id) {
            Node::Column { .. } => Some(key.kind()),
            Node::Cast { to, .. } => Self::kind_of_type(to),
            Node::Extract { .. } => Some(Kind::Number),
            Node::AtZone { inner, .. } => self.kind_of(inner, key).map(other_side),
            Node::Call { func, args } => match (func, self.filter.list(args)) {
                (Func::DateTrunc, [_, time]) => self.kind_of(*time, key).and_then(as_zoned),
                (Func::DateTrunc, [_, _, _]) => Some(Kind::Timestamptz),
                (Func::DatePart, _) => Some(Kind::Number),
                (Func::ToChar, _) => Some(Kind::Text),
                (Func::Date, _) => Some(Kind::Date),
                (Func::Timezone, [_, time]) => self.kind_of(*time, key).map(other_side),
                (Func::Age, _) => Some(Kind::Interval),
                _ => None,
            },
            Node::Binary { op: Arithmetic::Divide, .. } => Some(Kind::Number),
            Node::Binary { op: Arithmetic::Multiply, .. } => None,
            Node::Binary { op, left, right } => self.kind_of_sum(op, left, right, key),
            _ => None,
        }
    }

    fn kind_of_sum(&self, op: Arithmetic, left: Id, right: Id, key: &Key<'_>) -> Option<Kind> {
        let (with_key, other) = if self.has_key(left, key) { (left, right) } else { (right, left) };
        let kind = self.kind_of(with_key, key)?;
        match (kind, self.fold(other, None)?) {
            (Kind::Date, Const::Number(_)) => Some(Kind::Date),
            (Kind::Date, Const::Interval(_)) => Some(Kind::Timestamp),
            (Kind::Timestamp | Kind::Timestamptz, Const::Interval(_)) => Some(kind),
            // Date − date is a number of days.
            (Kind::Date, Const::Time(Kind::Date, _)) if op == Arithmetic::Subtract => Some(Kind::Number),
            (_, Const::Time(..)) if op == Arithmetic::Subtract => Some(Kind::Interval),
            _ => None,
        }
    }

    /// The keys for which a time or interval may lie in `target`.
    pub(super) fn invert(&self, id: Id, target: Range, key: &Key<'_>) -> Option<Range> {
        match self.filter.node(id) {
            Node::Column { .. } => Some(target),
            Node::Cast { inner, to } => self.uncast(inner, Self::kind_of_type(to)?, target, key),
            Node::AtZone { inner, zone } => self.off_zone(inner, zone, target, key),
            Node::Call { func, args } => self.uncall(func, args, target, key),
            Node::Binary { op, left, right } => self.unbinary(op, left, right, target, key),
            _ => None,
        }
    }

    fn uncast(&self, inner: Id, to: Kind, target: Range, key: &Key<'_>) -> Option<Range> {
        let from = self.kind_of(inner, key)?;
        self.invert(inner, self.unconverted(from, to, target)?, key)
    }

    /// The times of one kind which, as another, may lie in `target`.
    pub(super) fn unconverted(&self, from: Kind, to: Kind, target: Range) -> Option<Range> {
        let within = || {
            let whole = |lo: Micros| Some(Unit::Day.ceiling(lo));
            target.map(whole, |hi| Some(Unit::Day.next(hi) - 1))
        };
        Some(match (from, to) {
            _ if from == to => target,
            (Kind::Timestamptz, Kind::Timestamp) => self.zone().moments(target),
            (Kind::Timestamptz, Kind::Date) => self.zone().moments(within()),
            (Kind::Timestamp, Kind::Date) => within(),
            (Kind::Date, Kind::Timestamp) => target,
            (Kind::Date | Kind::Timestamp, Kind::Timestamptz) => self.zone().shown(target),
            _ => return None,
        })
    }

    fn off_zone(&self, inner: Id, zone: Id, target: Range, key: &Key<'_>) -> Option<Range> {
        let zone = self.zone_of(zone)?;
        match self.kind_of(inner, key)? {
            Kind::Timestamp => self.invert(inner, zone.shown(target), key),
            Kind::Timestamptz => self.invert(inner, zone.moments(target), key),
            from @ Kind::Date => {
                let moments = self.unconverted(from, Kind::Timestamptz, zone.moments(target))?;
                self.invert(inner, moments, key)
            }
            _ => None,
        }
    }

    fn uncall(&self, func: Func, args: List, target: Range, key: &Key<'_>) -> Option<Range> {
        match (func, self.filter.list(args)) {
            (Func::DateTrunc, [unit, time]) => {
                let (unit, from) = (self.unit(*unit)?, self.kind_of(*time, key)?);
                if from == Kind::Timestamp {
                    return self.invert(*time, untruncated(unit, target), key);
                }
                let moments = untruncated_in(unit, self.zone(), target);
                self.invert(*time, self.unconverted(from, Kind::Timestamptz, moments)?, key)
            }
            (Func::DateTrunc, [unit, time, zone]) => {
                let from = self.kind_of(*time, key)?;
                let moments = untruncated_in(self.unit(*unit)?, self.zone_of(*zone)?, target);
                self.invert(*time, self.unconverted(from, Kind::Timestamptz, moments)?, key)
            }
            (Func::Date, [time]) => self.uncast(*time, Kind::Date, target, key),
            (Func::Timezone, [zone, time]) => self.off_zone(*time, *zone, target, key),
            (Func::Age, [time]) => {
                let today = self.convert(Kind::Timestamptz, Kind::Date, self.moment.now)?;
                self.unaged(today, *time, target, key)
            }
            (Func::Age, [base, time]) if self.has_key(*time, key) => {
                let shown =
                    self.convert(Kind::Timestamptz, Kind::Timestamp, self.time(*base, Kind::Timestamptz)?)?;
                self.unaged(shown, *time, target, key)
            }
            _ => None,
        }
    }

    /// `age` counts years, months and days of the calendar back from `base`, and compares with a month as 30 days.
    fn unaged(&self, base: Range, time: Id, target: Range, key: &Key<'_>) -> Option<Range> {
        let back = |from: Micros, total: Micros| {
            let whole = total.div_euclid(DAY);
            (0..=3_000_000).contains(&whole).then_some(())?;
            Some(add_months(from, -(whole / 30))? - (whole % 30 + 1) * DAY)
        };
        // The least age bounds the latest time and the other way round.
        let lo = if target.has_hi() && base.has_lo() {
            back(base.lo, target.hi)? - MONTHS_SLACK
        } else {
            Micros::MIN
        };
        let hi = if target.has_lo() && base.has_hi() && target.lo >= 0 {
            back(base.hi, target.lo)? + MONTHS_SLACK + DAY
        } else {
            Micros::MAX
        };
        let from = self.kind_of(time, key)?;
        let shown = self.unconverted(Kind::Timestamptz, Kind::Timestamp, Range::new(lo, hi))?;
        let shown = if from == Kind::Timestamptz { shown } else { Range::new(lo, hi) };
        self.invert(time, shown, key)
    }

    fn unbinary(&self, op: Arithmetic, left: Id, right: Id, target: Range, key: &Key<'_>) -> Option<Range> {
        let on_left = self.has_key(left, key);
        let (with_key, other) = if on_left { (left, right) } else { (right, left) };
        let kind = self.kind_of(with_key, key)?;
        let sign = |by: Interval| if op == Arithmetic::Subtract { by.negated() } else { by };
        match self.fold(other, None)? {
            Const::Interval(by) if on_left || op == Arithmetic::Add => {
                self.invert(with_key, self.minus(kind, target, sign(by))?, key)
            }
            Const::Number(days) if kind == Kind::Date && (on_left || op == Arithmetic::Add) => {
                (days.fract() == 0.0 && days.abs() < 1e7).then_some(())?;
                let by = Interval { days: days as i64, ..Interval::default() };
                self.invert(with_key, self.minus(Kind::Timestamp, target, sign(by))?, key)
            }
            Const::Time(of, base) if op == Arithmetic::Subtract => {
                // The lesser kind becomes the other.
                let wide = of.max(kind);
                let base = self.convert(of, wide, base)?;
                let times = if on_left { added(target, base) } else { subtracted(base, target) };
                self.invert(with_key, self.unconverted(kind, wide, times)?, key)
            }
            _ => None,
        }
    }

    /// The times which, with this interval added, may lie in `target`.
    fn minus(&self, kind: Kind, target: Range, by: Interval) -> Option<Range> {
        let (zone, zoned) = (self.zone(), kind == Kind::Timestamptz);
        let mut at = target.shifted(by.micros.saturating_neg());
        if by.days != 0 {
            let shown = if zoned { zone.shown(at) } else { at };
            let before = shown.shifted(-by.days.checked_mul(DAY)?);
            at = if zoned { zone.moments(before) } else { before };
        }
        if by.months != 0 {
            let shown = if zoned { zone.shown(at) } else { at };
            let back = |at: Micros| add_months(at, -by.months);
            let before = shown.map(back, back).widened(MONTHS_SLACK);
            at = if zoned { zone.moments(before) } else { before };
        }
        Some(at)
    }

    // --- numbers and texts ---

    /// The keys for which a number may lie between two.
    pub(super) fn invert_number(&self, id: Id, from: f64, to: f64, key: &Key<'_>) -> Option<Range> {
        match self.filter.node(id) {
            Node::Binary { op: Arithmetic::Divide, left, right } if self.has_key(left, key) => {
                let by = self.number(right).filter(|by| *by > 0.0)?;
                // Of whole numbers the quotient would be one too.
                let (field, _) = self.extracted(left)?;
                // The quotient is rounded.
                let (from, to) = (from * by - 0.001, to * by + 0.001);
                (field == "epoch").then(|| self.invert_number(left, from, to, key))?
            }
            Node::Binary { op: Arithmetic::Subtract, left, right } => {
                // Dates: a number of days.
                let day = |number: f64| clamped((number * DAY as f64).clamp(-9e18, 9e18) as Micros);
                let at = |number: f64, none| if number.is_finite() { day(number) } else { none };
                let target = Range::new(at(from.ceil(), Micros::MIN), at(to.floor(), Micros::MAX));
                self.unbinary(Arithmetic::Subtract, left, right, target, key)
            }
            _ => {
                let (field, time) = self.extracted(id)?;
                match field.to_ascii_lowercase().as_str() {
                    "epoch" => {
                        let micros = |seconds: f64| clamped((seconds * 1e6).clamp(-9e18, 9e18) as Micros);
                        let at =
                            |seconds: f64, none| if seconds.is_finite() { micros(seconds) } else { none };
                        let range = Range::new(at(from, Micros::MIN), at(to, Micros::MAX));
                        let kind = self.kind_of(time, key)?;
                        // Of an interval with months PostgreSQL counts otherwise than it compares.
                        let plain = !matches!(self.filter.node(time), Node::Call { func: Func::Age, .. });
                        // Whole seconds are exact in every form of numbers.
                        let exact = |seconds: f64| !seconds.is_finite() || seconds.fract() == 0.0;
                        let slack = if exact(from) && exact(to) { 0 } else { EPOCH_SLACK };
                        (plain && kind != Kind::Number)
                            .then(|| self.invert(time, range.widened(slack), key))?
                    }
                    "year" => {
                        let first = |year: f64| days(year as i64, 1, 1) * DAY;
                        let sane = |year: f64| year.abs() < 9_999.0;
                        let lo = if sane(from.ceil()) { first(from.ceil()) } else { Micros::MIN };
                        let hi = if sane(to.floor()) { first(to.floor() + 1.0) - 1 } else { Micros::MAX };
                        // There is no year 0, so that below 1 nothing is certain.
                        let lo = if from.ceil() >= 1.0 { lo } else { Micros::MIN };
                        let hi = if to.floor() >= 1.0 { hi } else { Micros::MAX };
                        self.invert_shown(time, Range::new(lo, hi), key)
                    }
                    _ => None,
                }
            }
        }
    }

    /// Field and time of `extract` and `date_part`.
    pub(super) fn extracted(&self, id: Id) -> Option<(&str, Id)> {
        match self.filter.node(id) {
            Node::Extract { field, from } => Some((field.of(self.text).trim_matches('\''), from)),
            Node::Call { func: Func::DatePart, args } => match self.filter.list(args) {
                [field, time] => match self.fold(*field, Some(Kind::Text))? {
                    Const::Text(field) => Some((field, *time)),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        }
    }

    /// The keys for which what the session's clock shows of a time may lie in `shown`.
    pub(super) fn invert_shown(&self, time: Id, shown: Range, key: &Key<'_>) -> Option<Range> {
        match self.kind_of(time, key)? {
            Kind::Timestamptz => self.invert(time, self.zone().moments(shown), key),
            Kind::Timestamp | Kind::Date => self.invert(time, shown, key),
            _ => None,
        }
    }

    /// `to_char(time, format) = text`.
    pub(super) fn invert_text(&self, id: Id, text: &str, key: &Key<'_>) -> Option<Range> {
        let Node::Call { func: Func::ToChar, args } = self.filter.node(id) else {
            return None;
        };
        let [time, format] = self.filter.list(args) else {
            return None;
        };
        // A year before Christ is written like one after.
        key.table.only_after_christ.then_some(())?;
        let Const::Text(format) = self.fold(*format, Some(Kind::Text))? else {
            return None;
        };
        let (_, digits, dashed) = *FORMATS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(format))?;
        let text = if let Values::Sample { .. } = self.values { "2024-03-15" } else { text };
        let plain: String = text.chars().filter(|char| *char != '-').take(digits).collect();
        let mut whole = plain.clone();
        whole.push_str(["", "", "", "", "0101", "", "01", "", ""].get(plain.len()).copied()?);
        let date =
            super::calendar::read(&format!("{}-{}-{}", whole.get(..4)?, whole.get(4..6)?, whole.get(6..8)?))?;
        let unit = match digits {
            8 => Unit::Day,
            6 => Unit::Month,
            _ => Unit::Year,
        };
        // What is no such text at all equals none, which is not for us to say.
        let again = if dashed { text.len() == digits + digits / 2 - 2 } else { text.len() == digits };
        let sample = matches!(self.values, Values::Sample { .. });
        (sample || again).then_some(())?;
        let shown = Range::new(date.at, unit.next(date.at) - 1);
        match self.kind_of(*time, key)? {
            Kind::Date => {
                // PostgreSQL makes a moment of it first.
                let moments = self.zone().moments(shown);
                self.invert(*time, self.unconverted(Kind::Date, Kind::Timestamptz, moments)?, key)
            }
            _ => self.invert_shown(*time, shown, key),
        }
    }
}

/// AT TIME ZONE takes the zone from one that has it, and gives it to one that has none.
fn other_side(kind: Kind) -> Kind {
    if kind == Kind::Timestamp { Kind::Timestamptz } else { Kind::Timestamp }
}

fn untruncated(unit: Unit, target: Range) -> Range {
    target.map(|lo| Some(unit.ceiling(lo)), |hi| Some(unit.next(hi) - 1))
}

/// The moments whose truncation on a zone's clock may lie in `target`. From the hour down, PostgreSQL keeps the
/// offset of the moment itself.
fn untruncated_in(unit: Unit, zone: super::zone::Zone, target: Range) -> Range {
    match unit {
        Unit::Time(length) => target.map(Some, |hi| hi.checked_add(length - 1)),
        _ => zone.moments(untruncated(unit, zone.shown(target))),
    }
}

/// `a + b`, end by end.
fn added(one: Range, other: Range) -> Range {
    let both = |one: Micros, other: Micros, none: Micros| {
        if one == none || other == none { none } else { clamped(one.saturating_add(other)) }
    };
    Range::new(both(one.lo, other.lo, Micros::MIN), both(one.hi, other.hi, Micros::MAX))
}

/// `a − b`.
fn subtracted(one: Range, other: Range) -> Range {
    let lo =
        if one.has_lo() && other.has_hi() { clamped(one.lo.saturating_sub(other.hi)) } else { Micros::MIN };
    let hi =
        if one.has_hi() && other.has_lo() { clamped(one.hi.saturating_sub(other.lo)) } else { Micros::MAX };
    Range::new(lo, hi)
}

/// A cast to this type keeps the order of times.
pub(super) fn is_time(of: Type) -> bool {
    matches!(of, Type::Date | Type::Timestamp | Type::Timestamptz)
}
