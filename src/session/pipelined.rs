//! The answers to a pipeline of one statement when it was done in another way than one by one: writes them frame by
//! frame as PostgreSQL would have, and leaves the session as if a server had answered each. Who did it is not known
//! here. Pure.

use super::pipeline::{Messages, Run};
use super::{Session, heal};
use crate::wire::client::{Bind, Parse, tag};
use crate::wire::server::TxStatus;
use crate::wire::{HEADER, reply};

impl Session {
    /// One statement does what the client asked for; until it has, the session is busy.
    pub fn begin_run(&mut self) {
        self.exchange.open_group = true;
    }

    /// It was done, and the server's status is now this.
    pub fn run_answered(&mut self, input: &[u8], run: &Run, status: TxStatus) {
        self.note_messages(&input[..run.size], run, status);
        self.tally.queries += run.rows + u32::from(run.begin.is_some());
        self.tally.transactions += u32::from(status == TxStatus::Idle);
        self.exchange.open_group = !run.ended;
        self.exchange.ran = !run.ended;
    }

    /// It was not done, and the server is as it was before: the client's own messages follow.
    pub fn run_undone(&mut self, status: TxStatus, group_open: bool) {
        self.exchange.status = status;
        self.exchange.open_group = group_open;
    }

    /// It failed as the first of them would have failed, up to `end` of the input, where the next Sync ends or the
    /// run does. What follows before a Sync is ignored.
    pub fn run_failed(&mut self, input: &[u8], run: &Run, (end, synced): (usize, bool), status: TxStatus) {
        self.note_messages(&input[..end], run, status);
        self.tally.queries += 1;
        self.exchange.open_group = !synced;
        self.exchange.skipping = !synced;
        self.exchange.ran = false;
    }

    /// Whether a group is open, to be told to `run_undone`.
    pub fn has_open_group(&self) -> bool {
        self.exchange.open_group
    }

    /// The next request of the input fails with this error, which is a frame. Returns what of the input is thereby
    /// done; of an extended request all up to its Sync is ignored.
    pub fn fail_next(&mut self, input: &[u8], error: &[u8], status: TxStatus, answer: &mut Vec<u8>) -> usize {
        self.read_ahead = None;
        self.tally.error = Some(crate::wire::server::sqlstate(error.get(HEADER..).unwrap_or_default()));
        answer.extend_from_slice(error);
        let message = Messages { input, at: 0 }.peek();
        match message.filter(|message| matches!(message.tag, tag::QUERY | tag::FUNCTION_CALL)) {
            Some(message) => {
                self.tally.readies += 1;
                answer.extend_from_slice(&reply::ready(status));
                message.end
            }
            None => {
                self.exchange.skipping = true;
                0
            }
        }
    }

    /// Whether the next request of the input ends the transaction. `Some(true)`: with COMMIT. One that begins another
    /// at once, or prepares it, is not told.
    pub fn next_ends(&self, input: &[u8]) -> Option<bool> {
        let messages = Messages { input, at: 0 };
        let message = messages.peek()?;
        let text = match message.tag {
            tag::QUERY => crate::wire::client::query_text(message.body),
            tag::PARSE => Parse::read(message.body).map(|parse| parse.text),
            tag::BIND => {
                let bind = Bind::read(message.body);
                bind.and_then(|bind| self.prepared.get(bind.statement)).map(|statement| &*statement.text)
            }
            _ => Some(&b""[..]),
        };
        let text = text?.trim_ascii();
        let text = text.strip_suffix(b";").unwrap_or(text).trim_ascii();
        let is = |words: [&[u8]; 4]| words.iter().any(|words| text.eq_ignore_ascii_case(words));
        match () {
            () if is([b"commit", b"end", b"commit transaction", b"commit work"]) => Some(true),
            () if is([b"rollback", b"abort", b"rollback transaction", b"rollback work"]) => Some(false),
            () if message.tag == tag::TERMINATE => Some(false),
            () => None,
        }
    }

