//! `insert: deferred`: inside of a transaction an INSERT is acknowledged at once and kept, and those that were kept go
//! to the server as one statement per text before anything else does that could see them, COMMIT among it. An error
//! is then the answer of that other statement; if it was COMMIT, the transaction is rolled back, as when a deferred
//! constraint fails. Nothing is acknowledged before it is durable but what the transaction itself is: COMMIT is
//! answered by the server alone. Triggers' notices do not come at all, since such tables are not merged.

use std::rc::Rc;
use std::task::{Context, Poll};

use super::inserting::{RELEASE, SAVEPOINT, UNDO, execute};
use super::merged::Plan;
use crate::coalesce::insert::Mode;
use crate::coalesce::replay::{Batch, Member};
use crate::coalesce::writes::WriteSet;
use crate::net::send::send;
use crate::pool::statement::Statement;
use crate::proxy::drive::{Drive, Pace, Turn};
use crate::proxy::farewell::Farewell;
use crate::session::pipeline::Run;
use crate::session::pipelined;
use crate::wire::server::{TxStatus, parameter, sqlstate, tag};
use crate::wire::{self, HEADER, reply};

/// Different INSERTs that are kept at a time. More go to the server before the next is kept.
const TEXTS_MAX: usize = 8;

/// Bytes of INSERTs that are kept by one session.
const KEPT_MAX: usize = 1024 * 1024;

/// What is kept, and how far its way to the server is.
#[derive(Default)]
pub(super) struct Deferred {
    /// One per text, in the order in which they came first.
    kept: Vec<Kept>,
    /// All of them in order: the statement, by its place in `kept`, and where the rest of its Bind ends in `binds`.
    order: Vec<(usize, usize)>,
    binds: Vec<u8>,
    stage: Stage,
    error: Option<Box<[u8]>>,
    asides: Vec<u8>,
}

struct Kept {
    statement: Rc<Statement>,
    plan: Rc<Plan>,
    batch: Batch,
}

/// What the server is busy with.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    Kept,
    Merged,
    /// That failed, and is undone.
    Undone,
    /// One by one, to learn which fails, if any does.
    Single,
    /// One did, and what had asked for COMMIT gets a transaction that is over.
    Over,
}

impl Drive {
    /// Keeps the INSERT at the front of the input, or sends what was kept when something else is there. True: there is
    /// nothing else to do with the input for now.
    pub(super) fn defer_inserts(&mut self, cx: &mut Context<'_>) -> Result<bool, Farewell> {
        if self.inserting.deferred.is_none() && !self.may_defer() {
            return Ok(false);
        }
        if self.keep_insert(cx)? {
            return Ok(true);
        }
        if self.inserting.deferred.is_none() {
            return Ok(false);
        }
        let input = &self.from_client.input;
        let whole = wire::head(input.bytes()).is_ok_and(|head| head.is_some());
        if !whole && !input.is_full() {
            return Ok(true);
        }
        if self.session.next_ends(input.bytes()) == Some(false) {
            // Nobody will ever see them.
            self.inserting.deferred = None;
            return Ok(false);
        }
        self.send_deferred(cx)?;
        Ok(true)
    }

    fn may_defer(&self) -> bool {
        self.session.status() == TxStatus::InTransaction
            && self.inserting.apart == 0
            && self.lease.is_some()
            && self.insert_mode() == Mode::Deferred
    }

    /// What is done with INSERTs: as the client itself asks by `pgweir.insert`, or as the rules say.
    pub(super) fn insert_mode(&self) -> Mode {
        let own = self.session.baggage.settings().get(&b"pgweir.insert"[..]);
        own.and_then(|mode| Mode::read(mode)).unwrap_or(self.lines.inserts.mode.get())
    }

    fn keep_insert(&mut self, cx: &mut Context<'_>) -> Result<bool, Farewell> {
        let (lines, now) = (self.lines.clone(), self.worker.clock.us());
        let input = self.from_client.input.bytes();
        let run = {
            let mut interner = self.pool.interner.borrow_mut();
            self.session.pipeline(input, &mut interner, self.pool.epoch(), 1)
        };
        let Some(run) = run.filter(|run| run.begin.is_none()) else {
            return Ok(false);
        };
        if !run.ended {
            // The rest of one more may be on its way.
            let waits = run.open && self.inserting.deferred.is_some() && !self.from_client.input.is_full();
            return Ok(waits && lines.inserts.plan(&run.statement, now).is_some());
        }
        let Some(plan) = lines.inserts.plan(&run.statement, now) else {
            lines.inserts.survey(&lines, &run.statement, &self.session.baggage, now);
            return Ok(false);
        };
        let deferred = self.inserting.deferred.get_or_insert_default();
        if deferred.keep(input, &run, &plan).is_none() {
            // What is kept already goes first.
            let empty = deferred.order.is_empty();
            self.inserting.deferred.take_if(|_| empty);
            return Ok(false);
        }
        let writes = lines.writes_of(&run.statement.known.shapes, &self.worker, &self.pool.database);
        self.inserting.writes.add(&writes.set);
        self.note_own_write(&writes.set);
        self.answer_kept(&run, &plan, cx)?;
        Ok(true)
    }

