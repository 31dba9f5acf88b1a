//! The switch: the shadow takes the table's name, and everything that hangs on the table goes with the name, in
//! one transaction that is tried until its lock is free for a moment. What undoes it is noted in it.

use super::fill::forth;
use super::meet::{Act, meet};
use super::source::Source;
use super::state::{self, Conversion, step};
use super::sync::Link;
use crate::maintain::actor::{Actor, get};
use crate::maintain::sql::{joined, literal, name, qualified};
use crate::maintain::work::Work;
use crate::maintain::{TableName, Trouble, halt, partition, unfit};

/// Between the statements of `undo` that come before the shadow is dropped and those that come after.
pub(super) const DROP: &str = "";

/// The second link: from the table that took the place to the old one.
pub(super) fn back<'a>(work: &Work, conversion: &'a Conversion, source: &'a Source) -> Link<'a> {
    Link {
        log: conversion.log(&work.settings.schema, true),
        from: conversion.table.clone(),
        to: conversion.old(),
        partitioned: false,
        conversion,
        source,
    }
}

/// Tries the switch until it is done. `false`: the table was emptied meanwhile, and the filling begins anew.
pub(super) async fn switch(
    work: &Work,
    actor: &Actor,
    conversion: &mut Conversion,
    source: &Source,
) -> Result<bool, Trouble> {
    let reverse = back(work, conversion, source);
    if partition::oid(actor, &reverse.log).await?.is_none() {
        // The function is for the name, which is the shadow's by the time it fires.
        actor.atomically(async || reverse.prepare(actor).await).await?;
    }
    let (renames, before) = identities(actor, conversion, source).await?;
    let Plan { statements, undo } = statements(actor, work, conversion, source).await?;
    let batch: Vec<String> = renames.into_iter().chain(statements).collect();
    let noted = Conversion { state: step::SWITCHED.to_owned(), undo, ..conversion.clone() };
    let link = forth(work, conversion, source);
    let note = async || {
        state::note(actor, &work.settings.schema, &noted).await?;
        halt::at("convert.switch");
        Ok(())
    };
    let act = Act { before: &before, statements: &batch.join("; ") };
    let done = meet(work, actor, &link, &act, &note).await?;
    if done {
        *conversion = noted;
    }
    Ok(done)
}

/// What the switch does, and what undoes it.
struct Plan {
    statements: Vec<String>,
    undo: Vec<String>,
}

async fn statements(
    actor: &Actor,
    work: &Work,
    conversion: &Conversion,
    source: &Source,
) -> Result<Plan, Trouble> {
    let (table, shadow, old) = (&conversion.table, conversion.shadow(), conversion.old());
    let forward = forth(work, conversion, source);
    let mut statements = forward.without_triggers();
    let (mut before, mut after) = (Vec::new(), Vec::new());
    statements.push(format!("ALTER TABLE {} RENAME TO {}", table.sql(), name(&old.name)));
    statements.push(format!("ALTER TABLE {} RENAME TO {}", shadow.sql(), name(&table.name)));
    for index in &source.indexes {
        let (own, aside) = (name(&index.name), aside(&index.name));
        let rename =
            |from: &str, to: &str| format!("ALTER INDEX {} RENAME TO {to}", qualified(&table.schema, from));
        statements.push(rename(&index.name, &name(&aside)));
        statements.push(rename(&conversion.index(index.oid), &own));
        after.push(rename(&aside, &own));
    }
    for (sequence, column) in &source.serials {
        let owned = format!("ALTER SEQUENCE {sequence} OWNED BY {}.{}", table.sql(), name(column));
        statements.push(owned.clone());
        before.push(owned);
    }
    keys(actor, conversion, source, &mut statements, &mut after).await?;
    if source.has_triggers {
        // What is carried back has fired them already.
        statements.push(format!("ALTER TABLE {} DISABLE TRIGGER USER", old.sql()));
        after.push(format!("ALTER TABLE {} ENABLE TRIGGER USER", table.sql()));
    }
    for (definition, state) in &source.triggers {
        statements.push(definition.clone());
        statements.extend(state.clone());
        after.extend(state.clone());
    }
    statements.extend(source.policies.iter().cloned());
    // A view's text ends with a semicolon, which is one too many within a batch.
    let views = source.views.iter().map(|view| view.trim_end().trim_end_matches(';').to_owned());
    statements.extend(views.clone());
    before.extend(views);
    statements.extend(back(work, conversion, source).triggers());
    before.push(DROP.to_owned());
    before.extend(after);
    Ok(Plan { statements, undo: before })
}

