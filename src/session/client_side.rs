//! What a client sends: cut into frames, matched with what servers know, queued and passed on. Pure.

use super::exchange::Kind;
use super::heal::Kept;
use super::{Desk, HOLD_MAX, Need, Session, Step};
use crate::error::ClientError;
use crate::pool::settings::PoolMode;
use crate::sql::Traits;
use crate::wire::client::{Bind, Target, TargetKind, query_text, tag};
use crate::wire::server::TxStatus;
use crate::wire::{self, HEADER, Head, reply};

/// What became of one frame.
enum Taken {
    /// It was processed, all of it that is here.
    Frame,
    /// It needs something first.
    Not(Need),
}

/// A frame, or as much of it as has arrived.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) head: Head,
    /// Where it starts in the input.
    pub(super) at: usize,
    /// What is there of its body.
    pub(super) body: &'a [u8],
    pub(super) whole: bool,
}

impl Session {
    /// Processes what the client sent. Call again with the bytes that were not consumed, once there is
    /// what the returned step needs.
    #[must_use = "the step says what is needed before the next"]
    pub fn on_client(&mut self, input: &[u8], desk: &mut Desk<'_>) -> Step {
        let mut at = 0;
        let need = loop {
            at += self.stream(input, at, desk);
            at += self.copy_data(input, at, desk);
            let rest = &input[at..];
            let head = match wire::head(rest) {
                Ok(Some(head)) => head,
                Ok(None) => break Need::Bytes(HEADER),
                Err(bad) => break Need::Refuse(bad_length(bad)),
            };
            let end = head.size.min(rest.len());
            let whole = end == head.size;
            let frame = Frame { head, at, body: &rest[HEADER..end], whole };
            match self.take_frame(input, frame, desk) {
                Taken::Not(need) => break need,
                Taken::Frame => {
                    if self.group != Kept::Nothing {
                        self.keep_message(head.tag, &rest[..end], desk);
                    }
                    at += end;
                }
            }
        };
        Step { consumed: at, need }
    }

    /// Processes a group of whole frames once more.
    pub(in crate::session) fn take_again(&mut self, group: &[u8], desk: &mut Desk<'_>) {
        let mut at = 0;
        while let Ok(Some(head)) = wire::head(&group[at..]) {
            let body = &group[at + HEADER..at + head.size];
            let frame = Frame { head, at, body, whole: true };
            // It was taken before, so nothing is missing that it needs.
            let _ = self.take_frame(group, frame, desk);
            at += head.size;
        }
    }

    /// Passes on, or drops, what belongs to a frame that is being streamed.
    pub(super) fn stream(&mut self, input: &[u8], at: usize, desk: &mut Desk<'_>) -> usize {
        let available = input.len() - at;
        if self.client_drop > 0 {
            let n = self.client_drop.min(available);
            self.client_drop -= n;
            return n;
        }
        let n = self.client_pass.min(available);
        if n > 0 {
            desk.to_server.pass(input, at..at + n);
            self.client_pass -= n;
        }
        n
    }

    /// Passes on a run of COPY data; most of a COPY is nothing else.
    fn copy_data(&mut self, input: &[u8], at: usize, desk: &mut Desk<'_>) -> usize {
        if !self.exchange.copying_in || desk.memory.is_none() || self.exchange.skipping {
            return 0;
        }
        let n = wire::run(&input[at..], tag::COPY_DATA);
        if n > 0 {
            desk.to_server.pass(input, at..at + n);
        }
        n
    }

