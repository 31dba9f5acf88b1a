//! One flight after another of a line: who waits boards, one query asks for all, its rows go back to their askers.
//! Whatever is not exactly as expected, its members ask for themselves.

use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::Lines;
use super::line::{FLIGHTS_MAX, Line, Queue};
use super::seat::{Landed, Outcome};
use super::survey::Plan;
use crate::coalesce::split::Split;
use crate::net::buffer::Window;
use crate::net::send::{flush, send};
use crate::pool::lend::{Lease, Pool};
use crate::pool::server::ServerError;
use crate::proxy::chore;
use crate::proxy::worker::Worker;
use crate::session::answer::{self, Described};
use crate::wire::server::tag;
use crate::wire::{self, HEADER, reply};

/// Bytes of all rows of a flight. One that brings more is given up, and its members ask for themselves.
const ROWS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long the next flight waits for the one under way: so many times as long as they usually take, within
/// these bounds.
const PATIENCE: u32 = 3;
const PATIENCE_MIN: Duration = Duration::from_millis(2);
const PATIENCE_MAX: Duration = Duration::from_millis(20);

/// How long the look-ups of a line go alone after a flight of theirs failed, in µs.
const CLOSED_US: u64 = 1_000_000;

/// And after flights that were no gain.
const SLOW_US: u64 = 600_000_000;

/// What one flight works with; kept from one to the next.
#[derive(Default)]
struct Hold {
    boarded: Queue,
    out: Vec<u8>,
    rows: Vec<u8>,
    /// Where the rows of each key stand in `rows`, and how many there are.
    found: Vec<(Range<u32>, u32)>,
    input: Window,
}

/// Starts flights of this line, unless enough are under way.
pub fn start(lines: &Rc<Lines>, line: &Rc<Line>) {
    let (Some(worker), Some(pool)) = (lines.worker.upgrade(), lines.pool.upgrade()) else {
        return;
    };
    line.flights.set(line.flights.get() + 1);
    tokio::task::spawn_local(fly(lines.clone(), line.clone(), worker, pool));
}

/// Flies until nobody waits.
async fn fly(lines: Rc<Lines>, line: Rc<Line>, worker: Rc<Worker>, pool: Rc<Pool>) {
    let mut hold = Hold::default();
    let mut lease: Option<Lease> = None;
    wait_for_lead(&line).await;
    loop {
        // All who are ready at this moment come along.
        tokio::task::yield_now().await;
        if lease.is_none() && line.waits() {
            lease = borrow(&line, &pool).await;
        }
        let Some(plan) = line.plan() else {
            line.disband();
            break;
        };
        line.board(&plan, &mut hold.boarded);
        hold.boarded.members.retain(|member| !member.seat.is_gone());
        if hold.boarded.members.is_empty() {
            break;
        }
        let Some(mut held) = lease.take() else {
            hold.send_alone();
            continue;
        };
        worker.read_clock();
        let departed_us = worker.clock.us();
        let compares = hold.boarded.compares;
        let flown = if compares {
            hold.compared_trip(&plan, &line, &mut held).await
        } else {
            let mut trip = pin!(hold.trip(&plan, &mut held, &worker));
            watch(&lines, &line, &mut trip).await
        };
        worker.read_clock();
        let server_us = worker.clock.us() - departed_us;
        match flown {
            Ok(true) => {
                if !compares {
                    line.note_time(server_us);
                    if plan.is_slow(hold.boarded.batch.len(), server_us, line.site.alone_us()) {
                        tracing::info!(
                            shape = &*line.site.shape.text,
                            "look-ups are no faster together than alone"
                        );
                        line.close(worker.clock.us() + SLOW_US);
                    }
                }
                hold.distribute(&plan, &line, departed_us, server_us);
                lease = Some(held);
            }
            Ok(false) => {
                line.close(worker.clock.us() + CLOSED_US);
                hold.send_alone();
                lease = Some(held);
            }
            Err(error) => {
                tracing::debug!("a flight was lost, its members ask for themselves: {error}");
                hold.send_alone();
                // The lease is dropped, and with it the server.
            }
        }
    }
    hold.input.release(&worker.slab);
    line.flights.set(line.flights.get() - 1);
    if let Some(lease) = lease {
        lease.give_back();
    }
}

/// Waits until no look-up of this kind is under way alone, but not for ever.
async fn wait_for_lead(line: &Line) {
    let landed = poll_fn(|cx| {
        if line.site.alone() == 0 {
            return Poll::Ready(());
        }
        line.site.wake_when_landed(cx.waker());
        Poll::Pending
    });
    // Too late is as good as landed: those who wait leave.
    let _ = tokio::time::timeout(patience(line), landed).await;
}