/// What a thing of the old table is called while it stands aside.
pub(super) fn aside(name: &str) -> String {
    joined(name, "_pgweir_old")
}

/// Foreign keys to other tables hold for new rows of each partition at once; the old table has none, or a row that is
/// no longer in the new one would keep what it refers to from being deleted.
async fn keys(
    actor: &Actor,
    conversion: &Conversion,
    source: &Source,
    statements: &mut Vec<String>,
    after: &mut Vec<String>,
) -> Result<(), Trouble> {
    if source.foreign_keys.is_empty() {
        return Ok(());
    }
    let partitions = partitions(actor, &conversion.shadow()).await?;
    for (constraint, definition) in &source.foreign_keys {
        let constraint = name(constraint);
        let definition = definition.trim_end_matches(" NOT VALID");
        statements.push(format!("ALTER TABLE {} DROP CONSTRAINT {constraint}", conversion.old().sql()));
        for partition in &partitions {
            statements
                .push(format!("ALTER TABLE {partition} ADD CONSTRAINT {constraint} {definition} NOT VALID"));
        }
        let table = conversion.table.sql();
        after.push(format!("ALTER TABLE {table} ADD CONSTRAINT {constraint} {definition} NOT VALID"));
    }
    Ok(())
}

async fn partitions(actor: &Actor, table: &TableName) -> Result<Vec<String>, Trouble> {
    let query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = to_regclass($1)::oid ORDER BY inhrelid";
    actor.rows(query, &[&table.sql()]).await?.iter().map(|row| get(row, 0)).collect()
}

const SEQUENCE: &str = "SELECT s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle, n.nspname::text, c.relname::text \
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE s.seqrelid = to_regclass($1)";

/// Identity columns of the shadow, made beforehand: what gives their sequences the names of the old ones, and what sets
/// them to where those are, under the lock that keeps them from moving.
async fn identities(
    actor: &Actor,
    conversion: &Conversion,
    source: &Source,
) -> Result<(Vec<String>, Vec<String>), Trouble> {
    let (mut renames, mut questions) = (Vec::new(), Vec::new());
    let shadow = conversion.shadow();
    for (column, kind, sequence) in &source.identities {
        let rows = actor.rows(SEQUENCE, &[sequence]).await?;
        let row = rows.first().ok_or_else(|| unfit(format!("the sequence {sequence} is gone")))?;
        let (step, least, most, cache): (i64, i64, i64, i64) =
            (get(row, 0)?, get(row, 1)?, get(row, 2)?, get(row, 3)?);
        let (schema, plain): (String, String) = (get(row, 5)?, get(row, 6)?);
        let cycle = if get::<bool>(row, 4)? { " CYCLE" } else { "" };
        let new = TableName::new(&schema, &joined(&plain, "_pgweir_new"));
        if partition::oid(actor, &new).await?.is_none() {
            let add = format!(
                "ALTER TABLE {} ALTER COLUMN {} ADD GENERATED {kind} AS IDENTITY (SEQUENCE NAME {} \
                 INCREMENT BY {step} MINVALUE {least} MAXVALUE {most} CACHE {cache}{cycle})",
                shadow.sql(),
                name(column),
                new.sql()
            );
            actor.ddl_alone(&add).await?;
        }
        questions.push(format!(
            "SELECT setval({}::regclass, last_value, is_called) FROM {sequence}",
            literal(&new.sql())
        ));
        renames.push(format!("ALTER SEQUENCE {sequence} RENAME TO {}", name(&aside(&plain))));
        renames.push(format!("ALTER SEQUENCE {} RENAME TO {}", new.sql(), name(&plain)));
    }
    Ok((renames, questions))
}

