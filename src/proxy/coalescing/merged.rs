//! What is known of each INSERT that clients send in pipelines: whether many may be done as one statement, and how.
//! Found out once per statement, beside the data path, on a borrowed server that carries what its client expects.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::Lines;
use crate::catalog::Oid;
use crate::coalesce::insert::{Mode, Refusal, merged, question};
use crate::coalesce::replay::types::{self, ArrayType};
use crate::coalesce::replay::{Batch, Replay, described};
use crate::pool::baggage::Baggage;
use crate::pool::lend::{Lease, Pool};
use crate::pool::memory::{Memory, StatementId};
use crate::pool::server::{Server, ServerError};
use crate::pool::statement::{self, Statement};
use crate::proxy::chore;
use crate::sql::insert::Insert;
use crate::wire::server::tag;
use crate::wire::{HEADER, reply};

/// Statements followed per pool and worker.
const SITES_MAX: usize = 1_000;

/// How long what was found out is good, in µs: a change of the schema that pgweir did not see is seen then.
const GOOD_US: u64 = 60_000_000;

/// How long an INSERT that stays as it is, is not looked at again; the same when it could not be found out.
const REFUSED_US: u64 = 60_000_000;
const UNKNOWN_US: u64 = 1_000_000;

/// So many merged statements in a row that failed, and the INSERTs go as they come for a while, in µs: clients that
/// count on errors would pay for each twice.
const FAILURES_MAX: u32 = 8;
const FAILED_US: u64 = 10_000_000;

/// The INSERTs of one pool on one worker.
#[derive(Default)]
pub struct Inserts {
    pub mode: Cell<Mode>,
    sites: RefCell<HashMap<StatementId, Rc<Site>, foldhash::fast::RandomState>>,
}

/// One INSERT. Its statement's number stands for its text, its client's settings and the schema.
pub struct Site {
    stage: RefCell<Stage>,
}

enum Stage {
    Surveyed,
    Open(Rc<Plan>),
    /// They go as they come until this time of the worker's clock.
    Closed {
        until_us: u64,
    },
}

/// How many are done as one.
pub struct Plan {
    pub replay: Replay,
    /// The ParameterDescription frame of the original.
    pub parameters: Box<[u8]>,
    id: StatementId,
    until_us: u64,
    failures: Cell<u32>,
}

impl Inserts {
    /// How to merge this INSERT, if that is known and good.
    pub fn plan(&self, statement: &Statement, now_us: u64) -> Option<Rc<Plan>> {
        let sites = self.sites.borrow();
        let stage = sites.get(&statement.id)?.stage.borrow();
        match &*stage {
            Stage::Open(plan) if now_us < plan.until_us => Some(plan.clone()),
            _ => None,
        }
    }

    /// Begins to find out about it, unless that is known or under way.
    pub fn survey(&self, lines: &Rc<Lines>, statement: &Rc<Statement>, baggage: &Rc<Baggage>, now_us: u64) {
        let site = self.site(statement);
        let due = match &*site.stage.borrow() {
            Stage::Surveyed => false,
            Stage::Open(plan) => now_us >= plan.until_us,
            Stage::Closed { until_us } => now_us >= *until_us,
        };
        let Some(pool) = lines.pool.upgrade().filter(|_| due) else {
            return;
        };
        *site.stage.borrow_mut() = Stage::Surveyed;
        let (statement, baggage, lines) = (statement.clone(), baggage.clone(), lines.clone());
        tokio::task::spawn_local(async move {
            let found = {
                let _turn = lines.surveys.lock().await;
                survey(&statement, &baggage, &pool).await
            };
            let Some(worker) = lines.worker.upgrade() else {
                return;
            };
            worker.read_clock();
            let now = worker.clock.us();
            let text = String::from_utf8_lossy(&statement.text);
            *site.stage.borrow_mut() = match found {
                Ok(plan) => {
                    tracing::debug!(statement = &*text, "pipelined INSERTs become one from now on");
                    Stage::Open(Rc::new(Plan { until_us: now + GOOD_US, ..plan }))
                }
                Err(Why::Refused(why)) => {
                    tracing::debug!(statement = &*text, "pipelined INSERTs stay as they are: {why}");
                    Stage::Closed { until_us: now + REFUSED_US }
                }
                Err(Why::Unknown(why)) => {
                    tracing::debug!(statement = &*text, "pipelined INSERTs stay as they are for now: {why}");
                    Stage::Closed { until_us: now + UNKNOWN_US }
                }
            };
        });
    }

    /// A merged statement was done, or failed where its originals may not.
    pub fn note(&self, statement: &Statement, plan: &Plan, done: bool, now_us: u64) {
        plan.failures.set(if done { 0 } else { plan.failures.get() + 1 });
        if plan.failures.get() >= FAILURES_MAX {
            tracing::debug!(
                "pipelined INSERTs of one text failed again and again, and go as they come for a while"
            );
            *self.site(statement).stage.borrow_mut() = Stage::Closed { until_us: now_us + FAILED_US };
        }
    }

    fn site(&self, statement: &Statement) -> Rc<Site> {
        let mut sites = self.sites.borrow_mut();
        if sites.len() >= SITES_MAX && !sites.contains_key(&statement.id) {
            // Those in use come back at once, and learn anew.
            sites.clear();
        }
        let new = || Rc::new(Site { stage: RefCell::new(Stage::Closed { until_us: 0 }) });
        sites.entry(statement.id).or_insert_with(new).clone()
    }
}

