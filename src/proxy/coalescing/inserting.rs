//! INSERTs that a client sends in one pipeline are done as one statement, on the client's own server. Outside of a
//! transaction it is a transaction of its own, as the pipeline would be; inside, a savepoint stands before it. When
//! it fails, all is as before, and the client's own messages follow: they bring the right answers up to the one that
//! fails, and its error.

use std::task::Context;

use super::deferring::Deferred;
use super::merging::Merging;
use crate::coalesce::insert::{Mode, ROWS_MAX, ROWS_MIN};
use crate::coalesce::replay::{Batch, Member};
use crate::coalesce::writes::WriteSet;
use crate::net::send::send;
use crate::proxy::drive::{Drive, Turn};
use crate::proxy::farewell::Farewell;
use crate::session::account::{Ask, Done};
use crate::session::pipeline::{self, RUN_BYTES, Run};
use crate::session::pipelined;
use crate::wire::reply;
use crate::wire::server::TxStatus;

/// Bytes of a pipeline that are held back until its Sync is there: a run, and one more message.
const HELD_MAX: usize = RUN_BYTES + 256 * 1024;

pub(super) const SAVEPOINT: &[u8] = b"savepoint pgw_inserts";
pub(super) const RELEASE: &[u8] = b"release savepoint pgw_inserts";
pub(super) const UNDO: &str = "rollback to savepoint pgw_inserts; release savepoint pgw_inserts";

/// What one session does of this.
#[derive(Default)]
pub(in crate::proxy) struct Inserting {
    /// A run whose messages are the input's first.
    pub(super) merging: Option<Box<Merging>>,
    /// INSERTs that are answered and not done.
    pub(super) deferred: Option<Box<Deferred>>,
    /// What these will write.
    pub(super) writes: WriteSet,
    /// Bytes of the input that are to be forwarded as they are.
    pub(super) apart: usize,
}

impl Inserting {
    /// A cancel request is on its way to the server.
    pub(in crate::proxy) fn cancel(&mut self) {
        self.merging.iter_mut().for_each(|merging| merging.cancelled = true);
    }
}

impl Drive {
    /// Looks whether the input is for INSERTs that are done as one. True: there is nothing else to do with it for now.
    #[inline]
    pub(in crate::proxy) fn take_inserts(&mut self, cx: &mut Context<'_>) -> Result<bool, Farewell> {
        Ok(self.defer_inserts(cx)? || self.merge_inserts(cx)?)
    }

    /// Looks what the server says of them, if it does them now.
    #[inline]
    pub(in crate::proxy) fn poll_inserts(&mut self, cx: &mut Context<'_>) -> Option<Turn> {
        if self.inserting.merging.is_some() {
            return Some(self.poll_merging(cx));
        }
        self.is_sending_deferred().then(|| self.poll_deferred(cx))
    }

    /// So many bytes of the input were forwarded.
    pub(in crate::proxy) fn passed_on(&mut self, size: usize) {
        self.inserting.apart = self.inserting.apart.saturating_sub(size);
        self.from_client.input.consume(size);
        self.from_client.input.release(&self.worker.slab);
    }

    /// Looks whether the input begins with INSERTs that can be done as one, and begins to do them. True: there is
    /// nothing else to do with the input for now.
    #[inline]
    fn merge_inserts(&mut self, cx: &mut Context<'_>) -> Result<bool, Farewell> {
        let in_transaction = self.session.status() == TxStatus::InTransaction;
        if self.inserting.apart > 0 || !pipeline::may_be_run(self.from_client.input.bytes(), in_transaction) {
            return Ok(false);
        }
        self.merge_run(cx)
    }

