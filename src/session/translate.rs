//! Statements that SQL names and the protocol prepared: the same text under the name that servers know. Pure.

use std::rc::Rc;

use super::exchange::{Kind, Undo};
use super::{Desk, Session};
use crate::pool::statement::Statement;
use crate::sql::name::{self, Verb};
use crate::wire::reply;

/// A name that is being taken away, and what it stands for.
pub(super) type Taking = (Vec<u8>, Rc<Statement>);

impl Session {
    /// DEALLOCATE and EXECUTE of a statement that was prepared by protocol: the same under the name that
    /// the server knows, and the statement that goes if the Query succeeds. `None`: the name is not one of
    /// those.
    pub(super) fn translate(
        &mut self,
        text: &[u8],
        in_group: bool,
        input: &[u8],
        desk: &mut Desk<'_>,
    ) -> Option<(Vec<u8>, Option<Taking>)> {
        let named = name::of(text)?;
        if named.verb == Verb::DeallocateAll {
            return None;
        }
        let statement = self.prepared.get(&named.name)?.clone();
        let owed = self.exchange.queue.len();
        self.give(&statement, input, desk);
        if self.exchange.queue.len() > owed && !in_group {
            // Were the Parse to fail, the server would skip the Query that follows, but not this Sync.
            desk.to_server.own(input).extend_from_slice(&reply::SYNC);
            self.exchange.push_hidden(Kind::Sync, None);
        }
        let (name, length) = statement.name();
        let (before, after) = (&text[..named.at.start], &text[named.at.end..]);
        let text = [before, &name[..length], after].concat();
        if named.verb != Verb::Deallocate {
            return Some((text, None));
        }
        self.prepared.put(&named.name, None);
        if let Some(memory) = &mut desk.memory {
            memory.forget(statement.id);
        }
        // Of several statements in one text another may be the one that fails.
        let taking = named.alone.then_some((named.name, statement));
        Some((text, taking))
    }

    /// Lets the question that was queued last put a name back when the server skips it.
    pub(super) fn note_undo(&mut self, name: &[u8], previous: Option<Rc<Statement>>) {
        if let Some(item) = self.exchange.queue.back_mut() {
            let (name, next) = (name.into(), item.undo.take());
            item.undo = Some(Box::new(Undo { name, previous, next }));
        }
    }
}
