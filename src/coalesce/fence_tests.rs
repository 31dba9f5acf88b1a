//! The fence against a model of PostgreSQL and its clients, with everything that happens between pgweir and
//! them in any order: statements under way, effects at any moment in between, acknowledgements under way, lost
//! connections whose backends go on. Whatever the fence lets through must be as the database has it at that
//! moment. The same model with a part of the fence left out must find stale rows.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::fence::{CLOSED, COUNTERS, Counters, Fence, OPENED, Stamp};
use super::writer::Writer;
use super::writes::WriteSet;
use crate::catalog::Oid;

/// What is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    None,
    /// Nothing is noted when a write is forwarded.
    NoForward,
    /// An end leaves the counter as it was before the write.
    NoAcknowledgement,
    /// Both ends change the number, but nobody sees that a write is open.
    EndsOnly,
    /// A lost connection counts as an acknowledgement.
    LossIsEnd,
    /// The commit opens for its own statement alone.
    NoTransaction,
    /// Writes that may touch any table are not noted.
    NoAll,
}

/// Counters that are not there are 0.
struct Cells {
    values: RefCell<BTreeMap<usize, u64>>,
    mutant: Mutant,
}

impl Counters for Cells {
    fn get(&self, at: usize) -> u64 {
        self.values.borrow().get(&at).copied().unwrap_or_default()
    }

    fn add(&self, at: usize, by: u64) {
        const ONE_MORE_CLOSED: u64 = OPENED + CLOSED;
        let by = match (self.mutant, by) {
            (Mutant::NoForward, OPENED) => 0,
            (Mutant::NoForward, CLOSED) | (Mutant::EndsOnly, _) => ONE_MORE_CLOSED,
            (Mutant::NoAcknowledgement, CLOSED) => OPENED.wrapping_neg(),
            (Mutant::NoAll, _) if at == COUNTERS - 1 => 0,
            _ => by,
        };
        let mut values = self.values.borrow_mut();
        let value = values.entry(at).or_default();
        *value = value.wrapping_add(by);
    }
}

// So few that what has to meet does meet.
const TABLES: usize = 2;
const CONNECTIONS: usize = 2;
const BUFFERS: usize = 2;

fn oid(table: usize) -> Oid {
    16_384 + 7 * table as Oid
}

#[derive(Debug, Clone, Copy)]
enum Command {
    Begin,
    Write(usize),
    /// Writes this table in its transaction, and commits to the next one on a connection of its own.
    Anything(usize),
    Commit,
    Rollback,
    /// `commit; insert …` as one text.
    CommitAndWrite(usize),
}

#[derive(Debug, Clone, Copy)]
enum Event {
    /// Client and proxy.
    Forward(usize, Command),
    /// PostgreSQL runs the next statement of a connection.
    Run(usize),
    /// The proxy receives the next ReadyForQuery of a connection.
    Receive(usize),
    /// The connection is lost to the proxy.
    Lose(usize),
    /// The backend of a lost connection runs on, or ends.
    RunLost,
    EndLost,
    /// A query for a buffer is sent, takes its snapshot, is served from.
    Send(usize, u8),
    Snapshot(usize),
    Serve(usize),
}

#[derive(Default)]
struct Backend {
    inside: bool,
    pending: Vec<usize>,
    input: VecDeque<Command>,
}

#[derive(Default)]
struct Connection {
    writer: Writer,
    opened: Vec<WriteSet>,
    backend: Backend,
    /// Statuses of ReadyForQuery under way.
    output: VecDeque<bool>,
}

struct Buffer {
    tables: Vec<usize>,
    stamp: Option<Stamp>,
    seen: Option<[u64; TABLES]>,
}

struct World {
    fence: Fence<Cells>,
    mutant: Mutant,
    versions: [u64; TABLES],
    connections: Vec<Connection>,
    lost: VecDeque<(Backend, Vec<WriteSet>)>,
    buffers: Vec<Option<Buffer>>,
    served: usize,
}

