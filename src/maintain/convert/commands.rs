//! What an operator asks for: convert, finish, revert, cancel. Each goes on where the last one ended.

use super::source::{self, Source};
use super::state::{self, Conversion, step};
use super::sync::Round;
use super::{fill, plan, switch, undo};
use crate::maintain::actor::Actor;
use crate::maintain::work::Work;
use crate::maintain::{TableName, Trouble, halt, partition, unfit};

/// Turns the table of the rule into a partitioned one, or goes on with it.
pub(in crate::maintain) async fn convert(
    work: &Work,
    dry_run: bool,
    rate: Option<u32>,
) -> Result<(), Trouble> {
    let actor = work.actor().await?;
    let schema = work.settings.schema.as_str();
    let known = state::newest(&actor, schema, &work.rule.table).await?;
    let mut conversion = match known.filter(|conversion| !conversion.is_over()) {
        Some(conversion) => {
            work.say(format!("a conversion of {} is under way: {}", conversion.table, conversion.state));
            conversion
        }
        None => {
            let source = source::read(&actor, &work.rule).await?;
            match plan::extent(work, &actor, &source, &[]).await {
                Ok(extent) => {
                    plan::lines(work, &source, &extent).into_iter().for_each(|line| work.say(line));
                }
                Err(error) if source.obstacles.is_empty() => return Err(error),
                // What stands in the way may be why.
                Err(error) => {
                    plan::obstacles(&source).for_each(|line| work.say(line));
                    work.say(error.to_string());
                }
            }
            match source.obstacles.len() {
                0 => {}
                1 => return Err(unfit("one thing stands in the way, see above")),
                n => return Err(unfit(format!("{n} things stand in the way, see above"))),
            }
            if dry_run {
                return Ok(());
            }
            hold(&actor, source.oid, &source.table).await?;
            state::open(&actor, schema).await?;
            let mut conversion = Conversion {
                id: 0,
                table: source.table.clone(),
                oid: source.oid,
                rule: work.rule.clone(),
                format: work.rule.format.and_then(crate::maintain::request::format_word).map(str::to_owned),
                state: step::PLANNED.to_owned(),
                position: None,
                filled: 0,
                total: source.rows.max(0),
                undo: Vec::new(),
            };
            conversion.id = state::begin(&actor, schema, &conversion).await?;
            conversion
        }
    };
    if dry_run {
        return Ok(());
    }
    hold(&actor, conversion.oid, &conversion.table).await?;
    // What was begun is what is gone on with.
    let rule = crate::maintain::TableRule { user: work.rule.user.clone(), ..conversion.rule.clone() };
    let work = work.with(rule);
    while conversion.state != step::SETTLED {
        halt::at(&format!("convert.{}", conversion.state));
        advance(&work, &actor, &mut conversion, rate).await?;
    }
    work.say(format!(
        "{} is partitioned. The old table is {} and is kept in step: `finish` drops it, `revert` puts it back",
        conversion.table,
        conversion.old()
    ));
    Ok(())
}

async fn hold(actor: &Actor, oid: u32, table: &TableName) -> Result<(), Trouble> {
    match actor.hold(oid).await? {
        true => Ok(()),
        false => Err(Trouble::Busy(table.to_string())),
    }
}

/// The plain table, whatever it is called now.
async fn source(work: &Work, actor: &Actor, conversion: &Conversion) -> Result<Source, Trouble> {
    let mut rule = work.rule.clone();
    rule.column.clone_from(&conversion.rule.column);
    rule.format = conversion.rule.format;
    if conversion.is_switched() {
        rule.table = conversion.old();
    }
    let source = source::read(actor, &rule).await?;
    if source.oid != conversion.oid {
        return Err(unfit(format!(
            "{} is another table than the one whose conversion was begun; `cancel` ends that",
            rule.table
        )));
    }
    Ok(source)
}

