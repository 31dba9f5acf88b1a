//! Pipelines of one statement: a client sends the same INSERT many times and asks for the answers at the end, as
//! `executeBatch` and `executemany` do. Recognises them before they are forwarded; `pipelined` answers them. Pure.

use std::ops::Range;
use std::rc::Rc;

use super::Session;
use crate::pool::settings::PoolMode;
use crate::pool::statement::{Context, Interner, Statement};
use crate::sql::Traits;
use crate::sql::kind::Kind;
use crate::wire::client::{Bind, Parse, Target, TargetKind, tag};
use crate::wire::server::TxStatus;
use crate::wire::{self, HEADER};

/// A run ends when it has so many bytes; what follows is another.
pub const RUN_BYTES: usize = 768 * 1024;

/// Executions of one INSERT at the front of the input.
#[derive(Debug)]
pub struct Run {
    pub statement: Rc<Statement>,
    /// How many.
    pub rows: u32,
    /// Bytes of the input that they take, with the Sync behind them.
    pub size: usize,
    /// A BEGIN stands before them: its statement, and how many bytes it takes.
    pub begin: Option<(Rc<Statement>, usize)>,
    /// A Sync ends them.
    pub ended: bool,
    /// The input ends before it is known whether more of them follow.
    pub open: bool,
    /// Names that they give to statements.
    pub(super) names: Vec<(Range<usize>, Rc<Statement>)>,
}

/// A message of the client's, and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) tag: u8,
    pub(super) body: &'a [u8],
    pub(super) at: usize,
    pub(super) end: usize,
}

/// The whole messages of an input, one after the other.
#[derive(Clone)]
pub(super) struct Messages<'a> {
    pub(super) input: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Messages<'a> {
    pub(super) fn peek(&self) -> Option<Message<'a>> {
        let head = wire::head(&self.input[self.at..]).ok()??;
        let (at, end) = (self.at, self.at + head.size);
        Some(Message { tag: head.tag, body: self.input.get(at + HEADER..end)?, at, end })
    }

    /// The next message is not whole, and may still become so.
    fn is_cut(&self) -> bool {
        self.peek().is_none() && wire::head(&self.input[self.at..]).is_ok()
    }

    fn take(&mut self, tag: u8) -> Option<Message<'a>> {
        let message = self.peek().filter(|message| message.tag == tag)?;
        self.at = message.end;
        Some(message)
    }
}

/// Whether it may be worth to look closer: two executions without a Sync between them, or the beginning of a group
/// that is not whole. Costs a look at a few headers.
#[inline]
pub fn may_be_run(input: &[u8], in_transaction: bool) -> bool {
    let (mut at, mut executions, mut last) = (0, 0, tag::SYNC);
    while let Some(&[first, a, b, c, d]) = input.get(at..).and_then(|rest| rest.first_chunk()) {
        match first {
            tag::EXECUTE => executions += 1,
            tag::PARSE | tag::BIND | tag::DESCRIBE => {}
            tag::SYNC if in_transaction => {}
            // What was executed may be a BEGIN.
            tag::SYNC => return executions == 1 && input.len() > at + HEADER,
            _ => return false,
        }
        if executions == 2 {
            return true;
        }
        last = first;
        at = at.saturating_add(1 + u32::from_be_bytes([a, b, c, d]) as usize);
    }
    last != tag::SYNC
}

