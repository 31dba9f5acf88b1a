//! What is known of a time zone: between which offsets from UTC its clocks have ever been since 1972. That is all
//! that the bounds need, however often the clocks were changed, and whichever way PostgreSQL reads a time that came
//! twice or never. Pure. Where the offsets come from is the caller's: the server's own, if it was asked.

use super::calendar::{DAY, HOUR, Micros, SECOND, days};
use super::range::{Range, shift};

/// Offsets in seconds east of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone {
    west_s: i32,
    east_s: i32,
}

/// Before this year the clocks of some places showed their own mean time, up to 15:56 h from Greenwich's, and some
/// zones are told differently by different versions of the time zone data.
const SURE_SINCE: i64 = 1972;

const LOCAL_MEAN_TIME: Micros = 16 * HOUR;

impl Zone {
    pub const UTC: Zone = Zone { west_s: 0, east_s: 0 };

    /// Any zone of the time zone data: from −12:00, at Kwajalein, to +14:00, at Kiritimati. An hour is added for
    /// what may still be decided somewhere.
    pub const ANY: Zone = Zone { west_s: -13 * 3_600, east_s: 15 * 3_600 };

    /// The least and the greatest offset since 1972. `None`: they are the wrong way round, or no zone's.
    pub fn between(west_s: i32, east_s: i32) -> Option<Zone> {
        let sane = west_s <= east_s && west_s >= -16 * 3_600 && east_s <= 16 * 3_600;
        sane.then_some(Zone { west_s, east_s })
    }

    /// A zone by its name alone. `None`: the name says nothing, as those of the POSIX form and zones with leap
    /// seconds.
    pub fn named(name: &str) -> Option<Zone> {
        const SAME_AS_UTC: [&str; 12] = [
            "UTC",
            "GMT",
            "UCT",
            "Zulu",
            "Universal",
            "Greenwich",
            "Etc/UTC",
            "Etc/GMT",
            "Etc/UCT",
            "Etc/Zulu",
            "Etc/Universal",
            "Etc/Greenwich",
        ];
        if SAME_AS_UTC.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            return Some(Zone::UTC);
        }
        let plain =
            name.len() > 1 && name.bytes().all(|byte| byte.is_ascii_alphabetic() || b"/_-".contains(&byte));
        let leaps = name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("right/"));
        (plain && !leaps).then_some(Zone::ANY)
    }

    fn offsets(self, at: Micros) -> (Micros, Micros) {
        if at < days(SURE_SINCE, 1, 1) * DAY {
            return (-LOCAL_MEAN_TIME, LOCAL_MEAN_TIME);
        }
        (Micros::from(self.west_s) * SECOND, Micros::from(self.east_s) * SECOND)
    }

    /// The moments at which the zone's clocks may have shown these times.
    pub fn moments(self, shown: Range) -> Range {
        Range::new(shift(shown.lo, -self.offsets(shown.lo).1), shift(shown.hi, -self.offsets(shown.hi).0))
    }

    /// What the zone's clocks may have shown at these moments.
    pub fn shown(self, moments: Range) -> Range {
        Range::new(
            shift(moments.lo, self.offsets(moments.lo).0),
            shift(moments.hi, self.offsets(moments.hi).1),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_say() {
        assert_eq!(Zone::named("etc/utc"), Some(Zone::UTC));
        for name in ["Europe/Paris", "CET", "America/Port-au-Prince"] {
            assert_eq!(Zone::named(name), Some(Zone::ANY), "{name}");
        }
        for name in ["<+03>-3", "EST5EDT", "Etc/GMT+12", "right/UTC", "", "Z", "+1", "posixrules "] {
            assert_eq!(Zone::named(name), None, "{name}");
        }
        assert_eq!(Zone::between(3_600, 0), None);
    }

    #[test]
    fn a_zone_widens_by_what_its_clocks_did() {
        let paris = Zone::between(3_600, 7_200).unwrap();
        let day = days(2024, 3, 1) * DAY;
        assert_eq!(paris.moments(Range::new(day, day)), Range::new(day - 2 * HOUR, day - HOUR));
        assert_eq!(paris.shown(Range::new(day, day)), Range::new(day + HOUR, day + 2 * HOUR));
        assert_eq!(paris.moments(Range::ALL), Range::ALL);
        let old = days(1900, 1, 1) * DAY;
        assert_eq!(Zone::UTC.moments(Range::new(old, day)), Range::new(old - 16 * HOUR, day));
    }
}
