//! The count and the checksum of a table's rows, which do not depend on their order. Two tables with the same
//! tally hold the same rows. Reads and changes nothing.

use super::actor::{Actor, get};
use super::sql::list;
use super::{TableName, Trouble};

/// What rows come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) rows: i64,
    /// The sums of two 64-bit hashes of each row's text.
    pub(super) checksum: String,
}

/// Tallies these columns of a table. `condition` may leave rows out; `r` is the row.
pub(super) async fn tally(
    actor: &Actor,
    table: &str,
    columns: &[String],
    condition: &str,
) -> Result<Tally, Trouble> {
    // An alias of a query stands for the whole row, whose text holds every value and tells NULL from ''.
    let query = format!(
        "SELECT count(*), coalesce(sum(hashtextextended(x::text, 0)::numeric), 0)::text || ':' || \
         coalesce(sum(hashtextextended(x::text, 1)::numeric), 0)::text FROM (SELECT {} FROM {table} r {condition}) x",
        list(columns)
    );
    let rows = actor.rows(&query, &[]).await?;
    let Some(row) = rows.first() else {
        return Ok(Tally { rows: 0, checksum: String::new() });
    };
    Ok(Tally { rows: get(row, 0)?, checksum: get(row, 1)? })
}

/// The columns that are stored by whoever writes: all but generated ones.
pub(super) async fn columns(actor: &Actor, table: &TableName) -> Result<Vec<String>, Trouble> {
    let query = "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass($1)::oid AND attnum > 0 \
        AND NOT attisdropped AND attgenerated = '' ORDER BY attnum";
    actor.rows(query, &[&table.sql()]).await?.iter().map(|row| get(row, 0)).collect()
}
