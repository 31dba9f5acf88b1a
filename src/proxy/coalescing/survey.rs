//! Finds out whether the look-ups of a line can be asked together, and how: what is known of their shape and of the
//! tables, what PostgreSQL says of the statement. Happens once per line, beside the data path, on a borrowed server.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::Lines;
use super::flight::borrow;
use super::line::{Line, slot};
use crate::coalesce::replay::{Probe, Replay, Slot, SlotKind, described};
use crate::coalesce::split::is_described;
use crate::pool::lend::{Lease, Pool};
use crate::pool::memory::{Memory, StatementId};
use crate::pool::server::ServerError;
use crate::pool::statement;
use crate::proxy::worker::Worker;
use crate::session::answer::Described;
use crate::sql::shape::{HoleKind, Shaper};
use crate::wire::server::tag;
use crate::wire::{HEADER, reply};

/// How the look-ups of a line are asked together.
pub struct Plan {
    pub replay: Replay,
    pub described: Described,
    /// Names its statement on servers.
    id: StatementId,
    /// Schema changes seen when it was made.
    epoch: u64,
    /// From then on it is found out again: what others change around pgweir is seen at last then.
    until_us: u64,
    /// Flights whose answers are still to be compared with those that the look-ups get alone.
    checks: Cell<u32>,
    /// Flights until the next one is compared, once all these were equal.
    until_check: Cell<u32>,
    /// Flights in a row that took longer than the look-ups would have taken one after the other.
    slow: Cell<u32>,
}

/// Flights that have to bring what their look-ups bring alone before answers are used unseen, and how many of the
/// later ones go unseen between two that are compared.
const CHECKS: u32 = 20;
const UNCHECKED: u32 = 1_000;

/// How long a plan is good, in µs.
const GOOD_US: u64 = 60_000_000;

/// So many flights in a row that are slower than their look-ups alone end the line for a while.
const SLOW_MAX: u32 = 2;

/// How long the look-ups of a line go alone before another look, in µs: a shape that cannot be replayed rarely
/// changes, and what is not known yet soon is.
const REFUSED_US: u64 = 600_000_000;
const UNKNOWN_US: u64 = 1_000_000;

/// A shape is parsed, and a catalog read, soon after first use.
const KNOWN_TRIES: u32 = 20;
const KNOWN_PAUSE: Duration = Duration::from_millis(50);

