//! What a check has to see: look-ups that are answered by a cache that knows no writes, or by a query of another
//! client that has left already. Each is a mistake that a proxy could make.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::client::{Answer, Clock, Outcome, Statement};

type Key = (&'static str, Vec<String>);

/// Shared by all clients of a workload.
pub struct Broken {
    kind: Kind,
    kept: Mutex<HashMap<Key, (Outcome, Instant)>>,
    flights: Mutex<HashMap<Key, Arc<Flight>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Remembers each answer for so long.
    Stale(Duration),
    /// Whoever asks while the same is under way gets that answer.
    JoinsInFlight,
}

#[derive(Default)]
struct Flight {
    landed: Mutex<Option<Outcome>>,
    changed: Condvar,
}

impl Broken {
    pub fn new(kind: Kind) -> Arc<Broken> {
        Arc::new(Broken { kind, kept: Mutex::default(), flights: Mutex::default() })
    }

    /// The clause's 200 ms.
    pub fn stale() -> Arc<Broken> {
        Broken::new(Kind::Stale(Duration::from_millis(200)))
    }

    pub fn look_up(&self, clock: Clock, statement: &Statement, ask: impl FnOnce() -> Answer) -> Answer {
        let key = (statement.text, statement.values.clone());
        match self.kind {
            Kind::Stale(for_long) => self.remember(clock, key, for_long, ask),
            Kind::JoinsInFlight => self.join(clock, key, ask),
        }
    }

    fn remember(&self, clock: Clock, key: Key, long: Duration, ask: impl FnOnce() -> Answer) -> Answer {
        let from = clock.now();
        let known = self.kept.lock().unwrap().get(&key).cloned();
        if let Some((outcome, at)) = known
            && at.elapsed() < long
        {
            return Answer { outcome, from, to: clock.now() };
        }
        let answer = ask();
        if matches!(answer.outcome, Outcome::Rows(_)) {
            self.kept.lock().unwrap().insert(key, (answer.outcome.clone(), Instant::now()));
        }
        answer
    }

    fn join(&self, clock: Clock, key: Key, ask: impl FnOnce() -> Answer) -> Answer {
        let from = clock.now();
        let mut flights = self.flights.lock().unwrap();
        if let Some(flight) = flights.get(&key).cloned() {
            drop(flights);
            let landed = flight.landed.lock().unwrap();
            let landed = flight.changed.wait_while(landed, |landed| landed.is_none()).unwrap();
            let outcome = landed.clone().expect("it was waited for");
            return Answer { outcome, from, to: clock.now() };
        }
        let flight = Arc::new(Flight::default());
        flights.insert(key.clone(), flight.clone());
        drop(flights);
        let answer = ask();
        self.flights.lock().unwrap().remove(&key);
        *flight.landed.lock().unwrap() = Some(answer.outcome.clone());
        flight.changed.notify_all();
        answer
    }
}