impl Session {
    /// The executions of one INSERT at the front of the input, if nothing that this client did before has any
    /// influence on them beyond its settings and its transaction. There may be none yet, if the input is not whole.
    pub fn pipeline(&self, input: &[u8], interner: &mut Interner, epoch: u64, rows_max: u32) -> Option<Run> {
        if !self.may_merge() {
            return None;
        }
        let context = Context { meaning: self.baggage.meaning(), epoch, standard_strings: true };
        let mut messages = Messages { input, at: 0 };
        let mut names = Vec::new();
        let begin = if self.status() == TxStatus::Idle && self.mode == PoolMode::Transaction {
            self.begin(&mut messages, interner, context, &mut names)
        } else {
            None
        };
        let in_transaction = begin.is_some() || self.status() == TxStatus::InTransaction;
        let mut run: Option<Run> = None;
        let mut open = false;
        loop {
            let mut next = messages.clone();
            let item = self.item(&mut next, run.as_ref(), interner, context, &mut names);
            let Some((statement, whole)) = item else {
                break;
            };
            let begin = begin.clone();
            let run = run.get_or_insert_with(|| Run {
                statement,
                rows: 0,
                size: messages.at,
                begin,
                ended: false,
                open: false,
                names: Vec::new(),
            });
            if !whole {
                open = true;
                break;
            }
            run.rows += 1;
            run.ended = next.peek().is_some_and(|message| is_sync(&message));
            if run.ended {
                next.take(tag::SYNC);
            }
            run.size = next.at;
            messages = next;
            if run.ended && !in_transaction {
                break;
            }
            let full = run.rows >= rows_max || run.size >= RUN_BYTES;
            open = !run.ended && !full && messages.is_cut();
            if full {
                break;
            }
        }
        let mut run = run?;
        run.open = open && !run.ended;
        run.names = names;
        Some(run)
    }

    /// Nothing is owed or doubted, and no statement ran in the group that is open.
    fn may_merge(&self) -> bool {
        let clean = match self.exchange.status {
            TxStatus::Idle => !self.exchange.begun && !self.exchange.ran,
            TxStatus::InTransaction => true,
            TxStatus::Failed => false,
        };
        clean
            && self.mode != PoolMode::Session
            && self.exchange.queue.is_empty()
            && !self.exchange.skipping
            && !self.exchange.copying_in
            && !self.exchange.copying_both
            && !self.doubt.any()
            && self.pins.is_empty()
            && !self.prepared.holds_large()
            && !self.is_half_sent()
            && self.client_drop == 0
    }

    /// A BEGIN, perhaps with a Sync of its own.
    fn begin(
        &self,
        messages: &mut Messages<'_>,
        interner: &mut Interner,
        context: Context,
        names: &mut Vec<(Range<usize>, Rc<Statement>)>,
    ) -> Option<(Rc<Statement>, usize)> {
        let mut next = messages.clone();
        let mut named = None;
        let statement = match next.take(tag::PARSE) {
            Some(message) => {
                let parse = Parse::read(message.body)?;
                if !is_begin(parse.text) || !self.is_free_name(parse.name) {
                    return None;
                }
                let statement = interner.shared(parse.text, parse.types, context)?;
                named = Some((name_at(&message, parse.name), statement.clone()));
                let bind = Bind::read(next.take(tag::BIND)?.body)?;
                (bind.statement == parse.name && is_bare(&bind)).then_some(statement)?
            }
            None => {
                let bind = Bind::read(next.take(tag::BIND)?.body)?;
                let statement = self.prepared.get(bind.statement).filter(|_| is_bare(&bind))?;
                is_begin(&statement.text).then(|| statement.clone())?
            }
        };
        if statement.known.traits != Traits::BEGINS {
            return None;
        }
        describe_portal(&mut next)?;
        next.take(tag::EXECUTE).filter(is_unnamed_execute)?;
        if next.peek().is_some_and(|message| is_sync(&message)) {
            next.take(tag::SYNC);
        }
        names.extend(named);
        *messages = next;
        Some((statement, messages.at))
    }

