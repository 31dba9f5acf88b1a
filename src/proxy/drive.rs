//! The loop that moves bytes on the data path: socket ⇄ `Session` ⇄ `Lease`, one future per client.
//! It reads what is ready, lets the session decide, writes what came out, and waits. It decides nothing
//! about the protocol.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::control::{Control, State, Wish};
use super::farewell::Farewell;
use super::worker::Worker;
use super::{chore, farewell};
use crate::error::ClientError;
use crate::net::buffer::Window;
use crate::net::bulk::Bulk;
use crate::net::stream::Stream;
use crate::pool::baggage::Text;
use crate::pool::lend::{Lease, Pool, Ticket};
use crate::pool::server::ServerError;
use crate::pool::settings::PoolMode;
use crate::session::settings::State as ServerState;
use crate::session::{Desk, HOLD_MAX, Need, Rest, Session, Tally};
use crate::wire::HEADER;
use crate::wire::server::TxStatus;

/// Bursts one session may move before others get their turn.
const BURSTS: usize = 16;

/// Unsent answers beyond which a client's requests are left unread.
const UNSENT_MAX: usize = 64 * 1024;

/// Unsent bytes of a burst are kept, and nothing more is read, until they are gone.
#[derive(Default)]
pub struct Side {
    pub input: Window,
    pub unsent: Vec<u8>,
    bulk: Bulk,
}

/// What comes back from a chore.
type Chore =
    Pin<Box<dyn Future<Output = Result<(Lease, Option<Option<ServerState>>), ServerError>>>>;

/// One client, logged in.
pub struct Drive {
    pub worker: Rc<Worker>,
    pub pool: Rc<Pool>,
    pub control: Rc<Control>,
    pub session: Session,
    pub client: Stream,
    pub from_client: Side,
    pub lease: Option<Lease>,
    pub from_server: Side,
    pub ticket: Option<Ticket>,
    chore: Option<Chore>,
    /// Session mode: the parameters its server has to be opened with.
    pub startup: Option<Arc<[(Text, Text)]>>,
    /// The client's input waits for a server.
    wants_server: bool,
    pub draining: bool,
    /// Cancel requests on their way to the server; until they are through it serves nobody else.
    pub cancelling: Rc<std::cell::Cell<u32>>,
    started_us: u64,
    transaction_us: u64,
}

/// Why the loop stops for now.
enum Pace {
    /// Something moved; look again.
    Moved,
    /// Nothing to do before the next wake-up.
    Still,
}

type Turn = Result<Pace, Farewell>;

impl Future for Drive {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let drive = self.get_mut();
        drive.worker.read_clock();
        drive.control.listen(cx.waker());
        match drive.turns(cx) {
            Ok(()) => Poll::Pending,
            Err(farewell) => {
                farewell::part(drive, farewell, cx);
                Poll::Ready(())
            }
        }
    }
}

impl Drive {
    pub fn new(
        worker: Rc<Worker>,
        control: Rc<Control>,
        session: Session,
        client: Stream,
        lease: Option<Lease>,
        startup: Option<Arc<[(Text, Text)]>>,
    ) -> Self {
        let mut drive = Drive {
            worker,
            pool: control.pool.clone(),
            control,
            session,
            client,
            from_client: Side::default(),
            lease: None,
            from_server: Side::default(),
            ticket: None,
            chore: None,
            startup,
            wants_server: false,
            draining: false,
            cancelling: Rc::default(),
            started_us: 0,
            transaction_us: 0,
        };
        if let Some(lease) = lease {
            drive.adopt(lease);
        }
        drive
    }

    /// Takes over bytes that the client sent ahead during its login.
    pub fn preload(&mut self, bytes: &[u8]) {
        self.from_client.input.preload(bytes, &self.worker.slab);
        self.wants_server = !bytes.is_empty();
    }

