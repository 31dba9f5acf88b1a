//! What a conversion would do, in words, before it does anything: partitions, steps, locks, disk, what stands in
//! the way, and which of the application's statements will feel it. Changes nothing.

use super::source::Source;
use crate::maintain::actor::Actor;
use crate::maintain::layout::{self, Piece, Range};
use crate::maintain::work::Work;
use crate::maintain::{Trouble, civil, tree, unfit};
use crate::sql::class::Class;
use crate::sql::facts::Facts;

/// Partitions of one conversion. Statements without a range plan all of them, and each takes locks.
const PARTITIONS_MAX: usize = 1_500;

/// Above so many rows the copy takes long, and attaching the table whole as its own past would be better.
const ROWS_MAX: i64 = 100_000_000;

/// Rows a second that a small machine copies, for an estimate.
const RATE: i64 = 50_000;

/// Statements that are named of each kind.
const NAMED_MAX: usize = 10;

/// The partitions that the rows of now need, and those ahead.
pub(super) struct Extent {
    pub(super) pieces: Vec<Piece>,
    from: String,
    until: String,
}

/// Lays out partitions for the rows that there are, beside `ranges`.
///
/// # Errors
/// The rows reach too far; the message says from where to where.
pub(super) async fn extent(
    work: &Work,
    actor: &Actor,
    source: &Source,
    ranges: &[Range],
) -> Result<Extent, Trouble> {
    let (rule, kind, zone) = (&work.rule, source.kind, work.rule.time_zone.as_str());
    let now = tree::now(actor, kind, zone).await?;
    let column = crate::maintain::sql::name(&rule.column);
    let mut marks = Vec::new();
    for order in ["ASC", "DESC"] {
        let query = format!(
            "SELECT {column}::text FROM {} WHERE {column} IS NOT NULL ORDER BY {column} {order} LIMIT 1",
            source.table.sql()
        );
        if let Some(row) = actor.rows(&query, &[]).await?.first() {
            let text: String = crate::maintain::actor::get(row, 0)?;
            marks.push(kind.moment(&text).map_err(unfit)?);
        }
    }
    let locals = tree::locals(actor, kind, zone, &marks).await?;
    let horizon = rule.interval.shift(rule.interval.floor(now.local), i64::from(rule.premake));
    let begin = locals.iter().copied().fold(rule.interval.floor(now.local), i64::min);
    let end = locals.iter().copied().fold(horizon, i64::max);
    let too_far = || {
        unfit(format!(
            "the rows reach from {} to {}, which takes more than {PARTITIONS_MAX} partitions: choose a longer \
             interval, or look for rows with a wrong {}",
            civil::text(begin),
            civil::text(end),
            rule.column
        ))
    };
    let calendar = layout::calendar(rule.interval, begin, end).map_err(|_| too_far())?;
    if calendar.len() > PARTITIONS_MAX + 1 {
        return Err(too_far());
    }
    let edges = tree::edges(kind, &tree::marks(actor, kind, zone, &calendar).await?)?;
    let steps = layout::steps(&calendar, edges).map_err(unfit)?;
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
        return Err(unfit("the calendar has no period here"));
    };
    let pieces = layout::pieces(ranges, &steps, rule.interval, &first.edge);
    layout::prove(ranges, &pieces, first.edge.mark, last.edge.mark).map_err(unfit)?;
    let bare = |sql: &str| sql.trim_matches('\'').to_owned();
    Ok(Extent { from: bare(&first.edge.sql), until: bare(&last.edge.sql), pieces })
}

