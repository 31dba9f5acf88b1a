//! Days, months and their arithmetic, on microseconds since 1970-01-01 00:00 of some clock, and how PostgreSQL reads
//! and writes them in ISO form. Pure. Knows no time zone: what a clock shows is all that counts here.

/// Microseconds since 1970-01-01 00:00.
pub type Micros = i64;

pub const SECOND: Micros = 1_000_000;
pub const MINUTE: Micros = 60 * SECOND;
pub const HOUR: Micros = 60 * MINUTE;
pub const DAY: Micros = 24 * HOUR;

/// The epoch of PostgreSQL's binary formats is 2000-01-01.
pub const POSTGRES_EPOCH: Micros = 10_957 * DAY;

/// PostgreSQL's first and last year are beyond these; what is beyond is not reckoned with here.
pub const YEAR_MIN: i64 = 1;
pub const YEAR_MAX: i64 = 9_999;

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar. Months beyond 1 to 12 and days beyond the
/// month's own count on.
pub fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = (year + (month - 1).div_euclid(12), (month - 1).rem_euclid(12) + 1);
    // March is the first month, so that a leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day.
pub fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

pub fn days_in_month(year: i64, month: i64) -> i64 {
    days(year, month + 1, 1) - days(year, month, 1)
}

/// So many months later at the same time of day; a day that the month lacks becomes its last one, as with
/// PostgreSQL.
pub fn add_months(at: Micros, months: i64) -> Option<Micros> {
    let (day, time) = (at.div_euclid(DAY), at.rem_euclid(DAY));
    let (year, month, day) = civil(day);
    let month = month.checked_add(months).filter(|month| month.abs() < 12 * YEAR_MAX)?;
    let (year, month) = (year + (month - 1).div_euclid(12), (month - 1).rem_euclid(12) + 1);
    let day = day.min(days_in_month(year, month));
    days(year, month, day).checked_mul(DAY)?.checked_add(time)
}

/// A unit of `date_trunc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Of a fixed length below a day.
    Time(Micros),
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl Unit {
    pub fn named(name: &str) -> Option<Unit> {
        const UNITS: [(&str, Unit); 10] = [
            ("microseconds", Unit::Time(1)),
            ("milliseconds", Unit::Time(1_000)),
            ("second", Unit::Time(SECOND)),
            ("minute", Unit::Time(MINUTE)),
            ("hour", Unit::Time(HOUR)),
            ("day", Unit::Day),
            ("week", Unit::Week),
            ("month", Unit::Month),
            ("quarter", Unit::Quarter),
            ("year", Unit::Year),
        ];
        let found = UNITS.iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
        found.map(|(_, unit)| *unit)
    }

    /// The start of the unit that holds this moment.
    pub fn floor(self, at: Micros) -> Micros {
        let day = at.div_euclid(DAY);
        let (year, month, _) = civil(day);
        match self {
            Unit::Time(length) => at.div_euclid(length) * length,
            Unit::Day => day * DAY,
            // 1970-01-05 was a Monday.
            Unit::Week => ((day - 4).div_euclid(7) * 7 + 4) * DAY,
            Unit::Month => days(year, month, 1) * DAY,
            Unit::Quarter => days(year, (month - 1) / 3 * 3 + 1, 1) * DAY,
            Unit::Year => days(year, 1, 1) * DAY,
        }
    }

    /// The start of the unit behind the one that holds this moment.
    pub fn next(self, at: Micros) -> Micros {
        let start = self.floor(at);
        let (year, month, _) = civil(start.div_euclid(DAY));
        match self {
            Unit::Time(length) => start + length,
            Unit::Day => start + DAY,
            Unit::Week => start + 7 * DAY,
            Unit::Month => days(year, month + 1, 1) * DAY,
            Unit::Quarter => days(year, month + 3, 1) * DAY,
            Unit::Year => days(year + 1, 1, 1) * DAY,
        }
    }

    /// The first start of a unit that is not before this moment.
    pub fn ceiling(self, at: Micros) -> Micros {
        let start = self.floor(at);
        if start == at { at } else { self.next(at) }
    }
}

