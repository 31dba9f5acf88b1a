//! What others may see and ask of a running session: the API, the clock, cancel requests.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use tokio::sync::oneshot;

use crate::error::ClientError;
use crate::observe::counters::PinReason;
use crate::pool::lend::Pool;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Idle,
    Waiting,
    Active,
    InTransaction,
    Pinned,
}

impl State {
    pub fn label(self) -> &'static str {
        match self {
            State::Idle => "idle",
            State::Waiting => "waiting",
            State::Active => "active",
            State::InTransaction => "in_transaction",
            State::Pinned => "pinned",
        }
    }
}

/// What somebody else wants of the session; it looks at its next wake-up.
#[derive(Debug)]
pub enum Wish {
    /// The client asks to cancel its statement, or its wait for a server.
    Cancel,
    /// The statement has run for too long.
    Interrupt,
    /// A cancel request is through: a server that was held back for it may go.
    Settle,
    /// The client rests: see what it did until now.
    EndUnit,
    /// Give up the wait for a server with this error, and go on.
    GiveUpWaiting(ClientError),
    /// End the session with this error.
    End(ClientError),
    /// End it as soon as no transaction is open.
    Drain,
}

/// A pause that ends any unit of work.
const REST_MS: u64 = 1_000;

pub struct Control {
    pub id: u64,
    pub peer: Box<str>,
    pub application: RefCell<Box<str>>,
    pub pool: Rc<Pool>,
    pub state: Cell<State>,
    /// When it entered the state, and when its transaction began (0: none), by the worker's clock.
    pub since_ms: Cell<u64>,
    pub transaction_ms: Cell<u64>,
    pub server_pid: Cell<i32>,
    pub pinned_by: Cell<Option<PinReason>>,
    /// Statements of the session are remembered, to see whether they repeat.
    pub watching: Cell<bool>,
    /// At most one of each kind, in the order they came.
    wishes: RefCell<Vec<Wish>>,
    /// Cancel requests whose connections close when they are through.
    cancellers: RefCell<Vec<oneshot::Sender<()>>>,
    /// Another cancel request came while one was under way.
    cancel_again: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Control {
    pub fn new(id: u64, peer: &str, application: &str, pool: Rc<Pool>, now_ms: u64) -> Rc<Self> {
        Rc::new(Control {
            id,
            peer: peer.into(),
            application: RefCell::new(application.into()),
            pool,
            state: Cell::new(State::Idle),
            since_ms: Cell::new(now_ms),
            transaction_ms: Cell::new(0),
            server_pid: Cell::new(0),
            pinned_by: Cell::new(None),
            watching: Cell::new(false),
            wishes: RefCell::default(),
            cancellers: RefCell::default(),
            cancel_again: Cell::new(false),
            waker: RefCell::default(),
        })
    }

    /// Leaves a wish and wakes the session.
    pub fn ask(&self, wish: Wish) {
        let mut held = self.wishes.borrow_mut();
        let same = |known: &Wish| std::mem::discriminant(known) == std::mem::discriminant(&wish);
        if !held.iter().any(same) {
            held.push(wish);
        }
        drop(held);
        self.nudge();
    }

    /// Asks to cancel. `through` is dropped when the server has been told, or when there was nothing to tell.
    pub fn ask_cancel(&self, through: oneshot::Sender<()>) {
        self.cancellers.borrow_mut().push(through);
        self.ask(Wish::Cancel);
    }

    /// A cancel request waits until the one under way is through.
    pub fn cancel_again(&self) {
        self.cancel_again.set(true);
    }

    /// The cancel request is through, or there was nothing to cancel.
    pub fn cancelled(&self) {
        if self.cancel_again.take() {
            return self.ask(Wish::Cancel);
        }
        self.cancellers.borrow_mut().clear();
        self.ask(Wish::Settle);
    }

    /// Wakes the session, so that it looks at where it stands.
    fn nudge(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// The next wish. Its end is what matters most to a session.
    #[inline]
    pub fn take_wish(&self) -> Option<Wish> {
        let mut held = self.wishes.borrow_mut();
        if held.is_empty() {
            return None;
        }
        let end = held.iter().position(|wish| matches!(wish, Wish::End(_)));
        let wish = held.remove(end.unwrap_or(0));
        let more = !held.is_empty();
        drop(held);
        if more {
            self.nudge();
        }
        Some(wish)
    }

    /// It has asked nothing for so long that its unit of work is over.
    pub fn rests(&self, now_ms: u64) -> bool {
        let still = matches!(self.state.get(), State::Idle | State::InTransaction | State::Pinned);
        self.watching.get() && still && now_ms.saturating_sub(self.since_ms.get()) > REST_MS
    }

    pub fn listen(&self, waker: &Waker) {
        let mut held = self.waker.borrow_mut();
        if !held.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *held = Some(waker.clone());
        }
    }

    #[inline]
    pub fn enter(&self, state: State, now_ms: u64) {
        if self.state.replace(state) != state {
            self.since_ms.set(now_ms);
        }
    }
}