impl World {
    fn new(mutant: Mutant) -> World {
        let values = RefCell::default();
        World {
            fence: Fence::new(Cells { values, mutant }),
            mutant,
            versions: [0; TABLES],
            connections: (0..CONNECTIONS).map(|_| Connection::default()).collect(),
            lost: VecDeque::new(),
            buffers: (0..BUFFERS).map(|_| None).collect(),
            served: 0,
        }
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Forward(at, command) => self.forward(at, command),
            Event::Run(at) => {
                let connection = &mut self.connections[at];
                if connection.backend.run(&mut self.versions) {
                    connection.output.push_back(connection.backend.inside);
                }
            }
            Event::Receive(at) => self.receive(at),
            Event::Lose(at) => {
                let lost = std::mem::take(&mut self.connections[at]);
                if self.mutant == Mutant::LossIsEnd {
                    lost.opened.iter().for_each(|set| self.fence.close(set));
                }
                self.lost.push_back((lost.backend, lost.opened));
            }
            Event::RunLost => {
                if let Some((backend, _)) = self.lost.front_mut() {
                    backend.run(&mut self.versions);
                }
            }
            Event::EndLost => {
                if let Some((_, opened)) = self.lost.pop_front()
                    && self.mutant != Mutant::LossIsEnd
                {
                    opened.iter().for_each(|set| self.fence.close(set));
                }
            }
            Event::Send(at, bits) => {
                let tables: Vec<usize> = (0..TABLES).filter(|table| bits & (1 << table) != 0).collect();
                let oids: Vec<Oid> = tables.iter().map(|&table| oid(table)).collect();
                self.buffers[at] = Some(Buffer { tables, stamp: self.fence.stamp(&oids), seen: None });
            }
            Event::Snapshot(at) => {
                if let Some(buffer) = &mut self.buffers[at] {
                    buffer.seen.get_or_insert(self.versions);
                }
            }
            Event::Serve(at) => return self.serve(at),
        }
        Ok(())
    }

    fn forward(&mut self, at: usize, command: Command) {
        let connection = &mut self.connections[at];
        let write = |table: usize| WriteSet::Tables(vec![oid(table)]);
        let (set, ends) = match command {
            Command::Begin => (WriteSet::default(), false),
            Command::Write(table) => (write(table), false),
            Command::Anything(_) => (WriteSet::All, false),
            Command::Commit | Command::Rollback => (WriteSet::default(), true),
            Command::CommitAndWrite(table) => (write(table), true),
        };
        let asked = connection.writer.forward(&set, ends);
        let asked = if self.mutant == Mutant::NoTransaction { asked.map(|_| set) } else { asked };
        if let Some(asked) = asked {
            self.fence.open(&asked);
            connection.opened.push(asked);
        }
        connection.backend.input.push_back(command);
    }

    fn receive(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        let Some(inside) = connection.output.pop_front() else { return };
        let owed = !connection.output.is_empty() || !connection.backend.input.is_empty();
        if connection.writer.ready(inside, owed) {
            connection.opened.drain(..).for_each(|set| self.fence.close(&set));
        }
        let expected = if connection.opened.is_empty() { Ok(()) } else { Err("sets stay open") };
        assert!(owed || expected.is_ok(), "{expected:?}");
    }

    fn serve(&mut self, at: usize) -> Result<(), String> {
        let Some(Buffer { tables, stamp: Some(stamp), seen: Some(seen) }) = &self.buffers[at] else {
            return Ok(());
        };
        if !self.fence.holds(stamp) {
            return Ok(());
        }
        self.served += 1;
        match tables.iter().find(|&&table| seen[table] != self.versions[table]) {
            Some(table) => Err(format!("table {table} is at {:?}, served as of {seen:?}", self.versions)),
            None => Ok(()),
        }
    }
}

impl Backend {
    /// False: there is nothing to run.
    fn run(&mut self, versions: &mut [u64; TABLES]) -> bool {
        let Some(command) = self.input.pop_front() else { return false };
        match command {
            Command::Begin => self.inside = true,
            Command::Write(table) => self.write(table, versions),
            Command::Anything(table) => {
                self.write(table, versions);
                versions[(table + 1) % TABLES] += 1;
            }
            Command::Commit => self.commit(versions),
            Command::Rollback => {
                self.pending.clear();
                self.inside = false;
            }
            Command::CommitAndWrite(table) => {
                self.commit(versions);
                self.write(table, versions);
            }
        }
        true
    }

