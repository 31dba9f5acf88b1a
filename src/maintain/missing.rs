//! A row found no partition: makes the one that it needs, if the table's rule allows and the moment is a sane one, so
//! that whoever sent the row can send it again. One at a time for each table. Must not know sessions.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, oneshot};

use super::actor::Actor;
use super::bound::Kind;
use super::layout::{self, Piece};
use super::tree::{self, Now, Tree};
use super::work::{Means, Work};
use super::{TableName, TableRule, Trouble, civil, halt, partition, unfit, zones};
use crate::observe::process::now_s;

/// A row that PostgreSQL refused.
pub struct Missing {
    /// As clients name it.
    pub database: String,
    /// The table, or the partition whose check refuses the row.
    pub table: TableName,
    /// Of the key, as PostgreSQL writes it. It is a value of a row: it stays here.
    /// `Err`: the check.
    pub value: Result<String, String>,
    /// Told, or dropped, when nothing more will be done.
    pub done: oneshot::Sender<()>,
}

/// Rows that wait; the clients of more of them see PostgreSQL's error.
pub(super) const WAITING_MAX: usize = 64;

/// Periods behind those that are made ahead. A clock that goes wrong by more is refused, as is the row of the year
/// 52217 for which a partition would stay for ever.
const AHEAD_MAX: i64 = 12;

/// Periods before the present one: ten years of months. What is past its retention is refused in any case.
const BACK_MAX: i64 = 120;

/// After a failure the table is left alone for so long, however many rows come.
const PAUSE: Duration = Duration::from_secs(10);

/// How long another command that works on the table is waited for.
const BUSY_MAX: Duration = Duration::from_secs(3);
const BUSY_LOOK: Duration = Duration::from_millis(50);

/// Midnights of any time zone, and clocks that differ.
const SLACK_US: i64 = 2 * civil::DAY_US;

/// What is known of each table; as many as there are rules.
#[derive(Default)]
pub(super) struct Gaps {
    tables: RefCell<BTreeMap<(String, TableName), Rc<Gap>>>,
}

#[derive(Default)]
struct Gap {
    turn: Mutex<()>,
    failed: Cell<Option<Instant>>,
}

/// Does what can be done, and says so.
pub(super) async fn serve(means: Arc<dyn Means>, gaps: Rc<Gaps>, missing: Missing) {
    let Missing { database, table, value, done } = missing;
    let work = match &value {
        Ok(value) => allowed(&means, database, &table, value),
        Err(check) => owner(&means, database, &table).filter(|_| zones::is_own(check)),
    };
    if let Some(work) = work {
        let key = (work.database.clone(), work.rule.table.clone());
        let gap = gaps.tables.borrow_mut().entry(key).or_default().clone();
        let _turn = gap.turn.lock().await;
        if gap.failed.get().is_none_or(|failed| failed.elapsed() > PAUSE) {
            let outcome = match &value {
                Ok(value) => create(&work, value).await,
                Err(check) => give_up(&work, &table, check).await,
            };
            if let Err(error) = outcome {
                tracing::warn!(
                    database = work.database,
                    table = %work.rule.table,
                    kind = error.kind(),
                    "nothing was done for a row that its table refuses: {error}"
                );
                gap.failed.set(Some(Instant::now()));
            }
        }
    }
    // Nobody may be waiting any more.
    let _ = done.send(());
}

/// The rule that has made a partition's checks: the one table of the database whose name its name begins with.
fn owner(means: &Arc<dyn Means>, database: String, partition: &TableName) -> Option<Work> {
    let (settings, rules) = means.rules();
    let meant = |rule: &TableRule| {
        rule.database.as_deref() == Some(database.as_str())
            && rule.table.schema == partition.schema
            && partition.name.starts_with(rule.table.name.as_str())
            && !rule.zone_maps.is_empty()
    };
    let rule = rules.into_iter().filter(meant).max_by_key(|rule| rule.table.name.len())?;
    let allowed = rule.create_missing && settings.enabled;
    allowed.then(|| Work { means: means.clone(), settings, database, rule, job: None })
}

async fn give_up(work: &Work, partition: &TableName, check: &str) -> Result<(), Trouble> {
    let actor = work.actor().await?;
    let tree = held(work, &actor).await?;
    zones::give_up(work, &actor, &tree, partition, check).await
}

