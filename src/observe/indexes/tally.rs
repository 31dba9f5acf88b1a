//! Calls and their times, as they can be added, subtracted and compared. Plain numbers.

use serde::{Deserialize, Serialize};

use crate::observe::latency::Distribution;
use crate::observe::ledger::Totals;

/// Calls and their times. `logs` and `squares` are sums over the natural logarithms of whole milliseconds, and
/// their squares, of `timed` calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    pub calls: u64,
    /// That the server worked on them.
    pub ms: f64,
    pub timed: u64,
    pub logs: f64,
    pub squares: f64,
}

impl Tally {
    pub fn of(totals: &Totals) -> Tally {
        let mut tally =
            Tally { calls: totals.calls, ms: totals.server_us as f64 / 1000.0, ..Tally::default() };
        tally.time(&totals.latency);
        tally
    }

    fn time(&mut self, latency: &Distribution) {
        for (us, count) in latency.counts() {
            let log = ((us + 1) as f64 / 1000.0).ln();
            self.timed += count;
            self.logs += log * count as f64;
            self.squares += log * log * count as f64;
        }
    }

    pub fn add(&mut self, other: &Tally) {
        self.calls += other.calls;
        self.ms += other.ms;
        self.timed += other.timed;
        self.logs += other.logs;
        self.squares += other.squares;
    }

    /// What came since an earlier tally; none if the counting has begun anew in between.
    pub fn since(&self, earlier: &Tally) -> Option<Tally> {
        let calls = self.calls.checked_sub(earlier.calls)?;
        let timed = self.timed.checked_sub(earlier.timed)?;
        let left = |now: f64, then: f64| if timed == 0 { 0.0 } else { now - then };
        Some(Tally {
            calls,
            ms: (self.ms - earlier.ms).max(0.0),
            timed,
            logs: left(self.logs, earlier.logs),
            squares: left(self.squares, earlier.squares).max(0.0),
        })
    }

    /// Milliseconds of one call on the server; 0 without any.
    pub fn mean_ms(&self) -> f64 {
        self.ms / self.calls.max(1) as f64
    }

    /// Mean and variance of the logarithms.
    pub fn logarithms(&self) -> (f64, f64) {
        let count = self.timed.max(1) as f64;
        let mean = self.logs / count;
        (mean, (self.squares / count - mean * mean).max(0.0))
    }
}
