//! Loops over a result: where a look-up stands in one, known from a template or seen for the first time, and
//! which look-ups will follow. Must not know levels beyond whether something may be fetched. Pure.

use std::collections::HashSet;

use super::Child;
use super::keys::Key;
use super::level::may_fetch;
use super::plan::{Ask, Order, What, Why, World};
use super::rate::KEYS_MAX;
use super::session::{Loop, Session};
use super::table::{ANY_FORMAT, BYTES_MAX, Fields, Table};
use super::template::{Kind, Source, Template, Templates};
use crate::coalesce::link::Provenance;

/// Loops over the same result whose answers are fetched along with those of the one that asks first.
const SIBLINGS_MAX: usize = 4;

/// Where a loop stands.
#[derive(Clone, Copy)]
pub(super) struct At {
    template: u32,
    table: u32,
    row: usize,
    /// Where it begins on the ramp: two look-ups in order are more than one.
    step: usize,
}

/// A loop that a template tells of, through a result that is kept.
pub(super) fn warm(
    session: &mut Session,
    keys: &[Key],
    ask: &Ask<'_>,
    world: &World<'_>,
    why: &mut Why,
) -> Option<At> {
    let now_us = ask.place.now_us;
    let mut best: Option<(u32, u64, At)> = None;
    for template in world.templates.of_child(ask.child.shape) {
        let Some(parent) = template.parent.filter(|_| template.sources.len() == keys.len()) else { continue };
        let (columns, values) = template.columns();
        let wanted: Vec<&Key> = values.iter().filter_map(|&value| keys.get(usize::from(value))).collect();
        if wanted.iter().any(|key| key.is_null()) {
            continue;
        }
        if template.rate.off(now_us).is_some() {
            *why = Why::Off;
            continue;
        }
        unfold(session, parent, world.templates, now_us);
        for table in session.tables.of(parent) {
            let is = |held: &&Loop| held.episode.template == template.id && held.table == table.serial;
            let from = session.loops.iter().find(is).map_or(0, |held| held.next);
            let Some(row) = table.find(&columns, &wanted, from) else { continue };
            let at = At { template: template.id, table: table.serial, row, step: 0 };
            let rank = (table.serial, template.rate.used);
            if best.is_none_or(|(serial, used, _)| rank > (serial, used)) {
                best = Some((rank.0, rank.1, at));
            }
            break;
        }
    }
    best.map(|(_, _, at)| at)
}

/// Makes a table of the rows of a batch: the loop inside a loop goes through what was fetched for all of the
/// outer one.
fn unfold(session: &mut Session, parent: u64, templates: &Templates, now_us: u64) {
    let Some(batch) = session.buffer.newest(parent).filter(|batch| batch.table.is_none()) else {
        return;
    };
    let columns = templates.watched(parent, now_us);
    let fields = Fields { types: &batch.child.types, formats: &batch.child.result_formats };
    let mut table = Table::new(parent, &columns, Box::default(), fields);
    table.read(&batch.frames, BYTES_MAX);
    batch.table = Some(session.tables.keep(table));
    session.renewed(parent);
}

/// A loop that nobody knew of: this look-up and the one before it took their values from a result's column,
/// in order.
pub(super) fn cold(
    session: &mut Session,
    keys: &[Key],
    ask: &Ask<'_>,
    world: &mut World<'_>,
    why: &mut Why,
) -> Option<At> {
    let provenance = world.watch.provenance(ask.child.shape)?;
    let frames = world.watch.frames(provenance.serial)?;
    let (table, columns) = read(&provenance, frames, keys, ask.child)?;
    let source = |value| {
        let of = columns.iter().find(|(own, _)| *own == value);
        of.map_or(Source::Same, |(_, column)| Source::Column(*column))
    };
    let sources: Box<[Source]> = (0..keys.len()).map(source).collect();
    let now_us = ask.place.now_us;
    let template =
        world.templates.learn((Kind::Rows, Some(provenance.parent), ask.child.shape), sources, now_us);
    if world.templates.get(template)?.rate.off(now_us).is_some() {
        *why = Why::Off;
        return None;
    }
    let table = session.tables.keep(table);
    Some(At { template, table, row: provenance.row, step: 1 })
}

/// Reads the key columns out of a result's beginning. Neither the watch nor the frames say in which form they
/// are, so the one counts in which the row in question has the very values that are looked up.
fn read(
    provenance: &Provenance,
    frames: &[u8],
    keys: &[Key],
    child: &Child,
) -> Option<(Table, Vec<(usize, u16)>)> {
    let columns: Vec<(usize, u16)> = provenance
        .columns
        .iter()
        .map(|&(value, column)| Some((value, u16::try_from(column).ok()?)))
        .collect::<Option<_>>()?;
    let plain: Vec<u16> = columns.iter().map(|&(_, column)| column).collect();
    let wanted: Vec<&Key> = columns.iter().map(|&(value, _)| keys.get(value)).collect::<Option<_>>()?;
    let widest = plain.iter().max().map_or(0, |&column| usize::from(column) + 1);
    let mut guessed = vec![0; widest];
    for &(value, column) in &columns {
        guessed[usize::from(column)] = child.slots.get(value)?.type_oid;
    }
    for types in [&[][..], &guessed] {
        for formats in [&[][..], &[1], ANY_FORMAT] {
            let mut table = Table::new(provenance.parent, &plain, Box::default(), Fields { types, formats });
            table.read(frames, BYTES_MAX);
            if table.row(provenance.row, &plain).is_some_and(|row| row == wanted) {
                return Some((table, columns));
            }
        }
    }
    None
}

