//! What belongs to the tables of a catalog: keys, indexes, partitions, triggers, policies, views.

use super::ProbeError;
use super::catalog::{Reading, get};
use crate::catalog::{
    Action, Attnum, ForeignKey, Index, IndexColumn, Key, Oid, PartitionOf, Partitioning, Policy, Span,
    Strategy, Timing, Trigger, TriggerState,
};

pub(super) async fn read(reading: &mut Reading<'_>) -> Result<(), ProbeError> {
    let oids = reading.oids();
    constraints(reading, &oids).await?;
    spans(reading, &oids).await?;
    indexes(reading, &oids).await?;
    partitions(reading, &oids).await?;
    triggers(reading, &oids).await?;
    policies(reading, &oids).await?;
    rules(reading, &oids).await
}

const CONSTRAINTS: &str = "SELECT conrelid, conname::text, contype::text, conkey::int2[], condeferrable, \
        confrelid, coalesce(confkey, '{}')::int2[], confupdtype::text, confdeltype::text, convalidated \
    FROM pg_constraint WHERE contype IN ('p', 'u', 'f') AND conrelid = ANY($1::oid[]) ORDER BY oid";

async fn constraints(reading: &mut Reading<'_>, oids: &[Oid]) -> Result<(), ProbeError> {
    for row in &reading.part("keys and foreign keys", CONSTRAINTS, &[&oids]).await? {
        let (name, columns): (String, Vec<Attnum>) = (get(row, 1)?, get(row, 3)?);
        let (kind, deferrable): (&str, bool) = (get(row, 2)?, get(row, 4)?);
        let Some(table) = reading.table(get(row, 0)?) else {
            continue;
        };
        if kind != "f" {
            table.keys.push(Key { name, primary: kind == "p", columns, deferrable });
            continue;
        }
        table.foreign_keys.push(ForeignKey {
            name,
            columns,
            to: get(row, 5)?,
            to_columns: get(row, 6)?,
            on_update: action(get(row, 7)?),
            on_delete: action(get(row, 8)?),
            deferrable,
            validated: get(row, 9)?,
        });
    }
    Ok(())
}

const CHECKS: &str = "SELECT conrelid, conkey[1], pg_get_expr(conbin, conrelid) FROM pg_constraint \
    WHERE contype = 'c' AND convalidated AND cardinality(conkey) = 1 AND conrelid = ANY($1::oid[]) ORDER BY oid";

async fn spans(reading: &mut Reading<'_>, oids: &[Oid]) -> Result<(), ProbeError> {
    for row in &reading.part("checks", CHECKS, &[&oids]).await? {
        let (column, check): (Attnum, &str) = (get(row, 1)?, get(row, 2)?);
        let span = Span::read(column, check);
        reading.table(get(row, 0)?).into_iter().for_each(|table| table.spans.extend(span));
    }
    Ok(())
}

fn action(letter: &str) -> Action {
    match letter {
        "r" => Action::Restrict,
        "c" => Action::Cascade,
        "n" => Action::SetNull,
        "d" => Action::SetDefault,
        _ => Action::NoAction,
    }
}

/// From 15 on, NULLs may count as equal.
const NULLS_NOT_DISTINCT_SINCE: u32 = 150_000;

/// `{nulls}` depends on the version. Arrays have one element for each searched column.
const INDEXES: &str = "SELECT i.indrelid, i.indexrelid, c.relname::text, m.amname::text, i.indisunique, \
        i.indisprimary, i.indisvalid AND i.indisready AND i.indislive, {nulls}, i.indimmediate, \
        i.indnkeyatts, i.indkey::int2[], i.indoption::int2[], parts.expressions, parts.classes, \
        parts.defaults, parts.collations, pg_get_expr(i.indpred, i.indrelid), \
        greatest(c.relpages, 0)::int8 * current_setting('block_size')::int8, \
        coalesce(pg_stat_get_numscans(i.indexrelid), 0)::int8 \
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam \
    CROSS JOIN LATERAL (SELECT \
            array_agg(CASE WHEN i.indkey[n] = 0 THEN pg_get_indexdef(i.indexrelid, n + 1, false) END \
                ORDER BY n) AS expressions, \
            array_agg(o.opcname::text ORDER BY n) AS classes, \
            array_agg(o.opcdefault ORDER BY n) AS defaults, \
            array_agg(nullif(l.collname::text, 'default') ORDER BY n) AS collations \
        FROM generate_series(0, i.indnkeyatts - 1) n \
        LEFT JOIN pg_opclass o ON o.oid = i.indclass[n] \
        LEFT JOIN pg_collation l ON l.oid = i.indcollation[n]) parts \
    WHERE i.indrelid = ANY($1::oid[]) ORDER BY i.indexrelid";

