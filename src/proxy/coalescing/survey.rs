//! Finds out whether the look-ups of a line can be asked together, and how: what is known of their shape and of the
//! tables, what PostgreSQL says of the statement. Happens once per line, beside the data path, on a borrowed server.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Lines;
use super::ahead::isolation_named;
use super::child::{self, Read};
use super::line::{Line, slot};
use super::plan::Plan;
use crate::catalog::{Catalog, Oid};
use crate::coalesce::eligible::{self, Closure, Level, Session, Sharing, Statement};
use crate::coalesce::replay::types::{ArrayType, is_safe_encoding};
use crate::coalesce::replay::{Probe, Replay, Slot, SlotKind, described};
use crate::coalesce::split::is_described;
use crate::observe::facts::Known;
use crate::pool::lend::{Lease, Pool};
use crate::pool::server::ServerError;
use crate::proxy::chore;
use crate::proxy::worker::Worker;
use crate::session::answer::Described;
use crate::sql::guard;
use crate::sql::shape::{Hole, HoleKind, Shaper};
use crate::wire::server::tag;
use crate::wire::{HEADER, reply};

/// How long the look-ups of a line go alone before another look, in µs: a shape that cannot be replayed rarely
/// changes, and what is not known yet soon is.
const REFUSED_US: u64 = 600_000_000;
const UNKNOWN_US: u64 = 1_000_000;

/// A shape is parsed, and a catalog read, soon after first use.
const KNOWN_TRIES: u32 = 24;
const KNOWN_PAUSE_FIRST: Duration = Duration::from_millis(1);
const KNOWN_PAUSE_LAST: Duration = Duration::from_millis(50);

pub fn start(lines: &Rc<Lines>, line: &Rc<Line>) {
    let (Some(worker), Some(pool)) = (lines.worker.upgrade(), lines.pool.upgrade()) else {
        return;
    };
    let (lines, line) = (lines.clone(), line.clone());
    tokio::task::spawn_local(async move {
        let found = survey(&line, &lines, &worker, &pool).await;
        worker.read_clock();
        let now = worker.clock.us();
        match found {
            Ok(plan) => {
                let plan = plan.made_at(now);
                tracing::debug!(shape = &*line.site.shape.text, "look-ups are asked together from now on");
                lines.tell(&line.site.shape, Some(plan.child.level), None);
                line.open(plan);
            }
            Err(Why::Refused(why)) => {
                tracing::debug!(shape = &*line.site.shape.text, "look-ups are not asked together: {why}");
                lines.tell(&line.site.shape, None, Some(why));
                line.close(now + REFUSED_US);
            }
            Err(Why::Unknown(why)) => {
                tracing::debug!(shape = &*line.site.shape.text, "not asked together for now: {why}");
                line.close(now + UNKNOWN_US);
            }
        }
    });
}

type Frame = Box<[u8]>;

/// What a shape depends on: to be asked together, and to be kept for later.
struct Judged {
    together: Closure,
    later: Result<Closure, String>,
}

enum Why {
    Refused(String),
    /// Not now; it may be otherwise soon.
    Unknown(String),
}

async fn survey(line: &Rc<Line>, lines: &Lines, worker: &Rc<Worker>, pool: &Rc<Pool>) -> Result<Plan, Why> {
    let epoch = lines.epoch();
    let (facts, catalog) = known(line, lines, worker, pool).await?;
    let _turn = lines.surveys.lock().await;
    let mut lease = chore::borrow(pool, &line.baggage)
        .await
        .ok_or(Why::Unknown("there was no server for it".to_owned()))?;
    let settings = lease.server().ask(SETTINGS).await.map_err(|error| Why::Unknown(error.to_string()))?;
    let settings = settings.into_iter().flatten().flatten();
    let mut settings: Vec<String> =
        settings.map(|text| String::from_utf8_lossy(&text).into_owned()).collect();
    if settings.len() < KINDS {
        return Err(broken());
    }
    let path = settings.split_off(KINDS);
    let [isolation, strings, nulls, encoding, temporary] = settings.as_slice() else {
        return Err(broken());
    };
    if strings != "on" || nulls != "on" || !is_safe_encoding(encoding) {
        lease.give_back();
        return Err(Why::Refused("a setting changes how values are read".to_owned()));
    }
    lines.isolation.set(isolation_named(isolation));
    let judged = judge(line, &facts, &catalog, (path, temporary != "0"))
        .await
        .map_err(Why::Refused)
        .and_then(|judged| {
            let (shape, settings) = (line.site.shape.fingerprint, lines.settings.borrow());
            match child::level(&settings, shape, &judged.together.tables, &catalog) {
                Some(_) => Ok(judged),
                None => Err(Why::Refused("a rule leaves it alone".to_owned())),
            }
        });
    let plan = match judged
        .and_then(|judged| Ok((probe_of(line, &judged.together).map_err(Why::Refused)?, judged)))
    {
        Ok((probe, judged)) => {
            let arrays = |oid| catalog.array_of(oid);
            let found = describe(line, &probe, &mut lease, &arrays).await;
            found.map(|found| {
                let tables = judged.later.ok().map(|closure| closure.tables);
                let facts = facts.facts();
                let read = Read { types: &found.types, tables: tables.as_deref(), facts, catalog: &catalog };
                let mut child = child::of(line, &found.described, &read, &lines.settings.borrow());
                child.statement = lines.numbers.of(line, &child.slots);
                lines.note_child(&child, line);
                let ids = {
                    let mut interner = pool.interner.borrow_mut();
                    [interner.new_id(), interner.new_id(), interner.new_id()]
                };
                Plan::new(found, child, ids, epoch)
            })
        }
        Err(why) => Err(why),
    };
    if !matches!(plan, Err(Why::Unknown(_))) {
        lease.give_back();
    }
    plan
}