pub fn start(lines: &Rc<Lines>, line: &Rc<Line>) {
    let (Some(worker), Some(pool)) = (lines.worker.upgrade(), lines.pool.upgrade()) else {
        return;
    };
    let line = line.clone();
    tokio::task::spawn_local(async move {
        let found = survey(&line, &worker, &pool).await;
        worker.read_clock();
        let now = worker.clock.us();
        match found {
            Ok(plan) => {
                let plan = plan.good_until(now + GOOD_US);
                tracing::debug!(shape = &*line.site.shape.text, "look-ups are asked together from now on");
                line.open(plan);
            }
            Err(Why::Refused(why)) => {
                tracing::debug!(shape = &*line.site.shape.text, "look-ups are not asked together: {why}");
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

enum Why {
    Refused(String),
    /// Not now; it may be otherwise soon.
    Unknown(String),
}

async fn survey(line: &Line, worker: &Rc<Worker>, pool: &Rc<Pool>) -> Result<Plan, Why> {
    let epoch = pool.epoch();
    judge(line, worker, pool).await?;
    let probe = probe_of(line).map_err(Why::Refused)?;
    let mut lease = borrow(line, pool).await.ok_or(Why::Unknown("there was no server for it".to_owned()))?;
    let plan = describe(&probe, &mut lease, pool, epoch).await;
    if !matches!(plan, Err(Why::Unknown(_))) {
        lease.give_back();
    }
    plan
}

/// Whether facts and catalog allow it.
async fn judge(line: &Line, worker: &Rc<Worker>, pool: &Pool) -> Result<(), Why> {
    let registry = &worker.hub.registry;
    let known = || {
        let facts = registry.facts.get(line.site.shape.fingerprint)?;
        Some((facts, registry.catalogs.catalog(&pool.database)?))
    };
    let mut tries = 0;
    let (facts, catalog) = loop {
        if let Some(known) = known() {
            break known;
        }
        tries += 1;
        if tries > KNOWN_TRIES {
            return Err(Why::Unknown("its shape, or the catalog, is not known yet".to_owned()));
        }
        tokio::time::sleep(KNOWN_PAUSE).await;
    };
    let _ = catalog;
    let facts = facts.facts().ok_or_else(|| Why::Refused("its text could not be parsed".to_owned()))?;
    if facts.may_write || facts.locking.is_some() || !facts.functions.is_empty() {
        return Err(Why::Refused("it is no pure read".to_owned()));
    }
    Ok(())
}

/// The question about the statement: with parameters in place of the values that vary.
fn probe_of(line: &Line) -> Result<Probe, String> {
    let (text, slots): (&[u8], Vec<Slot>) = match &line.site.statement {
        Some(statement) if line.site.literals.is_empty() => (&statement.text, parameters(&statement.text)),
        _ => (&line.site.text, line.site.literals.iter().map(|value| slot(value, 0)).collect()),
    };
    let varies = |(at, slot): (usize, &Slot)| match slot.kind {
        SlotKind::Parameter(number) => line.varying & 1 << (number - 1) != 0,
        _ => line.varying & 1 << at != 0,
    };
    let varying: Vec<bool> = slots.iter().enumerate().map(varies).collect();
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
    let mut slots = Vec::new();
    Shaper::default().shapes(text, true, |shape| {
        let parameter = |hole: &&crate::sql::shape::Hole| matches!(hole.kind, HoleKind::Parameter(_));
        slots.extend(shape.holes.iter().filter(parameter).map(Slot::of_hole));
    });
    slots.sort_by_key(|slot| slot.start);
    slots
}

/// Asks the server about the statement and its replay.
async fn describe(probe: &Probe, lease: &mut Lease, pool: &Pool, epoch: u64) -> Result<Plan, Why> {
    let lost = |error: ServerError| Why::Unknown(error.to_string());
    let server = lease.server();
    let mut out = Vec::new();
    probe.write_parse(b"", &mut out);
    reply::statement_target(&mut out, b'D', b"");
    out.extend_from_slice(&reply::SYNC);
    let frames = server.converse(&out).await.map_err(lost)?;
    let (parameters, row) = descriptions(&frames)?;
    let types = described(&parameters[HEADER..]).ok_or_else(broken)?;
    let replay = probe.replay(&types, &|_| None).map_err(|refusal| Why::Refused(refusal.to_string()))?;
    out.clear();
    let id = pool.interner.borrow_mut().new_id();
    replay.write_parse(b"", &mut out);
    reply::statement_target(&mut out, b'D', b"");
    out.extend_from_slice(&reply::SYNC);
    let frames = server.converse(&out).await.map_err(lost)?;
    server.memory.unnamed = None;
    let (_, batch_row) = descriptions(&frames)?;
    if !is_described(&batch_row[HEADER..], &row[HEADER..]) {
        return Err(Why::Refused("its rows look otherwise when it is replayed".to_owned()));
    }
    let described = Described { parameters, row };
    let (checks, until_check) = (Cell::new(CHECKS), Cell::new(UNCHECKED));
    Ok(Plan { replay, described, id, epoch, until_us: 0, checks, until_check, slow: Cell::new(0) })
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

impl Plan {
    fn good_until(self, until_us: u64) -> Plan {
        Plan { until_us, ..self }
    }

    /// Nothing is known to have changed since it was made.
    pub fn is_good(&self, epoch: u64, now_us: u64) -> bool {
        self.epoch == epoch && now_us < self.until_us
    }

    /// Whether the next flight's answers are to be compared.
    pub fn is_due(&self) -> bool {
        if self.checks.get() > 0 {
            return true;
        }
        let left = self.until_check.get();
        self.until_check.set(if left == 0 { UNCHECKED } else { left - 1 });
        left == 0
    }

    /// A flight brought what its look-ups brought alone.
    pub fn was_equal(&self) {
        self.checks.set(self.checks.get().saturating_sub(1));
    }

    /// A flight for so many values took so long; one of them takes `alone_us` alone, 0: nobody knows. True: such
    /// flights are no gain.
    pub fn is_slow(&self, values: usize, us: u64, alone_us: u64) -> bool {
        let slow = values > 1 && alone_us > 0 && us > alone_us * values as u64;
        self.slow.set(if slow { self.slow.get() + 1 } else { 0 });
        self.slow.get() >= SLOW_MAX
    }

    /// Makes sure that the server has the statement.
    pub fn give(&self, memory: &mut Memory, out: &mut Vec<u8>) {
        if memory.knows(self.id) {
            return;
        }
        while let Some(evicted) = memory.make_room(false) {
            reply::statement_target(out, b'C', &statement::name(evicted));
        }
        memory.learn(self.id);
        self.replay.write_parse(&statement::name(self.id), out);
    }

    /// The server may not have the statement any more, or another than was thought.
    pub fn forget(&self, memory: &mut Memory) {
        memory.forget(self.id);
    }

    pub fn ask(&self, batch: &crate::coalesce::replay::Batch, out: &mut Vec<u8>) {
        batch.write_bind(&self.replay, b"", &statement::name(self.id), out);
        out.extend_from_slice(&reply::EXECUTE_ALL);
        out.extend_from_slice(&reply::SYNC);
    }
}