    fn take_frame(&mut self, input: &[u8], frame: Frame<'_>, desk: &mut Desk<'_>) -> Taken {
        self.note_beginning(desk);
        if self.exchange.skipping && is_skipped(frame.head.tag) {
            return self.drop_frame(frame);
        }
        if desk.memory.is_none() {
            // A server is not borrowed for a client that is slow to say what it wants.
            let small =
                frame.head.size <= HOLD_MAX && !matches!(frame.head.tag, tag::COPY_DATA | tag::COPY_FAIL);
            if !frame.whole && small && frame.head.tag != tag::COPY_DONE {
                return Taken::Not(Need::Bytes(frame.head.size));
            }
            match self.without_server(frame, desk) {
                Some(taken) => return taken,
                None => return Taken::Not(Need::Server),
            }
        }
        // A frame too large to be held is treated alike whether or not all of it happens to be here.
        if (!frame.whole || frame.head.size > HOLD_MAX) && !streams(frame) {
            return if frame.head.size <= HOLD_MAX {
                Taken::Not(Need::Bytes(frame.head.size))
            } else {
                self.take_large(input, frame, desk)
            };
        }
        if self.must_wait(frame.head.tag, frame.body, desk) {
            // The server keeps its answers back until it is asked for them.
            if self.exchange.open_group && !std::mem::replace(&mut self.flushed, true) {
                desk.to_server.own(input).extend_from_slice(&reply::FLUSH);
            }
            return Taken::Not(Need::Answers);
        }
        self.flushed = false;
        self.begin_group(frame.head.tag, desk);
        match frame.head.tag {
            tag::QUERY => self.query(input, frame, desk),
            tag::PARSE => self.parse(input, frame, desk),
            tag::BIND => self.bind(input, frame, desk),
            tag::DESCRIBE => self.describe(input, frame, desk),
            tag::EXECUTE => {
                self.tally.queries += 1;
                self.pass_asking(input, frame, Kind::Execute, desk);
                self.account_execute(frame.body, desk);
            }
            tag::CLOSE => self.close(input, frame, desk),
            // With a body it is malformed, and the server answers with an error.
            tag::FLUSH if frame.head.size > HEADER => {
                self.pass_asking(input, frame, Kind::Execute, desk);
            }
            tag::FLUSH => {
                self.pass(input, frame, desk);
                self.show_fakes_if_alone(desk);
            }
            tag::SYNC => self.sync(input, frame, desk),
            tag::FUNCTION_CALL => {
                self.tally.queries += 1;
                self.break_group();
                self.pass(input, frame, desk);
                self.exchange.push(Kind::FunctionCall);
            }
            tag::COPY_DATA => self.pass(input, frame, desk),
            tag::COPY_DONE | tag::COPY_FAIL => {
                self.pass(input, frame, desk);
                self.exchange.copying_in = false;
                if !self.exchange.queue.is_empty() {
                    self.exchange.push(Kind::CopyEnd);
                }
            }
            tag::TERMINATE => return Taken::Not(Need::Close),
            other => return Taken::Not(Need::Refuse(bad_type(other))),
        }
        Taken::Frame
    }

    /// Frames that need no server while there is none. `None`: this one needs a server.
    fn without_server(&mut self, frame: Frame<'_>, desk: &mut Desk<'_>) -> Option<Taken> {
        match frame.head.tag {
            tag::TERMINATE => Some(Taken::Not(Need::Close)),
            // PostgreSQL ignores these outside of COPY, as after a COPY that failed.
            tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => Some(self.drop_frame(frame)),
            tag::FLUSH if frame.head.size == HEADER => {
                self.show_fakes_if_alone(desk);
                Some(Taken::Frame)
            }
            tag::SYNC if frame.head.size == HEADER && self.exchange.is_all_fake() => {
                self.show_fakes_if_alone(desk);
                self.exchange.open_group = false;
                self.exchange.skipping = false;
                self.tally.readies += 1;
                desk.to_client.own(&[]).extend_from_slice(&reply::ready(TxStatus::Idle));
                Some(Taken::Frame)
            }
            tag::CLOSE if frame.whole => match Target::read(frame.body) {
                Some(target)
                    if target.kind == TargetKind::Statement && self.baggage.prepared().is_empty() =>
                {
                    self.close_statement(target.name);
                    Some(Taken::Frame)
                }
                _ => None,
            },
            tag::QUERY
            | tag::PARSE
            | tag::BIND
            | tag::DESCRIBE
            | tag::EXECUTE
            | tag::CLOSE
            | tag::FUNCTION_CALL
            | tag::FLUSH
            | tag::SYNC => None,
            other => Some(Taken::Not(Need::Refuse(bad_type(other)))),
        }
    }

