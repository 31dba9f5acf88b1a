//! A cache of look-ups behind pgweir's own fence, in the client, so that the fence can be judged before a real
//! PostgreSQL and without the rest of pgweir: write sets from the catalog that the probe reads, a writer for each
//! connection, the shared counters, and the settling of lost writes. Parts of it can be left out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgweir::catalog::Catalog;
use pgweir::coalesce::fence::Stamp;
use pgweir::coalesce::writer::{Writer, ends_transaction};
use pgweir::coalesce::writes::{self, WriteSet};
use pgweir::observe::fences::{Fences, OpenWrite, SharedFence};
use pgweir::probe::Probe;
use pgweir::sql::facts;
use pgweir::sql::shape::Shaper;

use super::client::{Answer, Clock, Outcome, Statement};
use crate::catalog::probe;
use crate::cluster::TestDatabase;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Omit {
    Nothing,
    /// The fence is told of a write only when it is acknowledged.
    Forward,
    /// The fence is told of a write only when it is forwarded.
    Acknowledgement,
    /// A lost connection counts as an acknowledgement.
    Loss,
}

type Key = (&'static str, Vec<String>);

pub struct Fenced {
    fence: Arc<SharedFence>,
    omit: Omit,
    catalog: Catalog,
    probe: Probe,
    kept: Mutex<HashMap<Key, (Outcome, Stamp)>>,
    sets: Mutex<HashMap<&'static str, WriteSet>>,
    served: AtomicU64,
    asked: AtomicU64,
}

/// How often lost writes are looked for.
const SETTLE: Duration = Duration::from_millis(10);

impl Fenced {
    pub fn new(database: &TestDatabase, omit: Omit) -> Arc<Fenced> {
        let probe = probe(database);
        let catalog = runtime().block_on(probe.catalog()).unwrap();
        Arc::new(Fenced {
            fence: Fences::default().of(database.name()),
            omit,
            catalog,
            probe,
            kept: Mutex::default(),
            sets: Mutex::default(),
            served: AtomicU64::default(),
            asked: AtomicU64::default(),
        })
    }

    /// Look-ups that were answered from the cache, and those that were sent.
    pub fn served(&self) -> (u64, u64) {
        (self.served.load(Relaxed), self.asked.load(Relaxed))
    }

    /// Settles lost writes by PostgreSQL's list of backends, as long as the work takes.
    pub fn while_settling(&self, work: impl FnOnce()) {
        let stop = AtomicBool::new(false);
        let settle = async {
            while !stop.load(Relaxed) {
                let lost = self.fence.lost();
                if !lost.is_empty() {
                    let alive = self.probe.backends().await.unwrap();
                    let gone = lost.iter().filter(|(_, backend)| !alive.contains(backend));
                    self.fence.settle(&gone.map(|(number, _)| *number).collect::<Vec<_>>());
                }
                tokio::time::sleep(SETTLE).await;
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| runtime().block_on(settle));
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            stop.store(true, Relaxed);
            outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
    }

    pub fn look_up(&self, clock: Clock, statement: &Statement, ask: impl FnOnce() -> Answer) -> Answer {
        let from = clock.now();
        let key = (statement.text, statement.values.clone());
        let known = self.kept.lock().unwrap().get(&key).cloned();
        if let Some((outcome, stamp)) = known
            && self.fence.holds(&stamp)
        {
            self.served.fetch_add(1, Relaxed);
            return Answer { outcome, from, to: clock.now() };
        }
        self.asked.fetch_add(1, Relaxed);
        let stamp = self.fence.stamp(&[self.table(statement.text)]);
        let answer = ask();
        if let (Some(stamp), Outcome::Rows(_)) = (stamp, &answer.outcome) {
            self.kept.lock().unwrap().insert(key, (answer.outcome.clone(), stamp));
        }
        Answer { from, ..answer }
    }

    /// The only table that a look-up reads.
    fn table(&self, text: &str) -> u32 {
        let name = text.split(' ').skip_while(|word| *word != "FROM").nth(1).expect("it reads a table");
        self.catalog.table(&["public"], None, name).expect("the catalog has it").oid
    }

    fn writes(&self, text: &'static str) -> WriteSet {
        let found = || {
            let mut found = WriteSet::default();
            Shaper::default().shapes(text.as_bytes(), true, |shape| {
                let canonical = String::from_utf8(shape.canonical.to_vec()).unwrap();
                let facts = facts::read(&canonical).ok();
                found = writes::of(&canonical, facts.as_ref(), Some(&self.catalog)).set;
            });
            assert_ne!(found, WriteSet::All, "{text} is known well enough");
            found
        };
        self.sets.lock().unwrap().entry(text).or_insert_with(found).clone()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// One connection's part.
#[derive(Default)]
pub struct Behind {
    writer: Writer,
    open: Vec<Open>,
    omits_loss: bool,
}

enum Open {
    Noted(OpenWrite),
    /// The forward side is left out.
    Late(Arc<SharedFence>, WriteSet, i32),
}

impl Behind {
    /// Its own transaction has written what the look-up reads: only the server knows what it sees.
    pub fn has_written(&self, fenced: &Fenced, statement: &Statement) -> bool {
        self.writer.transaction().touches(&[fenced.table(statement.text)])
    }

    pub fn forward(&mut self, fenced: &Fenced, statement: &Statement, backend: i32) {
        self.omits_loss = fenced.omit == Omit::Loss;
        let ends = ends_transaction(statement.text);
        let Some(writes) = self.writer.forward(&fenced.writes(statement.text), ends) else { return };
        match fenced.omit {
            Omit::Forward => self.open.push(Open::Late(fenced.fence.clone(), writes, backend)),
            Omit::Acknowledgement => fenced.fence.open(writes, backend).close(),
            Omit::Nothing | Omit::Loss => self.open.push(Open::Noted(fenced.fence.open(writes, backend))),
        }
    }

    pub fn ready(&mut self, inside: bool, owed: bool) {
        if self.writer.ready(inside, owed) {
            self.open.drain(..).for_each(Open::close);
        }
    }

    pub fn lose(&mut self) {
        self.writer = Writer::default();
        match self.omits_loss {
            true => self.open.drain(..).for_each(Open::close),
            // What is dropped stays open until it is settled.
            false => self.open.clear(),
        }
    }
}

impl Open {
    fn close(self) {
        match self {
            Open::Noted(open) => open.close(),
            Open::Late(fence, writes, backend) => fence.open(writes, backend).close(),
        }
    }
}
