//! Heals `cached plan must not change result type` and its like: a statement that pgweir kept on a server
//! fails there after a schema change, where a Parse of the client's own would have worked or failed itself. The group of messages is
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
        let begins = (matches!(tag, tag::PARSE | tag::BIND | tag::DESCRIBE)
            || (tag == tag::QUERY && desk.interner.keeps_writes))
            && self.exchange.queue.is_empty()
            && !self.exchange.open_group
            && self.exchange.status == TxStatus::Idle
            && self.mode != PoolMode::Session;
        if begins && let Some(memory) = &mut desk.memory {
            memory.group.clear();
            (self.kept, self.group, self.described) = (Kept::Open, Kept::Open, false);
        }
    }

    /// After a message of a group was processed: `frame` is all that is here of it.
    #[inline]
    pub(in crate::session) fn keep_message(&mut self, tag: u8, frame: &[u8], desk: &mut Desk<'_>) {
        let extended =
            matches!(tag, tag::BIND | tag::DESCRIBE | tag::EXECUTE | tag::CLOSE | tag::PARSE | tag::SYNC);
        let fits = |group: &Vec<u8>| group.len() + frame.len() <= GROUP_MAX;
        match &mut desk.memory {
            Some(memory)
                if self.group == Kept::Open
                    && (extended || tag == tag::QUERY)
                    && self.client_pass == 0
                    && fits(&memory.group) =>
            {
                memory.group.extend_from_slice(frame);
                let last = self.exchange.queue.back();
                // A Parse that reached the server is the client's own, and fails only where it has to.
                if tag == tag::QUERY
                    || (tag == tag::PARSE && last.is_some_and(|item| item.kind == Kind::Parse))
                {
                    self.kept = Kept::Nothing;
                }
                if matches!(tag, tag::SYNC | tag::QUERY) {
                    self.group = Kept::Whole;
                    if self.kept == Kept::Open {
                        self.kept = Kept::Whole;
                    }
                }
            }
            _ => (self.kept, self.group) = (Kept::Nothing, Kept::Nothing),
        }
    }

    /// An error came, and nothing else of the group: when it is one that can be healed, sends the group
    /// again and returns true; the client must then not see the error.
    pub(in crate::session) fn heal(&mut self, error: &[u8], desk: &mut Desk<'_>) -> bool {
        if std::mem::take(&mut self.kept) != Kept::Whole || !may_be_stale(error) {
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
        let heals = match first_use(&group) {
            Some(Use::Parsed) => true,
            Some(Use::Asked) => is_stale_plan(error),
            None => false,
        };
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

/// PostgreSQL's own check of kept plans. The message is translated, the routine's name is not.
fn is_stale_plan(error: &[u8]) -> bool {
    sqlstate(error) == *b"0A000" && error_field(error, b'R') == Some(b"RevalidateCachedQuery")
}

/// Errors that come of a statement which was parsed under another schema: what it names is gone or means
/// something else, or somebody took the statement itself away.
fn may_be_stale(error: &[u8]) -> bool {
    let code = sqlstate(error);
    code.starts_with(b"42") || is_stale_plan(error) || [*b"26000", *b"3F000", *b"XX000"].contains(&code)
}

/// What a group does with the statement that it uses first.
#[derive(Debug, PartialEq, Eq)]
enum Use {
    /// It parses it, so whatever the first run said of it, a Parse of the client's own would have been fresh.
    Parsed,
    /// It asks what the result looks like, so a result of another type surprises nobody.
    Asked,
}

/// `None`: a client that prepared the statement long ago, and knows its result from then.
fn first_use(group: &[u8]) -> Option<Use> {
    let mut rest = group;
    let mut used: Option<(&[u8], &[u8])> = None;
    let mut parsed: Vec<&[u8]> = Vec::new();
    while let Ok(Some(head)) = wire::head(rest)
        && let Some(body) = rest.get(HEADER..head.size)
    {
        rest = &rest[head.size..];
        let target = Target::read(body);
        match (head.tag, used) {
            (tag::PARSE, None) => parsed.push(Parse::read(body)?.name),
            (tag::BIND, None) => {
                let bind = Bind::read(body)?;
                if parsed.contains(&bind.statement) {
                    return Some(Use::Parsed);
                }
                used = Some((bind.statement, bind.portal));
            }
            (tag::DESCRIBE, None) => {
                let target = target.filter(|target| target.kind == TargetKind::Statement)?;
                let is_parsed = parsed.contains(&target.name);
                return Some(if is_parsed { Use::Parsed } else { Use::Asked });
            }
            (tag::DESCRIBE, Some((statement, portal))) => {
                let target = target?;
                let asks = match target.kind {
                    TargetKind::Statement => target.name == statement,
                    TargetKind::Portal => target.name == portal,
                };
                if asks {
                    return Some(Use::Asked);
                }
            }
            _ => {}
        }
    }
    None
}
