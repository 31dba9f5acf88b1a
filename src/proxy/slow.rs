//! How a session's slow statements reach the slow-query log, and values of parameters the ledger. All of it is
//! off the ordinary path: nothing here runs for a statement that is fast and whose values are not kept.

use std::sync::Arc;

use super::drive::Drive;
use crate::observe::ledger::{Entry, Outcome};
use crate::observe::slow_log::Slow;
use crate::pool::values::{self, Values};
use crate::session::account::Done;
use crate::wire::server::TxStatus;

impl Drive {
    /// A statement took longer than its threshold.
    #[cold]
    pub(super) fn note_slow(&self, entry: &Arc<Entry>, done: &Done, outcome: Outcome) {
        let slow = Slow {
            entry: entry.clone(),
            application: self.control.application.borrow().clone(),
            client: self.control.peer.clone(),
            outcome,
            sqlstate: done.sqlstate,
            in_transaction: self.session.status() != TxStatus::Idle,
            verdict: entry.slow(),
            origin: done.origin.as_deref().cloned().unwrap_or_default(),
            parameters: done.values.as_ref().map(|values| values.as_slice().into()),
            original: done.original.as_deref().map(|original| (original.text.clone(), original.literals)),
            search_path: self.search_path(),
        };
        self.worker.hub.registry.slow_log.note(slow);
    }

    /// Where the client's session looks for names, if that is not the server's default.
    fn search_path(&self) -> Option<Box<str>> {
        let path = self.session.baggage.settings().get(&b"search_path"[..])?;
        Some(String::from_utf8_lossy(path).into())
    }

    /// The values of a call are known, because some setting wants them.
    #[cold]
    pub(super) fn note_values(&self, entry: &Entry, values: &Values) {
        if self.worker.samples.get() {
            entry.keep_sample(|| values::describe(values));
        }
    }
}
