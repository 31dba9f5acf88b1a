//! One client of the workloads: it says the same things by every road of the protocol, notes when each was asked
//! and answered, and knows what an error proves. Knows nothing of what the answers should be.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Instant;

use crate::rawclient::{Raw, Reply, bound, framed, query};

use super::broken::Broken;
use super::fenced::{Behind, Fenced};

/// Where and as whom to log in.
#[derive(Debug, Clone)]
pub struct Target {
    pub address: SocketAddr,
    user: String,
    password: String,
    database: String,
}

impl Target {
    /// Of a connection string with a host that is reached by TCP, without TLS.
    pub fn parse(url: &str) -> Target {
        let config: tokio_postgres::Config = url.parse().expect("a connection string");
        let host = match config.get_hosts() {
            [tokio_postgres::config::Host::Tcp(host), ..] => host.clone(),
            _ => panic!("the connection string names no host"),
        };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let address = (host.as_str(), port).to_socket_addrs().expect("a host that resolves").next();
        Target {
            address: address.expect("a host with an address"),
            user: config.get_user().expect("a user").to_owned(),
            password: String::from_utf8_lossy(config.get_password().unwrap_or_default()).into_owned(),
            database: config.get_dbname().expect("a database").to_owned(),
        }
    }
}

/// How statements are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Simple protocol, values written into the text.
    Simple,
    /// Parse, Bind, Execute, Sync of the unnamed statement.
    Unnamed,
    /// Named statements, each parsed once.
    Named,
    /// Unnamed statements, several in one flush, each with a Sync of its own.
    Pipelined,
}

pub const STYLES: [Style; 4] = [Style::Simple, Style::Unnamed, Style::Named, Style::Pipelined];

/// A statement with its values as text.
#[derive(Debug, Clone)]
pub struct Statement {
    pub text: &'static str,
    pub values: Vec<String>,
}

impl Statement {
    pub fn new(text: &'static str, values: &[&dyn ToString]) -> Statement {
        Statement { text, values: values.iter().map(|value| value.to_string()).collect() }
    }

    /// With its values as literals.
    fn literal(&self) -> String {
        let mut text = self.text.to_owned();
        for (at, value) in self.values.iter().enumerate().rev() {
            let literal = match value.parse::<i64>() {
                Ok(_) => value.clone(),
                Err(_) => format!("'{}'", value.replace('\'', "''")),
            };
            text = text.replace(&format!("${}", at + 1), &literal);
        }
        text
    }
}

/// What is known after a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// First columns of its rows.
    Rows(Vec<String>),
    /// It had no effect; SQLSTATE.
    Refused(String),
    /// Nobody knows: the connection was lost, or something between here and the server was.
    Unknown,
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub outcome: Outcome,
    /// Nanoseconds of the workload's clock, before it was sent and after it was answered.
    pub from: u64,
    pub to: u64,
}

/// Nanoseconds since the workload began.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    pub fn now(self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

pub struct Client {
    raw: Option<Raw>,
    target: Target,
    clock: Clock,
    pub style: Style,
    /// Names of the statements that this connection has parsed.
    named: HashMap<&'static str, String>,
    /// How many names there were; none is used twice.
    names: u64,
    front: Front,
    behind: Behind,
    /// It is within a transaction that has one snapshot for all its statements.
    pub fixed_snapshot: bool,
}

/// What stands in front of the server, in the client, and answers some look-ups by itself.
#[derive(Clone, Default)]
pub enum Front {
    #[default]
    Nothing,
    /// Something that a check has to see.
    Broken(Arc<Broken>),
    /// A cache behind pgweir's fence.
    Fenced(Arc<Fenced>),
}

impl Client {
    pub fn new(target: &Target, clock: Clock, style: Style, front: Front) -> Client {
        Client {
            raw: None,
            target: target.clone(),
            clock,
            style,
            named: HashMap::new(),
            names: 0,
            front,
            behind: Behind::default(),
            fixed_snapshot: false,
        }
    }

    /// Gives the connection up, in whatever state it is.
    pub fn reconnect(&mut self) {
        self.raw = None;
        self.named.clear();
        self.behind.lose();
    }

    /// Sends a statement and is gone before it can be answered. Whether it takes effect, and when, nobody knows.
    pub fn abandon(&mut self, statement: &Statement) -> Answer {
        self.before(statement);
        let from = self.clock.now();
        let _ = self.raw().try_send(&query(&statement.literal()));
        self.reconnect();
        Answer { outcome: Outcome::Unknown, from, to: self.clock.now() }
    }

    /// Logs in, if it is not.
    pub fn connect(&mut self) {
        self.raw();
    }

    fn raw(&mut self) -> &mut Raw {
        let target = &self.target;
        self.raw.get_or_insert_with(|| {
            crate::support::until("a login", || {
                Raw::connect(target.address).login(&target.user, &target.password, &target.database).ok()
            })
        })
    }

