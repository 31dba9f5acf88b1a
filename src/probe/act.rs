//! Statements that change a database, one by one and outside of transactions: the only part of this room that may.
//! Must not know what is built or why; whoever calls answers for it.

use std::time::Duration;

use deadpool_postgres::Object;

use super::catalog::get;
use super::{Probe, ProbeError};

/// Waiting for a lock holds up everybody who comes behind, so a build waits no longer and comes again.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// One connection that may change things. It is closed at the end.
pub struct Act {
    client: Option<Object>,
    pid: i32,
}

impl Drop for Act {
    fn drop(&mut self) {
        drop(self.client.take().map(Object::take));
    }
}

/// How far a build is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// As PostgreSQL names it, such as `building index: scanning table`.
    pub phase: String,
    pub done: i64,
    pub total: i64,
}

impl Probe {
    /// A connection without a bound on time, as the builds of large indexes take hours.
    pub async fn act(&self) -> Result<Act, ProbeError> {
        let client = self.client().await?;
        let lock = LOCK_TIMEOUT.as_millis();
        let settings = format!(
            "SET default_transaction_read_only = off; SET statement_timeout = 0; SET lock_timeout = {lock}; \
             SET idle_in_transaction_session_timeout = 0"
        );
        client.batch_execute(&settings).await?;
        let pid = get(&client.query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await?, 0)?;
        Ok(Act { client: Some(client), pid })
    }

    /// How far another connection's build is; none where there is none.
    pub async fn progress(&self, act: i32) -> Result<Option<Progress>, ProbeError> {
        let client = self.client().await?;
        let query = "SELECT phase, coalesce(nullif(blocks_done, 0), tuples_done), \
            coalesce(nullif(blocks_total, 0), tuples_total) \
            FROM pg_catalog.pg_stat_progress_create_index WHERE pid = $1";
        let row = client.query_opt(query, &[&act]).await?;
        row.map(|row| Ok(Progress { phase: get(&row, 0)?, done: get(&row, 1)?, total: get(&row, 2)? }))
            .transpose()
    }
}

impl Act {
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// `Refused` with the server's own message; what is run here holds no value of a client.
    pub async fn execute(&self, sql: &str) -> Result<(), ProbeError> {
        let Some(client) = &self.client else {
            return Err(ProbeError::Lost("it was closed".to_owned()));
        };
        Ok(client.batch_execute(sql).await?)
    }

    /// Whether an index exists, and whether queries may use it.
    pub async fn index(&self, schema: &str, name: &str) -> Result<Option<bool>, ProbeError> {
        let Some(client) = &self.client else {
            return Err(ProbeError::Lost("it was closed".to_owned()));
        };
        let query = "SELECT i.indisvalid AND i.indisready AND i.indislive FROM pg_catalog.pg_index i \
            JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";
        client.query_opt(query, &[&schema, &name]).await?.map(|row| get(&row, 0)).transpose()
    }
}
