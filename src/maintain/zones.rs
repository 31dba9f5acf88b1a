//! Checks on closed partitions that say which ids they hold, so that look-ups by id leave the others out (`route`).
//! The server enforces them, for whoever writes. Made after a partition's time is over by a whole period; taken away
//! when a row comes that they would refuse. Must not know what is narrowed by them.

use super::actor::{Actor, get};
use super::layout;
use super::sql::{joined, name};
use super::tree::{self, Leaf, Now, Tree};
use super::work::Work;
use super::{TableName, Trouble, halt, unfit};
use crate::catalog::OWN_CHECK;

/// Checks made in one look; the rest comes with the next, so that a table of 1,200 partitions does not keep
/// everything else waiting.
const CHECKS_MAX: usize = 100;

/// Makes what lacks.
pub(super) async fn keep(
    work: &Work,
    actor: &Actor,
    tree: &Tree,
    now: Now,
    dry_run: bool,
) -> Result<(), Trouble> {
    let rule = &work.rule;
    if rule.zone_maps.is_empty() {
        return Ok(());
    }
    let closed = rule.interval.shift(rule.interval.floor(now.local), -1);
    let closed = tree::marks(actor, tree.kind, &rule.time_zone, &[closed]).await?;
    let closed = *closed.first().ok_or_else(|| unfit("the server tells no time"))?;
    let ranges = tree.ranges();
    let mut made = 0;
    for range in layout::expired(&ranges, closed) {
        let leaf = tree.leaves.iter().find(|leaf| leaf.range.lower == range.lower && leaf.plain);
        let Some(leaf) = leaf else {
            continue;
        };
        for column in &rule.zone_maps {
            if made >= CHECKS_MAX {
                break;
            }
            if check(work, actor, leaf, column, dry_run).await? {
                made += 1;
            }
        }
    }
    Ok(())
}

/// Whether there is such a check, and whether it holds for all rows.
const STANDS: &str =
    "SELECT convalidated FROM pg_constraint WHERE contype = 'c' AND conrelid = $1 AND conname = $2";

const TYPE: &str = "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = $1 AND attname = $2 \
    AND NOT attisdropped";

/// Makes one check; `false`: it is there, or there is nothing to say.
async fn check(
    work: &Work,
    actor: &Actor,
    leaf: &Leaf,
    column: &str,
    dry_run: bool,
) -> Result<bool, Trouble> {
    // Its beginning has to stay; a column's name that is too long is cut.
    let constraint = joined(&format!("{OWN_CHECK}{column}"), "");
    let drop = format!("ALTER TABLE {} DROP CONSTRAINT {}", leaf.table.sql(), name(&constraint));
    match actor.rows(STANDS, &[&leaf.oid, &constraint]).await?.first() {
        Some(row) if get::<bool>(row, 0)? => return Ok(false),
        // Somebody stopped before it was proved.
        Some(_) if !dry_run => actor.ddl_alone(&drop).await?,
        _ => {}
    }
    let kind = actor.rows(TYPE, &[&leaf.oid, &column]).await?;
    let kind: Option<String> = kind.first().map(|row| get(row, 0)).transpose()?;
    if !kind.is_some_and(|kind| matches!(kind.as_str(), "smallint" | "integer" | "bigint")) {
        return Err(unfit(format!("zone_maps: {}.{column} is no column of whole numbers", work.rule.table)));
    }
    let (table, own) = (leaf.table.sql(), name(column));
    let ends = actor.rows(&format!("SELECT min({own})::int8, max({own})::int8 FROM {table}"), &[]).await?;
    let ends = ends.first().map(|row| Ok::<_, Trouble>((get(row, 0)?, get(row, 1)?))).transpose()?;
    let Some((Some(least), Some(most))): Option<(Option<i64>, Option<i64>)> = ends else {
        return Ok(false);
    };
    if dry_run {
        work.say(format!("check on {} which values of {column} it holds", leaf.table));
        return Ok(true);
    }
    let checked = format!("{own} >= {least} AND {own} <= {most}");
    let add = format!("ALTER TABLE {table} ADD CONSTRAINT {} CHECK ({checked}) NOT VALID", name(&constraint));
    actor.ddl_alone(&add).await?;
    halt::at("zones.add");
    let validate = format!("ALTER TABLE {table} VALIDATE CONSTRAINT {}", name(&constraint));
    match actor.ddl_alone(&validate).await {
        // A row came between the look and the check; the next look sees it.
        Err(error) if error.sqlstate() == Some("23514") => actor.ddl_alone(&drop).await.map(|()| false),
        outcome => outcome.map(|()| true),
    }
}

/// Whether a check is one of these.
pub(super) fn is_own(constraint: &str) -> bool {
    constraint.starts_with(OWN_CHECK)
}

/// Takes a check away that refuses a row: the partition was not closed after all.
pub(super) async fn give_up(
    work: &Work,
    actor: &Actor,
    tree: &Tree,
    partition: &TableName,
    constraint: &str,
) -> Result<(), Trouble> {
    let leaf = tree.leaves.iter().find(|leaf| leaf.table == *partition);
    let leaf = leaf.ok_or_else(|| unfit(format!("{} has no partition {partition}", tree.table)))?;
    if actor.rows(STANDS, &[&leaf.oid, &constraint]).await?.is_empty() {
        return Ok(());
    }
    let drop = format!("ALTER TABLE {} DROP CONSTRAINT {}", leaf.table.sql(), name(constraint));
    // It counts as a change of the schema from before it is sent: nobody may believe the check from then on.
    actor.ddl_alone(&drop).await?;
    work.say(format!("the check {constraint} of {partition} is gone: a row came that it refuses"));
    Ok(())
}
