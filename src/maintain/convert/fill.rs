//! The shadow: made, filled in batches, indexed, compared. Nothing here takes a lock that the application's
//! statements would wait for.

use std::time::{Duration, Instant};

use super::plan;
use super::source::Source;
use super::state::{self, Conversion, step};
use super::sync::{FEW, Link, Round};
use crate::maintain::actor::{Actor, get};
use crate::maintain::sql::{list, literal, name};
use crate::maintain::tally::tally;
use crate::maintain::work::Work;
use crate::maintain::{TableName, Trouble, halt, partition, tree, unfit};
use crate::observe::partitions::Progress;

/// Rows of a batch: some tens of milliseconds.
const BATCH: i64 = 5_000;

/// A batch that takes so many times as long as the fastest one shows that others need the machine.
const SLOW: u32 = 3;

/// Bytes that a replica may lag behind before the filling waits.
const LAG_MAX: i64 = 64 << 20;

/// How often lag and log are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A row found no partition.
const NO_PARTITION: &str = "23514";

/// Makes the shadow and its partitions, where they are missing.
pub(super) async fn make(
    work: &Work,
    actor: &Actor,
    conversion: &Conversion,
    source: &Source,
) -> Result<(), Trouble> {
    let shadow = conversion.shadow();
    if partition::oid(actor, &shadow).await?.is_none() {
        actor.atomically(async || stand(work, actor, conversion, source).await).await?;
        halt::at("convert.shadow");
    }
    partitions(work, actor, conversion, source).await
}

async fn stand(work: &Work, actor: &Actor, conversion: &Conversion, source: &Source) -> Result<(), Trouble> {
    let (table, shadow) = (source.table.sql(), conversion.shadow());
    let key = &work.rule.column;
    let columns = format!("(LIKE {table} INCLUDING ALL EXCLUDING INDEXES EXCLUDING IDENTITY)");
    actor.ddl(&format!("CREATE TABLE {} {columns} PARTITION BY RANGE ({})", shadow.sql(), name(key))).await?;
    let mut primary: Vec<String> = source.primary.iter().map(|column| column.name.clone()).collect();
    if !primary.contains(key) {
        primary.push(key.clone());
    }
    let index = source.indexes.iter().find(|index| index.primary).map_or(0, |index| index.oid);
    let constraint = name(&conversion.index(index));
    actor
        .ddl(&format!(
            "ALTER TABLE {} ADD CONSTRAINT {constraint} PRIMARY KEY ({})",
            shadow.sql(),
            list(&primary)
        ))
        .await?;
    let comment: Option<String> =
        actor.value("SELECT obj_description($1, 'pg_class')", &[&source.oid]).await?;
    if let Some(comment) = comment {
        actor.ddl(&format!("COMMENT ON TABLE {} IS {}", shadow.sql(), literal(&comment))).await?;
    }
    let model = partition::model_of(actor, source.oid, source.oid).await?;
    partition::finish(actor, &model, &shadow).await
}

/// Makes the partitions that the rows of now need.
async fn partitions(
    work: &Work,
    actor: &Actor,
    conversion: &Conversion,
    source: &Source,
) -> Result<(), Trouble> {
    let mut rule = work.rule.clone();
    rule.table = conversion.shadow();
    let mut there = tree::read(actor, &rule).await?;
    let extent = plan::extent(work, actor, source, &there.ranges()).await?;
    let model = partition::model_of(actor, source.oid, source.oid).await?;
    // Its partitions are named after the table that it becomes.
    let parent = std::mem::replace(&mut there.table, conversion.table.clone());
    for piece in &extent.pieces {
        let create = async || partition::create(actor, &there, &parent, &model, piece).await.map(drop);
        actor.atomically(create).await?;
        halt::at("convert.partition");
    }
    Ok(())
}

/// The first link: from the table to its shadow.
pub(super) fn forth<'a>(work: &Work, conversion: &'a Conversion, source: &'a Source) -> Link<'a> {
    Link {
        log: conversion.log(&work.settings.schema, false),
        from: source.table.clone(),
        to: conversion.shadow(),
        partitioned: true,
        conversion,
        source,
    }
}

