//! The time as a worker sees it: set by the shell, read by everybody. Pure.

use std::cell::Cell;

/// The worker's time, read once per wake-up.
#[derive(Default)]
pub struct Clock(Cell<u64>);

impl Clock {
    /// Microseconds since the worker started.
    #[inline]
    pub fn us(&self) -> u64 {
        self.0.get()
    }

    #[inline]
    pub fn ms(&self) -> u64 {
        self.0.get() / 1000
    }

    #[inline]
    pub fn set_us(&self, us: u64) {
        self.0.set(us);
    }
}
