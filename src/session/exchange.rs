//! The queue of answers that a server owes: what was asked, in order, and who asked it. Every answer is
//! matched with its question, so a server whose queue is not empty is never lent to anybody else. Pure.

use std::collections::VecDeque;
use std::rc::Rc;

use super::account::Asked;
use crate::pool::memory::StatementId;
use crate::pool::statement::Statement;
use crate::wire::server::TxStatus;

/// Names that a session's Parse or Close changed, to be restored when the server skips that message.
#[derive(Debug)]
pub struct Undo {
    pub name: Box<[u8]>,
    pub previous: Option<Rc<Statement>>,
    /// A DEALLOCATE changes its name and, being a simple query, the unnamed one.
    pub next: Option<Box<Undo>>,
}

/// One question.
#[derive(Debug)]
pub struct Item {
    pub kind: Kind,
    /// Asked by pgweir; the client sees nothing of the answer.
    pub hidden: bool,
    /// The statement that a Parse gives to the server, a Close takes from it, a Bind or Describe uses,
    /// a Query drops from the unnamed slot.
    pub statement: Option<StatementId>,
    pub undo: Option<Box<Undo>>,
    /// Stands for the client's own name of the statement, see `alias`.
    pub alias: u32,
    pub asked: Asked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Parse,
    Bind,
    /// Answered by RowDescription or NoData, after a ParameterDescription for statements.
    Describe,
    Execute,
    Close,
    /// Never sent: the client gets a ParseComplete in its place.
    FakeParse,
    /// Never sent: the client gets a CloseComplete in its place.
    FakeClose,
    /// CopyDone or CopyFail; has no answer of its own.
    CopyEnd,
    Sync,
    Query,
    FunctionCall,
}

impl Kind {
    /// Whether its answers end with ReadyForQuery.
    pub fn ends_with_ready(self) -> bool {
        matches!(self, Kind::Sync | Kind::Query | Kind::FunctionCall)
    }

    pub fn is_fake(self) -> bool {
        matches!(self, Kind::FakeParse | Kind::FakeClose)
    }
}

/// The queue, and what the last ReadyForQuery said.
#[derive(Debug, Default)]
pub struct Exchange {
    pub queue: VecDeque<Item>,
    pub status: TxStatus,
    /// An error was reported: the server ignores all up to the next Sync, which the client has not sent.
    pub skipping: bool,
    /// The server takes COPY data and ignores Sync until the client ends it.
    pub copying_in: bool,
    /// COPY both ways, as replication uses it.
    pub copying_both: bool,
    /// Messages since the last Sync that are part of an extended exchange.
    pub open_group: bool,
    /// A statement was sent in the group that is open.
    pub ran: bool,
    /// Something that is queued, or was until lately, opens a transaction block.
    pub begun: bool,
    /// Something that is queued, or was until lately, may take every prepared statement away.
    pub clears: bool,
    /// Sync messages in the queue.
    pub syncs: usize,
}

impl Item {
    /// What it changed of names.
    pub fn undos(&self) -> impl Iterator<Item = &Undo> {
        std::iter::successors(self.undo.as_deref(), |undo| undo.next.as_deref())
    }

    pub fn undo_of(&mut self, name: &[u8]) -> Option<&mut Undo> {
        let mut undo = self.undo.as_deref_mut()?;
        while *undo.name != *name {
            undo = undo.next.as_deref_mut()?;
        }
        Some(undo)
    }
}

/// A name in four bytes (FNV-1a): errors are rare, and a copy of every name would cost every Bind.
pub fn alias(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// What happens to one answer frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Show,
    Hide,
}

/// A queue longer than this gives its memory back when it is empty.
const KEEP_QUEUE: usize = 16;

impl Exchange {
    pub fn push(&mut self, kind: Kind) {
        self.syncs += usize::from(kind == Kind::Sync);
        self.ran = kind == Kind::Execute || (self.ran && !kind.ends_with_ready());
        self.add(kind, false, None);
    }

    pub fn push_hidden(&mut self, kind: Kind, statement: Option<StatementId>) {
        self.syncs += usize::from(kind == Kind::Sync);
        self.add(kind, true, statement);
    }

    fn add(&mut self, kind: Kind, hidden: bool, statement: Option<StatementId>) {
        let asked = Asked::default();
        self.queue.push_back(Item { kind, hidden, statement, undo: None, alias: 0, asked });
    }

    /// Nothing is owed and no group is half-sent.
    pub fn is_settled(&self) -> bool {
        self.queue.is_empty() && !self.skipping && !self.open_group && !self.copying_both
    }

    /// It is as if nothing had ever been asked.
    pub fn is_untouched(&self) -> bool {
        self.is_settled() && self.status == TxStatus::Idle && !self.begun && !self.clears
    }

