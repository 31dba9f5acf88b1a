//! Measures connect-per-query: connect, SCRAM login, one look-up, Terminate, again; several such
//! clients at a time on one poll loop.

use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::connection::{PATIENCE, Polled, Wire, address};
use crate::frames::{self, cut};
use crate::load::{ACCOUNTS, Protocol, Tally, check};
use crate::login::Login;
use crate::metric::{Metric, Sample};
use crate::queries::{Attached, Clocks, add_memory, add_speed};
use crate::scenario::WARM_UP;
use crate::scram::Keys;
use crate::target::Running;
use crate::{Bench, Fail, fail};

pub fn measure(bench: &Bench, running: &Running, clients: usize) -> Result<Sample, Fail> {
    let mut visits = Visits::new(running.port, clients)?;
    visits.run(WARM_UP)?;
    let attached = Attached::start(bench, running)?;
    let mut seen = 0;
    if attached.is_active() {
        seen += visits.run(WARM_UP)?.latencies.len();
    }
    let before = Clocks::read(bench, running)?;
    let tally = visits.run(bench.options.stretch())?;
    let after = Clocks::read(bench, running)?;
    attached.finish(seen + tally.latencies.len(), "logins");
    let mut sample = Sample::default();
    add_speed(&mut sample, tally, &before, &after);
    sample.0.retain(|(metric, _)| *metric != Metric::ServerCpu);
    add_memory(&mut sample, running)?;
    Ok(sample)
}

/// Clients that come, ask once and leave.
struct Visits {
    poll: Poll,
    port: u16,
    keys: Keys,
    visits: Vec<Visit>,
    latencies: Vec<u32>,
    count: u32,
}

struct Visit {
    wire: Polled,
    login: Login,
    ready: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    asked: u32,
    began: Instant,
}

impl Visits {
    fn new(port: u16, clients: usize) -> Result<Visits, Fail> {
        let mut visits = Visits {
            poll: Poll::new()?,
            port,
            keys: Keys::default(),
            visits: Vec::new(),
            latencies: Vec::new(),
            count: 0,
        };
        for index in 0..clients {
            let visit = visits.begin(index)?;
            visits.visits.push(visit);
        }
        Ok(visits)
    }

    fn begin(&mut self, index: usize) -> Result<Visit, Fail> {
        let began = Instant::now();
        let mut socket = mio::net::TcpStream::connect(address(self.port))?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut socket, Token(index), interest)?;
        let mut output = Vec::new();
        let login = Login::start(&mut output);
        self.count = self.count % ACCOUNTS + 1;
        Ok(Visit {
            wire: Wire::Plain(socket),
            login,
            ready: false,
            input: Vec::new(),
            output,
            asked: self.count,
            began,
        })
    }

    fn run(&mut self, time: Duration) -> Result<Tally, Fail> {
        self.latencies.clear();
        let start = Instant::now();
        let mut events = Events::with_capacity(64);
        while start.elapsed() < time {
            self.poll.poll(&mut events, Some(PATIENCE))?;
            if events.is_empty() {
                return fail(format!("no login was answered within {PATIENCE:?}"));
            }
            for event in &events {
                let index = event.token().0;
                let visit = &mut self.visits[index];
                if event.is_writable() && !visit.output.is_empty() {
                    visit.wire.send(&mut visit.output)?;
                }
                if event.is_readable() && visit.hear(&mut self.keys)? {
                    let nanos = visit.began.elapsed().as_nanos();
                    self.latencies.push(u32::try_from(nanos).unwrap_or(u32::MAX));
                    visit.leave()?;
                    self.visits[index] = self.begin(index)?;
                }
            }
        }
        Ok(Tally { seconds: start.elapsed().as_secs_f64(), latencies: std::mem::take(&mut self.latencies) })
    }
}

impl Visit {
    /// Reads and answers; true when the look-up has been answered rightly.
    fn hear(&mut self, keys: &mut Keys) -> Result<bool, Fail> {
        let mut scratch = [0; 4096];
        while let Some(count) = self.wire.receive(&mut scratch)? {
            self.input.extend_from_slice(&scratch[..count]);
            if self.ready {
                if check(&self.input, Protocol::Simple, self.asked)? {
                    return Ok(true);
                }
                continue;
            }
            let mut taken = 0;
            while let Some((tag, body, size)) = cut(&self.input[taken..]) {
                taken += size;
                if self.login.frame(tag, body, keys, &mut self.output)? {
                    self.ready = true;
                    Protocol::Simple.ask(self.asked, &mut self.output);
                }
            }
            self.input.drain(..taken);
            self.wire.send(&mut self.output)?;
        }
        Ok(false)
    }

    fn leave(&mut self) -> Result<(), Fail> {
        frames::put(&mut self.output, b'X', |_| {});
        self.wire.send(&mut self.output)
    }
}
