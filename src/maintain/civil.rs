//! Calendar arithmetic: days since 1970-01-01, the Gregorian calendar before and after it, ISO weeks, and
//! timestamps as PostgreSQL writes them in the ISO style. Knows no time zone and no clock.

/// Microseconds of an hour and of a day.
pub const HOUR_US: i64 = 3_600_000_000;
pub const DAY_US: i64 = 24 * HOUR_US;

/// A day of the calendar that PostgreSQL uses, also for days before its introduction. Year 0 is 1 BC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    pub year: i64,
    pub month: i64,
    pub day: i64,
}

/// Days of 400 years, after which the calendar repeats.
const ERA_DAYS: i64 = 146_097;

/// From 0000-03-01, where a year's leap day is its last, to 1970-01-01.
const SHIFT: i64 = 719_468;

/// Days since 1970-01-01; negative before it.
pub fn days(date: Date) -> i64 {
    let year = if date.month <= 2 { date.year - 1 } else { date.year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = (date.month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + date.day - 1;
    era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - SHIFT
}

/// The day that is so many days after 1970-01-01.
pub fn date(days: i64) -> Date {
    let shifted = days + SHIFT;
    let (era, of_era) = (shifted.div_euclid(ERA_DAYS), shifted.rem_euclid(ERA_DAYS));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Date { year, month, day }
}

/// Monday of the week that a day is in.
pub fn monday(days: i64) -> i64 {
    // 1970-01-01 was a Thursday.
    days - (days + 3).rem_euclid(7)
}

/// The ISO week of a day: the year that its Thursday is in, and the week's number there.
pub fn iso_week(days: i64) -> (i64, i64) {
    let thursday = monday(days) + 3;
    let year = date(thursday).year;
    let first = self::days(Date { year, month: 1, day: 1 });
    (year, (thursday - first) / 7 + 1)
}

/// A point in time without a zone, in microseconds since 1970, as PostgreSQL writes a timestamp.
pub fn text(us: i64) -> String {
    let (day, rest) = (us.div_euclid(DAY_US), us.rem_euclid(DAY_US));
    let (date, era) = date_text(day);
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let fraction = match fraction {
        0 => String::new(),
        us => format!(".{us:06}").trim_end_matches('0').to_owned(),
    };
    format!("{date} {hour:02}:{minute:02}:{second:02}{fraction}{era}")
}

/// A day as PostgreSQL writes a date.
pub fn day_text(days: i64) -> String {
    let (date, era) = date_text(days);
    format!("{date}{era}")
}

fn date_text(days: i64) -> (String, &'static str) {
    let Date { year, month, day } = date(days);
    let (shown, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    (format!("{shown:04}-{month:02}-{day:02}"), era)
}

/// Reads what [`text`] and [`day_text`] write, and a timestamp with the offset `+00`: microseconds since 1970.
/// `None`: it is something else, or beyond what 64 bits of microseconds hold.
pub fn parse(text: &str) -> Option<i64> {
    let (text, before_christ) = match text.strip_suffix(" BC") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let (day, time) = text.split_once(' ').unwrap_or((text, "00:00:00"));
    let mut parts = day.split('-').map(digits);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if before_christ { 1 - year } else { year };
    let time = time.strip_suffix("+00").unwrap_or(time);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = clock.split(':').map(digits);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || hour > 24 || minute > 59 || second > 60 || fraction.len() > 6 {
        return None;
    }
    let fraction = if fraction.is_empty() { 0 } else { digits(&format!("{fraction:0<6}"))? };
    let seconds = hour * 3_600 + minute * 60 + second;
    days(Date { year, month, day }).checked_mul(DAY_US)?.checked_add(seconds * 1_000_000 + fraction)
}

fn digits(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.len() <= 7 && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn days_that_people_know() {
        let day = |year, month, day| days(Date { year, month, day });
        assert_eq!(day(1970, 1, 1), 0);
        assert_eq!(day(1969, 12, 31), -1);
        assert_eq!(day(2000, 2, 29) + 1, day(2000, 3, 1));
        assert_eq!(day(1900, 2, 28) + 1, day(1900, 3, 1));
        assert_eq!(day(2024, 2, 28) + 2, day(2024, 3, 1));
        assert_eq!(day(9999, 12, 31) + 1, day(10_000, 1, 1));
        assert_eq!(day(0, 12, 31) + 1, day(1, 1, 1));
    }

    #[test]
    fn week_53_belongs_to_the_year_of_its_thursday() {
        let week = |year, month, day| iso_week(days(Date { year, month, day }));
        assert_eq!(week(2020, 12, 31), (2020, 53));
        assert_eq!(week(2021, 1, 3), (2020, 53));
        assert_eq!(week(2021, 1, 4), (2021, 1));
        assert_eq!(week(2026, 12, 31), (2026, 53));
        assert_eq!(week(2027, 1, 1), (2026, 53));
        assert_eq!(week(2018, 12, 31), (2019, 1));
        assert_eq!(week(1969, 12, 29), (1970, 1));
    }

    #[test]
    fn texts_are_those_of_postgresql() {
        for (us, expected) in [
            (0, "1970-01-01 00:00:00"),
            (-1, "1969-12-31 23:59:59.999999"),
            (1_500_000, "1970-01-01 00:00:01.5"),
            (253_402_300_800_000_000, "10000-01-01 00:00:00"),
            (-62_135_596_800_000_000, "0001-01-01 00:00:00"),
            (-62_135_596_800_000_000 - DAY_US, "0001-12-31 00:00:00 BC"),
        ] {
            assert_eq!(text(us), expected);
            assert_eq!(parse(expected), Some(us), "{expected}");
        }
        assert_eq!(parse("2026-03-01 00:00:00+00"), parse("2026-03-01"));
        for bad in ["", "infinity", "2026-13-01", "2026-03", "2026-03-01 00:00:00+01", "294277000-01-01"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn days_and_dates_are_inverse(day in -2_000_000i64..110_000_000) {
            let found = date(day);
            prop_assert_eq!(days(found), day);
            prop_assert!((1..=12).contains(&found.month) && (1..=31).contains(&found.day));
            prop_assert!(monday(day) <= day && day < monday(day) + 7 && date(monday(day)) <= found);
        }

        #[test]
        fn texts_are_read_back(us in -200_000_000_000_000_000i64..9_000_000_000_000_000_000) {
            prop_assert_eq!(parse(&text(us)), Some(us));
        }
    }
}
