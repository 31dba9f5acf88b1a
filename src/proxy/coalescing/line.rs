//! The queue of look-ups that can leave together: same site, same formats, same settings.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use super::plan::Plan;
use super::seat::{Outcome, Seat};
use super::site::{Kind, Site};
use crate::coalesce::replay::{self, Batch, Replay, Slot, SlotKind};
use crate::pool::baggage::Baggage;
use crate::session::lookup::{Form, Lookup, Value, ValueKind, Values, bind_of};

/// Look-ups in one flight. A batch of 256 point look-ups takes PostgreSQL about a millisecond.
pub const MEMBERS_MAX: usize = 256;

/// Flights' worth of look-ups that may wait; further ones go alone.
const QUEUES_MAX: usize = 4;

/// Look-ups of a flight that are also asked alone when answers are compared.
const COMPARED_MAX: usize = 4;

/// Flights of one line under way at the same time: a second one in a crowd, more when one takes longer than usual.
pub const FLIGHTS_MAX: u32 = 4;

/// Look-ups that leave while a flight is under way, in a crowd that does not end: server and clients then work at the
/// same time instead of by turns. `pgbench -S` with 16 and 32 clients on two cores: 1.1 to 1.2 times the throughput.
const SECOND_MIN: usize = 10;

/// Flights without a pause that make such a crowd. The look-ups of one page end sooner, and take fewer queries if
/// all of them wait for the one under way.
const CROWD: u32 = 16;

pub struct Line {
    pub site: Rc<Site>,
    key: Box<[u8]>,
    pub varying: u32,
    /// Of the result, as a Bind has them; empty: simple queries.
    pub formats: Box<[u8]>,
    pub baggage: Rc<Baggage>,
    stage: RefCell<Stage>,
    /// Who waits for the end of a survey; others look again by themselves.
    surveyor: RefCell<Option<Waker>>,
    /// A look-up has waited in vain for the end of the survey; no other does.
    slow_survey: Cell<bool>,
    queues: RefCell<VecDeque<Queue>>,
    pub flights: Cell<u32>,
    /// Flights since none was under way.
    in_a_row: Cell<u32>,
    /// The mean time of a flight, in µs.
    usual_us: Cell<u32>,
}

/// How far the line has come.
enum Stage {
    /// It is being found out how, and whether, its look-ups can be asked together.
    Surveyed,
    Open(Rc<Plan>),
    /// They go alone until this time of the worker's clock.
    Closed {
        until_us: u64,
    },
}

/// Who waits, and for what.
#[derive(Default)]
pub struct Queue {
    pub members: Vec<Member>,
    pub batch: Batch,
    /// Its answers are compared with those that the first keys get alone; these are their requests, each with its key.
    pub compares: bool,
    pub requests: Vec<(u32, Box<[u8]>)>,
    /// The values of each key of the batch, and where they end; those who ask for the same share a key.
    values: Vec<u8>,
    ends: Vec<u32>,
    known: HashMap<u64, u32, foldhash::fast::RandomState>,
    slots: Vec<Slot>,
}

pub struct Member {
    pub seat: Rc<Seat>,
    pub form: Form,
    /// Its place in the batch.
    pub key: u32,
}

impl Queue {
    fn clear(&mut self, plan: &Plan) {
        self.members.clear();
        self.batch.clear(&plan.replay);
        self.compares = plan.is_due();
        self.requests.clear();
        self.values.clear();
        self.ends.clear();
        self.known.clear();
    }

    /// The place in the batch of these values.
    fn key(&mut self, replay: &Replay, asked: &Asked<'_>, varying: u32) -> Option<u32> {
        let start = self.values.len();
        for (at, value) in asked.values.each.iter().enumerate() {
            if varying & 1 << at != 0 {
                push_value(*value, asked.input, &mut self.values);
            }
        }
        let hash = self.known.hasher().hash_one(&self.values[start..]);
        if let Some(&key) = self.known.get(&hash) {
            let from = if key == 0 { 0 } else { self.ends[key as usize - 1] as usize };
            let same = self.values[from..self.ends[key as usize] as usize] == self.values[start..];
            if same {
                self.values.truncate(start);
                return Some(key);
            }
        }
        let added = self.add(replay, asked);
        if added.is_none() {
            self.values.truncate(start);
            return None;
        }
        let key = self.ends.len() as u32;
        self.ends.push(self.values.len() as u32);
        self.known.insert(hash, key);
        if self.compares && self.requests.len() < COMPARED_MAX {
            self.requests.push((key, asked.input[..asked.lookup.size].into()));
        }
        Some(key)
    }

