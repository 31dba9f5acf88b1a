//! Every driver of `tests/clients` against PostgreSQL and against pgweir, in session and transaction mode: as it comes,
//! and with all that coalescing can do allowed for all tables.

use std::cell::OnceCell;

use pgweir::coalesce::prefetch::level::Level;
use pgweir::coalesce::settings::{CoalesceSettings, Insert};
use pgweir::pool::settings::PoolMode;

use crate::cluster::TestDatabase;
use crate::drivers::{Endpoints, driver_tests};
use crate::pgweir::Pgweir;

/// Servers per pool: fewer than the 8 clients that the programs open at once, so that they take turns.
const SERVERS: usize = 5;

/// One database, and a pgweir per pool mode in front of it.
struct Both {
    database: TestDatabase,
    coalesce: CoalesceSettings,
    session: OnceCell<Pgweir>,
    transaction: OnceCell<Pgweir>,
}

fn both() -> Both {
    with(CoalesceSettings::default())
}

/// Every answer may come from what was fetched ahead. `insert`: what becomes of INSERTs.
fn forced(insert: Insert) -> Both {
    with(CoalesceSettings { default: Some(Level::Fenced), serializable: true, insert, ..Default::default() })
}

fn with(coalesce: CoalesceSettings) -> Both {
    let database = TestDatabase::new("drivers");
    Both { database, coalesce, session: OnceCell::new(), transaction: OnceCell::new() }
}

impl Endpoints for Both {
    fn direct_url(&self) -> String {
        self.database.url()
    }

    fn pgweir_url(&self, mode: &str) -> String {
        let (cell, mode) = match mode {
            "session" => (&self.session, PoolMode::Session),
            _ => (&self.transaction, PoolMode::Transaction),
        };
        let pgweir = cell.get_or_init(|| {
            Pgweir::start(mode, |settings| {
                settings.rules.coalesce = self.coalesce.clone();
                for database in settings.databases.values_mut() {
                    std::sync::Arc::make_mut(database).pool.max_size = SERVERS;
                }
            })
        });
        pgweir.url(self.database.name())
    }
}

driver_tests!(both());

/// The same with coalescing forced on. Deferred INSERTs say their errors later, so they have a run of their own.
mod coalesced {
    use super::{Insert, forced};
    crate::drivers::driver_tests!(forced(Insert::Merged));
}
