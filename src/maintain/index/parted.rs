//! An index on a partitioned table, partition by partition: PostgreSQL cannot build one CONCURRENTLY by itself.
//! The parent gets an index of its own alone, which is invalid; each partition gets its index CONCURRENTLY, and it
//! is attached; with the last one the parent's becomes valid. What is there already is gone on from, so nothing is
//! done twice after a crash. Knows the order of the steps and no rule.

use super::apply::{Build, Site, one};
use crate::advise::index::quoted;
use crate::maintain::actor::get;
use crate::maintain::{Trouble, sql, unfit};

/// A partition without its part of the index.
struct Part {
    schema: String,
    name: String,
    /// It has partitions of its own.
    divided: bool,
    /// It stands on another server, which has indexes of its own.
    foreign: bool,
    /// An index of its own that is the same and not attached to any other.
    twin: Option<String>,
}

/// Partitions of a table whose index has no part there yet. An index is the same if all that stands behind
/// `USING` is: names of columns are equal in all partitions.
const PARTS: &str = "SELECT n.nspname::text, c.relname::text, c.relkind = 'p', c.relkind = 'f', \
        (SELECT x.relname::text FROM pg_catalog.pg_index own JOIN pg_catalog.pg_class x ON x.oid = own.indexrelid \
            WHERE own.indrelid = c.oid AND (own.indisvalid OR x.relkind = 'I') AND own.indisready \
            AND NOT x.relispartition AND NOT own.indisunique \
            AND substring(pg_catalog.pg_get_indexdef(own.indexrelid) FROM ' USING .*$') \
                = substring(pg_catalog.pg_get_indexdef($2) FROM ' USING .*$') ORDER BY x.oid LIMIT 1) \
    FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE i.inhparent = $1 AND NOT i.inhdetachpending AND NOT EXISTS ( \
        SELECT FROM pg_catalog.pg_inherits part JOIN pg_catalog.pg_index own ON own.indexrelid = part.inhrelid \
        WHERE part.inhparent = $2 AND own.indrelid = i.inhrelid) \
    ORDER BY c.relname";

/// PostgreSQL 13 and before have no column for a detachment that is under way.
const PENDING: &str = " AND NOT i.inhdetachpending";
const HAS_PENDING: u32 = 140_000;

/// Divided partitions that have their part of the index: its partitions may lack theirs.
const DIVIDED: &str = "SELECT own.indrelid, own.indexrelid FROM pg_catalog.pg_inherits part \
    JOIN pg_catalog.pg_index own ON own.indexrelid = part.inhrelid \
    JOIN pg_catalog.pg_class c ON c.oid = own.indrelid \
    WHERE part.inhparent = $1 AND c.relkind = 'p' AND NOT own.indisvalid";

const FOREIGN: &str = "WITH RECURSIVE tree(oid) AS (SELECT $1::oid UNION \
    SELECT i.inhrelid FROM tree JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.oid) \
    SELECT count(*) FILTER (WHERE c.relkind = 'f'), count(*) FILTER (WHERE c.relkind IN ('r', 'f')) \
    FROM tree JOIN pg_catalog.pg_class c ON c.oid = tree.oid";

/// As SQLSTATE has it.
const UNDEFINED_TABLE: &str = "42P01";

/// Builds it. If it cannot be done, what was made for it is taken away again.
pub(super) async fn build(site: &Site<'_>, build: &Build, table: u32) -> Result<(), Trouble> {
    let rows = site.actor.rows(FOREIGN, &[&table]).await?;
    let (foreign, leaves): (i64, i64) = match rows.first() {
        Some(row) => (get(row, 0)?, get(row, 1)?),
        None => (0, 0),
    };
    if foreign > 0 {
        return Err(unfit(
            "some partitions are foreign tables, so an index on the whole table would never be complete: make \
             it on the partitions that are here",
        ));
    }
    match site.index(&build.schema, &build.name).await? {
        Some(true) => return Err(unfit(format!("there is an index {} already", build.name))),
        // An earlier process has begun it.
        Some(false) => site.teller.tell("going on with what an earlier attempt has begun".to_owned()),
        None => {
            let (name, table) = (quoted(&build.name), &build.table);
            site.ddl(&format!("CREATE INDEX {name} ON ONLY {table} {}", build.definition)).await?;
        }
    }
    let outcome = parts(site, build, table, leaves).await;
    if outcome.is_ok() && site.index(&build.schema, &build.name).await? != Some(true) {
        return Err(unfit(format!(
            "the index {} is not valid, though all partitions have theirs",
            build.name
        )));
    }
    if let Err(error) = outcome {
        return match remove(site, build).await {
            Ok(()) => Err(error),
            Err(left) => Err(unfit(format!("{error}; parts of the index are left: {left}"))),
        };
    }
    Ok(())
}

