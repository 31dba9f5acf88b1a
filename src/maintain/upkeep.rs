//! What is done to one table again and again: interrupted detaches are finished, partitions are created ahead,
//! what is past its time is retired. Plans by `layout`, proves the plan, acts by `partition`, and proves the
//! outcome. Must not know schedules.

use super::actor::Actor;
use super::book::{Book, Entry};
use super::layout::{self, Piece, Range};
use super::tree::{self, Now, Tree};
use super::work::Work;
use super::{Trouble, archive, civil, convert, halt, partition, unfit, zones};
use crate::observe::partitions::{Partition, TableView};
use crate::observe::process::now_s;

/// What one look at a table comes to.
struct Outlook {
    now: Now,
    pieces: Vec<Piece>,
    /// Where partitions should reach to.
    until: i64,
    /// The server's begin of the first partition that has to stay; `None`: all stay.
    cutoff: Option<i64>,
    from: i64,
}

/// Looks after one table. With `dry_run` it only says what it would do.
pub(super) async fn table(work: &Work, dry_run: bool) -> Result<(), Trouble> {
    let actor = work.actor().await?;
    let mut tree = tree::read(&actor, &work.rule).await?;
    if !dry_run && !actor.hold(tree.oid).await? {
        return Err(Trouble::Busy(tree.table.to_string()));
    }
    if !tree.pending.is_empty() {
        pending(work, &actor, &tree, dry_run).await?;
        tree = tree::read(&actor, &work.rule).await?;
    }
    if !dry_run {
        if !convert::is_open(work, &actor).await? {
            archive::go_on(work, &actor, &tree).await?;
        }
        tree = tree::read(&actor, &work.rule).await?;
    }
    let outlook = outlook(work, &actor, &tree).await?;
    let created = create(work, &actor, &tree, &outlook, dry_run).await;
    // What is past its time goes whether or not something could be created.
    let retired = match &created {
        Ok(()) => retire(work, &actor, &tree, &outlook, dry_run).await,
        Err(_) => Ok(()),
    };
    let zoned = match (&created, &retired) {
        (Ok(()), Ok(())) => zones::keep(work, &actor, &tree, outlook.now, dry_run).await,
        _ => Ok(()),
    };
    if !dry_run {
        report(work, &actor, outlook.now).await?;
    }
    created.and(retired).and(zoned)
}

async fn pending(work: &Work, actor: &Actor, tree: &Tree, dry_run: bool) -> Result<(), Trouble> {
    for child in &tree.pending {
        work.say(format!("finish the detach of {child}, which was interrupted"));
        if !dry_run {
            partition::finalize(actor, &tree.table, child).await?;
        }
    }
    Ok(())
}

/// What there should be, by the server's clock and its rules of time zones.
async fn outlook(work: &Work, actor: &Actor, tree: &Tree) -> Result<Outlook, Trouble> {
    let (rule, kind, zone) = (&work.rule, tree.kind, work.rule.time_zone.as_str());
    let now = tree::now(actor, kind, zone).await?;
    let ranges = tree.ranges();
    let horizon = rule.interval.shift(rule.interval.floor(now.local), i64::from(rule.premake));
    let front = layout::front(&ranges, now.mark);
    // An empty table begins with the period that it is now, one with partitions where they end.
    let begin = match front.filter(|front| front.mark < layout_end()) {
        Some(front) => tree::locals(actor, kind, zone, &[front.mark]).await?.first().copied(),
        None => None,
    };
    let begin = begin.unwrap_or_else(|| rule.interval.floor(now.local)).min(horizon);
    let locals = layout::calendar(rule.interval, begin, horizon).map_err(unfit)?;
    let edges = tree::edges(kind, &tree::marks(actor, kind, zone, &locals).await?)?;
    let steps = layout::steps(&locals, edges).map_err(unfit)?;
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
        return Err(unfit("the calendar has no period here"));
    };
    let until = last.edge.mark;
    let from = front.cloned().unwrap_or_else(|| first.edge.clone());
    let pieces = layout::pieces(&ranges, &steps, rule.interval, &from);
    // Before anything is created.
    layout::prove(&ranges, &pieces, from.mark.min(until), until).map_err(unfit)?;
    let cutoff = match &rule.retention {
        None => None,
        Some(retention) => {
            let local = retention.keep.shift(now.local, -1);
            tree::marks(actor, kind, zone, &[local]).await?.first().copied()
        }
    };
    Ok(Outlook { now, pieces, until, cutoff, from: from.mark.min(until) })
}

