//! A detached partition written to a Parquet file with its manifest, checked, and loaded again. The file is one
//! snapshot of the table; what is checked is what was written to the disk. Must not know when that is done.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::actor::{Actor, get};
use super::cell::{Column, Form, Values};
use super::file::{Writer, groups};
use super::sql::{list, name};
use super::tally::{Tally, tally};
use super::{TableName, Trouble, unfit};
use crate::observe::process::now_s;

/// Rows of one fetch.
const FETCH: usize = 5_000;

/// A group of rows in the file, and with it the memory that is used.
const GROUP_ROWS: usize = 50_000;
const GROUP_BYTES: usize = 32 << 20;

/// Rows of one INSERT of a load.
const LOAD_ROWS: usize = 5_000;

/// What stands beside the file, so that it can be understood without pgweir.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// 1.
    version: u32,
    pub(super) table: String,
    pub(super) partition: String,
    lower: String,
    upper: String,
    pub(super) columns: Vec<Column>,
    pub(super) rows: i64,
    /// Of the rows in PostgreSQL, see `tally`.
    pub(super) checksum: String,
    /// SHA-256 of the values in the file, group by group and column by column.
    pub(super) digest: String,
    pub(super) bytes: i64,
    server_version: u32,
    /// Unix time.
    written_s: u64,
    /// As PostgreSQL describes them, for people.
    constraints: Vec<String>,
    indexes: Vec<String>,
}

/// What is exported, in words.
pub(super) struct Subject<'a> {
    pub(super) table: &'a TableName,
    pub(super) partition: &'a TableName,
    pub(super) lower: &'a str,
    pub(super) upper: &'a str,
}

/// The file of a partition in a folder. Names of tables must not lead anywhere else.
pub(super) fn path(folder: &Path, database: &str, table: &TableName, partition: &TableName) -> PathBuf {
    let safe = |text: &str| -> String {
        let plain =
            |letter: char| if letter.is_alphanumeric() || "_-.".contains(letter) { letter } else { '_' };
        let text: String = text.chars().map(plain).collect();
        text.trim_start_matches('.').to_owned()
    };
    let inner = safe(&format!("{database}.{}.{}", table.schema, table.name));
    folder.join(inner).join(format!("{}.parquet", safe(&partition.name)))
}

fn manifest_path(path: &Path) -> PathBuf {
    path.with_extension("json")
}

/// Writes file and manifest; both are on the disk when this returns.
pub(super) async fn write(actor: &Actor, subject: &Subject<'_>, path: &Path) -> Result<Manifest, Trouble> {
    actor.run("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    let outcome = async {
        // Nobody changes it between the tally and the last row, and nobody needs to.
        actor.run(&format!("LOCK TABLE {} IN SHARE MODE", subject.partition.sql())).await?;
        let columns = columns(actor, subject.partition).await?;
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let tally = tally(actor, &subject.partition.sql(), &names, "").await?;
        copy(actor, subject, path, columns, tally).await
    };
    let outcome = outcome.await;
    // It only read.
    actor.run("ROLLBACK").await?;
    outcome
}

async fn columns(actor: &Actor, partition: &TableName) -> Result<Vec<Column>, Trouble> {
    let query = "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute \
        WHERE attrelid = to_regclass($1)::oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum";
    let mut columns = Vec::new();
    for row in &actor.rows(query, &[&partition.sql()]).await? {
        let (name, type_name): (String, String) = (get(row, 0)?, get(row, 1)?);
        let mut form = Form::of(&type_name);
        // Before version 14 `extract` is a floating-point number.
        if actor.version < 140_000 && matches!(form, Form::Timestamp | Form::TimestampTz) {
            form = Form::Text;
        }
        columns.push(Column { name, type_name, form });
    }
    let doubts: Vec<(usize, String)> =
        columns.iter().enumerate().filter_map(|(at, column)| Some((at, column.doubts()?))).collect();
    if doubts.is_empty() {
        return Ok(columns);
    }
    let doubted: Vec<String> =
        doubts.iter().map(|(_, doubt)| format!("coalesce(bool_or({doubt}), false)")).collect();
    let query = format!("SELECT {} FROM {}", doubted.join(", "), partition.sql());
    if let Some(row) = actor.rows(&query, &[]).await?.first() {
        for (place, (at, _)) in doubts.iter().enumerate() {
            if get(row, place)? {
                columns[*at].form = Form::Text;
            }
        }
    }
    Ok(columns)
}