/// The rule of the table, if it allows this and the moment may be one that gets a partition. Asks no server.
fn allowed(means: &Arc<dyn Means>, database: String, table: &TableName, value: &str) -> Option<Work> {
    let (settings, rules) = means.rules();
    let meant =
        |rule: &TableRule| rule.database.as_deref() == Some(database.as_str()) && rule.table == *table;
    let rule = rules.into_iter().find(meant).filter(|rule| rule.create_missing && settings.enabled)?;
    let mark = rule.format.unwrap_or(Kind::TimestampTz).moment_anywhere(value)?;
    let now = i64::try_from(now_s()).ok()?.checked_mul(1_000_000)?;
    let (from, until) = window(&rule, now);
    let sane = (from - SLACK_US..until + SLACK_US).contains(&mark);
    sane.then(|| Work { means: means.clone(), settings, database, rule, job: None })
}

/// From where to where partitions are made for single rows, as local moments.
fn window(rule: &TableRule, local: i64) -> (i64, i64) {
    let present = rule.interval.floor(local);
    let from = rule.interval.shift(present, -BACK_MAX);
    let kept = rule.retention.as_ref().map(|retention| retention.keep.shift(local, -1));
    (from.max(kept.unwrap_or(from)), rule.interval.shift(present, i64::from(rule.premake) + AHEAD_MAX + 1))
}

async fn create(work: &Work, value: &str) -> Result<(), Trouble> {
    let actor = work.actor().await?;
    let tree = held(work, &actor).await?;
    let mark = tree.kind.moment_anywhere(value);
    let mark = mark.ok_or_else(|| unfit("the key of the row is not understood"))?;
    let holds = |range: &layout::Range| range.lower.mark <= mark && mark < range.upper.mark;
    if tree.ranges().iter().any(holds) {
        // Somebody else was faster.
        return Ok(());
    }
    let now = tree::now(&actor, tree.kind, &work.rule.time_zone).await?;
    let piece = piece(work, &actor, &tree, now, mark).await?;
    let model = partition::model(&actor, &tree).await?;
    let made = actor.atomically(async || {
        let made = partition::create(&actor, &tree, &tree.table, &model, &piece).await?;
        halt::at("missing.create");
        Ok(made)
    });
    let made = made.await?;
    let (lower, upper) = (&piece.lower.sql, &piece.upper.sql);
    work.say(format!("created {made} FROM ({lower}) TO ({upper}) for a row that had no partition"));
    work.view(|view| view.created += 1);
    Ok(())
}

/// The table, held for this connection; whoever holds it is waited for.
async fn held(work: &Work, actor: &Actor) -> Result<Tree, Trouble> {
    let begun = Instant::now();
    loop {
        let tree = tree::read(actor, &work.rule).await?;
        if actor.hold(tree.oid).await? {
            // What the other one did is not in it.
            return tree::read(actor, &work.rule).await;
        }
        if begun.elapsed() > BUSY_MAX {
            return Err(Trouble::Busy(tree.table.to_string()));
        }
        tokio::time::sleep(BUSY_LOOK).await;
    }
}

/// The partition that the moment lacks: its period, or what others leave of that.
async fn piece(work: &Work, actor: &Actor, tree: &Tree, now: Now, mark: i64) -> Result<Piece, Trouble> {
    let (rule, zone) = (&work.rule, work.rule.time_zone.as_str());
    let local = tree::locals(actor, tree.kind, zone, &[mark]).await?;
    let local = *local.first().ok_or_else(|| unfit("the server tells no time"))?;
    let (from, until) = window(rule, now.local);
    if !(from..until).contains(&local) {
        return Err(unfit("the row is of a time for which no partition is made by itself"));
    }
    let locals = layout::calendar(rule.interval, local, local).map_err(unfit)?;
    let edges = tree::edges(tree.kind, &tree::marks(actor, tree.kind, zone, &locals).await?)?;
    let steps = layout::steps(&locals, edges).map_err(unfit)?;
    let first = steps.first().ok_or_else(|| unfit("the calendar has no period here"))?;
    let ranges = tree.ranges();
    let pieces = layout::pieces(&ranges, &steps, rule.interval, &first.edge);
    let piece = pieces.into_iter().find(|piece| piece.lower.mark <= mark && mark < piece.upper.mark);
    let piece = piece.ok_or_else(|| unfit("no partition can be made around the row"))?;
    layout::prove(&ranges, std::slice::from_ref(&piece), piece.lower.mark, piece.upper.mark)
        .map_err(unfit)?;
    Ok(piece)
}
