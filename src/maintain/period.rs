//! Intervals of the calendar: how they are written, which period a moment is in, what a period is called.
//! Moments are local: microseconds since 1970 on the clock of the table's time zone. Which instants they are
//! is the server's to say.

use std::fmt;

use super::civil::{self, DAY_US, Date, HOUR_US};

/// So many hours, days, weeks or months. Periods begin where the calendar's do: weeks on Monday, months on the
/// first, hours at midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    pub count: u32,
    pub unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

/// What is expected where an interval is written.
pub const FORM: &str = "expected hour, day, week, month, quarter or year, or several of them such as 2 weeks";

/// Longer than any policy that means something, and far from overflow.
const COUNT_MAX: u32 = 10_000;

/// Units as they are written, the singular first.
const UNITS: [(&str, Unit); 6] = [
    ("hour", Unit::Hour),
    ("day", Unit::Day),
    ("week", Unit::Week),
    ("month", Unit::Month),
    ("quarter", Unit::Quarter),
    ("year", Unit::Year),
];

impl Interval {
    pub const MONTH: Interval = Interval { count: 1, unit: Unit::Month };

    /// Reads `month`, `2 weeks`, `36 months`. `Err` says what is expected.
    pub fn parse(text: &str) -> Result<Interval, String> {
        let (count, word) = match text.split_once(' ') {
            None => (1, text),
            Some((count, word)) => (count.parse().map_err(|_| FORM.to_owned())?, word),
        };
        let singular = word.strip_suffix('s').unwrap_or(word);
        let unit = UNITS.iter().find(|(name, _)| *name == singular).map(|&(_, unit)| unit);
        match unit {
            Some(_) if !(1..=COUNT_MAX).contains(&count) => Err(format!("expected 1 to {COUNT_MAX} of them")),
            Some(unit) => Ok(Interval { count, unit }),
            None => Err(FORM.to_owned()),
        }
    }

