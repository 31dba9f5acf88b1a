//! A partitioned table as the server has it now, in the words of `layout`: its partitions, its key, its clock.
//! Asks and changes nothing.

use super::actor::{Actor, get};
use super::bound::{Bound, Edge, Kind};
use super::layout::Range;
use super::{TableName, TableRule, Trouble, civil, unfit};

/// One table with its partitions.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) oid: u32,
    pub(super) table: TableName,
    pub(super) kind: Kind,
    pub(super) leaves: Vec<Leaf>,
    pub(super) default: Option<TableName>,
    /// A detach that was interrupted.
    pub(super) pending: Vec<TableName>,
}

/// A partition.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub(super) oid: u32,
    pub(super) table: TableName,
    pub(super) range: Range,
    /// It has partitions of its own, or is a foreign table: nothing for the archive.
    pub(super) plain: bool,
    pub(super) rows: i64,
}

/// Local time and the instant, by the server's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// As marks of the key: an instant, or the local moment.
    pub(super) mark: i64,
    pub(super) local: i64,
}

impl Tree {
    pub(super) fn ranges(&self) -> Vec<Range> {
        self.leaves.iter().map(|leaf| leaf.range.clone()).collect()
    }
}

const TABLE: &str = "SELECT c.oid, c.relkind::text, p.partstrat::text, p.partnatts, a.attname::text, \
        format_type(a.atttypid, NULL), \
        coalesce(o.collname IN ('C', 'POSIX', 'ucs_basic') OR (o.collname = 'default' AND \
            (SELECT datcollate IN ('C', 'POSIX') FROM pg_database WHERE datname = current_database())), true) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_partitioned_table p ON p.partrelid = c.oid \
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.partattrs[0] \
    LEFT JOIN pg_collation o ON o.oid = p.partcollation[0] \
    WHERE n.nspname = $1 AND c.relname = $2";

/// `inhdetachpending` came with version 14.
const CHILDREN: &str = "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, \
        pg_get_expr(c.relpartbound, c.oid), coalesce((to_jsonb(i)->>'inhdetachpending')::bool, false), \
        c.reltuples::float8 \
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE i.inhparent = $1 ORDER BY c.oid";

/// Reads the table of a rule.
///
/// # Errors
/// It is not there, or not divided as the rule says; the message says what to do.
pub(super) async fn read(actor: &Actor, rule: &TableRule) -> Result<Tree, Trouble> {
    let table = &rule.table;
    let rows = actor.rows(TABLE, &[&table.schema, &table.name]).await?;
    let row = rows.first().ok_or_else(|| unfit(format!("there is no table {table}")))?;
    let (oid, relkind): (u32, String) = (get(row, 0)?, get(row, 1)?);
    if relkind != "p" {
        let message = format!(
            "{table} is not partitioned; `pgweir partitions convert {table} --column {} --interval \"{}\"` \
             makes it so while it is used",
            rule.column, rule.interval
        );
        return Err(unfit(message));
    }
    let (strategy, columns): (String, i16) = (get(row, 2)?, get(row, 3)?);
    let (column, type_name): (Option<String>, Option<String>) = (get(row, 4)?, get(row, 5)?);
    let sorted_by_bytes: bool = get(row, 6)?;
    if strategy != "r" || columns != 1 || column.as_deref() != Some(rule.column.as_str()) {
        return Err(unfit(format!("{table} is not partitioned by RANGE ({})", rule.column)));
    }
    let kind = Kind::of(&type_name.unwrap_or_default(), rule.format)
        .map_err(|reason| unfit(format!("{table}.{}: {reason}", rule.column)))?;
    if kind == Kind::Ulid && !sorted_by_bytes {
        let message = format!("{table}.{}: ids sort by time only under COLLATE \"C\"", rule.column);
        return Err(unfit(message));
    }
    let mut tree =
        Tree { oid, table: table.clone(), kind, leaves: Vec::new(), default: None, pending: Vec::new() };
    for row in &actor.rows(CHILDREN, &[&oid]).await? {
        let (schema, name): (String, String) = (get(row, 1)?, get(row, 2)?);
        let (child, pending) = (TableName { schema, name }, get(row, 5)?);
        if pending {
            tree.pending.push(child);
            continue;
        }
        let bound: String = get(row, 4)?;
        match kind.bound(&bound).map_err(|reason| unfit(format!("{child}: {reason}")))? {
            Bound::Default => tree.default = Some(child),
            Bound::Range { lower, upper } => tree.leaves.push(Leaf {
                oid: get(row, 0)?,
                range: Range { name: child.name.clone(), lower, upper },
                table: child,
                plain: get::<String>(row, 3)? == "r",
                rows: get::<f64>(row, 6)? as i64,
            }),
        }
    }
    tree.leaves.sort_by_key(|leaf| leaf.range.lower.mark);
    Ok(tree)
}