    /// One execution; of the same statement as those before it. `false`: it is not whole. `None`: it is another.
    fn item(
        &self,
        messages: &mut Messages<'_>,
        run: Option<&Run>,
        interner: &mut Interner,
        context: Context,
        names: &mut Vec<(Range<usize>, Rc<Statement>)>,
    ) -> Option<(Rc<Statement>, bool)> {
        let mut known = run.map(|run| run.statement.clone());
        let mut parsed: Option<&[u8]> = None;
        if let Some(message) = messages.take(tag::PARSE) {
            let parse = Parse::read(message.body)?;
            match &known {
                // Unnamed statements may be parsed for each execution.
                Some(known) => {
                    let same = *known.text == *parse.text && *known.types == *parse.types;
                    if !same || !parse.name.is_empty() {
                        return None;
                    }
                }
                None if !self.is_free_name(parse.name) || (parse.name.is_empty() && !self.reuse_unnamed) => {
                    return None;
                }
                None => known = Some(interner.shared(parse.text, parse.types, context)?),
            }
            parsed = Some(parse.name);
            if run.is_none() {
                names.push((name_at(&message, parse.name), known.clone()?));
            }
        }
        if let Some(message) = messages.take(tag::DESCRIBE) {
            let target = Target::read(message.body).filter(|target| target.kind == TargetKind::Statement)?;
            if parsed.is_some_and(|name| name != target.name) {
                return None;
            }
            parsed = Some(target.name);
        }
        let Some(message) = messages.take(tag::BIND) else {
            // The input may end here; a run that is under way waits for the rest.
            let rest = messages.is_cut() && known.is_some();
            return rest.then(|| known.map(|known| (known, false))).flatten();
        };
        let bind = Bind::read(message.body)?;
        if !bind.portal.is_empty() || parsed.is_some_and(|name| name != bind.statement) {
            return None;
        }
        let named = names.iter().rev().find(|(at, _)| messages.input[at.clone()] == *bind.statement);
        let named = named.map(|(_, statement)| statement);
        let statement = named.or_else(|| self.prepared.get(bind.statement))?.clone();
        if known.is_some_and(|known| known.id != statement.id) || !is_plain_insert(&statement) {
            return None;
        }
        describe_portal(messages)?;
        match messages.peek() {
            None if !messages.is_cut() => None,
            None => Some((statement, false)),
            Some(message) => {
                is_unnamed_execute(&message).then(|| messages.at = message.end)?;
                Some((statement, true))
            }
        }
    }

    /// A Parse may give this name to a statement.
    fn is_free_name(&self, name: &[u8]) -> bool {
        name.is_empty() || (self.prepared.get(name).is_none() && !self.baggage.prepared().contains_key(name))
    }
}

fn name_at(message: &Message<'_>, name: &[u8]) -> Range<usize> {
    let start = message.at + HEADER;
    start..start + name.len()
}

fn is_sync(message: &Message<'_>) -> bool {
    message.tag == tag::SYNC && message.body.is_empty()
}

/// Of the unnamed portal. How many rows it may bring is of no meaning where there are none.
fn is_unnamed_execute(message: &Message<'_>) -> bool {
    message.tag == tag::EXECUTE && message.body.len() == 5 && message.body[0] == 0
}

/// Passes a Describe of the unnamed portal. `None`: it describes something else.
fn describe_portal(messages: &mut Messages<'_>) -> Option<()> {
    match messages.take(tag::DESCRIBE) {
        Some(message) => (message.body == b"P\0").then_some(()),
        None => Some(()),
    }
}

/// To the unnamed portal, without parameters.
fn is_bare(bind: &Bind<'_>) -> bool {
    bind.portal.is_empty() && bind.rest.starts_with(b"\0\0\0\0")
}

/// A text whose command tag is BEGIN.
fn is_begin(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let text = text.strip_suffix(b";").unwrap_or(text);
    let word = text.get(..5).is_some_and(|word| word.eq_ignore_ascii_case(b"begin"));
    word && text.get(5).is_none_or(u8::is_ascii_whitespace) && !text.contains(&b';') && !text.contains(&b'/')
}

fn is_plain_insert(statement: &Statement) -> bool {
    let one = statement.known.shapes.get(0).filter(|_| statement.known.shapes.get(1).is_none());
    statement.shared
        && !statement.unnamed
        && statement.known.traits == Traits::NONE
        && one.is_some_and(|shape| shape.kind == Kind::Insert)
}
