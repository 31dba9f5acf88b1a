//! What a client sends ahead of answers: whether a message means the same whatever those answers are. A
//! group that fails leaves its Parse and Close undone, so what comes behind it and names the same statement
//! has to wait; everything else goes on. Pure.

use super::exchange::{Item, Kind, Undo};
use super::{Desk, Session};
use crate::pool::memory::{Memory, StatementId};
use crate::pool::settings::PoolMode;
use crate::sql::name;
use crate::wire::client::{Bind, Parse, Target, TargetKind, query_text, tag};

impl Session {
    /// Whether this message has to wait for answers. `body` holds at least the names in it.
    #[inline]
    pub(in crate::session) fn must_wait(&mut self, tag: u8, body: &[u8], desk: &mut Desk<'_>) -> bool {
        if self.lack.is_some() || self.reaching.as_ref().is_some_and(|reaching| reaching.sent) {
            return true;
        }
        let exchange = &self.exchange;
        let ahead = exchange.syncs > 0 || exchange.clears;
        // The end of COPY data comes from the client, so no answer can be waited for.
        ahead && self.mode != PoolMode::Session && !exchange.copying_in && self.depends(tag, body, desk)
    }

    fn depends(&mut self, tag: u8, body: &[u8], desk: &mut Desk<'_>) -> bool {
        let named = match tag {
            tag::PARSE => Parse::read(body).map(|parse| parse.name.to_vec()),
            tag::BIND => Bind::read(body).map(|bind| bind.statement.to_vec()),
            tag::DESCRIBE | tag::CLOSE => Target::read(body)
                .filter(|target| target.kind == TargetKind::Statement)
                .map(|target| target.name.to_vec()),
            tag::QUERY => query_text(body).and_then(name::of).map(|named| named.name),
            _ => None,
        };
        let Some(named) = named else { return false };
        if self.exchange.clears && !self.exchange.queue.is_empty() {
            return true;
        }
        let id = match (tag, Parse::read(body)) {
            (tag::CLOSE, _) => None,
            (tag::PARSE, Some(parse)) => self.shared_for(parse, desk).map(|statement| statement.id),
            _ => self.prepared.get(&named).map(|statement| statement.id),
        };
        // An unnamed Parse and its like put something new in the place of whatever is there.
        let fresh = tag == tag::PARSE && named.is_empty();
        (!fresh && self.is_open(&named)) || id.is_some_and(|id| self.is_moving(id))
    }

    /// An earlier group changes what this name means, unless it fails.
    fn is_open(&self, name: &[u8]) -> bool {
        let changes = |item: &Item| item.undos().any(|undo| *undo.name == *name);
        let queue = &self.exchange.queue;
        match queue.iter().rposition(changes) {
            // Behind the last Sync it fails together with this message.
            Some(at) => queue.range(at..).any(|item| item.kind == Kind::Sync),
            None => false,
        }
    }

    /// An earlier group gives this statement to the server or takes it away, unless it fails.
    fn is_moving(&self, id: StatementId) -> bool {
        let moves =
            |item: &Item| item.statement == Some(id) && matches!(item.kind, Kind::Parse | Kind::Close);
        let queue = &self.exchange.queue;
        match queue.iter().position(moves) {
            Some(at) => queue.range(at..).any(|item| item.kind == Kind::Sync),
            None => false,
        }
    }

    /// The server did not run these, latest first; the last of them is the one that failed.
    pub(in crate::session) fn undo(&mut self, skipped: Vec<Item>, memory: Option<&mut Memory>) {
        let failed = skipped.len().saturating_sub(1);
        let mut memory = memory;
        for (at, item) in skipped.into_iter().enumerate() {
            if let (Some(memory), Some(id)) = (&mut memory, item.statement) {
                match item.kind {
                    Kind::Close => memory.learn(id),
                    Kind::Bind | Kind::Describe => {}
                    Kind::Query => memory.unnamed = Some(id),
                    _ => {
                        memory.forget(id);
                        if memory.unnamed == Some(id) {
                            memory.unnamed = None;
                        }
                    }
                }
            }
            let mut next = item.undo;
            while let Some(mut undo) = next {
                next = undo.next.take();
                if item.kind == Kind::Query {
                    remember_taken(&undo, memory.as_deref_mut());
                }
                // PostgreSQL drops the unnamed statement before it looks at the new text.
                if at == failed && undo.name.is_empty() {
                    undo.previous = None;
                }
                self.take_back(*undo);
            }
        }
    }

    /// Gives a name back what it stood for; a later change that is on its way keeps that for its own undoing.
    fn take_back(&mut self, undo: Undo) {
        let mut queue = self.exchange.queue.iter_mut();
        let later = queue.find_map(|item| item.undo_of(&undo.name));
        match later {
            Some(later) => later.previous = undo.previous,
            None => self.prepared.restore(undo),
        }
    }

    /// A Query failed, which may have been to take a statement away.
    pub(in crate::session) fn undo_query(&mut self, memory: Option<&mut Memory>) {
        let front = self.exchange.queue.front_mut();
        let mut next = front.and_then(|item| item.undo.take());
        let mut memory = memory;
        while let Some(mut undo) = next {
            next = undo.next.take();
            // It ran far enough to drop the unnamed statement.
            if !undo.name.is_empty() {
                remember_taken(&undo, memory.as_deref_mut());
                if self.prepared.get(&undo.name).is_none() {
                    self.take_back(*undo);
                }
            }
        }
    }
}

/// A DEALLOCATE that did not run: the server still has the statement.
fn remember_taken(undo: &Undo, memory: Option<&mut Memory>) {
    if let (Some(memory), Some(taken)) = (memory, &undo.previous)
        && !undo.name.is_empty()
    {
        memory.learn(taken.id);
    }
}
