//! The loop that moves bytes on the data path: socket ⇄ `Session` ⇄ `Lease`, one future per client.
//! It reads what is ready, lets the session decide, writes what came out, and waits. It decides nothing
//! about the protocol.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::books::Waits;
use super::coalescing::{
    Ahead, Fetching, Inserting, Keeping, Lead, Lines, Looked, Place, Surveying, Writing,
};
use super::control::Control;
use super::creating::Creating;
use super::farewell::{self, Farewell};
use super::worker::Worker;
use crate::coalesce::unit::Watch;
use crate::net::buffer::Window;
use crate::net::bulk::Bulk;
use crate::net::send::{flush, send};
use crate::net::stream::Stream;
use crate::pool::baggage::Text;
use crate::pool::lend::{Lease, Pool, Ticket};
use crate::pool::server::ServerError;
use crate::session::settings::State as ServerState;
use crate::session::{Desk, HOLD_MAX, Need, Session};
use crate::sql::Traits;
use crate::wire::HEADER;
use crate::wire::server::TxStatus;

/// Bursts one session may move before others get their turn.
const BURSTS: usize = 16;

/// Unsent answers beyond which a client's requests are left unread.
pub(super) const UNSENT_MAX: usize = 64 * 1024;

/// Unsent bytes of a burst are kept, and nothing more is read, until they are gone.
#[derive(Default)]
pub struct Side {
    pub input: Window,
    pub unsent: Vec<u8>,
    pub(super) bulk: Bulk,
}

/// What comes back from a chore.
pub(super) type Chore =
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
    pub(super) chore: Option<Chore>,
    /// A partition is being made for a row that lacks one.
    pub(super) creating: Option<Creating>,
    /// Its next statement waits until a table is free; it has done so.
    pub(super) pause: Option<Creating>,
    pub(super) has_paused: bool,
    /// Session mode: the parameters its server has to be opened with.
    pub startup: Option<Arc<[(Text, Text)]>>,
    /// The client's input waits for a server.
    pub(super) wants_server: bool,
    /// It waits for answers of the server it has; then it is looked at again.
    wants_answers: bool,
    again: bool,
    pub draining: bool,
    /// Cancel requests on their way to the server; until they are through it serves nobody else.
    pub cancelling: Rc<std::cell::Cell<u32>>,
    pub(super) started_us: u64,
    pub(super) transaction_us: u64,
    pub(super) waits: Waits,
    pub(super) watch: Watch,
    /// Look-ups that may be asked together with those of others.
    pub(super) lines: Rc<Lines>,
    /// Its look-ups in flight, in the order in which they are answered; their requests are the input's first.
    pub(super) places: VecDeque<Place>,
    /// Its look-up is under way alone, and others wait for it.
    pub(super) lead: Option<Lead>,
    /// What it has fetched ahead, and what is on its way.
    pub(super) ahead: Option<Box<Ahead>>,
    pub(super) fetching: Option<Box<Fetching>>,
    pub(super) surveying: Option<Surveying>,
    /// The answer to come is to be kept for the same look-up later.
    pub(super) keeping: Option<Box<Keeping>>,
    /// The look-up at the front of the input was told to the watch; it is to be sent as it is; and cancelled then.
    pub(super) asked_ahead: bool,
    pub(super) looked_past: bool,
    pub(super) cancel_next: bool,
    /// What it writes, where fences need to know.
    pub(super) writing: Option<Box<Writing>>,
    /// Its INSERTs that are done as one.
    pub(super) inserting: Inserting,
}

/// Why the loop stops for now.
pub(super) enum Pace {
    /// Something moved; look again.
    Moved,
    /// Nothing to do before the next wake-up.
    Still,
}