/// Copies every row, batch by batch, in the order of the primary key.
pub(super) async fn fill(
    work: &Work,
    actor: &Actor,
    conversion: &mut Conversion,
    source: &Source,
    rate: Option<u32>,
) -> Result<(), Trouble> {
    let mut pace = Pace::new(rate, conversion.filled);
    loop {
        let begun = Instant::now();
        let before = conversion.filled;
        match batch(work, actor, conversion, source).await {
            Ok(false) => return Ok(()),
            Ok(true) => {}
            Err(error) if error.sqlstate() == Some(NO_PARTITION) => {
                partitions(work, actor, conversion, source).await?;
                continue;
            }
            Err(error) => return Err(error),
        }
        halt::at("convert.batch");
        pace.rest(begun.elapsed(), conversion.filled - before).await;
        if pace.is_time() {
            lag(actor).await?;
            let link = forth(work, conversion, source);
            // While it fills, the log is kept short.
            if let Round::Emptied = round(work, actor, &link).await? {
                (conversion.position, conversion.filled) = (None, 0);
                state::note(actor, &work.settings.schema, conversion).await?;
            }
            work.progress(pace.progress("fill", conversion.filled, conversion.total));
        }
    }
}

/// One batch; `false`: there was nothing left.
async fn batch(
    work: &Work,
    actor: &Actor,
    conversion: &mut Conversion,
    source: &Source,
) -> Result<bool, Trouble> {
    let keys: Vec<String> = source.primary.iter().map(|column| column.name.clone()).collect();
    let cast = |(at, column): (usize, &super::source::KeyColumn)| {
        format!("($1::text[])[{}]::{}", at + 1, column.type_name)
    };
    let after: Vec<String> = source.primary.iter().enumerate().map(cast).collect();
    let condition = match conversion.position {
        Some(_) => format!("ROW({}) > ROW({})", list(&keys), after.join(", ")),
        None => "$1::text[] IS NULL".to_owned(),
    };
    let order: Vec<String> = keys.iter().map(|key| format!("{} DESC", name(key))).collect();
    let texts: Vec<String> = keys.iter().map(|key| format!("{}::text", name(key))).collect();
    let (columns, keys) = (list(&source.columns), list(&keys));
    let statement = format!(
        "WITH batch AS MATERIALIZED (SELECT {columns} FROM {} WHERE {condition} ORDER BY {keys} LIMIT {BATCH}), \
         put AS (INSERT INTO {} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM batch ON CONFLICT DO NOTHING) \
         SELECT ARRAY[{}], (SELECT count(*) FROM batch) FROM batch ORDER BY {} LIMIT 1",
        source.table.sql(),
        conversion.shadow().sql(),
        texts.join(", "),
        order.join(", ")
    );
    let schema = &work.settings.schema;
    let (position, filled) = (conversion.position.clone(), conversion.filled);
    let done = actor
        .transaction(&async || {
            let rows = actor.rows(&statement, &[&position]).await?;
            let Some(row) = rows.first() else {
                return Ok(None);
            };
            let mut noted = conversion.clone();
            (noted.position, noted.filled) = (Some(get(row, 0)?), filled + get::<i64>(row, 1)?);
            state::note(actor, schema, &noted).await?;
            Ok(Some(noted))
        })
        .await?;
    let more = done.is_some();
    if let Some(noted) = done {
        *conversion = noted;
    }
    Ok(more)
}

/// One round of the log in a transaction of its own; rows beyond the partitions get theirs.
pub(super) async fn round(work: &Work, actor: &Actor, link: &Link<'_>) -> Result<Round, Trouble> {
    loop {
        match actor.transaction(&async || link.round(actor).await).await {
            Err(error) if error.sqlstate() == Some(NO_PARTITION) && link.partitioned => {
                partitions(work, actor, link.conversion, link.source).await?;
            }
            outcome => return outcome,
        }
    }
}

/// Rounds until little is left; `Emptied` if the table was emptied.
pub(super) async fn catch_up(work: &Work, actor: &Actor, link: &Link<'_>) -> Result<Round, Trouble> {
    loop {
        match round(work, actor, link).await? {
            Round::Took(taken) if taken >= FEW => {}
            outcome => return Ok(outcome),
        }
    }
}