    fn add(&mut self, replay: &Replay, asked: &Asked<'_>) -> Option<()> {
        let (start, end) = asked.lookup.text;
        self.slots.clear();
        let text = &asked.input[start as usize..end as usize];
        let bind = if asked.lookup.form.simple { None } else { bind_of(asked.input) };
        if start < end {
            self.slots.extend(asked.values.each.iter().map(|value| slot(value, start)));
        }
        self.batch.add(replay, &replay::Member { text, slots: &self.slots, bind }).ok()
    }
}

/// A look-up that wants to come along.
pub struct Asked<'a> {
    pub lookup: &'a Lookup,
    pub input: &'a [u8],
    pub values: &'a Values,
}

/// Where a value stands in a text that starts at `base`; its quotes belong to it.
pub fn slot(value: &Value, base: u32) -> Slot {
    let (quote, kind) = match value.kind {
        ValueKind::String => (1, SlotKind::String),
        ValueKind::Integer => (0, SlotKind::Integer),
        _ => (0, SlotKind::Other),
    };
    Slot { start: value.start - base - quote, end: value.end - base + quote, kind, oid: 0 }
}

impl Line {
    pub fn new(site: Rc<Site>, kind: &Kind<'_>, baggage: Rc<Baggage>) -> Self {
        Line {
            site,
            key: kind.key.into(),
            varying: kind.varying,
            formats: kind.values.formats.as_slice().into(),
            baggage,
            stage: RefCell::new(Stage::Surveyed),
            surveyor: RefCell::default(),
            slow_survey: Cell::new(false),
            queues: RefCell::default(),
            flights: Cell::new(0),
            in_a_row: Cell::new(0),
            usual_us: Cell::new(0),
        }
    }

    pub fn is_for(&self, key: &[u8], baggage: &Rc<Baggage>) -> bool {
        *self.key == *key && self.baggage == *baggage
    }

    /// Its look-ups are simple queries.
    pub fn simple(&self) -> bool {
        self.formats.is_empty()
    }

    /// It is being found out how its look-ups can be asked together.
    pub fn is_surveyed(&self) -> bool {
        matches!(*self.stage.borrow(), Stage::Surveyed)
    }

    /// It is worth to wait a moment for the end of the survey.
    pub fn is_worth_waiting(&self) -> bool {
        self.is_surveyed() && !self.slow_survey.get()
    }

    pub fn note_slow_survey(&self) {
        self.slow_survey.set(true);
    }

    pub fn wake_when_surveyed(&self, waker: &Waker) {
        *self.surveyor.borrow_mut() = Some(waker.clone());
    }

    /// Nobody waits or flies, and nobody is finding out about it.
    pub fn is_idle(&self) -> bool {
        let surveyed = matches!(*self.stage.borrow(), Stage::Surveyed);
        !surveyed && self.flights.get() == 0 && !self.waits()
    }

    /// How to ask for its look-ups together.
    pub fn plan(&self) -> Option<Rc<Plan>> {
        match &*self.stage.borrow() {
            Stage::Open(plan) => Some(plan.clone()),
            _ => None,
        }
    }

    /// How the same look-ups are asked in another form, if this one is text for all columns, as it is of drivers that
    /// ask for binary rows once they know a statement well. Such look-ups were met before.
    pub fn other_form(&self, epoch: u64, now_us: u64) -> Option<Rc<Plan>> {
        let is_text = |line: &Line| line.formats.iter().skip(2).all(|&code| code == 0);
        if self.simple() || !is_text(self) {
            return None;
        }
        let lines = self.site.lines();
        let mut others = lines.iter().filter(|line| {
            (line.varying, &line.baggage) == (self.varying, &self.baggage) && !line.simple() && !is_text(line)
        });
        others.find_map(|line| line.plan().filter(|plan| plan.is_good(epoch, now_us)))
    }

