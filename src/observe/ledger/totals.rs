//! What one statement, and what all statements of a shape came to. Plain numbers.

use crate::observe::latency::Distribution;

/// What one statement came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// False for a further part of a result that was counted already.
    pub call: bool,
    pub failed: bool,
    pub rows: u64,
    /// Of the answer.
    pub bytes: u64,
    /// Waiting for a server, working on it, waiting for the client to take the answer.
    pub queue_us: u64,
    pub server_us: u64,
    pub client_us: u64,
}

impl Outcome {
    pub fn total_us(&self) -> u64 {
        self.queue_us + self.server_us + self.client_us
    }
}

/// What a shape came to over all workers, and before a restart. Times are µs, `first_s` and `last_s` Unix
/// time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    pub calls: u64,
    pub errors: u64,
    pub rows: u64,
    pub bytes: u64,
    pub queue_us: u64,
    pub server_us: u64,
    pub client_us: u64,
    pub max_us: u64,
    pub first_s: u64,
    pub last_s: u64,
    pub latency: Distribution,
}

impl Totals {
    pub fn total_us(&self) -> u64 {
        self.queue_us + self.server_us + self.client_us
    }

    pub(super) fn add(&mut self, other: &Totals) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.queue_us += other.queue_us;
        self.server_us += other.server_us;
        self.client_us += other.client_us;
        self.max_us = self.max_us.max(other.max_us);
        self.first_s = match (self.first_s, other.first_s) {
            (0, first) | (first, 0) => first,
            (one, two) => one.min(two),
        };
        self.last_s = self.last_s.max(other.last_s);
        self.latency.add(&other.latency);
    }
}
