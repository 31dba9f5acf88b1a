//! Builds one index, or takes it away, beside the application's work: CONCURRENTLY, again after a pause when
//! somebody holds a lock, and without leaving an invalid one behind. Knows what is to be run; whether it may be is
//! decided by whoever calls.

use std::time::Duration;

use super::settings::{AutoSettings, Guard};
use super::{guard, parted};
use crate::advise::index::quoted;
use crate::maintain::actor::{Actor, get};
use crate::maintain::{Trouble, unfit};
use crate::observe::indexes::Act;
use crate::probe::building::Progress;
use crate::probe::{Probe, ProbeError};

/// Pauses before another try, when somebody holds a lock.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(60)];

/// A build CONCURRENTLY waits for transactions that are older, and nobody who reads or writes queues behind it, so
/// it may wait longer than other changes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Between looks at how far it is, and, in such looks, between those at the standbys.
const LOOK: Duration = Duration::from_millis(500);
const LOOKS_OF_LOAD: u32 = 10;

/// What is to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    pub schema: String,
    pub name: String,
    pub ddl: String,
    /// As SQL writes it.
    pub table: String,
    /// What stands behind the table: columns and more.
    pub definition: String,
    /// Run behind it; if it fails it is only told.
    pub then: Vec<String>,
}

impl Build {
    /// `None`: the statement is none of ours.
    pub fn of(act: &Act) -> Option<Build> {
        let (schema, name) = (act.schema.clone(), act.name.clone());
        let head = act.ddl.strip_suffix(&act.definition)?.trim_end();
        let head = head.strip_prefix("CREATE INDEX ")?;
        let head = head.strip_prefix("CONCURRENTLY ").unwrap_or(head);
        let table = head.strip_prefix(&quoted(&name))?.strip_prefix(" ON ")?.to_owned();
        let (ddl, definition) = (act.ddl.clone(), act.definition.clone());
        Some(Build { schema, name, ddl, table, definition, then: act.then.clone() })
    }

    /// As SQL writes it.
    pub(super) fn index(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

/// Whoever is told how it goes.
pub trait Teller {
    /// How far it is, and what happens.
    fn tell(&self, message: String);

    /// A statement that changes the schema is about to be sent.
    fn sends(&self, statement: &str);
}

/// Where it is built.
pub struct Site<'a> {
    pub actor: Actor,
    /// Looks on while the actor is busy.
    pub probe: &'a Probe,
    /// `None`: whatever the standbys say, it goes on.
    pub guard: Option<Guard>,
    pub teller: &'a dyn Teller,
    pid: i32,
}

impl<'a> Site<'a> {
    /// # Errors
    /// The connection was lost.
    pub async fn new(
        actor: Actor,
        probe: &'a Probe,
        guard: Option<Guard>,
        teller: &'a dyn Teller,
    ) -> Result<Site<'a>, Trouble> {
        let pid = actor.value("SELECT pg_catalog.pg_backend_pid()", &[]).await?;
        Ok(Site { actor, probe, guard, teller, pid })
    }

    /// A change that nobody waits for, or only for a moment.
    pub(super) async fn ddl(&self, sql: &str) -> Result<(), Trouble> {
        self.teller.sends(sql);
        self.actor.ddl_alone(sql).await
    }

    /// A change CONCURRENTLY, told of as it goes on under this name.
    pub(super) async fn slowly(&self, sql: &str, name: &str) -> Result<(), Trouble> {
        self.teller.sends(sql);
        self.actor.run(&format!("SET lock_timeout = {}", PATIENCE.as_millis())).await?;
        let outcome = self.watched(sql, name).await;
        // A connection that is gone needs no settings.
        let _ = self.actor.run("RESET lock_timeout").await;
        outcome
    }

    async fn watched(&self, sql: &str, name: &str) -> Result<(), Trouble> {
        let building = self.actor.ddl(sql);
        tokio::pin!(building);
        let (mut looks, mut broken_off) = (0_u32, None);
        // What takes away makes little log, and has to come to its end.
        let guarded = sql.starts_with("CREATE ");
        loop {
            tokio::select! {
                done = &mut building => return match broken_off {
                    Some(why) if done.is_err() => Err(unfit(why)),
                    _ => done,
                },
                () = tokio::time::sleep(LOOK) => {
                    looks += 1;
                    if let Ok(Some(Progress { phase, done, total })) = self.probe.progress(self.pid).await {
                        let percent = if total > 0 { format!(", {} %", done * 100 / total) } else { String::new() };
                        self.teller.tell(format!("{name}{phase}{percent}"));
                    }
                    if guarded && looks.is_multiple_of(LOOKS_OF_LOAD) && broken_off.is_none()
                        && let Some(why) = self.too_much().await
                    {
                        broken_off = Some(format!("broken off: {why}"));
                        if let Err(error) = self.probe.cancel(self.pid).await {
                            self.teller.tell(format!("it cannot be broken off: {error}"));
                        }
                    }
                }
            }
        }
    }

    async fn too_much(&self) -> Option<String> {
        let guard = self.guard?;
        let load = self.probe.load_of_server("UTC").await.ok()?;
        guard::break_off(&load, &guard)
    }

