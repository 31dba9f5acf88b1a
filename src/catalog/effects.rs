//! What a statement may do beyond its words: functions that run without being named, and which of those that
//! may change anything are known to change no table. Plain data, and a few names. Knows neither how it was
//! found nor what it is used for.

use std::collections::{BTreeMap, BTreeSet};

use super::{Catalog, Oid, Volatility};

/// A volatile function is *quiet* if it is known to write no table, and *restless* otherwise. What is declared
/// stable or immutable is taken at its word, as the planner takes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effects {
    /// False: it could not be read, and any statement may write any table.
    pub known: bool,
    /// Schema and name of user-defined volatile functions of which every overload is quiet.
    pub quiet: BTreeSet<(String, String)>,
    /// Restless functions that a read of this relation runs: those of a view's query and of policies.
    pub on_read: BTreeMap<Oid, Vec<String>>,
    /// Restless functions that a write runs besides: those of defaults, checks and conditions of triggers.
    pub on_write: BTreeMap<Oid, Vec<String>>,
    /// Restless functions that any expression may run: behind operators, casts, aggregates, domains, and those
    /// that can be written like a column of a row.
    pub anywhere: Vec<String>,
}

/// PostgreSQL's own volatile functions that leave every table as it is. Missing are those that run a query
/// given as text, such as query_to_xml, those for large objects, and all that nobody calls in a loop.
const QUIET: [&str; 48] = [
    "clock_timestamp",
    "currval",
    "gen_random_uuid",
    "lastval",
    "nextval",
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_advisory_unlock",
    "pg_advisory_unlock_all",
    "pg_advisory_unlock_shared",
    "pg_advisory_xact_lock",
    "pg_advisory_xact_lock_shared",
    "pg_cancel_backend",
    "pg_current_snapshot",
    "pg_current_wal_lsn",
    "pg_current_xact_id",
    "pg_database_size",
    "pg_indexes_size",
    "pg_is_in_recovery",
    "pg_last_wal_receive_lsn",
    "pg_last_wal_replay_lsn",
    "pg_last_xact_replay_timestamp",
    "pg_notify",
    "pg_relation_size",
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "pg_table_size",
    "pg_terminate_backend",
    "pg_total_relation_size",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
    "pg_try_advisory_xact_lock",
    "pg_try_advisory_xact_lock_shared",
    "random",
    "random_normal",
    "set_config",
    "setseed",
    "setval",
    "suppress_redundant_updates_trigger",
    "timeofday",
    "tsvector_update_trigger",
    "tsvector_update_trigger_column",
    "txid_current",
    "txid_current_snapshot",
    "uuid_generate_v7",
    "uuidv4",
    "uuidv7",
];

/// Volatile functions of extensions, written in C, that leave every table as it is.
const QUIET_IN_C: [&str; 9] = [
    "autoinc",
    "gen_random_bytes",
    "gen_random_uuid",
    "gen_salt",
    "insert_username",
    "moddatetime",
    "uuid_generate_v1",
    "uuid_generate_v1mc",
    "uuid_generate_v4",
];

/// The names of PostgreSQL's own volatile functions that write no table.
pub fn quiet_builtins() -> &'static [&'static str] {
    &QUIET
}

/// One of [`quiet_builtins`].
pub fn is_quiet_builtin(name: &str) -> bool {
    QUIET.binary_search(&name).is_ok()
}

/// The same of a function of an extension that is written in C.
pub fn is_quiet_in_c(name: &str) -> bool {
    QUIET_IN_C.binary_search(&name).is_ok()
}

impl Catalog {
    /// Whether a call by this name is known to write no table. Without a schema it may mean a function of any
    /// schema, since what a session searches is its own affair. Unknown names are not calm.
    pub fn is_calm(&self, schema: Option<&str>, name: &str) -> bool {
        match schema {
            Some("pg_catalog") => self.is_calm_builtin(name) == Some(true),
            Some(schema) => self.is_calm_own(schema, name) == Some(true),
            None => {
                let own = self.facts.schemas.iter().filter_map(|schema| self.is_calm_own(schema, name));
                let mut all = own.chain(self.is_calm_builtin(name)).peekable();
                all.peek().is_some() && all.all(|calm| calm)
            }
        }
    }

    fn is_calm_builtin(&self, name: &str) -> Option<bool> {
        let volatility = *self.builtins.get(name)?;
        Some(volatility < Volatility::Volatile || is_quiet_builtin(name))
    }

    /// `None`: the schema has no such function.
    fn is_calm_own(&self, schema: &str, name: &str) -> Option<bool> {
        let worst = self.functions_named(schema, name).map(|function| function.volatility).max()?;
        let quiet = || self.effects.quiet.contains(&(schema.to_owned(), name.to_owned()));
        Some(worst < Volatility::Volatile || quiet())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted() {
        assert!(QUIET.is_sorted() && QUIET_IN_C.is_sorted());
    }
}