/// The server's clock, in the zone of the rule.
pub(super) async fn now(actor: &Actor, kind: Kind, zone: &str) -> Result<Now, Trouble> {
    let query = "SELECT now()::text, (now() AT TIME ZONE $1::text)::text";
    let rows = actor.rows(query, &[&zone]).await?;
    let row = rows.first().ok_or_else(|| unfit("the server tells no time"))?;
    let (instant, local) = (moment(get(row, 0)?)?, moment(get(row, 1)?)?);
    Ok(Now { mark: if kind.is_instant() { instant } else { local }, local })
}

/// The marks of local moments: what the server says they are in this zone. Its rules of time zones decide, as
/// they do for whatever is stored.
pub(super) async fn marks(
    actor: &Actor,
    kind: Kind,
    zone: &str,
    locals: &[i64],
) -> Result<Vec<i64>, Trouble> {
    if !kind.is_instant() {
        return Ok(locals.to_vec());
    }
    let query = "SELECT array_agg((x.t::timestamp AT TIME ZONE $2::text)::text ORDER BY x.at) \
        FROM unnest($1::text[]) WITH ORDINALITY x(t, at)";
    moments(actor, query, locals, civil::text, zone).await
}

/// The local moments of marks.
pub(super) async fn locals(
    actor: &Actor,
    kind: Kind,
    zone: &str,
    marks: &[i64],
) -> Result<Vec<i64>, Trouble> {
    if !kind.is_instant() {
        return Ok(marks.to_vec());
    }
    let query = "SELECT array_agg((x.t::timestamptz AT TIME ZONE $2::text)::text ORDER BY x.at) \
        FROM unnest($1::text[]) WITH ORDINALITY x(t, at)";
    moments(actor, query, marks, instant_text, zone).await
}

async fn moments(
    actor: &Actor,
    query: &str,
    from: &[i64],
    text: fn(i64) -> String,
    zone: &str,
) -> Result<Vec<i64>, Trouble> {
    let texts: Vec<String> = from.iter().map(|&us| text(us)).collect();
    let found: Option<Vec<String>> = actor.value(query, &[&texts, &zone]).await?;
    found.unwrap_or_default().into_iter().map(moment).collect()
}

fn instant_text(us: i64) -> String {
    let text = civil::text(us);
    match text.strip_suffix(" BC") {
        Some(text) => format!("{text}+00 BC"),
        None => format!("{text}+00"),
    }
}

fn moment(text: String) -> Result<i64, Trouble> {
    civil::parse(&text.replacen("+00 BC", " BC", 1))
        .ok_or_else(|| unfit(format!("the server's time {text} is beyond what pgweir reckons with")))
}

/// The edges at these marks.
pub(super) fn edges(kind: Kind, marks: &[i64]) -> Result<Vec<Edge>, Trouble> {
    marks.iter().map(|&mark| kind.edge(mark)).collect::<Result<_, _>>().map_err(unfit)
}
