//! A row found no partition (23514, `ExecFindPartition`): outside of a transaction nothing has happened then, so the
//! error is held while somebody makes the partition, and the request is sent once more. What it answers then is what
//! the client sees, be it the same error. Who makes partitions is not known here. Pure.

use super::exchange::Kind;
use super::heal::Kept;
use super::{Desk, Session};
use crate::catalog::OWN_CHECK;
use crate::sql::kind;
use crate::wire;
use crate::wire::client::tag;
use crate::wire::server::{error_field, sqlstate};

/// The partition that a row lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    pub schema: String,
    pub table: String,
    /// The row's key, as PostgreSQL writes it. `None`: there is a partition, and this check of it refuses the row.
    pub value: Result<String, String>,
}

/// No key of a time is longer.
const VALUE_MAX: usize = 64;

impl Session {
    /// Holds back an error that a new partition may heal, if the request that failed is kept as a whole and nothing
    /// that it changed stays. The answer is hidden up to its ReadyForQuery.
    pub(super) fn hold_lack(&mut self, error: &[u8], desk: &mut Desk<'_>) -> bool {
        if self.group != Kept::Whole || !desk.interner.keeps_writes {
            return false;
        }
        let front = self.exchange.queue.front();
        let asked = front.filter(|item| !item.hidden && matches!(item.kind, Kind::Execute | Kind::Query));
        let shape = asked.and_then(|item| item.asked.known.as_ref()?.shapes.get(0));
        let writes = shape.is_some_and(|shape| matches!(shape.kind, kind::Kind::Insert | kind::Kind::Write));
        let Some(lack) = lack(error).filter(|_| writes) else {
            return false;
        };
        if self.exchange.queue.front().is_some_and(|item| item.kind == Kind::Execute) {
            let skipped = self.exchange.skip_to_sync();
            self.undo(skipped, desk.memory.as_deref_mut());
        }
        if let Some(last) = self.exchange.queue.front_mut() {
            last.hidden = true;
        }
        self.lack = Some(lack);
        true
    }

    /// What to make, once the failed request is answered to its end. Until [`Session::try_again`] the session waits.
    pub fn lack(&self) -> Option<&Lack> {
        self.lack.as_ref().filter(|_| self.exchange.queue.is_empty())
    }

    /// Sends the request once more. What the client has seen of its answer is not shown again.
    pub fn try_again(&mut self, desk: &mut Desk<'_>) {
        self.lack = None;
        let Some(memory) = &mut desk.memory else {
            return;
        };
        let group = std::mem::take(&mut memory.group);
        let again = without_parse(&group);
        let (tally, asks) = (self.tally, desk.notes.asks.len());
        self.take_again(&again, desk);
        self.tally = tally;
        desk.notes.asks.truncate(asks);
        // What was sent are ranges of the request, which does not outlive this.
        desk.to_server.own(&again);
        (self.kept, self.group) = (Kept::Nothing, Kept::Nothing);
        let queue = &mut self.exchange.queue;
        let failed = |kind: Kind| matches!(kind, Kind::Execute | Kind::Query);
        let mut at = 0;
        while let Some(item) = queue.get_mut(at).filter(|item| !failed(item.kind)) {
            if item.kind.is_fake() {
                queue.remove(at);
            } else {
                item.hidden = true;
                at += 1;
            }
        }
        let simple = queue.front().is_some_and(|item| item.kind == Kind::Query);
        self.hides_description = simple && self.described;
    }
}

/// The messages of a request without those that prepare: that was done, and stays.
fn without_parse(group: &[u8]) -> Vec<u8> {
    let mut rest = group;
    let mut again = Vec::with_capacity(group.len());
    while let Ok(Some(head)) = wire::head(rest)
        && let Some((frame, behind)) = rest.split_at_checked(head.size)
    {
        if head.tag != tag::PARSE {
            again.extend_from_slice(frame);
        }
        rest = behind;
    }
    again
}

/// `None`: another error, or one whose row is not told.
fn lack(error: &[u8]) -> Option<Lack> {
    let field = |name| error_field(error, name).and_then(|field| str::from_utf8(field).ok());
    (sqlstate(error) == *b"23514").then_some(())?;
    let value = match (field(b'R')?, field(b'n')) {
        ("ExecFindPartition", _) => {
            // Only the words around `(key) = (value)` are translated.
            let (_, value) = field(b'D')?.rsplit_once(") = (")?;
            let (value, _) = value.rsplit_once(')')?;
            Ok((value.len() <= VALUE_MAX).then(|| value.to_owned())?)
        }
        ("ExecConstraints", Some(check)) if check.starts_with(OWN_CHECK) => Err(check.to_owned()),
        _ => return None,
    };
    Some(Lack { schema: field(b's')?.to_owned(), table: field(b't')?.to_owned(), value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_is_read_from_the_error() {
        let error = |code: &str, detail: &str| {
            format!("SERROR\0C{code}\0Mno\0D{detail}\0spublic\0tevents\0RExecFindPartition\0\0").into_bytes()
        };
        let detail = "Partition key of the failing row contains (at) = (2027-01-01 00:00:00+00).";
        let found = lack(&error("23514", detail)).unwrap();
        assert_eq!(
            (&*found.schema, &*found.table, found.value.as_deref()),
            ("public", "events", Ok("2027-01-01 00:00:00+00"))
        );
        assert_eq!(lack(&error("23505", detail)), None);
        assert_eq!(lack(&error("23514", "nothing")), None);
        assert_eq!(lack(&error("23514", &format!("(at) = ({}).", "x".repeat(VALUE_MAX + 1)))), None);
    }
}
