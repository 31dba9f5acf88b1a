//! What an act needs: the process around it, the table's rule, a connection, and whom to tell. Must not know
//! what is done.

use std::sync::Arc;

use super::actor::{Actor, Audit};
use super::{MaintenanceSettings, TableName, TableRule, Trouble};
use crate::observe::counters::Registry;
use crate::observe::partitions::{Board, Progress, TableView};
use crate::probe::{ProbeError, Target};

/// What the room needs of the process around it.
pub trait Means: Send + Sync {
    /// The rules of now; each entry names its database.
    fn rules(&self) -> (MaintenanceSettings, Vec<TableRule>);

    /// How to reach a database by the name that clients use. `None` of user: whoever asks pgweir's own questions.
    ///
    /// # Errors
    /// It is not known, or no user has a password.
    fn target(&self, database: &str, user: Option<&str>) -> Result<Target, ProbeError>;

    /// The only database of the settings, if there is one.
    fn only_database(&self) -> Option<String>;

    /// Until what it returns is dropped, new statements on the table wait before they reach the server, for some
    /// tenths of a second at most.
    fn hold(&self, database: &str, table: &TableName) -> Box<dyn Send>;

    /// What was known of the database's tables is no longer sure.
    fn schema_changed(&self, database: &str);

    fn audit(&self) -> Arc<dyn Audit>;

    fn registry(&self) -> &Registry;
}
/// One table, a connection to be made, and whom to tell.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) means: Arc<dyn Means>,
    pub(super) settings: MaintenanceSettings,
    pub(super) database: String,
    pub(super) rule: TableRule,
    /// `None`: nobody waits for it.
    pub(super) job: Option<u64>,
}

impl Work {
    pub(super) async fn actor(&self) -> Result<Actor, Trouble> {
        let target = self.means.target(&self.database, self.rule.user.as_deref())?;
        Actor::connect(target, &self.database, &self.settings, self.means.audit()).await
    }

    pub(super) fn changed(&self) {
        self.means.schema_changed(&self.database);
    }

    pub(super) fn board(&self) -> &Board {
        &self.means.registry().partitions
    }

    /// A line for whoever asked, and for the log.
    pub(super) fn say(&self, line: String) {
        match self.job {
            Some(id) => self.board().tell(id, |job| job.lines.push(line)),
            None => tracing::info!(database = self.database, table = %self.rule.table, "{line}"),
        }
    }

    pub(super) fn registry(&self) -> &Registry {
        self.means.registry()
    }

    /// The same for another rule.
    pub(super) fn with(&self, rule: TableRule) -> Work {
        Work { rule, ..self.clone() }
    }

    pub(super) fn progress(&self, progress: Progress) {
        if let Some(id) = self.job {
            self.board().tell(id, |job| job.progress = Some(progress));
        }
    }

    pub(super) fn view(&self, change: impl FnOnce(&mut TableView)) {
        self.board().update(&self.database, &self.rule.table.to_string(), change);
    }
}