    fn drop_frame(&mut self, frame: Frame<'_>) -> Taken {
        self.client_drop = frame.head.size - (HEADER + frame.body.len());
        Taken::Frame
    }

    /// Passes a frame on as it is, the part of it that has not arrived to follow.
    pub(super) fn pass(&mut self, input: &[u8], frame: Frame<'_>, desk: &mut Desk<'_>) {
        let here = HEADER + frame.body.len();
        desk.to_server.pass(input, frame.at..frame.at + here);
        self.client_pass = frame.head.size - here;
    }

    pub(super) fn pass_asking(&mut self, input: &[u8], frame: Frame<'_>, kind: Kind, desk: &mut Desk<'_>) {
        self.exchange.open_group = true;
        self.pass(input, frame, desk);
        self.exchange.push(kind);
    }

    fn sync(&mut self, input: &[u8], frame: Frame<'_>, desk: &mut Desk<'_>) {
        self.pass(input, frame, desk);
        if self.exchange.copying_in {
            return;
        }
        self.exchange.skipping = false;
        self.exchange.open_group = false;
        self.exchange.push(Kind::Sync);
        self.reach_sent();
        for name in self.prepared.take_strays() {
            self.close_hidden(&name, None, input, desk);
            desk.to_server.own(input).extend_from_slice(&reply::SYNC);
            self.exchange.push_hidden(Kind::Sync, None);
        }
    }

    // --- simple queries ---

    fn query(&mut self, input: &[u8], frame: Frame<'_>, desk: &mut Desk<'_>) {
        self.tally.queries += 1;
        self.break_group();
        let in_group = self.exchange.may_skip_next();
        let Some(text) = query_text(frame.body) else {
            self.pass(input, frame, desk);
            return self.exchange.push(Kind::Query);
        };
        let standard_strings = desk.memory.as_ref().is_none_or(|memory| memory.standard_strings);
        let known = match self.read_ahead.take() {
            Some(known) if known.is_for(standard_strings) => known,
            _ => desk.interner.reader.read(text, standard_strings),
        };
        if self.mode == PoolMode::Session {
            self.pass(input, frame, desk);
            self.exchange.push(Kind::Query);
            let values = (known.marks, known.values.clone());
            return self.account_ask(known, values, 0, false, desk);
        }
        let slot = desk.memory.as_mut().and_then(|memory| memory.unnamed.take());
        let dropped = self.prepared.put(b"", None);
        let traits = known.traits;
        self.expect(traits, text);
        let names = traits.has(Traits::NAMES_STATEMENT) && self.prepared.has_names();
        let translated = names.then(|| self.translate(text, in_group, input, desk)).flatten();
        let narrowed = self.narrow_query(text, &known, desk);
        let (mut taken, mut spliced) = (None, None);
        match (translated, narrowed) {
            (None, None) => self.pass(input, frame, desk),
            (None, Some((text, by))) => {
                spliced = Some(by);
                reply::frame(desk.to_server.own(input), tag::QUERY, |out| reply::cstr(out, text.as_bytes()));
            }
            (Some((text, name)), _) => {
                taken = name;
                reply::frame(desk.to_server.own(input), tag::QUERY, |out| reply::cstr(out, &text));
            }
        }
        self.exchange.push_query(spliced);
        let values = (known.marks, known.values.clone());
        self.account_ask(known, values, 0, false, desk);
        if let Some((name, statement)) = taken {
            self.note_undo(&name, Some(statement));
        }
        if (in_group && dropped.is_some()) || self.exchange.syncs > 0 {
            // An error may make the server skip the Query, or bring back what it took.
            self.note_undo(b"", dropped);
            if let Some(item) = self.exchange.queue.back_mut() {
                item.statement = slot;
            }
        }
    }

