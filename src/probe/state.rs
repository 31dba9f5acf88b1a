//! Ledger, findings, the history of indexes and what was learned of loops over restarts in four tables, in a schema of the user's choice. Several pgweir may keep
//! theirs side by side. Must not know when that is done; the lines are those of the state file.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_postgres::{Client, Transaction};

use super::{ProbeError, quoted};
use crate::observe::findings::Finding;
use crate::observe::state::{Line, Saved};
use crate::observe::{indexes, loops};

/// Where the state of one pgweir is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub schema: String,
    /// Tells the pgweir that share a schema apart.
    pub instance: String,
}

/// Nobody's operators stand in for PostgreSQL's own.
const OWN_NAMES: &str = "SET LOCAL search_path = pg_catalog";

/// Lines that are read back, at most: the largest ledger that the rules allow.
const LINES_MAX: i64 = 100_000;

/// Findings, or entries of the history of indexes, that are read back, at most; more than are ever kept at a time.
const BODIES_MAX: i64 = 10_000;

/// The columns of a table that is made when it is missing.
const LEDGER: (&str, &str) = (
    "ledger",
    "instance text, database text, username text, shape text, statement text NOT NULL, \
     calls bigint NOT NULL, errors bigint NOT NULL, row_count bigint NOT NULL, bytes bigint NOT NULL, \
     queue_us bigint NOT NULL, server_us bigint NOT NULL, client_us bigint NOT NULL, \
     max_us bigint NOT NULL, first_s bigint NOT NULL, last_s bigint NOT NULL, latency text NOT NULL, \
     PRIMARY KEY (instance, database, username, shape)",
);
const BODIES: &str = "instance text, id text, body jsonb NOT NULL, PRIMARY KEY (instance, id)";
const FINDINGS: (&str, &str) = ("findings", BODIES);
const INDEXES: (&str, &str) = ("index_history", BODIES);
const LOOPS: (&str, &str) = ("loops", BODIES);

/// Keeps these lines and findings, and forgets what was kept of others of this instance. Where there are none
/// nothing changes: an empty ledger is one that has not begun. Returns how many rows were written.
///
/// # Errors
/// The schema or its tables can neither be used nor made; the message says what to run.
pub(super) async fn save(client: &mut Client, place: &Place, saved: &Saved) -> Result<u64, ProbeError> {
    if *saved == Saved::default() {
        return Ok(0);
    }
    let transaction = client.build_transaction().read_only(false).start().await?;
    transaction.batch_execute(OWN_NAMES).await?;
    let written = write(&transaction, place, saved).await.map_err(|error| explained(error, place))?;
    transaction.commit().await?;
    Ok(written)
}

async fn write(transaction: &Transaction<'_>, place: &Place, saved: &Saved) -> Result<u64, ProbeError> {
    let mut written = 0;
    make(transaction, place, LEDGER).await?;
    if !saved.shapes.is_empty() {
        written += upsert(transaction, place, &saved.shapes).await?;
    }
    make(transaction, place, FINDINGS).await?;
    if !saved.findings.is_empty() {
        let all = saved.findings.iter().map(|finding| (finding.id.clone(), finding));
        written += upsert_bodies(transaction, place, FINDINGS.0, all).await?;
    }
    // Who was given tables of their own by an administrator may have no right to make others, and no need.
    if !saved.indexes.is_empty() || exists(transaction, place, INDEXES.0).await? {
        make(transaction, place, INDEXES).await?;
        let all = saved.indexes.iter().map(|kept| (kept.key(), kept));
        written += upsert_bodies(transaction, place, INDEXES.0, all).await?;
    }
    if !saved.loops.is_empty() || exists(transaction, place, LOOPS.0).await? {
        make(transaction, place, LOOPS).await?;
        let all = saved.loops.iter().map(|kept| (kept.key(), kept));
        written += upsert_bodies(transaction, place, LOOPS.0, all).await?;
    }
    Ok(written)
}