pub(super) type Turn = Result<Pace, Farewell>;

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
        let lines = worker.lines(&control.pool);
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
            creating: None,
            pause: None,
            has_paused: false,
            startup,
            wants_server: false,
            wants_answers: false,
            again: false,
            draining: false,
            cancelling: Rc::default(),
            started_us: 0,
            transaction_us: 0,
            waits: Waits::default(),
            watch: Watch::default(),
            lines,
            places: VecDeque::new(),
            lead: None,
            ahead: None,
            fetching: None,
            surveying: None,
            keeping: None,
            asked_ahead: false,
            looked_past: false,
            cancel_next: false,
            writing: None,
            inserting: Inserting::default(),
        };
        if let Some(lease) = lease {
            drive.adopt(lease);
        }
        drive
    }

    /// Look at the input that is there, before any more is read.
    pub(super) fn look_again(&mut self, again: bool) {
        self.again |= again;
    }

    /// Answers came that the client's input may have waited for.
    pub(super) fn answers_came(&mut self) {
        self.again |= std::mem::take(&mut self.wants_answers);
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
        if self.creating.is_some() {
            return self.poll_creating(cx);
        }
        if let Some(pace) = self.poll_pause(cx) {
            return Ok(pace);
        }
        if !self.places.is_empty() {
            return self.poll_seats(cx);
        }
        if self.fetching.is_some() {
            return self.poll_fetch(cx);
        }
        if self.surveying.is_some() {
            return self.poll_survey(cx);
        }
        if let Some(turn) = self.poll_inserts(cx) {
            return turn;
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

    /// Reads what the client sent and passes it on.
    fn pull_client(&mut self, cx: &mut Context<'_>) -> Result<bool, Farewell> {
        // Whoever does not read answers is asked for no more questions: pgweir answers some of them itself.
        if self.wants_answers
            || !self.from_client.unsent.is_empty()
            || self.from_server.unsent.len() > UNSENT_MAX
        {
            return Ok(false);
        }
        if !self.wants_server && !self.again {
            match self.client.poll_fill(cx, &mut self.from_client.input, &self.worker.slab) {
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
        (self.wants_server, self.again) = (false, false);
        let inside = self.ahead.is_some() && self.session.status() == TxStatus::InTransaction;
        if inside && self.look_ahead(cx)? != Looked::Past {
            return Ok(true);
        }
        self.on_client(cx)?;
        Ok(true)
    }

    fn on_client(&mut self, cx: &mut Context<'_>) -> Result<(), Farewell> {
        if self.take_inserts(cx)? {
            return Ok(());
        }
        let worker = self.worker.clone();
        let mut outs = worker.outs.borrow_mut();
        let mut notes = worker.notes.borrow_mut();
        let (to_server, to_client) = &mut *outs;
        let input = self.from_client.input.bytes();
        if self.lease.is_some() {
            self.session.account.waited_us = self.waits.for_server(self.worker.clock.us());
        }
        let step = {
            let mut interner = self.pool.interner.borrow_mut();
            let mut desk = Desk {
                memory: self.lease.as_mut().map(|lease| &mut lease.server().memory),
                interner: &mut interner,
                epoch: self.pool.epoch(),
                to_server,
                to_client,
                now_us: self.worker.clock.us(),
                notes: &mut notes,
            };
            self.session.on_client(input, &mut desk)
        };
        let messages = self.session.tally.queries;
        if messages > 0 {
            if notes.asks.iter().any(|ask| ask.known.traits.has(Traits::DDL)) {
                self.lines.schema_changes();
            }
            self.guard_writes(&notes.asks, messages);
            self.note_sent(&notes.asks, messages);
        }
        let input = self.from_client.input.bytes();
        let mut sent = Ok(());
        if !to_client.is_empty() {
            sent = send(&mut self.client, cx, to_client.bytes(input), &mut self.from_server.unsent);
        }
        let mut server_sent = Ok(());
        if !to_server.is_empty()
            && let Some(lease) = &mut self.lease
        {
            let bytes = to_server.bytes(input);
            server_sent = send(&mut lease.server().stream, cx, bytes, &mut self.from_client.unsent);
            self.begin();
            if std::mem::take(&mut self.cancel_next) {
                self.cancel();
            }
        }
        to_client.clear();
        to_server.clear();
        drop(outs);
        self.watch_asks(&mut notes);
        drop(notes);
        self.passed_on(step.consumed);
        sent.map_err(|error| Farewell::ClientLost(error.to_string()))?;
        server_sent.or_else(|error| self.write_failed(&error))?;
        let tally = std::mem::take(&mut self.session.tally);
        self.count(tally);
        self.meet(step.need, cx)
    }

    /// A server that cannot be written to may still have said why.
    fn write_failed(&mut self, error: &std::io::Error) -> Result<(), Farewell> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match self.pull_server(&mut cx) {
            Err(farewell) => Err(farewell),
            Ok(_) => Err(self.lost_server(&error.to_string())),
        }
    }

    fn meet(&mut self, need: Need, cx: &mut Context<'_>) -> Result<(), Farewell> {
        match need {
            Need::Bytes(size) => {
                if size > crate::net::buffer::BUFFER && !self.from_client.input.is_empty() {
                    while self.from_client.input.capacity() < size
                        && self.from_client.input.grow(2 * HOLD_MAX + HEADER)
                    {}
                }
                Ok(())
            }
            Need::Server if self.must_pause() => {
                self.look_again(true);
                Ok(())
            }
            Need::Server => match self.look_ahead(cx)? {
                Looked::Past if !self.take_seats() => self.want_server(),
                _ => Ok(()),
            },
            Need::Answers => {
                self.wants_answers = true;
                Ok(())
            }
            Need::Close => Err(Farewell::ClientLeft),
            Need::Refuse(error) => Err(Farewell::Refused(error)),
            Need::Broken(what) => Err(Farewell::ServerBroken(what)),
        }
    }

    pub(super) fn lost_server(&self, why: &str) -> Farewell {
        Farewell::ServerLost { why: why.to_owned(), said_so: self.session.server_said_goodbye }
    }

    /// Sends what could not be sent before.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), Farewell> {
        let lost = |error: std::io::Error| Farewell::ClientLost(error.to_string());
        flush(&mut self.client, cx, &mut self.from_server.unsent).map_err(lost)?;
        self.note_unsent();
        if let Some(lease) = &mut self.lease {
            let sent = flush(&mut lease.server().stream, cx, &mut self.from_client.unsent);
            sent.or_else(|error| self.write_failed(&error))?;
        }
        Ok(())
    }
}