/// The queries for a loop that stands here, and for its siblings. `None`: nothing is left to fetch.
pub(super) fn fetch(
    session: &mut Session,
    at: At,
    keys: &[Key],
    ask: &Ask<'_>,
    world: &mut World<'_>,
) -> Option<Vec<Order>> {
    let now_us = ask.place.now_us;
    let begins =
        !session.loops.iter().any(|held| (held.episode.template, held.table) == (at.template, at.table));
    let held = session.enter(at.template, at.table, at.step);
    let table = session.tables.get(at.table)?;
    let template = world.templates.get_mut(at.template)?;
    if begins {
        template.observe(ask.child, (keys, &ask.forms()), &table.parameters, now_us);
    }
    let most = template.rate.chunk(session.loops[held].step).min(ask.keys_max);
    let (constants, varying) = divide(template, keys);
    let whole = most == KEYS_MAX;
    let (members, next) = members(session, table, template, ask.child, &constants, at.row, most, whole);
    let episode = {
        let held = &mut session.loops[held];
        held.next = next;
        if members.len() < 2 {
            return None;
        }
        held.step += 1;
        held.episode
    };
    let what = What::Keys(members);
    let mut orders =
        vec![Order { child: ask.child.clone(), episode, constants, varying, forms: ask.forms(), what }];
    siblings(session, at, ask, world.templates, &mut orders);
    Some(orders)
}

/// Values that are the same for all members, with `Null` for the others; and which are the others.
fn divide(template: &Template, keys: &[Key]) -> (Box<[Key]>, Box<[u16]>) {
    let (_, varying) = template.columns();
    let constant = |(at, key): (usize, &Key)| {
        if varying.contains(&(at as u16)) { Key::Null } else { key.clone() }
    };
    (keys.iter().enumerate().map(constant).collect(), varying.into())
}

/// The look-ups from this row on, each once, at most so many; from the beginning on too if the end is reached
/// and all are wanted. Returns them with the row behind the last.
#[expect(clippy::too_many_arguments, reason = "one place of a loop, named in full")]
fn members(
    session: &Session,
    table: &Table,
    template: &Template,
    child: &Child,
    constants: &[Key],
    row: usize,
    most: usize,
    whole: bool,
) -> (Vec<Box<[Key]>>, usize) {
    let (columns, values) = template.columns();
    let (mut members, mut met, mut next) = (Vec::new(), HashSet::new(), row);
    let before = if whole { 0..row } else { 0..0 };
    for at in (row..table.rows()).chain(before) {
        if members.len() >= most {
            break;
        }
        next = next.max(at + 1);
        let Some(cells) = table.row(at, &columns) else { break };
        let member: Box<[Key]> = cells.into_iter().cloned().collect();
        let fits = member.iter().zip(&values).all(|(key, &value)| {
            let slot = child.slots.get(usize::from(value)).copied().unwrap_or_default();
            // NULL is looked up by nobody, and what the type cannot hold would fail the others; of whole numbers
            // there may be a wider one, which whoever writes them knows.
            matches!(key, Key::Integer(_)) && slot.by_value
                || key.write(slot.type_oid, false, &mut Vec::new()).is_some()
                || key.write(slot.type_oid, true, &mut Vec::new()).is_some()
        });
        if !fits || met.contains(&member) {
            continue;
        }
        let mut all = constants.to_vec();
        values.iter().zip(&member).for_each(|(&value, key)| all[usize::from(value)] = key.clone());
        // The one that is asked is not there, or it would have been served.
        if at != row && session.buffer.has(child, &all) {
            continue;
        }
        met.insert(member.clone());
        members.push(member);
    }
    (members, next)
}

/// Other loops over the same result that nearly always follow.
fn siblings(session: &mut Session, at: At, ask: &Ask<'_>, templates: &Templates, orders: &mut Vec<Order>) {
    let Some(parent) = templates.get(at.template).and_then(|template| template.parent) else { return };
    let now_us = ask.place.now_us;
    let others: Vec<u32> = templates
        .of_parent(parent)
        .filter(|other| other.id != at.template && other.rate.is_sure() && other.rate.off(now_us).is_none())
        .map(|other| other.id)
        .collect();
    for other in others {
        let Some(template) = templates.get(other).filter(|_| orders.len() <= SIBLINGS_MAX) else { return };
        let Some(table) = session.tables.get(at.table) else { return };
        let is = |held: &Loop| held.episode.template == other && held.table == at.table;
        if session.loops.iter().any(is) {
            continue;
        }
        let Some(last) = template.foresee(&table.parameters) else { continue };
        let (child, constants, forms) = (last.child, last.values, last.forms);
        if child.context != ask.child.context || !may_fetch(child.level, child.serializable, &ask.place) {
            continue;
        }
        let (_, varying) = template.columns();
        let most = KEYS_MAX.min(ask.keys_max);
        let (members, next) = members(session, table, template, &child, &constants, at.row, most, true);
        if members.len() < 2 {
            continue;
        }
        let held = session.enter(other, at.table, 1);
        let held = &mut session.loops[held];
        held.next = next;
        let (episode, what) = (held.episode, What::Keys(members));
        orders.push(Order { child, episode, constants, varying: varying.into(), forms, what });
    }
}
