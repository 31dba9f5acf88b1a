//! Several clients share two servers of a small, honest model of PostgreSQL. Whatever they send, each must
//! see what it would see on a connection of its own: same answers, same order, nothing of the others.

use std::collections::HashMap;
use std::rc::Rc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::account::Notes;
use super::out::Out;
use super::settings::State;
use super::{Desk, Need, Rest, Session};
use crate::error::ClientError;
use crate::pool::memory::Memory;
use crate::pool::settings::PoolMode;
use crate::pool::statement::Interner;
use crate::wire::client::{Bind, Parse, Target, TargetKind, query_text, tag};
use crate::wire::server::TxStatus;
use crate::wire::{self, HEADER, cstr, reply};

/// PostgreSQL, as far as names, transactions and skipped messages go. A text is its own result; one that
/// starts with `bad` fails where PostgreSQL would find the mistake, one with `late` when it runs.
#[derive(Default)]
struct Model {
    statements: HashMap<Vec<u8>, Vec<u8>>,
    portals: HashMap<Vec<u8>, Vec<u8>>,
    status: TxStatus,
    skipping: bool,
}

type Outcome = Result<(), (&'static str, String)>;

impl Model {
    fn take(&mut self, mut input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        while let Ok(Some(head)) = wire::head(input) {
            let body = &input[HEADER..head.size];
            input = &input[head.size..];
            if self.skipping && head.tag != tag::SYNC {
                continue;
            }
            if let Err((sqlstate, message)) = self.message(head.tag, body, &mut out) {
                reply::error(&mut out, &ClientError::error(sqlstate, message));
                self.skipping = head.tag != tag::QUERY;
                self.status = match self.status {
                    TxStatus::Idle => TxStatus::Idle,
                    _ => TxStatus::Failed,
                };
            }
            if matches!(head.tag, tag::SYNC | tag::QUERY) {
                self.skipping = false;
                if self.status == TxStatus::Idle {
                    self.portals.clear();
                }
                out.extend(reply::ready(self.status));
            }
        }
        assert!(input.is_empty(), "half a message without its rest");
        out
    }

    fn message(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) -> Outcome {
        match tag {
            tag::PARSE => {
                let parse = Parse::read(body).expect("the session writes whole messages");
                if parse.name.is_empty() {
                    self.statements.remove(parse.name);
                }
                self.compile(parse.text)?;
                if self.statements.contains_key(parse.name) {
                    return Err(("42P05", format!("{} exists", parse.name.escape_ascii())));
                }
                self.statements.insert(parse.name.to_vec(), parse.text.to_vec());
                out.extend(reply::PARSE_COMPLETE);
            }
            tag::BIND => {
                let bind = Bind::read(body).expect("the session writes whole messages");
                let text = self.statement(bind.statement)?;
                self.compile(&text)?;
                self.portals.insert(bind.portal.to_vec(), text);
                reply::frame(out, b'2', |_| {});
            }
            tag::DESCRIBE => {
                let target = Target::read(body).expect("the session writes whole messages");
                if target.kind == TargetKind::Statement {
                    let text = self.statement(target.name)?;
                    reply::frame(out, b't', |out| out.extend(text));
                } else {
                    self.portal(target.name)?;
                }
                reply::frame(out, b'n', |_| {});
            }
            tag::EXECUTE => {
                let (name, _) = cstr(body).expect("the test writes whole messages");
                let text = self.portal(name)?;
                self.run(&text, out)?;
            }
            tag::CLOSE => {
                let target = Target::read(body).expect("the session writes whole messages");
                match target.kind {
                    TargetKind::Statement => self.statements.remove(target.name),
                    TargetKind::Portal => self.portals.remove(target.name),
                };
                out.extend(reply::CLOSE_COMPLETE);
            }
            tag::QUERY => {
                let text = query_text(body).expect("the test writes whole messages");
                self.statements.remove(&b""[..]);
                self.portals.remove(&b""[..]);
                self.compile(text)?;
                self.run(text, out)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn statement(&self, name: &[u8]) -> Result<Vec<u8>, (&'static str, String)> {
        // PostgreSQL's message holds the name. When a Parse fails that the Bind behind it was sent along
        // with, that is the name on the server, so the model leaves it out.
        let missing = || ("26000", "no such statement".to_owned());
        self.statements.get(name).cloned().ok_or_else(missing)
    }

    fn portal(&self, name: &[u8]) -> Result<Vec<u8>, (&'static str, String)> {
        let missing = || ("34000", format!("no {}", name.escape_ascii()));
        self.portals.get(name).cloned().ok_or_else(missing)
    }

    fn compile(&self, text: &[u8]) -> Outcome {
        if text.starts_with(b"bad") {
            Err(("42601", String::from_utf8_lossy(text).into_owned()))
        // An empty text passes too (PostgreSQL, `exec_parse_message`).
        } else if self.status == TxStatus::Failed && !matches!(text, b"commit" | b"") {
            Err(("25P02", "in a failed transaction".into()))
        } else {
            Ok(())
        }
    }

    fn run(&mut self, text: &[u8], out: &mut Vec<u8>) -> Outcome {
        match text {
            b"begin" => self.status = TxStatus::InTransaction,
            b"commit" => self.status = TxStatus::Idle,
            _ if text.starts_with(b"late") => return Err(("22012", "by zero".into())),
            _ => {}
        }
        reply::frame(out, b'D', |out| out.extend_from_slice(text));
        reply::command_complete(out, &String::from_utf8_lossy(text));
        Ok(())
    }
}

/// Servers with what the pool remembers of them; `None` while one is lent.
type Servers = [Option<(Model, Memory)>; 2];

struct Client {
    session: Session,
    lease: Option<(usize, Model, Memory)>,
    seen: Vec<u8>,
    /// Sent, and waiting for a server.
    waiting: Vec<u8>,
    /// What a connection of its own shows.
    own: Model,
    expected: Vec<u8>,
}

impl Client {
    fn new() -> Self {
        Client {
            session: Session::new(PoolMode::Transaction, Rc::default()),
            lease: None,
            seen: Vec::new(),
            waiting: Vec::new(),
            own: Model::default(),
            expected: Vec::new(),
        }
    }

    /// Sends nothing while it waits for a server, or it would send groups ahead.
    fn send(&mut self, bytes: &[u8], first: usize, servers: &mut Servers, interner: &mut Interner) {
        if !self.waiting.is_empty() {
            return self.go_on(first, servers, interner);
        }
        self.expected.extend(self.own.take(bytes));
        self.waiting.extend_from_slice(bytes);
        self.go_on(first, servers, interner);
    }

    /// Processes what waits; borrows a server if one is needed and free, starting to look at `first`.
    fn go_on(&mut self, first: usize, servers: &mut Servers, interner: &mut Interner) {
        loop {
            let (mut to_server, mut to_client) = (Out::default(), Out::default());
            let mut desk = Desk {
                memory: self.lease.as_mut().map(|(_, _, memory)| memory),
                interner,
                epoch: 0,
                to_server: &mut to_server,
                to_client: &mut to_client,
                now_us: 0,
                notes: &mut Notes::default(),
            };
            let step = self.session.on_client(&self.waiting, &mut desk);
            self.seen.extend_from_slice(to_client.bytes(&self.waiting));
            let sent = to_server.bytes(&self.waiting).to_vec();
            self.waiting.drain(..step.consumed);
            if let Some((_, model, _)) = &mut self.lease {
                let answer = model.take(&sent);
                self.hear(&answer, interner);
            }
            match step.need {
                Need::Server => {
                    let free = [first % 2, (first + 1) % 2].into_iter().find(|&at| servers[at].is_some());
                    let Some(at) = free else { return };
                    self.lease = servers[at].take().map(|(model, memory)| (at, model, memory));
                }
                Need::Bytes(_) => break,
                other => panic!("{other:?}"),
            }
        }
        if self.session.rest() == Rest::Ask {
            // The model keeps no settings, so there is nothing to tell.
            self.session.learn_state(Some(State::default()));
        }
        if self.session.rest() == Rest::Release
            && let Some((at, model, memory)) = self.lease.take()
        {
            assert!(model.status == TxStatus::Idle && !model.skipping);
            let known = model.statements.keys().filter(|name| !name.is_empty()).count();
            assert_eq!(known, memory.statements(), "what a server has, and what pgweir thinks it has");
            self.session.part();
            servers[at] = Some((model, memory));
        }
    }

    fn hear(&mut self, answer: &[u8], interner: &mut Interner) {
        let (mut to_server, mut to_client) = (Out::default(), Out::default());
        let mut desk = Desk {
            memory: self.lease.as_mut().map(|(_, _, memory)| memory),
            interner,
            epoch: 0,
            to_server: &mut to_server,
            to_client: &mut to_client,
            now_us: 0,
            notes: &mut Notes::default(),
        };
        let step = self.session.on_server(answer, &mut desk);
        assert!(matches!(step.need, Need::Bytes(_)), "{:?}", step.need);
        assert_eq!(step.consumed, answer.len());
        assert!(to_server.is_empty());
        self.seen.extend_from_slice(to_client.bytes(answer));
    }
}

fn text() -> impl Strategy<Value = &'static [u8]> {
    let texts: [&[u8]; 7] = [b"one", b"two", b"three", b"bad", b"late", b"begin", b"commit"];
    select(texts.to_vec())
}

fn written(write: &dyn Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

/// A message of the extended protocol that is part of a group.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let name = || select(vec![&b""[..], b"a", b"b"]);
    let target = |tag: u8| {
        let write = move |(kind, name): (u8, &[u8])| {
            let body = [&[kind][..], name, b"\0"].concat();
            written(&|out| reply::frame(out, tag, |out| out.extend_from_slice(&body)))
        };
        (select(vec![b'S', b'P']), name()).prop_map(write)
    };
    let parse = |(name, text): (&[u8], &[u8])| written(&|out| reply::parse(out, name, text, b"\0\0"));
    let bind = |(portal, statement): (&[u8], &[u8])| {
        let head = written(&|out| reply::bind_head(out, portal, statement, 6));
        [&head[..], &[0; 6]].concat()
    };
    let execute = |portal: &[u8]| {
        let body = [portal, &[0; 5]].concat();
        written(&|out| reply::frame(out, tag::EXECUTE, |out| out.extend_from_slice(&body)))
    };
    prop_oneof![
        4 => (name(), text()).prop_map(parse),
        4 => (name(), name()).prop_map(bind),
        4 => name().prop_map(execute),
        2 => target(tag::DESCRIBE),
        2 => target(tag::CLOSE),
        1 => Just(written(&|out| reply::frame(out, tag::FLUSH, |_| {}))),
    ]
}

/// Ends a group of messages, or leaves it open.
fn end() -> impl Strategy<Value = Vec<u8>> {
    let query = |text: &[u8]| written(&|out| reply::query(out, &String::from_utf8_lossy(text)));
    prop_oneof![
        1 => Just(Vec::new()),
        4 => Just(reply::SYNC.to_vec()),
        2 => text().prop_map(query),
    ]
}

/// Messages that a person can read when a test fails.
#[derive(Clone)]
struct Sent(Vec<u8>);

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(frames(&self.0)).finish()
    }
}

/// Who sends, which server it finds free first, and what. One group at a time, as clients do that wait for
/// ReadyForQuery; several groups sent ahead of their answers are not in this model yet.
fn turns() -> impl Strategy<Value = Vec<(usize, usize, Sent)>> {
    let sent =
        (vec(message(), 0..6), end()).prop_map(|(messages, end)| Sent([messages.concat(), end].concat()));
    vec((0..3usize, 0..2usize, sent), 1..12)
}

fn frames(mut bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while let Ok(Some(head)) = wire::head(bytes) {
        found.push(bytes[..head.size].escape_ascii().to_string());
        bytes = &bytes[head.size..];
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn each_client_sees_a_server_of_its_own(turns in turns(), statements_max in 1usize..4) {
        let mut interner = Interner::new(Rc::default());
        let server = || Some((Model::default(), Memory::new(statements_max)));
        let mut servers = [server(), server()];
        let mut clients = [Client::new(), Client::new(), Client::new()];
        for (who, first, sent) in &turns {
            clients[*who].send(&sent.0, *first, &mut servers, &mut interner);
        }
        // Everybody ends what is open, so that whoever still waits gets a server.
        for last in [&reply::SYNC[..], b"Q\0\0\0\x0bcommit\0"].repeat(3) {
            for client in &mut clients {
                client.send(last, 0, &mut servers, &mut interner);
            }
        }
        for client in &clients {
            prop_assert_eq!(frames(&client.seen), frames(&client.expected));
            prop_assert!(client.lease.is_none() && client.waiting.is_empty());
        }
    }
}
