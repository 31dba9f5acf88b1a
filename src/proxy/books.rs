//! What a session tells the metrics, the API and the ledger about itself.

use std::rc::Rc;

use super::control::State;
use super::drive::Drive;
use crate::observe::counters::PinReason;
use crate::observe::ledger::{Key, Outcome};
use crate::pool::shape::Shape;
use crate::session::Tally;
use crate::session::account::{Done, Notes};
use crate::wire::server::TxStatus;

/// What a session waits for beside its server's work; µs of the worker's clock, 0: nothing.
#[derive(Default)]
pub(super) struct Waits {
    /// Since when it wants a server.
    wanted_us: u64,
    /// Since when the client leaves answers unread, and for how long it did in this answer.
    unsent_us: u64,
    client_us: u64,
    /// Whose answer the client has not taken whole.
    last: Option<Rc<Shape>>,
}

impl Waits {
    pub(super) fn wants_server(&mut self, now_us: u64) {
        if self.wanted_us == 0 {
            self.wanted_us = now_us.max(1);
        }
    }

    /// There is a server: how long that took.
    pub(super) fn for_server(&mut self, now_us: u64) -> u64 {
        match std::mem::take(&mut self.wanted_us) {
            0 => 0,
            wanted => now_us.saturating_sub(wanted),
        }
    }
}

impl Drive {
    /// Looks whether the client takes its answers.
    #[inline]
    pub(super) fn note_unsent(&mut self) {
        let waits = &mut self.waits;
        let unsent = !self.from_server.unsent.is_empty();
        if unsent == (waits.unsent_us > 0) {
            return;
        }
        let now = self.worker.clock.us().max(1);
        if unsent {
            waits.unsent_us = now;
            return;
        }
        let waited = now.saturating_sub(std::mem::take(&mut waits.unsent_us));
        match waits.last.take() {
            // All was answered, and the last of it is taken only now.
            Some(shape) => {
                shape.entry.borrow().iter().for_each(|entry| entry.note_client_wait(waited));
            }
            None => waits.client_us += waited,
        }
    }

    /// Counts the statements that a step told of.
    #[inline]
    pub(super) fn book(&mut self, notes: &mut Notes) {
        for done in notes.done.drain(..) {
            self.book_one(&done);
            self.watch_done(&done, None);
            if self.awaits_answer() {
                let input = std::mem::take(&mut self.from_server.input);
                self.note_answer(&done, input.bytes().get(done.at.clone()).unwrap_or_default());
                self.from_server.input = input;
            }
        }
    }

    /// Counts a statement whose answer, these frames, came by another way.
    pub(super) fn book_done(&mut self, done: &Done, frames: &[u8]) {
        self.book_one(done);
        self.watch_done(done, Some(frames));
        self.note_answer(done, frames);
    }

    fn book_one(&mut self, done: &Done) {
        let client_us = std::mem::take(&mut self.waits.client_us);
        let outcome = Outcome {
            call: done.call,
            failed: done.sqlstate.is_some(),
            rows: done.rows,
            bytes: done.bytes,
            queue_us: done.waited_us,
            server_us: done.server_us.saturating_sub(client_us),
            client_us,
        };
        if self.waits.unsent_us > 0 {
            self.waits.last = Some(done.shape.clone());
        }
        let mut held = done.shape.entry.borrow_mut();
        if held.as_ref().is_none_or(|entry| entry.is_gone()) {
            let (database, user) = (self.pool.database.as_str().into(), self.pool.user.as_str().into());
            let key = Key { database, user, fingerprint: done.shape.fingerprint };
            *held = Some(self.worker.hub.registry.enter(key, &done.shape.text));
        }
        if let Some(entry) = &*held {
            entry.record(&outcome, self.worker.unix_s());
            if let Some(values) = &done.values {
                self.note_values(entry, values);
            }
            if outcome.total_us() > entry.slow_us() {
                self.note_slow(entry, done, outcome);
            }
        }
    }

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
        counters.narrowed.add(tally.narrowed.into());
        counters.widened.add(tally.widened.into());
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
