//! The fence: may rows that were fetched at one time still be served at another? Pure. One fence stands around
//! a database; its counters lie wherever the caller keeps them, so that several threads can share them. Must
//! not know where rows are kept or what a statement looks like.
//!
//! **The rule.** Between the moment at which pgweir forwards what can commit a write and the moment at which it
//! receives the acknowledgement, the write takes effect at some instant that nobody here sees. Other sessions may
//! read its effect from that instant on, and tell whom they like. So the write is *open* for the whole of that
//! time, and rows fetched by a query that was sent at s may be served at t only if no write of any of their
//! tables was open at any moment of [s, t]. To look at the two ends alone is not enough: a write that was
//! forwarded before s and is acknowledged after t may have taken effect in between.
//!
//! **The counters.** Each counter holds how many writes are open, in its low bits, and how many were closed, in
//! its high bits. A read at s that finds no open write and the same number again at t has therefore proved the
//! rule for that counter: an open write shows in the low bits, and one that opened and closed in between in the
//! high ones. A table has the counter that its oid is hashed to. Tables that share one break each other's fence,
//! which costs a query and never an answer. One more counter stands for writes that may touch any table.

use super::writes::WriteSet;
use crate::catalog::Oid;

/// Counters for tables; with so many, a thousand tables share few, and they take 32 KiB.
pub const SLOTS: usize = 4096;

/// Counters of one fence: those of tables, and one for all.
pub const COUNTERS: usize = SLOTS + 1;

/// A write was forwarded: one more is open.
pub const OPENED: u64 = 1;

/// Its end: one less is open, and one more was closed. At a million writes a second, the high bits last for half
/// a year before they repeat a number, and then only if rows were kept all that time; rows are kept for a second.
pub const CLOSED: u64 = (1 << OPEN_BITS) - OPENED;

/// A million writes may be open at once, more than there can be connections.
const OPEN_BITS: u32 = 20;

const OPEN: u64 = (1 << OPEN_BITS) - 1;

/// Where the counters of a fence lie. Where threads share them, both operations are sequentially consistent.
pub trait Counters {
    /// The value of a counter, `at` below [`COUNTERS`].
    fn get(&self, at: usize) -> u64;
    /// Adds to it, and wraps.
    fn add(&self, at: usize, by: u64);
}

/// The fence of one database.
#[derive(Debug, Default)]
pub struct Fence<C> {
    counters: C,
}

/// What a fence looked like when a query was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    all: u64,
    /// Counter and value, for each table.
    tables: Box<[(u16, u64)]>,
}

impl<C: Counters> Fence<C> {
    pub fn new(counters: C) -> Self {
        Fence { counters }
    }

    /// To be taken before a query is sent whose rows depend on these tables: those that it names, those behind
    /// views and policies, and all partitions and heirs. `None`: a write is open, and the rows must not be kept.
    pub fn stamp(&self, tables: &[Oid]) -> Option<Stamp> {
        let get = |at: usize| Some(self.counters.get(at)).filter(|value| value & OPEN == 0);
        let all = get(SLOTS)?;
        let stamped = tables.iter().map(|&table| Some((slot(table), get(slot(table).into())?)));
        Some(Stamp { all, tables: stamped.collect::<Option<_>>()? })
    }

    /// Whether rows of a query with this stamp may be served now.
    pub fn holds(&self, stamp: &Stamp) -> bool {
        let same = |&(slot, value): &(u16, u64)| self.counters.get(slot.into()) == value;
        self.counters.get(SLOTS) == stamp.all && stamp.tables.iter().all(same)
    }

    /// To be called before anything is sent that may commit writes of this set; each such call needs a
    /// [`Fence::close`] of the same set.
    pub fn open(&self, writes: &WriteSet) {
        self.note(writes, OPENED);
    }

    /// To be called when it is certain that these writes have taken effect or never will: their acknowledgement
    /// was received, or PostgreSQL has ended their backend. Before the acknowledgement is passed on.
    pub fn close(&self, writes: &WriteSet) {
        self.note(writes, CLOSED);
    }

    /// Whether no write is open that may touch this table.
    pub fn is_calm(&self, table: Oid) -> bool {
        (self.counters.get(SLOTS) | self.counters.get(slot(table).into())) & OPEN == 0
    }

    fn note(&self, writes: &WriteSet, by: u64) {
        match writes {
            WriteSet::All => self.counters.add(SLOTS, by),
            // Two tables of a set may share a counter, which is then counted twice, both times alike.
            WriteSet::Tables(tables) => {
                tables.iter().for_each(|&table| self.counters.add(slot(table).into(), by));
            }
        }
    }
}

/// A table's counter. Oids of one schema are neighbours, so that the multiplication keeps them apart.
fn slot(table: Oid) -> u16 {
    const BITS: u32 = SLOTS.trailing_zeros();
    (table.wrapping_mul(0x9e37_79b1) >> (u32::BITS - BITS)) as u16
}