    fn note_messages(&mut self, input: &[u8], run: &Run, status: TxStatus) {
        self.read_ahead = None;
        self.kept = heal::Kept::Nothing;
        self.exchange.status = status;
        self.tally.readies += Messages { input, at: 0 }.fold_syncs();
        for (at, statement) in &run.names {
            self.tally.statement_hits += 1;
            self.prepared.put(&input[at.clone()], Some(statement.clone()));
        }
    }
}

impl Messages<'_> {
    fn fold_syncs(mut self) -> u32 {
        let mut syncs = 0;
        while let Some(message) = self.peek() {
            syncs += u32::from(message.tag == tag::SYNC);
            self.at = message.end;
        }
        syncs
    }
}

/// Calls `each` with every Bind of a run.
pub fn each_bind<'a>(input: &'a [u8], run: &Run, mut each: impl FnMut(Bind<'a>) -> bool) -> bool {
    let at = run.begin.as_ref().map_or(0, |(_, size)| *size);
    let mut messages = Messages { input: &input[..run.size], at };
    while let Some(message) = messages.peek() {
        messages.at = message.end;
        if message.tag == tag::BIND && !Bind::read(message.body).is_some_and(&mut each) {
            return false;
        }
    }
    true
}

/// Writes the answers to a run that was done. `parameters`: the ParameterDescription frame of its statement.
pub fn write_answers(input: &[u8], run: &Run, parameters: &[u8], status: TxStatus, out: &mut Vec<u8>) {
    let begin = run.begin.as_ref().map_or(0, |(_, size)| *size);
    write_messages(&input[..run.size], begin, parameters, status, out);
}

fn write_messages(input: &[u8], begin: usize, parameters: &[u8], status: TxStatus, out: &mut Vec<u8>) {
    let mut messages = Messages { input, at: 0 };
    while let Some(message) = messages.peek() {
        messages.at = message.end;
        match message.tag {
            tag::PARSE => out.extend_from_slice(&reply::PARSE_COMPLETE),
            tag::BIND => out.extend_from_slice(&reply::BIND_COMPLETE),
            tag::DESCRIBE => {
                if message.body.first() == Some(&b'S') {
                    out.extend_from_slice(parameters);
                }
                out.extend_from_slice(&NO_DATA);
            }
            tag::EXECUTE if message.at < begin => out.extend_from_slice(BEGUN),
            tag::EXECUTE => out.extend_from_slice(INSERTED),
            _ => out.extend_from_slice(&reply::ready(status)),
        }
    }
}

/// Writes the answers to a run whose first execution failed with this error. Returns where in the input the answers
/// end, and whether with a Sync.
pub fn write_failure(
    input: &[u8],
    run: &Run,
    (parameters, error): (&[u8], &[u8]),
    status: TxStatus,
    out: &mut Vec<u8>,
) -> (usize, bool) {
    let begin = run.begin.as_ref().map_or(0, |(_, size)| *size);
    let mut messages = Messages { input: &input[..run.size], at: begin };
    let mut failed = begin;
    // Up to its Execute all was well.
    while let Some(message) = messages.peek().filter(|message| message.tag != tag::EXECUTE) {
        messages.at = message.end;
        failed = message.end;
    }
    write_messages(&input[..failed], begin, parameters, TxStatus::InTransaction, out);
    out.extend_from_slice(error);
    while let Some(message) = messages.peek() {
        messages.at = message.end;
        if message.tag == tag::SYNC {
            out.extend_from_slice(&reply::ready(status));
            return (message.end, true);
        }
    }
    (run.size, false)
}

const NO_DATA: [u8; 5] = *b"n\0\0\0\x04";
const BEGUN: &[u8] = b"C\0\0\0\x0aBEGIN\0";
const INSERTED: &[u8] = b"C\0\0\0\x0fINSERT 0 1\0";
