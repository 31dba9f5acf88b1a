//! The load: point look-ups from many clients on one thread and one poll loop, each client waiting
//! for its answer before it asks again, every answer checked against the id that was asked.
//! Must not know which program answers.

use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::connection::{PATIENCE, Polled};
use crate::frames;
use crate::process::interrupted;
use crate::{Fail, fail};

/// Rows of the look-up table; ids start at 1.
pub const ACCOUNTS: u32 = 100_000;

/// What the look-up table holds beside an id, so that an answer to another question is noticed.
pub fn balance(id: u32) -> i64 {
    i64::from(id) * 3 + 7
}

/// How a look-up is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// One Query message with the id in the text.
    Simple,
    /// Parse (unnamed), Bind, Describe, Execute, Sync.
    Extended,
    /// Bind, Describe, Execute, Sync of a statement parsed once per client.
    Prepared,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Simple => "simple",
            Protocol::Extended => "extended",
            Protocol::Prepared => "prepared",
        }
    }

    /// Appends the look-up of `id`.
    pub fn ask(self, id: u32, out: &mut Vec<u8>) {
        match self {
            Protocol::Simple => {
                frames::put_query(out, &format!("SELECT abalance FROM accounts WHERE aid = {id}"));
                return;
            }
            Protocol::Extended => {
                frames::put_parse(out, "", LOOK_UP);
                frames::put_bind_execute(out, "", &id.to_string());
            }
            Protocol::Prepared => frames::put_bind_execute(out, STATEMENT, &id.to_string()),
        }
        frames::put_sync(out);
    }

    /// The tags of a right answer, in order.
    fn answer(self) -> &'static [u8] {
        match self {
            Protocol::Simple => b"TDCZ",
            Protocol::Extended => b"12TDCZ",
            Protocol::Prepared => b"2TDCZ",
        }
    }
}

const LOOK_UP: &str = "SELECT abalance FROM accounts WHERE aid = $1";
const STATEMENT: &str = "look_up";

/// What a measured stretch of time gave.
#[derive(Default)]
pub struct Tally {
    pub seconds: f64,
    /// From sending a question to the end of its answer, in nanoseconds, not sorted.
    pub latencies: Vec<u32>,
}

/// Clients that ask without pause.
pub struct Load {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    protocol: Protocol,
    random: u64,
    scratch: Vec<u8>,
    asking: bool,
    pending: usize,
    latencies: Vec<u32>,
}

struct Client {
    wire: Polled,
    input: Vec<u8>,
    output: Vec<u8>,
    asked: u32,
    asked_at: Instant,
}

impl Load {
    /// Takes over logged-in connections. For `Prepared`, parses the statement on each.
    pub fn new(wires: Vec<crate::connection::Blocking>, protocol: Protocol, seed: u64) -> Result<Load, Fail> {
        let poll = Poll::new()?;
        let mut clients = Vec::with_capacity(wires.len());
        for (index, mut wire) in wires.into_iter().enumerate() {
            if protocol == Protocol::Prepared {
                parse(&mut wire)?;
            }
            let mut wire = wire.into_polled()?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(wire.socket(), Token(index), interest)?;
            clients.push(Client {
                wire,
                input: Vec::new(),
                output: Vec::new(),
                asked: 0,
                asked_at: Instant::now(),
            });
        }
        Ok(Load {
            poll,
            events: Events::with_capacity(256),
            clients,
            protocol,
            random: seed | 1,
            scratch: vec![0; 64 * 1024],
            asking: false,
            pending: 0,
            latencies: Vec::new(),
        })
    }

    /// Every client begins to ask; from here on each asks again as soon as it is answered.
    pub fn begin(&mut self) -> Result<(), Fail> {
        self.asking = true;
        (0..self.clients.len()).try_for_each(|index| self.ask(index))
    }

    /// Keeps going for a while and tells what that while gave.
    pub fn run(&mut self, time: Duration) -> Result<Tally, Fail> {
        self.latencies = Vec::with_capacity(1 << 18);
        let start = Instant::now();
        while start.elapsed() < time {
            self.turn()?;
        }
        Ok(Tally { seconds: start.elapsed().as_secs_f64(), latencies: std::mem::take(&mut self.latencies) })
    }

    /// Nobody asks again; waits until everybody has been answered.
    pub fn finish(&mut self) -> Result<(), Fail> {
        self.asking = false;
        while self.pending > 0 {
            self.turn()?;
        }
        Ok(())
    }