/// After the switch: foreign keys hold for every row and for the table as a whole, and the planner knows the rows.
pub(super) async fn settle(
    work: &Work,
    actor: &Actor,
    conversion: &Conversion,
    source: &Source,
) -> Result<(), Trouble> {
    let table = conversion.table.sql();
    actor.run(&format!("ANALYZE {table}")).await?;
    let query = "SELECT conname::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f' AND NOT convalidated \
        AND conrelid = to_regclass($1)::oid";
    let mut whole: Vec<(String, String)> = Vec::new();
    for partition in partitions(actor, &conversion.table).await? {
        for row in &actor.rows(query, &[&partition]).await? {
            let (constraint, definition): (String, String) = (get(row, 0)?, get(row, 1)?);
            actor
                .ddl_alone(&format!("ALTER TABLE {partition} VALIDATE CONSTRAINT {}", name(&constraint)))
                .await?;
            let definition = definition.trim_end_matches(" NOT VALID").to_owned();
            if !whole.contains(&(constraint.clone(), definition.clone())) {
                whole.push((constraint, definition));
            }
        }
        halt::at("convert.validate");
    }
    // A crash may have come between the last partition and this; the undo list knows the names.
    for (constraint, definition) in foreign_keys(conversion).into_iter().chain(whole) {
        let there: bool = actor
            .value(
                "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass($1)::oid AND conname = $2)",
                &[&table, &constraint],
            )
            .await?;
        if !there {
            let add = format!("ALTER TABLE {table} ADD CONSTRAINT {} {definition}", name(&constraint));
            actor.ddl_alone(&add).await?;
        }
    }
    let forward = forth(work, conversion, source);
    let statements = forward.remove().join("; ");
    actor.atomically(async || actor.ddl(&statements).await).await
}

/// Names and definitions of foreign keys, from what would give them back.
fn foreign_keys(conversion: &Conversion) -> Vec<(String, String)> {
    let head = format!("ALTER TABLE {} ADD CONSTRAINT \"", conversion.table.sql());
    let read = |statement: &String| {
        let (constraint, definition) = statement.strip_prefix(&head)?.split_once("\" FOREIGN KEY ")?;
        let definition = format!("FOREIGN KEY {}", definition.trim_end_matches(" NOT VALID"));
        Some((constraint.replace("\"\"", "\""), definition))
    };
    conversion.undo.iter().filter_map(read).collect()
}

/// What gives the sequences of identity columns their names back, and what sets them to where the new ones are.
pub(super) async fn sequences_back(
    actor: &Actor,
    source: &Source,
) -> Result<(Vec<String>, Vec<String>), Trouble> {
    let (mut renames, mut questions) = (Vec::new(), Vec::new());
    for (_, _, sequence) in &source.identities {
        let rows = actor.rows(SEQUENCE, &[sequence]).await?;
        let row = rows.first().ok_or_else(|| unfit(format!("the sequence {sequence} is gone")))?;
        let (schema, held): (String, String) = (get(row, 5)?, get(row, 6)?);
        let Some(plain) = held.strip_suffix("_pgweir_old") else {
            continue;
        };
        let new = qualified(&schema, plain);
        questions.push(format!(
            "SELECT setval({}::regclass, last_value, is_called) FROM {new}",
            literal(sequence)
        ));
        renames.push(format!("ALTER SEQUENCE {sequence} RENAME TO {}", name(plain)));
    }
    Ok((renames, questions))
}