/// Marks from here on are not moments.
fn layout_end() -> i64 {
    super::bound::HIGHEST - 1
}

async fn create(
    work: &Work,
    actor: &Actor,
    tree: &Tree,
    outlook: &Outlook,
    dry_run: bool,
) -> Result<(), Trouble> {
    if outlook.pieces.is_empty() {
        return Ok(());
    }
    let model = partition::model(actor, tree).await?;
    for piece in &outlook.pieces {
        let bounds = format!("FROM ({}) TO ({})", piece.lower.sql, piece.upper.sql);
        if dry_run {
            let name = partition::free_name(actor, &tree.table, &piece.suffix).await?;
            work.say(format!("create {name} {bounds}"));
            continue;
        }
        let new = actor.atomically(async || {
            let new = partition::create(actor, tree, &tree.table, &model, piece).await?;
            halt::at("maintain.create");
            Ok(new)
        });
        let new = new.await?;
        work.say(format!("created {new} {bounds}"));
        work.view(|view| view.created += 1);
    }
    if !dry_run {
        let after = tree::read(actor, &work.rule).await?;
        layout::prove(&after.ranges(), &[], outlook.from, outlook.until).map_err(|fault| {
            unfit(format!("somebody else changes the partitions of {}: {fault}", tree.table))
        })?;
    }
    Ok(())
}

async fn retire(
    work: &Work,
    actor: &Actor,
    tree: &Tree,
    outlook: &Outlook,
    dry_run: bool,
) -> Result<(), Trouble> {
    let (Some(retention), Some(cutoff)) = (&work.rule.retention, outlook.cutoff) else {
        return Ok(());
    };
    if convert::is_open(work, actor).await? {
        return Ok(());
    }
    let stays = archive::stays(work, actor, tree).await?;
    let ranges = tree.ranges();
    for range in layout::expired(&ranges, cutoff) {
        let Some(leaf) = tree.leaves.iter().find(|leaf| leaf.range.lower == range.lower) else {
            continue;
        };
        if stays.contains(&leaf.table) {
            continue;
        }
        let target = &retention.archive;
        let (kind, place) = (target.kind(), target.place());
        work.say(format!("{} is older than {}: {kind} {place}", leaf.table, retention.keep));
        if !dry_run {
            archive::archive(work, actor, tree, leaf, target).await?;
        }
    }
    Ok(())
}

/// Tells the board how the table stands.
async fn report(work: &Work, actor: &Actor, now: Now) -> Result<(), Trouble> {
    let tree = tree::read(actor, &work.rule).await?;
    let sizes = sizes(actor, &tree).await;
    let archives = Book::new(actor, &work.settings.schema).of(&tree.table).await?;
    let ranges = tree.ranges();
    let covered = layout::covered_until(&ranges, now.mark);
    let shown = |leaf: &tree::Leaf| Partition {
        name: leaf.table.name.clone(),
        lower: leaf.range.lower.sql.trim_matches('\'').to_owned(),
        upper: leaf.range.upper.sql.trim_matches('\'').to_owned(),
        rows: leaf.rows,
        bytes: sizes.iter().find(|(oid, _)| *oid == leaf.oid).map_or(0, |(_, bytes)| *bytes),
        state: state(&leaf.range, now.mark),
    };
    let partitions = tree.leaves.iter().map(shown).collect();
    let notes = notes(work, &tree, &ranges, now, covered);
    work.view(|view| {
        describe(view, work);
        view.partitions = partitions;
        view.archives = archives.iter().map(Entry::shown).collect();
        view.covered_until = (covered < layout_end()).then(|| civil::text(covered));
        view.covered_s = (covered < layout_end()).then(|| (covered - now.mark) as f64 / 1e6);
        view.looked_at_s = now_s();
        for note in notes.iter().filter(|note| !view.notes.contains(note)) {
            tracing::warn!(database = view.database, table = view.table, "{note}");
        }
        view.notes = notes;
    });
    Ok(())
}

/// What the rule says of a table.
pub(super) fn describe(view: &mut TableView, work: &Work) {
    let rule = &work.rule;
    view.column = rule.column.clone();
    view.interval = rule.interval.to_string();
    view.time_zone = rule.time_zone.clone();
    view.route = rule.route;
    view.premake = rule.premake;
    view.keep = rule.retention.as_ref().map(|retention| retention.keep.to_string());
}

