//! What becomes of a partition that is past its time, and back: step by step, each noted in the book, so that
//! whoever comes next goes on from there. Nothing is dropped before what was written has been read back and
//! compared. Must not know schedules.

use std::path::Path;
use std::time::Instant;

use super::actor::Actor;
use super::book::{self, Book, Entry};
use super::export::{self, Subject};
use super::settings::Archive;
use super::sql::name;
use super::tally::{self, Tally, tally};
use super::tree::{Leaf, Tree};
use super::work::Work;
use super::{TableName, Trouble, halt, partition, unfit};

/// Ends of an archive's way.
const DONE: [&str; 2] = ["archived", "restored"];

/// Archives that are under way are taken to their end, those that were restored half are left to their command.
pub(super) async fn go_on(work: &Work, actor: &Actor, tree: &Tree) -> Result<(), Trouble> {
    let book = Book::new(actor, &work.settings.schema);
    for mut entry in book.of(&tree.table).await? {
        let back = entry.state.starts_with("restore");
        if !back && !DONE.contains(&entry.state.as_str()) {
            work.say(format!("go on with the archive of {}, which was {}", entry.partition, entry.state));
            proceed(work, actor, tree, &book, &mut entry).await?;
        }
    }
    Ok(())
}

/// Whether a partition was brought back by hand, and therefore stays.
pub(super) async fn stays(work: &Work, actor: &Actor, tree: &Tree) -> Result<Vec<TableName>, Trouble> {
    let entries = Book::new(actor, &work.settings.schema).of(&tree.table).await?;
    let back = entries.into_iter().filter(|entry| entry.state.starts_with("restore"));
    Ok(back.map(|entry| entry.partition).collect())
}

/// Archives one partition.
pub(super) async fn archive(
    work: &Work,
    actor: &Actor,
    tree: &Tree,
    leaf: &Leaf,
    target: &Archive,
) -> Result<(), Trouble> {
    if !leaf.plain && !matches!(target, Archive::Schema(_)) {
        return Err(unfit(format!("{} has partitions of its own, or is a foreign table", leaf.table)));
    }
    let book = Book::new(actor, &work.settings.schema);
    book.open().await?;
    let mut entry = Entry {
        id: 0,
        partition: leaf.table.clone(),
        lower: leaf.range.lower.sql.clone(),
        upper: leaf.range.upper.sql.clone(),
        kind: target.kind().to_owned(),
        place: target.place(),
        state: "planned".to_owned(),
        rows: None,
        checksum: None,
        digest: None,
        columns: Vec::new(),
        bytes: None,
    };
    entry.id = book.begin(&tree.table, &entry).await?;
    proceed(work, actor, tree, &book, &mut entry).await
}

async fn proceed(
    work: &Work,
    actor: &Actor,
    tree: &Tree,
    book: &Book<'_>,
    entry: &mut Entry,
) -> Result<(), Trouble> {
    let begun = Instant::now();
    while !DONE.contains(&entry.state.as_str()) {
        halt::at(&format!("archive.{}", entry.state));
        let before = entry.state.clone();
        step(work, actor, tree, book, entry).await?;
        if before == "planned" {
            let ms = begun.elapsed().as_millis();
            work.say(format!("{} is no longer part of {} ({ms} ms)", entry.partition, tree.table));
        }
    }
    let rows = entry.rows.map_or_else(String::new, |rows| format!(", {rows} rows"));
    let to = match entry.kind.as_str() {
        "drop" => "dropped".to_owned(),
        kind => format!("archived to {kind} {}", entry.place),
    };
    work.say(format!("{} {to}{rows}", entry.partition));
    work.view(|view| view.archived += 1);
    Ok(())
}

