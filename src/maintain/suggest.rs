//! Which plain tables would gain from being divided by time: large ones whose statements ask for ranges of a time
//! column, or delete what is old. Found in the workload and the catalog alone. Pure.

use serde::Serialize;

use crate::advise::Statement;
use crate::catalog::{Catalog, Column, Table, TableKind};
use crate::sql::scans::{self, WriteKind};

/// Fewer rows are scanned and deleted fast enough.
const ROWS_MIN: f64 = 1_000_000.0;

/// One call in so many that asks for a range of the column is enough to be worth a look.
const SHARE: u64 = 5;

/// Tables that are told, those with the most calls first.
const SUGGESTIONS_MAX: usize = 20;

/// A table, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Suggestion {
    pub database: String,
    /// As schema.name.
    pub table: String,
    pub column: String,
    pub rows: f64,
    /// With indexes.
    pub bytes: u64,
    /// Of statements that name the table; those that ask for a range of the column; those of them that delete.
    pub calls: u64,
    pub ranges: u64,
    pub deletes: u64,
    /// Shows the plan, and what stands in the way.
    pub command: String,
}

/// Looks through what was sent to one database.
pub fn suggest(database: &str, catalog: &Catalog, statements: &[Statement]) -> Vec<Suggestion> {
    let large = |table: &&Table| {
        table.kind == TableKind::Table
            && !table.is_partition()
            && table.inherits.is_empty()
            && table.rows.is_some_and(|rows| rows >= ROWS_MIN)
    };
    let mut found: Vec<Suggestion> = catalog
        .tables
        .iter()
        .filter(large)
        .filter_map(|table| {
            let columns = table.columns.iter().filter(|column| is_time(column));
            let each = columns.map(|column| judge(database, table, column, statements));
            each.flatten().max_by_key(|suggestion| suggestion.ranges)
        })
        .collect();
    found.sort_by_key(|suggestion| std::cmp::Reverse(suggestion.ranges));
    found.truncate(SUGGESTIONS_MAX);
    found
}

/// A date, a timestamp with or without time zone.
fn is_time(column: &Column) -> bool {
    [1082, 1114, 1184].contains(&column.type_oid)
}

fn judge(database: &str, table: &Table, column: &Column, statements: &[Statement]) -> Option<Suggestion> {
    let (mut calls, mut ranges, mut deletes) = (0, 0, 0);
    let is = |relation: &scans::Relation| {
        relation.name == table.name && relation.schema.as_ref().is_none_or(|schema| *schema == table.schema)
    };
    for statement in statements {
        let scans = &statement.scans;
        let named = scans.queries.iter().any(|query| query.relations.iter().any(is))
            || scans.writes.iter().any(|write| is(&write.relation));
        if !named {
            continue;
        }
        calls += statement.calls;
        if !scans.queries.iter().any(|query| asks_range(query, column, &is)) {
            continue;
        }
        ranges += statement.calls;
        let deleted = |write: &scans::Write| write.kind == WriteKind::Delete && is(&write.relation);
        if scans.writes.iter().any(deleted) {
            deletes += statement.calls;
        }
    }
    let gains = deletes > 0 || (ranges > 0 && ranges * SHARE >= calls);
    gains.then(|| Suggestion {
        database: database.to_owned(),
        table: format!("{}.{}", table.schema, table.name),
        column: column.name.clone(),
        rows: table.rows.unwrap_or_default(),
        bytes: table.bytes + table.index_bytes(),
        calls,
        ranges,
        deletes,
        command: format!(
            "pgweir partitions convert {}.{} --column {} --interval month --dry-run",
            table.schema, table.name, column.name
        ),
    })
}

/// Whether one of the conditions that hold for each row, or the order of a page, is about times of this column.
fn asks_range(query: &scans::Query, column: &Column, is: &impl Fn(&scans::Relation) -> bool) -> bool {
    let Some(relation) = query.relations.iter().find(|relation| is(relation)) else {
        return false;
    };
    let same = |named: &scans::Column| {
        named.name == column.name
            && named.qualifier.as_ref().map_or(query.relations.len() == 1, |by| *by == relation.alias)
    };
    let by_time = |term: &scans::Term| {
        let times = term.left.columns.iter().any(same);
        times && (term.operator.is_range() || !term.left.plain)
    };
    let first = query.order.first().and_then(|sort| sort.by.column());
    query.terms.iter().any(by_time) || (query.limited && first.is_some_and(same))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Facts;
    use std::collections::BTreeMap;

    fn column(name: &str, type_oid: u32) -> Column {
        Column { name: name.into(), type_oid, ..Column::default() }
    }

    fn statement(text: &str, calls: u64) -> Statement {
        let scans = scans::read(text).unwrap();
        Statement {
            fingerprint: 1,
            text: text.into(),
            scans,
            calls,
            rows: 0,
            total_ms: 0.0,
            samples: vec![],
            whole: vec![],
        }
    }

    #[test]
    fn large_tables_that_are_asked_by_time_are_told() {
        let table = |oid, name: &str, rows| Table {
            oid,
            schema: "public".into(),
            name: name.into(),
            rows: Some(rows),
            columns: vec![column("id", 20), column("at", 1184), column("born", 1082)],
            ..Table::default()
        };
        let tables = vec![
            table(1, "log", 5e6),
            table(2, "people", 5e6),
            table(3, "small", 1e3),
            table(4, "seldom", 5e6),
        ];
        let catalog = Catalog::new(Facts::default(), tables, Vec::new(), BTreeMap::new(), BTreeMap::new());
        let statements = [
            statement("select * from log where at > $1 and at <= $2", 50),
            statement("select l.id from log l where date_trunc($1, l.at) = $2", 10),
            statement("select id from log where id = $1", 100),
            statement("delete from log where at < $1", 1),
            statement("select * from people where id = $1", 90),
            statement("select * from people where born = $1", 90),
            statement("select * from small where at > $1", 50),
            statement("select * from seldom where at > $1", 5),
            statement("select * from seldom where id = $1", 500),
        ];
        let found = suggest("app", &catalog, &statements);
        let [only] = &found[..] else { panic!("{found:?}") };
        assert_eq!((&*only.table, &*only.column), ("public.log", "at"));
        assert_eq!((only.calls, only.ranges, only.deletes), (161, 61, 1));
        assert!(only.command.contains("--column at"));
        let last = [statement("select id from seldom order by at desc limit $1", 400)];
        assert_eq!(suggest("app", &catalog, &last)[0].table, "public.seldom");
    }
}
