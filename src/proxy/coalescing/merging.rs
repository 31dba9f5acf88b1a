//! A pipeline of INSERTs on its way as one statement: what is sent, what the server says of it, and what the client is
//! told. When it fails, all is as before, and the client's own messages follow.

use std::rc::Rc;
use std::task::{Context, Poll};

use super::inserting::{RELEASE, SAVEPOINT, UNDO, execute};
use super::merged::Plan;
use crate::coalesce::replay::Batch;
use crate::error::ClientError;
use crate::net::send::send;
use crate::proxy::control::State;
use crate::proxy::drive::{Drive, Pace, Turn};
use crate::proxy::farewell::Farewell;
use crate::session::pipeline::Run;
use crate::session::pipelined;
use crate::wire::server::{TxStatus, error_field, parameter, sqlstate, tag};
use crate::wire::{self, HEADER, reply};

/// A frame of the server's that is no error is never as long, and no error is that has been seen.
const FRAME_MAX: usize = 256 * 1024;

/// A cancel request may hit what undoes a failure; that is then asked again so many times.
const UNDO_TRIES: u32 = 4;

/// A run that is being done as one statement.
pub(super) struct Merging {
    plan: Rc<Plan>,
    run: Run,
    /// How the server stood before, and whether a group was open.
    before: TxStatus,
    group_open: bool,
    /// It failed, and so many times what it did was asked to be undone.
    undoing: u32,
    /// The savepoint is there.
    saved: bool,
    inserted: Option<u64>,
    /// The first error, as a frame.
    error: Option<Box<[u8]>>,
    /// What the server said of its own accord.
    asides: Vec<u8>,
    /// The client, or a deadline, asked to cancel.
    pub(super) cancelled: bool,
    since_us: u64,
}

impl Drive {
    /// Sends it.
    pub(super) fn begin_merging(
        &mut self,
        plan: Rc<Plan>,
        run: Run,
        batch: &Batch,
        cx: &mut Context<'_>,
    ) -> Result<(), Farewell> {
        let Some(lease) = &mut self.lease else {
            return Ok(());
        };
        let (server, before) = (lease.server(), self.session.status());
        let block = before == TxStatus::InTransaction;
        let mut out = Vec::with_capacity(batch.bytes() + 1024);
        let parse = plan.give(&mut server.memory, block, &mut out);
        match &run.begin {
            Some((begin, _)) => execute(&begin.text, &mut out),
            None if block => execute(SAVEPOINT, &mut out),
            None => {}
        }
        out.extend_from_slice(&parse);
        plan.ask(batch, &mut out);
        if block {
            execute(RELEASE, &mut out);
        }
        out.extend_from_slice(&reply::SYNC);
        server.memory.unnamed = None;
        let sent = send(&mut server.stream, cx, &out, &mut self.from_client.unsent);
        let group_open = self.session.has_open_group();
        self.session.begin_run();
        self.inserting.merging = Some(Box::new(Merging {
            plan,
            run,
            before,
            group_open,
            undoing: 0,
            saved: false,
            inserted: None,
            error: None,
            asides: Vec::new(),
            cancelled: false,
            since_us: self.worker.clock.us(),
        }));
        self.session.account.waited_us = self.waits.for_server(self.worker.clock.us());
        self.begin();
        self.control.enter(State::Active, self.worker.clock.ms());
        sent.map_err(|error| self.lost_server(&error.to_string()))
    }