    fn answer_kept(&mut self, run: &Run, plan: &Plan, cx: &mut Context<'_>) -> Result<(), Farewell> {
        let input = self.from_client.input.bytes();
        let mut answer = Vec::with_capacity(64);
        pipelined::write_answers(input, run, &plan.parameters, TxStatus::InTransaction, &mut answer);
        self.session.run_answered(input, run, TxStatus::InTransaction);
        self.note_run(run, self.worker.clock.us());
        self.end_run(&answer, run.size, cx)
    }

    /// Sends all that was kept.
    fn send_deferred(&mut self, cx: &mut Context<'_>) -> Result<(), Farewell> {
        let (Some(deferred), Some(lease)) = (&mut self.inserting.deferred, &mut self.lease) else {
            return Ok(());
        };
        let (server, mut out) = (lease.server(), Vec::new());
        let give = |kept: &Kept| kept.plan.give(&mut server.memory, true, &mut out);
        let parses: Vec<Vec<u8>> = deferred.kept.iter().map(give).collect();
        execute(SAVEPOINT, &mut out);
        for (kept, parse) in deferred.kept.iter().zip(parses) {
            out.extend_from_slice(&parse);
            kept.plan.ask(&kept.batch, &mut out);
        }
        execute(RELEASE, &mut out);
        out.extend_from_slice(&reply::SYNC);
        deferred.stage = Stage::Merged;
        self.session.begin_run();
        self.send_own(&out, cx)
    }

    fn send_own(&mut self, out: &[u8], cx: &mut Context<'_>) -> Result<(), Farewell> {
        self.guard_inserts();
        let Some(lease) = &mut self.lease else {
            return Ok(());
        };
        lease.server().memory.unnamed = None;
        let sent = send(&mut lease.server().stream, cx, out, &mut self.from_client.unsent);
        self.begin();
        sent.map_err(|error| self.lost_server(&error.to_string()))
    }

    /// Whether what was kept is on its way.
    pub(super) fn is_sending_deferred(&self) -> bool {
        self.inserting.deferred.as_ref().is_some_and(|deferred| deferred.stage != Stage::Kept)
    }

    /// Reads what the server says of it.
    pub(super) fn poll_deferred(&mut self, cx: &mut Context<'_>) -> Turn {
        let Some(lease) = &mut self.lease else {
            return Err(self.lost_server("the server is gone"));
        };
        match lease.server().stream.poll_fill(cx, &mut self.from_server.input, &self.worker.slab) {
            Poll::Pending => return self.watch_waiting_client(cx),
            Poll::Ready(Ok(0)) => return Err(self.lost_server("the server closed the connection")),
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return Err(self.lost_server(&error.to_string())),
        }
        let (Some(deferred), Some(lease)) = (&mut self.inserting.deferred, &mut self.lease) else {
            return Ok(Pace::Moved);
        };
        let (mut at, mut status) = (0, None);
        while status.is_none() {
            let rest = &self.from_server.input.bytes()[at..];
            let head = wire::head(rest).map_err(|bad| Farewell::ServerBroken(format!("{bad:?}")))?;
            let Some(frame) = head.and_then(|head| rest.get(..head.size)) else {
                break;
            };
            at += frame.len();
            match frame[0] {
                tag::READY => status = TxStatus::read(&frame[HEADER..]),
                tag::ERROR => deferred.error = deferred.error.take().or_else(|| Some(frame.into())),
                tag::NOTICE | tag::NOTIFICATION => deferred.asides.extend_from_slice(frame),
                tag::PARAMETER_STATUS => {
                    if let Some((name, value)) = parameter(&frame[HEADER..]) {
                        lease.server().memory.report(name, value);
                    }
                    deferred.asides.extend_from_slice(frame);
                }
                _ => {}
            }
        }
        self.from_server.input.consume(at);
        self.from_server.input.release(&self.worker.slab);
        if let Some(status) = status {
            self.deferred_ready(status, cx)?;
        }
        Ok(Pace::Moved)
    }