fn patience(line: &Line) -> Duration {
    (line.usual() * PATIENCE).clamp(PATIENCE_MIN, PATIENCE_MAX)
}

/// Waits for a flight; when it takes long, whoever queued meanwhile leaves with another.
async fn watch<F: Future>(lines: &Rc<Lines>, line: &Rc<Line>, trip: &mut std::pin::Pin<&mut F>) -> F::Output {
    if let Ok(output) = tokio::time::timeout(patience(line), &mut *trip).await {
        return output;
    }
    loop {
        if line.waits() && line.flights.get() < FLIGHTS_MAX {
            start(lines, line);
        }
        if let Ok(output) = tokio::time::timeout(PATIENCE_MAX, &mut *trip).await {
            return output;
        }
    }
}

/// A server that carries what the line's clients expect. `None`: there is none, and who waits goes alone, to be
/// told why.
pub(super) async fn borrow(line: &Line, pool: &Rc<Pool>) -> Option<Lease> {
    let mut lease = match pool.take(None, &line.baggage) {
        Some(lease) => lease,
        None => {
            let ticket = pool.queue(None);
            poll_fn(|cx| ticket.poll(cx)).await.ok()?
        }
    };
    if lease.server().memory.baggage == line.baggage {
        return Some(lease);
    }
    chore::align(lease, line.baggage.clone()).await.ok()
}

impl Hold {
    fn send_alone(&mut self) {
        self.boarded.members.drain(..).for_each(|member| member.seat.settle(Outcome::Alone));
    }

    /// Asks for all keys at once. `Ok(false)`: the server is idle again, and the answer is of no use.
    async fn trip(&mut self, plan: &Plan, lease: &mut Lease, worker: &Worker) -> Result<bool, ServerError> {
        let server = lease.server();
        self.out.clear();
        plan.give(&mut server.memory, &mut self.out);
        plan.ask(&self.boarded.batch, &mut self.out);
        let mut unsent = Vec::new();
        let out = std::mem::take(&mut self.out);
        poll_fn(|cx| Poll::Ready(send(&mut server.stream, cx, &out, &mut unsent))).await?;
        self.out = out;
        self.rows.clear();
        self.found.clear();
        let keys = self.boarded.batch.len();
        self.found.resize(keys, (0..0, 0));
        let (mut usable, mut split) = (true, Split::new(keys));
        loop {
            let n = poll_fn(|cx| {
                if let Err(error) = flush(&mut server.stream, cx, &mut unsent) {
                    return Poll::Ready(Err(error));
                }
                server.stream.poll_fill(cx, &mut self.input, &worker.slab)
            })
            .await?;
            if n == 0 {
                return Err(ServerError::Unreachable("the server closed the connection".into()));
            }
            let window = std::mem::take(&mut self.input);
            let taken = self.take(&window, &mut usable, &mut split);
            self.input = window;
            let (used, ready) = taken?;
            self.input.consume(used);
            if ready {
                break;
            }
            if self.rows.len() > ROWS_BYTES_MAX {
                return Err(ServerError::Protocol("a flight brought too many rows".into()));
            }
            // A row may be larger than the buffer; it is then not for a flight.
            if self.input.is_full() && !self.input.grow(ROWS_BYTES_MAX) {
                return Err(ServerError::Protocol("a flight brought a row that is too large".into()));
            }
        }
        if !usable {
            // Its statement may be what is wrong.
            plan.forget(&mut server.memory);
        }
        Ok(usable)
    }

    /// Takes the whole frames that are there. Returns their bytes, and whether the last was ReadyForQuery.
    fn take(
        &mut self,
        window: &Window,
        usable: &mut bool,
        split: &mut Split,
    ) -> Result<(usize, bool), ServerError> {
        let mut at = 0;
        loop {
            let input = window.bytes();
            let head = wire::head(&input[at..]).map_err(|bad| ServerError::Protocol(format!("{bad:?}")))?;
            let Some(frame) = head.and_then(|head| input.get(at..at + head.size)) else {
                return Ok((at, false));
            };
            at += frame.len();
            match frame[0] {
                tag::DATA_ROW if *usable => *usable = self.keep(frame, split),
                tag::DATA_ROW
                | tag::PARSE_COMPLETE
                | tag::BIND_COMPLETE
                | tag::CLOSE_COMPLETE
                | tag::COMMAND_COMPLETE => {}
                tag::READY if at == input.len() && frame[HEADER..] == *b"I" => return Ok((at, true)),
                tag::READY => return Err(ServerError::Protocol("not idle after a flight".into())),
                // Nobody knows whose error, notice or changed setting it is.
                _ => *usable = false,
            }
        }
    }