    /// Reads what the server says of it.
    pub(super) fn poll_merging(&mut self, cx: &mut Context<'_>) -> Turn {
        let Some(lease) = &mut self.lease else {
            return Err(self.lost_server("the server is gone"));
        };
        match lease.server().stream.poll_fill(cx, &mut self.from_server.input, &self.worker.slab) {
            // Whoever goes away meanwhile is noticed.
            Poll::Pending => return self.watch_waiting_client(cx),
            Poll::Ready(Ok(0)) => return Err(self.merging_lost("the server closed the connection", cx)),
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return Err(self.merging_lost(&error.to_string(), cx)),
        }
        let ready = self.take_merging_frames()?;
        if self.from_server.input.is_full() && !self.from_server.input.grow(FRAME_MAX) {
            return Err(Farewell::ServerBroken("a frame is too large".to_owned()));
        }
        self.from_server.input.release(&self.worker.slab);
        match ready {
            Some(status) => self.merging_ready(status, cx)?,
            None => return Ok(Pace::Moved),
        }
        Ok(Pace::Moved)
    }

    /// Takes whole frames up to ReadyForQuery, and returns its status.
    fn take_merging_frames(&mut self) -> Result<Option<TxStatus>, Farewell> {
        let (Some(merging), Some(lease)) = (&mut self.inserting.merging, &mut self.lease) else {
            return Ok(None);
        };
        let (mut at, mut status) = (0, None);
        while status.is_none() {
            let rest = &self.from_server.input.bytes()[at..];
            let head = wire::head(rest).map_err(|bad| Farewell::ServerBroken(format!("{bad:?}")))?;
            let Some(frame) = head.and_then(|head| rest.get(..head.size)) else {
                break;
            };
            at += frame.len();
            let body = &frame[HEADER..];
            match frame[0] {
                tag::READY => {
                    status = TxStatus::read(body);
                    if status.is_none() {
                        return Err(Farewell::ServerBroken("a ReadyForQuery without a status".to_owned()));
                    }
                }
                tag::ERROR => merging.error = merging.error.take().or_else(|| Some(frame.into())),
                tag::COMMAND_COMPLETE => merging.complete(body),
                tag::PARAMETER_STATUS => {
                    if let Some((name, value)) = parameter(body) {
                        lease.server().memory.report(name, value);
                    }
                    merging.asides.extend_from_slice(frame);
                }
                tag::NOTICE | tag::NOTIFICATION => merging.asides.extend_from_slice(frame),
                tag::PARSE_COMPLETE | tag::BIND_COMPLETE | tag::CLOSE_COMPLETE | tag::NO_DATA => {}
                other => {
                    let what = format!("an answer of type {} that was not asked for", other.escape_ascii());
                    return Err(Farewell::ServerBroken(what));
                }
            }
        }
        self.from_server.input.consume(at);
        Ok(status)
    }

    /// It is done, or failed, or was undone.
    fn merging_ready(&mut self, status: TxStatus, cx: &mut Context<'_>) -> Result<(), Farewell> {
        let Some(mut merging) = self.inserting.merging.take() else {
            return Ok(());
        };
        let block = merging.before == TxStatus::InTransaction || merging.run.begin.is_some();
        if merging.undoing > 0 {
            if status != merging.before && merging.undoing < UNDO_TRIES {
                return self.undo_merging(merging, cx);
            }
            if status != merging.before {
                return Err(Farewell::ServerBroken("what failed could not be undone".to_owned()));
            }
            return self.go_alone(&merging, cx);
        }
        if merging.error.is_none() && merging.inserted == Some(merging.run.rows.into()) {
            let expected = if block { TxStatus::InTransaction } else { TxStatus::Idle };
            if status != expected {
                return Err(Farewell::ServerBroken("the transaction ended by itself".to_owned()));
            }
            return self.answer_run(&merging, status, cx);
        }
        let inserts = &self.lines.inserts;
        inserts.note(&merging.run.statement, &merging.plan, false, self.worker.clock.us());
        if let Some(lease) = &mut self.lease {
            merging.plan.forget(&mut lease.server().memory);
        }
        let cancelled = merging
            .error
            .as_ref()
            .is_some_and(|error| merging.cancelled && sqlstate(&error[HEADER..]) == *b"57014");
        let no_savepoint = merging.before == TxStatus::InTransaction && !merging.saved;
        if let Some(error) = merging.error.take_if(|_| cancelled || no_savepoint) {
            return self.answer_failure(&merging, &error, status, cx);
        }
        if status == merging.before && merging.error.is_some() {
            return self.go_alone(&merging, cx);
        }
        if !block {
            // The table is not any more what it was found to be.
            let message = "pgweir merged INSERTs of which not all were done, and does not know which";
            return Err(Farewell::Refused(ClientError::fatal("XX000", message)));
        }
        self.undo_merging(merging, cx)
    }