/// Builds the table's indexes on the shadow, each under a name of its own until the switch.
pub(super) async fn index(
    work: &Work,
    actor: &Actor,
    conversion: &Conversion,
    source: &Source,
) -> Result<(), Trouble> {
    let shadow = conversion.shadow();
    for index in source.indexes.iter().filter(|index| !index.primary) {
        let new = TableName::new(&shadow.schema, &conversion.index(index.oid));
        if partition::oid(actor, &new).await?.is_some() {
            continue;
        }
        work.progress(Progress { step: format!("index {}", index.name), ..Progress::default() });
        let (table, own) = (shadow.sql(), name(&new.name));
        let statement = match &index.constraint {
            Some(definition) => format!("ALTER TABLE {table} ADD CONSTRAINT {own} {definition}"),
            None => {
                let unique = if index.unique { "UNIQUE " } else { "" };
                format!("CREATE {unique}INDEX {own} ON {table} {}", index.rest)
            }
        };
        actor.ddl(&statement).await?;
        halt::at("convert.index");
        round(work, actor, &forth(work, conversion, source)).await?;
    }
    Ok(())
}

/// Compares table and shadow in one snapshot, apart from rows that the log still has.
///
/// # Errors
/// They differ; nothing is switched then.
pub(super) async fn verify(
    work: &Work,
    actor: &Actor,
    conversion: &Conversion,
    source: &Source,
) -> Result<(), Trouble> {
    let link = forth(work, conversion, source);
    work.progress(Progress { step: "compare".to_owned(), of: conversion.total, ..Progress::default() });
    actor.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let both = async {
        let table = tally(actor, &source.table.sql(), &source.columns, &link.unchanged()).await?;
        let shadow = tally(actor, &conversion.shadow().sql(), &source.columns, &link.unchanged()).await?;
        Ok::<_, Trouble>((table, shadow))
    };
    let both = both.await;
    actor.run("ROLLBACK").await?;
    let (table, shadow) = both?;
    if table != shadow {
        return Err(unfit(format!(
            "the shadow of {} is not equal: {} rows beside {}, or other values; nothing was switched. `cancel` removes it",
            source.table, shadow.rows, table.rows
        )));
    }
    work.say(format!("compared: {} rows, equal by count and checksum", table.rows));
    Ok(())
}

/// Waits while a replica lags behind.
async fn lag(actor: &Actor) -> Result<(), Trouble> {
    // On a standby there is no such position, and without the right to see it there is no lag to see.
    let query = "SELECT coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)), 0)::int8 \
        FROM pg_stat_replication";
    for _ in 0..60 {
        let lag: i64 = actor.value(query, &[]).await?;
        if lag <= LAG_MAX {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// How fast it goes.
struct Pace {
    rate: Option<u32>,
    begun: Instant,
    first: i64,
    fastest: Duration,
    looked: Instant,
}

impl Pace {
    fn new(rate: Option<u32>, filled: i64) -> Pace {
        let now = Instant::now();
        Pace { rate, begun: now, first: filled, fastest: Duration::MAX, looked: now }
    }

    /// Rests after a batch: to keep to the rate, and while others need the machine.
    async fn rest(&mut self, took: Duration, rows: i64) {
        self.fastest = self.fastest.min(took.max(Duration::from_millis(5)));
        if took > self.fastest * SLOW {
            tokio::time::sleep(took).await;
        }
        if let Some(rate) = self.rate {
            let due = Duration::from_secs_f64(rows.max(0) as f64 / f64::from(rate.max(1)));
            tokio::time::sleep(due.saturating_sub(took)).await;
        }
    }

    fn is_time(&mut self) -> bool {
        let due = self.looked.elapsed() >= LOOK;
        if due {
            self.looked = Instant::now();
        }
        due
    }

    fn progress(&self, step: &str, rows: i64, of: i64) -> Progress {
        let rows_per_s = (rows - self.first) as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        let left_s = (rows_per_s > 0.0).then(|| (of - rows).max(0) as f64 / rows_per_s);
        Progress { step: step.to_owned(), rows, of, rows_per_s, left_s }
    }
}

/// What the state says is done, and whether the shadow has to be filled anew.
pub(super) async fn note(
    work: &Work,
    actor: &Actor,
    conversion: &mut Conversion,
    state: &str,
) -> Result<(), Trouble> {
    conversion.state = state.to_owned();
    if state == step::LOGGED {
        (conversion.position, conversion.filled) = (None, 0);
    }
    state::note(actor, &work.settings.schema, conversion).await
}
