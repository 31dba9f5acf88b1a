//! What others may see and ask of a running session: the API, the clock, cancel requests.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

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
    /// Cancel the statement that runs, or the wait for a server.
    Cancel,
    /// Give up the wait for a server with this error, and go on.
    GiveUpWaiting(ClientError),
    /// End the session with this error.
    End(ClientError),
    /// End it as soon as no transaction is open.
    Drain,
}

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
    wish: RefCell<Option<Wish>>,
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
            wish: RefCell::default(),
            waker: RefCell::default(),
        })
    }

    /// Leaves a wish and wakes the session. The end of a session outranks anything else.
    pub fn ask(&self, wish: Wish) {
        let mut held = self.wish.borrow_mut();
        if !matches!(*held, Some(Wish::End(_))) {
            *held = Some(wish);
        }
        drop(held);
        self.nudge();
    }

    /// Wakes the session, so that it looks at where it stands.
    pub fn nudge(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    #[inline]
    pub fn take_wish(&self) -> Option<Wish> {
        self.wish.borrow_mut().take()
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
