//! Values as they stand in a text or come with a Bind: quoted strings, intervals, numbers, and PostgreSQL's binary
//! forms. Pure. Only what has one meaning under every DateStyle and IntervalStyle is read.

use super::calendar::{self, DAY, HOUR, MINUTE, Micros, POSTGRES_EPOCH, SECOND};
use super::range::FAR;

/// As PostgreSQL keeps it: three parts that do not add up without a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interval {
    pub months: i64,
    pub days: i64,
    pub micros: Micros,
}

impl Interval {
    pub fn negated(self) -> Interval {
        Interval { months: -self.months, days: -self.days, micros: self.micros.saturating_neg() }
    }

    /// How it compares with others: a month counts as 30 days, a day as 24 hours.
    pub fn compared(self) -> Option<Micros> {
        let days = self.months.checked_mul(30)?.checked_add(self.days)?;
        days.checked_mul(DAY)?.checked_add(self.micros)
    }
}

/// What is between the quotes of a plain string. `None`: an escape, or another form of string.
pub fn unquoted(literal: &str) -> Option<&str> {
    let inner = literal.strip_prefix('\'')?.strip_suffix('\'')?;
    (!inner.contains(['\'', '\\'])).then_some(inner)
}

/// `-12`, `3.5`; a sign may stand apart.
pub fn number(text: &str) -> Option<f64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits.trim_ascii()),
        None => (false, text.strip_prefix('+').unwrap_or(text).trim_ascii()),
    };
    let plain = digits.len() <= 15 && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = digits.parse().ok().filter(|_| plain)?;
    Some(if negative { -number } else { number })
}

/// `7 days`, `1 year 2 mons 03:04:05`, `-1 hour`. `unit` is that of `interval '7' day`. Forms that depend on
/// IntervalStyle, or are rare, are `None`.
pub fn interval(text: &str, unit: Option<&str>) -> Option<Interval> {
    if let Some(unit) = unit {
        // More than one number would be cut to the unit.
        let mut found = Interval::default();
        let number = text.trim_ascii().parse().ok().filter(|number: &i64| number.abs() < 1_000_000_000)?;
        return add(&mut found, number, unit).map(|()| found);
    }
    let mut words = text.split_ascii_whitespace();
    let (mut found, mut parts, mut negative) = (Interval::default(), 0, false);
    while let Some(word) = words.next() {
        parts += 1;
        negative |= word.starts_with('-');
        if word.contains(':') {
            found.micros = found.micros.checked_add(clock(word)?)?;
            continue;
        }
        // `7days` is written without a blank now and then.
        let digits = word.find(|char: char| char.is_ascii_alphabetic()).unwrap_or(word.len());
        let (number, glued) = word.split_at(digits);
        let name = if glued.is_empty() { words.next()? } else { glued };
        let number: i64 = number.parse().ok().filter(|number: &i64| number.abs() < 1_000_000_000)?;
        add(&mut found, number, name)?;
    }
    // The sign of the first part may or may not be that of those behind it.
    (parts > 0 && (!negative || parts == 1)).then_some(found)
}

fn add(to: &mut Interval, number: i64, unit: &str) -> Option<()> {
    let name = unit.to_ascii_lowercase();
    let (months, days, micros) = match name.strip_suffix('s').filter(|name| name.len() > 1).unwrap_or(&name) {
        "year" | "yr" | "y" => (12, 0, 0),
        "month" | "mon" => (1, 0, 0),
        "week" | "w" => (0, 7, 0),
        "day" | "d" => (0, 1, 0),
        "hour" | "hr" | "h" => (0, 0, HOUR),
        "minute" | "min" => (0, 0, MINUTE),
        "second" | "sec" => (0, 0, SECOND),
        _ => return None,
    };
    to.months += number * months;
    to.days += number * days;
    to.micros = to.micros.checked_add(number.checked_mul(micros)?)?;
    Some(())
}

/// `03:04:05.5`, `03:04`.
fn clock(word: &str) -> Option<Micros> {
    let mut parts = word.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next().unwrap_or("0"));
    let all_digits =
        |text: &str| !text.is_empty() && text.len() < 7 && text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let valid =
        parts.next().is_none() && [hours, minutes, whole, fraction].iter().all(|part| all_digits(part));
    valid.then_some(())?;
    let part = |text: &str| text.parse::<i64>().ok();
    let fraction = part(fraction)? * 10_i64.pow(6 - fraction.len() as u32);
    Some(part(hours)? * HOUR + part(minutes)? * MINUTE + part(whole)? * SECOND + fraction)
}