async fn indexes(reading: &mut Reading<'_>, oids: &[Oid]) -> Result<(), ProbeError> {
    let nulls = match reading.version {
        NULLS_NOT_DISTINCT_SINCE.. => "NOT i.indnullsnotdistinct",
        _ => "true",
    };
    let query = INDEXES.replace("{nulls}", nulls);
    for row in &reading.part("indexes", &query, &[&oids]).await? {
        let searched = usize::try_from(get::<i16>(row, 9)?).unwrap_or_default();
        let numbers: Vec<Attnum> = get(row, 10)?;
        let index = Index {
            oid: get(row, 1)?,
            name: get(row, 2)?,
            method: get(row, 3)?,
            unique: get(row, 4)?,
            primary: get(row, 5)?,
            valid: get(row, 6)?,
            nulls_distinct: get(row, 7)?,
            immediate: get(row, 8)?,
            columns: index_columns(row, &numbers, searched)?,
            include: numbers.get(searched..).unwrap_or_default().to_vec(),
            predicate: get(row, 16)?,
            bytes: u64::try_from(get::<i64>(row, 17)?).unwrap_or_default(),
            scans: u64::try_from(get::<i64>(row, 18)?).unwrap_or_default(),
        };
        reading.table(get(row, 0)?).into_iter().for_each(|table| table.indexes.push(index.clone()));
    }
    index_sizes(reading).await
}

/// Bits of `indoption`.
const DESCENDING: i16 = 1;
const NULLS_FIRST: i16 = 2;

fn index_columns(
    row: &tokio_postgres::Row,
    numbers: &[Attnum],
    searched: usize,
) -> Result<Vec<IndexColumn>, ProbeError> {
    let options: Vec<i16> = get(row, 11)?;
    let (expressions, classes): (Vec<Option<String>>, Vec<Option<String>>) = (get(row, 12)?, get(row, 13)?);
    let (defaults, collations): (Vec<Option<bool>>, Vec<Option<String>>) = (get(row, 14)?, get(row, 15)?);
    let part = |at: usize| IndexColumn {
        column: numbers.get(at).copied().filter(|&number| number != 0),
        expression: expressions.get(at).cloned().flatten(),
        descending: options.get(at).is_some_and(|bits| bits & DESCENDING != 0),
        nulls_first: options.get(at).is_some_and(|bits| bits & NULLS_FIRST != 0),
        operator_class: classes.get(at).cloned().flatten().unwrap_or_default(),
        default_class: defaults.get(at).copied().flatten().unwrap_or_default(),
        collation: collations.get(at).cloned().flatten(),
    };
    Ok((0..searched).map(part).collect())
}

const INDEX_SIZES: &str =
    "SELECT t.oid, coalesce(pg_relation_size(t.oid::regclass), 0)::int8 FROM unnest($1::oid[]) t(oid)";

/// As the tables' sizes: what cannot be had leaves the estimate, and the note about the tables says so.
async fn index_sizes(reading: &mut Reading<'_>) -> Result<(), ProbeError> {
    let indexes = reading.tables.iter().flat_map(|table| &table.indexes);
    let oids: Vec<Oid> = indexes.map(|index| index.oid).collect();
    let Ok(rows) = reading.attempt(INDEX_SIZES, &[&oids]).await? else {
        return Ok(());
    };
    let mut sizes = std::collections::HashMap::new();
    for row in &rows {
        sizes.insert(get::<Oid>(row, 0)?, u64::try_from(get::<i64>(row, 1)?).unwrap_or_default());
    }
    for index in reading.tables.iter_mut().flat_map(|table| &mut table.indexes) {
        index.bytes = sizes.get(&index.oid).copied().unwrap_or(index.bytes);
    }
    Ok(())
}

const PARTITIONED: &str = "SELECT partrelid, partstrat::text, partattrs::int2[], pg_get_partkeydef(partrelid) \
    FROM pg_partitioned_table WHERE partrelid = ANY($1::oid[])";

/// Partitions, and heirs of the older kind, which have no bound.
const PARENTS: &str = "SELECT i.inhrelid, i.inhparent, c.relispartition, pg_get_expr(c.relpartbound, c.oid) \
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
    WHERE i.inhrelid = ANY($1::oid[]) ORDER BY i.inhrelid, i.inhseqno";

