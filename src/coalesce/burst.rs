//! The same look-up from many connections in one moment, as resolvers and `Promise.all` send it. A small
//! table per worker; a steady stream of the same statement is no burst. Pure.

use super::Thresholds;
use super::episode::{Class, Episode};

/// Shapes looked at together. Two that share a place forget each other.
const PLACES: usize = 256;

/// A burst begins after such a pause, and is over within such a time.
const QUIET_US: u64 = 100_000;
const BURST_US: u64 = 30_000;

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
        *place = Place {
            fingerprint,
            pool,
            begin_us: now_us,
            last_us: now_us,
            count: 1,
            session,
            ..Place::default()
        };
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
        let over =
            |place: &&mut Place| place.fingerprint != 0 && now_us.saturating_sub(place.last_us) > QUIET_US;
        self.0.iter_mut().filter(over).filter_map(|place| std::mem::take(place).judge(thresholds)).collect()
    }
}

impl Place {
    fn judge(self, thresholds: &Thresholds) -> Option<(usize, Episode)> {
        let short = self.last_us.saturating_sub(self.begin_us) <= BURST_US;
        let many = self.count >= thresholds.minimum && self.switches + 1 >= thresholds.minimum;
        (short && many).then_some((
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
    fn one_connection_and_a_steady_stream_are_none() {
        let alone: Vec<_> = (0..50).map(|at| (1, 1_000_000 + at * 300)).collect();
        assert_eq!(play(&alone), 0);
        let stream: Vec<_> = (0..500).map(|at| (at % 9, 1_000_000 + at * 300)).collect();
        assert_eq!(play(&stream), 0);
    }
}
