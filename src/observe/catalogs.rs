//! The catalogs of the databases in use, each a snapshot that is replaced as a whole, and how reading them
//! goes. Written by the probe, read off the data path by whoever needs to know a table.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::catalog::Catalog;

/// Databases by the name that clients ask for.
#[derive(Debug, Default)]
pub struct Catalogs(RwLock<BTreeMap<String, Arc<Known>>>);

/// What is known of one database.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The last one that could be read.
    pub catalog: Option<Arc<Catalog>>,
    /// Who asks, on the server.
    pub role: String,
    pub refreshes: u64,
    pub failures: u64,
    /// How long the last one took.
    pub took_ms: u64,
    /// Why the last attempt failed; `None`: it did not.
    pub error: Option<Trouble>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// A word for metrics.
    pub kind: &'static str,
    /// A sentence for people; holds no value of any statement.
    pub text: String,
    /// Unix time.
    pub at_s: u64,
}

impl Catalogs {
    pub fn known(&self, database: &str) -> Option<Arc<Known>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(database).cloned()
    }

    /// The catalog of a database; keep it for one task only, it is replaced when the schema changes.
    pub fn catalog(&self, database: &str) -> Option<Arc<Catalog>> {
        self.known(database)?.catalog.clone()
    }

    pub fn list(&self) -> Vec<(String, Arc<Known>)> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(name, known)| (name.clone(), known.clone())).collect()
    }

    pub fn update(&self, database: &str, change: impl FnOnce(&mut Known)) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(all.entry(database.to_owned()).or_default()));
    }

    /// The settings know the database no longer.
    pub fn forget(&self, database: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(database);
    }
}