    fn merge_run(&mut self, cx: &mut Context<'_>) -> Result<bool, Farewell> {
        let (lines, now) = (self.lines.clone(), self.worker.clock.us());
        if self.insert_mode() == Mode::Off {
            return Ok(false);
        }
        let input = self.from_client.input.bytes();
        let run = {
            let mut interner = self.pool.interner.borrow_mut();
            self.session.pipeline(input, &mut interner, self.pool.epoch(), ROWS_MAX)
        };
        let Some(run) = run else {
            return Ok(false);
        };
        let Some(plan) = lines.inserts.plan(&run.statement, now) else {
            if run.rows >= ROWS_MIN {
                lines.inserts.survey(&lines, &run.statement, &self.session.baggage, now);
            }
            return Ok(false);
        };
        if run.open && input.len() < HELD_MAX {
            if self.from_client.input.is_full() {
                self.from_client.input.grow(HELD_MAX);
            }
            return Ok(true);
        }
        let in_block = run.begin.is_some() || self.session.status() == TxStatus::InTransaction;
        if run.rows < ROWS_MIN || !(run.ended || in_block) {
            return Ok(false);
        }
        let mut batch = Batch::default();
        batch.clear(&plan.replay);
        let fits = pipelined::each_bind(input, &run, |bind| {
            batch.add(&plan.replay, &Member { text: b"", slots: &[], bind: Some(bind) }).is_ok()
        });
        if !fits {
            return Ok(false);
        }
        if self.lease.is_none() {
            self.want_server()?;
            return Ok(true);
        }
        self.begin_merging(plan, run, &batch, cx)?;
        Ok(true)
    }

    /// So many bytes of the input are answered.
    pub(super) fn end_run(
        &mut self,
        answer: &[u8],
        size: usize,
        cx: &mut Context<'_>,
    ) -> Result<(), Farewell> {
        self.tell(answer, cx)?;
        self.from_client.input.consume(size);
        self.from_client.input.release(&self.worker.slab);
        let tally = std::mem::take(&mut self.session.tally);
        self.count(tally);
        self.look_again(!self.from_client.input.is_empty());
        self.settle()
    }

    pub(super) fn tell(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Result<(), Farewell> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.pool.counters.bytes_out.add(bytes.len() as u64);
        let sent = send(&mut self.client, cx, bytes, &mut self.from_server.unsent);
        self.note_unsent();
        sent.map_err(|error| Farewell::ClientLost(error.to_string()))
    }

    /// Accounts for each of them.
    pub(super) fn note_run(&mut self, run: &Run, since_us: u64) {
        if !self.pool.interner.borrow().reader.on {
            return;
        }
        let worker = self.worker.clone();
        let known = &run.statement.known;
        let Some(shape) = known.shapes.get(0) else {
            return;
        };
        let ask = |(marks, formats)| {
            let (known, shape) = (known.clone(), shape.clone());
            Ask { known, shape, marks, at_us: since_us, formats }
        };
        let mut notes = worker.notes.borrow_mut();
        pipelined::each_bind(self.from_client.input.bytes(), run, |bind| {
            notes.asks.push(ask(crate::session::account::marks_of(bind, known.marks)));
            true
        });
        self.watch_asks(&mut notes);
        drop(notes);
        let took = worker.clock.us().saturating_sub(since_us);
        let mut done = Done {
            shape: shape.clone(),
            call: true,
            rows: 1,
            bytes: 20,
            at: 0..0,
            continued: false,
            waited_us: std::mem::take(&mut self.session.account.waited_us),
            server_us: took / u64::from(run.rows.max(1)),
            sqlstate: None,
            values: None,
            original: None,
            origin: known.origin.clone(),
        };
        for _ in 0..run.rows {
            self.book_done(&done, b"");
            done.waited_us = 0;
        }
    }
}

/// Parse, Bind and Execute of a statement without parameters.
pub(super) fn execute(text: &[u8], out: &mut Vec<u8>) {
    reply::parse(out, b"", text, b"\0\0");
    reply::bind_head(out, b"", b"", NOTHING.len());
    out.extend_from_slice(&NOTHING);
    out.extend_from_slice(&reply::EXECUTE_ALL);
}

/// No formats, no values, no formats.
const NOTHING: [u8; 6] = [0; 6];
