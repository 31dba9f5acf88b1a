//! The thread that acts on the databases: what the room `maintain` needs of this process. Nothing on the data
//! path waits for it. Must not know what the acts are.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::LocalSet;

use super::hub::Hub;
use super::whom;
use crate::maintain::actor::{Act, Audit};
use crate::maintain::desk;
use crate::maintain::work::Means;
use crate::maintain::{MaintenanceSettings, TableName, TableRule};
use crate::observe::counters::Registry;
use crate::probe::{ProbeError, Target};

/// Threads that resolve names may linger so long at the end.
const END_MAX: Duration = Duration::from_millis(100);

struct Shop {
    hub: Arc<Hub>,
    audit: Arc<dyn Audit>,
}

/// Writes down what is done, and lets the workers forget what they know of the schema, as if a client had done it.
struct Watched {
    hub: Arc<Hub>,
    audit: Arc<dyn Audit>,
}

impl Audit for Watched {
    fn begins(&self, act: Act<'_>) -> Result<u64, String> {
        let id = self.audit.begins(act)?;
        self.hub.schema_changes(act.database);
        Ok(id)
    }

    fn ended(&self, id: u64, act: Act<'_>, outcome: Result<(), &str>) {
        self.hub.schema_changes(act.database);
        self.audit.ended(id, act, outcome);
    }

    fn committed(&self, database: &str) {
        self.hub.schema_changes(database);
        self.audit.committed(database);
    }
}

/// Starts the thread. It ends when the hub's desk is told so.
///
/// # Errors
/// The system gives no thread.
pub(super) fn start(hub: Arc<Hub>, audit: Arc<dyn Audit>) -> Result<JoinHandle<()>, String> {
    let thread = std::thread::Builder::new().name("maintain".to_owned());
    let spawned = thread.spawn(move || match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let audit = Arc::new(Watched { hub: hub.clone(), audit });
            let means = Arc::new(Shop { hub: hub.clone(), audit });
            // Dropping the set breaks off what is under way.
            LocalSet::new().block_on(&runtime, desk::run(means, &hub.maintaining));
            runtime.shutdown_timeout(END_MAX);
        }
        Err(error) => tracing::error!("the thread of maintenance could not start: {error}"),
    });
    spawned.map_err(|error| format!("cannot start the thread of maintenance: {error}"))
}

impl Means for Shop {
    fn rules(&self) -> (MaintenanceSettings, Vec<TableRule>) {
        let live = self.hub.live();
        let mut rules = live.settings.rules.partitions.clone();
        let only = self.only_database();
        for rule in &mut rules {
            rule.database = rule.database.take().or_else(|| only.clone());
        }
        (live.settings.rules.maintenance.clone(), rules)
    }

    fn target(&self, database: &str, user: Option<&str>) -> Result<Target, ProbeError> {
        let live = self.hub.live();
        live.target(database, whom::login(&self.hub, &live, database, user)?)
    }

    fn only_database(&self) -> Option<String> {
        let live = self.hub.live();
        let mut names = live.settings.databases.keys().filter(|name| *name != "*");
        names.next().filter(|_| names.next().is_none()).cloned()
    }

    fn hold(&self, database: &str, table: &TableName) -> Box<dyn Send> {
        Box::new(self.hub.holds.begin(database, table))
    }

    fn audit(&self) -> Arc<dyn Audit> {
        self.audit.clone()
    }

    fn registry(&self) -> &Registry {
        &self.hub.registry
    }
}
