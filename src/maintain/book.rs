//! What pgweir has to remember of archives, in a table of its own schema in the database itself, so that any
//! pgweir goes on where another one ended. Must not know what the steps do.

use super::actor::{Actor, get};
use super::sql::{name, qualified};
use super::{TableName, Trouble};
use crate::observe::partitions::Archived;

/// Columns of the book. A new version adds columns and changes none.
const ARCHIVES: &str = "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
    table_schema text NOT NULL, table_name text NOT NULL, \
    partition_schema text NOT NULL, partition_name text NOT NULL, lower_bound text NOT NULL, upper_bound text NOT NULL, \
    kind text NOT NULL, place text NOT NULL, state text NOT NULL, \
    row_count bigint, checksum text, digest text, bytes bigint, columns text[], \
    begun timestamptz NOT NULL DEFAULT now(), changed timestamptz NOT NULL DEFAULT now()";

/// An archive, finished or not.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) id: i64,
    /// Where the partition was.
    pub(super) partition: TableName,
    pub(super) lower: String,
    pub(super) upper: String,
    pub(super) kind: String,
    pub(super) place: String,
    /// The last step that is done.
    pub(super) state: String,
    pub(super) rows: Option<i64>,
    pub(super) checksum: Option<String>,
    pub(super) digest: Option<String>,
    pub(super) columns: Vec<String>,
    pub(super) bytes: Option<i64>,
}

/// The book of one schema.
pub(super) struct Book<'a> {
    actor: &'a Actor,
    schema: &'a str,
}

impl<'a> Book<'a> {
    pub(super) fn new(actor: &'a Actor, schema: &'a str) -> Book<'a> {
        Book { actor, schema }
    }

    fn archives(&self) -> String {
        qualified(self.schema, "archives")
    }

    /// Makes the schema and the table where they are missing.
    pub(super) async fn open(&self) -> Result<(), Trouble> {
        schema(self.actor, self.schema).await?;
        table(self.actor, self.schema, "archives", ARCHIVES).await
    }

    async fn exists(&self) -> Result<bool, Trouble> {
        self.actor.value("SELECT to_regclass($1) IS NOT NULL", &[&self.archives()]).await
    }

    /// The archives of a table, the newest first.
    pub(super) async fn of(&self, table: &TableName) -> Result<Vec<Entry>, Trouble> {
        if !self.exists().await? {
            return Ok(Vec::new());
        }
        let query = format!(
            "SELECT id, partition_schema, partition_name, lower_bound, upper_bound, kind, place, state, row_count, \
             checksum, digest, coalesce(columns, '{{}}'), bytes FROM {} \
             WHERE table_schema = $1 AND table_name = $2 ORDER BY id DESC LIMIT 10000",
            self.archives()
        );
        let mut entries = Vec::new();
        for row in &self.actor.rows(&query, &[&table.schema, &table.name]).await? {
            entries.push(Entry {
                id: get(row, 0)?,
                partition: TableName { schema: get(row, 1)?, name: get(row, 2)? },
                lower: get(row, 3)?,
                upper: get(row, 4)?,
                kind: get(row, 5)?,
                place: get(row, 6)?,
                state: get(row, 7)?,
                rows: get(row, 8)?,
                checksum: get(row, 9)?,
                digest: get(row, 10)?,
                columns: get(row, 11)?,
                bytes: get(row, 12)?,
            });
        }
        Ok(entries)
    }

    /// Notes an archive before anything is done for it.
    pub(super) async fn begin(&self, table: &TableName, entry: &Entry) -> Result<i64, Trouble> {
        let insert = format!(
            "INSERT INTO {} (table_schema, table_name, partition_schema, partition_name, lower_bound, upper_bound, kind, \
             place, state) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id",
            self.archives()
        );
        let partition = &entry.partition;
        self.actor
            .value(
                &insert,
                &[
                    &table.schema,
                    &table.name,
                    &partition.schema,
                    &partition.name,
                    &entry.lower,
                    &entry.upper,
                    &entry.kind,
                    &entry.place,
                    &entry.state,
                ],
            )
            .await
    }

    /// Notes a step; within the transaction that makes it where there is one.
    pub(super) async fn step(&self, entry: &mut Entry, state: &str) -> Result<(), Trouble> {
        let update = format!(
            "UPDATE {} SET state = $2, row_count = $3, checksum = $4, digest = $5, columns = $6, bytes = $7, \
             changed = now() WHERE id = $1",
            self.archives()
        );
        let (rows, checksum, digest) = (entry.rows, &entry.checksum, &entry.digest);
        let bytes = entry.bytes;
        self.actor
            .write(&update, &[&entry.id, &state, &rows, checksum, digest, &entry.columns, &bytes])
            .await?;
        entry.state = state.to_owned();
        Ok(())
    }
}

impl Entry {
    pub(super) fn shown(&self) -> Archived {
        Archived {
            id: self.id,
            partition: self.partition.name.clone(),
            lower: self.lower.trim_matches('\'').to_owned(),
            upper: self.upper.trim_matches('\'').to_owned(),
            kind: self.kind.clone(),
            place: self.place.clone(),
            state: self.state.clone(),
            rows: self.rows.unwrap_or(-1),
            bytes: self.bytes.unwrap_or(-1),
        }
    }
}

/// Makes a schema if it is missing. Asking first, because `IF NOT EXISTS` wants the right to make one.
pub(super) async fn schema(actor: &Actor, schema: &str) -> Result<(), Trouble> {
    match actor.value("SELECT to_regnamespace($1) IS NOT NULL", &[&name(schema)]).await? {
        true => Ok(()),
        false => actor.ddl(&format!("CREATE SCHEMA IF NOT EXISTS {}", name(schema))).await,
    }
}

/// Makes a table if it is missing.
pub(super) async fn table(actor: &Actor, schema: &str, table: &str, columns: &str) -> Result<(), Trouble> {
    let whole = qualified(schema, table);
    match actor.value("SELECT to_regclass($1) IS NOT NULL", &[&whole]).await? {
        true => Ok(()),
        false => actor.ddl(&format!("CREATE TABLE IF NOT EXISTS {whole} ({columns})")).await,
    }
}