    /// Whether an index exists, and whether queries may use it.
    pub(super) async fn index(&self, schema: &str, name: &str) -> Result<Option<bool>, Trouble> {
        let query = "SELECT i.indisvalid AND i.indisready AND i.indislive FROM pg_catalog.pg_index i \
            JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";
        let rows = self.actor.rows(query, &[&schema, &name]).await?;
        rows.first().map(|row| get(row, 0)).transpose()
    }

    /// Another backend is at work on an index of this name, such as one whose client has gone.
    async fn is_under_way(&self, schema: &str, name: &str) -> Result<bool, Trouble> {
        let query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p \
            JOIN pg_catalog.pg_class c ON c.oid = p.index_relid \
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2)";
        self.actor.value(query, &[&schema, &name]).await
    }

    /// Oid and kind of a table, as SQL writes it.
    async fn table(&self, table: &str) -> Result<(u32, String), Trouble> {
        let query = "SELECT c.oid, c.relkind::text FROM pg_catalog.pg_class c \
            WHERE c.oid = pg_catalog.to_regclass($1)::oid";
        let rows = self.actor.rows(query, &[&table]).await?;
        let row = rows.first().ok_or_else(|| unfit(format!("there is no table {table} any more")))?;
        Ok((get(row, 0)?, get(row, 1)?))
    }

    /// Takes an index away that a build has left and nobody can use.
    pub(super) async fn clean(&self, schema: &str, name: &str) -> Result<(), Trouble> {
        if !matches!(self.index(schema, name).await, Ok(Some(false))) {
            return Ok(());
        }
        let sql = format!("DROP INDEX CONCURRENTLY IF EXISTS {}.{}", quoted(schema), quoted(name));
        self.slowly(&sql, "").await.map_err(|error| {
            unfit(format!("an invalid index {name} is left and could not be taken away: {error}; run {sql}"))
        })
    }
}

/// What kind of relation a partitioned table is.
const PARTITIONED: &str = "p";

/// Builds it. `again`: an earlier process began it, and what that has left is gone on from.
///
/// # Errors
/// Nothing is left behind, or the sentence says so.
pub async fn build(site: &Site<'_>, build: &Build, again: bool) -> Result<(), Trouble> {
    let (table, kind) = site.table(&build.table).await?;
    while !site.actor.hold_indexes(table).await? {
        if !again {
            return Err(Trouble::Busy(build.table.clone()));
        }
        // The connection of a process that was killed holds it until the server is done with what it was asked.
        site.teller.tell("the server is still at what was begun earlier".to_owned());
        tokio::time::sleep(LOOK).await;
    }
    if kind == PARTITIONED {
        parted::build(site, build, table).await?;
    } else {
        one(site, &build.schema, &build.name, &build.ddl, "", again).await?;
    }
    for sql in &build.then {
        site.teller.sends(sql);
        if let Err(error) = site.actor.ddl(sql).await {
            site.teller.tell(format!("{sql}: {error}"));
        }
    }
    Ok(())
}

/// Builds an index on one table. `of`: what progress is told under.
pub(super) async fn one(
    site: &Site<'_>,
    schema: &str,
    name: &str,
    ddl: &str,
    of: &str,
    again: bool,
) -> Result<(), Trouble> {
    let mut pauses = PAUSES.iter();
    loop {
        // The server goes on with a build whose client has gone.
        while again && site.is_under_way(schema, name).await? {
            site.teller.tell(format!("{of}the server is still at what was begun earlier"));
            tokio::time::sleep(LOOK).await;
        }
        // An earlier attempt, perhaps of an earlier process, may have left one that nobody can use.
        match site.index(schema, name).await? {
            Some(true) if again => return Ok(()),
            Some(true) => return Err(unfit(format!("there is an index {name} already"))),
            Some(false) => {
                site.teller.tell(format!("{of}taking away what an earlier attempt has left"));
                site.clean(schema, name).await?;
            }
            None => {}
        }
        let error = match site.slowly(ddl, of).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        // Whatever it was, an invalid index costs writes and serves nobody.
        site.clean(schema, name).await?;
        match pauses.next().filter(|_| error.contends()) {
            Some(pause) => {
                site.teller
                    .tell(format!("{of}somebody holds a lock on the table; again in {} s", pause.as_secs()));
                tokio::time::sleep(*pause).await;
            }
            None => return Err(error),
        }
    }
}

/// Takes it away, with what it has on partitions.
///
/// # Errors
/// It is still there.
pub async fn remove(site: &Site<'_>, build: &Build) -> Result<(), Trouble> {
    let (table, kind) = site.table(&build.table).await?;
    if !site.actor.hold_indexes(table).await? {
        return Err(Trouble::Busy(build.table.clone()));
    }
    match kind == PARTITIONED {
        true => parted::remove(site, build).await,
        false => site.slowly(&format!("DROP INDEX CONCURRENTLY IF EXISTS {}", build.index()), "").await,
    }
}

/// Why it should not begin now; warnings are told.
///
/// # Errors
/// The server cannot be asked.
pub async fn objection(
    probe: &Probe,
    settings: &AutoSettings,
    teller: &dyn Teller,
) -> Result<Option<String>, ProbeError> {
    let load = probe.load_of_server(&settings.time_zone).await?;
    guard::warnings(&load, settings).into_iter().for_each(|warning| teller.tell(warning));
    Ok(guard::objection(&load, &settings.guard))
}
