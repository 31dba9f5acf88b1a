//! One flight after another of a line: who waits boards, one query asks for all, its rows go back to their askers.
//! Whatever is not exactly as expected, its members ask for themselves.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::Lines;
use super::harvest::{Harvest, Talk};
use super::line::{FLIGHTS_MAX, Line, Queue};
use super::plan::{Plan, Which};
use super::seat::{Landed, Outcome};
use crate::net::buffer::Window;
use crate::pool::lend::{Lease, Pool};
use crate::pool::server::ServerError;
use crate::proxy::chore;
use crate::proxy::worker::Worker;
use crate::session::answer::{self, Described};
use crate::wire::server::{TxStatus, tag};
use crate::wire::{HEADER, reply};

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
    harvest: Harvest,
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
            lease = chore::borrow(&pool, &line.baggage).await;
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
        line.note_departure();
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
                    judge_time(&lines, &line, &plan, (hold.boarded.batch.len(), server_us), &worker);
                }
                line.site.counts.batch(hold.boarded.members.len() as u64);
                hold.distribute(&plan, &line, departed_us, server_us);
                lease = Some(held);
            }
            Ok(false) => {
                line.site.counts.fall_back("failed");
                line.close(worker.clock.us() + CLOSED_US);
                hold.send_alone();
                lease = Some(held);
            }
            Err(error) => {
                line.site.counts.fall_back("lost");
                tracing::debug!("a flight was lost, its members ask for themselves: {error}");
                hold.send_alone();
                // The lease is dropped, and with it the server.
            }
        }
    }
    hold.input.release(&worker.slab);
    line.note_end();
    if let Some(lease) = lease {
        lease.give_back();
    }
}

/// A flight with so many keys took so long: if that is no gain again and again, their look-ups go alone for a while.
fn judge_time(lines: &Lines, line: &Line, plan: &Plan, (keys, server_us): (usize, u64), worker: &Worker) {
    line.note_time(server_us);
    if plan.is_slow(keys, server_us, line.site.alone_us()) {
        tracing::info!(shape = &*line.site.shape.text, "look-ups are no faster together than alone");
        let why = "asking for them together took longer than one by one";
        lines.tell(&line.site.shape, None, Some(why.to_owned()));
        line.close(worker.clock.us() + SLOW_US);
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

impl Hold {
    fn send_alone(&mut self) {
        self.boarded.members.drain(..).for_each(|member| member.seat.settle(Outcome::Alone));
    }

    /// Asks for all keys at once. `Ok(false)`: the server is idle again, and the answer is of no use.
    async fn trip(&mut self, plan: &Plan, lease: &mut Lease, worker: &Worker) -> Result<bool, ServerError> {
        let server = lease.server();
        self.out.clear();
        plan.give(Which::Keys, &mut server.memory, &mut self.out);
        plan.ask(Which::Keys, &self.boarded.batch, &mut self.out);
        self.harvest.begin(self.boarded.batch.len());
        let mut talk = Talk::new(server, &mut self.input, &worker.slab);
        talk.say(&self.out).await?;
        let status = talk.hear(&mut self.harvest).await?;
        talk.end()?;
        if status != TxStatus::Idle {
            return Err(ServerError::Protocol("not idle after a flight".into()));
        }
        if !self.harvest.usable {
            // Its statement may be what is wrong.
            plan.forget(&mut server.memory);
        }
        Ok(self.harvest.usable)
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
        plan.give(Which::Keys, &mut server.memory, &mut messages);
        plan.ask(Which::Keys, &self.boarded.batch, &mut messages);
        let frames = server.converse(&messages).await?;
        self.harvest.begin(self.boarded.batch.len());
        frames.iter().for_each(|frame| self.harvest.frame(frame));
        let usable = self.harvest.usable;
        let mut equal = true;
        for (key, request) in self.boarded.requests.iter().filter(|_| usable) {
            if !equal {
                break;
            }
            messages.clear();
            line.site.write_alone(request, &mut messages);
            let frames = server.converse(&messages).await?;
            equal = is_equal(&frames, self.harvest.of(*key).0, &plan.described, &line.formats);
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

    fn distribute(&mut self, plan: &Plan, line: &Line, departed_us: u64, server_us: u64) {
        let mut answers = Vec::with_capacity(self.harvest.rows.len() + 96 * self.boarded.members.len());
        let mut places = Vec::with_capacity(self.boarded.members.len());
        for member in &self.boarded.members {
            let (rows, count) = self.harvest.of(member.key);
            let start = answers.len() as u32;
            let served = answer::Rows { frames: rows, count, status: TxStatus::Idle };
            answer::write(member.form, &plan.described, &line.formats, served, &mut answers);
            places.push((start..answers.len() as u32, count));
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