    fn deferred_ready(&mut self, status: TxStatus, cx: &mut Context<'_>) -> Result<(), Farewell> {
        self.acknowledge_inserts(status);
        let commits = self.session.next_ends(self.from_client.input.bytes()) == Some(true);
        let Some(deferred) = &mut self.inserting.deferred else {
            return Ok(());
        };
        let failed = deferred.error.is_some();
        // Whoever asks to cancel does not want it tried again.
        let cancelled = deferred.error.as_ref().is_some_and(|error| sqlstate(&error[HEADER..]) == *b"57014");
        if cancelled && deferred.stage == Stage::Merged {
            deferred.stage = Stage::Single;
        }
        let mut out = Vec::new();
        match (deferred.stage, status) {
            (Stage::Merged | Stage::Single, TxStatus::InTransaction) if !failed => {
                return self.deferred_done(cx);
            }
            (Stage::Merged, TxStatus::Failed) => {
                if let Some(lease) = &mut self.lease {
                    deferred.kept.iter().for_each(|kept| kept.plan.forget(&mut lease.server().memory));
                }
                (deferred.stage, deferred.error) = (Stage::Undone, None);
                reply::query(&mut out, UNDO);
            }
            (Stage::Undone, TxStatus::InTransaction) => {
                (deferred.stage, deferred.error) = (Stage::Single, None);
                deferred.write_single(&mut out);
            }
            (Stage::Single | Stage::Undone, TxStatus::Failed) if commits => {
                deferred.stage = Stage::Over;
                reply::query(&mut out, "rollback");
            }
            (Stage::Single | Stage::Undone | Stage::Over, TxStatus::Failed | TxStatus::Idle) => {
                return self.deferred_failed(status, cx);
            }
            _ => return Err(Farewell::ServerBroken("kept INSERTs ended otherwise than they can".to_owned())),
        }
        self.send_own(&out, cx)
    }

    /// The server has them: the input goes on.
    fn deferred_done(&mut self, cx: &mut Context<'_>) -> Result<(), Farewell> {
        let deferred = self.inserting.deferred.take().unwrap_or_default();
        self.inserting.writes = WriteSet::default();
        self.session.run_undone(TxStatus::InTransaction, false);
        // What made them go is not looked at again.
        self.inserting.apart =
            wire::head(self.from_client.input.bytes()).ok().flatten().map_or(0, |head| head.size);
        self.tell(&deferred.asides, cx)?;
        self.look_again(true);
        Ok(())
    }

    /// One of them fails, and the request at the front of the input gets its error.
    fn deferred_failed(&mut self, status: TxStatus, cx: &mut Context<'_>) -> Result<(), Farewell> {
        let deferred = self.inserting.deferred.take().unwrap_or_default();
        self.inserting.writes = WriteSet::default();
        let error = deferred.error.unwrap_or_default();
        let mut answer = deferred.asides;
        self.session.run_undone(status, false);
        let consumed = self.session.fail_next(self.from_client.input.bytes(), &error, status, &mut answer);
        self.end_run(&answer, consumed, cx)
    }
}

impl Deferred {
    /// Keeps the INSERT that the run is. `None`: there is no room for it, or it does not fit to the others.
    fn keep(&mut self, input: &[u8], run: &Run, plan: &Rc<Plan>) -> Option<()> {
        if self.binds.len() + run.size > KEPT_MAX {
            return None;
        }
        let place = self.kept.iter().position(|kept| kept.statement.id == run.statement.id);
        let place = match place {
            Some(place) => place,
            None if self.kept.len() >= TEXTS_MAX => return None,
            None => {
                let mut batch = Batch::default();
                batch.clear(&plan.replay);
                self.kept.push(Kept { statement: run.statement.clone(), plan: plan.clone(), batch });
                self.kept.len() - 1
            }
        };
        let kept = &mut self.kept[place];
        let (order, binds) = (&mut self.order, &mut self.binds);
        let fits = pipelined::each_bind(input, run, |bind| {
            let member = Member { text: b"", slots: &[], bind: Some(bind) };
            let added = kept.batch.add(&kept.plan.replay, &member).is_ok();
            if added {
                binds.extend_from_slice(bind.rest);
                order.push((place, binds.len()));
            }
            added
        });
        if !fits && kept.batch.is_empty() {
            self.kept.pop();
        }
        fits.then_some(())
    }

    /// All of them as they came, on the unnamed statement.
    fn write_single(&self, out: &mut Vec<u8>) {
        let (mut last, mut from) = (usize::MAX, 0);
        for &(place, end) in &self.order {
            if place != last {
                let statement = &self.kept[place].statement;
                reply::parse(out, b"", &statement.text, &statement.types);
                last = place;
            }
            let rest = &self.binds[from..end];
            reply::bind_head(out, b"", b"", rest.len());
            out.extend_from_slice(rest);
            out.extend_from_slice(&reply::EXECUTE_ALL);
            from = end;
        }
        out.extend_from_slice(&reply::SYNC);
    }
}