async fn copy(
    actor: &Actor,
    subject: &Subject<'_>,
    path: &Path,
    columns: Vec<Column>,
    tally: Tally,
) -> Result<Manifest, Trouble> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let cannot = |error: std::io::Error| unfit(format!("{} cannot be made: {error}", folder.display()));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(cannot)?;
    let part = path.with_extension("part");
    let mut writer = Writer::create(&part, &columns).map_err(unfit)?;
    let selected: Vec<String> = columns.iter().map(Column::select).collect();
    let cursor = format!(
        "DECLARE pgweir_rows NO SCROLL CURSOR FOR SELECT {} FROM {}",
        selected.join(", "),
        subject.partition.sql()
    );
    actor.run(&cursor).await?;
    let fetch = format!("FETCH {FETCH} FROM pgweir_rows");
    let mut group = Group::new(&columns);
    loop {
        let rows = actor.rows(&fetch, &[]).await?;
        for row in &rows {
            group.add(row)?;
        }
        let last = rows.len() < FETCH;
        if group.rows > 0 && (last || group.is_full()) {
            writer.group(&group.values).map_err(unfit)?;
            group = Group::new(&columns);
        }
        if last {
            break;
        }
    }
    let rows = writer.rows;
    let digest = writer.end().map_err(unfit)?;
    if rows != tally.rows {
        return Err(unfit(format!("{} rows were written, and {} are in the table", rows, tally.rows)));
    }
    let io = |error: std::io::Error| unfit(format!("{} cannot be written: {error}", path.display()));
    let bytes = i64::try_from(std::fs::metadata(&part).map_err(io)?.len()).unwrap_or(i64::MAX);
    let manifest = Manifest {
        version: 1,
        table: subject.table.to_string(),
        partition: subject.partition.to_string(),
        lower: subject.lower.trim_matches('\'').to_owned(),
        upper: subject.upper.trim_matches('\'').to_owned(),
        columns,
        rows,
        checksum: tally.checksum,
        digest,
        bytes,
        server_version: actor.version,
        written_s: now_s(),
        constraints: texts(
            actor,
            "SELECT conname || ': ' || pg_get_constraintdef(oid) FROM pg_constraint \
            WHERE conrelid = to_regclass($1)::oid ORDER BY 1",
            subject.partition,
        )
        .await?,
        indexes: texts(
            actor,
            "SELECT pg_get_indexdef(indexrelid) FROM pg_index \
            WHERE indrelid = to_regclass($1)::oid ORDER BY 1",
            subject.partition,
        )
        .await?,
    };
    let text = serde_json::to_string_pretty(&manifest).map_err(|error| unfit(error.to_string()))?;
    persist(&manifest_path(path), text.as_bytes()).map_err(io)?;
    std::fs::rename(&part, path).map_err(io)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
    Ok(manifest)
}

async fn texts(actor: &Actor, query: &str, table: &TableName) -> Result<Vec<String>, Trouble> {
    actor.rows(query, &[&table.sql()]).await?.iter().map(|row| get(row, 0)).collect()
}

/// Writes a small file whole, or not at all.
fn persist(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let part = path.with_extension("json.part");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&part, path)
}

/// Rows on their way to the file.
struct Group {
    forms: Vec<Form>,
    values: Vec<Values>,
    rows: usize,
}

impl Group {
    fn new(columns: &[Column]) -> Group {
        let forms: Vec<Form> = columns.iter().map(|column| column.form).collect();
        let values = forms.iter().map(|form| Values::new(*form)).collect();
        Group { forms, values, rows: 0 }
    }

    fn is_full(&self) -> bool {
        self.rows >= GROUP_ROWS || self.values.iter().map(Values::bytes).sum::<usize>() >= GROUP_BYTES
    }

    fn add(&mut self, row: &tokio_postgres::Row) -> Result<(), Trouble> {
        for (at, (values, form)) in self.values.iter_mut().zip(&self.forms).enumerate() {
            match values {
                Values::Bool(values) => values.push(get(row, at)?),
                Values::Int32(values) => values.push(get(row, at)?),
                Values::Int64(values) => values.push(get(row, at)?),
                Values::Float32(values) => values.push(get(row, at)?),
                Values::Float64(values) => values.push(get(row, at)?),
                Values::Bytes(values) if *form == Form::Text => {
                    values.push(get::<Option<String>>(row, at)?.map(String::into_bytes));
                }
                Values::Bytes(values) => values.push(get(row, at)?),
            }
        }
        self.rows += 1;
        Ok(())
    }
}

