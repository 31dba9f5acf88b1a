//! Every driver of `tests/clients` against PostgreSQL and against pgweir, in session and transaction mode.

use std::cell::OnceCell;

use pgweir::pool::settings::PoolMode;

use crate::cluster::TestDatabase;
use crate::drivers::{Endpoints, driver_tests};
use crate::pgweir::Pgweir;

/// Servers per pool: fewer than the 8 clients that the programs open at once, so that they take turns.
const SERVERS: usize = 5;

/// One database, and a pgweir per pool mode in front of it.
struct Both {
    database: TestDatabase,
    session: OnceCell<Pgweir>,
    transaction: OnceCell<Pgweir>,
}

fn both() -> Both {
    let database = TestDatabase::new("drivers");
    Both { database, session: OnceCell::new(), transaction: OnceCell::new() }
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
                for database in settings.databases.values_mut() {
                    std::sync::Arc::make_mut(database).pool.max_size = SERVERS;
                }
            })
        });
        pgweir.url(self.database.name())
    }
}

driver_tests!(both());
