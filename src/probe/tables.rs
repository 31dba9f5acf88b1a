//! The tables of a catalog, the largest first, and their sizes.

use super::ProbeError;
use super::catalog::{Reading, get};
use super::quoted;
use crate::catalog::{Persistence, ReplicaIdentity, TABLES_MAX, Table, TableKind};

/// Partitioned tables have no size of their own, and matter more than what they are divided into.
const TABLES: &str = "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, \
        pg_get_userbyid(c.relowner)::text, \
        CASE WHEN c.reltuples > 0 OR c.reltuples = 0 AND c.relpages > 0 THEN c.reltuples::float8 END, \
        greatest(c.relpages, 0)::int8 * current_setting('block_size')::int8, c.relpersistence::text, \
        c.relrowsecurity, c.relforcerowsecurity, c.relreplident::text, \
        coalesce(has_any_column_privilege(c.oid, 'SELECT'), false) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't' \
        AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' \
    ORDER BY c.relkind <> 'p', c.relpages DESC, c.oid LIMIT $1";

pub(super) async fn read(reading: &mut Reading<'_>) -> Result<(), ProbeError> {
    let limit = TABLES_MAX as i64;
    // Without the tables there is no catalog, so what is refused here is an error.
    let rows = reading.attempt(TABLES, &[&(limit + 1)]).await??;
    reading.facts.cut |= rows.len() > TABLES_MAX;
    let (mut readable, mut all) = (0_usize, 0_usize);
    for row in rows.iter().take(TABLES_MAX) {
        let table = Table {
            oid: get(row, 0)?,
            schema: get(row, 1)?,
            name: get(row, 2)?,
            kind: kind(get(row, 3)?),
            owner: get(row, 4)?,
            rows: get(row, 5)?,
            bytes: u64::try_from(get::<i64>(row, 6)?).unwrap_or_default(),
            persistence: match get(row, 7)? {
                "u" => Persistence::Unlogged,
                _ => Persistence::Permanent,
            },
            row_security: get(row, 8)?,
            force_row_security: get(row, 9)?,
            replica_identity: match get(row, 10)? {
                "f" => ReplicaIdentity::Full,
                "n" => ReplicaIdentity::Nothing,
                "i" => ReplicaIdentity::Index,
                _ => ReplicaIdentity::PrimaryKey,
            },
            ..Table::default()
        };
        if table.kind != TableKind::View {
            all += 1;
            readable += usize::from(get::<bool>(row, 11)?);
        }
        reading.at.insert(table.oid, reading.tables.len());
        reading.tables.push(table);
    }
    if readable < all {
        let (missing, role) = (all - readable, quoted(&reading.facts.role));
        reading.note(format!(
            "the statistics of {missing} of {all} tables are not readable to {role}: GRANT SELECT on them, or \
             let another user ask, as observe.probe.user; from PostgreSQL 14 on, GRANT pg_read_all_data TO {role} \
             serves too"
        ));
    }
    if reading.facts.cut {
        reading.note(format!("there are more than {TABLES_MAX} tables: the largest are known"));
    }
    sizes(reading).await
}

fn kind(letter: &str) -> TableKind {
    match letter {
        "p" => TableKind::Partitioned,
        "v" => TableKind::View,
        "m" => TableKind::MaterializedView,
        "f" => TableKind::Foreign,
        _ => TableKind::Table,
    }
}

/// This looks at files, and waits for whoever rewrites a table.
const SIZES: &str =
    "SELECT t.oid, coalesce(pg_table_size(t.oid::regclass), 0)::int8 FROM unnest($1::oid[]) t(oid)";

async fn sizes(reading: &mut Reading<'_>) -> Result<(), ProbeError> {
    let stored = |table: &&Table| matches!(table.kind, TableKind::Table | TableKind::MaterializedView);
    let oids: Vec<_> = reading.tables.iter().filter(stored).map(|table| table.oid).collect();
    match reading.attempt(SIZES, &[&oids]).await? {
        Ok(rows) => {
            for row in &rows {
                let bytes = u64::try_from(get::<i64>(row, 1)?).unwrap_or_default();
                reading.table(get(row, 0)?).into_iter().for_each(|table| table.bytes = bytes);
            }
        }
        // The planner's own estimate stays.
        Err(error) => reading.note(format!("sizes are estimates of the last vacuum: {error}")),
    }
    Ok(())
}
