//! How many lines are written: token buckets, one for each shape and one for all, so that a storm of slow
//! statements cannot fill a disk. What is left out is counted. Knows no clock; the time comes in.

use std::collections::HashMap;

use super::settings::LinesPerMinute;
use crate::observe::ledger::Key;

/// Shapes with a bucket. More shapes than that are not slow at the same time; a bucket that is full and owes
/// no count is as good as none and makes room.
const BUCKETS_MAX: usize = 10_000;
const SWEEP_MS: u64 = 1_000;

/// So many lines, filled again within a minute.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Lines in it, in thousandths.
    level: u64,
    at_ms: u64,
    /// Left out since the last line.
    suppressed: u64,
}

impl Bucket {
    fn new(per_minute: u32, now_ms: u64) -> Self {
        Bucket { level: u64::from(per_minute) * 1000, at_ms: now_ms, suppressed: 0 }
    }

    fn fill(&mut self, per_minute: u32, now_ms: u64) {
        let (rate, passed) = (u64::from(per_minute), now_ms.saturating_sub(self.at_ms));
        let more = passed.saturating_mul(rate) / 60;
        // What is less than a thousandth of a line waits for the next look.
        if more > 0 || passed > 60_000 {
            self.at_ms = now_ms;
        }
        self.level = self.level.saturating_add(more).min(rate * 1000);
    }

    fn has_line(&self) -> bool {
        self.level >= 1000
    }
}

#[derive(Debug)]
pub struct Sampler {
    all: Bucket,
    shapes: HashMap<Key, Bucket>,
    /// When room was last made; looking through all of them for each line would cost more than the line.
    swept_ms: u64,
    limits: LinesPerMinute,
}

impl Sampler {
    pub fn new(limits: LinesPerMinute, now_ms: u64) -> Self {
        Sampler { all: Bucket::new(limits.all, now_ms), shapes: HashMap::new(), swept_ms: 0, limits }
    }

    /// Changes the limits; what was left out until now is remembered.
    pub fn set_limits(&mut self, limits: LinesPerMinute, now_ms: u64) {
        if limits != self.limits {
            self.limits = limits;
            self.all = Bucket::new(limits.all, now_ms);
            self.shapes.values_mut().for_each(|bucket| {
                *bucket = Bucket { suppressed: bucket.suppressed, ..Bucket::new(limits.per_shape, now_ms) };
            });
        }
    }

    /// Whether a line of this shape may be written now: `Some` with how many of the shape were left out since
    /// its last line.
    pub fn admit(&mut self, key: &Key, now_ms: u64) -> Option<u64> {
        let per_shape = self.limits.per_shape;
        self.all.fill(self.limits.all, now_ms);
        if !self.shapes.contains_key(key) {
            self.make_room(now_ms);
            if self.shapes.len() >= BUCKETS_MAX {
                return None;
            }
        }
        let bucket = self.shapes.entry(key.clone()).or_insert_with(|| Bucket::new(per_shape, now_ms));
        bucket.fill(per_shape, now_ms);
        if !bucket.has_line() || !self.all.has_line() {
            bucket.suppressed += 1;
            return None;
        }
        bucket.level -= 1000;
        self.all.level -= 1000;
        Some(std::mem::take(&mut bucket.suppressed))
    }

    fn make_room(&mut self, now_ms: u64) {
        if self.shapes.len() < BUCKETS_MAX || now_ms < self.swept_ms + SWEEP_MS {
            return;
        }
        self.swept_ms = now_ms;
        let (rate, full) = (self.limits.per_shape, u64::from(self.limits.per_shape) * 1000);
        self.shapes.retain(|_, bucket| {
            bucket.fill(rate, now_ms);
            bucket.level < full
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(fingerprint: u64) -> Key {
        Key { database: "app".into(), user: "me".into(), fingerprint }
    }

    #[test]
    fn a_storm_is_cut_and_counted() {
        let mut sampler = Sampler::new(LinesPerMinute { per_shape: 10, all: 100 }, 0);
        let written = (0..500).filter(|at| sampler.admit(&key(1), *at).is_some()).count();
        assert_eq!(written, 10);
        // A tenth of a minute later there is one more line, which says what is missing.
        assert_eq!(sampler.admit(&key(1), 6_100), Some(490));
        assert_eq!(sampler.admit(&key(1), 6_200), None);
        assert_eq!(sampler.admit(&key(2), 6_200), Some(0));
    }

    #[test]
    fn all_shapes_together_have_a_limit() {
        let mut sampler = Sampler::new(LinesPerMinute { per_shape: 10, all: 100 }, 0);
        let written = (0..1000).filter(|at| sampler.admit(&key(*at), 0).is_some()).count();
        assert_eq!(written, 100);
        sampler.set_limits(LinesPerMinute { per_shape: 0, all: 100 }, 0);
        assert_eq!(sampler.admit(&key(5000), 100_000), None, "0 writes nothing");
    }

    #[test]
    fn looking_often_fills_as_fast_as_looking_rarely() {
        let mut sampler = Sampler::new(LinesPerMinute { per_shape: 6, all: 100 }, 0);
        let written = (0..60_000).filter(|at| sampler.admit(&key(1), *at).is_some()).count();
        assert!((11..=12).contains(&written), "{written}");
    }

    #[test]
    fn buckets_are_bounded() {
        let mut sampler = Sampler::new(LinesPerMinute { per_shape: 1, all: 1_000_000 }, 0);
        for at in 0..BUCKETS_MAX as u64 + 10 {
            sampler.admit(&key(at), 0);
        }
        assert_eq!(sampler.shapes.len(), BUCKETS_MAX);
        assert!(sampler.admit(&key(99_999), 120_000).is_some());
        assert_eq!(sampler.shapes.len(), 1);
    }
}