async fn partitions(reading: &mut Reading<'_>, oids: &[Oid]) -> Result<(), ProbeError> {
    for row in &reading.part("how tables are partitioned", PARTITIONED, &[&oids]).await? {
        let strategy = match get(row, 1)? {
            "l" => Strategy::List,
            "h" => Strategy::Hash,
            _ => Strategy::Range,
        };
        let numbers: Vec<Attnum> = get(row, 2)?;
        let columns = numbers.into_iter().map(|number| (number != 0).then_some(number)).collect();
        let partitioning = Partitioning { strategy, columns, key: get(row, 3)? };
        if let Some(table) = reading.table(get(row, 0)?) {
            table.partitioning = Some(partitioning);
        }
    }
    for row in &reading.part("partitions", PARENTS, &[&oids]).await? {
        let (parent, bound): (Oid, Option<String>) = (get(row, 1)?, get(row, 3)?);
        let Some(table) = reading.table(get(row, 0)?) else {
            continue;
        };
        if get(row, 2)? {
            table.partition_of = Some(PartitionOf { parent, bound: bound.unwrap_or_default() });
        } else {
            table.inherits.push(parent);
        }
    }
    Ok(())
}

/// Those of foreign keys are PostgreSQL's own.
const TRIGGERS: &str = "SELECT t.tgrelid, t.tgname::text, t.tgtype, t.tgenabled::text, \
        n.nspname::text, p.proname::text \
    FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace \
    WHERE NOT t.tgisinternal AND t.tgrelid = ANY($1::oid[]) ORDER BY t.tgrelid, t.tgname";

/// Bits of `tgtype`.
const ROW: i16 = 1;
const BEFORE: i16 = 2;
const INSTEAD: i16 = 64;
const EVENTS: [(i16, &str); 4] = [(4, "INSERT"), (8, "DELETE"), (16, "UPDATE"), (32, "TRUNCATE")];

async fn triggers(reading: &mut Reading<'_>, oids: &[Oid]) -> Result<(), ProbeError> {
    for row in &reading.part("triggers", TRIGGERS, &[&oids]).await? {
        let bits: i16 = get(row, 2)?;
        let (schema, function): (&str, &str) = (get(row, 4)?, get(row, 5)?);
        let trigger = Trigger {
            name: get(row, 1)?,
            events: EVENTS.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, event)| *event).collect(),
            timing: match () {
                () if bits & INSTEAD != 0 => Timing::InsteadOf,
                () if bits & BEFORE != 0 => Timing::Before,
                () => Timing::After,
            },
            for_each_row: bits & ROW != 0,
            function: format!("{schema}.{function}"),
            enabled: match get(row, 3)? {
                "D" => TriggerState::Disabled,
                "R" => TriggerState::Replica,
                "A" => TriggerState::Always,
                _ => TriggerState::Enabled,
            },
        };
        reading.table(get(row, 0)?).into_iter().for_each(|table| table.triggers.push(trigger.clone()));
    }
    Ok(())
}

/// Role 0 is everybody, and stands alone.
const POLICIES: &str = "SELECT p.polrelid, p.polname::text, p.polcmd::text, p.polpermissive, \
        ARRAY(SELECT pg_get_userbyid(r)::text FROM unnest(p.polroles) r WHERE r <> 0 ORDER BY 1)::text[] \
    FROM pg_policy p WHERE p.polrelid = ANY($1::oid[]) ORDER BY p.polrelid, p.polname";

async fn policies(reading: &mut Reading<'_>, oids: &[Oid]) -> Result<(), ProbeError> {
    for row in &reading.part("policies", POLICIES, &[&oids]).await? {
        let policy = Policy {
            name: get(row, 1)?,
            command: match get(row, 2)? {
                "r" => "SELECT",
                "a" => "INSERT",
                "w" => "UPDATE",
                "d" => "DELETE",
                _ => "ALL",
            },
            permissive: get(row, 3)?,
            roles: get(row, 4)?,
            condition: None,
        };
        reading.table(get(row, 0)?).into_iter().for_each(|table| table.policies.push(policy.clone()));
    }
    Ok(())
}

/// A view is a rule named `_RETURN`; what its query reads stands in pg_depend.
const RULES: &str = "SELECT r.ev_class, r.rulename::text, \
        ARRAY(SELECT DISTINCT d.refobjid FROM pg_depend d \
            WHERE d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid \
                AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class \
                AND EXISTS (SELECT FROM pg_class c WHERE c.oid = d.refobjid AND c.relkind <> 'S') \
            ORDER BY d.refobjid)::oid[] \
    FROM pg_rewrite r WHERE r.ev_class = ANY($1::oid[]) ORDER BY r.ev_class, r.rulename";

async fn rules(reading: &mut Reading<'_>, oids: &[Oid]) -> Result<(), ProbeError> {
    for row in &reading.part("views and rules", RULES, &[&oids]).await? {
        let (name, reads): (String, Vec<Oid>) = (get(row, 1)?, get(row, 2)?);
        let Some(table) = reading.table(get(row, 0)?) else {
            continue;
        };
        match name.as_str() {
            "_RETURN" => table.reads = reads,
            _ => table.rules.push(name),
        }
    }
    Ok(())
}