    /// Runs statements one after the other, in one flush where the style is so. What follows an unknown outcome
    /// was not run, and is unknown too.
    pub fn run(&mut self, statements: &[Statement]) -> Vec<Answer> {
        match self.style {
            Style::Pipelined => self.pipeline(statements),
            _ => self.each(statements, |client, statement| client.one(statement)),
        }
    }

    /// What follows a lost connection would run on another one, outside of its transaction.
    fn each(
        &mut self,
        statements: &[Statement],
        mut run: impl FnMut(&mut Client, &Statement) -> Answer,
    ) -> Vec<Answer> {
        let mut answers: Vec<Answer> = Vec::new();
        for statement in statements {
            let answer = match answers.last() {
                Some(last) if last.outcome == Outcome::Unknown => last.clone(),
                _ => run(self, statement),
            };
            answers.push(answer);
        }
        answers
    }

    /// Look-ups of one row each, which what stands in front may answer.
    pub fn look_up(&mut self, statements: &[Statement]) -> Vec<Answer> {
        let clock = self.clock;
        match self.front.clone() {
            Front::Nothing => self.run(statements),
            Front::Broken(broken) => self.each(statements, |client, statement| {
                broken.look_up(clock, statement, || client.one(statement))
            }),
            Front::Fenced(fenced) => self.each(statements, |client, statement| {
                match client.fixed_snapshot || client.behind.has_written(&fenced, statement) {
                    true => client.one(statement),
                    false => fenced.look_up(clock, statement, || client.one(statement)),
                }
            }),
        }
    }

    /// Something is about to be sent.
    fn before(&mut self, statement: &Statement) {
        if let Front::Fenced(fenced) = self.front.clone() {
            let backend = self.raw().pid;
            self.behind.forward(&fenced, statement, backend);
        }
    }

    fn one(&mut self, statement: &Statement) -> Answer {
        let mut bytes = Vec::new();
        match self.style {
            Style::Simple => bytes = query(&statement.literal()),
            Style::Unnamed | Style::Pipelined => bytes = values(statement),
            Style::Named => self.by_name(statement, &mut bytes),
        }
        let from = self.clock.now();
        self.before(statement);
        let sent = self.raw().try_send(&bytes).is_ok();
        self.answered(statement, from, sent, false)
    }

    fn pipeline(&mut self, statements: &[Statement]) -> Vec<Answer> {
        let bytes: Vec<u8> = statements.iter().flat_map(values).collect();
        let from = self.clock.now();
        statements.iter().for_each(|statement| self.before(statement));
        let sent = self.raw().try_send(&bytes).is_ok();
        let last = statements.len().saturating_sub(1);
        let answers = statements.iter().enumerate();
        answers.map(|(at, statement)| self.answered(statement, from, sent, at < last)).collect()
    }

    fn by_name(&mut self, statement: &Statement, bytes: &mut Vec<u8>) {
        self.raw();
        let next = format!("s{}", self.names);
        if !self.named.contains_key(statement.text) {
            bytes.extend(framed(b'P', format!("{next}\0{}\0\0\0", statement.text).as_bytes()));
            self.named.insert(statement.text, next);
            self.names += 1;
        }
        let name = &self.named[statement.text];
        let mut body = [b"\0", name.as_bytes(), b"\0\0\0"].concat();
        body.extend((statement.values.len() as i16).to_be_bytes());
        for value in &statement.values {
            body.extend((value.len() as i32).to_be_bytes());
            body.extend(value.as_bytes());
        }
        body.extend(b"\0\0");
        bytes.extend(framed(b'B', &body));
        bytes.extend(framed(b'E', b"\0\0\0\0\0"));
        bytes.extend(framed(b'S', b""));
    }

    /// `owed`: more was sent than this.
    fn answered(&mut self, statement: &Statement, from: u64, sent: bool, owed: bool) -> Answer {
        let reply = match &mut self.raw {
            Some(raw) if sent => raw.reply(),
            _ => Reply::default(),
        };
        let outcome = outcome(&reply);
        if outcome != Outcome::Unknown {
            self.behind.ready(reply.status != b'I', owed);
        }
        let to = self.clock.now();
        match outcome {
            Outcome::Unknown => self.reconnect(),
            // A Parse that failed has left no statement; the next one has another name.
            Outcome::Refused(_) => drop(self.named.remove(statement.text)),
            _ => {}
        }
        Answer { outcome, from, to }
    }
}

fn values(statement: &Statement) -> Vec<u8> {
    let values: Vec<&str> = statement.values.iter().map(String::as_str).collect();
    bound(statement.text, &values)
}

/// An error proves that a statement had no effect only if the server itself says so and goes on: not if the session
/// ended with it, nor if it tells of a connection or a shutdown.
fn outcome(reply: &Reply) -> Outcome {
    match &reply.error {
        _ if reply.status == 0 => Outcome::Unknown,
        None => Outcome::Rows(reply.rows.clone()),
        Some(fault) if ["08", "57P", "58", "XX"].iter().any(|class| fault.sqlstate.starts_with(class)) => {
            Outcome::Unknown
        }
        Some(fault) => Outcome::Refused(fault.sqlstate.clone()),
    }
}
