//! A connection that may change the schema: every change is audited before it is sent, waits for locks only
//! briefly, and steps back and tries again when somebody holds one. Must not know what is changed.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::types::{FromSql, ToSql};
use tokio_postgres::{Client, Row};

use super::{MaintenanceSettings, Trouble};
use crate::probe::{ProbeError, Target, dedicated};

/// What is written down of each change.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    /// As clients name it.
    pub database: &'a str,
    /// Whole, as it is sent; holds names and boundaries, no values of rows.
    pub statement: &'a str,
}

/// Where changes are written down.
pub trait Audit: Send + Sync {
    /// Before a statement is sent; returns what joins its end to its begin.
    ///
    /// # Errors
    /// It cannot be written down, and then it is not sent.
    fn begins(&self, act: Act<'_>) -> Result<u64, String>;

    /// `Err` holds the server's message.
    fn ended(&self, id: u64, act: Act<'_>, outcome: Result<(), &str>);

    /// What was changed in a transaction can be seen by others now. Nothing to write down.
    fn committed(&self, _database: &str) {}
}

/// A change that is written down and not sent yet; see [`Actor::withdraw`].
pub struct Announced {
    id: u64,
    statement: String,
    sent: Cell<bool>,
}

/// What these connections are called in `pg_stat_activity`.
pub const APPLICATION_NAME: &str = "pgweir maintain";

/// How often a change is tried while others hold its locks; with the pauses about two minutes.
const TRIES: u32 = 30;

/// Between two tries, doubling up to the second.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_LAST: Duration = Duration::from_secs(5);

/// A transaction of pgweir's that lost its owner holds locks no longer than this.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// The first half of the advisory locks that tell the pgweir of one database apart: "pgwe" in letters.
const LOCK_CLASS: i32 = 0x7067_7765;

/// The same for indexes, "pgwi"; 0, which no table has, is the lock by which they choose who builds them.
const LEADER_CLASS: i32 = 0x7067_7769;

/// A connection to one database.
pub struct Actor {
    client: Client,
    audit: Arc<dyn Audit>,
    database: String,
    lock_timeout: Duration,
    /// The schema was changed since the last transaction began.
    changed: Cell<bool>,
    /// As `server_version_num` has it.
    pub version: u32,
}

impl Actor {
    /// Opens one. `database` is the name that clients use.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn connect(
        target: Target,
        database: &str,
        settings: &MaintenanceSettings,
        audit: Arc<dyn Audit>,
    ) -> Result<Actor, Trouble> {
        // PostgreSQL writes names with their schemas, and nobody's operators stand in for its own.
        let path = ("search_path", "pg_catalog".to_owned());
        Actor::open(target, database, settings, audit, Some(path)).await
    }

    /// The same with the user's own search path, for expressions of the user's statements.
    pub async fn connect_as_user(
        target: Target,
        database: &str,
        settings: &MaintenanceSettings,
        audit: Arc<dyn Audit>,
    ) -> Result<Actor, Trouble> {
        Actor::open(target, database, settings, audit, None).await
    }

    async fn open(
        target: Target,
        database: &str,
        settings: &MaintenanceSettings,
        audit: Arc<dyn Audit>,
        path: Option<(&'static str, String)>,
    ) -> Result<Actor, Trouble> {
        let ms = |duration: Duration| duration.as_millis().max(1).to_string();
        let mut startup: Vec<(&str, String)> = vec![
            ("client_encoding", "UTF8".to_owned()),
            ("application_name", APPLICATION_NAME.to_owned()),
            ("default_transaction_read_only", "off".to_owned()),
            ("default_transaction_isolation", "read committed".to_owned()),
            ("statement_timeout", "0".to_owned()),
            ("lock_timeout", ms(settings.lock_timeout)),
            ("idle_in_transaction_session_timeout", ms(FORGOTTEN)),
            // Texts of values, as they are compared and kept.
            ("TimeZone", "UTC".to_owned()),
            ("DateStyle", "ISO, YMD".to_owned()),
            ("IntervalStyle", "postgres".to_owned()),
            ("bytea_output", "hex".to_owned()),
            ("extra_float_digits", "1".to_owned()),
            // Compiling a plan over many partitions takes seconds, some of which would be under a lock.
            ("jit", "off".to_owned()),
            // Policies must not hide rows from a copy: an error is better.
            ("row_security", "off".to_owned()),
        ];
        startup.extend(path);
        let client = dedicated::connect(target, &startup).await?;
        let mut actor = Actor {
            client,
            audit,
            database: database.to_owned(),
            lock_timeout: settings.lock_timeout,
            changed: Cell::new(false),
            version: 0,
        };
        let version: i32 = actor.value("SELECT current_setting('server_version_num')::int4", &[]).await?;
        actor.version = u32::try_from(version).unwrap_or_default();
        Ok(actor)
    }

    /// Is the one of all pgweir of this database that builds indexes without being told; `false`: another one is.
    /// Lasts as long as the connection.
    pub async fn lead(&self) -> Result<bool, Trouble> {
        self.value("SELECT pg_catalog.pg_try_advisory_lock($1, 0)", &[&LEADER_CLASS]).await
    }

    /// Holds a table for this connection; `false`: another connection has it. It is let go with the connection.
    pub async fn hold(&self, table: u32) -> Result<bool, Trouble> {
        let key = i32::from_ne_bytes(table.to_ne_bytes());
        self.value("SELECT pg_catalog.pg_try_advisory_lock($1, $2)", &[&LOCK_CLASS, &key]).await
    }

    /// The same for the indexes of a table: partitions may come and go meanwhile.
    pub async fn hold_indexes(&self, table: u32) -> Result<bool, Trouble> {
        let key = i32::from_ne_bytes(table.to_ne_bytes());
        self.value("SELECT pg_catalog.pg_try_advisory_lock($1, $2)", &[&LEADER_CLASS, &key]).await
    }

    pub async fn rows(&self, query: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Trouble> {
        Ok(self.client.query(query, parameters).await?)
    }

    /// The first column of the only row.
    pub async fn value<T: for<'a> FromSql<'a>>(
        &self,
        query: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<T, Trouble> {
        get(&self.client.query_one(query, parameters).await?, 0)
    }

    /// Changes rows, of pgweir's own tables or copies of others; how many.
    pub async fn write(&self, statement: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, Trouble> {
        Ok(self.client.execute(statement, parameters).await?)
    }

    /// Settings and ends of transactions; nothing that changes a schema.
    pub async fn run(&self, statements: &str) -> Result<(), Trouble> {
        Ok(self.client.batch_execute(statements).await?)
    }

    /// The connection itself, for COPY and cursors.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Changes the schema by one statement, within the transaction that is open or by itself.
    pub async fn ddl(&self, statement: &str) -> Result<(), Trouble> {
        let announced = self.announce(statement.to_owned())?;
        self.announced(&announced).await
    }

    /// Writes a change down that is sent later, so that nobody waits for the disk while a lock is held.
    pub fn announce(&self, statement: String) -> Result<Announced, Trouble> {
        let act = Act { database: &self.database, statement: &statement };
        let id = self.audit.begins(act).map_err(Trouble::Unaudited)?;
        Ok(Announced { id, statement, sent: Cell::new(false) })
    }

    /// Sends it.
    pub async fn announced(&self, announced: &Announced) -> Result<(), Trouble> {
        let (id, act) = (announced.id, Act { database: &self.database, statement: &announced.statement });
        announced.sent.set(true);
        self.changed.set(true);
        let outcome = self.client.batch_execute(&announced.statement).await.map_err(Trouble::from);
        match &outcome {
            Ok(()) => self.audit.ended(id, act, Ok(())),
            Err(error) => self.audit.ended(id, act, Err(&error.to_string())),
        }
        outcome
    }

    /// Writes down that it was not sent after all, if so.
    pub fn withdraw(&self, announced: &Announced) {
        if !announced.sent.get() {
            let act = Act { database: &self.database, statement: &announced.statement };
            self.audit.ended(announced.id, act, Err("not sent: the lock was not free"));
        }
    }

    /// One statement that cannot be in a transaction, tried until its locks are free.
    pub async fn ddl_alone(&self, statement: &str) -> Result<(), Trouble> {
        self.tried(async || self.ddl(statement).await).await
    }

    /// Work in one transaction, tried until its locks are free. All of it happens, or nothing.
    pub async fn atomically<T>(&self, work: impl AsyncFn() -> Result<T, Trouble>) -> Result<T, Trouble> {
        self.tried(async || self.transaction(&work).await).await
    }

    /// Work in one transaction, tried once.
    pub async fn transaction<T>(&self, work: &impl AsyncFn() -> Result<T, Trouble>) -> Result<T, Trouble> {
        self.run("BEGIN").await?;
        self.changed.set(false);
        match work().await {
            Ok(value) => {
                let committed = self.run("COMMIT").await;
                if self.changed.get() {
                    // Whatever came of it: it may have been done.
                    self.audit.committed(&self.database);
                }
                committed.map(|()| value)
            }
            Err(error) => {
                // The error is what matters; without a connection there is nothing to roll back.
                let _ = self.run("ROLLBACK").await;
                Err(error)
            }
        }
    }

    async fn tried<T>(&self, work: impl AsyncFn() -> Result<T, Trouble>) -> Result<T, Trouble> {
        let mut pause = PAUSE_FIRST;
        for _ in 1..TRIES {
            match work().await {
                Err(error) if error.contends() => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_LAST);
                }
                outcome => return outcome,
            }
        }
        work().await
    }

    /// Waits for locks as long as it takes, up to a bound; for work that nobody queues behind.
    pub async fn patiently<T>(
        &self,
        bound: Duration,
        work: impl AsyncFn() -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        self.run(&format!("SET lock_timeout = 0; SET statement_timeout = {}", bound.as_millis())).await?;
        let outcome = work().await;
        let back =
            format!("SET lock_timeout = {}; SET statement_timeout = 0", self.lock_timeout.as_millis().max(1));
        self.run(&back).await?;
        outcome
    }
}

/// A column of a row.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, at: usize) -> Result<T, Trouble> {
    row.try_get(at).map_err(|error| {
        let cause =
            std::error::Error::source(&error).map_or_else(String::new, |source| format!(": {source}"));
        Trouble::Database(ProbeError::Unfit(format!("the answer is not as expected: {error}{cause}")))
    })
}