    fn turns(&mut self, cx: &mut Context<'_>) -> Result<(), Farewell> {
        if let Some(wish) = self.control.take_wish() {
            self.heed(wish, cx)?;
        }
        self.flush(cx)?;
        for _ in 0..BURSTS {
            if let Pace::Still = self.turn(cx)? {
                return Ok(());
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Turn {
        if self.chore.is_some() {
            return self.poll_chore(cx);
        }
        if self.ticket.is_some() {
            return self.poll_ticket(cx);
        }
        let mut moved = false;
        if self.lease.is_some() {
            moved |= self.pull_server(cx)?;
            if self.chore.is_some() {
                return Ok(Pace::Moved);
            }
        }
        moved |= self.pull_client(cx)?;
        Ok(if moved { Pace::Moved } else { Pace::Still })
    }

    // --- from the server ---

    /// Reads what the server sent and passes it on.
    fn pull_server(&mut self, cx: &mut Context<'_>) -> Result<bool, Farewell> {
        if !self.from_server.unsent.is_empty() {
            return Ok(false);
        }
        let Some(lease) = &mut self.lease else {
            return Ok(false);
        };
        match lease
            .server()
            .stream
            .poll_fill(cx, &mut self.from_server.input, &self.worker.slab)
        {
            Poll::Pending => {
                self.from_server.bulk.poll(&lease.server().stream, cx);
                return Ok(false);
            }
            Poll::Ready(Ok(0)) => return Err(self.lost_server("the server closed the connection")),
            Poll::Ready(Ok(n)) => self.from_server.bulk.moved(n, &lease.server().stream),
            Poll::Ready(Err(error)) => return Err(self.lost_server(&error.to_string())),
        }
        self.on_server(cx)?;
        Ok(true)
    }

    fn on_server(&mut self, cx: &mut Context<'_>) -> Result<(), Farewell> {
        let Some(lease) = &mut self.lease else {
            return Ok(());
        };
        let worker = self.worker.clone();
        let mut outs = worker.outs.borrow_mut();
        let (to_server, to_client) = &mut *outs;
        let input = self.from_server.input.bytes();
        let step = {
            let mut interner = self.pool.interner.borrow_mut();
            let mut desk = Desk {
                memory: Some(&mut lease.server().memory),
                interner: &mut interner,
                epoch: self.pool.epoch(),
                to_server,
                to_client,
            };
            self.session.on_server(input, &mut desk)
        };
        let bytes = to_client.bytes(input);
        self.pool.counters.bytes_out.add(bytes.len() as u64);
        let sent = send(&mut self.client, cx, bytes, &mut self.from_server.unsent);
        to_client.clear();
        // A group of messages that is sent once more.
        let again = to_server.bytes(&[]);
        let mut server_sent = Ok(());
        if !again.is_empty() {
            let stream = &mut lease.server().stream;
            server_sent = send(stream, cx, again, &mut self.from_client.unsent);
            to_server.clear();
        }
        drop(outs);
        self.from_server.input.consume(step.consumed);
        self.from_server.input.release(&self.worker.slab);
        sent.map_err(|error| Farewell::ClientLost(error.to_string()))?;
        server_sent.map_err(|error| self.lost_server(&error.to_string()))?;
        if let Need::Broken(what) = step.need {
            return Err(Farewell::ServerBroken(what));
        }
        self.settle()
    }

    /// Lets the server go when nothing keeps it.
    fn settle(&mut self) -> Result<(), Farewell> {
        let tally = std::mem::take(&mut self.session.tally);
        self.count(tally);
        if !self.from_client.unsent.is_empty() || !self.from_server.input.is_empty() {
            return Ok(());
        }
        let rest = self.session.rest();
        if rest != Rest::Busy {
            self.from_client.bulk.end(&self.client);
            if let Some(lease) = &mut self.lease {
                self.from_server.bulk.end(&lease.server().stream);
            }
        }
        match rest {
            Rest::Busy => return Ok(()),
            Rest::Keep
                if self.session.mode == PoolMode::Statement
                    && self.session.status() != TxStatus::Idle =>
            {
                let message = "transaction blocks are not allowed in statement pooling mode";
                return Err(Farewell::Refused(
                    ClientError::fatal("0A000", message)
                        .hint("Use pool mode transaction for this database."),
                ));
            }
            Rest::Keep => self.stay(),
            // A cancel request on its way must not hit pgweir's own question.
            Rest::Ask if self.cancelling.get() > 0 => {
                self.control.enter(State::Idle, self.worker.clock.ms());
            }
            Rest::Ask => self.inspect(),
            Rest::Release => self.release(),
        }
        if self.session.take_schema_change() {
            self.pool.schema_changed();
        }
        if self.draining && self.chore.is_none() && self.session.is_clean() {
            return Err(Farewell::Refused(farewell::shutting_down()));
        }
        Ok(())
    }

    fn stay(&mut self) {
        let now = self.worker.clock.ms();
        let pinned = self.session.pins.first().copied();
        let state = match (self.session.status(), pinned) {
            (TxStatus::Idle, Some(_)) => State::Pinned,
            (TxStatus::Idle, None) => State::Idle,
            _ => State::InTransaction,
        };
        self.control.enter(state, now);
        self.pin(pinned);
    }

    /// Shows in the metrics why the server stays.
    pub fn pin(&mut self, reason: Option<crate::observe::counters::PinReason>) {
        let before = self.control.pinned_by.replace(reason);
        if before != reason {
            let counters = &self.pool.counters;
            before.inspect(|&reason| counters.pinned(reason).add(-1));
            reason.inspect(|&reason| counters.pinned(reason).add(1));
        }
    }

    fn release(&mut self) {
        if self.cancelling.get() > 0 {
            return self.control.enter(State::Idle, self.worker.clock.ms());
        }
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
        self.session.part();
        self.pin(None);
        self.control.server_pid.set(0);
        self.control.enter(State::Idle, self.worker.clock.ms());
    }

    fn inspect(&mut self) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        let login = self.pool.config.borrow().login.user.clone();
        let custom = self.session.custom_settings();
        self.chore = Some(Box::pin(async move {
            let (lease, state) = chore::inspect(lease, login, custom).await?;
            Ok((lease, Some(state)))
        }));
    }

    // --- from the client ---

    /// Reads what the client sent and passes it on.
    fn pull_client(&mut self, cx: &mut Context<'_>) -> Result<bool, Farewell> {
        // Whoever does not read answers is asked for no more questions: pgweir answers some of them itself.
        if !self.from_client.unsent.is_empty() || self.from_server.unsent.len() > UNSENT_MAX {
            return Ok(false);
        }
        if !self.wants_server {
            match self
                .client
                .poll_fill(cx, &mut self.from_client.input, &self.worker.slab)
            {
                Poll::Pending => {
                    self.from_client.bulk.poll(&self.client, cx);
                    return Ok(false);
                }
                Poll::Ready(Ok(0)) => return Err(Farewell::ClientLeft),
                Poll::Ready(Ok(n)) => {
                    self.pool.counters.bytes_in.add(n as u64);
                    self.from_client.bulk.moved(n, &self.client);
                }
                Poll::Ready(Err(error)) => return Err(Farewell::ClientLost(error.to_string())),
            }
        }
        self.wants_server = false;
        self.on_client(cx)?;
        Ok(true)
    }

    fn on_client(&mut self, cx: &mut Context<'_>) -> Result<(), Farewell> {
        let worker = self.worker.clone();
        let mut outs = worker.outs.borrow_mut();
        let (to_server, to_client) = &mut *outs;
        let input = self.from_client.input.bytes();
        let step = {
            let mut interner = self.pool.interner.borrow_mut();
            let mut desk = Desk {
                memory: self.lease.as_mut().map(|lease| &mut lease.server().memory),
                interner: &mut interner,
                epoch: self.pool.epoch(),
                to_server,
                to_client,
            };
            self.session.on_client(input, &mut desk)
        };
        let mut sent = Ok(());
        if !to_client.is_empty() {
            sent = send(
                &mut self.client,
                cx,
                to_client.bytes(input),
                &mut self.from_server.unsent,
            );
        }
        let mut server_sent = Ok(());
        if !to_server.is_empty()
            && let Some(lease) = &mut self.lease
        {
            let bytes = to_server.bytes(input);
            server_sent = send(
                &mut lease.server().stream,
                cx,
                bytes,
                &mut self.from_client.unsent,
            );
            self.begin();
        }
        to_client.clear();
        to_server.clear();
        drop(outs);
        self.from_client.input.consume(step.consumed);
        self.from_client.input.release(&self.worker.slab);
        sent.map_err(|error| Farewell::ClientLost(error.to_string()))?;
        server_sent.or_else(|error| self.write_failed(&error))?;
        let tally = std::mem::take(&mut self.session.tally);
        self.count(tally);
        self.meet(step.need)
    }

    /// A server that cannot be written to may still have said why.
    fn write_failed(&mut self, error: &std::io::Error) -> Result<(), Farewell> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match self.pull_server(&mut cx) {
            Err(farewell) => Err(farewell),
            Ok(_) => Err(self.lost_server(&error.to_string())),
        }
    }

    fn meet(&mut self, need: Need) -> Result<(), Farewell> {
        match need {
            Need::Bytes(size) => {
                if size > crate::net::buffer::BUFFER && !self.from_client.input.is_empty() {
                    while self.from_client.input.capacity() < size
                        && self.from_client.input.grow(2 * HOLD_MAX + HEADER)
                    {}
                }
                Ok(())
            }
            Need::Server => self.want_server(),
            Need::Close => Err(Farewell::ClientLeft),
            Need::Refuse(error) => Err(Farewell::Refused(error)),
            Need::Broken(what) => Err(Farewell::ServerBroken(what)),
        }
    }

    fn want_server(&mut self) -> Result<(), Farewell> {
        if self.draining {
            return Err(Farewell::Refused(farewell::shutting_down()));
        }
        self.wants_server = true;
        match self.pool.take(self.startup.as_ref(), &self.session.baggage) {
            Some(lease) => {
                self.pool.counters.queue_wait.observe_us(0);
                self.adopt(lease);
            }
            None => {
                self.control.enter(State::Waiting, self.worker.clock.ms());
                self.ticket = Some(self.pool.queue(self.startup.as_ref()));
            }
        }
        Ok(())
    }

    /// A server was lent: make it carry what the client expects, then go on with the client's input.
    fn adopt(&mut self, mut lease: Lease) {
        let server = lease.server();
        self.control.server_pid.set(server.key.pid);
        self.control.enter(State::Active, self.worker.clock.ms());
        self.started_us = self.worker.clock.us();
        if self.session.mode == PoolMode::Session || *server.memory.baggage == *self.session.baggage
        {
            self.lease = Some(lease);
            return;
        }
        let wanted = self.session.baggage.clone();
        self.chore = Some(Box::pin(async move {
            Ok((chore::align(lease, wanted).await?, None))
        }));
    }

    // --- waiting ---

    fn poll_ticket(&mut self, cx: &mut Context<'_>) -> Turn {
        let Some(ticket) = &self.ticket else {
            return Ok(Pace::Moved);
        };
        let since = ticket.since_us();
        let lease = match ticket.poll(cx) {
            Poll::Ready(lease) => lease,
            Poll::Pending => return self.watch_waiting_client(cx),
        };
        self.ticket = None;
        let lease = lease.map_err(Farewell::Refused)?;
        self.pool
            .counters
            .queue_wait
            .observe_us(self.worker.clock.us() - since);
        self.adopt(lease);
        Ok(Pace::Moved)
    }

    /// A client that leaves the queue gives its place to the next. Its further input waits with it.
    fn watch_waiting_client(&mut self, cx: &mut Context<'_>) -> Turn {
        match self
            .client
            .poll_fill(cx, &mut self.from_client.input, &self.worker.slab)
        {
            Poll::Pending => Ok(Pace::Still),
            Poll::Ready(Ok(0)) => Err(Farewell::ClientLeft),
            Poll::Ready(Ok(n)) => {
                self.pool.counters.bytes_in.add(n as u64);
                Ok(Pace::Moved)
            }
            Poll::Ready(Err(error)) => Err(Farewell::ClientLost(error.to_string())),
        }
    }

    fn poll_chore(&mut self, cx: &mut Context<'_>) -> Turn {
        let Some(chore) = &mut self.chore else {
            return Ok(Pace::Moved);
        };
        let outcome = match chore.as_mut().poll(cx) {
            Poll::Pending => return Ok(Pace::Still),
            Poll::Ready(outcome) => outcome,
        };
        self.chore = None;
        let (mut lease, state) = outcome.map_err(Farewell::ChoreFailed)?;
        if let Some(state) = state {
            let memory = &mut lease.server().memory;
            memory.baggage = self.session.learn_state(state);
            let news = self.session.returned_parameters(memory);
            send(&mut self.client, cx, &news, &mut self.from_server.unsent)
                .map_err(|error| Farewell::ClientLost(error.to_string()))?;
        }
        self.lease = Some(lease);
        self.settle_after_chore()?;
        Ok(Pace::Moved)
    }

    fn settle_after_chore(&mut self) -> Result<(), Farewell> {
        // After an alignment the client's input is next; after an inspection the server may go.
        if self.wants_server {
            Ok(())
        } else {
            self.settle()
        }
    }

    // --- wishes of others ---

    fn heed(&mut self, wish: Wish, cx: &mut Context<'_>) -> Result<(), Farewell> {
        match wish {
            Wish::End(error) => Err(Farewell::Refused(error)),
            Wish::Cancel => {
                if self.ticket.is_some() {
                    self.control.cancelled();
                    let message = "canceling statement due to user request";
                    return self.give_up_waiting(&ClientError::error("57014", message), cx);
                }
                if self.cancelling.get() > 0 {
                    self.control.cancel_again();
                } else {
                    self.cancel();
                }
                Ok(())
            }
            Wish::Interrupt => {
                if self.cancelling.get() == 0 {
                    self.cancel();
                }
                Ok(())
            }
            Wish::Settle => self.settle_if_released(),
            Wish::GiveUpWaiting(error) if self.ticket.is_some() => self.give_up_waiting(&error, cx),
            Wish::GiveUpWaiting(_) => Ok(()),
            Wish::Drain => {
                self.draining = true;
                if self.chore.is_none() && self.ticket.is_none() && self.session.is_clean() {
                    return Err(Farewell::Refused(farewell::shutting_down()));
                }
                Ok(())
            }
        }
    }

    /// A cancel request went through while its server was held back.
    fn settle_if_released(&mut self) -> Result<(), Farewell> {
        let held = self.lease.is_some() && self.session.mode != PoolMode::Session;
        let done = held && matches!(self.session.rest(), Rest::Release | Rest::Ask);
        if done && self.from_client.input.is_empty() {
            return self.settle();
        }
        Ok(())
    }

    fn cancel(&mut self) {
        let in_flight = self.session.in_flight();
        let Some(lease) = self.lease.as_mut().filter(|_| in_flight) else {
            return self.control.cancelled();
        };
        self.pool.counters.cancels.add(1);
        let (address, key) = (lease.server().address.clone(), lease.server().key.clone());
        let tls = self.pool.config.borrow().tls.clone();
        let (under_way, control) = (self.cancelling.clone(), self.control.clone());
        under_way.set(under_way.get() + 1);
        tokio::task::spawn_local(async move {
            if let Err(error) = crate::pool::cancel::send(address, key, tls).await {
                tracing::warn!("a cancel request did not get through: {error}");
            }
            under_way.set(under_way.get() - 1);
            control.cancelled();
        });
    }

    fn give_up_waiting(
        &mut self,
        error: &ClientError,
        cx: &mut Context<'_>,
    ) -> Result<(), Farewell> {
        self.ticket = None;
        self.wants_server = false;
        let input = self.from_client.input.bytes();
        let mut answer = Vec::new();
        let consumed = self.session.refuse(input, error, &mut answer);
        self.from_client.input.consume(consumed);
        self.control.enter(State::Idle, self.worker.clock.ms());
        send(&mut self.client, cx, &answer, &mut self.from_server.unsent)
            .map_err(|error| Farewell::ClientLost(error.to_string()))?;
        self.wants_server = !self.from_client.input.is_empty();
        Ok(())
    }

    /// Sends a last message, as far as the client takes it.
    pub fn last_words(&mut self, bytes: &[u8], cx: &mut Context<'_>) {
        // What was cut off in the middle of a frame cannot be followed by anything.
        if self.session.is_half_sent()
            && !self.session.is_clean()
            && !self.from_server.unsent.is_empty()
        {
            return;
        }
        let _ = send(&mut self.client, cx, bytes, &mut self.from_server.unsent);
    }

    // --- books ---

    /// Something was sent to the server: its time starts.
    fn begin(&mut self) {
        let now = self.worker.clock.us();
        if self.control.state.get() != State::Active {
            self.started_us = now;
            self.control.enter(State::Active, now / 1000);
        }
        if self.transaction_us == 0 {
            self.transaction_us = now.max(1);
            self.control.transaction_ms.set(now / 1000);
        }
    }

    fn count(&mut self, tally: Tally) {
        if tally == Tally::default() {
            return;
        }
        let (counters, now) = (&self.pool.counters, self.worker.clock.us());
        counters.queries.add(tally.queries.into());
        counters.statement_hits.add(tally.statement_hits.into());
        counters.statement_misses.add(tally.statement_misses.into());
        counters
            .statement_evictions
            .add(tally.statement_evictions.into());
        if tally.readies > 0 {
            counters
                .query_time
                .observe_us(now.saturating_sub(self.started_us));
            self.started_us = now;
            // What follows in a pipeline has a time of its own.
            self.control.since_ms.set(now / 1000);
        }
        if tally.transactions > 0 {
            counters.transactions.add(tally.transactions.into());
            counters
                .transaction_time
                .observe_us(now.saturating_sub(self.transaction_us));
            self.transaction_us = 0;
            self.control.transaction_ms.set(0);
        }
        if let Some(sqlstate) = tally.error {
            counters.count_error(sqlstate);
        }
    }

    fn lost_server(&self, why: &str) -> Farewell {
        Farewell::ServerLost {
            why: why.to_owned(),
            said_so: self.session.server_said_goodbye,
        }
    }

    /// Sends what could not be sent before.
    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), Farewell> {
        let lost = |error: std::io::Error| Farewell::ClientLost(error.to_string());
        flush(&mut self.client, cx, &mut self.from_server.unsent).map_err(lost)?;
        if let Some(lease) = &mut self.lease {
            let sent = flush(&mut lease.server().stream, cx, &mut self.from_client.unsent);
            sent.or_else(|error| self.write_failed(&error))?;
        }
        Ok(())
    }
}

