//! One transcript: read from its text and played through a `Session`, as the shell would play it.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use pgweir::error::ClientError;
use pgweir::net::buffer::BUFFER;
use pgweir::pool::memory::Memory;
use pgweir::pool::settings::PoolMode;
use pgweir::pool::statement::Interner;
use pgweir::session::account::Notes;
use pgweir::session::out::Out;
use pgweir::session::{Desk, HOLD_MAX, Need, Rest, Session, Step};

use crate::frames::{encode, show};
use crate::words::{equal, mode, name, state};

/// A transcript.
pub struct Case {
    pub title: String,
    /// Place, key, text.
    lines: Vec<(String, String, String)>,
}

/// How input is cut into pieces.
pub enum Cuts {
    Whole,
    /// Sizes by turns, starting at the second.
    Sizes(Vec<usize>, usize),
}

impl Cuts {
    /// The next piece of so many bytes.
    fn next(&mut self, left: usize) -> usize {
        let Cuts::Sizes(sizes, at) = self else {
            return left;
        };
        *at += 1;
        let size = sizes[*at % sizes.len()];
        // Tens of megabytes one by one would take minutes and show nothing more.
        let size = if left > 2 * BUFFER { size * 997 } else { size };
        size.min(left)
    }
}

impl Case {
    /// Every case of every file in `tests/transcripts`.
    pub fn all() -> Vec<Case> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "txt"))
            .collect();
        files.sort();
        let read = |path: &std::path::PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            Case::read(&name, &std::fs::read_to_string(path).unwrap())
        };
        files.iter().flat_map(read).collect()
    }

    fn read(file: &str, text: &str) -> Vec<Case> {
        let mut cases: Vec<Case> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let place = format!("{file}:{}", index + 1);
            if let Some(title) = line.strip_prefix("== ") {
                cases.push(Case { title: title.trim().to_owned(), lines: Vec::new() });
            } else if line.trim().is_empty() || line.starts_with('#') {
            } else if line.starts_with(' ') {
                let last = cases.last_mut().and_then(|case| case.lines.last_mut());
                let last = last.unwrap_or_else(|| panic!("{place}: continues nothing"));
                last.2 += line;
            } else {
                let (key, rest) = line.split_once(':').unwrap_or_else(|| panic!("{place}: no key: {line}"));
                let case = cases.last_mut();
                let case = case.unwrap_or_else(|| panic!("{place}: before the first title"));
                case.lines.push((place, key.trim().to_owned(), rest.trim().to_owned()));
            }
        }
        cases
    }

    /// It moves megabytes, so it is not run dozens of times.
    pub fn is_large(&self) -> bool {
        self.lines.iter().any(|(_, _, text)| text.contains("00000)"))
    }

    /// Plays it; the error says where it went another way.
    pub fn run(&self, cuts: &mut Cuts) -> Result<(), String> {
        let mut stage = Stage::new();
        for (place, key, text) in &self.lines {
            let played = stage.play(key, text, cuts);
            played.map_err(|why| format!("{place}: {key}: {text}\n  {why}"))?;
        }
        stage.nothing_left().map_err(|why| format!("at the end: {why}"))
    }
}

/// The session and all around it.
struct Stage {
    session: Session,
    interner: Interner,
    servers: HashMap<String, Memory>,
    statements_max: usize,
    epoch: u64,
    lent: Option<String>,
    /// The server that is lent next.
    next: String,
    deny: Option<ClientError>,
    client_input: Vec<u8>,
    server_input: Vec<u8>,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    /// Queries that made a lent server carry what the client expects.
    aligned: Vec<u8>,
    /// What the last line put in, for `same`.
    last: Vec<u8>,
    outcome: Option<Need>,
    /// The client's input waits for answers.
    waits: bool,
    rest: &'static str,
    counts: BTreeMap<&'static str, u32>,
}

impl Stage {
    fn new() -> Self {
        Stage {
            session: Session::new(PoolMode::Transaction, Rc::default()),
            interner: Interner::new(Rc::new(Cell::new(0))),
            servers: HashMap::new(),
            statements_max: 100,
            epoch: 0,
            lent: None,
            next: "a".to_owned(),
            deny: None,
            client_input: Vec::new(),
            server_input: Vec::new(),
            to_server: Vec::new(),
            to_client: Vec::new(),
            aligned: Vec::new(),
            last: Vec::new(),
            outcome: None,
            waits: false,
            rest: "release",
            counts: BTreeMap::new(),
        }
    }