/// `2024-03-01`, or with a time `2024-03-01 10:00:00.5`.
pub fn write(at: Micros, with_time: bool) -> String {
    let mut out = String::with_capacity(32);
    write_to(at, with_time, &mut out);
    out
}

/// The same behind what is there. By hand, since it is done for every narrowed statement.
pub fn write_to(at: Micros, with_time: bool, out: &mut String) {
    let (year, month, day) = civil(at.div_euclid(DAY));
    let time = at.rem_euclid(DAY);
    digits(year, 4, out);
    for number in [month, day] {
        out.push('-');
        digits(number, 2, out);
    }
    if !with_time {
        return;
    }
    for (before, number) in [(' ', time / HOUR), (':', time / MINUTE % 60), (':', time / SECOND % 60)] {
        out.push(before);
        digits(number, 2, out);
    }
    if time % SECOND > 0 {
        out.push('.');
        digits(time % SECOND, 6, out);
    }
}

fn digits(number: i64, width: u32, out: &mut String) {
    for place in (0..width).rev() {
        out.push(char::from(b'0' + (number / 10_i64.pow(place) % 10) as u8));
    }
}

/// What a text in ISO form says: a date, with or without a time, with or without an offset in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Iso {
    /// On the clock that the text is about.
    pub at: Micros,
    pub has_time: bool,
    pub offset_s: Option<i64>,
}

