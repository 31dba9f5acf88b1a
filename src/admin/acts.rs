//! The audit log for what pgweir does to the databases itself: one line before each statement that changes a
//! schema, one after it. Must not know why it is done.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::audit::{Entry, Outcome};
use super::state::Shared;
use crate::maintain::actor::{Act, Audit};

/// Writes to the audit log that the settings of the moment name.
pub struct Auditor(Arc<Shared>);

/// In place of an address: the process itself.
const FROM: &str = "pgweir";

impl Auditor {
    pub(super) fn new(shared: Arc<Shared>) -> Auditor {
        Auditor(shared)
    }

    fn write(&self, id: u64, act: Act<'_>, result: Outcome, reason: Option<&str>) -> Result<(), String> {
        let what = format!("DDL {}", act.database);
        let statement = Some(act.statement);
        let from = FROM.to_owned();
        self.0.live().audit.write(&Entry { id, who: None, from, what: &what, result, reason, statement })
    }
}

impl Audit for Auditor {
    fn begins(&self, act: Act<'_>) -> Result<u64, String> {
        let id = self.0.next_id.fetch_add(1, Relaxed);
        self.write(id, act, Outcome::Started, None)?;
        self.0.registry.partitions.acts.fetch_add(1, Relaxed);
        Ok(id)
    }

    fn ended(&self, id: u64, act: Act<'_>, outcome: Result<(), &str>) {
        let (result, reason) = match outcome {
            Ok(()) => (Outcome::Done, None),
            Err(reason) => (Outcome::Failed, Some(reason)),
        };
        if outcome.is_err() {
            self.0.registry.partitions.acts_failed.fetch_add(1, Relaxed);
        }
        if let Err(error) = self.write(id, act, result, reason) {
            // It has happened and its beginning is on record; the log is the place that is left.
            tracing::error!(database = act.database, ?result, "the audit log misses an end: {error}");
        }
    }
}
