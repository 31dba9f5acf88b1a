//! What transactions did and saw, and the questions that are put to it: which anomalies there are, by the crate
//! `adya`, and whether each statement saw a state as new as it has to. Pure.

use adya::history::{History, Id, Interner, Mop, Op as AdyaOp, OpType, ReadValue, Scalar};
use adya::{Opts, Valid, Workload};

use super::{lists, versions};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

pub const LEVELS: [Isolation; 3] =
    [Isolation::ReadCommitted, Isolation::RepeatableRead, Isolation::Serializable];

impl Isolation {
    pub fn begin(self) -> &'static str {
        match self {
            Isolation::ReadCommitted => "BEGIN ISOLATION LEVEL READ COMMITTED",
            Isolation::RepeatableRead => "BEGIN ISOLATION LEVEL REPEATABLE READ",
            Isolation::Serializable => "BEGIN ISOLATION LEVEL SERIALIZABLE",
        }
    }

    /// What PostgreSQL promises, with real time: its REPEATABLE READ is snapshot isolation, and its SERIALIZABLE
    /// keeps the order of what does not overlap, since a cycle needs two conflicts between overlapping
    /// transactions in a row, of which it aborts one.
    fn model(self) -> &'static str {
        match self {
            Isolation::ReadCommitted => "strong-read-committed",
            Isolation::RepeatableRead => "strong-snapshot-isolation",
            Isolation::Serializable => "strict-serializable",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Elements are appended to lists, and whole lists are read.
    Lists,
    /// Registers are overwritten and read.
    Registers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Committed,
    /// Nothing of it had an effect.
    Aborted,
    Unknown,
}

/// One transaction. Times are nanoseconds of one clock.
#[derive(Debug, Clone)]
pub struct Txn {
    /// Transactions of one process follow each other; one whose end is unknown is the last of its process.
    pub process: i64,
    pub from: u64,
    pub to: u64,
    pub end: End,
    pub steps: Vec<Step>,
    /// From when on its effects may be seen: when its COMMIT was sent, or it itself, without a block.
    pub commit: u64,
    /// SQLSTATE of what ended it early, `lost` for a lost connection.
    pub fault: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Step {
    pub key: u64,
    pub act: Act,
    pub from: u64,
    pub to: u64,
}

/// Values are different from each other, and never 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Append(u64),
    List(Vec<u64>),
    /// The new value, and what the register then held, as far as that is known.
    Write(u64, Option<Held>),
    /// `None`: there is no row.
    Register(Option<Held>),
}

/// What a register holds: its last value, which was the how many-th.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub version: u64,
    pub value: u64,
}

/// Everything that is wrong with a history of either kind; empty: nothing is.
pub fn faults(kind: Kind, isolation: Isolation, txns: &[Txn]) -> Vec<String> {
    match as_lists(kind, txns) {
        Ok(txns) => [anomalies(isolation, &txns), lists::check(isolation, &txns)].concat(),
        Err(fault) => vec![fault],
    }
}

/// Registers tell the order of their values too, and so become lists.
///
/// # Errors
/// No order of the values explains them.
pub fn as_lists(kind: Kind, txns: &[Txn]) -> Result<Vec<Txn>, String> {
    match kind {
        Kind::Lists => Ok(txns.to_vec()),
        Kind::Registers => versions::as_lists(txns),
    }
}

/// Of transactions on lists, by adya.
pub fn anomalies(isolation: Isolation, txns: &[Txn]) -> Vec<String> {
    let opts = Opts {
        models: vec![isolation.model().to_owned()],
        timeout: std::time::Duration::from_secs(20),
        ..Opts::default()
    };
    let report = adya::check(&history(txns), Workload::ListAppend, &opts);
    let explained = report.anomalies.iter().flat_map(|(name, found)| {
        found.iter().take(2).map(move |anomaly| format!("{name}: {}", anomaly.explanation))
    });
    match report.valid {
        Valid::True => Vec::new(),
        Valid::False => explained.collect(),
        Valid::Unknown => vec![format!("it cannot be judged: {}", explained.collect::<Vec<_>>().join("; "))],
    }
}

/// In adya's form: invocations and completions in the order of time.
fn history(txns: &[Txn]) -> History {
    let mut interner = Interner::default();
    let mut ops = Vec::with_capacity(2 * txns.len());
    for txn in txns {
        let kind = match txn.end {
            End::Committed => OpType::Ok,
            End::Aborted => OpType::Fail,
            End::Unknown => OpType::Info,
        };
        let value = |seen: bool, interner: &mut Interner| -> Vec<Mop> {
            txn.steps.iter().map(|step| mop(step, seen, interner)).collect()
        };
        let (asked, done) = (value(false, &mut interner), value(kind == OpType::Ok, &mut interner));
        let op = |kind, value, time: u64| AdyaOp {
            index: 0,
            kind,
            process: Some(txn.process),
            value,
            time: Some(time as i64),
        };
        ops.push(op(OpType::Invoke, asked, txn.from));
        ops.push(op(kind, done, txn.to));
    }
    // At one time, what was asked comes first, so that it counts as overlapping.
    ops.sort_by_key(|op| (op.time, op.kind != OpType::Invoke));
    (0..).zip(&mut ops).for_each(|(index, op)| op.index = index);
    History::from_ops(ops, interner)
}

fn mop(step: &Step, seen: bool, interner: &mut Interner) -> Mop {
    let mut id = |value: u64| -> Id { interner.intern(Scalar::Int(value as i64)) };
    let key = id(step.key);
    match &step.act {
        Act::Append(value) => Mop::Append { key, value: id(*value) },
        Act::List(list) if seen => {
            Mop::Read { key, value: ReadValue::List(list.iter().map(|&value| id(value)).collect()) }
        }
        Act::List(_) => Mop::Read { key, value: ReadValue::Nil },
        Act::Write(..) | Act::Register(_) => panic!("registers are judged as lists"),
    }
}

impl Txn {
    /// When the snapshot of a step was taken: in READ COMMITTED during the statement, else during the first one.
    pub fn snapshot(&self, isolation: Isolation, step: &Step) -> (u64, u64) {
        match (isolation, self.steps.first()) {
            (Isolation::ReadCommitted, _) | (_, None) => (step.from, step.to),
            (_, Some(first)) => (first.from, first.to),
        }
    }

    /// When its effects became visible; `None`: not before `commit`, and perhaps never.
    pub fn acknowledged(&self) -> Option<u64> {
        (self.end == End::Committed).then_some(self.to)
    }
}
