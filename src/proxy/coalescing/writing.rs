//! Tells the fence of a database what its sessions write: before it is forwarded, and when its end was received. Only
//! where a rule asks for fences.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::Lines;
use crate::coalesce::writer::{Writer, ends_transaction};
use crate::coalesce::writes::{self, WriteSet};
use crate::observe::fences::{OpenWrite, SharedFence};
use crate::pool::shape::Shape;
use crate::proxy::drive::Drive;
use crate::proxy::worker::Worker;
use crate::session::account::Ask;
use crate::wire::server::TxStatus;

/// Shapes whose writes are remembered per pool; the shapes themselves are as many.
const KNOWN_MAX: usize = 10_000;

/// What one session may have written, and not yet been told the end of.
#[derive(Default)]
pub struct Writing {
    writer: Writer,
    open: Vec<OpenWrite>,
}

/// What a shape writes.
#[derive(Debug)]
pub struct ShapeWrites {
    pub set: WriteSet,
    /// It may end a transaction block.
    pub ends: bool,
}

/// What the shapes of a pool write, as long as the schema is what it was.
#[derive(Default)]
pub struct KnownWrites {
    known: RefCell<HashMap<u64, Rc<ShapeWrites>, foldhash::fast::RandomState>>,
    /// Schema changes seen, and refreshes of the catalog.
    version: Cell<(u64, u64)>,
}

impl KnownWrites {
    /// What a shape writes; everything, until its facts and the catalog are known.
    pub fn of(&self, shape: &Shape, lines: &Lines, worker: &Worker, database: &str) -> Rc<ShapeWrites> {
        let registry = &worker.hub.registry;
        let version = (lines.epoch(), worker.catalogs_seen.get());
        if self.version.replace(version) != version {
            self.known.borrow_mut().clear();
        }
        let mut known = self.known.borrow_mut();
        if let Some(known) = known.get(&shape.fingerprint) {
            return known.clone();
        }
        let (facts, catalog) = (registry.facts.get(shape.fingerprint), registry.catalogs.catalog(database));
        let catalog = catalog.filter(|catalog| lines.is_fresh(catalog, worker.unix_s()));
        let parsed = facts.as_ref().and_then(|known| known.facts());
        let writes = writes::of(&shape.text, parsed, catalog.as_deref());
        let ends = ends_transaction(&shape.text);
        let found = Rc::new(ShapeWrites { set: writes.set, ends });
        // What is not known yet soon is.
        if facts.is_some() && catalog.is_some() {
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(shape.fingerprint, found.clone());
        }
        found
    }
}

impl Drive {
    /// Statements are about to be sent, so many messages of them.
    #[inline]
    pub(in crate::proxy) fn guard_writes(&mut self, asks: &[Ask], messages: u32) {
        if messages == 0 {
            return;
        }
        let Some(fence) = self.lines.fence() else {
            self.writing = None;
            return;
        };
        self.guard(&fence, asks, messages);
    }

    fn guard(&mut self, fence: &Arc<SharedFence>, asks: &[Ask], messages: u32) {
        let backend = self.control.server_pid.get();
        let begun = self.session.status() != TxStatus::Idle;
        let writing = self.writing.get_or_insert_with(|| {
            // What it wrote in this transaction before anybody looked is not known.
            let mut writing = Box::<Writing>::default();
            if begun {
                writing.writer.begun_unseen();
            }
            writing
        });
        let mut forward = |set: &WriteSet, ends: bool| {
            if let Some(open) = writing.writer.forward(set, ends) {
                writing.open.push(fence.open(open, backend));
            }
        };
        for ask in asks {
            let writes = self.lines.writes_of(&ask.known.shapes, &self.worker, &self.pool.database);
            forward(&writes.set, writes.ends);
        }
        if messages as usize > asks.len() {
            forward(&WriteSet::All, true);
        }
    }

    /// INSERTs that are done as one are about to be sent.
    pub(super) fn guard_inserts(&mut self) {
        self.guard_writes(&[], 1);
        self.note_sent(&[], 1);
    }

    /// The server has answered them, and the transaction stands like this.
    pub(super) fn acknowledge_inserts(&mut self, status: TxStatus) {
        self.acknowledge(status != TxStatus::Idle, false);
    }

    /// A server answered up to ReadyForQuery; called before the client is told.
    #[inline]
    pub(in crate::proxy) fn acknowledge_writes(&mut self) {
        self.acknowledge(self.session.status() != TxStatus::Idle, self.session.in_flight());
    }

    fn acknowledge(&mut self, inside: bool, owed: bool) {
        let Some(fence) = self.lines.fence() else {
            return;
        };
        let Some(writing) = &mut self.writing else {
            // Nobody knows what this was.
            if !owed {
                fence.open(WriteSet::All, 0).close();
                self.writing = Some(Box::default());
                if inside && let Some(writing) = &mut self.writing {
                    writing.writer.begun_unseen();
                }
            }
            return;
        };
        if writing.writer.ready(inside, owed) {
            writing.open.drain(..).for_each(OpenWrite::close);
        }
    }
}

/// Finds out whether writes of lost connections are over: PostgreSQL has ended their backends.
pub fn settle_lost(lines: &Rc<Lines>) {
    let (Some(fence), Some(pool)) = (lines.fence(), lines.pool.upgrade()) else {
        return;
    };
    let lost = fence.lost();
    if lost.is_empty() || lines.settling.replace(true) {
        return;
    }
    let lines = lines.clone();
    tokio::task::spawn_local(async move {
        if let Some(mut lease) = pool.take(None, &Rc::default()) {
            let pids: Vec<String> = lost.iter().map(|(_, backend)| backend.to_string()).collect();
            let question =
                format!("SELECT pid FROM pg_catalog.pg_stat_activity WHERE pid IN ({})", pids.join(","));
            if let Ok(rows) = lease.server().ask(question.as_bytes()).await {
                let alive: Vec<Vec<u8>> = rows.into_iter().flatten().flatten().collect();
                let gone = |backend: &i32| !alive.iter().any(|pid| **pid == *backend.to_string().as_bytes());
                let over: Vec<u64> =
                    lost.iter().filter(|(_, backend)| gone(backend)).map(|(number, _)| *number).collect();
                fence.settle(&over);
                lease.give_back();
            }
        }
        lines.settling.set(false);
    });
}