    fn undo_merging(&mut self, mut merging: Box<Merging>, cx: &mut Context<'_>) -> Result<(), Farewell> {
        let undo = if merging.run.begin.is_some() { "rollback" } else { UNDO };
        let mut out = Vec::new();
        reply::query(&mut out, undo);
        merging.undoing += 1;
        self.inserting.merging = Some(merging);
        let Some(lease) = &mut self.lease else {
            return Ok(());
        };
        let sent = send(&mut lease.server().stream, cx, &out, &mut self.from_client.unsent);
        sent.map_err(|error| self.lost_server(&error.to_string()))
    }

    /// The client's own messages go to the server as they came.
    fn go_alone(&mut self, merging: &Merging, cx: &mut Context<'_>) -> Result<(), Farewell> {
        tracing::debug!(rows = merging.run.rows, "INSERTs failed as one, and follow one by one");
        self.session.run_undone(merging.before, merging.group_open);
        self.inserting.apart = merging.run.size;
        self.tell(&merging.asides, cx)?;
        self.look_again(true);
        Ok(())
    }

    fn answer_run(
        &mut self,
        merging: &Merging,
        status: TxStatus,
        cx: &mut Context<'_>,
    ) -> Result<(), Farewell> {
        let run = &merging.run;
        let input = self.from_client.input.bytes();
        let mut answer = merging.asides.clone();
        answer.reserve(input.len().min(run.rows as usize * 40));
        pipelined::write_answers(input, run, &merging.plan.parameters, status, &mut answer);
        self.session.run_answered(input, run, status);
        self.lines.inserts.note(&run.statement, &merging.plan, true, self.worker.clock.us());
        self.note_run(run, merging.since_us);
        self.end_run(&answer, run.size, cx)
    }

    /// The first of them failed, and nothing was done.
    fn answer_failure(
        &mut self,
        merging: &Merging,
        error: &[u8],
        status: TxStatus,
        cx: &mut Context<'_>,
    ) -> Result<(), Farewell> {
        let run = &merging.run;
        let input = self.from_client.input.bytes();
        let mut answer = merging.asides.clone();
        let parameters = (&*merging.plan.parameters, error);
        let end = pipelined::write_failure(input, run, parameters, status, &mut answer);
        self.session.run_failed(input, run, end, status);
        self.session.tally.error = Some(sqlstate(&error[HEADER..]));
        self.end_run(&answer, end.0, cx)
    }

    /// The server went away; the client is told what it said last.
    fn merging_lost(&mut self, why: &str, cx: &mut Context<'_>) -> Farewell {
        let error = self.inserting.merging.take().and_then(|merging| merging.error);
        let said =
            error.filter(|error| matches!(error_field(&error[HEADER..], b'V'), Some(b"FATAL" | b"PANIC")));
        if let Some(error) = said {
            self.session.server_said_goodbye = true;
            if let Err(farewell) = self.tell(&error, cx) {
                return farewell;
            }
        }
        self.lost_server(why)
    }
}

impl Merging {
    fn complete(&mut self, tag: &[u8]) {
        let tag = tag.strip_suffix(b"\0").unwrap_or(tag);
        if tag == b"SAVEPOINT" {
            self.saved = true;
        } else if let Some(count) = tag.strip_prefix(b"INSERT 0 ") {
            self.inserted = str::from_utf8(count).ok().and_then(|count| count.parse().ok());
        }
    }
}