/// The manifest beside a file.
pub(super) fn manifest(path: &Path) -> Result<Manifest, Trouble> {
    let beside = manifest_path(path);
    let text = std::fs::read_to_string(&beside)
        .map_err(|error| unfit(format!("{} cannot be read: {error}", beside.display())))?;
    let manifest: Manifest = serde_json::from_str(&text)
        .map_err(|error| unfit(format!("{} is no manifest of pgweir: {error}", beside.display())))?;
    match manifest.version {
        1 => Ok(manifest),
        version => Err(unfit(format!(
            "{} is of version {version}, which this pgweir does not know",
            beside.display()
        ))),
    }
}

/// Reads the file back from the disk and compares it with what was written.
pub(super) async fn verify(path: &Path) -> Result<Manifest, Trouble> {
    let manifest = manifest(path)?;
    let mut read = groups(path, &manifest.columns).map_err(unfit)?;
    let mut rows = 0;
    while let Some(values) = read.next().map_err(unfit)? {
        rows += values.first().map_or(0, Values::len);
        // Other tables have their turn.
        tokio::task::yield_now().await;
    }
    if i64::try_from(rows) != Ok(manifest.rows) || read.digest() != manifest.digest {
        return Err(unfit(format!(
            "{} does not hold what was written to it; it is not used",
            path.display()
        )));
    }
    Ok(manifest)
}

/// Loads a file into an empty table, within the transaction that is open. The digest is that of what was read.
///
/// # Errors
/// The file is not what was written, or the table does not take it; the transaction has to be rolled back.
pub(super) async fn load(actor: &Actor, path: &Path, table: &TableName) -> Result<Manifest, Trouble> {
    let manifest = manifest(path)?;
    let names: Vec<String> = manifest.columns.iter().map(|column| column.name.clone()).collect();
    let there = super::tally::columns(actor, table).await?;
    if let Some(gone) = names.iter().find(|column| !there.contains(column)) {
        return Err(unfit(format!("the table has no column {gone} any more, which the archive has")));
    }
    let aliases: Vec<String> = (1..=names.len()).map(|at| format!("c{at}")).collect();
    let arrays: Vec<String> = (1..=names.len()).map(|at| format!("${at}::text[]")).collect();
    let cast = |(alias, column): (&String, &Column)| format!("x.{alias}::{}", column.type_name);
    let casts: Vec<String> = aliases.iter().zip(&manifest.columns).map(cast).collect();
    // Values of identity columns come as they were.
    let insert = format!(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM unnest({}) x({})",
        table.sql(),
        list(&names),
        casts.join(", "),
        arrays.join(", "),
        aliases.iter().map(|alias| name(alias)).collect::<Vec<_>>().join(", ")
    );
    let statement = actor.client().prepare(&insert).await?;
    let mut read = groups(path, &manifest.columns).map_err(unfit)?;
    while let Some(values) = read.next().map_err(unfit)? {
        let rows = values.first().map_or(0, Values::len);
        for from in (0..rows).step_by(LOAD_ROWS) {
            let until = (from + LOAD_ROWS).min(rows);
            let mut arrays: Vec<Vec<Option<String>>> = Vec::with_capacity(values.len());
            for (values, column) in values.iter().zip(&manifest.columns) {
                arrays.push(values.texts(column.form, from, until).map_err(unfit)?);
            }
            let parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
                arrays.iter().map(|array| array as &(dyn tokio_postgres::types::ToSql + Sync)).collect();
            actor.client().execute(&statement, &parameters).await.map_err(quietly)?;
        }
    }
    // Whoever commits may rely on it.
    if read.digest() != manifest.digest {
        return Err(unfit(format!("{} does not hold what was written to it", path.display())));
    }
    Ok(manifest)
}

/// An error of a load without its message, which may hold a value.
fn quietly(error: tokio_postgres::Error) -> Trouble {
    match error.as_db_error() {
        Some(said) => unfit(format!(
            "the server does not take the rows of the archive: SQLSTATE {}",
            said.code().code()
        )),
        None => error.into(),
    }
}
