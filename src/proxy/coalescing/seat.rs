//! A client's place in a flight, from the moment it queues to the moment its answer is there.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Waker};

use crate::session::lookup::Lookup;

/// Where an answer is left for a client that waits.
#[derive(Default)]
pub struct Seat {
    outcome: RefCell<Option<Outcome>>,
    waker: RefCell<Option<Waker>>,
    /// The client waits no longer.
    gone: Cell<bool>,
}

/// What became of a look-up.
pub enum Outcome {
    /// These bytes of a landed flight are the whole answer, with so many rows.
    Answered { landed: Rc<Landed>, at: Range<u32>, rows: u32 },
    /// It has to be asked as it came.
    Alone,
}

/// A flight that came back: the answers to all its members, one behind the other.
pub struct Landed {
    pub answers: Vec<u8>,
    /// When it left, by the worker's clock, and how long the server took.
    pub departed_us: u64,
    pub server_us: u64,
}

impl Seat {
    pub fn settle(&self, outcome: Outcome) {
        *self.outcome.borrow_mut() = Some(outcome);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// What became of it; `None`: the flight has not landed.
    pub fn poll(&self, cx: &Context<'_>) -> Option<Outcome> {
        let outcome = self.outcome.borrow_mut().take();
        if outcome.is_none() {
            let mut waker = self.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
        }
        outcome
    }

    pub fn is_gone(&self) -> bool {
        self.gone.get()
    }
}

/// A look-up that waits in a seat. Dropping it leaves the flight.
pub struct Place {
    pub seat: Rc<Seat>,
    pub lookup: Lookup,
    pub since_us: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.seat.gone.set(true);
    }
}
