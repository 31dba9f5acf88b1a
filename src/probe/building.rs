//! How far the build of an index is, and how the server is doing: what whoever builds looks at meanwhile. Changes
//! nothing; must not know what is built.

use super::catalog::get;
use super::{Probe, ProbeError, settle};

/// How far a build is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// As PostgreSQL names it, such as `building index: scanning table`.
    pub phase: String,
    pub done: i64,
    pub total: i64,
}

/// What a server has to do beside a build.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Load {
    /// It is a standby itself, where nothing can be built.
    pub standby: bool,
    /// Standbys that follow it, and those of them whose state this user may not see.
    pub followers: i64,
    pub hidden: i64,
    /// How far the last of them is behind.
    pub lag_s: f64,
    pub lag_bytes: f64,
    /// Statements that run at this moment, as far as this user may see them.
    pub active: i64,
    /// Age of the oldest transaction of this database, as far as this user may see it. A build CONCURRENTLY waits
    /// for it.
    pub oldest_s: f64,
    /// The time of day in the zone that was asked for, such as `03:30`.
    pub time: String,
}

const PROGRESS: &str = "SELECT phase, coalesce(nullif(blocks_done, 0), tuples_done), \
    coalesce(nullif(blocks_total, 0), tuples_total) \
    FROM pg_catalog.pg_stat_progress_create_index WHERE pid = $1";

/// A follower that copies or archives replays nothing, and lags for nobody.
const LOAD: &str = "SELECT pg_catalog.pg_is_in_recovery(), \
    (SELECT count(*) FROM pg_catalog.pg_stat_replication), \
    (SELECT count(*) FROM pg_catalog.pg_stat_replication WHERE state IS NULL), \
    (SELECT coalesce(max(extract(epoch FROM replay_lag)), 0)::float8 FROM pg_catalog.pg_stat_replication), \
    CASE WHEN pg_catalog.pg_is_in_recovery() THEN 0 ELSE (SELECT coalesce(max(pg_catalog.pg_wal_lsn_diff( \
        pg_catalog.pg_current_wal_lsn(), replay_lsn)), 0)::float8 FROM pg_catalog.pg_stat_replication) END, \
    (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend' \
        AND state = 'active' AND pid <> pg_catalog.pg_backend_pid()), \
    greatest( \
        (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0) \
            FROM pg_catalog.pg_stat_activity WHERE datname = current_database() \
            AND backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()), \
        (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - prepared)), 0) \
            FROM pg_catalog.pg_prepared_xacts WHERE database = current_database()))::float8, \
    pg_catalog.to_char(clock_timestamp() AT TIME ZONE $1, 'HH24:MI')";

impl Probe {
    /// How far another connection's build is; none where there is none.
    ///
    /// # Errors
    /// There is no connection, or the server was busy with other things.
    pub async fn progress(&self, pid: i32) -> Result<Option<Progress>, ProbeError> {
        let client = self.client().await?;
        let asked = async { Ok(client.query_opt(PROGRESS, &[&pid]).await?) };
        let answer = self.within(1, asked).await;
        let row = settle(client, answer)?;
        row.map(|row| Ok(Progress { phase: get(&row, 0)?, done: get(&row, 1)?, total: get(&row, 2)? }))
            .transpose()
    }

    /// What the server has to do. `zone`: whose time of day is wanted, as PostgreSQL names it.
    ///
    /// # Errors
    /// There is no connection, or no such zone.
    pub async fn load_of_server(&self, zone: &str) -> Result<Load, ProbeError> {
        let client = self.client().await?;
        let asked = async { Ok(client.query_one(LOAD, &[&zone]).await?) };
        let answer = self.within(1, asked).await;
        let row = settle(client, answer)?;
        Ok(Load {
            standby: get(&row, 0)?,
            followers: get(&row, 1)?,
            hidden: get(&row, 2)?,
            lag_s: get(&row, 3)?,
            lag_bytes: get(&row, 4)?,
            active: get(&row, 5)?,
            oldest_s: get(&row, 6)?,
            time: get(&row, 7)?,
        })
    }

    /// Asks PostgreSQL to break off what another connection of the same user does.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn cancel(&self, pid: i32) -> Result<(), ProbeError> {
        let client = self.client().await?;
        let asked = async { Ok(client.execute("SELECT pg_catalog.pg_cancel_backend($1)", &[&pid]).await?) };
        let answer = self.within(1, asked).await;
        settle(client, answer).map(drop)
    }
}
