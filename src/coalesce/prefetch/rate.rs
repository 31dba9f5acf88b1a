//! What fetching ahead saved and what it wasted, and when that is too little to go on. Pure.

/// Rows of which the tenth part may be unused.
const WASTE_PART: u64 = 10;

/// Wasteful runs of a loop after which it is off, if it wasted more than its part on the whole too.
const WASTEFUL_MAX: u32 = 3;

/// What was fetched longer ago counts half.
const WINDOW: u64 = 4_096;

/// Rows that must have been fetched before all keys are fetched at once.
const PROVED: u64 = 24;

/// For how long it is off the first time, µs: 10 minutes, doubled each further time, up to a day.
const OFF_US: u64 = 600_000_000;
const OFF_DOUBLINGS: u32 = 7;

/// Failed fetches in a row that turn it off.
const FAILURES_MAX: u32 = 3;

/// Keys of the first fetch, the second, the following; and of each, where nearly all that was fetched was
/// used.
const RAMP: [usize; 3] = [16, 64, 256];
pub const KEYS_MAX: usize = 512;

/// Why something is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Off {
    /// It fetched too much that nobody asked for.
    Wasteful,
    /// Its queries failed.
    Failing,
    /// A fetch brought something else than a look-up had got alone.
    Differing,
}

impl Off {
    pub fn label(self) -> &'static str {
        match self {
            Off::Wasteful => "more than 10 % of the fetched rows were not asked for in 3 runs",
            Off::Failing => "3 fetches in a row failed",
            Off::Differing => "an answer differed from the one that was given alone",
        }
    }
}

/// The account of one template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rate {
    /// Rows fetched and rows used of late; a look-up that found none counts as one.
    pub fetched: u64,
    pub used: u64,
    /// Runs in all.
    pub episodes: u64,
    /// Runs that wasted too much since the last time when all was well.
    wasteful: u32,
    failures: u32,
    /// Why and since when it is off, and until when.
    off: Option<(Off, u64)>,
    /// How often it was turned off.
    turned_off: u32,
}

impl Rate {
    /// As an earlier process left it.
    pub fn restore(fetched: u64, used: u64, episodes: u64, off: Option<Off>, now_us: u64) -> Self {
        let fetched = fetched.min(WINDOW);
        let turned_off = u32::from(off.is_some());
        let off = off.map(|off| (off, now_us + OFF_US));
        Rate { fetched, used: used.min(fetched), episodes, off, turned_off, ..Rate::default() }
    }

    /// A run of the loop is over. Returns why it is off from now on, if it is.
    pub fn settle(&mut self, used: u64, unused: u64, now_us: u64) -> Option<Off> {
        self.episodes += 1;
        self.failures = 0;
        self.used += used;
        self.fetched += used + unused;
        while self.fetched > WINDOW {
            (self.fetched, self.used) = (self.fetched / 2, self.used / 2);
        }
        let on_the_whole = self.is_wasteful(self.used, self.fetched);
        if self.is_wasteful(used, used + unused) {
            self.wasteful += 1;
        } else if !on_the_whole {
            self.wasteful = 0;
        }
        // Once it has been off, one run is enough.
        let max = if self.turned_off > 0 { 1 } else { WASTEFUL_MAX };
        (self.wasteful >= max && on_the_whole).then(|| self.turn_off(Off::Wasteful, now_us))
    }

    /// A fetch failed. Returns why it is off from now on, if it is.
    pub fn fail(&mut self, now_us: u64) -> Option<Off> {
        self.failures += 1;
        (self.failures >= FAILURES_MAX).then(|| self.turn_off(Off::Failing, now_us))
    }

    /// A fetch brought something else than a look-up had got alone.
    pub fn differ(&mut self, now_us: u64) -> Off {
        self.turn_off(Off::Differing, now_us)
    }

    fn is_wasteful(&self, used: u64, fetched: u64) -> bool {
        (fetched - used) * WASTE_PART > fetched
    }