    /// Whether its periods can divide the calendar. `Err` says why not.
    pub fn divides(self) -> Result<(), String> {
        match self.unit {
            Unit::Hour if !24u32.is_multiple_of(self.count) => {
                Err("a day must hold a whole number of them: 1, 2, 3, 4, 6, 8, 12 or 24 hours".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Months in one, or `None` where it is not made of months.
    fn months(self) -> Option<i64> {
        let each = match self.unit {
            Unit::Month => 1,
            Unit::Quarter => 3,
            Unit::Year => 12,
            Unit::Hour | Unit::Day | Unit::Week => return None,
        };
        Some(i64::from(self.count) * each)
    }

    /// The begin of the period that a local moment is in.
    pub fn floor(self, local: i64) -> i64 {
        let (day, count) = (local.div_euclid(DAY_US), i64::from(self.count));
        if let Some(months) = self.months() {
            let date = civil::date(day);
            let month = date.year * 12 + date.month - 1;
            return first_of(month - month.rem_euclid(months));
        }
        match self.unit {
            Unit::Hour => local - local.rem_euclid(count * HOUR_US),
            // Counted from 1970-01-01, and from the Monday before it.
            Unit::Week => (civil::monday(day) - (civil::monday(day) + 3).rem_euclid(7 * count)) * DAY_US,
            _ => (day - day.rem_euclid(count)) * DAY_US,
        }
    }

    /// The begin of the period after the one that begins at `floor`.
    pub fn next(self, floor: i64) -> i64 {
        self.shift(floor, 1)
    }

    /// A local moment so many intervals later, or earlier. Days that a month lacks become its last.
    pub fn shift(self, local: i64, times: i64) -> i64 {
        let count = i64::from(self.count) * times;
        match (self.months(), self.unit) {
            (Some(months), _) => shift_months(local, months * times),
            (None, Unit::Hour) => local + count * HOUR_US,
            (None, Unit::Week) => local + count * 7 * DAY_US,
            (None, _) => local + count * DAY_US,
        }
    }

    /// The end of a partition's name, for a period that begins at this local moment.
    pub fn name(self, floor: i64) -> String {
        let day = floor.div_euclid(DAY_US);
        let Date { year, month, day: of_month } = civil::date(day);
        // A BC year has no sign in a name.
        let year = if year > 0 { format!("{year:04}") } else { format!("bc{:04}", 1 - year) };
        match (self.unit, self.count) {
            (Unit::Year, _) => year,
            (Unit::Quarter, 1) => format!("{year}_q{}", (month - 1) / 3 + 1),
            (Unit::Month | Unit::Quarter, _) => format!("{year}_{month:02}"),
            (Unit::Week, 1) if day > civil::days(Date { year: 1, month: 1, day: 7 }) => {
                let (year, week) = civil::iso_week(day);
                format!("{year:04}_w{week:02}")
            }
            (Unit::Week | Unit::Day, _) => format!("{year}_{month:02}_{of_month:02}"),
            (Unit::Hour, _) => {
                let hour = floor.rem_euclid(DAY_US) / HOUR_US;
                format!("{year}_{month:02}_{of_month:02}_{hour:02}")
            }
        }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = UNITS.iter().find(|(_, unit)| *unit == self.unit).map_or("", |&(name, _)| name);
        match self.count {
            1 => f.write_str(name),
            count => write!(f, "{count} {name}s"),
        }
    }
}

/// The first moment of a month, counted from January of year 0.
fn first_of(month: i64) -> i64 {
    civil::days(Date { year: month.div_euclid(12), month: month.rem_euclid(12) + 1, day: 1 }) * DAY_US
}

fn shift_months(local: i64, months: i64) -> i64 {
    let (day, time) = (local.div_euclid(DAY_US), local.rem_euclid(DAY_US));
    let date = civil::date(day);
    let month = date.year * 12 + date.month - 1 + months;
    let first = first_of(month);
    let length = (first_of(month + 1) - first) / DAY_US;
    first + (date.day.min(length) - 1) * DAY_US + time
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn local(text: &str) -> i64 {
        civil::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn periods_begin_where_the_calendar_says() {
        for (interval, moment, begin, next, name) in [
            ("month", "2024-02-29 23:59:59", "2024-02-01", "2024-03-01", "2024_02"),
            ("year", "1969-07-20 20:17:00", "1969-01-01", "1970-01-01", "1969"),
            ("quarter", "2026-11-24", "2026-10-01", "2027-01-01", "2026_q4"),
            ("week", "2021-01-03", "2020-12-28", "2021-01-04", "2020_w53"),
            ("day", "2024-02-29 12:00:00", "2024-02-29", "2024-03-01", "2024_02_29"),
            ("day", "1969-12-31 23:00:00", "1969-12-31", "1970-01-01", "1969_12_31"),
            ("6 hours", "2026-03-29 07:00:00", "2026-03-29 06:00:00", "2026-03-29 12:00:00", "2026_03_29_06"),
            ("month", "9999-12-31", "9999-12-01", "10000-01-01", "9999_12"),
            ("month", "10000-01-15", "10000-01-01", "10000-02-01", "10000_01"),
            ("2 weeks", "1970-01-08", "1969-12-29", "1970-01-12", "1969_12_29"),
            ("10 days", "1970-01-11", "1970-01-11", "1970-01-21", "1970_01_11"),
            ("2 months", "2026-03-31", "2026-03-01", "2026-05-01", "2026_03"),
            ("month", "0001-06-15 00:00:00 BC", "0001-06-01 BC", "0001-07-01 BC", "bc0001_06"),
        ] {
            let period = Interval::parse(interval).unwrap();
            let floor = period.floor(local(moment));
            assert_eq!(civil::text(floor), civil::text(local(begin)), "{interval} of {moment}");
            assert_eq!(civil::text(period.next(floor)), civil::text(local(next)), "{interval} of {moment}");
            assert_eq!(period.name(floor), name);
        }
    }

    #[test]
    fn months_back_keep_to_the_calendar() {
        let keep = Interval::parse("12 months").unwrap();
        assert_eq!(civil::text(keep.shift(local("2024-02-29 05:00:00"), -1)), "2023-02-28 05:00:00");
        let keep = Interval::parse("36 months").unwrap();
        assert_eq!(keep.shift(local("2026-11-24"), -1), local("2023-11-24"));
    }

    #[test]
    fn intervals_are_read_strictly() {
        for good in ["day", "1 day", "2 weeks", "36 months", "quarter", "10 years", "6 hours"] {
            assert!(Interval::parse(good).is_ok(), "{good}");
        }
        for bad in
            ["", "days 2", "monthly", "0 days", "-1 days", "1.5 days", "2  days", "10001 days", "m", "s"]
        {
            assert!(Interval::parse(bad).is_err(), "{bad}");
        }
        assert!(Interval::parse("5 hours").unwrap().divides().is_err());
        assert!(Interval::parse("6 hours").unwrap().divides().is_ok());
        assert_eq!(Interval::parse("1 weeks").unwrap().to_string(), "week");
    }

    proptest! {
        /// Periods follow one another without gap or overlap, at any time of the calendar.
        #[test]
        fn periods_tile_the_calendar(
            us in -250_000_000_000_000_000i64..8_000_000_000_000_000_000,
            count in 1u32..30,
            unit in 0usize..6,
        ) {
            let interval = Interval { count, unit: UNITS[unit].1 };
            prop_assume!(interval.divides().is_ok());
            let floor = interval.floor(us);
            prop_assert!(floor <= us && us < interval.next(floor));
            prop_assert_eq!(interval.floor(floor), floor);
            prop_assert_eq!(interval.floor(interval.next(floor)), interval.next(floor));
            prop_assert_eq!(interval.floor(interval.next(floor) - 1), floor);
            prop_assert_eq!(Interval::parse(&interval.to_string()), Ok(interval));
        }
    }
}