    /// The same, in one snapshot with some of the look-ups as they came; `Ok(false)` also when these bring anything
    /// else.
    async fn compared_trip(
        &mut self,
        plan: &Plan,
        line: &Line,
        lease: &mut Lease,
    ) -> Result<bool, ServerError> {
        let server = lease.server();
        let mut messages = Vec::new();
        reply::query(&mut messages, "begin isolation level repeatable read read only");
        server.converse(&messages).await?;
        messages.clear();
        plan.give(&mut server.memory, &mut messages);
        plan.ask(&self.boarded.batch, &mut messages);
        let frames = server.converse(&messages).await?;
        let keys = self.boarded.batch.len();
        self.rows.clear();
        self.found.clear();
        self.found.resize(keys, (0..0, 0));
        let mut split = Split::new(keys);
        let mut usable = true;
        for frame in &frames {
            match frame[0] {
                tag::DATA_ROW if usable => usable = self.keep(frame, &mut split),
                tag::ERROR | tag::NOTICE | tag::PARAMETER_STATUS | tag::NOTIFICATION => usable = false,
                _ => {}
            }
        }
        let mut equal = true;
        for (key, request) in self.boarded.requests.iter().filter(|_| usable) {
            if !equal {
                break;
            }
            messages.clear();
            line.site.write_alone(request, &mut messages);
            let frames = server.converse(&messages).await?;
            let at = &self.found[*key as usize].0;
            let rows = &self.rows[at.start as usize..at.end as usize];
            equal = is_equal(&frames, rows, &plan.described, &line.formats);
        }
        messages.clear();
        reply::query(&mut messages, "rollback");
        let end = server.converse(&messages).await?;
        if end.last().is_none_or(|ready| ready[HEADER..] != *b"I") {
            return Err(ServerError::Protocol("not idle after a comparison".into()));
        }
        server.memory.unnamed = None;
        if usable && equal {
            plan.was_equal();
            return Ok(true);
        }
        plan.forget(&mut server.memory);
        if !equal {
            tracing::warn!(
                shape = &*line.site.shape.text,
                "an answer differed when it was asked together with others"
            );
        }
        Ok(false)
    }

    /// Keeps a row of the batch with those of its key. False: it is no such row.
    fn keep(&mut self, frame: &[u8], split: &mut Split) -> bool {
        let Ok((key, row)) = split.row(&frame[HEADER..]) else {
            return false;
        };
        let (at, count) = &mut self.found[key];
        if *count == 0 {
            at.start = self.rows.len() as u32;
        }
        row.write(&mut self.rows);
        at.end = self.rows.len() as u32;
        *count += 1;
        true
    }

    fn distribute(&mut self, plan: &Plan, line: &Line, departed_us: u64, server_us: u64) {
        let mut answers = Vec::with_capacity(self.rows.len() + 96 * self.boarded.members.len());
        let mut places = Vec::with_capacity(self.boarded.members.len());
        for member in &self.boarded.members {
            let (at, count) = &self.found[member.key as usize];
            let start = answers.len() as u32;
            let rows = &self.rows[at.start as usize..at.end as usize];
            answer::write(member.form, &plan.described, &line.formats, rows, *count, &mut answers);
            places.push((start..answers.len() as u32, *count));
        }
        let landed = Rc::new(Landed { answers, departed_us, server_us });
        for (member, (at, rows)) in self.boarded.members.drain(..).zip(places) {
            member.seat.settle(Outcome::Answered { landed: landed.clone(), at, rows });
        }
    }
}

/// Whether the answer to one look-up alone is what the batch said.
fn is_equal(frames: &[Box<[u8]>], rows: &[u8], described: &Described, formats: &[u8]) -> bool {
    let mut row = described.row.to_vec();
    answer::set_formats(&mut row, formats);
    let mut rest = rows;
    for frame in frames {
        match frame[0] {
            tag::ROW_DESCRIPTION if **frame != *row => return false,
            tag::DATA_ROW => match rest.strip_prefix(&**frame) {
                Some(others) => rest = others,
                None => return false,
            },
            tag::ERROR | tag::NOTICE => return false,
            _ => {}
        }
    }
    rest.is_empty()
}