/// One partition after the other, from the top down.
async fn parts(site: &Site<'_>, build: &Build, table: u32, leaves: i64) -> Result<(), Trouble> {
    let index: u32 = site.actor.value("SELECT pg_catalog.to_regclass($1)::oid", &[&build.index()]).await?;
    let mut open = vec![(table, index, build.index())];
    let mut number = 0;
    while let Some((table, index, name)) = open.pop() {
        for part in missing(site, table, index).await? {
            if !part.divided {
                number += 1;
            }
            let of = format!("partition {number} of {leaves} ({}): ", part.name);
            match attach(site, build, &part, &name, &of).await {
                // It was archived or dropped meanwhile.
                Err(error) if error.sqlstate() == Some(UNDEFINED_TABLE) => {
                    site.teller.tell(format!("{of}it is gone"));
                }
                outcome => outcome?,
            }
        }
        for row in &site.actor.rows(DIVIDED, &[&index]).await? {
            let (table, index): (u32, u32) = (get(row, 0)?, get(row, 1)?);
            let query = "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c \
                JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1";
            for row in &site.actor.rows(query, &[&index]).await? {
                let (schema, name): (String, String) = (get(row, 0)?, get(row, 1)?);
                open.push((table, index, format!("{}.{}", quoted(&schema), quoted(&name))));
            }
        }
    }
    Ok(())
}

async fn missing(site: &Site<'_>, table: u32, index: u32) -> Result<Vec<Part>, Trouble> {
    let query = match site.actor.version >= HAS_PENDING {
        true => PARTS.to_owned(),
        false => PARTS.replace(PENDING, ""),
    };
    let rows = site.actor.rows(&query, &[&table, &index]).await?;
    let part = |row: &tokio_postgres::Row| {
        Ok(Part {
            schema: get(row, 0)?,
            name: get(row, 1)?,
            divided: get(row, 2)?,
            foreign: get(row, 3)?,
            twin: get(row, 4)?,
        })
    };
    let parts: Vec<Part> = rows.iter().map(part).collect::<Result<_, Trouble>>()?;
    match parts.iter().find(|part| part.foreign) {
        Some(part) => Err(unfit(format!("the partition {} has become a foreign table", part.name))),
        None => Ok(parts),
    }
}

/// Builds the part of one partition, unless it has an index that is the same, and attaches it.
async fn attach(site: &Site<'_>, build: &Build, part: &Part, parent: &str, of: &str) -> Result<(), Trouble> {
    let table = format!("{}.{}", quoted(&part.schema), quoted(&part.name));
    let name = match &part.twin {
        Some(name) => name.clone(),
        None => {
            let name = name_of(&build.name, &part.name);
            let (own, definition) = (quoted(&name), &build.definition);
            match part.divided {
                true => site.ddl(&format!("CREATE INDEX {own} ON ONLY {table} {definition}")).await?,
                false => {
                    let ddl = format!("CREATE INDEX CONCURRENTLY {own} ON {table} {definition}");
                    one(site, &part.schema, &name, &ddl, of, true).await?;
                }
            }
            name
        }
    };
    let own = format!("{}.{}", quoted(&part.schema), quoted(&name));
    site.ddl(&format!("ALTER INDEX {parent} ATTACH PARTITION {own}")).await
}

