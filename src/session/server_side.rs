//! What a server answers: matched with what it was asked, passed on or kept from the client. Rows are cut
//! by their headers only. Pure.

use super::exchange::{Fate, Item, Kind, alias};
use super::heal::Kept;
use super::reach::Weighed;
use super::{Desk, Need, Session, Step};
use crate::net::buffer::BUFFER;
use crate::pool::memory::Memory;
use crate::pool::statement;
use crate::wire::server::{TxStatus, error_field, parameter, sqlstate, tag};
use crate::wire::{self, HEADER, reply};

impl Session {
    /// Processes what the server sent. Call again with the bytes that were not consumed and more.
    #[must_use = "the step says what is needed before the next"]
    pub fn on_server(&mut self, input: &[u8], desk: &mut Desk<'_>) -> Step {
        let mut at = 0;
        self.account_step();
        let need = loop {
            if self.flow(input, &mut at, desk) {
                break Need::Bytes(1);
            }
            let rest = &input[at..];
            let head = match wire::head(rest) {
                Ok(Some(head)) => head,
                Ok(None) => break Need::Bytes(HEADER),
                Err(bad) => {
                    break Need::Broken(format!("a frame of type {} and length {}", bad.tag, bad.length));
                }
            };
            match self.weigh(rest, input, desk) {
                Weighed::Waits => break Need::Bytes(rest.len() + 1),
                Weighed::Dropped(n) => {
                    at += n;
                    self.account_begin(at);
                    continue;
                }
                Weighed::Passes => {}
            }
            let row = matches!(head.tag, tag::DATA_ROW | tag::COPY_DATA);
            if row {
                // The client has seen something of the answer.
                self.group = Kept::Nothing;
                self.show_fakes_before(input, desk);
                let n = wire::run(rest, head.tag);
                if n > 0 {
                    desk.to_client.pass(input, at..at + n);
                    at += n;
                    continue;
                }
            }
            let end = head.size.min(rest.len());
            if end < head.size && !row && head.size <= BUFFER {
                break Need::Bytes(head.size);
            }
            if !row {
                match self.answer(head.tag, &rest[HEADER..end], (input, at + end), desk) {
                    Ok(Fate::Show) => {}
                    Ok(Fate::Hide) => {
                        self.server_drop = head.size - end;
                        at += end;
                        continue;
                    }
                    Err(unasked) => break Need::Broken(unasked),
                }
            }
            if head.tag == tag::ERROR && end == head.size && self.show_as_own(&rest[HEADER..end], input, desk)
            {
                at += end;
                continue;
            }
            desk.to_client.pass(input, at..at + end);
            self.server_pass = head.size - end;
            at += end;
            if head.tag == tag::READY {
                self.show_fakes(input, desk);
            }
        };
        if self.exchange.is_all_fake() {
            self.show_fakes(input, desk);
        }
        self.account_rest(at, desk);
        Step { consumed: at, need }
    }

    /// Throws away or passes on what belongs to a frame that began before. True when there is more of it to come.
    fn flow(&mut self, input: &[u8], at: &mut usize, desk: &mut Desk<'_>) -> bool {
        let n = self.server_drop.min(input.len() - *at);
        self.server_drop -= n;
        *at += n;
        let n = self.server_pass.min(input.len() - *at);
        if n > 0 {
            desk.to_client.pass(input, *at..*at + n);
        }
        self.server_pass -= n;
        *at += n;
        self.server_pass > 0
    }

