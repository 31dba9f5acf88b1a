//! How a session's look-up takes a seat in a flight, and what it does when that has landed.

use std::rc::Rc;
use std::task::Context;

use super::line::{Asked, Line};
use super::plan::Plan;
use super::seat::{Landed, Outcome, Place};
use super::site::{Kind, Site};
use super::{flight, survey};
use crate::net::send::send;
use crate::proxy::control::State;
use crate::proxy::drive::{Drive, Pace, Turn, UNSENT_MAX};
use crate::proxy::farewell::{self, Farewell};
use crate::session::account::{Ask, Done, Formats};
use crate::session::lookup::{Lookup, Values, statement_name};

/// Look-ups of one client in flight; what it sends ahead beyond that waits.
const PLACES_MAX: usize = 256;

impl Drive {
    /// The client's input needs a server. True: it takes seats in a flight instead, or has some already.
    pub(in crate::proxy) fn take_seats(&mut self) -> bool {
        if !self.lines.is_on() {
            return false;
        }
        let mut at = 0;
        while self.places.len() < PLACES_MAX
            && let Some(size) = self.take_seat(at)
        {
            at += size;
        }
        if self.places.is_empty() {
            return false;
        }
        self.control.enter(State::Active, self.worker.clock.ms());
        self.started_us = self.worker.clock.us();
        true
    }

    /// Takes a seat for the look-up at `at` of the input. Returns its size; `None`: it has to be asked alone, or is no
    /// look-up.
    fn take_seat(&mut self, at: usize) -> Option<usize> {
        let worker = self.worker.clone();
        let mut scratch = worker.scratch.borrow_mut();
        let (values, key) = &mut *scratch;
        let input = &self.from_client.input.bytes()[at..];
        if input.is_empty() {
            return None;
        }
        let lookup = {
            let mut interner = self.pool.interner.borrow_mut();
            self.session.lookup(input, &mut interner, self.pool.epoch(), values)?
        };
        if !self.places.iter().all(|place| place.lookup.may_be_followed_by(&lookup, input)) {
            return None;
        }
        let site = self.lines.site(&lookup, input, values);
        let company = !self.places.is_empty() || input.len() > lookup.size;
        let line = if company || site.alone() > 0 || site.is_busy() {
            self.line(&site, input, values, key)
        } else {
            None
        };
        let Some((line, plan)) = line else {
            if self.places.is_empty() {
                self.lead = Some(site.lead(&worker.clock));
            }
            return None;
        };
        let seat = line.join(&plan, &Asked { lookup: &lookup, input, values })?;
        if line.may_depart() {
            flight::start(&self.lines, &line);
        }
        let size = lookup.size;
        if !std::mem::take(&mut self.asked_ahead) {
            self.note_ask(&lookup);
        }
        self.places.push_back(Place { seat, lookup, since_us: worker.clock.us() });
        Some(size)
    }

    /// The open line for such a look-up; starts to find out about it when there is none.
    fn line(
        &self,
        site: &Rc<Site>,
        input: &[u8],
        values: &Values,
        key: &mut Vec<u8>,
    ) -> Option<(Rc<Line>, Rc<Plan>)> {
        site.note_values(input, values);
        if !site.meet() {
            return None;
        }
        site.key(input, values, key);
        let kind = Kind { key, varying: site.varying(), values };
        let (line, new) = site.line(&kind, &self.session.baggage)?;
        let now = self.worker.clock.us();
        if new || line.reopens(self.lines.epoch(), now) {
            survey::start(&self.lines, &line);
        }
        let plan = line.plan()?;
        Some((line, plan))
    }

    /// Looks whether the flight has landed.
    pub(in crate::proxy) fn poll_seats(&mut self, cx: &mut Context<'_>) -> Turn {
        while let Some(place) = self.places.front() {
            if self.from_server.unsent.len() > UNSENT_MAX {
                return Ok(Pace::Still);
            }
            match place.seat.poll(cx) {
                None => return Ok(Pace::Still),
                Some(Outcome::Alone) => {
                    // Those behind it come after it in every respect.
                    self.places.clear();
                    self.want_server()?;
                    return Ok(Pace::Moved);
                }
                Some(Outcome::Answered { landed, at, rows }) => {
                    let answer = &landed.answers[at.start as usize..at.end as usize];
                    send(&mut self.client, cx, answer, &mut self.from_server.unsent)
                        .map_err(|error| Farewell::ClientLost(error.to_string()))?;
                    self.note_unsent();
                    self.leave_seat(&landed, answer, rows);
                }
            }
        }
        self.control.enter(State::Idle, self.worker.clock.ms());
        if self.draining {
            return Err(Farewell::Refused(farewell::shutting_down()));
        }
        self.look_again(!self.from_client.input.is_empty());
        Ok(Pace::Moved)
    }

    /// The look-up at the front of the input was answered by its flight.
    fn leave_seat(&mut self, landed: &Rc<Landed>, answer: &[u8], rows: u32) {
        let Some(place) = self.places.pop_front() else {
            return;
        };
        self.pool.counters.queue_wait.observe_us(0);
        let waited_us = landed.departed_us.saturating_sub(place.since_us);
        self.lookup_answered(&place.lookup, answer, rows, (waited_us, landed.server_us));
    }

    /// The look-up at the front of the input was answered by these frames, without a server of its own. `times`: how long
    /// it waited, and how long a server took for it, in µs.
    pub(super) fn lookup_answered(&mut self, lookup: &Lookup, answer: &[u8], rows: u32, times: (u64, u64)) {
        let name = statement_name(self.from_client.input.bytes());
        self.session.lookup_answered(lookup, name);
        self.from_client.input.consume(lookup.size);
        self.from_client.input.release(&self.worker.slab);
        self.pool.counters.bytes_out.add(answer.len() as u64);
        let tally = std::mem::take(&mut self.session.tally);
        self.count(tally);
        if !self.pool.interner.borrow().reader.on {
            return;
        }
        let done = Done {
            shape: lookup.shape.clone(),
            call: true,
            rows: rows.into(),
            bytes: answer.len() as u64,
            at: 0..answer.len(),
            continued: false,
            waited_us: times.0,
            server_us: times.1,
            sqlstate: None,
            values: None,
            original: None,
            origin: lookup.known.origin.clone(),
        };
        self.book_done(&done, answer);
    }

    /// Tells the watch of a look-up that is not sent yet.
    pub(super) fn note_ask(&mut self, lookup: &Lookup) {
        if !self.pool.interner.borrow().reader.on {
            return;
        }
        let worker = self.worker.clone();
        let mut notes = worker.notes.borrow_mut();
        let (known, shape) = (lookup.known.clone(), lookup.shape.clone());
        let (marks, at_us) = (lookup.marks, worker.clock.us());
        notes.asks.push(Ask { known, shape, marks, at_us, formats: Formats::default() });
        self.watch_asks(&mut notes);
    }
}
