//! From the catalog to the pools: a router per database, made off the data path when its catalog was read, and
//! taken over by the workers at their ticks.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use super::hub::Hub;
use super::worker::Worker;
use crate::catalog::Catalog;
use crate::pool::lend::Pool;
use crate::pool::routing::Routing;
use crate::route::RouteSettings;
use crate::route::table::Router;

/// Databases by the name that clients ask for.
#[derive(Default)]
pub struct Routers {
    made: AtomicU64,
    all: RwLock<BTreeMap<String, Made>>,
}

#[derive(Clone)]
struct Made {
    id: u64,
    router: Arc<Router>,
    /// Schema changes that were seen when its catalog began to be read.
    epoch: u64,
    off_shapes: Arc<[u64]>,
}

impl Routers {
    /// A catalog was read; `epoch` counted the database's schema changes before.
    pub(super) fn learn(&self, database: &str, catalog: Arc<Catalog>, epoch: u64, settings: &RouteSettings) {
        let router = Router::new(catalog, settings);
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        if router.is_empty() {
            all.remove(database);
            return;
        }
        let (id, off_shapes) = (self.made.fetch_add(1, Relaxed) + 1, settings.off_shapes.as_slice().into());
        all.insert(database.to_owned(), Made { id, router: Arc::new(router), epoch, off_shapes });
    }

    fn get(&self, database: &str) -> Option<Made> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).get(database).cloned()
    }
}

impl Worker {
    /// Lets a pool narrow by what is known now. A schema change that its catalog does not have yet stops that.
    pub(super) fn route(&self, pool: &Pool) {
        let hub: &Hub = &self.hub;
        let made = hub.routers.get(&pool.database).filter(|made| made.epoch == hub.epoch(&pool.database));
        let routing = made.map(|made| Routing {
            id: Cell::new(made.id),
            router: made.router,
            epoch: Cell::new(pool.epoch()),
            zero_us: self.zero_unix_us(),
            off_shapes: made.off_shapes,
        });
        let mut interner = pool.interner.borrow_mut();
        match routing {
            None if interner.routing.is_none() => {}
            // It may hold again when the catalog was read; until then its epoch does not fit.
            None => interner.routing.iter().for_each(|held| held.epoch.set(u64::MAX)),
            Some(routing) => interner.route(Some(routing)),
        }
    }
}
