//! One client's conversation, decided without sockets or clocks: bytes come in from either side, bytes to
//! send come out, and a word on what has to happen next. Names no tokio, no stream, no time.
//!
//! Call `on_client` with what the client sent and `on_server` with what its server sent; both consume
//! whole frames, or parts of frames that nobody has to look into. Between two server borrowings the
//! session holds no trace of the last one.

pub mod account;
pub mod answer;
pub mod client_side;
pub mod exchange;
pub mod expect;
pub mod extended;
pub mod heal;
pub mod limits;
pub mod lookup;
pub mod missing;
mod narrow;
pub mod out;
mod pending;
pub mod pipeline;
pub mod pipelined;
pub mod prepared;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod reach;
pub mod server_side;
pub mod settings;
pub mod translate;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod told_tests;

use std::rc::Rc;

use crate::error::ClientError;
use crate::observe::counters::PinReason;
use crate::pool::baggage::Baggage;
use crate::pool::memory::Memory;
use crate::pool::settings::PoolMode;
use crate::pool::shape::Known;
use crate::pool::statement::Interner;
use crate::wire::client::tag;
use crate::wire::server::TxStatus;
use crate::wire::{self, reply};
use exchange::Exchange;
use out::Out;
use prepared::Prepared;

/// A frame that has to be seen whole is held up to this size; a larger one is streamed and the server kept.
pub const HOLD_MAX: usize = 256 * 1024;

/// One client.
pub struct Session {
    pub mode: PoolMode,
    pub(in crate::session) exchange: Exchange,
    pub(in crate::session) prepared: Prepared,
    /// Serve an unnamed Parse from what servers know already.
    pub reuse_unnamed: bool,
    /// Bytes of a frame that are still to be passed from the client to the server, or thrown away.
    pub(in crate::session) client_pass: usize,
    pub(in crate::session) client_drop: usize,
    /// Bytes of a frame that are still to be passed from the server to the client, or thrown away.
    pub(in crate::session) server_pass: usize,
    pub(in crate::session) server_drop: usize,
    /// What this client expects of any server.
    pub baggage: Rc<Baggage>,
    /// What it expects after RESET ALL.
    pub startup: Rc<Baggage>,
    pub(in crate::session) doubt: Doubt,
    pub(in crate::session) kept: heal::Kept,
    /// The same of a request that is sent once more if its row finds no partition.
    pub(in crate::session) group: heal::Kept,
    /// The client knows the columns of that request's rows; a second description of them is hidden.
    pub(in crate::session) described: bool,
    pub(in crate::session) hides_description: bool,
    /// A partition has to be made before that.
    pub(in crate::session) lack: Option<missing::Lack>,
    /// A page was looked for in some partitions, and is not known to be whole.
    pub(in crate::session) reaching: Option<Box<reach::Reaching>>,
    /// Pages are looked for in all.
    pub(in crate::session) straight: bool,
    /// What the text of the Query at the front of the input is, if that was read already.
    pub(in crate::session) read_ahead: Option<Rc<Known>>,
    pub account: account::Account,
    /// When, by the worker's clock, no transaction was open yet.
    pub(in crate::session) began_us: u64,
    /// The server was asked for answers that the client's input waits for.
    pub(in crate::session) flushed: bool,
    /// The alias of the statement whose use failed last.
    pub(in crate::session) blamed: u32,
    /// Custom settings that this session may have made; asked for when the server's state is.
    pub custom: Vec<Vec<u8>>,
    /// Why the server stays with this session between transactions; empty: it does not.
    pub pins: Vec<PinReason>,
    pub tally: Tally,
    /// The server announced that it closes the connection.
    pub server_said_goodbye: bool,
}

/// What the session may have changed on its server since that was last known for sure.
#[derive(Debug, Default, Clone, Copy)]
pub(in crate::session) struct Doubt {
    /// The server has to be asked before it goes back.
    pub state: bool,
    /// Something was returned to its start-up value.
    pub resets: bool,
    /// Settings differ until the transaction ends.
    pub local: bool,
    /// The schema was changed in this transaction.
    pub schema: bool,
}

