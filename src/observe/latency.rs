//! A histogram of durations that is fine enough for percentiles: four buckets to each doubling, so a value
//! read from it is at most a fifth too high. One writer, any number of readers.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Buckets to each doubling, and their number as a power of two.
const STEPS: usize = 4;
const STEP_BITS: u32 = 2;

/// Up to 2^37 µs, which is a day and a half.
const BUCKETS: usize = 37 * STEPS;

/// Durations by bucket.
#[derive(Debug)]
pub struct Latency([AtomicU32; BUCKETS]);

impl Default for Latency {
    fn default() -> Self {
        Latency([const { AtomicU32::new(0) }; BUCKETS])
    }
}

/// What several histograms come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution(Vec<u64>);

impl Default for Distribution {
    fn default() -> Self {
        Distribution(vec![0; BUCKETS])
    }
}

impl Latency {
    #[inline]
    pub fn observe_us(&self, us: u64) {
        let bucket = &self.0[bucket(us)];
        bucket.store(bucket.load(Relaxed).saturating_add(1), Relaxed);
    }

    pub fn add_to(&self, distribution: &mut Distribution) {
        for (sum, bucket) in distribution.0.iter_mut().zip(&self.0) {
            *sum += u64::from(bucket.load(Relaxed));
        }
    }
}

impl Distribution {
    pub fn add(&mut self, other: &Distribution) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, more)| *sum += more);
    }

    /// The duration in µs that the fraction `p` (0 to 1) of all durations does not exceed; 0 when there are
    /// none. It is the upper end of a bucket.
    pub fn percentile(&self, p: f64) -> u64 {
        let total: u64 = self.0.iter().sum();
        let rank = ((total as f64 * p).ceil() as u64).max(1);
        let mut below = 0;
        for (at, count) in self.0.iter().enumerate() {
            below += count;
            if total > 0 && below >= rank {
                return upper(at);
            }
        }
        0
    }

    /// The buckets that hold something, as their upper ends in µs and counts; for people.
    pub fn counts(&self) -> impl Iterator<Item = (u64, u64)> {
        let filled = self.0.iter().enumerate().filter(|&(_, &count)| count > 0);
        filled.map(|(at, &count)| (upper(at), count))
    }

    /// The buckets that hold something, as (index, count); for a file.
    pub fn sparse(&self) -> Vec<(u16, u64)> {
        let filled = self.0.iter().enumerate().filter(|&(_, &count)| count > 0);
        filled.map(|(at, &count)| (at as u16, count)).collect()
    }

    /// The inverse of `sparse`; buckets that do not exist are left out.
    pub fn from_sparse(buckets: &[(u16, u64)]) -> Self {
        let mut all = Distribution::default();
        for &(at, count) in buckets {
            if let Some(sum) = all.0.get_mut(usize::from(at)) {
                *sum += count;
            }
        }
        all
    }
}

/// Values below `STEPS` have a bucket each; above, a bucket is the leading bits of the value.
#[inline]
fn bucket(us: u64) -> usize {
    if us < STEPS as u64 {
        return us as usize;
    }
    let octave = us.ilog2() - STEP_BITS;
    let step = (us >> octave) as usize - STEPS;
    ((octave as usize + 1) * STEPS + step).min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let (octave, step) = (bucket / STEPS - 1, bucket % STEPS);
    (((STEPS + step + 1) as u64) << octave) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_every_value_once() {
        for us in (0..5_000).chain([u64::from(u32::MAX), 1 << 36]) {
            let at = bucket(us);
            assert!(us <= upper(at), "{us}");
            assert!(at == 0 || us > upper(at - 1), "{us}");
            assert!(upper(at) as f64 <= us as f64 * 1.25, "{us}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_never_too_low() {
        let latency = Latency::default();
        (1..=1000).for_each(|us| latency.observe_us(us));
        let mut all = Distribution::default();
        assert_eq!(all.percentile(0.99), 0);
        latency.add_to(&mut all);
        assert!((990..=1200).contains(&all.percentile(0.99)));
        assert!((500..=625).contains(&all.percentile(0.5)));
        assert_eq!(Distribution::from_sparse(&all.sparse()), all);
    }
}
