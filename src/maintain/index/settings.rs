//! What pgweir may do to indexes by itself, as the section `indexes.auto` of the rules says, and when it has to
//! leave a server alone. Plain data.

use std::fmt;
use std::time::Duration;

use crate::advise::Confidence;

/// The section `indexes.auto`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoSettings {
    /// Default false: indexes are built on an operator's command only.
    pub enabled: bool,
    /// Tables that may get indexes, as `schema.name`, `*` standing for anything. Default: all.
    pub tables: Vec<String>,
    /// When a build may begin. `None`: at any time.
    pub hours: Option<Hours>,
    /// Whose hours they are; the server knows the names. Default UTC.
    pub time_zone: String,
    /// All that were built by itself and are still there. Default 1 GiB.
    pub budget_bytes: u64,
    /// Indexes that are being built, or whose worth is not known yet. Default 1.
    pub at_once: usize,
    /// What advice has to be worth at least. Default high. An estimate is never enough.
    pub confidence: Confidence,
    pub guard: Guard,
    pub verify: Verify,
}

/// When a build has to wait. Holds for commands too, unless they say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// How far a standby may be behind. A build writes as much log as the index is large. Default 10 s, 64 MiB.
    pub max_lag: Duration,
    pub max_lag_bytes: u64,
    /// Statements that run at the same time. Default 20.
    pub max_active: u32,
    /// Age of the oldest transaction, which a build CONCURRENTLY waits for. Default 15 min.
    pub max_transaction: Duration,
}

/// When the worth of an index is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verify {
    /// Calls of a shape after which its new times are believed. Default 30.
    pub calls: u64,
    /// What is not known after this counts as not there. Default 1 d.
    pub within: Duration,
    /// Another statement that reads may take so much longer than before. Default 10 %.
    pub slower_percent: u32,
    /// A statement that writes may take so much longer. Default 50 %: each index costs those who write something,
    /// which was weighed before.
    pub slower_writes_percent: u32,
}

impl Default for AutoSettings {
    fn default() -> Self {
        AutoSettings {
            enabled: false,
            tables: vec!["*".to_owned()],
            hours: None,
            time_zone: "UTC".to_owned(),
            budget_bytes: 1024 * 1024 * 1024,
            at_once: 1,
            confidence: Confidence::High,
            guard: Guard {
                max_lag: Duration::from_secs(10),
                max_lag_bytes: 64 * 1024 * 1024,
                max_active: 20,
                max_transaction: Duration::from_secs(15 * 60),
            },
            verify: Verify {
                calls: 30,
                within: Duration::from_secs(24 * 3600),
                slower_percent: 10,
                slower_writes_percent: 50,
            },
        }
    }
}

/// From one time of day to another, in minutes since midnight; over midnight if the second is the lesser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    from: u16,
    to: u16,
}

impl Hours {
    /// Such as `22:00-06:00`.
    pub fn parse(text: &str) -> Option<Hours> {
        let (from, to) = text.split_once('-')?;
        let hours = Hours { from: minutes(from.trim())?, to: minutes(to.trim())? };
        (hours.from != hours.to).then_some(hours)
    }

    /// `time`: such as `03:30`. What is no time is in no hours.
    pub fn hold(&self, time: &str) -> bool {
        minutes(time).is_some_and(|now| match self.from < self.to {
            true => (self.from..self.to).contains(&now),
            false => now >= self.from || now < self.to,
        })
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hours { from, to } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

fn minutes(time: &str) -> Option<u16> {
    let (hour, minute) = time.split_once(':')?;
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (hour < 24 && minute < 60 || hour == 24 && minute == 0).then_some(hour * 60 + minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_hold_over_midnight() {
        let night = Hours::parse("22:00-06:00").unwrap();
        assert!(night.hold("23:59") && night.hold("00:00") && night.hold("05:59"));
        assert!(!night.hold("06:00") && !night.hold("12:00") && !night.hold("21:59") && !night.hold("x"));
        let day = Hours::parse("09:30 - 24:00").unwrap();
        assert!(day.hold("09:30") && day.hold("23:59") && !day.hold("09:29"));
        assert_eq!(night.to_string(), "22:00-06:00");
        for bad in ["", "22-6", "25:00-06:00", "06:00-06:00", "06:00", "a:b-c:d"] {
            assert_eq!(Hours::parse(bad), None, "{bad}");
        }
    }
}
