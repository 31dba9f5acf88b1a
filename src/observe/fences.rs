//! The fences of the databases in use: counters that all workers share, and the writes of lost connections, which
//! stay open until PostgreSQL has ended their backends. What the counters mean is decided in `coalesce::fence`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::catalog::Oid;
use crate::coalesce::fence::{COUNTERS, Counters, Fence, Stamp};
use crate::coalesce::writes::WriteSet;

/// Lost writes that are kept for one database. With more, which takes as many connections lost in the middle of a
/// commit while PostgreSQL cannot be asked, the fence of their tables stays broken until pgweir starts anew.
pub const LOST_MAX: usize = 10_000;

/// Databases by the name that clients ask for.
#[derive(Debug, Default)]
pub struct Fences(RwLock<BTreeMap<String, Arc<SharedFence>>>);

impl Fences {
    /// The fence of a database; a worker asks once per pool and keeps it.
    pub fn of(&self, database: &str) -> Arc<SharedFence> {
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(database) {
            return known.clone();
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(database.to_owned()).or_default().clone()
    }

    pub fn list(&self) -> Vec<(String, Arc<SharedFence>)> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(name, fence)| (name.clone(), fence.clone())).collect()
    }
}

/// Atomic counters; 32 KiB.
#[derive(Debug)]
struct Shared(Box<[AtomicU64]>);

impl Default for Shared {
    fn default() -> Self {
        Shared((0..COUNTERS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Counters for Shared {
    fn get(&self, at: usize) -> u64 {
        self.0[at].load(SeqCst)
    }

    fn add(&self, at: usize, by: u64) {
        self.0[at].fetch_add(by, SeqCst);
    }
}

/// The fence of one database, for all workers.
#[derive(Debug, Default)]
pub struct SharedFence {
    fence: Fence<Shared>,
    schema: AtomicU64,
    lost: Mutex<Lost>,
}

#[derive(Debug, Default)]
struct Lost {
    /// By a number that is never used again; PostgreSQL's process numbers are.
    writes: BTreeMap<u64, (i32, WriteSet)>,
    next: u64,
}

impl SharedFence {
    /// See [`Fence::stamp`].
    pub fn stamp(&self, tables: &[Oid]) -> Option<Stamp> {
        self.fence.stamp(tables)
    }

    /// See [`Fence::holds`].
    pub fn holds(&self, stamp: &Stamp) -> bool {
        self.fence.holds(stamp)
    }

    /// See [`Fence::is_calm`].
    pub fn is_calm(&self, table: Oid) -> bool {
        self.fence.is_calm(table)
    }

    /// Before what may commit these writes is sent. `backend`: PostgreSQL's process at the other end.
    pub fn open(self: &Arc<Self>, writes: WriteSet, backend: i32) -> OpenWrite {
        self.fence.open(&writes);
        OpenWrite { fence: self.clone(), writes, backend }
    }

    /// How often the schema has changed, as far as pgweir has seen. Write sets and closures hold while this is
    /// what it was before their catalog was read.
    pub fn schema(&self) -> u64 {
        self.schema.load(SeqCst)
    }

    /// A statement that may change the schema is about to be sent; or was answered; call it both times.
    pub fn schema_changes(&self) {
        self.schema.fetch_add(1, SeqCst);
    }

    /// The writes of lost connections: number and backend of each. Whoever finds that a backend is gone settles
    /// them.
    pub fn lost(&self) -> Vec<(u64, i32)> {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.writes.iter().map(|(&number, &(backend, _))| (number, backend)).collect()
    }

    /// These writes have taken effect or never will: pg_stat_activity, asked after [`SharedFence::lost`] told of
    /// them, did not have their backends.
    pub fn settle(&self, numbers: &[u64]) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        for number in numbers {
            if let Some((_, writes)) = lost.writes.remove(number) {
                self.fence.close(&writes);
            }
        }
    }

    fn lose(&self, writes: WriteSet, backend: i32) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if lost.writes.len() < LOST_MAX {
            let number = lost.next;
            lost.next += 1;
            lost.writes.insert(number, (backend, writes));
        }
    }
}

/// A write that was forwarded. Close it when it is acknowledged. Dropped without that, as happens with a connection
/// that is lost and with a task that ends, it stays open until [`SharedFence::settle`].
#[derive(Debug)]
#[must_use]
pub struct OpenWrite {
    fence: Arc<SharedFence>,
    writes: WriteSet,
    backend: i32,
}

impl OpenWrite {
    /// The acknowledgement was received, and not yet passed on.
    pub fn close(mut self) {
        self.fence.fence.close(&self.writes);
        self.writes = WriteSet::default();
    }
}

impl Drop for OpenWrite {
    fn drop(&mut self) {
        let writes = std::mem::take(&mut self.writes);
        if !writes.is_empty() {
            self.fence.lose(writes, self.backend);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn table(oid: Oid) -> WriteSet {
        WriteSet::Tables(vec![oid])
    }

    #[test]
    fn each_database_has_one_fence() {
        let fences = Fences::default();
        let (a, b) = (fences.of("a"), fences.of("b"));
        let open = a.open(WriteSet::All, 1);
        assert!(fences.of("a").stamp(&[1]).is_none() && b.stamp(&[1]).is_some());
        open.close();
        assert!(a.stamp(&[1]).is_some());
        assert_eq!(fences.list().len(), 2);
    }

    #[test]
    fn a_lost_write_stays_open_until_its_backend_is_gone() {
        let fence = Fences::default().of("a");
        drop(fence.open(table(1), 77));
        drop(fence.open(WriteSet::All, 78));
        fence.open(table(2), 79).close();
        let lost = fence.lost();
        assert_eq!(lost.iter().map(|(_, backend)| *backend).collect::<Vec<_>>(), [77, 78]);
        fence.settle(&[lost[1].0]);
        assert!(fence.stamp(&[1]).is_none() && fence.stamp(&[2]).is_some());
        fence.settle(&[lost[0].0, lost[0].0, 1000]);
        assert!(fence.stamp(&[1]).is_some() && fence.lost().is_empty());
    }

    /// Writers on threads of their own; what the fence lets through is what the table holds at that moment.
    #[test]
    fn threads_see_each_others_writes() {
        let (fence, stop) = (Fences::default().of("a"), AtomicBool::new(false));
        let versions = [AtomicU64::new(0), AtomicU64::new(0)];
        let served = std::thread::scope(|scope| {
            for at in 0..2_usize {
                let (fence, versions, stop) = (&fence, &versions, &stop);
                scope.spawn(move || {
                    while !stop.load(SeqCst) {
                        let open = fence.open(table(at as Oid), 1);
                        versions[at].fetch_add(1, SeqCst);
                        open.close();
                        std::thread::yield_now();
                    }
                });
            }
            let reader = || {
                let mut served = 0;
                while served < 20_000 {
                    let at = served % 2;
                    let Some(stamp) = fence.stamp(&[at as Oid]) else { continue };
                    let seen = versions[at].load(SeqCst);
                    // Whatever it is by now, it was that before the fence was asked.
                    let now = versions[at].load(SeqCst);
                    if fence.holds(&stamp) {
                        assert_eq!(seen, now);
                        served += 1;
                    }
                }
                served
            };
            let readers = [scope.spawn(reader), scope.spawn(reader)];
            let served: usize = readers.map(|reader| reader.join().unwrap_or_default()).iter().sum();
            stop.store(true, SeqCst);
            served
        });
        assert_eq!(served, 40_000);
    }
}