    fn write(&mut self, table: usize, versions: &mut [u64; TABLES]) {
        match self.inside {
            true => self.pending.push(table),
            false => versions[table] += 1,
        }
    }

    fn commit(&mut self, versions: &mut [u64; TABLES]) {
        self.pending.drain(..).for_each(|table| versions[table] += 1);
        self.inside = false;
    }
}

/// Any number is an event; that is quicker to make than a strategy for each.
fn event(number: u32) -> Event {
    let (kind, what, at, more) = (number % 41, number / 41 % 11, (number >> 16) as usize, number >> 20);
    let (connection, buffer, table) = (at % CONNECTIONS, at % BUFFERS, more as usize % TABLES);
    let command = match what {
        0..2 => Command::Begin,
        2..6 => Command::Write(table),
        6 => Command::Anything(table),
        7..9 => Command::Commit,
        9 => Command::Rollback,
        _ => Command::CommitAndWrite(table),
    };
    match kind {
        0..4 => Event::Forward(connection, command),
        4..10 => Event::Run(connection),
        10..16 => Event::Receive(connection),
        16 => Event::Lose(connection),
        17 => Event::RunLost,
        18 => Event::EndLost,
        19..24 => Event::Send(buffer, 1 + (more % ((1 << TABLES) - 1)) as u8),
        24..31 => Event::Snapshot(buffer),
        _ => Event::Serve(buffer),
    }
}

/// How often rows were served in all these worlds, or the first stale row.
fn play(mutant: Mutant, cases: u32) -> Result<usize, String> {
    let config = Config { cases, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    let (served, worlds) = (Cell::new(0), Cell::new(0));
    // The same worlds each time, so that it takes as long each time.
    let dice = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, dice);
    let run = runner.run(&proptest::collection::vec(any::<u32>(), 1..200), |numbers| {
        worlds.set(worlds.get() + 1);
        let mut world = World::new(mutant);
        let outcome = numbers.iter().try_for_each(|&number| world.happen(event(number)));
        served.set(served.get() + world.served);
        outcome.map_err(TestCaseError::fail)
    });
    println!("{mutant:?}: {} worlds, rows were served {} times", worlds.get(), served.get());
    run.map(|()| served.get()).map_err(|error| error.to_string())
}

#[test]
fn what_the_fence_lets_through_is_never_stale() {
    let served = play(Mutant::None, 3_000).unwrap_or_else(|stale| panic!("{stale}"));
    assert!(served > 700, "rows were served {served} times, which shows little");
}

#[test]
fn a_fence_with_a_part_left_out_is_caught() {
    use Mutant::{EndsOnly, LossIsEnd, NoAcknowledgement, NoAll, NoForward, NoTransaction};
    for mutant in [NoForward, NoAcknowledgement, EndsOnly, LossIsEnd, NoTransaction, NoAll] {
        let found = play(mutant, 10_000);
        assert!(found.is_err(), "the model sees no difference without {mutant:?}");
    }
}

#[test]
fn what_breaks_and_what_does_not() {
    let fence = Fence::new(Cells { values: RefCell::default(), mutant: Mutant::None });
    let (a, b) = (oid(0), oid(1));
    let (write_a, write_b) = (WriteSet::Tables(vec![a]), WriteSet::Tables(vec![b]));
    let stamp = fence.stamp(&[a]).expect("nothing is open");
    fence.open(&write_b);
    assert!(fence.holds(&stamp), "another table");
    assert_eq!(fence.stamp(&[a, b]), None, "one of them is being written");
    fence.close(&write_b);
    fence.open(&write_a);
    assert!(!fence.holds(&stamp) && !fence.is_calm(a) && fence.is_calm(b));
    fence.close(&write_a);
    assert!(!fence.holds(&stamp), "it was written in between");
    let stamp = fence.stamp(&[a]).expect("the write is over");
    fence.open(&WriteSet::All);
    assert!(!fence.holds(&stamp) && !fence.is_calm(b));
    assert_eq!(fence.stamp(&[]), None);
    fence.close(&WriteSet::All);
    assert!(!fence.holds(&stamp) && fence.stamp(&[]).is_some());
}
