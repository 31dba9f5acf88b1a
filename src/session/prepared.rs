//! The prepared statements of one client: its own names, and the statements behind them. Pure.

use std::collections::HashMap;
use std::rc::Rc;

use super::exchange::Undo;
use crate::pool::memory::StatementId;
use crate::pool::statement::Statement;

type Names = HashMap<Box<[u8]>, Rc<Statement>, foldhash::fast::RandomState>;

/// Statement names of a session. A client that prepares nothing pays one pointer.
#[derive(Debug, Default)]
pub struct Prepared {
    unnamed: Option<Rc<Statement>>,
    named: Option<Box<Names>>,
    /// Names of statements that were too large to be kept; they bind the session to its server.
    large: Vec<Box<[u8]>>,
    /// Names that were made on the server so that it refuses them a second time; closed at the next Sync.
    strays: Vec<Box<[u8]>>,
}

impl Prepared {
    #[inline]
    pub fn get(&self, name: &[u8]) -> Option<&Rc<Statement>> {
        if name.is_empty() { self.unnamed.as_ref() } else { self.named.as_ref()?.get(name) }
    }

    /// Binds a name, or frees it with `None`; returns what it stood for.
    pub fn put(&mut self, name: &[u8], statement: Option<Rc<Statement>>) -> Option<Rc<Statement>> {
        if !self.large.is_empty() {
            self.large.retain(|large| **large != *name);
        }
        if name.is_empty() {
            return std::mem::replace(&mut self.unnamed, statement);
        }
        match statement {
            Some(statement) => self.named.get_or_insert_default().insert(name.into(), statement),
            None => self.named.as_mut()?.remove(name),
        }
    }

    /// The client's own names of a statement.
    pub fn names_of(&self, id: StatementId) -> impl Iterator<Item = &[u8]> {
        let unnamed = self.unnamed.iter().map(|statement| (&b""[..], statement));
        let named = self.named.iter().flat_map(|named| named.iter());
        named
            .map(|(name, statement)| (&**name, statement))
            .chain(unnamed)
            .filter_map(move |(name, statement)| (statement.id == id).then_some(name))
    }

    pub fn restore(&mut self, undo: Undo) {
        self.put(&undo.name, undo.previous);
    }

    /// Remembers a statement that only the present server has.
    pub fn put_large(&mut self, name: &[u8]) {
        self.put(name, None);
        self.large.push(name.into());
    }

    pub fn is_large(&self, name: &[u8]) -> bool {
        self.large.iter().any(|large| **large == *name)
    }

    pub fn holds_large(&self) -> bool {
        !self.large.is_empty()
    }

    pub fn put_stray(&mut self, name: &[u8]) {
        self.strays.push(name.into());
    }

    pub fn take_strays(&mut self) -> Vec<Box<[u8]>> {
        std::mem::take(&mut self.strays)
    }

    pub fn has_names(&self) -> bool {
        self.named.as_ref().is_some_and(|named| !named.is_empty())
    }

    pub fn clear(&mut self) {
        *self = Prepared::default();
    }
}