/// Reads `2024-03-01[ 10:00[:00[.000000]]][+00[:00]]`, which means the same under every DateStyle. All other ways
/// that PostgreSQL knows of writing a time are `None`, as are years beyond four digits.
pub fn read(text: &str) -> Option<Iso> {
    let text = text.trim_ascii();
    let bytes = text.as_bytes();
    let year = number(bytes.get(0..4)?)?;
    let month = number(bytes.get(5..7)?)?;
    let day = number(bytes.get(8..10)?)?;
    (bytes[4] == b'-' && bytes[7] == b'-').then_some(())?;
    let valid =
        year >= YEAR_MIN && (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    valid.then_some(())?;
    let date = days(year, month, day) * DAY;
    let rest = &bytes[10..];
    if rest.is_empty() {
        return Some(Iso { at: date, has_time: false, offset_s: None });
    }
    matches!(rest[0], b' ' | b'T').then_some(())?;
    let (time, rest) = time(&rest[1..])?;
    let offset_s = match rest {
        [] => None,
        [b'Z'] => Some(0),
        [b' ', sign @ (b'+' | b'-'), digits @ ..] | [sign @ (b'+' | b'-'), digits @ ..] => {
            let offset = offset(digits)?;
            Some(if *sign == b'-' { -offset } else { offset })
        }
        _ => return None,
    };
    Some(Iso { at: date + time, has_time: true, offset_s })
}

fn number(digits: &[u8]) -> Option<i64> {
    let valid = !digits.is_empty() && digits.len() < 10 && digits.iter().all(u8::is_ascii_digit);
    valid.then(|| digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}

/// `10:00[:00[.5]]`, and what follows.
fn time(bytes: &[u8]) -> Option<(Micros, &[u8])> {
    let hour = number(bytes.get(0..2)?)?;
    let minute = number(bytes.get(3..5)?)?;
    (bytes[2] == b':' && hour < 24 && minute < 60).then_some(())?;
    let (mut at, mut rest) = (hour * HOUR + minute * MINUTE, &bytes[5..]);
    if let [b':', tail @ ..] = rest {
        let second = number(tail.get(0..2)?)?;
        (second < 60).then_some(())?;
        at += second * SECOND;
        rest = &tail[2..];
        if let [b'.', tail @ ..] = rest {
            let digits = tail.iter().take_while(|byte| byte.is_ascii_digit()).count();
            // More digits would be rounded.
            (1..=6).contains(&digits).then_some(())?;
            at += number(&tail[..digits])? * 10_i64.pow(6 - digits as u32);
            rest = &tail[digits..];
        }
    }
    Some((at, rest))
}

/// `00`, `0000`, `00:00`: seconds east.
fn offset(digits: &[u8]) -> Option<i64> {
    let (hours, minutes) = match digits {
        [_, _] => (digits, &b"00"[..]),
        [_, _, b':', minutes @ ..] | [_, _, minutes @ ..] if minutes.len() == 2 => (&digits[..2], minutes),
        _ => return None,
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours <= 15 && minutes < 60).then_some(hours * 3_600 + minutes * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_each_others_inverse() {
        assert_eq!((days(1970, 1, 1), days(2000, 1, 1) * DAY), (0, POSTGRES_EPOCH));
        let mut day = days(-5, 1, 1);
        let mut last = civil(day - 1);
        while day < days(2500, 1, 1) {
            let (year, month, of_month) = civil(day);
            assert_eq!(days(year, month, of_month), day);
            assert!((year, month, of_month) > last);
            last = (year, month, of_month);
            day += 1;
        }
        assert_eq!((days_in_month(2024, 2), days_in_month(1900, 2), days_in_month(2000, 2)), (29, 28, 29));
    }

    #[test]
    fn texts_are_read_as_they_are_written() {
        for (text, expected) in [
            ("2024-03-01", Some(("2024-03-01 00:00:00", None))),
            (" 2024-03-01 10:20 ", Some(("2024-03-01 10:20:00", None))),
            ("2024-03-01T10:20:30.5Z", Some(("2024-03-01 10:20:30.500000", Some(0)))),
            ("2024-03-01 10:20:30+05:30", Some(("2024-03-01 10:20:30", Some(19_800)))),
            ("2024-03-01 10:20:30 -0330", Some(("2024-03-01 10:20:30", Some(-12_600)))),
            ("1900-02-29", None),
            ("2024-13-01", None),
            ("2024-03-01 24:00", None),
            ("2024-03-01 10:00:00.1234567", None),
            ("2024-03-01 BC", None),
            ("2024-03-01+00", None),
            ("0000-01-01", None),
            ("10000-01-01", None),
            ("01/02/2024", None),
            ("now", None),
            ("2024-03-01 10:00 Europe/Paris", None),
        ] {
            let found = read(text).map(|iso| (write(iso.at, true), iso.offset_s));
            assert_eq!(found, expected.map(|(text, offset)| (text.to_owned(), offset)), "{text}");
        }
    }

    #[test]
    fn units_hold_their_moments() {
        let at = read("2024-02-29 13:14:15.5").unwrap().at;
        for (name, floor, next) in [
            ("hour", "2024-02-29 13:00:00", "2024-02-29 14:00:00"),
            ("day", "2024-02-29 00:00:00", "2024-03-01 00:00:00"),
            ("week", "2024-02-26 00:00:00", "2024-03-04 00:00:00"),
            ("month", "2024-02-01 00:00:00", "2024-03-01 00:00:00"),
            ("quarter", "2024-01-01 00:00:00", "2024-04-01 00:00:00"),
            ("year", "2024-01-01 00:00:00", "2025-01-01 00:00:00"),
        ] {
            let unit = Unit::named(name).unwrap();
            assert_eq!(
                (write(unit.floor(at), true).as_str(), write(unit.next(at), true).as_str()),
                (floor, next)
            );
            assert_eq!(unit.ceiling(unit.floor(at)), unit.floor(at));
            assert_eq!(unit.ceiling(at), unit.next(at));
        }
        let month = |text: &str, months| write(add_months(read(text).unwrap().at, months).unwrap(), true);
        assert_eq!(month("2024-01-31 10:00", 1), "2024-02-29 10:00:00");
        assert_eq!(month("2024-01-31", -2), "2023-11-30 00:00:00");
        assert_eq!(month("2024-01-31", 12), "2025-01-31 00:00:00");
    }
}