    /// Matches one answer, which ends at `end` of the input, with its question.
    fn answer(
        &mut self,
        tag: u8,
        body: &[u8],
        (input, end): (&[u8], usize),
        desk: &mut Desk<'_>,
    ) -> Result<Fate, String> {
        match tag {
            tag::NOTICE | tag::NOTIFICATION => {
                self.show_fakes_before(input, desk);
                return Ok(Fate::Show);
            }
            tag::PARAMETER_STATUS => {
                self.show_fakes_before(input, desk);
                if let (Some((name, value)), Some(memory)) = (parameter(body), &mut desk.memory) {
                    memory.report(name, value);
                }
                return Ok(Fate::Show);
            }
            tag::ERROR => return Ok(self.error(body, (input, end), desk)),
            _ => {}
        }
        self.kept = Kept::Nothing;
        self.show_fakes(input, desk);
        let exchange = &mut self.exchange;
        let front = |exchange: &super::exchange::Exchange| exchange.queue.front().map(|item| item.kind);
        let popped = match tag {
            tag::PARSE_COMPLETE => exchange.pop(Kind::Parse),
            tag::BIND_COMPLETE => {
                let item = exchange.pop(Kind::Bind);
                self.account_begin(end);
                item
            }
            tag::CLOSE_COMPLETE => exchange.pop(Kind::Close),
            tag::NO_DATA => exchange.pop(Kind::Describe),
            tag::READY => return self.ready(body, end),
            tag::ROW_DESCRIPTION if front(exchange) == Some(Kind::Describe) => exchange.pop(Kind::Describe),
            tag::COMMAND_COMPLETE | tag::EMPTY_QUERY | tag::PORTAL_SUSPENDED => {
                if self.doubt.state {
                    self.note_discard(tag, body, desk.memory.as_deref_mut());
                }
                match self.complete((tag, body), end, desk) {
                    Some(Kind::Query) => return Ok(Fate::Show),
                    _ => self.exchange.pop(Kind::Execute),
                }
            }
            tag::COPY_IN => {
                exchange.begin_copy_in();
                return Ok(Fate::Show);
            }
            tag::COPY_BOTH => {
                exchange.copying_both = true;
                return Ok(Fate::Show);
            }
            tag::ROW_DESCRIPTION if std::mem::take(&mut self.hides_description) => return Ok(Fate::Hide),
            tag::ROW_DESCRIPTION
            | tag::PARAMETER_DESCRIPTION
            | tag::COPY_OUT
            | tag::COPY_DONE
            | tag::FUNCTION_RESULT
                if front(exchange).is_some() =>
            {
                self.described |= tag == tag::ROW_DESCRIPTION;
                let hidden = exchange.queue.front().is_some_and(|item| item.hidden);
                return Ok(if hidden { Fate::Hide } else { Fate::Show });
            }
            _ => None,
        };
        match popped {
            Some(item) if item.hidden => Ok(Fate::Hide),
            Some(_) => Ok(Fate::Show),
            None => Err(format!("an answer of type {} that was not asked for", tag.escape_ascii())),
        }
    }

    /// A statement came to its end, or to its row limit: accounts for it. Returns what had asked.
    fn complete(&mut self, answer: (u8, &[u8]), end: usize, desk: &mut Desk<'_>) -> Option<Kind> {
        self.exchange.drop_copy_ends();
        self.exchange.copying_both = false;
        self.group = Kept::Nothing;
        let kind = self.exchange.queue.front()?.kind;
        if matches!(kind, Kind::Execute | Kind::Query) {
            self.account_done(answer, end, None, desk);
        }
        Some(kind)
    }

    fn ready(&mut self, body: &[u8], end: usize) -> Result<Fate, String> {
        let status = TxStatus::read(body).ok_or("a ReadyForQuery without a status")?;
        let item = self.exchange.ready(status).ok_or("a ReadyForQuery that was not asked for")?;
        self.account_begin(end);
        if status == TxStatus::Idle {
            self.doubt.local = false;
            self.account_idle();
        }
        if item.hidden {
            return Ok(Fate::Hide);
        }
        self.tally.readies += 1;
        self.tally.transactions += u32::from(status == TxStatus::Idle);
        Ok(Fate::Show)
    }

