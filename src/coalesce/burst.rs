//! The same look-up from many connections in one moment, as resolvers and `Promise.all` send it. A small
//! table per worker; a steady stream of the same statement is no burst. Pure.

use super::Thresholds;
use super::episode::{Class, Episode};

/// Shapes looked at together. Two that share a place forget each other.
const PLACES: usize = 256;

/// A burst begins after such a pause, and is over within such a time.
const QUIET_US: u64 = 100_000;
const BURST_US: u64 = 100_000;

/// For how long a shape's usual rate is remembered; and what is too short a time to tell a rate from, µs.
const RATE_US: u64 = 60_000_000;
const RATE_LEAST_US: u64 = 1_000_000;

/// So many are a burst at first sight, fewer when another one was seen not longer ago than this. With both,
/// chance makes less than one finding a month of a shape, however often it comes.
const SURE: f64 = 8.0;
const AGAIN_US: u64 = 600_000_000;

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// 0: empty.
    fingerprint: u64,
    /// Whose shape it is, as the caller numbers them.
    pool: usize,
    begin_us: u64,
    last_us: u64,
    count: u32,
    /// How often another session asked than the time before.
    switches: u32,
    session: u64,
    time_us: u64,
    /// How often it was asked before this burst, since when.
    before: u32,
    since_us: u64,
    /// When the last burst was, sure or not; 0: none.
    burst_us: u64,
}

/// What is going on at one worker.
#[derive(Debug)]
pub struct Bursts(Box<[Place; PLACES]>);

impl Default for Bursts {
    fn default() -> Self {
        Bursts(Box::new([Place::default(); PLACES]))
    }
}

impl Bursts {
    /// A session asks. Returns the burst of this shape that was over by now.
    #[inline]
    pub fn asked(
        &mut self,
        (pool, fingerprint): (usize, u64),
        session: u64,
        now_us: u64,
        thresholds: &Thresholds,
    ) -> Option<(usize, Episode)> {
        let place = &mut self.0[(fingerprint as usize ^ pool) % PLACES];
        let same = place.fingerprint == fingerprint && place.pool == pool;
        if same && now_us.saturating_sub(place.last_us) <= QUIET_US {
            place.count = place.count.saturating_add(1);
            place.switches += u32::from(place.session != session);
            (place.session, place.last_us) = (session, now_us);
            return None;
        }
        let old = std::mem::take(place);
        let known =
            if same { old.rest(now_us, thresholds) } else { Place { since_us: now_us, ..Place::default() } };
        *place = Place { fingerprint, pool, begin_us: now_us, last_us: now_us, count: 1, session, ..known };
        old.judge(thresholds)
    }

    /// One of them was answered.
    pub fn answered(&mut self, (pool, fingerprint): (usize, u64), time_us: u64) {
        let place = &mut self.0[(fingerprint as usize ^ pool) % PLACES];
        if place.fingerprint == fingerprint && place.pool == pool {
            place.time_us += time_us;
        }
    }

    /// The bursts that are over by now.
    pub fn sweep(&mut self, now_us: u64, thresholds: &Thresholds) -> Vec<(usize, Episode)> {
        let over = |place: &&mut Place| place.count != 0 && now_us.saturating_sub(place.last_us) > QUIET_US;
        let end = |place: &mut Place| {
            let ended = place.judge(thresholds);
            *place = place.rest(now_us, thresholds);
            ended
        };
        self.0.iter_mut().filter(over).filter_map(end).collect()
    }
}

impl Place {
    /// What is remembered when this burst is over. Older times count half.
    fn rest(&self, now_us: u64, thresholds: &Thresholds) -> Place {
        let (asked, age) = (self.before.saturating_add(self.count), now_us.saturating_sub(self.since_us));
        let (before, since_us) =
            if age > RATE_US { (asked / 2, now_us - age / 2) } else { (asked, self.since_us) };
        let burst_us = if self.excess(thresholds).is_some() { self.last_us } else { self.burst_us };
        Place {
            fingerprint: self.fingerprint,
            pool: self.pool,
            before,
            since_us,
            burst_us,
            ..Place::default()
        }
    }

