//! Columns of a catalog, and what PostgreSQL's statistics say of them.

use std::collections::{HashMap, HashSet};

use super::ProbeError;
use super::catalog::{Reading, get};
use crate::catalog::{COLUMNS_MAX, Column, Generated, Identity, Oid, Statistics};

const COLUMNS: &str = "SELECT a.attrelid, a.attnum, a.attname::text, a.atttypid, \
        format_type(a.atttypid, a.atttypmod), a.atttypmod, a.attnotnull, a.atthasdef, a.attgenerated::text, \
        a.attidentity::text, CASE WHEN a.attcollation <> t.typcollation THEN l.collname::text END \
    FROM unnest($1::oid[]) WITH ORDINALITY wanted(oid, place) \
    JOIN pg_attribute a ON a.attrelid = wanted.oid \
    JOIN pg_type t ON t.oid = a.atttypid \
    LEFT JOIN pg_collation l ON l.oid = a.attcollation \
    WHERE a.attnum > 0 AND NOT a.attisdropped \
    ORDER BY wanted.place, a.attnum LIMIT $2";

pub(super) async fn read(reading: &mut Reading<'_>) -> Result<(), ProbeError> {
    let (oids, limit) = (reading.oids(), COLUMNS_MAX as i64);
    let rows = reading.part("columns", COLUMNS, &[&oids, &(limit + 1)]).await?;
    for row in rows.iter().take(COLUMNS_MAX) {
        let generated: &str = get(row, 8)?;
        let column = Column {
            number: get(row, 1)?,
            name: get(row, 2)?,
            type_oid: get(row, 3)?,
            type_name: get(row, 4)?,
            type_modifier: get(row, 5)?,
            not_null: get(row, 6)?,
            // A generated column's expression is kept where defaults are.
            has_default: get::<bool>(row, 7)? && generated.is_empty(),
            generated: match generated {
                "s" => Some(Generated::Stored),
                "v" => Some(Generated::Virtual),
                _ => None,
            },
            identity: match get(row, 9)? {
                "a" => Some(Identity::Always),
                "d" => Some(Identity::ByDefault),
                _ => None,
            },
            collation: get(row, 10)?,
            statistics: None,
        };
        reading.table(get(row, 0)?).into_iter().for_each(|table| table.columns.push(column.clone()));
    }
    if let Some(beyond) = rows.get(COLUMNS_MAX) {
        cut(reading, get(beyond, 0)?);
    }
    statistics(reading).await
}

/// Half a table is worse than none: it goes, with those behind it.
fn cut(reading: &mut Reading<'_>, first: Oid) {
    let from = reading.at.get(&first).copied().unwrap_or(reading.tables.len());
    let gone: HashSet<Oid> = reading.tables.drain(from..).map(|table| table.oid).collect();
    reading.at.retain(|oid, _| !gone.contains(oid));
    reading.facts.cut = true;
    reading.note(format!("there are more than {COLUMNS_MAX} columns: those of the largest tables are known"));
}

/// Of a partitioned table and its partitions together, where there are any; the view shows nothing of a column
/// that the user may not read.
const STATISTICS: &str = "SELECT schemaname::text, tablename::text, attname::text, n_distinct::float8, \
        null_frac::float8, correlation::float8, avg_width \
    FROM pg_stats WHERE schemaname NOT LIKE 'pg\\_%' AND schemaname <> 'information_schema' \
    ORDER BY inherited LIMIT $1";

async fn statistics(reading: &mut Reading<'_>) -> Result<(), ProbeError> {
    let limit = 2 * COLUMNS_MAX as i64;
    let rows = reading.part("statistics of columns", STATISTICS, &[&limit]).await?;
    let place = |at: usize, table: &crate::catalog::Table| ((table.schema.clone(), table.name.clone()), at);
    let by_name: HashMap<(String, String), usize> =
        reading.tables.iter().enumerate().map(|(at, table)| place(at, table)).collect();
    for row in &rows {
        let name: (String, String) = (get(row, 0)?, get(row, 1)?);
        let column: &str = get(row, 2)?;
        let statistics = Statistics {
            n_distinct: get(row, 3)?,
            null_fraction: get(row, 4)?,
            correlation: get(row, 5)?,
            average_width: get(row, 6)?,
        };
        let table = by_name.get(&name).map(|&at| &mut reading.tables[at]);
        let column = table.and_then(|table| table.columns.iter_mut().find(|known| known.name == column));
        if let Some(column) = column {
            column.statistics = Some(statistics);
        }
    }
    Ok(())
}