    /// An error ends its statement, and in an extended exchange all up to the next Sync.
    fn error(&mut self, body: &[u8], (input, end): (&[u8], usize), desk: &mut Desk<'_>) -> Fate {
        if (self.kept != Kept::Nothing && self.heal(body, desk)) || self.hold_lack(body, desk) {
            return Fate::Hide;
        }
        self.reaching = None;
        self.show_fakes(input, desk);
        self.exchange.drop_copy_ends();
        let front = self.exchange.queue.front();
        self.blamed = front.map_or(0, |item| item.alias);
        if front.is_some_and(|item| !item.hidden) {
            self.account_done((tag::ERROR, body), end, Some(sqlstate(body)), desk);
        }
        let fatal = matches!(error_field(body, b'V'), Some(b"FATAL" | b"PANIC"));
        self.server_said_goodbye |= fatal;
        let simple = self.exchange.queue.front().is_none_or(|item| item.kind.ends_with_ready());
        if simple {
            self.exchange.copying_in = false;
            self.undo_query(desk.memory.as_deref_mut());
        } else if !fatal {
            let skipped = self.exchange.skip_to_sync();
            self.undo(skipped, desk.memory.as_deref_mut());
        }
        if self.exchange.queue.front().is_some_and(|item| item.hidden) {
            return Fate::Hide;
        }
        self.tally.error = Some(sqlstate(body));
        Fate::Show
    }

    /// Shows an error that speaks of a statement by the name that servers know, with the client's own name
    /// in its place. False: it is to be shown as it is.
    pub(super) fn show_renamed(&mut self, body: &[u8], input: &[u8], desk: &mut Desk<'_>) -> bool {
        let Some((at, id)) = statement::find_name(body) else {
            return false;
        };
        // A message that was sent behind the failed one may have taken the name away meanwhile.
        let undos = self.exchange.queue.iter().flat_map(Item::undos);
        let going = undos.filter_map(|undo| {
            let previous = undo.previous.as_ref()?;
            (previous.id == id).then_some(&*undo.name)
        });
        let mut names = self.prepared.names_of(id).chain(going).peekable();
        let first = names.peek().copied();
        let Some(name) = names.find(|name| alias(name) == self.blamed).or(first) else {
            return false;
        };
        reply::frame(desk.to_client.own(input), tag::ERROR, |out| {
            out.extend_from_slice(&body[..at]);
            out.extend_from_slice(name);
            out.extend_from_slice(&body[at + statement::NAME..]);
        });
        true
    }

    /// DISCARD ALL and DEALLOCATE ALL took every prepared statement, those of pgweir too.
    fn note_discard(&mut self, tag: u8, body: &[u8], memory: Option<&mut Memory>) {
        if tag == tag::COMMAND_COMPLETE && matches!(body, b"DISCARD ALL\0" | b"DEALLOCATE ALL\0") {
            self.prepared.clear();
            if let Some(memory) = memory {
                memory.forget_all();
            }
        }
    }

    /// Sends the answers to what was never asked of the server, as far as they are next.
    pub(in crate::session) fn show_fakes(&mut self, input: &[u8], desk: &mut Desk<'_>) {
        while let Some(item) = self.exchange.queue.pop_front_if(|item| item.kind.is_fake()) {
            let frame = match item.kind {
                Kind::FakeParse => &reply::PARSE_COMPLETE,
                _ => &reply::CLOSE_COMPLETE,
            };
            desk.to_client.own(input).extend_from_slice(frame);
        }
    }

    /// The same ahead of what the server says of its own accord; a group of which something was shown is not
    /// run again.
    fn show_fakes_before(&mut self, input: &[u8], desk: &mut Desk<'_>) {
        let front = self.exchange.queue.front();
        if front.is_some_and(|item| item.kind.is_fake()) {
            self.kept = Kept::Nothing;
            self.show_fakes(input, desk);
        }
    }

    /// The same when the client asks to see what there is, and no answer of a server comes first.
    pub(in crate::session) fn show_fakes_if_alone(&mut self, desk: &mut Desk<'_>) {
        if self.exchange.is_all_fake() {
            self.show_fakes(&[], desk);
        }
    }
}
