//! How a session's statements reach the watch for loops, and what it finds reaches the findings.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::drive::Drive;
use super::worker::Worker;
use crate::coalesce::episode::Episode;
use crate::coalesce::unit::Watch;
use crate::pool::lend::Pool;
use crate::session::account::{Done, Notes};
use crate::sql::kind::Kind;
use crate::wire::server::TxStatus;

/// Sessions that a worker watches at the same time. Each holds at most 64 KiB while it is at work, and
/// nothing while it rests, so that all together hold 128 MiB at most; who comes later is not watched.
const WATCHED_MAX: usize = 2_000;

impl Drive {
    /// Statements were sent.
    #[inline]
    pub(super) fn watch_asks(&mut self, notes: &mut Notes) {
        if notes.asks.is_empty() {
            return;
        }
        let Some(thresholds) = self.worker.thresholds.get() else {
            notes.asks.clear();
            return self.look_away();
        };
        if !self.watch.is_watching() && self.worker.watched.get() >= WATCHED_MAX {
            self.worker.hub.registry.findings.unwatched.fetch_add(notes.asks.len() as u64, Relaxed);
            return notes.asks.clear();
        }
        if !self.watch.is_watching() && self.ahead.is_some() {
            self.watch = Watch::with_values();
        }
        // One that was looked at before it was sent has been told of.
        let told = usize::from(std::mem::take(&mut self.asked_ahead));
        for ask in notes.asks.drain(..).skip(told) {
            let (shape, pool) = (&ask.shape, number(&self.pool));
            let origin = &ask.known.origin;
            let silent = origin.as_ref().is_some_and(|origin| origin.silence);
            if origin.is_some() {
                shape.origin.borrow_mut().clone_from(origin);
            }
            // Nothing is made of a statement that its own comment silences.
            let kind = if silent { Kind::Other } else { shape.kind };
            let ended = self.watch.asked((shape.fingerprint, kind), &ask.marks, ask.at_us, &thresholds);
            self.report(ended);
            // Every session pings its connection, and opens transactions; only reads can be asked together.
            if !matches!(kind, Kind::Read | Kind::Page) {
                continue;
            }
            let burst = self.worker.bursts.borrow_mut().asked(
                (pool, shape.fingerprint),
                self.control.id,
                ask.at_us,
                &thresholds,
            );
            if let Some((pool, episode)) = burst {
                self.worker.report_burst(pool, episode);
            }
        }
        self.note_watching();
    }

    /// Counts the sessions that are watched, so that their memory stays within a bound.
    #[inline]
    fn note_watching(&self) {
        let is = self.watch.is_watching();
        if self.control.watching.replace(is) != is {
            let watched = &self.worker.watched;
            watched.set(if is { watched.get() + 1 } else { watched.get().saturating_sub(1) });
        }
    }

    /// A statement was answered.
    #[inline]
    pub(super) fn watch_done(&mut self, done: &Done, frames: Option<&[u8]>) {
        let read = || self.from_server.input.bytes().get(done.at.clone()).unwrap_or_default();
        let frames = frames.unwrap_or_else(read);
        let shape = done.shape.fingerprint;
        if let Some(ahead) = self.ahead.as_mut().filter(|ahead| ahead.session.tables.reads(shape)) {
            ahead.session.tables.part(frames);
            ahead.session.tables.end();
            ahead.session.renewed(done.shape.fingerprint);
        }
        if !self.watch.is_watching() {
            return;
        }
        let fingerprint = done.shape.fingerprint;
        let now = self.worker.clock.us();
        self.watch.answered(fingerprint, done.rows, done.server_us, frames, now);
        self.worker.bursts.borrow_mut().answered((number(&self.pool), fingerprint), done.server_us);
    }

    /// After each step: an answer that goes on, a transaction that ended.
    #[inline]
    pub(super) fn watch_step(&mut self, notes: &Notes, was: TxStatus) {
        if !self.watch.is_watching() {
            return;
        }
        if !notes.partial.is_empty() {
            let part = self.from_server.input.bytes().get(notes.partial.clone()).unwrap_or_default();
            self.watch.part(part);
            if let Some(ahead) = self.ahead.as_mut().filter(|ahead| ahead.session.tables.is_reading()) {
                ahead.session.tables.part(part);
            }
        }
        let is = self.session.status();
        if is != TxStatus::Idle {
            self.watch.in_transaction();
        } else if was != TxStatus::Idle
            && let Some(thresholds) = self.worker.thresholds.get()
        {
            let ended = self.watch.transaction_ended(&thresholds);
            self.note_watching();
            self.report(ended);
        }
    }

    /// The client rests or goes: what its unit of work came to.
    pub(super) fn end_unit(&mut self) {
        // What it held is given back to the system with what others held.
        self.session.slim();
        self.places.shrink_to_fit();
        self.forget_ahead();
        self.worker.churned.set(self.worker.churned.get() | self.watch.is_watching());
        if let Some(thresholds) = self.worker.thresholds.get() {
            let ended = self.watch.end(&thresholds);
            self.report(ended);
        }
        self.look_away();
    }

    /// Forgets what is remembered of the unit of work.
    fn look_away(&mut self) {
        if self.watch.is_watching() {
            self.watch = Watch::default();
        }
        self.note_watching();
    }

    fn report(&self, episodes: Vec<Episode>) {
        for episode in episodes {
            self.worker.report(&self.pool, &self.control.application.borrow(), &episode);
        }
    }
}

impl Worker {
    /// The bursts that are over by now.
    pub(super) fn sweep_bursts(&self) {
        let Some(thresholds) = self.thresholds.get() else {
            return;
        };
        let ended = self.bursts.borrow_mut().sweep(self.clock.us(), &thresholds);
        ended.into_iter().for_each(|(pool, episode)| self.report_burst(pool, episode));
    }

    fn report_burst(&self, wanted: usize, episode: Episode) {
        let mut found: Option<Rc<Pool>> = None;
        self.each_pool(|pool| {
            if number(pool) == wanted {
                found = Some(pool.clone());
            }
        });
        if let Some(pool) = found {
            self.report(&pool, "", &episode);
        }
    }
}

/// Tells the pools of a worker apart.
fn number(pool: &Pool) -> usize {
    Arc::as_ptr(&pool.counters).addr()
}