/// The isolation of transactions that name none; how values are read; whether there is a schema for temporary objects;
/// and the schemas that names are searched in, as PostgreSQL resolves them.
const SETTINGS: &[u8] =
    b"SELECT pg_catalog.current_setting(n) FROM (VALUES ('default_transaction_isolation'), \
    ('standard_conforming_strings'), ('array_nulls'), ('client_encoding')) v(n) \
    UNION ALL SELECT pg_catalog.pg_my_temp_schema()::text \
    UNION ALL SELECT pg_catalog.unnest(pg_catalog.current_schemas(false))";

/// Answers in front of the schemas.
const KINDS: usize = 5;

/// What the shape says and the catalog knows.
async fn known(
    line: &Line,
    lines: &Lines,
    worker: &Worker,
    pool: &Pool,
) -> Result<(Arc<Known>, Arc<Catalog>), Why> {
    let registry = &worker.hub.registry;
    let mut pause = KNOWN_PAUSE_FIRST;
    for _ in 0..KNOWN_TRIES {
        let facts = registry.facts.get(line.site.shape.fingerprint);
        let catalog = registry.catalogs.catalog(&pool.database);
        let catalog = catalog.filter(|catalog| lines.is_fresh(catalog, worker.unix_s()));
        if let (Some(facts), Some(catalog)) = (facts, catalog) {
            return Ok((facts, catalog));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(KNOWN_PAUSE_LAST);
    }
    Err(Why::Unknown("its shape, or the catalog, is not known yet".to_owned()))
}

/// Whether facts and catalog allow it. What runs behind views and policies is parsed, which needs a deep stack.
async fn judge(
    line: &Line,
    facts: &Arc<Known>,
    catalog: &Arc<Catalog>,
    (search_path, temporary): (Vec<String>, bool),
) -> Result<Judged, String> {
    let (facts, catalog, canonical) = (facts.clone(), catalog.clone(), line.site.shape.text.to_string());
    let (tell, told) = tokio::sync::oneshot::channel();
    let judging = std::thread::Builder::new().name("judge".to_owned()).stack_size(guard::STACK);
    let judged = judging.spawn(move || {
        let closure =
            facts.facts().ok_or_else(|| "its text could not be parsed".to_owned()).and_then(|facts| {
                let statement = Statement { facts, canonical: &canonical };
                let session = Session { search_path: &search_path, temporary };
                let of = |sharing| {
                    eligible::closure(statement, &catalog, session, (Level::Strict, sharing), &eligible::read)
                };
                // Whoever keeps answers has to ask for more.
                let later = of(Sharing::Later).map_err(|reason| reason.to_string());
                let together = of(Sharing::Together).map_err(|reason| reason.to_string())?;
                Ok(Judged { together, later })
            });
        // Whoever asked may have stopped waiting.
        drop(tell.send(closure));
    });
    judged.map_err(|error| error.to_string())?;
    told.await.unwrap_or_else(|_| Err("it could not be judged".to_owned()))
}

/// The question about the statement: with parameters in place of the values that vary.
fn probe_of(line: &Line, closure: &Closure) -> Result<Probe, String> {
    let (text, literals) = (line.site.sample(), &line.site.literals);
    let slots: Vec<Slot> = match literals.is_empty() {
        true => parameters(text),
        false => literals.iter().map(|value| slot(value, 0)).collect(),
    };
    let varies = |(at, slot): (usize, &Slot)| match slot.kind {
        SlotKind::Parameter(number) => line.varying & 1 << (number - 1) != 0,
        _ => line.varying & 1 << at != 0,
    };
    let varying: Vec<bool> = slots.iter().enumerate().map(varies).collect();
    let planned = holes(text).into_iter().filter(|hole| closure.planned_holes.contains(&hole.number));
    let lifted = |start: u32| {
        let is = |(slot, varies): (&Slot, &bool)| slot.start == start && *varies;
        slots.iter().zip(&varying).any(is)
    };
    if { planned }.any(|hole| !matches!(hole.kind, HoleKind::Parameter(_)) && lifted(hole.start)) {
        return Err("an index may depend on its value being known while it is planned".to_owned());
    }
    let declared = declared_types(line);
    let typed = slots.iter().map(|slot| match slot.kind {
        SlotKind::Parameter(number) => {
            Slot { oid: declared.get(usize::from(number) - 1).copied().unwrap_or(0), ..*slot }
        }
        _ => *slot,
    });
    Probe::build(text, &typed.collect::<Vec<_>>(), &varying).map_err(|refusal| refusal.to_string())
}

/// The types that the client's Parse declared.
fn declared_types(line: &Line) -> Vec<u32> {
    let types = line.site.statement.as_ref().and_then(|statement| described(&statement.types));
    types.unwrap_or_default()
}

/// Where parameters stand in a text.
fn parameters(text: &[u8]) -> Vec<Slot> {
    let mut holes = holes(text);
    holes.retain(|hole| matches!(hole.kind, HoleKind::Parameter(_)));
    holes.sort_by_key(|hole| hole.start);
    holes.iter().map(Slot::of_hole).collect()
}

/// The values of a text of one statement.
pub(super) fn holes(text: &[u8]) -> Vec<Hole> {
    let mut holes = Vec::new();
    Shaper::default().shapes(text, true, |shape| holes.extend_from_slice(shape.holes));
    holes
}

/// What the server said of the statement.
pub struct Found {
    pub replay: Replay,
    pub described: Described,
    /// Of the parameters, and of the literals that vary behind them.
    pub types: Vec<Oid>,
}

/// Asks the server about the statement and its replay.
async fn describe(
    line: &Line,
    probe: &Probe,
    lease: &mut Lease,
    arrays: &dyn Fn(Oid) -> Option<ArrayType>,
) -> Result<Found, Why> {
    let lost = |error: ServerError| Why::Unknown(error.to_string());
    let server = lease.server();
    let mut out = Vec::new();
    probe.write_parse(b"", &mut out);
    reply::statement_target(&mut out, b'D', b"");
    out.extend_from_slice(&reply::SYNC);
    let frames = server.converse(&out).await.map_err(lost)?;
    let (mut parameters, row) = descriptions(&frames)?;
    let types = described(&parameters[HEADER..]).ok_or_else(broken)?;
    let replay = probe.replay(&types, arrays).map_err(|refusal| Why::Refused(refusal.to_string()))?;
    out.clear();
    replay.write_parse(b"", &mut out);
    reply::statement_target(&mut out, b'D', b"");
    out.extend_from_slice(&reply::SYNC);
    let frames = server.converse(&out).await.map_err(lost)?;
    server.memory.unnamed = None;
    let (_, batch_row) = descriptions(&frames)?;
    if !is_described(&batch_row[HEADER..], &row[HEADER..]) {
        return Err(Why::Refused("its rows look otherwise when it is replayed".to_owned()));
    }
    if !line.site.literals.is_empty() {
        // The client's own text has no parameters.
        let mut none = Vec::new();
        reply::frame(&mut none, tag::PARAMETER_DESCRIPTION, |out| out.extend_from_slice(&[0, 0]));
        parameters = none.into();
    }
    Ok(Found { replay, described: Described { parameters, row }, types })
}

fn broken() -> Why {
    Why::Unknown("the server described it otherwise than was expected".to_owned())
}

/// The ParameterDescription and RowDescription frames among the server's.
fn descriptions(frames: &[Frame]) -> Result<(Frame, Frame), Why> {
    if let Some(error) = frames.iter().find(|frame| frame[0] == tag::ERROR) {
        let message = crate::wire::server::error_field(&error[HEADER..], b'M').unwrap_or_default();
        return Err(Why::Refused(format!("PostgreSQL refused it: {}", String::from_utf8_lossy(message))));
    }
    let find = |tag| frames.iter().find(|frame| frame[0] == tag).cloned().ok_or_else(broken);
    Ok((find(tag::PARAMETER_DESCRIPTION)?, find(tag::ROW_DESCRIPTION)?))
}