    /// Those who wait go alone.
    pub fn disband(&self) {
        let queues = std::mem::take(&mut *self.queues.borrow_mut());
        for member in queues.into_iter().flat_map(|queue| queue.members) {
            member.seat.settle(Outcome::Alone);
        }
    }

    /// What was found out is not good any more, or it was closed for a time that is over: worth another look.
    pub fn reopens(&self, epoch: u64, now_us: u64) -> bool {
        let mut stage = self.stage.borrow_mut();
        let over = match &*stage {
            Stage::Surveyed => false,
            Stage::Open(plan) => !plan.is_good(epoch, now_us),
            Stage::Closed { until_us } => *until_us <= now_us,
        };
        if over {
            *stage = Stage::Surveyed;
            self.slow_survey.set(false);
        }
        over
    }

    pub fn open(&self, plan: Plan) {
        self.enter(Stage::Open(Rc::new(plan)));
    }

    pub fn close(&self, until_us: u64) {
        self.enter(Stage::Closed { until_us });
    }

    fn enter(&self, stage: Stage) {
        *self.stage.borrow_mut() = stage;
        if let Some(waker) = self.surveyor.borrow_mut().take() {
            waker.wake();
        }
    }

    /// How long a flight usually takes.
    pub fn usual(&self) -> Duration {
        Duration::from_micros(self.usual_us.get().into())
    }

    /// A flight took so long: a moving mean over about eight.
    pub fn note_time(&self, us: u64) {
        let us = u32::try_from(us).unwrap_or(u32::MAX);
        let usual = self.usual_us.get();
        let moved = usual - usual / 8 + us / 8;
        self.usual_us.set(if usual == 0 { us } else { moved });
    }

    /// Joins the queue. `None`: it is full, or this look-up does not fit to the others.
    pub fn join(&self, plan: &Plan, asked: &Asked<'_>) -> Option<Rc<Seat>> {
        let mut queues = self.queues.borrow_mut();
        if queues.back().is_none_or(|queue| queue.members.len() >= MEMBERS_MAX) {
            if queues.len() >= QUEUES_MAX {
                return None;
            }
            let mut queue = Queue::default();
            queue.clear(plan);
            queues.push_back(queue);
        }
        let queue = queues.back_mut()?;
        let key = queue.key(&plan.replay, asked, self.varying)?;
        let seat = Rc::new(Seat::default());
        queue.members.push(Member { seat: seat.clone(), form: asked.lookup.form, key });
        Some(seat)
    }

    /// Whether who waits should leave now.
    pub fn may_depart(&self) -> bool {
        match self.flights.get() {
            0 => true,
            1 => self.in_a_row.get() >= CROWD && self.waiting() >= SECOND_MIN,
            _ => false,
        }
    }

    /// A flight has left.
    pub fn note_departure(&self) {
        self.in_a_row.set(self.in_a_row.get().saturating_add(1));
    }

    /// Of the tasks that fly, one has ended.
    pub fn note_end(&self) {
        self.flights.set(self.flights.get() - 1);
        if self.flights.get() == 0 {
            self.in_a_row.set(0);
        }
    }

    fn waiting(&self) -> usize {
        self.queues.borrow().iter().map(|queue| queue.members.len()).sum()
    }

    pub fn waits(&self) -> bool {
        self.waiting() > 0
    }

    /// Takes out who leaves next; the queue goes on with what is left of the last flight.
    pub fn board(&self, plan: &Plan, flight: &mut Queue) {
        let mut queues = self.queues.borrow_mut();
        flight.clear(plan);
        match queues.len() {
            0 => {}
            1 => std::mem::swap(&mut queues[0], flight),
            _ => *flight = queues.pop_front().unwrap_or_default(),
        }
    }
}

/// A value as a Bind has it.
pub fn push_value(value: Value, input: &[u8], out: &mut Vec<u8>) {
    match value.bytes(input) {
        None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
        Some(bytes) => {
            out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
            out.extend_from_slice(bytes);
        }
    }
}