/// One step from the state that the entry is in.
async fn step(
    work: &Work,
    actor: &Actor,
    tree: &Tree,
    book: &Book<'_>,
    entry: &mut Entry,
) -> Result<(), Trouble> {
    let partition = entry.partition.clone();
    match (entry.state.as_str(), entry.kind.as_str()) {
        ("planned", _) => {
            // The step before may have been done and not noted.
            if attached(actor, tree, &partition).await? {
                partition::detach(actor, tree, &partition).await?;
            }
            halt::at("archive.detach");
            book.step(entry, "detached").await
        }
        ("detached", "schema") => {
            book::schema(actor, &entry.place).await?;
            let statement = format!("ALTER TABLE {} SET SCHEMA {}", partition.sql(), name(&entry.place));
            moved(actor, book, entry, &statement, "moved").await
        }
        ("detached", "tablespace") => {
            let statement = format!("ALTER TABLE {} SET TABLESPACE {}", partition.sql(), name(&entry.place));
            moved(actor, book, entry, &statement, "moved").await
        }
        ("detached", "drop") => {
            moved(actor, book, entry, &format!("DROP TABLE {}", partition.sql()), "archived").await
        }
        ("detached", "parquet") => {
            let (lower, upper) = (entry.lower.clone(), entry.upper.clone());
            let subject = Subject { table: &tree.table, partition: &partition, lower: &lower, upper: &upper };
            let path = file(work, tree, entry);
            let manifest = export::write(actor, &subject, &path).await?;
            halt::at("archive.write");
            entry.columns = manifest.columns.iter().map(|column| column.name.clone()).collect();
            (entry.rows, entry.bytes) = (Some(manifest.rows), Some(manifest.bytes));
            (entry.checksum, entry.digest) = (Some(manifest.checksum), Some(manifest.digest));
            book.step(entry, "written").await
        }
        ("moved", _) => {
            // It has left already; this is for whoever brings it back.
            let table = lying(entry);
            let columns = tally::columns(actor, &table).await?;
            let found = tally(actor, &table.sql(), &columns, "").await?;
            entry.bytes =
                Some(actor.value("SELECT pg_total_relation_size(to_regclass($1))", &[&table.sql()]).await?);
            (entry.rows, entry.checksum, entry.columns) = (Some(found.rows), Some(found.checksum), columns);
            book.step(entry, "archived").await
        }
        ("written", _) => {
            let manifest = export::verify(&file(work, tree, entry)).await?;
            if Some(&manifest.digest) != entry.digest.as_ref() || Some(manifest.rows) != entry.rows {
                return Err(unfit(format!("the file of {partition} is not the one that was written")));
            }
            book.step(entry, "verified").await
        }
        ("verified", _) => drop_compared(actor, book, entry).await,
        (state, kind) => Err(unfit(format!("the book has an archive to {kind} that is {state}"))),
    }
}

/// A change and its note in one transaction.
async fn moved(
    actor: &Actor,
    book: &Book<'_>,
    entry: &mut Entry,
    statement: &str,
    state: &str,
) -> Result<(), Trouble> {
    let noted = actor.atomically(async || {
        actor.ddl(statement).await?;
        let mut noted = entry.clone();
        book.step(&mut noted, state).await?;
        halt::at("archive.move");
        Ok(noted)
    });
    *entry = noted.await?;
    Ok(())
}