/// One step from the state that the conversion is in.
async fn advance(
    work: &Work,
    actor: &Actor,
    conversion: &mut Conversion,
    rate: Option<u32>,
) -> Result<(), Trouble> {
    let source = source(work, actor, conversion).await?;
    match conversion.state.as_str() {
        step::PLANNED => {
            fill::make(work, actor, conversion, &source).await?;
            let noted = Conversion { state: step::LOGGED.to_owned(), ..conversion.clone() };
            let link = fill::forth(work, conversion, &source);
            let triggers = link.triggers().join("; ");
            actor
                .atomically(async || {
                    link.prepare(actor).await?;
                    actor.ddl(&triggers).await?;
                    state::note(actor, &work.settings.schema, &noted).await?;
                    halt::at("convert.log");
                    Ok(())
                })
                .await?;
            *conversion = noted;
            work.say("the shadow is there, and changed keys are logged".to_owned());
        }
        step::LOGGED => {
            fill::fill(work, actor, conversion, &source, rate).await?;
            fill::note(work, actor, conversion, step::FILLED).await?;
            work.say(format!("{} rows are copied", conversion.filled));
        }
        step::FILLED => {
            fill::index(work, actor, conversion, &source).await?;
            let caught = fill::catch_up(work, actor, &fill::forth(work, conversion, &source)).await?;
            let next = if caught == Round::Emptied { step::LOGGED } else { step::INDEXED };
            fill::note(work, actor, conversion, next).await?;
        }
        step::INDEXED => {
            let caught = fill::catch_up(work, actor, &fill::forth(work, conversion, &source)).await?;
            if caught == Round::Emptied {
                return fill::note(work, actor, conversion, step::LOGGED).await;
            }
            fill::verify(work, actor, conversion, &source).await?;
            fill::note(work, actor, conversion, step::VERIFIED).await?;
        }
        step::VERIFIED => {
            if !switch::switch(work, actor, conversion, &source).await? {
                return fill::note(work, actor, conversion, step::LOGGED).await;
            }
            work.changed();
            work.say("switched".to_owned());
        }
        step::SWITCHED => {
            // Nobody else looks after the new table meanwhile.
            if let Some(oid) = partition::oid(actor, &conversion.table).await? {
                hold(actor, oid, &conversion.table).await?;
            }
            switch::settle(work, actor, conversion, &source).await?;
            fill::note(work, actor, conversion, step::SETTLED).await?;
        }
        state => return Err(unfit(format!("the conversion is {state}, which this pgweir does not know"))),
    }
    Ok(())
}

/// The conversion that a command means, held, with the plain table.
async fn under_way(work: &Work, actor: &Actor) -> Result<(Conversion, Source), Trouble> {
    let schema = work.settings.schema.as_str();
    let known = state::newest(actor, schema, &work.rule.table).await?;
    let conversion = known.filter(|conversion| !conversion.is_over());
    let conversion =
        conversion.ok_or_else(|| unfit(format!("no conversion of {} is under way", work.rule.table)))?;
    hold(actor, conversion.oid, &conversion.table).await?;
    let source = source(work, actor, &conversion).await?;
    Ok((conversion, source))
}

pub(in crate::maintain) async fn finish(work: &Work) -> Result<(), Trouble> {
    let actor = work.actor().await?;
    let (mut conversion, source) = under_way(work, &actor).await?;
    if conversion.state != step::SETTLED {
        return Err(unfit(format!("the conversion is {}; `convert` goes on with it", conversion.state)));
    }
    undo::finish(work, &actor, &mut conversion, &source).await?;
    work.say(format!("{} is dropped; the conversion of {} is finished", conversion.old(), conversion.table));
    Ok(())
}

pub(in crate::maintain) async fn revert(work: &Work) -> Result<(), Trouble> {
    let actor = work.actor().await?;
    let (mut conversion, source) = under_way(work, &actor).await?;
    if !conversion.is_switched() {
        return Err(unfit(format!(
            "the conversion is {}, and nothing was switched; `cancel` ends it",
            conversion.state
        )));
    }
    undo::revert(work, &actor, &mut conversion, &source).await?;
    work.say(format!("{} is the plain table again, with every change", conversion.table));
    Ok(())
}

pub(in crate::maintain) async fn cancel(work: &Work) -> Result<(), Trouble> {
    let actor = work.actor().await?;
    let (mut conversion, source) = under_way(work, &actor).await?;
    if conversion.is_switched() {
        return Err(unfit("the table is switched already; `revert` puts the old one back"));
    }
    undo::cancel(work, &actor, &mut conversion, &source).await?;
    work.say(format!("the conversion of {} is cancelled, and nothing of it is left", conversion.table));
    Ok(())
}

/// Whether a conversion of the table is under way, or could still be reverted. Partitions neither leave nor come back
/// then, because the other table would not know.
pub(in crate::maintain) async fn is_open(work: &Work, actor: &Actor) -> Result<bool, Trouble> {
    let known = state::newest(actor, &work.settings.schema, &work.rule.table).await?;
    Ok(known.is_some_and(|conversion| !conversion.is_over()))
}

/// By schedule: goes on with a conversion that a crash has ended, and keeps an old table in step.
pub(in crate::maintain) async fn sync_back(work: &Work) -> Result<(), Trouble> {
    let actor = work.actor().await?;
    let schema = work.settings.schema.as_str();
    let known = state::newest(&actor, schema, &work.rule.table).await?;
    let Some(conversion) = known.filter(|conversion| !conversion.is_over()) else {
        return Ok(());
    };
    if conversion.state != step::SETTLED {
        drop(actor);
        return convert(work, false, None).await;
    }
    hold(&actor, conversion.oid, &conversion.table).await?;
    let source = source(work, &actor, &conversion).await?;
    fill::catch_up(work, &actor, &switch::back(work, &conversion, &source)).await.map(drop)
}