/// A value of a Bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    Null,
    Text(&'a str),
    Binary(&'a [u8]),
}

/// An int2, int4 or int8.
pub fn binary_integer(bytes: &[u8]) -> Option<i64> {
    match bytes.len() {
        2 => Some(i16::from_be_bytes(bytes.try_into().ok()?).into()),
        4 => Some(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        8 => Some(i64::from_be_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}

/// A timestamp with or without time zone. Infinity is none, nor is what a text could not say.
pub fn binary_timestamp(bytes: &[u8]) -> Option<Micros> {
    let micros = i64::from_be_bytes(bytes.try_into().ok()?);
    micros.checked_add(POSTGRES_EPOCH).filter(|at| is_writable(*at))
}

pub fn binary_date(bytes: &[u8]) -> Option<Micros> {
    let days = i32::from_be_bytes(bytes.try_into().ok()?);
    Some(i64::from(days) * DAY + POSTGRES_EPOCH).filter(|at| is_writable(*at))
}

pub fn binary_interval(bytes: &[u8]) -> Option<Interval> {
    let (micros, rest) = bytes.split_first_chunk()?;
    let (days, months) = rest.split_first_chunk()?;
    let months: &[u8; 4] = months.try_into().ok()?;
    let found = Interval {
        months: i32::from_be_bytes(*months).into(),
        days: i32::from_be_bytes(*days).into(),
        micros: i64::from_be_bytes(*micros),
    };
    // PostgreSQL 17 has infinite intervals, whose parts are all at their ends.
    let near = found.micros > -FAR && found.micros < FAR;
    (near && found.months.abs() < 1_000_000_000 && found.days.abs() < 1_000_000_000).then_some(found)
}

/// A bound as PostgreSQL's binary form has it; an end without a bound is infinite.
pub fn to_binary(at: Micros) -> [u8; 8] {
    match at {
        Micros::MIN | Micros::MAX => at.to_be_bytes(),
        at => at.saturating_sub(POSTGRES_EPOCH).to_be_bytes(),
    }
}

/// Whether a time can be written and read back: from year 1 to year 9999.
pub fn is_writable(at: Micros) -> bool {
    let day = at.div_euclid(DAY);
    day >= calendar::days(calendar::YEAR_MIN, 1, 1) && day < calendar::days(calendar::YEAR_MAX + 1, 1, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_where_they_have_one_meaning() {
        let some = |months, days, micros| Some(Interval { months, days, micros });
        for (text, unit, expected) in [
            ("7 days", None, some(0, 7, 0)),
            ("7days", None, some(0, 7, 0)),
            ("7", Some("DAY"), some(0, 7, 0)),
            ("1 year 2 mons 03:04:05.5", None, some(14, 0, 3 * HOUR + 4 * MINUTE + 5 * SECOND + 500_000)),
            ("-1 hour", None, some(0, 0, -HOUR)),
            ("2 weeks", None, some(0, 14, 0)),
            ("24:00:00", None, some(0, 0, DAY)),
            ("7 hours", Some("day"), None),
            ("-1 day 02:00", None, None),
            ("1 day -2 hours", None, None),
            ("1.5 days", None, None),
            ("P1D", None, None),
            ("1", None, None),
            ("1-2", None, None),
            ("", None, None),
            ("1 m", None, None),
            ("-00:10", None, None),
            ("7 fortnights", None, None),
        ] {
            assert_eq!(interval(text, unit), expected, "{text}");
        }
        let month = interval("1 month", None).unwrap();
        assert_eq!(month.compared(), Some(30 * DAY));
        assert_eq!(month.negated().compared(), Some(-30 * DAY));
    }

    #[test]
    fn numbers_and_binary_forms() {
        assert_eq!(number("- 12.5"), Some(-12.5));
        assert_eq!([number("1e5"), number("0x1f"), number("1_000"), number("")], [None; 4]);
        assert_eq!(binary_timestamp(&0_i64.to_be_bytes()), Some(POSTGRES_EPOCH));
        assert_eq!(binary_timestamp(&i64::MAX.to_be_bytes()), None);
        assert_eq!(binary_date(&1_i32.to_be_bytes()), Some(POSTGRES_EPOCH + DAY));
        assert_eq!(binary_timestamp(&to_binary(5)), Some(5));
        assert_eq!(to_binary(Micros::MAX), i64::MAX.to_be_bytes());
        let bytes = [&HOUR.to_be_bytes()[..], &2_i32.to_be_bytes(), &1_i32.to_be_bytes()].concat();
        assert_eq!(binary_interval(&bytes), Some(Interval { months: 1, days: 2, micros: HOUR }));
        assert_eq!(unquoted("'a'"), Some("a"));
        assert_eq!([unquoted("E'a'"), unquoted("'a''b'"), unquoted("'"), unquoted("$$a$$")], [None; 4]);
    }
}
