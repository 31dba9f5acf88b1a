//! Pages that are looked for in some partitions first: their answer is held back until it is there as a whole and
//! its rows are counted. A full page is right and goes to the client; otherwise it is thrown away, and the statement
//! is sent once more as the client wrote it. The client sees one answer. Which partitions were asked is not known
//! here. Pure.

use std::rc::Rc;

use super::account::rows_of;
use super::exchange::Kind;
use super::heal::Kept;
use super::lookup::{Form, Group};
use super::{Desk, Session};
use crate::net::buffer::BUFFER;
use crate::pool::routing::Page;
use crate::pool::shape::{Known, Shape, Shapes};
use crate::wire::server::{TxStatus, error_field, parameter, sqlstate, tag};
use crate::wire::{self, HEADER, client, reply};

/// A page whose answer is to come.
#[derive(Debug)]
pub struct Reaching {
    rows: u64,
    shape: Rc<Shape>,
    /// The messages that ask for it, from the Query or Bind on.
    again: Vec<u8>,
    /// All of them were sent; what the client sends behind them waits.
    pub sent: bool,
    /// So many bytes of the answer were looked at.
    looked_at: usize,
    found: u64,
    failed: Option<[u8; 5]>,
    /// The answer is larger than what can be held: it is thrown away as it comes.
    dropping: bool,
    asked_us: u64,
}

/// What becomes of the server's bytes.
pub(super) enum Weighed {
    /// They are held until there are more.
    Waits,
    /// So many are done with.
    Dropped(usize),
    /// They go their usual way.
    Passes,
}

impl Session {
    /// Whether a statement of this shape may be sent twice: it only reads, and nothing that is under way decides on
    /// what it means.
    pub(super) fn may_reach(&self, shape: &Shape) -> bool {
        let reads = matches!(shape.kind, crate::sql::kind::Kind::Read | crate::sql::kind::Kind::Page);
        reads
            && !self.straight
            && self.reaching.is_none()
            && self.exchange.status != TxStatus::Failed
            && !self.exchange.skipping
            && !self.exchange.queue.iter().any(|item| item.kind.ends_with_ready())
    }