/// The plan as people read it.
pub(super) fn lines(work: &Work, source: &Source, extent: &Extent) -> Vec<String> {
    let (rule, rows) = (&work.rule, source.rows.max(0));
    let mib = source.bytes >> 20;
    let key: Vec<&str> = source.primary.iter().map(|column| column.name.as_str()).collect();
    let mut lines = vec![
        format!("{}: about {rows} rows, {mib} MiB with indexes", source.table),
        format!(
            "partitions by {} of {} ({}): {}, from {} to {}",
            rule.interval,
            rule.column,
            rule.time_zone,
            extent.pieces.len(),
            extent.from,
            extent.until
        ),
        "method: a shadow table, kept in step by a log of changed keys".to_owned(),
        "1. the shadow and its partitions are created: no lock on the table but ACCESS SHARE".to_owned(),
        format!(
            "2. triggers that log changed keys: SHARE ROW EXCLUSIVE for some milliseconds, waited for {} ms at a time",
            work.settings.lock_timeout.as_millis()
        ),
        format!("3. rows are copied in batches, about {} s; no lock", rows / RATE + 1),
        format!("4. {} indexes are built on the shadow; no lock on the table", source.indexes.len()),
        "5. counts and checksums of both are compared; no lock".to_owned(),
        "6. the shadow takes the table's name: ACCESS EXCLUSIVE for some ten milliseconds, waited for 200 ms at a \
         time"
            .to_owned(),
        "7. `finish` drops the old table, which is kept in step until then; `revert` puts it back".to_owned(),
        format!("disk: about {mib} MiB more until `finish`"),
    ];
    if !key.contains(&rule.column.as_str()) {
        lines.push(format!(
            "the primary key becomes ({}, {}): that {} alone is unique is no longer checked over all partitions",
            key.join(", "),
            rule.column,
            key.join(", ")
        ));
    }
    if rows > ROWS_MAX {
        lines.push(format!("more than {ROWS_MAX} rows: expect hours, and watch the disk"));
    }
    for (count, what) in [
        (source.identities.len(), "identity columns, which go on where they are"),
        (source.serials.len(), "sequences, which the new table owns afterwards"),
        (
            source.foreign_keys.len(),
            "foreign keys to other tables: checked for new rows at once, for the rest afterwards",
        ),
        (
            source.triggers.len(),
            "triggers, which move; one that changes the partitioning column BEFORE INSERT would fail",
        ),
        (source.policies.len(), "statements of row security, which move"),
        (source.views.len(), "views, which are made to read the new table"),
    ] {
        if count > 0 {
            lines.push(format!("{count} {what}"));
        }
    }
    lines.extend(statements(work, source));
    lines.extend(obstacles(source));
    lines
}

/// What stands in the way, as lines.
pub(super) fn obstacles(source: &Source) -> impl Iterator<Item = String> {
    source.obstacles.iter().map(|obstacle| format!("in the way: {obstacle}"))
}

/// What the ledger knows of the application's statements on the table.
fn statements(work: &Work, source: &Source) -> Vec<String> {
    let registry = work.registry();
    let (mut failing, mut slower) = (Vec::new(), Vec::new());
    for row in registry.ledger.rows() {
        let known = registry.facts.get(row.key.fingerprint);
        let Some(facts) = known.as_ref().and_then(|known| known.facts()) else {
            continue;
        };
        if *row.key.database != *work.database || !touches(facts, source) {
            continue;
        }
        let shown = format!("{:016x}, {} calls: {}", row.key.fingerprint, row.totals.calls, brief(&row.text));
        let text = row.text.to_lowercase();
        if facts.on_conflict.is_some()
            && conflict_target(&text).is_some_and(|target| !names(target, &work.rule.column))
        {
            failing.push(shown);
        } else if matches!(facts.class, Class::Read | Class::Write)
            && facts.statement != "insert"
            && !facts.predicates.iter().any(|predicate| predicate.column.column == work.rule.column)
        {
            slower.push(shown);
        }
    }
    let mut lines = Vec::new();
    for (found, what) in [
        (
            failing,
            "will fail, because ON CONFLICT names no key of the new table; add the partitioning column to it",
        ),
        (slower, "looks into every partition, because it says nothing of the partitioning column"),
    ] {
        let more = found.len().saturating_sub(NAMED_MAX);
        lines.extend(found.into_iter().take(NAMED_MAX).map(|shown| format!("{what}: {shown}")));
        if more > 0 {
            lines.push(format!("{what}: {more} more"));
        }
    }
    lines
}

fn touches(facts: &Facts, source: &Source) -> bool {
    facts.tables.iter().any(|table| {
        table.name == source.table.name
            && table.schema.as_ref().is_none_or(|schema| *schema == source.table.schema)
    })
}

/// What stands in the parentheses behind ON CONFLICT; `None`: it names no columns.
fn conflict_target(text: &str) -> Option<&str> {
    let rest = text.split("on conflict").nth(1)?.trim_start();
    rest.strip_prefix('(')?.split(')').next()
}

fn names(target: &str, column: &str) -> bool {
    target.split(',').any(|part| part.trim().trim_matches('"').eq_ignore_ascii_case(column))
}

fn brief(text: &str) -> String {
    const MAX: usize = 120;
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_of_a_conflict_is_found() {
        assert_eq!(
            conflict_target("insert into t values ($1) on conflict (id, at) do nothing"),
            Some("id, at")
        );
        assert_eq!(conflict_target("insert into t values ($1) on conflict do nothing"), None);
        assert!(names("id, \"at\"", "at") && !names("id", "at"));
    }
}
