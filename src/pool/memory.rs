//! What one server connection knows: the baggage it carries and the statements prepared on it. Pure; a
//! session reads and writes it while it borrows the connection.

use std::collections::HashMap;
use std::rc::Rc;

use super::baggage::Baggage;

/// Identifies a statement among all that pgweir prepares; never used twice.
pub type StatementId = u64;

#[derive(Debug, Clone)]
pub struct Memory {
    pub baggage: Rc<Baggage>,
    /// The statement in the server's unnamed slot.
    pub unnamed: Option<StatementId>,
    /// Values the server reported with ParameterStatus, by name.
    pub parameters: Vec<(String, String)>,
    /// It reads backslashes in plain strings as themselves (`standard_conforming_strings`).
    pub standard_strings: bool,
    /// The messages that its session may have to send once more; kept here because clients are many and
    /// servers few.
    pub group: Vec<u8>,
    /// Statement → when it was used last, in uses.
    statements: HashMap<StatementId, u64, foldhash::fast::RandomState>,
    uses: u64,
    statements_max: usize,
}

/// Statements beyond the bound that a transaction may make; few make as many different ones.
const TRANSACTION_SLACK: usize = 64;

impl Memory {
    /// `statements_max` ≥ 1 bounds the statements kept prepared on the server.
    pub fn new(statements_max: usize) -> Self {
        Memory {
            baggage: Rc::default(),
            unnamed: None,
            parameters: Vec::new(),
            standard_strings: true,
            group: Vec::new(),
            statements: HashMap::default(),
            uses: 0,
            statements_max: statements_max.max(1),
        }
    }

    /// Whether the server has this statement; marks it as used.
    #[inline]
    pub fn knows(&mut self, id: StatementId) -> bool {
        self.uses += 1;
        match self.statements.get_mut(&id) {
            Some(used) => {
                *used = self.uses;
                true
            }
            None => false,
        }
    }

    /// The statement to close before another is made, if there are too many. A transaction may have some
    /// more: once it fails, what was closed in it could not be made again.
    pub fn make_room(&mut self, in_transaction: bool) -> Option<StatementId> {
        let slack = if in_transaction { TRANSACTION_SLACK } else { 0 };
        if self.statements.len() < self.statements_max + slack {
            return None;
        }
        let oldest = self.statements.iter().min_by_key(|&(_, used)| *used).map(|(&id, _)| id)?;
        self.statements.remove(&oldest);
        Some(oldest)
    }

    /// The server is being given this statement, or a Close of it never ran.
    pub fn learn(&mut self, id: StatementId) {
        self.uses += 1;
        self.statements.insert(id, self.uses);
    }

    pub fn forget(&mut self, id: StatementId) -> bool {
        self.statements.remove(&id).is_some()
    }

    /// The server lost every prepared statement (DISCARD ALL, DEALLOCATE ALL).
    pub fn forget_all(&mut self) {
        self.statements.clear();
        self.unnamed = None;
    }

    pub fn statements(&self) -> usize {
        self.statements.len()
    }

    /// Notes a ParameterStatus.
    pub fn report(&mut self, name: &[u8], value: &[u8]) {
        if name == b"standard_conforming_strings" {
            self.standard_strings = value == b"on";
        }
        let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        match self.parameters.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value.into_owned(),
            None => self.parameters.push((name.into_owned(), value.into_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_statement_makes_room() {
        let mut memory = Memory::new(2);
        [1, 2].into_iter().for_each(|id| memory.learn(id));
        assert!(memory.knows(1));
        assert_eq!(memory.make_room(true), None);
        assert_eq!((memory.make_room(false), memory.make_room(false)), (Some(2), None));
        memory.learn(3);
        assert!(memory.knows(1) && memory.knows(3) && !memory.knows(2));
        memory.forget_all();
        assert_eq!(memory.statements(), 0);
    }
}
