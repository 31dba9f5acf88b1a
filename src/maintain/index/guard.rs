//! Whether a server has room for a build right now. Decides by what was seen; asks nobody.

use super::settings::{AutoSettings, Guard};
use crate::probe::building::Load;

/// A build under way is broken off when standbys are behind by so many times what is allowed.
const BREAK_OFF: u32 = 4;

/// Why no build should begin now.
pub fn objection(load: &Load, guard: &Guard) -> Option<String> {
    if load.standby {
        return Some("the server is a standby: indexes are built where writes go".to_owned());
    }
    if load.hidden > 0 {
        return Some(
            "a standby follows, and this user may not see how far it is behind: GRANT pg_monitor to it"
                .to_owned(),
        );
    }
    if let Some(lag) = lag(load, guard, 1) {
        return Some(lag);
    }
    if load.active > i64::from(guard.max_active) {
        return Some(format!(
            "{} statements run at the same time (indexes.auto.max_active: {})",
            load.active, guard.max_active
        ));
    }
    if load.oldest_s > guard.max_transaction.as_secs_f64() {
        return Some(format!(
            "a transaction is open since {:.0} s, which the build would wait for (indexes.auto.max_transaction: {} s)",
            load.oldest_s,
            guard.max_transaction.as_secs()
        ));
    }
    None
}

/// Why a build that is under way should not go on.
pub fn break_off(load: &Load, guard: &Guard) -> Option<String> {
    lag(load, guard, BREAK_OFF)
}

fn lag(load: &Load, guard: &Guard, times: u32) -> Option<String> {
    let (most_s, most_bytes) =
        (guard.max_lag * times, guard.max_lag_bytes.saturating_mul(u64::from(times)) as f64);
    let seconds = load.lag_s > most_s.as_secs_f64();
    (seconds || load.lag_bytes > most_bytes).then(|| {
        format!(
            "a standby is {:.0} s and {:.0} MB behind (indexes.auto.max_lag: {} s, max_lag_size: {} MB)",
            load.lag_s,
            load.lag_bytes / f64::from(1 << 20),
            guard.max_lag.as_secs(),
            guard.max_lag_bytes >> 20
        )
    })
}

/// What a command is told of and goes on all the same.
pub fn warnings(load: &Load, settings: &AutoSettings) -> Vec<String> {
    let outside = settings.hours.filter(|hours| !hours.hold(&load.time));
    let outside = outside.map(|hours| {
        let (time, zone) = (&load.time, &settings.time_zone);
        format!("it is {time} in {zone}, outside of indexes.auto.hours ({hours})")
    });
    outside.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_its_reason() {
        let guard = AutoSettings::default().guard;
        let calm = Load { time: "03:00".to_owned(), followers: 1, ..Load::default() };
        assert_eq!(objection(&calm, &guard), None);
        let why = |load: Load| objection(&load, &guard).unwrap_or_default();
        assert!(why(Load { standby: true, ..calm.clone() }).contains("is a standby"));
        assert!(why(Load { hidden: 1, ..calm.clone() }).contains("pg_monitor"));
        assert!(why(Load { lag_s: 11.0, ..calm.clone() }).contains("max_lag"));
        assert!(why(Load { lag_bytes: 1e9, ..calm.clone() }).contains("954 MB behind"));
        assert!(why(Load { active: 21, ..calm.clone() }).contains("max_active"));
        assert!(why(Load { oldest_s: 901.0, ..calm.clone() }).contains("max_transaction"));
        assert_eq!(break_off(&Load { lag_s: 11.0, ..calm.clone() }, &guard), None);
        assert!(break_off(&Load { lag_s: 41.0, ..calm }, &guard).is_some());
    }
}
