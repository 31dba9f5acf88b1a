//! What an index costs those who write: entries to be made, and updates that no longer stay within a page.
//! Knows no planner.

use super::index::{Index, Method};
use super::{AdviseSettings, Statement, Workload};
use crate::catalog::Table;
use crate::sql::scans::{Write, WriteKind};

/// A GIN index gets several entries for each row.
const GIN_TIMES: f64 = 5.0;

fn entry_ms(settings: &AdviseSettings) -> f64 {
    f64::from(settings.write_us) / 1000.0
}

/// Milliseconds in all calls of the workload.
pub fn cost(index: &Index, table: &Table, workload: &Workload<'_>) -> f64 {
    let settings = workload.settings;
    let each = match index.method {
        Method::Btree => entry_ms(settings) * (1.0 + 0.1 * (index.attributes() as f64 - 1.0)),
        Method::Gin => entry_ms(settings) * GIN_TIMES,
        Method::Brin => 0.0,
    };
    let mut ms = 0.0;
    for statement in workload.statements {
        for write in statement.scans.writes.iter().filter(|write| writes_to(write, table)) {
            ms += rows_of(statement) * per_row(index, table, write, each, settings);
        }
    }
    ms
}

fn rows_of(statement: &Statement) -> f64 {
    statement.rows.max(statement.calls) as f64
}

fn per_row(index: &Index, table: &Table, write: &Write, each: f64, settings: &AdviseSettings) -> f64 {
    match write.kind {
        WriteKind::Insert | WriteKind::Merge => each,
        // Vacuum takes the entry away later.
        WriteKind::Delete => each / 2.0,
        WriteKind::Update => {
            let changed = |number| {
                table.column_by_number(number).is_some_and(|column| write.columns.contains(&column.name))
            };
            let in_expression = |column: &String| {
                index.keys.iter().any(|key| key.column.is_none() && key.sql.contains(column.as_str()))
                    || index.predicate.as_ref().is_some_and(|predicate| predicate.contains(column.as_str()))
            };
            if !index.columns().any(changed) && !write.columns.iter().any(in_expression) {
                return 0.0;
            }
            let indexed = |number: &crate::catalog::Attnum| changed(*number);
            let hot_before = !table.indexes.iter().any(|known| {
                known
                    .columns
                    .iter()
                    .filter_map(|column| column.column)
                    .chain(known.include.iter().copied())
                    .any(|n| indexed(&n))
            });
            // Until now such an update touched no index; from now on each of them gets an entry.
            let others = if hot_before { table.indexes.len() as f64 } else { 0.0 };
            each + others * entry_ms(settings)
        }
    }
}

fn writes_to(write: &Write, table: &Table) -> bool {
    write.relation.name == table.name
        && write.relation.schema.as_ref().is_none_or(|schema| *schema == table.schema)
}

/// Writes of the whole workload that make an entry in this index, for people.
pub fn count(index: &Index, table: &Table, workload: &Workload<'_>) -> u64 {
    let one = |statement: &Statement| {
        let hit = statement.scans.writes.iter().any(|write| {
            writes_to(write, table) && per_row(index, table, write, 1.0, workload.settings) > 0.0
        });
        if hit { rows_of(statement) as u64 } else { 0 }
    };
    workload.statements.iter().map(one).sum()
}