    /// A message that ends with ReadyForQuery comes in the middle of an extended group. PostgreSQL may then
    /// find its own transaction state wrong in the next statement (15 and 18: `StartTransactionCommand:
    /// unexpected state STARTED`), which must not be another client's.
    fn break_group(&mut self) {
        let broken = std::mem::take(&mut self.exchange.open_group);
        self.doubt.state |= broken && self.mode != PoolMode::Session;
    }

    // --- frames too large to be seen whole ---

    fn take_large(&mut self, input: &[u8], frame: Frame<'_>, desk: &mut Desk<'_>) -> Taken {
        let pooled = self.mode != PoolMode::Session;
        if lacks_names(frame) && frame.body.len() < HOLD_MAX {
            return Taken::Not(Need::Bytes(HEADER + frame.body.len() + 1));
        }
        match frame.head.tag {
            tag::QUERY => {
                self.tally.queries += 1;
                self.exchange.open_group = false;
                self.exchange.push(Kind::Query);
                self.doubt.state |= pooled;
                self.doubt.schema |= pooled;
                self.prepared.put(b"", None);
                self.pass(input, frame, desk);
            }
            tag::PARSE => {
                if pooled {
                    let Some((name, _)) = wire::cstr(frame.body) else {
                        return Taken::Not(Need::Refuse(too_large(frame.head)));
                    };
                    self.doubt.state = true;
                    self.doubt.schema = true;
                    self.prepared.put_large(name);
                }
                self.pass_asking(input, frame, Kind::Parse, desk);
            }
            _ => return Taken::Not(Need::Refuse(too_large(frame.head))),
        }
        Taken::Frame
    }
}

/// What PostgreSQL ignores after an error in an extended exchange; a type that it does not know ends the
/// connection even then (`SocketBackend` looks at it first).
fn is_skipped(tag: u8) -> bool {
    matches!(
        tag,
        tag::QUERY
            | tag::PARSE
            | tag::BIND
            | tag::DESCRIBE
            | tag::EXECUTE
            | tag::CLOSE
            | tag::FLUSH
            | tag::FUNCTION_CALL
            | tag::COPY_DATA
            | tag::COPY_DONE
            | tag::COPY_FAIL
    )
}

/// Frames whose beginning is enough: data, and Bind once its names are there and the rest would not fit.
fn streams(frame: Frame<'_>) -> bool {
    match frame.head.tag {
        tag::COPY_DATA | tag::FUNCTION_CALL => true,
        tag::BIND => frame.head.size > crate::net::buffer::BUFFER && Bind::read(frame.body).is_some(),
        _ => false,
    }
}

/// The names at the front of a Parse or Bind are cut off by the end of what has arrived so far.
fn lacks_names(frame: Frame<'_>) -> bool {
    match frame.head.tag {
        tag::PARSE => wire::cstr(frame.body).is_none(),
        tag::BIND => Bind::read(frame.body).is_none(),
        _ => false,
    }
}

fn bad_length(bad: wire::BadLength) -> ClientError {
    let message = format!("invalid message length {} of a message of type {}", bad.length, bad.tag);
    ClientError::fatal("08P01", message)
}

fn bad_type(tag: u8) -> ClientError {
    ClientError::fatal("08P01", format!("invalid frontend message type {tag}"))
}

fn too_large(head: Head) -> ClientError {
    ClientError::fatal(
        "54000",
        format!("a message of type {} and {} bytes is too large", head.tag as char, head.size),
    )
    .hint(format!("Only Query, Parse, Bind, FunctionCall and CopyData may be larger than {HOLD_MAX} bytes."))
}