    /// How many more they were than chance explains, if it may have been a burst: it came in a short time, from
    /// many sessions, and far more often than it usually comes. Requests that have nothing to do with each other
    /// meet as well, and the more so the more there are.
    fn excess(&self, thresholds: &Thresholds) -> Option<f64> {
        let span = self.last_us.saturating_sub(self.begin_us);
        let many = self.count >= thresholds.minimum && self.switches + 1 >= thresholds.minimum;
        let before = self.begin_us.saturating_sub(self.since_us).max(RATE_LEAST_US);
        let by_chance = f64::from(self.before) / before as f64 * span as f64;
        let excess = f64::from(self.count) - 6.0 * by_chance;
        (span <= BURST_US && many && excess >= 4.5).then_some(excess)
    }

    fn judge(&self, thresholds: &Thresholds) -> Option<(usize, Episode)> {
        let excess = self.excess(thresholds)?;
        let again = self.burst_us > 0 && self.begin_us.saturating_sub(self.burst_us) <= AGAIN_US;
        (again || excess >= SURE).then_some((
            self.pool,
            Episode {
                class: Class::Concurrent,
                fingerprint: self.fingerprint,
                count: self.count,
                distinct: self.switches + 1,
                time_us: self.time_us,
                parent: None,
            },
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(asks: &[(u64, u64)]) -> usize {
        let (mut bursts, thresholds) = (Bursts::default(), Thresholds::default());
        let mut found = 0;
        for &(session, at_us) in asks {
            found += usize::from(bursts.asked((1, 7), session, at_us, &thresholds).is_some());
        }
        found + bursts.sweep(u64::MAX, &thresholds).len()
    }

    #[test]
    fn many_connections_at_once_are_a_burst() {
        let burst = |begin: u64| (0..8).map(move |at| (at, begin + at * 500));
        assert_eq!(play(&burst(1_000_000).collect::<Vec<_>>()), 1);
        assert_eq!(play(&burst(1_000_000).chain(burst(2_000_000)).collect::<Vec<_>>()), 2);
    }

    #[test]
    fn a_small_burst_is_one_when_it_comes_again() {
        let burst = |begin: u64| (0..6).map(move |at| (at, begin + at * 500));
        assert_eq!(play(&burst(1_000_000).collect::<Vec<_>>()), 0);
        assert_eq!(play(&burst(1_000_000).chain(burst(60_000_000)).collect::<Vec<_>>()), 1);
    }

    #[test]
    fn visitors_who_meet_by_chance_are_none() {
        for (rate, seed) in [(1, 1_u64), (3, 2), (20, 3), (60, 4)] {
            let (mut random, mut now, mut asks) = (seed, 1_000_000_u64, Vec::new());
            let mut next = || {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 11) as f64 / (1_u64 << 53) as f64
            };
            // Half an hour of requests that come at random.
            while now < 1_800_000_000 {
                now += (-(1.0 - next()).ln() * 1_000_000.0 / f64::from(rate)) as u64;
                asks.push(((next() * 40.0) as u64, now));
            }
            assert_eq!(play(&asks), 0, "{rate} a second");
            // A real burst among them is still seen.
            asks.extend((0..12).map(|at| (at, now + 200_000 + at * 500)));
            assert_eq!(play(&asks), 1, "{rate} a second and a burst");
        }
    }

    #[test]
    fn one_connection_and_a_steady_stream_are_none() {
        let alone: Vec<_> = (0..50).map(|at| (1, 1_000_000 + at * 300)).collect();
        assert_eq!(play(&alone), 0);
        let stream: Vec<_> = (0..500).map(|at| (at % 9, 1_000_000 + at * 300)).collect();
        assert_eq!(play(&stream), 0);
    }
}