    /// No server has to answer what is queued.
    pub fn is_all_fake(&self) -> bool {
        self.queue.iter().all(|item| item.kind.is_fake())
    }

    /// A group that was sent before and is not answered may have failed inside a transaction block, so that
    /// the server refuses what comes next; or that is known already.
    pub fn may_have_failed(&self) -> bool {
        match self.status {
            TxStatus::Failed => true,
            TxStatus::Idle if !self.begun => false,
            _ => self.queue.iter().any(|item| item.kind.ends_with_ready()),
        }
    }

    /// An error in what is queued may make the server skip the next message.
    pub fn may_skip_next(&self) -> bool {
        let since_sync = self.queue.iter().rev();
        since_sync.take_while(|item| item.kind != Kind::Sync).any(|item| !item.kind.ends_with_ready())
    }

    pub fn clear(&mut self) {
        self.queue.clear();
        self.queue.shrink_to(KEEP_QUEUE);
        *self = Exchange { queue: std::mem::take(&mut self.queue), ..Exchange::default() };
    }

    /// Gives back the queue's memory while nothing is owed.
    pub fn slim(&mut self) {
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    /// Takes the front item when it is of this kind. `None`: the server answers what nobody asked.
    pub fn pop(&mut self, kind: Kind) -> Option<Item> {
        self.drop_copy_ends();
        self.queue.pop_front_if(|item| item.kind == kind)
    }

    /// Takes CopyEnd markers off the front: the data they ended has been answered.
    pub fn drop_copy_ends(&mut self) {
        while self.queue.pop_front_if(|item| item.kind == Kind::CopyEnd).is_some() {}
    }

    /// The server started to take COPY data: it ignores every Sync that was sent ahead of the end of the
    /// data, so those will never be answered (PostgreSQL, `CopyGetData`).
    pub fn begin_copy_in(&mut self) {
        while self.queue.get(1).is_some_and(|item| item.kind == Kind::Sync) {
            self.queue.remove(1);
            self.syncs -= 1;
        }
        self.copying_in = !self.queue.iter().any(|item| item.kind == Kind::CopyEnd);
        self.open_group |= !self.queue.iter().any(|item| item.kind.ends_with_ready());
    }

    /// An error ended an extended exchange: takes out what the server skips, all up to the next Sync, and
    /// returns it, latest first. Without a Sync in the queue, skipping goes on with what the client sends.
    pub fn skip_to_sync(&mut self) -> Vec<Item> {
        let end = self.queue.iter().position(|item| item.kind == Kind::Sync);
        self.skipping = end.is_none();
        self.copying_in = false;
        let mut skipped: Vec<Item> = self.queue.drain(..end.unwrap_or(self.queue.len())).collect();
        skipped.reverse();
        skipped
    }

    /// ReadyForQuery: takes its question off the front. `None`: it answers nothing that was asked.
    pub fn ready(&mut self, status: TxStatus) -> Option<Item> {
        self.drop_copy_ends();
        self.status = status;
        self.copying_in = false;
        self.copying_both = false;
        let item = self.queue.pop_front_if(|item| item.kind.ends_with_ready());
        self.drop_copy_ends();
        if item.as_ref().is_some_and(|item| item.kind == Kind::Sync) {
            self.syncs -= 1;
        }
        self.begun &= !self.queue.is_empty();
        self.clears &= !self.queue.is_empty();
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(exchange: &Exchange) -> Vec<Kind> {
        exchange.queue.iter().map(|item| item.kind).collect()
    }

    fn exchange(kinds: &[Kind]) -> Exchange {
        let mut exchange = Exchange::default();
        kinds.iter().for_each(|&kind| exchange.push(kind));
        exchange
    }

    #[test]
    fn an_error_skips_to_the_next_sync_only() {
        let mut one = exchange(&[Kind::Bind, Kind::Query, Kind::Sync, Kind::Parse, Kind::Sync]);
        assert_eq!(one.skip_to_sync().len(), 2);
        assert_eq!(kinds(&one), [Kind::Sync, Kind::Parse, Kind::Sync]);
        let mut open = exchange(&[Kind::Bind, Kind::Execute]);
        open.skip_to_sync();
        assert!(open.skipping && open.queue.is_empty());
    }

    #[test]
    fn a_sync_sent_into_copy_data_is_never_answered() {
        let mut early = exchange(&[Kind::Execute, Kind::Sync]);
        early.begin_copy_in();
        assert_eq!(kinds(&early), [Kind::Execute]);
        assert!(early.copying_in && early.open_group);
        let mut ended = exchange(&[Kind::Execute, Kind::CopyEnd, Kind::Sync]);
        ended.begin_copy_in();
        assert_eq!(kinds(&ended), [Kind::Execute, Kind::CopyEnd, Kind::Sync]);
        assert!(!ended.copying_in);
    }
}
