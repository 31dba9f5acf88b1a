//! Prepared statements as a client sends them: Parse, Bind, Describe and Close, under the names that servers
//! know. Pure.

use std::rc::Rc;

use super::client_side::Frame;
use super::exchange::{Kind, alias};
use super::{Desk, Session};
use crate::pool::memory::StatementId;
use crate::pool::settings::PoolMode;
use crate::pool::statement::{self, Context, Statement};
use crate::sql::Traits;
use crate::wire::client::{Bind, Parse, Target, TargetKind, tag};
use crate::wire::server::TxStatus;
use crate::wire::{HEADER, reply};

impl Session {
    pub(super) fn parse(&mut self, input: &[u8], frame: Frame<'_>, desk: &mut Desk<'_>) {
        self.exchange.open_group = true;
        let parse = Parse::read(frame.body);
        let (PoolMode::Transaction | PoolMode::Statement, Some(parse)) = (self.mode, parse) else {
            self.pass_asking(input, frame, Kind::Parse, desk);
            if let Some(parse) = parse {
                self.account_parse(parse.name, parse.text, parse.types, desk);
            }
            return;
        };
        if !parse.name.is_empty() && self.prepared.get(parse.name).is_some() {
            return self.parse_again(input, frame, parse, desk);
        }
        if !parse.name.is_empty() && (self.doubt.state || self.baggage.prepared().contains_key(parse.name)) {
            self.try_name(parse.name, input, desk);
        }
        let statement = self.shared_for(parse, desk).unwrap_or_else(|| {
            let unnamed = parse.name.is_empty();
            let context = self.context(desk);
            desk.interner.private(parse.text, parse.types, context, unnamed)
        });
        let id = statement.id;
        let known = statement.shared && desk.memory.as_mut().is_some_and(|memory| memory.knows(id));
        if !known {
            self.tally.statement_misses += 1;
            self.announce(&statement, input, desk);
            let (name, length) = statement.name();
            reply::parse(desk.to_server.own(input), &name[..length], parse.text, parse.types);
            self.exchange.push(Kind::Parse);
        } else {
            self.tally.statement_hits += 1;
            self.exchange.push(Kind::FakeParse);
        }
        if let Some(item) = self.exchange.queue.back_mut() {
            item.statement = (!known).then_some(id);
            item.asked.known = (!known).then(|| statement.known.clone());
            item.asked.at_us = desk.now_us;
        }
        let previous = self.prepared.put(parse.name, Some(statement));
        self.note_undo(parse.name, previous);
    }

    /// The statement that others may have prepared already; `None` when this one has to be the client's own.
    pub(in crate::session) fn shared_for(
        &self,
        parse: Parse<'_>,
        desk: &mut Desk<'_>,
    ) -> Option<Rc<Statement>> {
        let unnamed = parse.name.is_empty();
        let alone = self.doubt.any()
            || self.exchange.may_have_failed()
            || (unnamed && !self.reuse_unnamed)
            || !self.pins.is_empty();
        if alone {
            return None;
        }
        let context = self.context(desk);
        desk.interner.shared(parse.text, parse.types, context)
    }

    pub(super) fn context(&self, desk: &Desk<'_>) -> Context {
        let standard_strings = desk.memory.as_ref().is_none_or(|memory| memory.standard_strings);
        Context { meaning: self.baggage.meaning(), epoch: desk.epoch, standard_strings }
    }

    /// Notes that the server is about to get this statement, closing another one if it has too many.
    pub(super) fn announce(&mut self, statement: &Statement, input: &[u8], desk: &mut Desk<'_>) {
        let in_transaction = self.status() != TxStatus::Idle || self.exchange.begun;
        while let Some(memory) = &mut desk.memory {
            if statement.unnamed {
                memory.unnamed = Some(statement.id);
                return;
            }
            let Some(evicted) = memory.make_room(in_transaction) else {
                return memory.learn(statement.id);
            };
            self.tally.statement_evictions += 1;
            self.close_hidden(&statement::name(evicted), Some(evicted), input, desk);
        }
    }

    pub(in crate::session) fn close_hidden(
        &mut self,
        name: &[u8],
        id: Option<StatementId>,
        input: &[u8],
        desk: &mut Desk<'_>,
    ) {
        reply::statement_target(desk.to_server.own(input), tag::CLOSE, name);
        self.exchange.push_hidden(Kind::Close, id);
    }

    /// Makes sure that the server knows the statement, with a Parse that the client does not see.
    pub(super) fn give(&mut self, statement: &Statement, input: &[u8], desk: &mut Desk<'_>) {
        let Some(memory) = &mut desk.memory else {
            return;
        };
        let known =
            if statement.unnamed { memory.unnamed == Some(statement.id) } else { memory.knows(statement.id) };
        if known {
            return;
        }
        self.announce(statement, input, desk);
        let (name, length) = statement.name();
        reply::parse(desk.to_server.own(input), &name[..length], &statement.text, &statement.types);
        self.exchange.push_hidden(Kind::Parse, Some(statement.id));
    }

    /// A live name is parsed again, which is an error. PostgreSQL says so itself, in its own words and
    /// order: the name is made on the server first, and closed behind the failure.
    pub(super) fn parse_again(
        &mut self,
        input: &[u8],
        frame: Frame<'_>,
        parse: Parse<'_>,
        desk: &mut Desk<'_>,
    ) {
        reply::parse(desk.to_server.own(input), parse.name, b"", b"\0\0");
        self.exchange.push_hidden(Kind::Parse, None);
        self.pass_asking(input, frame, Kind::Parse, desk);
        self.prepared.put_stray(parse.name);
    }