    /// Every client asks once and is answered, `width` of them at the same moment.
    pub fn once(&mut self, width: usize) -> Result<(), Fail> {
        self.asking = false;
        for first in (0..self.clients.len()).step_by(width.max(1)) {
            let last = (first + width.max(1)).min(self.clients.len());
            (first..last).try_for_each(|index| self.ask(index))?;
            self.finish()?;
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<(), Fail> {
        if interrupted() {
            return fail("interrupted");
        }
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        if let Err(error) = self.poll.poll(&mut events, Some(PATIENCE))
            && error.kind() != std::io::ErrorKind::Interrupted
        {
            return Err(error.into());
        }
        if events.is_empty() {
            let waiting = self.pending;
            return fail(format!("no answer within {PATIENCE:?}; {waiting} clients are waiting"));
        }
        for event in &events {
            let index = event.token().0;
            if event.is_writable() && !self.clients[index].output.is_empty() {
                let client = &mut self.clients[index];
                client.wire.send(&mut client.output)?;
            }
            if event.is_readable() {
                self.hear(index).map_err(|e| format!("client {index}: {e}"))?;
            }
        }
        self.events = events;
        Ok(())
    }

    fn ask(&mut self, index: usize) -> Result<(), Fail> {
        // xorshift64: the ids must differ, nothing more.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let client = &mut self.clients[index];
        client.asked = (self.random % u64::from(ACCOUNTS)) as u32 + 1;
        self.protocol.ask(client.asked, &mut client.output);
        client.asked_at = Instant::now();
        self.pending += 1;
        client.wire.send(&mut client.output)
    }

    fn hear(&mut self, index: usize) -> Result<(), Fail> {
        loop {
            let client = &mut self.clients[index];
            let Some(count) = client.wire.receive(&mut self.scratch)? else {
                return Ok(());
            };
            // Nearly always the answer comes whole, and is then read where it lies.
            let whole = if client.input.is_empty() {
                &self.scratch[..count]
            } else {
                client.input.extend_from_slice(&self.scratch[..count]);
                &client.input[..]
            };
            if check(whole, self.protocol, client.asked)? {
                client.input.clear();
                self.pending -= 1;
                let nanos = client.asked_at.elapsed().as_nanos();
                self.latencies.push(u32::try_from(nanos).unwrap_or(u32::MAX));
                // With the answer complete nothing else can come, so there is no second read.
                return if self.asking { self.ask(index) } else { Ok(()) };
            }
            if client.input.is_empty() {
                client.input.extend_from_slice(&self.scratch[..count]);
            }
        }
    }
}

/// Is this the whole and right answer? `false` when it is incomplete, an error when it is wrong.
pub fn check(mut bytes: &[u8], protocol: Protocol, asked: u32) -> Result<bool, Fail> {
    let mut expected = protocol.answer().iter();
    while let Some((tag, body, size)) = frames::cut(bytes) {
        bytes = &bytes[size..];
        match (tag, expected.next()) {
            (b'E', _) => return fail(frames::error_text(body)),
            (b'D', Some(b'D')) if frames::number(body, 0) != Some(balance(asked)) => {
                let got = frames::number(body, 0);
                let want = balance(asked);
                return fail(format!("WRONG ANSWER: asked for id {asked}, expected {want}, got {got:?}"));
            }
            (b'Z', Some(b'Z')) if bytes.is_empty() => return Ok(true),
            (tag, Some(wanted)) if tag == *wanted && tag != b'Z' => {}
            (tag, wanted) => {
                let wanted = wanted.map(|w| *w as char);
                return fail(format!("WRONG ANSWER: frame {:?} where {wanted:?} belongs", tag as char));
            }
        }
    }
    Ok(false)
}

fn parse(wire: &mut crate::connection::Blocking) -> Result<(), Fail> {
    use std::io::Write;
    let mut out = Vec::new();
    frames::put_parse(&mut out, STATEMENT, LOOK_UP);
    frames::put_sync(&mut out);
    wire.write_all(&out)?;
    let mut reader = crate::connection::Reader::default();
    loop {
        match reader.frame(wire)? {
            (b'Z', _) => return Ok(()),
            (b'E', body) => return fail(format!("Parse: {}", frames::error_text(body))),
            _ => {}
        }
    }
}