    /// The shape and the length of an extended request from its Bind on, if its page may be looked for in some
    /// partitions: all of it is here, and it wants all rows at once.
    pub(super) fn group_to_reach<'a>(
        &self,
        known: &'a Known,
        input: &[u8],
    ) -> Option<(&'a Rc<Shape>, usize)> {
        let Shapes::One(shape) = &known.shapes else {
            return None;
        };
        let group = Group::read(input).filter(|_| self.may_reach(shape))?;
        let plain = Form { describe_portal: group.form.describe_portal, ..Form::default() };
        (group.form == plain).then_some((shape, group.size))
    }

    pub(super) fn reach_query(&mut self, rows: u64, shape: &Rc<Shape>, text: &[u8], desk: &Desk<'_>) {
        let mut again = Vec::with_capacity(text.len() + HEADER + 1);
        reply::frame(&mut again, client::tag::QUERY, |out| reply::cstr(out, text));
        self.reach(rows, shape, again, desk);
        self.reach_sent();
    }

    pub(super) fn reach_bind(&mut self, rows: u64, shape: &Rc<Shape>, group: &[u8], desk: &Desk<'_>) {
        self.reach(rows, shape, group.to_vec(), desk);
    }

    fn reach(&mut self, rows: u64, shape: &Rc<Shape>, again: Vec<u8>, desk: &Desk<'_>) {
        self.reaching = Some(Box::new(Reaching {
            rows,
            shape: shape.clone(),
            again,
            sent: false,
            looked_at: 0,
            found: 0,
            failed: None,
            dropping: false,
            asked_us: desk.now_us,
        }));
    }

    /// The request of a page was sent to its end.
    #[inline]
    pub(super) fn reach_sent(&mut self) {
        self.reaching.iter_mut().for_each(|reaching| reaching.sent = true);
    }

    /// Looks at what the server sent while the answer of a page is awaited; `rest` begins with a frame.
    #[inline]
    pub(super) fn weigh(&mut self, rest: &[u8], input: &[u8], desk: &mut Desk<'_>) -> Weighed {
        match self.reaching {
            None => Weighed::Passes,
            Some(_) => self.look_at_answer(rest, input, desk),
        }
    }

    fn look_at_answer(&mut self, rest: &[u8], input: &[u8], desk: &mut Desk<'_>) -> Weighed {
        let asked = self.exchange.queue.iter().find(|item| !item.kind.is_fake());
        let is_next = asked.is_some_and(|item| !item.hidden && matches!(item.kind, Kind::Query | Kind::Bind));
        let Some(reaching) = self.reaching.as_mut().filter(|_| is_next) else {
            return Weighed::Passes;
        };
        if reaching.dropping {
            return self.drop_one(rest, input, desk);
        }
        while let Ok(Some(head)) = wire::head(&rest[reaching.looked_at..])
            && let Some(body) = rest.get(reaching.looked_at + HEADER..reaching.looked_at + head.size)
        {
            match head.tag {
                tag::COMMAND_COMPLETE => reaching.found = rows_of(body),
                tag::ERROR if matches!(error_field(body, b'V'), Some(b"FATAL" | b"PANIC")) => {
                    self.reaching = None;
                    return Weighed::Passes;
                }
                tag::ERROR => reaching.failed = Some(sqlstate(body)),
                _ => {}
            }
            reaching.looked_at += head.size;
            if head.tag == tag::READY {
                return self.judge(rest, body, input, desk);
            }
        }
        if rest.len() < BUFFER {
            return Weighed::Waits;
        }
        reaching.dropping = true;
        reaching.shape.learn(Page::TooLarge);
        self.drop_one(rest, input, desk)
    }

    /// The answer is there, up to this ReadyForQuery.
    fn judge(&mut self, rest: &[u8], ready: &[u8], input: &[u8], desk: &mut Desk<'_>) -> Weighed {
        let Some(reaching) = self.reaching.take() else {
            return Weighed::Passes;
        };
        let idle = TxStatus::read(ready) == Some(TxStatus::Idle);
        let again = match reaching.failed {
            // Other rows may have been looked at than PostgreSQL would have by itself, and one may have been bad.
            Some(code) => code.starts_with(b"22") && idle,
            None => reaching.found != reaching.rows,
        };
        if reaching.failed.is_none() {
            reaching.shape.learn(if again { Page::Short } else { Page::Full });
        }
        if !again {
            return Weighed::Passes;
        }
        let end = reaching.looked_at;
        let mut at = 0;
        while let Ok(Some(head)) = wire::head(&rest[at..end]) {
            self.pass_news(&rest[at..at + head.size], input, desk);
            at += head.size;
        }
        self.ask_again(&reaching, ready, input, desk);
        Weighed::Dropped(end)
    }

    /// Throws one frame away, or shows it if it is no part of the answer.
    fn drop_one(&mut self, rest: &[u8], input: &[u8], desk: &mut Desk<'_>) -> Weighed {
        let Ok(Some(head)) = wire::head(rest) else {
            return Weighed::Waits;
        };
        let here = head.size.min(rest.len());
        match head.tag {
            tag::ERROR => {
                self.reaching = None;
                Weighed::Passes
            }
            tag::PARAMETER_STATUS | tag::NOTIFICATION => Weighed::Passes,
            tag::READY if here < head.size => Weighed::Waits,
            tag::READY => {
                if let Some(reaching) = self.reaching.take() {
                    self.ask_again(&reaching, &rest[HEADER..here], input, desk);
                }
                Weighed::Dropped(here)
            }
            _ => {
                self.server_drop = head.size - here;
                Weighed::Dropped(here)
            }
        }
    }

    /// Shows what the server says of its own accord.
    fn pass_news(&mut self, frame: &[u8], input: &[u8], desk: &mut Desk<'_>) {
        match frame.first() {
            Some(&tag::PARAMETER_STATUS) => {
                if let (Some((name, value)), Some(memory)) = (parameter(&frame[HEADER..]), &mut desk.memory) {
                    memory.report(name, value);
                }
            }
            Some(&tag::NOTIFICATION) => {}
            _ => return,
        }
        desk.to_client.own(input).extend_from_slice(frame);
    }

    /// Sends the page's request as the client wrote it. Its first answer is done with.
    fn ask_again(&mut self, reaching: &Reaching, ready: &[u8], input: &[u8], desk: &mut Desk<'_>) {
        self.show_fakes(input, desk);
        while self.exchange.queue.pop_front_if(|item| !item.kind.ends_with_ready()).is_some() {}
        let status = TxStatus::read(ready).unwrap_or(self.exchange.status);
        self.exchange.ready(status);
        if status == TxStatus::Idle {
            self.doubt.local = false;
            self.account_idle();
        }
        let (tally, asks) = (self.tally, desk.notes.asks.len());
        self.straight = true;
        self.take_again(&reaching.again, desk);
        self.straight = false;
        self.kept = Kept::Nothing;
        // What was sent are ranges of the request, which does not outlive this.
        desk.to_server.own(&reaching.again);
        desk.notes.asks.truncate(asks);
        self.tally = tally;
        self.tally.widened += 1;
        let asked = self.exchange.queue.iter_mut().rev();
        for item in asked.filter(|item| matches!(item.kind, Kind::Query | Kind::Execute)).take(1) {
            item.asked.at_us = reaching.asked_us;
        }
    }
}