    fn play(&mut self, key: &str, text: &str, cuts: &mut Cuts) -> Result<(), String> {
        let frames = |last: &[u8]| {
            if text == "same" { last.to_vec() } else { encode(text) }
        };
        match key {
            "mode" => self.session.mode = mode(text),
            "reuse" => self.session.reuse_unnamed = text == "on",
            "statements" => self.statements_max = text.parse().map_err(|_| "no number")?,
            "server" => self.next = text.to_owned(),
            "epoch" => self.epoch = text.parse().map_err(|_| "no number")?,
            "starts with" => {
                let baggage = Rc::new(state(text).map(|state| state.baggage).unwrap_or_default());
                let mode = self.session.mode;
                self.session = Session::new(mode, baggage);
            }
            "denied" => self.deny = Some(ClientError::error("53300", text)),
            "client sends" => {
                self.nothing_left()?;
                self.last = encode(text);
                return self.client(&self.last.clone(), cuts);
            }
            "server answers" => {
                self.nothing_left()?;
                self.last = encode(text);
                return self.server(&self.last.clone(), cuts);
            }
            "server is sent" => {
                let expected = frames(&self.last);
                return equal(&expected, &std::mem::take(&mut self.to_server));
            }
            "client sees" => {
                let expected = frames(&self.last);
                return equal(&expected, &std::mem::take(&mut self.to_client));
            }
            "aligned" => return equal(&encode(text), &std::mem::take(&mut self.aligned)),
            "state" => {
                if self.rest != "ask" {
                    return Err(format!("nobody asks for it, it is {}", self.rest));
                }
                let found = self.session.learn_state(state(text));
                self.memory().baggage = found;
                self.settle();
            }
            "rest" if text == self.rest => {}
            "rest" => return Err(format!("it is {}", self.rest)),
            "needs" => return self.check_need(text),
            "pins" => return self.check_pins(text),
            "counts" => return self.check_counts(text),
            "server is lost" => {
                self.lent = None;
                self.servers.remove(text);
                self.session.part();
            }
            _ => return Err("not a key".to_owned()),
        }
        Ok(())
    }

    /// Nothing came out that the transcript does not mention.
    fn nothing_left(&self) -> Result<(), String> {
        for (what, bytes) in [
            ("the server was sent", &self.to_server),
            ("the client saw", &self.to_client),
            ("the server was aligned with", &self.aligned),
        ] {
            if !bytes.is_empty() {
                return Err(format!("before this, {what}\n{}", show(bytes)));
            }
        }
        match &self.outcome {
            None => Ok(()),
            Some(need) => Err(format!("before this, it needed {}", name(need))),
        }
    }

    fn memory(&mut self) -> &mut Memory {
        let lent = self.lent.clone().expect("a server is lent");
        let max = self.statements_max;
        self.servers.entry(lent).or_insert_with(|| Memory::new(max))
    }

    fn client(&mut self, bytes: &[u8], cuts: &mut Cuts) -> Result<(), String> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(cuts.next(rest.len()));
            rest = tail;
            self.client_input.extend(piece);
            if !self.waits {
                self.client_turns()?;
            }
            if self.outcome.is_some() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn client_turns(&mut self) -> Result<(), String> {
        loop {
            let step = self.step(true);
            self.client_input.drain(..step.consumed);
            match step.need {
                Need::Bytes(size) if size <= self.client_input.len() => {
                    return Err(format!("it asks for {size} bytes and has as many"));
                }
                Need::Bytes(_) if self.client_input.len() > HOLD_MAX => {
                    return Err(format!("it holds {} bytes", self.client_input.len()));
                }
                Need::Bytes(_) => return Ok(()),
                Need::Server if self.lent.is_some() => return Err("it has a server".to_owned()),
                Need::Server => match self.deny.take() {
                    None => self.lend(),
                    Some(error) => {
                        let mut answer = Vec::new();
                        let done = self.session.refuse(&self.client_input, &error, &mut answer);
                        self.client_input.drain(..done);
                        self.to_client.extend(answer);
                    }
                },
                Need::Answers => {
                    self.waits = true;
                    return Ok(());
                }
                need => {
                    self.outcome = Some(need);
                    return Ok(());
                }
            }
        }
    }