impl Doubt {
    /// Texts read now may mean something else than they mean to others.
    pub fn any(self) -> bool {
        self.state || self.local || self.schema
    }
}

/// What happened since somebody last looked; the shell takes it after each step.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub queries: u32,
    /// ReadyForQuery frames that the client saw.
    pub readies: u32,
    /// Transactions that ended.
    pub transactions: u32,
    pub statement_hits: u32,
    /// Statements that got bounds for a partitioned table.
    pub narrowed: u32,
    /// Pages that some partitions did not fill, so that they were asked for once more.
    pub widened: u32,
    pub statement_misses: u32,
    pub statement_evictions: u32,
    /// SQLSTATE of the last error that the client saw.
    pub error: Option<[u8; 5]>,
}

/// What a step works with.
pub struct Desk<'a> {
    /// The borrowed server's memory; `None` while there is no server.
    pub memory: Option<&'a mut Memory>,
    pub interner: &'a mut Interner,
    /// Counts schema changes seen on this database.
    pub epoch: u64,
    pub to_server: &'a mut Out,
    pub to_client: &'a mut Out,
    /// The time, in microseconds of the worker's clock.
    pub now_us: u64,
    /// What there is to tell of statements.
    pub notes: &'a mut account::Notes,
}

/// How far a step came, and what it needs before the next.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    pub consumed: usize,
    pub need: Need,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Need {
    /// More bytes; at least so many in all from the first that was not consumed.
    Bytes(usize),
    /// A server, before the rest of the input can be looked at.
    Server,
    /// Answers of the server: call again when some have come. Until then further input waits.
    Answers,
    /// The client said goodbye.
    Close,
    /// The stream cannot be followed; tell the client, then close both sides.
    Refuse(ClientError),
    /// The server broke the protocol; close it and tell the client.
    Broken(String),
}

/// Where a session stands with its server once everything at hand was processed.
#[derive(Debug, PartialEq, Eq)]
pub enum Rest {
    /// Answers are owed.
    Busy,
    /// Nothing is owed, and the server stays: a transaction is open, or something pins it.
    Keep,
    /// The server has to be asked for its state before it can go back.
    Ask,
    /// The server can serve somebody else.
    Release,
}

impl Session {
    pub fn new(mode: PoolMode, startup: Rc<Baggage>) -> Self {
        Session {
            mode,
            exchange: Exchange::default(),
            prepared: Prepared::default(),
            reuse_unnamed: true,
            client_pass: 0,
            client_drop: 0,
            server_pass: 0,
            server_drop: 0,
            baggage: startup.clone(),
            startup,
            doubt: Doubt::default(),
            kept: heal::Kept::Nothing,
            group: heal::Kept::Nothing,
            described: false,
            hides_description: false,
            lack: None,
            reaching: None,
            straight: false,
            read_ahead: None,
            account: account::Account::default(),
            began_us: 0,
            flushed: false,
            blamed: 0,
            custom: Vec::new(),
            pins: Vec::new(),
            tally: Tally::default(),
            server_said_goodbye: false,
        }
    }

    /// The client rests: what was only kept for its next message is given back.
    pub fn slim(&mut self) {
        self.exchange.slim();
    }

    /// The transaction status of the last ReadyForQuery.
    pub fn status(&self) -> TxStatus {
        self.exchange.status
    }

    /// Whether the server may be let go, now that all input was processed.
    pub fn rest(&self) -> Rest {
        if !self.exchange.is_settled() || self.is_half_sent() || self.lack.is_some() {
            Rest::Busy
        } else if self.mode == PoolMode::Session || self.status() != TxStatus::Idle {
            Rest::Keep
        } else if self.doubt.state {
            Rest::Ask
        } else if self.pins.is_empty() && !self.prepared.holds_large() {
            Rest::Release
        } else {
            Rest::Keep
        }
    }

    /// Whether a transaction on the server ended with a schema change since this was last asked.
    pub fn take_schema_change(&mut self) -> bool {
        let idle = self.exchange.is_settled() && self.status() == TxStatus::Idle;
        idle && std::mem::take(&mut self.doubt.schema)
    }