fn state(range: &Range, now: i64) -> &'static str {
    if range.upper.mark <= now {
        "past"
    } else if range.lower.mark > now {
        "future"
    } else {
        "current"
    }
}

fn notes(work: &Work, tree: &Tree, ranges: &[Range], now: Now, covered: i64) -> Vec<String> {
    let mut notes = Vec::new();
    let next = work.rule.interval.next(work.rule.interval.floor(now.local)) - now.local;
    if covered.saturating_sub(now.mark) < next && work.rule.premake > 0 {
        notes.push("the last future partition is being used up: rows beyond it will be refused".to_owned());
    }
    if let Some(default) = &tree.default {
        notes.push(format!(
            "{default} is a default partition: nothing can be detached without a lock, and rows in it stand in the way of \
             new partitions"
        ));
    }
    for (one, other) in layout::gaps(ranges, now.mark) {
        notes.push(format!("there is a gap between {one} and {other}: rows of that time are refused"));
    }
    notes
}

/// Sizes with indexes. A partition that somebody holds is not waited for.
async fn sizes(actor: &Actor, tree: &Tree) -> Vec<(u32, i64)> {
    let oids: Vec<u32> = tree.leaves.iter().map(|leaf| leaf.oid).collect();
    let query = "SELECT o, coalesce(pg_total_relation_size(o), 0) FROM unnest($1::oid[]) o";
    let rows = actor.rows(query, &[&oids]).await.unwrap_or_default();
    rows.iter().filter_map(|row| Some((row.try_get(0).ok()?, row.try_get(1).ok()?))).collect()
}

/// Archives one partition by name, whatever its age.
pub(super) async fn archive_one(work: &Work, wanted: &str, dry_run: bool) -> Result<(), Trouble> {
    let actor = work.actor().await?;
    let tree = held(work, &actor, dry_run).await?;
    let retention = work.rule.retention.as_ref();
    let retention =
        retention.ok_or_else(|| unfit("the rule of the table has no retention, so no archive"))?;
    let leaf = tree.leaves.iter().find(|leaf| leaf.table.name == wanted);
    let leaf = leaf.ok_or_else(|| unfit(format!("{} has no partition {wanted}", tree.table)))?;
    let now = tree::now(&actor, tree.kind, &work.rule.time_zone).await?;
    if leaf.range.upper.mark > now.mark {
        return Err(unfit(format!("{wanted} is not past: rows may still come for it")));
    }
    let target = &retention.archive;
    if dry_run {
        let (kind, place) = (target.kind(), target.place());
        work.say(format!("detach {} and archive it: {kind} {place}", leaf.table));
        return Ok(());
    }
    let outcome = archive::archive(work, &actor, &tree, leaf, target).await;
    report(work, &actor, now).await.and(outcome)
}

/// Brings one partition back.
pub(super) async fn restore_one(work: &Work, wanted: &str, dry_run: bool) -> Result<(), Trouble> {
    let actor = work.actor().await?;
    let tree = held(work, &actor, dry_run).await?;
    let now = tree::now(&actor, tree.kind, &work.rule.time_zone).await?;
    let outcome = archive::restore(work, &actor, &tree, wanted, dry_run).await;
    report(work, &actor, now).await.and(outcome)
}

/// The table, held for this connection.
async fn held(work: &Work, actor: &Actor, dry_run: bool) -> Result<Tree, Trouble> {
    let tree = tree::read(actor, &work.rule).await?;
    if !dry_run && !actor.hold(tree.oid).await? {
        return Err(Trouble::Busy(tree.table.to_string()));
    }
    if convert::is_open(work, actor).await? {
        return Err(unfit(format!(
            "the conversion of {} is not over: finish or revert it first",
            tree.table
        )));
    }
    Ok(tree)
}

/// Notes that it failed, where it is shown and counted.
pub(super) fn failed(work: &Work, error: &Trouble) {
    let (text, kind) = (error.to_string(), error.kind());
    work.view(|view| {
        describe(view, work);
        // Another pgweir at work is what should be.
        if kind == "busy" {
            return;
        }
        if view.error.as_ref() != Some(&text) {
            tracing::warn!(database = view.database, table = view.table, kind, "maintenance failed: {text}");
        }
        view.failures += 1;
        (view.error, view.error_kind) = (Some(text), Some(kind));
        view.looked_at_s = now_s();
    });
}