    /// SQL may have made this name on the server: an error that it is taken is then the server's own.
    fn try_name(&mut self, name: &[u8], input: &[u8], desk: &mut Desk<'_>) {
        reply::parse(desk.to_server.own(input), name, b"", b"\0\0");
        self.exchange.push_hidden(Kind::Parse, None);
        self.close_hidden(name, None, input, desk);
    }

    pub(super) fn bind(&mut self, input: &[u8], frame: Frame<'_>, desk: &mut Desk<'_>) {
        let bind = match Bind::read(frame.body) {
            Some(bind) if self.mode != PoolMode::Session => bind,
            bind => {
                self.pass_asking(input, frame, Kind::Bind, desk);
                let known = |bind: &Bind<'_>| Some(self.prepared.get(bind.statement)?.known.clone());
                if let Some((bind, known)) = bind.and_then(|bind| Some((bind, known(&bind)?))) {
                    self.account_bind(bind, &known, desk);
                }
                return;
            }
        };
        self.exchange.open_group = true;
        let Some(statement) = self.prepared.get(bind.statement).cloned() else {
            self.hide_unnamed(bind.statement, input, desk);
            return self.pass_asking(input, frame, Kind::Bind, desk);
        };
        self.expect(statement.known.traits, &statement.text);
        if statement.known.traits.has(Traits::STATE) {
            for value in bind.values().into_iter().flatten() {
                self.note_custom(value);
            }
        }
        let missing = frame.head.size - (HEADER + frame.body.len());
        let narrowed = self.narrow_bind(&statement, bind, (&input[frame.at..], missing == 0), desk);
        let (statement, rest) = match &narrowed {
            Some((twin, rest)) => (twin.clone(), &rest[..]),
            None => (statement, bind.rest),
        };
        self.give(&statement, input, desk);
        let (name, length) = statement.name();
        let out = desk.to_server.own(input);
        reply::bind_head(out, bind.portal, &name[..length], rest.len() + missing);
        out.extend_from_slice(rest);
        self.client_pass = missing;
        self.exchange.push(Kind::Bind);
        self.note_statement(statement.id, bind.statement);
        self.account_bind(bind, &statement.known, desk);
        if let Some(item) = self.exchange.queue.back_mut() {
            item.asked.known = Some(statement.known.clone());
        }
    }

    /// The client has no unnamed statement; the one that another client left in the server's slot must not
    /// be found.
    pub(super) fn hide_unnamed(&mut self, name: &[u8], input: &[u8], desk: &mut Desk<'_>) {
        if name.is_empty() && !self.prepared.is_large(b"") {
            if let Some(memory) = &mut desk.memory {
                memory.unnamed = None;
            }
            self.close_hidden(b"", None, input, desk);
        }
    }

    pub(super) fn describe(&mut self, input: &[u8], frame: Frame<'_>, desk: &mut Desk<'_>) {
        let target = match Target::read(frame.body) {
            Some(target) if self.mode != PoolMode::Session && target.kind == TargetKind::Statement => target,
            _ => return self.pass_asking(input, frame, Kind::Describe, desk),
        };
        self.exchange.open_group = true;
        let Some(statement) = self.prepared.get(target.name).cloned() else {
            self.hide_unnamed(target.name, input, desk);
            return self.pass_asking(input, frame, Kind::Describe, desk);
        };
        self.give(&statement, input, desk);
        let (name, length) = statement.name();
        reply::statement_target(desk.to_server.own(input), tag::DESCRIBE, &name[..length]);
        self.exchange.push(Kind::Describe);
        self.note_statement(statement.id, target.name);
    }

    pub(super) fn note_statement(&mut self, id: StatementId, name: &[u8]) {
        if let Some(item) = self.exchange.queue.back_mut() {
            item.statement = Some(id);
            item.alias = alias(name);
        }
    }

    pub(super) fn close(&mut self, input: &[u8], frame: Frame<'_>, desk: &mut Desk<'_>) {
        let target = Target::read(frame.body);
        match target {
            Some(target)
                if self.mode != PoolMode::Session
                    && target.kind == TargetKind::Statement
                    && (self.prepared.get(target.name).is_some()
                        || (self.baggage.prepared().is_empty()
                            && !self.doubt.state
                            && !self.prepared.is_large(target.name))) =>
            {
                self.close_statement(target.name);
            }
            _ => {
                if let Some(target) = target
                    && target.kind == TargetKind::Statement
                    && self.mode != PoolMode::Session
                {
                    // It may have been prepared in SQL, so the server's state changes.
                    self.doubt.state = true;
                    self.prepared.put(target.name, None);
                }
                self.pass_asking(input, frame, Kind::Close, desk);
            }
        }
    }

    /// The server's own statement stays for others; the client's name goes. Closing a name that does not
    /// exist is no error either.
    pub(super) fn close_statement(&mut self, name: &[u8]) {
        self.exchange.open_group = true;
        let previous = self.prepared.put(name, None);
        self.exchange.push(Kind::FakeClose);
        self.note_undo(name, previous);
    }
}
