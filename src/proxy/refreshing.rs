//! When a catalog is due to be read: at first use, when the schema was changed, when it is old; not too often,
//! and with patience when it fails. Knows the time only from its caller.

use std::time::{Duration, Instant};

/// After a failure the next attempt waits so long, doubling up to the last, with a random part so that many
/// databases of one server do not come back at once.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LAST: Duration = Duration::from_secs(300);
const PAUSE_DOUBLINGS: u32 = 9;

/// Schema changes that come in a row are read together.
const DEBOUNCE: Duration = Duration::from_secs(1);

/// Reading takes at most one part in so many of the time, where a catalog is large and temporary tables, which
/// count as schema changes, come all the time. Thousands of tables take a second.
const SHARE: u32 = 30;

/// What is seen of a database now.
pub(super) struct Look {
    pub(super) clients: i64,
    /// Since the start.
    pub(super) queries: u64,
    /// Schema changes since the start.
    pub(super) epoch: u64,
    /// Of the settings.
    pub(super) generation: u64,
    /// How old a catalog may get.
    pub(super) refresh: Duration,
}

/// When one database was read, and when it may be next.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    reading: bool,
    read: Option<Instant>,
    epoch: u64,
    generation: u64,
    queries: u64,
    failures: u32,
    not_before: Option<Instant>,
}

impl Schedule {
    /// Whether to read now; then `succeeded` or `failed` has to follow.
    pub(super) fn begin(&mut self, now: Instant, look: &Look) -> bool {
        let in_use = look.clients > 0 || look.queries != self.queries;
        self.queries = look.queries;
        if self.reading {
            return false;
        }
        if look.generation != self.generation {
            // Other settings: another user, another server.
            (self.generation, self.read, self.failures, self.not_before) = (look.generation, None, 0, None);
        }
        let old = self.read.is_none_or(|read| now.duration_since(read) >= look.refresh);
        let changed = look.epoch != self.epoch;
        let may = self.not_before.is_none_or(|moment| now >= moment);
        if !may || !(changed || (old && in_use)) {
            return false;
        }
        (self.reading, self.epoch) = (true, look.epoch);
        true
    }

    pub(super) fn succeeded(&mut self, now: Instant, took: Duration) {
        (self.reading, self.read, self.failures) = (false, Some(now), 0);
        self.not_before = Some(now + DEBOUNCE.max(took * SHARE));
    }

    /// `chance` is between 0 and 1.
    pub(super) fn failed(&mut self, now: Instant, chance: f64) {
        let pause = (PAUSE_FIRST * 2u32.pow(self.failures.min(PAUSE_DOUBLINGS))).min(PAUSE_LAST);
        self.failures += 1;
        self.reading = false;
        // What was changed meanwhile is still to be read, and so is a catalog that was never read.
        self.read = None;
        self.not_before = Some(now + pause.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn look(clients: i64, queries: u64, epoch: u64) -> Look {
        Look { clients, queries, epoch, generation: 0, refresh: 5 * MINUTE }
    }

    #[test]
    fn it_is_read_at_first_use_on_change_and_when_old() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        assert!(!schedule.begin(start, &look(0, 0, 0)), "nobody uses it");
        assert!(schedule.begin(start, &look(1, 0, 0)));
        assert!(!schedule.begin(start, &look(1, 0, 1)), "it is being read");
        schedule.succeeded(start, Duration::from_millis(20));
        assert!(!schedule.begin(start + Duration::from_millis(900), &look(1, 1, 1)), "too soon");
        assert!(schedule.begin(start + DEBOUNCE, &look(0, 1, 1)), "the schema was changed");
        schedule.succeeded(start + DEBOUNCE, Duration::from_secs(2));
        assert!(!schedule.begin(start + 10 * DEBOUNCE, &look(1, 1, 2)), "reading takes long");
        assert!(schedule.begin(start + 2 * MINUTE, &look(1, 1, 2)));
        schedule.succeeded(start + 2 * MINUTE, Duration::ZERO);
        assert!(!schedule.begin(start + 7 * MINUTE, &look(0, 1, 2)), "nobody uses it");
        assert!(schedule.begin(start + 7 * MINUTE, &look(0, 2, 2)), "somebody came and went");
    }

    #[test]
    fn failures_make_it_patient_and_a_reload_impatient() {
        let (mut schedule, mut now) = (Schedule::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..12 {
            assert!(schedule.begin(now, &look(1, 0, 0)));
            schedule.failed(now, 1.0);
            let begun = now;
            while !schedule.begin(now, &look(1, 0, 0)) {
                now += Duration::from_millis(500);
            }
            pauses.push((now - begun).as_secs());
            schedule.reading = false;
        }
        assert_eq!(pauses[..4], [1, 2, 4, 8]);
        assert_eq!(pauses[10..], [300, 300]);
        schedule.failed(now, 0.0);
        let reloaded = Look { generation: 1, ..look(1, 0, 0) };
        assert!(schedule.begin(now, &reloaded));
    }
}