/// The name of a partition's part: always the same, so that a later attempt knows it. The number keeps long names
/// apart that begin alike.
fn name_of(index: &str, partition: &str) -> String {
    let whole = format!("{index}_{partition}");
    if whole.len() <= sql::NAME_MAX {
        return whole;
    }
    sql::joined(&whole, &crate::advise::suggestion::id("", &whole).replace('-', "_"))
}

/// Parts that were built and not attached.
const LOOSE: &str = "WITH RECURSIVE tree(oid) AS (SELECT pg_catalog.to_regclass($1)::oid UNION \
    SELECT i.inhrelid FROM tree JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.oid) \
    SELECT n.nspname::text, t.relname::text, x.relname::text \
    FROM tree JOIN pg_catalog.pg_class t ON t.oid = tree.oid \
    JOIN pg_catalog.pg_index i ON i.indrelid = t.oid JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid \
    JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace WHERE NOT x.relispartition AND x.relkind = 'i'";

/// Parts that have a name of their own: they were there before and were attached.
const OLDER: &str = "WITH RECURSIVE tree(oid) AS (SELECT pg_catalog.to_regclass($1)::oid UNION \
    SELECT i.inhrelid FROM tree JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.oid) \
    SELECT n.nspname::text, t.relname::text, x.relname::text, \
        substring(pg_catalog.pg_get_indexdef(x.oid) FROM ' USING .*$') \
    FROM tree JOIN pg_catalog.pg_class x ON x.oid = tree.oid AND x.relkind = 'i' \
    JOIN pg_catalog.pg_index i ON i.indexrelid = x.oid JOIN pg_catalog.pg_class t ON t.oid = i.indrelid \
    JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace";

/// What the twin of an index that was there before is called until that one is gone.
const TWIN: &str = "_twin";

/// Takes it away with all its parts. PostgreSQL cannot do that CONCURRENTLY, so it waits briefly for a moment when
/// nobody uses the table, again and again. An attached part goes with the whole and cannot be detached, so what was
/// there before gets a twin first, which takes its name afterwards.
pub(super) async fn remove(site: &Site<'_>, build: &Build) -> Result<(), Trouble> {
    let mut twins = Vec::new();
    for row in &site.actor.rows(OLDER, &[&build.index()]).await? {
        let (schema, table): (String, String) = (get(row, 0)?, get(row, 1)?);
        let (name, body): (String, String) = (get(row, 2)?, get(row, 3)?);
        if name != name_of(&build.name, &table) {
            let twin = sql::joined(&name, TWIN);
            let on = format!("{}.{}", quoted(&schema), quoted(&table));
            let ddl = format!("CREATE INDEX CONCURRENTLY {} ON {on}{body}", quoted(&twin));
            one(site, &schema, &twin, &ddl, &format!("keeping {name}: "), true).await?;
            twins.push((schema, twin, name));
        }
    }
    site.ddl(&format!("DROP INDEX IF EXISTS {}", build.index())).await?;
    for row in &site.actor.rows(LOOSE, &[&build.table]).await? {
        let (schema, table, name): (String, String, String) = (get(row, 0)?, get(row, 1)?, get(row, 2)?);
        if name == name_of(&build.name, &table) {
            let sql = format!("DROP INDEX CONCURRENTLY IF EXISTS {}.{}", quoted(&schema), quoted(&name));
            site.slowly(&sql, "").await?;
        }
    }
    for (schema, twin, name) in twins {
        let sql = format!("ALTER INDEX {}.{} RENAME TO {}", quoted(&schema), quoted(&twin), quoted(&name));
        site.ddl(&sql).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts_are_short_and_differ() {
        assert_eq!(name_of("idx_events_org", "events_2024_01"), "idx_events_org_events_2024_01");
        let long = "x".repeat(50);
        let (one, other) = (name_of(&long, "events_2024_01"), name_of(&long, "events_2024_02"));
        assert!(one.len() <= sql::NAME_MAX && one != other, "{one} {other}");
        assert_eq!(one, name_of(&long, "events_2024_01"));
    }
}