/// What was kept; nothing if there are no tables.
///
/// # Errors
/// A table cannot be read or is not one of ours.
pub(super) async fn load(client: &mut Client, place: &Place) -> Result<Saved, ProbeError> {
    let transaction = client.build_transaction().read_only(true).start().await?;
    transaction.batch_execute(OWN_NAMES).await?;
    let mut saved = Saved::default();
    if exists(&transaction, place, LEDGER.0).await? {
        saved.shapes = shapes(&transaction, place).await.map_err(|error| explained(error, place))?;
    }
    if exists(&transaction, place, FINDINGS.0).await? {
        saved.findings = bodies::<Finding>(&transaction, place, FINDINGS.0)
            .await
            .map_err(|error| explained(error, place))?;
    }
    if exists(&transaction, place, INDEXES.0).await? {
        saved.indexes = bodies::<indexes::Kept>(&transaction, place, INDEXES.0)
            .await
            .map_err(|error| explained(error, place))?;
    }
    if exists(&transaction, place, LOOPS.0).await? {
        saved.loops = bodies::<loops::Kept>(&transaction, place, LOOPS.0)
            .await
            .map_err(|error| explained(error, place))?;
    }
    transaction.rollback().await?;
    Ok(saved)
}

async fn shapes(transaction: &Transaction<'_>, place: &Place) -> Result<Vec<Line>, ProbeError> {
    let table = table(place, LEDGER.0);
    let query = format!(
        "SELECT database, username, shape, statement, calls, errors, row_count, bytes, queue_us, server_us, \
            client_us, max_us, first_s, last_s, latency \
         FROM {table} WHERE instance = $1 ORDER BY calls DESC LIMIT {LINES_MAX}"
    );
    let rows = transaction.query(&query, &[&place.instance]).await?;
    let mut lines = Vec::with_capacity(rows.len());
    for row in &rows {
        let number =
            |at: usize| row.try_get::<_, i64>(at).map(|value| u64::try_from(value).unwrap_or_default());
        let latency: String = row.try_get(14)?;
        lines.push(Line {
            database: row.try_get(0)?,
            user: row.try_get(1)?,
            shape: row.try_get(2)?,
            text: row.try_get(3)?,
            calls: number(4)?,
            errors: number(5)?,
            rows: number(6)?,
            bytes: number(7)?,
            queue_us: number(8)?,
            server_us: number(9)?,
            client_us: number(10)?,
            max_us: number(11)?,
            first_s: number(12)?,
            last_s: number(13)?,
            latency: serde_json::from_str(&latency).map_err(|error| {
                ProbeError::Unfit(format!("{table} holds an unreadable latency: {error}"))
            })?,
        });
    }
    Ok(lines)
}

async fn bodies<T: DeserializeOwned>(
    transaction: &Transaction<'_>,
    place: &Place,
    name: &str,
) -> Result<Vec<T>, ProbeError> {
    let table = table(place, name);
    let query = format!("SELECT body::text FROM {table} WHERE instance = $1 LIMIT {BODIES_MAX}");
    let mut found = Vec::new();
    for row in transaction.query(&query, &[&place.instance]).await? {
        let unread = |error| ProbeError::Unfit(format!("{table} holds an unreadable body: {error}"));
        found.push(serde_json::from_str(row.try_get(0)?).map_err(unread)?);
    }
    Ok(found)
}

fn table(place: &Place, name: &str) -> String {
    format!("{}.{name}", quoted(&place.schema))
}

async fn exists(transaction: &Transaction<'_>, place: &Place, name: &str) -> Result<bool, ProbeError> {
    let query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c \
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = $1 AND c.relname = $2)";
    Ok(transaction.query_one(query, &[&place.schema, &name]).await?.try_get(0)?)
}

/// Makes what is missing. `IF NOT EXISTS` alone would ask for the right to create even where nothing is
/// created.
async fn make(
    transaction: &Transaction<'_>,
    place: &Place,
    (name, columns): (&str, &str),
) -> Result<(), ProbeError> {
    if exists(transaction, place, name).await? {
        return Ok(());
    }
    let schema = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)";
    if !transaction.query_one(schema, &[&place.schema]).await?.try_get(0)? {
        let create = format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(&place.schema));
        transaction.batch_execute(&create).await?;
    }
    let create = format!("CREATE TABLE IF NOT EXISTS {} ({columns})", table(place, name));
    Ok(transaction.batch_execute(&create).await?)
}