impl Plan {
    /// Makes sure that the server has the statement: makes room for it, and returns what parses it. That may fail,
    /// and belongs behind a savepoint.
    pub fn give(&self, memory: &mut Memory, in_transaction: bool, out: &mut Vec<u8>) -> Vec<u8> {
        let mut parse = Vec::new();
        if memory.knows(self.id) {
            return parse;
        }
        while let Some(evicted) = memory.make_room(in_transaction) {
            reply::statement_target(out, b'C', &statement::name(evicted));
        }
        // After a failure nobody knows whether the server has it.
        reply::statement_target(out, b'C', &statement::name(self.id));
        memory.learn(self.id);
        self.replay.write_parse(&statement::name(self.id), &mut parse);
        parse
    }

    pub fn forget(&self, memory: &mut Memory) {
        memory.forget(self.id);
    }

    pub fn ask(&self, batch: &Batch, out: &mut Vec<u8>) {
        batch.write_bind(&self.replay, b"", &statement::name(self.id), out);
        out.extend_from_slice(&reply::EXECUTE_ALL);
    }
}

enum Why {
    Refused(String),
    /// Not now; it may be otherwise soon.
    Unknown(String),
}

fn lost(error: ServerError) -> Why {
    match error {
        ServerError::Refused { message, .. } => {
            Why::Refused(format!("PostgreSQL refused a question: {message}"))
        }
        error => Why::Unknown(error.to_string()),
    }
}

async fn survey(statement: &Statement, baggage: &Rc<Baggage>, pool: &Rc<Pool>) -> Result<Plan, Why> {
    let insert = Insert::read(&statement.text).map_err(|why| Why::Refused(Refusal::Text(why).to_string()))?;
    let mut lease =
        chore::borrow(pool, baggage).await.ok_or(Why::Unknown("there was no server for it".to_owned()))?;
    let plan = find_out(statement, &insert, &mut lease, pool).await;
    if !matches!(plan, Err(Why::Unknown(_))) {
        lease.give_back();
    }
    plan
}

async fn find_out(
    statement: &Statement,
    insert: &Insert,
    lease: &mut Lease,
    pool: &Pool,
) -> Result<Plan, Why> {
    let server = lease.server();
    if !server.memory.standard_strings {
        return Err(Why::Refused("standard_conforming_strings is off in the session".to_owned()));
    }
    let rows = server.ask(&question::named(&statement.text[insert.table.clone()])).await.map_err(lost)?;
    let table = question::read_named(&rows).map_err(Why::Refused)?;
    let rows = server.ask(&question::reasons(table, &insert.functions)).await.map_err(lost)?;
    let reasons = question::read_reasons(&rows);
    if !reasons.is_empty() {
        return Err(Why::Refused(Refusal::Table(reasons.join("; ")).to_string()));
    }
    let parameters = describe(server, &statement.text, &statement.types).await?;
    let types = described(&parameters[HEADER..]).ok_or_else(broken)?;
    let arrays = arrays(server, &types).await?;
    let known = |oid: Oid| arrays.iter().find(|(element, _)| *element == oid).map(|(_, array)| *array);
    let replay =
        merged(&statement.text, insert, &types, &known).map_err(|why| Why::Refused(why.to_string()))?;
    let mut parse = Vec::new();
    replay.write_parse(b"", &mut parse);
    describe_message(server, parse).await?;
    let id = pool.interner.borrow_mut().new_id();
    Ok(Plan { replay, parameters, id, until_us: 0, failures: Cell::new(0) })
}

/// The array types of those that are not PostgreSQL's own.
async fn arrays(server: &mut Server, types: &[Oid]) -> Result<Vec<(Oid, ArrayType)>, Why> {
    let others: Vec<Oid> = types.iter().copied().filter(|&oid| types::builtin(oid).is_none()).collect();
    if others.is_empty() {
        return Ok(Vec::new());
    }
    let rows = server.ask(&question::arrays(&others)).await.map_err(lost)?;
    Ok(question::read_arrays(&rows))
}

/// The ParameterDescription of a statement that brings no rows.
async fn describe(server: &mut Server, text: &[u8], types: &[u8]) -> Result<Box<[u8]>, Why> {
    let mut parse = Vec::new();
    reply::parse(&mut parse, b"", text, types);
    describe_message(server, parse).await
}

async fn describe_message(server: &mut Server, mut messages: Vec<u8>) -> Result<Box<[u8]>, Why> {
    reply::statement_target(&mut messages, b'D', b"");
    messages.extend_from_slice(&reply::SYNC);
    server.memory.unnamed = None;
    let frames = server.converse(&messages).await.map_err(lost)?;
    if let Some(error) = frames.iter().find(|frame| frame[0] == tag::ERROR) {
        let message = crate::wire::server::error_field(&error[HEADER..], b'M').unwrap_or_default();
        return Err(Why::Refused(format!("PostgreSQL refused it: {}", String::from_utf8_lossy(message))));
    }
    if !frames.iter().any(|frame| frame[0] == tag::NO_DATA) {
        return Err(Why::Refused("it brings rows".to_owned()));
    }
    frames.into_iter().find(|frame| frame[0] == tag::PARAMETER_DESCRIPTION).ok_or_else(broken)
}

fn broken() -> Why {
    Why::Unknown("the server described it otherwise than was expected".to_owned())
}