    fn turn_off(&mut self, why: Off, now_us: u64) -> Off {
        let length = OFF_US << self.turned_off.min(OFF_DOUBLINGS);
        self.off = Some((why, now_us.saturating_add(length)));
        self.turned_off += 1;
        // It begins anew with what it learns then.
        (self.wasteful, self.failures, self.fetched, self.used) = (0, 0, 0, 0);
        why
    }

    /// Why it is off at this time.
    pub fn off(&self, now_us: u64) -> Option<Off> {
        self.off.filter(|&(_, until)| now_us < until).map(|(why, _)| why)
    }

    /// Nothing is known for or against it yet.
    pub fn is_open(&self) -> bool {
        self.fetched < PROVED && self.wasteful == 0 && self.turned_off == 0
    }

    /// Nearly all that it fetches is used.
    pub fn is_sure(&self) -> bool {
        self.fetched >= PROVED && !self.is_wasteful(self.used, self.fetched)
    }

    /// How many keys to fetch at once, `step` times after the loop began.
    pub fn chunk(&self, step: usize) -> usize {
        if self.is_sure() { KEYS_MAX } else { RAMP[step.min(RAMP.len() - 1)] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_grow_and_what_is_sure_is_fetched_at_once() {
        let mut rate = Rate::default();
        assert_eq!([0, 1, 2, 9].map(|step| rate.chunk(step)), [16, 64, 256, 256]);
        rate.settle(50, 0, 0);
        assert_eq!(rate.chunk(0), KEYS_MAX);
        rate.settle(0, 10, 0);
        assert_eq!(rate.chunk(0), 16);
    }

    #[test]
    fn three_wasteful_runs_turn_it_off_and_later_one() {
        let mut rate = Rate::default();
        assert_eq!(rate.settle(1, 15, 0), None);
        assert_eq!(rate.settle(1, 15, 0), None);
        assert_eq!(rate.settle(1, 15, 5), Some(Off::Wasteful));
        assert_eq!(rate.off(5 + OFF_US - 1), Some(Off::Wasteful));
        assert_eq!(rate.off(5 + OFF_US), None);
        assert_eq!(rate.settle(1, 15, 5 + OFF_US), Some(Off::Wasteful));
        assert_eq!(rate.off(4 + 3 * OFF_US), Some(Off::Wasteful), "for twice as long");
    }

    #[test]
    fn a_loop_that_stops_now_and_then_stays_on() {
        let mut rate = Rate::default();
        for at in 0..100 {
            let unused = if at % 10 == 9 { 40 } else { 0 };
            assert_eq!(rate.settle(50, unused, 0), None);
        }
    }

    #[test]
    fn failures_in_a_row_turn_it_off() {
        let mut rate = Rate::default();
        for _ in 0..9 {
            assert_eq!((rate.fail(0), rate.fail(0)), (None, None));
            rate.settle(5, 0, 0);
        }
        assert_eq!((rate.fail(0), rate.fail(0), rate.fail(0)), (None, None, Some(Off::Failing)));
    }

    proptest::proptest! {
        /// The budget: what is on after its first runs has wasted no more than the tenth part of late, or is
        /// about to be turned off.
        #[test]
        fn waste_is_bounded(runs in proptest::collection::vec((0..60_u64, 0..60_u64), 1..200)) {
            let (mut rate, mut over) = (Rate::default(), 0);
            for (used, unused) in runs {
                if rate.off(0).is_some() {
                    break;
                }
                rate.settle(used, unused, 0);
                let wasteful = unused * WASTE_PART > used + unused;
                let whole = (rate.fetched - rate.used) * WASTE_PART > rate.fetched;
                over = if whole { over + u32::from(wasteful) } else { 0 };
                assert!(over <= WASTEFUL_MAX, "{over} wasteful runs in a time of waste");
            }
        }
    }
}