/// One statement: rows that are gone from the ledger go, changed ones change, and the rest is left alone.
async fn upsert(transaction: &Transaction<'_>, place: &Place, lines: &[Line]) -> Result<u64, ProbeError> {
    let query = format!(
        "WITH now AS (SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::int8[], \
                $7::int8[], $8::int8[], $9::int8[], $10::int8[], $11::int8[], $12::int8[], $13::int8[], \
                $14::int8[], $15::int8[], $16::text[]) \
            AS line(database, username, shape, statement, calls, errors, row_count, bytes, queue_us, \
                server_us, client_us, max_us, first_s, last_s, latency)), \
         gone AS (DELETE FROM {table} old WHERE old.instance = $1 AND NOT EXISTS (SELECT FROM now \
            WHERE (now.database, now.username, now.shape) = (old.database, old.username, old.shape))) \
         INSERT INTO {table} AS old SELECT $1, now.* FROM now \
         ON CONFLICT (instance, database, username, shape) DO UPDATE SET \
            statement = excluded.statement, calls = excluded.calls, errors = excluded.errors, \
            row_count = excluded.row_count, bytes = excluded.bytes, queue_us = excluded.queue_us, \
            server_us = excluded.server_us, client_us = excluded.client_us, max_us = excluded.max_us, \
            first_s = excluded.first_s, last_s = excluded.last_s, latency = excluded.latency \
         WHERE (old.calls, old.errors, old.row_count, old.client_us, old.last_s) IS DISTINCT FROM \
            (excluded.calls, excluded.errors, excluded.row_count, excluded.client_us, excluded.last_s)",
        table = table(place, LEDGER.0)
    );
    let text = |of: fn(&Line) -> &str| lines.iter().map(of).collect::<Vec<_>>();
    // PostgreSQL has no unsigned numbers; no count comes near the bound.
    let number = |of: fn(&Line) -> u64| {
        lines.iter().map(|line| i64::try_from(of(line)).unwrap_or(i64::MAX)).collect::<Vec<_>>()
    };
    let pairs = |line: &Line| serde_json::to_string(&line.latency);
    let latency = lines.iter().map(pairs).collect::<Result<Vec<_>, _>>();
    let latency = latency.map_err(|error| ProbeError::Unfit(error.to_string()))?;
    let written = transaction
        .execute(
            &query,
            &[
                &place.instance,
                &text(|line| &line.database),
                &text(|line| &line.user),
                &text(|line| &line.shape),
                &text(|line| &line.text),
                &number(|line| line.calls),
                &number(|line| line.errors),
                &number(|line| line.rows),
                &number(|line| line.bytes),
                &number(|line| line.queue_us),
                &number(|line| line.server_us),
                &number(|line| line.client_us),
                &number(|line| line.max_us),
                &number(|line| line.first_s),
                &number(|line| line.last_s),
                &latency,
            ],
        )
        .await?;
    Ok(written)
}

/// The same for what is kept as a body under an id.
async fn upsert_bodies<T: Serialize>(
    transaction: &Transaction<'_>,
    place: &Place,
    name: &str,
    all: impl Iterator<Item = (String, T)>,
) -> Result<u64, ProbeError> {
    let query = format!(
        "WITH now AS (SELECT id, body::jsonb FROM unnest($2::text[], $3::text[]) AS line(id, body)), \
         gone AS (DELETE FROM {table} old WHERE old.instance = $1 AND NOT EXISTS (SELECT FROM now \
            WHERE now.id = old.id)) \
         INSERT INTO {table} AS old SELECT $1, now.* FROM now \
         ON CONFLICT (instance, id) DO UPDATE SET body = excluded.body \
         WHERE old.body IS DISTINCT FROM excluded.body",
        table = table(place, name)
    );
    let (mut ids, mut bodies) = (Vec::new(), Vec::new());
    for (id, body) in all {
        ids.push(id);
        bodies.push(serde_json::to_string(&body).map_err(|error| ProbeError::Unfit(error.to_string()))?);
    }
    Ok(transaction.execute(&query, &[&place.instance, &ids, &bodies]).await?)
}

/// Says what an operator has to do.
fn explained(error: ProbeError, place: &Place) -> ProbeError {
    let ProbeError::Refused { sqlstate, message } = error else {
        return error;
    };
    let schema = quoted(&place.schema);
    let advice = match sqlstate.as_str() {
        "42501" => format!(
            "; let the user that pgweir asks as (observe.probe.user in the rules) have the schema: CREATE SCHEMA \
             {schema} AUTHORIZATION …, or GRANT USAGE, CREATE ON SCHEMA {schema} and the rights on its tables \
             ledger, findings, index_history and loops to it"
        ),
        "42703" | "42P10" | "42804" => format!(
            "; {schema}.ledger and {schema}.findings are not both tables of pgweir's: name another schema, or \
             rename what is in the way"
        ),
        "25006" => "; the server takes no writes, it may be a standby".to_owned(),
        _ => String::new(),
    };
    let message = format!("{message}{advice}");
    ProbeError::Refused { sqlstate, message }
}