    fn lend(&mut self) {
        self.lent = Some(self.next.clone());
        let wanted = self.session.baggage.clone();
        let pooled = self.session.mode != PoolMode::Session;
        let memory = self.memory();
        if pooled && *memory.baggage != *wanted {
            let queries = memory.baggage.towards(&wanted);
            memory.baggage = wanted;
            memory.unnamed = None;
            for query in queries {
                self.aligned.extend(crate::frames::frame(b'Q', &[&query[..], b"\0"].concat()));
            }
        }
    }

    fn server(&mut self, bytes: &[u8], cuts: &mut Cuts) -> Result<(), String> {
        if self.lent.is_none() {
            return Err("no server is lent".to_owned());
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(cuts.next(rest.len()));
            rest = tail;
            self.server_input.extend(piece);
            let step = self.step(false);
            self.server_input.drain(..step.consumed);
            match step.need {
                Need::Bytes(size) if size <= self.server_input.len() => {
                    return Err(format!("it asks for {size} bytes and has as many"));
                }
                Need::Bytes(_) if self.server_input.len() > BUFFER => {
                    return Err(format!("it holds {} bytes", self.server_input.len()));
                }
                Need::Bytes(_) => {}
                need => {
                    self.outcome = Some(need);
                    return Ok(());
                }
            }
            if self.server_input.is_empty() {
                self.settle();
            }
            if std::mem::take(&mut self.waits) {
                self.client_turns()?;
            }
        }
        if self.server_input.is_empty() { Ok(()) } else { Err("bytes were left over".to_owned()) }
    }

    /// As the shell does after each burst of a server.
    fn settle(&mut self) {
        self.rest = match self.session.rest() {
            Rest::Busy => "busy",
            Rest::Keep => "keep",
            Rest::Ask => "ask",
            Rest::Release => "release",
        };
        if self.rest == "release" && self.lent.take().is_some() {
            self.session.part();
        }
        if self.session.take_schema_change() {
            self.epoch += 1;
        }
    }

    fn step(&mut self, client: bool) -> Step {
        let (mut to_server, mut to_client) = (Out::default(), Out::default());
        let max = self.statements_max;
        let memory =
            self.lent.clone().map(|lent| self.servers.entry(lent).or_insert_with(|| Memory::new(max)));
        let mut desk = Desk {
            memory,
            interner: &mut self.interner,
            epoch: self.epoch,
            to_server: &mut to_server,
            to_client: &mut to_client,
            now_us: 0,
            notes: &mut Notes::default(),
        };
        let (step, input) = if client {
            (self.session.on_client(&self.client_input, &mut desk), &self.client_input)
        } else {
            (self.session.on_server(&self.server_input, &mut desk), &self.server_input)
        };
        // Bytes for the other side than the input is for are never spans of it.
        let other: &[u8] = &[];
        let (for_server, for_client) = if client { (&input[..], other) } else { (other, &input[..]) };
        self.to_server.extend(to_server.bytes(for_server));
        self.to_client.extend(to_client.bytes(for_client));
        self.count();
        step
    }

    fn count(&mut self) {
        let tally = std::mem::take(&mut self.session.tally);
        for (name, n) in [
            ("queries", tally.queries),
            ("readies", tally.readies),
            ("transactions", tally.transactions),
            ("hits", tally.statement_hits),
            ("misses", tally.statement_misses),
            ("evictions", tally.statement_evictions),
        ] {
            *self.counts.entry(name).or_default() += n;
        }
    }

    fn check_need(&mut self, text: &str) -> Result<(), String> {
        let outcome = self.outcome.take();
        let found = outcome.map_or("nothing".to_owned(), |need| name(&need));
        if found == text { Ok(()) } else { Err(format!("it needs {found}")) }
    }

    fn check_pins(&self, text: &str) -> Result<(), String> {
        let pins: Vec<&str> = self.session.pins.iter().map(|pin| pin.label()).collect();
        if pins.join(" ") == text { Ok(()) } else { Err(format!("it is {pins:?}")) }
    }

    fn check_counts(&mut self, text: &str) -> Result<(), String> {
        let wanted: Vec<&str> = text.split_whitespace().collect();
        for pair in wanted.chunks(2) {
            let found = self.counts.get(pair[0]).ok_or("no such count")?;
            if pair[1] != found.to_string() {
                return Err(format!("{} is {found}", pair[0]));
            }
        }
        Ok(())
    }
}