    /// The server was asked, and this is what it said; `None` when it could not answer, so that it has to
    /// stay. Returns what the server now carries.
    pub fn learn_state(&mut self, state: Option<settings::State>) -> Rc<Baggage> {
        let Some(state) = state else {
            self.pins = vec![PinReason::Unknown];
            self.doubt.state = false;
            return self.baggage.clone();
        };
        let resets = std::mem::take(&mut self.doubt).resets;
        self.pins = state.pins;
        self.custom.clear();
        let found = Rc::new(state.baggage);
        self.baggage = match settings::expected(&self.startup, &found, resets) {
            Some(baggage) => Rc::new(baggage),
            None if *found == *self.baggage => self.baggage.clone(),
            None => found.clone(),
        };
        found
    }

    /// ParameterStatus frames for start-up settings that came back when the client reset its settings: what
    /// it was told meanwhile is the server's own default. `memory`: of the server that was asked.
    pub fn returned_parameters(&self, memory: &Memory) -> Vec<u8> {
        let mut frames = Vec::new();
        for (name, value) in self.startup.settings() {
            let reported = memory.parameters.iter();
            let told = reported
                .filter(|(known, _)| known.as_bytes() == &**name)
                .any(|(_, told)| told.as_bytes() != &**value);
            if told && self.baggage.settings().get(name) == Some(value) {
                let text = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
                reply::parameter_status(&mut frames, &text.0, &text.1);
            }
        }
        frames
    }

    /// Names of the custom settings to ask for: those in use and those that may have been made.
    pub fn custom_settings(&self) -> Vec<Vec<u8>> {
        let known = self.baggage.settings().keys().chain(self.startup.settings().keys());
        let mut names: Vec<Vec<u8>> =
            known.filter(|name| name.contains(&b'.')).map(|name| name.to_vec()).collect();
        names.extend(self.custom.iter().cloned());
        names.sort();
        names.dedup();
        names
    }

    /// The server went back, or was lost: nothing of it is remembered but that the schema may have changed.
    pub fn part(&mut self) {
        self.exchange.clear();
        (self.kept, self.group) = (heal::Kept::Nothing, heal::Kept::Nothing);
        (self.reaching, self.lack, self.hides_description) = (None, None, false);
        self.doubt = Doubt { schema: self.doubt.schema, ..Doubt::default() };
        (self.client_pass, self.server_pass, self.server_drop) = (0, 0, 0);
    }

    /// Whether the server could be used by somebody else right now, were this client gone: nothing is owed
    /// and nothing half-sent. What it carries may still need a reset.
    pub fn is_clean(&self) -> bool {
        self.exchange.is_settled() && self.status() == TxStatus::Idle && !self.is_half_sent()
    }

    /// Whether the client left something on the server that others must not find.
    pub fn left_something(&self) -> bool {
        self.mode == PoolMode::Session || !self.pins.is_empty() || self.doubt.any()
    }

    /// A message to the server was begun and cannot be ended.
    pub fn is_half_sent(&self) -> bool {
        self.client_pass > 0 || self.server_pass > 0 || self.server_drop > 0
    }

    /// Answers the first request of `input` with an error, in place of a server that never came. Returns
    /// what of the input is thereby done; for an extended request all up to its Sync is skipped.
    pub fn refuse(&mut self, input: &[u8], error: &ClientError, answer: &mut Vec<u8>) -> usize {
        self.read_ahead = None;
        reply::error(answer, error);
        self.tally.error = error.sqlstate.as_bytes().try_into().ok();
        self.exchange.skip_to_sync();
        let Ok(Some(head)) = wire::head(input) else {
            return 0;
        };
        if !matches!(head.tag, tag::QUERY | tag::FUNCTION_CALL) {
            self.exchange.skipping = true;
            return 0;
        }
        self.exchange.clear();
        answer.extend_from_slice(&reply::ready(TxStatus::Idle));
        let here = head.size.min(input.len());
        self.client_drop = head.size - here;
        here
    }

    /// Whether a statement is being run for this client, as far as it can know.
    pub fn in_flight(&self) -> bool {
        !self.exchange.is_settled()
    }
}
