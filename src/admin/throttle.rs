//! Slows down whoever keeps presenting tokens that are wrong. Knows neither tokens nor HTTP.
//! The time is handed in, so that the rule can be tested without waiting.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Mistakes that cost nothing: a person who pastes the wrong token a few times.
const FREE: u32 = 3;

/// The first delay; it doubles with each further mistake up to [`DELAY_MAX`].
const DELAY_FIRST: Duration = Duration::from_millis(250);

/// Far below the time a client waits for an answer, long enough to make guessing pointless.
const DELAY_MAX: Duration = Duration::from_secs(4);

/// After this without a mistake an address starts anew.
const FORGET: Duration = Duration::from_secs(600);

/// Addresses that are remembered; the one whose last mistake is oldest makes room.
const ADDRESSES_MAX: usize = 1_024;

/// Recent mistakes by address.
#[derive(Default)]
pub(super) struct Failures(HashMap<IpAddr, Failed>);

struct Failed {
    count: u32,
    last: Instant,
}

impl Failures {
    /// Notes a wrong token and says for how long the answer should be held back.
    pub(super) fn add(&mut self, from: IpAddr, now: Instant) -> Duration {
        let key = network(from);
        if self.0.len() >= ADDRESSES_MAX && !self.0.contains_key(&key) {
            self.make_room(now);
        }
        let failed = self.0.entry(key).or_insert(Failed { count: 0, last: now });
        if now.saturating_duration_since(failed.last) > FORGET {
            failed.count = 0;
        }
        failed.count = failed.count.saturating_add(1);
        failed.last = now;
        delay(failed.count)
    }

    /// Whether `from` has made more mistakes lately than cost nothing.
    pub(super) fn suspicious(&self, from: IpAddr, now: Instant) -> bool {
        self.0
            .get(&network(from))
            .is_some_and(|failed| failed.count > FREE && now.saturating_duration_since(failed.last) <= FORGET)
    }

    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, failed| now.saturating_duration_since(failed.last) <= FORGET);
        if self.0.len() < ADDRESSES_MAX {
            return;
        }
        let oldest = self.0.iter().min_by_key(|(_, failed)| failed.last);
        if let Some(key) = oldest.map(|(key, _)| *key) {
            self.0.remove(&key);
        }
    }
}

fn delay(mistakes: u32) -> Duration {
    if mistakes <= FREE {
        return Duration::ZERO;
    }
    // Beyond 16 doublings the bound holds anyway.
    let doublings = (mistakes - FREE - 1).min(16);
    (DELAY_FIRST * (1 << doublings)).min(DELAY_MAX)
}

/// One machine owns a whole /64 of IPv6, so that is what counts as an address there.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn a_few_mistakes_are_free_then_the_delay_doubles_up_to_its_bound() {
        let mut failures = Failures::default();
        let now = Instant::now();
        let delays: Vec<u128> = (0..10).map(|_| failures.add(address(1), now).as_millis()).collect();
        assert_eq!(delays, [0, 0, 0, 250, 500, 1000, 2000, 4000, 4000, 4000]);
        assert!(failures.suspicious(address(1), now));
        assert!(!failures.suspicious(address(2), now));
        assert_eq!(failures.add(address(2), now), Duration::ZERO);
        assert_eq!(delay(u32::MAX), DELAY_MAX);
    }

    #[test]
    fn mistakes_are_forgotten() {
        let mut failures = Failures::default();
        let now = Instant::now();
        for _ in 0..8 {
            failures.add(address(1), now);
        }
        let later = now + FORGET + Duration::from_secs(1);
        assert!(!failures.suspicious(address(1), later));
        assert_eq!(failures.add(address(1), later), Duration::ZERO);
    }

    #[test]
    fn neighbours_in_one_ipv6_network_count_together() {
        let mut failures = Failures::default();
        let now = Instant::now();
        for last in 0..4_u128 {
            failures.add(IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | last)), now);
        }
        let neighbour = IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | 99));
        assert!(failures.suspicious(neighbour, now));
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert!(!failures.suspicious(mapped, now));
    }

    #[test]
    fn many_addresses_take_bounded_memory_and_the_oldest_makes_room() {
        let mut failures = Failures::default();
        let start = Instant::now();
        for number in 0..ADDRESSES_MAX as u32 + 10 {
            let from = IpAddr::from(number.to_be_bytes());
            failures.add(from, start + Duration::from_millis(u64::from(number)));
        }
        assert_eq!(failures.0.len(), ADDRESSES_MAX);
        assert!(!failures.0.contains_key(&IpAddr::from(9_u32.to_be_bytes())));
        assert!(failures.0.contains_key(&IpAddr::from(10_u32.to_be_bytes())));
    }
}