/// Drops what is in the file, if nobody has changed it since; under the lock that makes sure of it.
async fn drop_compared(actor: &Actor, book: &Book<'_>, entry: &mut Entry) -> Result<(), Trouble> {
    let table = entry.partition.sql();
    let noted = actor.atomically(async || {
        actor.run(&format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")).await?;
        compare(&tally(actor, &table, &entry.columns, "").await?, entry)?;
        actor.ddl(&format!("DROP TABLE {table}")).await?;
        let mut noted = entry.clone();
        book.step(&mut noted, "archived").await?;
        halt::at("archive.drop");
        Ok(noted)
    });
    *entry = noted.await?;
    Ok(())
}

fn compare(found: &Tally, entry: &Entry) -> Result<(), Trouble> {
    let kept = (entry.rows, entry.checksum.as_ref());
    if (Some(found.rows), Some(&found.checksum)) == kept {
        return Ok(());
    }
    Err(unfit(format!(
        "{} is not as it was archived: {} rows now, {} then, or other values; nothing was changed",
        entry.partition,
        found.rows,
        entry.rows.unwrap_or_default()
    )))
}

async fn attached(actor: &Actor, tree: &Tree, partition: &TableName) -> Result<bool, Trouble> {
    let query =
        "SELECT EXISTS (SELECT FROM pg_inherits WHERE inhparent = $1 AND inhrelid = to_regclass($2)::oid)";
    actor.value(query, &[&tree.oid, &partition.sql()]).await
}

/// Where the table of an archive lies now.
fn lying(entry: &Entry) -> TableName {
    match entry.kind.as_str() {
        "schema" => TableName::new(&entry.place, &entry.partition.name),
        _ => entry.partition.clone(),
    }
}

fn file(work: &Work, tree: &Tree, entry: &Entry) -> std::path::PathBuf {
    export::path(Path::new(&entry.place), &work.database, &tree.table, &entry.partition)
}

/// Brings an archived partition back, and proves that it is the same.
pub(super) async fn restore(
    work: &Work,
    actor: &Actor,
    tree: &Tree,
    wanted: &str,
    dry_run: bool,
) -> Result<(), Trouble> {
    let book = Book::new(actor, &work.settings.schema);
    let entries = book.of(&tree.table).await?;
    let found = entries.into_iter().find(|entry| entry.partition.name == wanted);
    let mut entry = found.ok_or_else(|| unfit(format!("the book has no archive of {wanted}")))?;
    match (entry.state.as_str(), entry.kind.as_str()) {
        (_, "drop") => return Err(unfit(format!("{wanted} was dropped, as the rule said"))),
        ("restored", _) => return Err(unfit(format!("{wanted} is back already"))),
        (state, _) if state != "archived" && !state.starts_with("restore") => {
            return Err(unfit(format!("{wanted} is still being archived: {state}")));
        }
        _ if dry_run => {
            let (lower, upper) = (&entry.lower, &entry.upper);
            work.say(format!(
                "bring {wanted} back from {} {} and attach it FROM ({lower}) TO ({upper})",
                entry.kind, entry.place
            ));
            return Ok(());
        }
        _ => {}
    }
    while entry.state != "restored" {
        halt::at(&format!("restore.{}", entry.state));
        back(work, actor, tree, &book, &mut entry).await?;
    }
    let rows = entry.rows.unwrap_or_default();
    work.say(format!("{} is back, {rows} rows, equal by count and checksum", entry.partition));
    Ok(())
}

/// One step of the way back.
async fn back(
    work: &Work,
    actor: &Actor,
    tree: &Tree,
    book: &Book<'_>,
    entry: &mut Entry,
) -> Result<(), Trouble> {
    match (entry.state.as_str(), entry.kind.as_str()) {
        ("archived", "parquet") => {
            let path = file(work, tree, entry);
            let model = partition::model(actor, tree).await?;
            // All of it in one transaction: a crash leaves nothing behind.
            let noted = actor.atomically(async || {
                partition::stand(actor, &tree.table, &model, &entry.partition).await?;
                let manifest = export::load(actor, &path, &entry.partition).await?;
                if Some(&manifest.digest) != entry.digest.as_ref() {
                    return Err(unfit(format!("{} is not the file that was archived", path.display())));
                }
                partition::finish(actor, &model, &entry.partition).await?;
                let mut noted = entry.clone();
                book.step(&mut noted, "restore_here").await?;
                halt::at("restore.load");
                Ok(noted)
            });
            *entry = noted.await?;
            Ok(())
        }
        ("archived", "schema") => {
            let statement =
                format!("ALTER TABLE {} SET SCHEMA {}", lying(entry).sql(), name(&entry.partition.schema));
            moved(actor, book, entry, &statement, "restore_here").await
        }
        ("archived", _) => book.step(entry, "restore_here").await,
        ("restore_here", _) => {
            let table = entry.partition.sql();
            compare(&tally(actor, &table, &entry.columns, "").await?, entry)?;
            book.step(entry, "restore_equal").await
        }
        ("restore_equal", _) => reattach(actor, tree, book, entry).await,
        (state, kind) => Err(unfit(format!("the book has an archive from {kind} that is {state}"))),
    }
}

/// What makes the scan at ATTACH unnecessary, so that its locks are short.
const BOUND: &str = "pgweir_bound";

async fn reattach(actor: &Actor, tree: &Tree, book: &Book<'_>, entry: &mut Entry) -> Result<(), Trouble> {
    let (table, column) = (entry.partition.sql(), name(&key(actor, tree).await?));
    let (lower, upper) = (&entry.lower, &entry.upper);
    let mut conditions = vec![format!("{column} IS NOT NULL")];
    conditions.extend((lower != "MINVALUE").then(|| format!("{column} >= {lower}")));
    conditions.extend((upper != "MAXVALUE").then(|| format!("{column} < {upper}")));
    let unbound = format!("ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {BOUND}");
    // Nobody uses the table yet, so this scan waits for nobody and nobody waits for it.
    actor
        .atomically(async || {
            actor.ddl(&unbound).await?;
            let check = conditions.join(" AND ");
            actor.ddl(&format!("ALTER TABLE {table} ADD CONSTRAINT {BOUND} CHECK ({check})")).await
        })
        .await?;
    let noted = actor.atomically(async || {
        partition::attach(actor, &tree.table, &entry.partition, lower, upper).await?;
        actor.ddl(&unbound).await?;
        let mut noted = entry.clone();
        book.step(&mut noted, "restored").await?;
        halt::at("restore.attach");
        Ok(noted)
    });
    let noted = noted.await?;
    *entry = noted;
    Ok(())
}

/// The column that the table is divided by.
async fn key(actor: &Actor, tree: &Tree) -> Result<String, Trouble> {
    let query = "SELECT a.attname::text FROM pg_partitioned_table p JOIN pg_attribute a \
        ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0] WHERE p.partrelid = $1";
    actor.value(query, &[&tree.oid]).await
}
