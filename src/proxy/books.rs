//! What a session tells the metrics and the API about itself.

use super::control::State;
use super::drive::Drive;
use crate::observe::counters::PinReason;
use crate::session::Tally;
use crate::wire::server::TxStatus;

impl Drive {
    /// Something was sent to the server: its time starts.
    pub(super) fn begin(&mut self) {
        let now = self.worker.clock.us();
        if self.control.state.get() != State::Active {
            self.started_us = now;
            self.control.enter(State::Active, now / 1000);
        }
        if self.transaction_us == 0 {
            self.transaction_us = now.max(1);
            self.control.transaction_ms.set(now / 1000);
        }
    }

    pub(super) fn count(&mut self, tally: Tally) {
        if tally == Tally::default() {
            return;
        }
        let (counters, now) = (&self.pool.counters, self.worker.clock.us());
        counters.queries.add(tally.queries.into());
        counters.statement_hits.add(tally.statement_hits.into());
        counters.statement_misses.add(tally.statement_misses.into());
        counters.statement_evictions.add(tally.statement_evictions.into());
        if tally.readies > 0 {
            counters.query_time.observe_us(now.saturating_sub(self.started_us));
            self.started_us = now;
            // What follows in a pipeline has a time of its own.
            self.control.since_ms.set(now / 1000);
        }
        if tally.transactions > 0 {
            counters.transactions.add(tally.transactions.into());
            counters.transaction_time.observe_us(now.saturating_sub(self.transaction_us));
            self.transaction_us = 0;
            self.control.transaction_ms.set(0);
        }
        if let Some(sqlstate) = tally.error {
            counters.count_error(sqlstate);
        }
    }

    pub(super) fn stay(&mut self) {
        let now = self.worker.clock.ms();
        let pinned = self.session.pins.first().copied();
        let state = match (self.session.status(), pinned) {
            (TxStatus::Idle, Some(_)) => State::Pinned,
            (TxStatus::Idle, None) => State::Idle,
            _ => State::InTransaction,
        };
        self.control.enter(state, now);
        self.pin(pinned);
    }

    /// Shows in the metrics why the server stays.
    pub fn pin(&mut self, reason: Option<PinReason>) {
        let before = self.control.pinned_by.replace(reason);
        if before != reason {
            let counters = &self.pool.counters;
            before.inspect(|&reason| counters.pinned(reason).add(-1));
            reason.inspect(|&reason| counters.pinned(reason).add(1));
        }
    }
}