/// Writes what the socket takes; the rest is kept. What is kept already goes first.
fn send(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    bytes: &[u8],
    unsent: &mut Vec<u8>,
) -> std::io::Result<()> {
    if !unsent.is_empty() {
        unsent.extend_from_slice(bytes);
        return flush(stream, cx, unsent);
    }
    let written = write(stream, cx, bytes)?;
    unsent.extend_from_slice(&bytes[written..]);
    Ok(())
}

fn flush(stream: &mut Stream, cx: &mut Context<'_>, unsent: &mut Vec<u8>) -> std::io::Result<()> {
    if unsent.is_empty() {
        return Ok(());
    }
    let written = write(stream, cx, unsent)?;
    unsent.drain(..written);
    if unsent.is_empty() {
        *unsent = Vec::new();
    }
    Ok(())
}

fn write(stream: &mut Stream, cx: &mut Context<'_>, bytes: &[u8]) -> std::io::Result<usize> {
    use tokio::io::AsyncWrite;
    let mut written = 0;
    while written < bytes.len() {
        match Pin::new(&mut *stream).poll_write(cx, &bytes[written..]) {
            Poll::Ready(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(n)) => written += n,
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => break,
        }
    }
    if stream.is_tls()
        && let Poll::Ready(Err(error)) = Pin::new(stream).poll_flush(cx)
    {
        return Err(error);
    }
    Ok(written)
}
