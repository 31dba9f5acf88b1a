//! Statements on a table that is about to be changed under a lock wait here instead of on the server: they keep no
//! server from other tables' statements, and their own lock timeouts do not run. Only what begins a transaction
//! waits; what is in one may be what the lock waits for. Must not know what is done under the lock.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::drive::{Drive, Pace};
use crate::maintain::TableName;

/// How long a statement waits at most. A lock is waited for no longer than half of it.
const HOLD_MAX: Duration = Duration::from_millis(400);

/// The tables that are held.
#[derive(Default)]
pub struct Holds {
    /// How many; looked at whenever a client needs a server.
    count: AtomicUsize,
    all: Mutex<Vec<Hold>>,
}

struct Hold {
    database: String,
    table: String,
    /// Ends when the other end is dropped.
    over: watch::Receiver<()>,
}

/// A table is held as long as this lives.
pub struct Guard {
    holds: Arc<Holds>,
    over: watch::Sender<()>,
}

impl Holds {
    pub fn begin(self: &Arc<Holds>, database: &str, table: &TableName) -> Guard {
        let (sender, over) = watch::channel(());
        let hold = Hold { database: database.to_owned(), table: table.name.to_ascii_lowercase(), over };
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(hold);
        self.count.fetch_add(1, Relaxed);
        Guard { holds: self.clone(), over: sender }
    }

    /// What ends when a table is free again that the statement names.
    fn find(&self, database: &str, names: impl Fn(&str) -> bool) -> Option<watch::Receiver<()>> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all.iter().find(|hold| hold.database == database && names(&hold.table));
        found.map(|hold| hold.over.clone())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut all = self.holds.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|hold| !hold.over.same_channel(&self.over.subscribe()));
        self.holds.count.fetch_sub(1, Relaxed);
    }
}

impl Drive {
    /// Whether the client's next statement waits. It does so once.
    pub(super) fn must_pause(&mut self) -> bool {
        let holds = &self.worker.hub.holds;
        let paused = std::mem::take(&mut self.has_paused);
        if holds.count.load(Relaxed) == 0 || paused {
            return false;
        }
        let input = self.from_client.input.bytes();
        let Some(mut over) = holds.find(&self.pool.database, |table| self.session.may_name(input, table))
        else {
            return false;
        };
        self.pause = Some(Box::pin(async move {
            // An error tells that it is over.
            let _ = tokio::time::timeout(HOLD_MAX, over.changed()).await;
        }));
        true
    }

    pub(super) fn poll_pause(&mut self, cx: &mut std::task::Context<'_>) -> Option<Pace> {
        let pause = self.pause.as_mut()?;
        if pause.as_mut().poll(cx).is_pending() {
            return Some(Pace::Still);
        }
        (self.pause, self.has_paused) = (None, true);
        self.look_again(true);
        Some(Pace::Moved)
    }
}
