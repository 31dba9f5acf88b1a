//! Heals `cached plan must not change result type`: a statement that pgweir kept on a server fails there
//! after a schema change, where a Parse of the client's own would have worked. The group of messages is
//! kept while its answer is awaited, and runs again on the statement parsed anew. Pure.

use super::exchange::Kind;
use super::{Desk, Session};
use crate::pool::settings::PoolMode;
use crate::pool::statement;
use crate::wire::client::{Bind, Parse, Target, TargetKind, tag};
use crate::wire::server::{TxStatus, error_field, sqlstate};
use crate::wire::{self, HEADER};

/// A longer group is not kept, and its error is shown. Parameters of ordinary queries fit many times.
const GROUP_MAX: usize = 16 * 1024;

/// Where the group that is kept stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    #[default]
    Nothing,
    /// The client has not sent its Sync.
    Open,
    /// Whole, alone in the queue, and nothing of it is answered.
    Whole,
}

impl Session {
    /// Before a message of the client is processed: it may begin a group worth keeping. Only outside of a
    /// transaction and with nothing else owed can a group run twice without anybody noticing.
    #[inline]
    pub(in crate::session) fn begin_group(&mut self, tag: u8, desk: &mut Desk<'_>) {
        let begins = matches!(tag, tag::PARSE | tag::BIND | tag::DESCRIBE)
            && self.exchange.queue.is_empty()
            && !self.exchange.open_group
            && self.exchange.status == TxStatus::Idle
            && self.mode != PoolMode::Session;
        if begins && let Some(memory) = &mut desk.memory {
            memory.group.clear();
            self.kept = Kept::Open;
        }
    }

    /// After a message of a group was processed: `frame` is all that is here of it.
    #[inline]
    pub(in crate::session) fn keep_message(&mut self, tag: u8, frame: &[u8], desk: &mut Desk<'_>) {
        let extended =
            matches!(tag, tag::PARSE | tag::BIND | tag::DESCRIBE | tag::EXECUTE | tag::CLOSE | tag::SYNC);
        // A Parse that reached the server is the client's own, and fails only where it has to.
        let own =
            tag == tag::PARSE && self.exchange.queue.back().is_some_and(|item| item.kind == Kind::Parse);
        let fits = |group: &Vec<u8>| group.len() + frame.len() <= GROUP_MAX;
        match &mut desk.memory {
            Some(memory)
                if self.kept == Kept::Open
                    && extended
                    && !own
                    && self.client_pass == 0
                    && fits(&memory.group) =>
            {
                memory.group.extend_from_slice(frame);
                if tag == tag::SYNC {
                    self.kept = Kept::Whole;
                }
            }
            _ => self.kept = Kept::Nothing,
        }
    }

    /// An error came, and nothing else of the group: when it is the one that can be healed, sends the
    /// group again and returns true; the client must then not see the error.
    pub(in crate::session) fn heal(&mut self, error: &[u8], desk: &mut Desk<'_>) -> bool {
        if std::mem::take(&mut self.kept) != Kept::Whole || !is_stale_plan(error) {
            return false;
        }
        let mut queue = self.exchange.queue.iter();
        let failed = queue.find(|item| !item.kind.is_fake());
        let Some(id) = failed.and_then(|item| item.statement) else {
            return false;
        };
        let Some(memory) = &mut desk.memory else {
            return false;
        };
        let group = std::mem::take(&mut memory.group);
        let heals = may_run_again(&group);
        if heals {
            let tally = self.tally;
            self.replay(id, &group, desk);
            self.tally = tally;
        }
        if let Some(memory) = &mut desk.memory {
            memory.group = group;
        }
        heals
    }

    fn replay(&mut self, id: u64, group: &[u8], desk: &mut Desk<'_>) {
        let skipped = self.exchange.skip_to_sync();
        self.undo(skipped, desk.memory.as_deref_mut());
        if let Some(sync) = self.exchange.queue.front_mut() {
            sync.hidden = true;
        }
        if let Some(memory) = &mut desk.memory {
            if memory.unnamed == Some(id) {
                memory.unnamed = None;
            } else {
                memory.forget(id);
                self.close_hidden(&statement::name(id), None, &[], desk);
            }
        }
        self.take_again(group, desk);
        // What was sent are ranges of the group, which does not outlive this.
        desk.to_server.own(group);
        self.kept = Kept::Nothing;
    }
}

/// Only PostgreSQL's check of kept plans: other errors of this SQLSTATE are the client's affair. The
/// message is translated, the routine's name is not.
fn is_stale_plan(error: &[u8]) -> bool {
    sqlstate(error) == *b"0A000" && error_field(error, b'R') == Some(b"RevalidateCachedQuery")
}

/// Whether the client cannot tell a second run of the group from a first one on a fresh statement: it
/// parses the statement here, or asks here what its result looks like. A client that prepared the
/// statement long ago, and knows its result from then, must see the error.
fn may_run_again(group: &[u8]) -> bool {
    let mut rest = group;
    let mut failed: Option<(&[u8], &[u8])> = None;
    let mut parsed: Vec<&[u8]> = Vec::new();
    while let Ok(Some(head)) = wire::head(rest)
        && rest.len() >= head.size
    {
        let body = &rest[HEADER..head.size];
        rest = &rest[head.size..];
        let target = Target::read(body);
        match (head.tag, failed) {
            (tag::PARSE, None) => parsed.extend(Parse::read(body).map(|parse| parse.name)),
            (tag::BIND, None) => {
                let Some(bind) = Bind::read(body) else {
                    return false;
                };
                if parsed.contains(&bind.statement) {
                    return true;
                }
                failed = Some((bind.statement, bind.portal));
            }
            // A Describe that fails first is itself the question.
            (tag::DESCRIBE, None) => {
                return target.is_some_and(|target| target.kind == TargetKind::Statement);
            }
            (tag::DESCRIBE, Some((statement, portal))) => {
                let asks = target.is_some_and(|target| match target.kind {
                    TargetKind::Statement => target.name == statement,
                    TargetKind::Portal => target.name == portal,
                });
                if asks {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}
