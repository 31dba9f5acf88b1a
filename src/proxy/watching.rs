//! How a session's statements reach the watch for loops, and what it finds reaches the findings.

use std::rc::Rc;
use std::sync::Arc;

use super::drive::Drive;
use super::worker::Worker;
use crate::coalesce::column;
use crate::coalesce::episode::{Class, Episode};
use crate::observe::findings::Met;
use crate::pool::lend::Pool;
use crate::pool::shape::Shape;
use crate::session::account::{Done, Notes};
use crate::sql::kind::Kind;
use crate::wire::server::TxStatus;

impl Drive {
    /// Statements were sent.
    #[inline]
    pub(super) fn watch_asks(&mut self, notes: &mut Notes) {
        if notes.asks.is_empty() {
            return;
        }
        let Some(thresholds) = self.worker.thresholds.get() else {
            return notes.asks.clear();
        };
        for ask in notes.asks.drain(..) {
            let (shape, pool) = (&ask.shape, number(&self.pool));
            let what = (shape.fingerprint, shape.kind);
            let ended = self.watch.asked(what, &ask.marks, ask.at_us, &thresholds);
            self.report(ended);
            // Every session pings its connection, and opens transactions; only reads can be asked together.
            if !matches!(shape.kind, Kind::Read | Kind::Page) {
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
        self.control.watching.set(self.watch.is_watching());
    }

    /// A statement was answered.
    #[inline]
    pub(super) fn watch_done(&mut self, done: &Done) {
        if !self.watch.is_watching() {
            return;
        }
        let fingerprint = done.shape.fingerprint;
        let frames = self.from_server.input.bytes().get(done.at.clone()).unwrap_or_default();
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
            self.watch.part(self.from_server.input.bytes().get(notes.partial.clone()).unwrap_or_default());
        }
        let is = self.session.status();
        if is != TxStatus::Idle {
            self.watch.in_transaction();
        } else if was != TxStatus::Idle
            && let Some(thresholds) = self.worker.thresholds.get()
        {
            let ended = self.watch.transaction_ended(&thresholds);
            self.report(ended);
        }
    }

    /// The client rests or goes: what its unit of work came to.
    pub(super) fn end_unit(&mut self) {
        if let Some(thresholds) = self.worker.thresholds.get() {
            let ended = self.watch.end(&thresholds);
            self.report(ended);
        }
        self.control.watching.set(false);
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

    /// Notes an episode, and says so once for each finding.
    fn report(&self, pool: &Pool, application: &str, episode: &Episode) {
        let interner = pool.interner.borrow();
        let text =
            |fingerprint| interner.reader.shape(fingerprint).map(|shape: &Rc<Shape>| shape.text.to_string());
        let Some(statement) = text(episode.fingerprint) else {
            return;
        };
        let parent = episode.parent.as_ref().and_then(|parent| {
            let text = text(parent.fingerprint)?;
            let named = parent.name.clone().or_else(|| column::name(&text, parent.column));
            let column = named.unwrap_or_else(|| format!("column {}", parent.column + 1));
            Some((parent.fingerprint, text, column))
        });
        drop(interner);
        let met = Met {
            class: episode.class.label(),
            proved: episode.class.is_proved(),
            group: group(episode.class),
            database: pool.database.clone(),
            user: pool.user.clone(),
            application: application.to_owned(),
            fingerprint: episode.fingerprint,
            statement,
            parent,
            n: episode.count.into(),
            time_us: episode.time_us,
            now_s: self.unix_s(),
        };
        if let Some(new) = self.hub.registry.findings.note(met) {
            tracing::info!(
                id = new.id,
                class = new.class,
                database = new.database,
                n = new.last_n,
                statement = new.statement,
                parent = new.parent.as_deref().unwrap_or_default(),
                column = new.column.as_deref().unwrap_or_default(),
                "N+1: a statement is repeated in a loop; pgweir report nplus1 shows more"
            );
        }
    }
}

/// Tells the pools of a worker apart.
fn number(pool: &Pool) -> usize {
    Arc::as_ptr(&pool.counters).addr()
}

/// Classes that one loop may be of at different times, depending on how much of it was seen.
fn group(class: Class) -> &'static str {
    match class {
        Class::Proved | Class::Nested | Class::Interleaved | Class::Counted => "loop",
        Class::Redundant => "redundant",
        Class::WriteLoop => "write",
        Class::Concurrent => "concurrent",
    }
}
