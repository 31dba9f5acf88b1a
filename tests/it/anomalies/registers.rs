//! Is a history of one register linearizable? Every written value is written once, so that each read names its
//! write; then the question has an exact answer in n log n steps (Gibbons and Korach, "Testing shared memories",
//! 1997). Pure. A search over all orders, as Wing and Gong's, judges it below on small histories.

/// Nanoseconds of one clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    pub act: Act,
    pub from: u64,
    /// When it was answered; for a write, `None`: it may take effect later, or never.
    pub to: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Read(u64),
    Write(u64),
    /// A write that is known to have had no effect.
    Refused(u64),
}

/// The value that the register has before any write.
pub const INITIAL: u64 = 0;

/// A write and its reads, which stand together in any order that explains the history.
#[derive(Debug, Clone, Copy)]
struct Cluster {
    value: u64,
    written: u64,
    /// The first end and the last beginning among them.
    first_end: u64,
    last_start: u64,
    is_read: bool,
    is_certain: bool,
}

/// # Errors
/// What no order of the operations explains.
pub fn check(ops: &[Op]) -> Result<(), String> {
    let clusters = clusters(ops)?;
    let (mut forward, backward): (Vec<Cluster>, Vec<Cluster>) =
        clusters.into_iter().partition(|cluster| cluster.first_end < cluster.last_start);
    forward.sort_by_key(|cluster| cluster.first_end);
    for pair in forward.windows(2) {
        if pair[1].first_end < pair[0].last_start {
            return Err(format!("{} was seen to come before {} and behind it", pair[0].value, pair[1].value));
        }
    }
    for short in &backward {
        let at = forward.partition_point(|long| long.first_end < short.last_start);
        if let Some(long) = at.checked_sub(1).and_then(|at| forward.get(at))
            && short.first_end < long.last_start
        {
            return Err(format!("{} was seen before {} was, and again behind it", long.value, short.value));
        }
    }
    Ok(())
}

fn clusters(ops: &[Op]) -> Result<Vec<Cluster>, String> {
    let initial =
        Cluster { value: INITIAL, written: 0, first_end: 0, last_start: 0, is_read: true, is_certain: true };
    let mut clusters = std::collections::HashMap::from([(INITIAL, initial)]);
    for op in ops {
        let Act::Write(value) = op.act else { continue };
        let cluster = Cluster {
            value,
            written: op.from,
            first_end: op.to.unwrap_or(u64::MAX),
            last_start: op.from,
            is_read: false,
            is_certain: op.to.is_some(),
        };
        if clusters.insert(value, cluster).is_some() {
            return Err(format!("{value} was written twice, so that the history cannot be judged"));
        }
    }
    for op in ops {
        let Act::Read(value) = op.act else { continue };
        let to = op.to.expect("a read that was not answered is no read");
        let Some(cluster) = clusters.get_mut(&value) else {
            let refused = ops.iter().any(|op| op.act == Act::Refused(value));
            let source = if refused { "a write that failed" } else { "nowhere" };
            return Err(format!("{value} was read, and comes from {source}"));
        };
        if to < cluster.written {
            return Err(format!("{value} was read before it was written"));
        }
        cluster.first_end = cluster.first_end.min(to);
        cluster.last_start = cluster.last_start.max(op.from);
        cluster.is_read = true;
    }
    // What nobody saw and nobody acknowledged may never have happened.
    Ok(clusters.into_values().filter(|cluster| cluster.is_certain || cluster.is_read).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn op(act: Act, from: u64, to: u64) -> Op {
        Op { act, from, to: Some(to) }
    }

    fn unanswered(value: u64, from: u64) -> Op {
        Op { act: Act::Write(value), from, to: None }
    }

    use Act::{Read, Refused, Write};

    #[test]
    fn histories_that_must_pass() {
        for history in [
            vec![],
            vec![op(Read(0), 1, 2), op(Write(1), 3, 4), op(Read(1), 5, 6)],
            // While a write is under way, either value may be read.
            vec![op(Write(1), 1, 10), op(Read(0), 2, 3), op(Read(1), 4, 5)],
            vec![op(Write(1), 1, 10), op(Read(1), 2, 3), op(Read(0), 1, 9)],
            // A write that nobody knows of may take effect late, or never.
            vec![unanswered(1, 1), op(Read(0), 2, 3), op(Read(1), 100, 101)],
            vec![unanswered(1, 1), op(Write(2), 2, 3), op(Read(2), 4, 5), op(Read(1), 6, 7)],
            vec![unanswered(1, 1), op(Write(2), 2, 3), op(Read(2), 4, 5)],
            vec![op(Refused(1), 1, 2), op(Read(0), 3, 4)],
            vec![op(Write(1), 1, 10), op(Write(2), 2, 9), op(Read(2), 11, 12), op(Read(2), 13, 14)],
        ] {
            assert_eq!(check(&history), Ok(()), "{history:?}");
        }
    }

    #[test]
    fn histories_that_must_fail() {
        for history in [
            // A stale read.
            vec![op(Write(1), 1, 2), op(Read(0), 3, 4)],
            vec![op(Write(1), 1, 2), op(Write(2), 3, 4), op(Read(1), 5, 6)],
            // Time goes backwards from one read to the next.
            vec![op(Write(1), 1, 10), op(Read(1), 2, 3), op(Read(0), 4, 5)],
            vec![unanswered(1, 1), op(Read(1), 2, 3), op(Read(0), 4, 5)],
            vec![op(Write(1), 1, 9), op(Write(2), 1, 9), op(Read(1), 10, 11), op(Read(2), 12, 13)],
            vec![
                op(Write(1), 1, 9),
                op(Write(2), 1, 9),
                op(Read(1), 10, 13),
                op(Read(2), 10, 11),
                op(Read(1), 12, 13),
            ],
            // From the future, from nowhere, from what failed.
            vec![op(Read(1), 1, 2), op(Write(1), 3, 4)],
            vec![op(Read(7), 1, 2)],
            vec![op(Refused(1), 1, 2), op(Read(1), 3, 4)],
        ] {
            assert!(check(&history).is_err(), "{history:?}");
        }
    }

    /// Wing and Gong: is there an order that respects real time in which every read reads the last write?
    fn search(ops: &[Op], done: u32, value: u64) -> bool {
        let left = || (0..ops.len()).filter(|at| done & (1 << at) == 0);
        if left().all(|at| ops[at].to.is_none()) {
            return true;
        }
        let bound = left().map(|at| ops[at].to.unwrap_or(u64::MAX)).min().unwrap_or(u64::MAX);
        left().filter(|&at| ops[at].from <= bound).any(|at| match ops[at].act {
            Act::Read(read) => read == value && search(ops, done | 1 << at, value),
            Act::Write(written) => search(ops, done | 1 << at, written),
            Act::Refused(_) => search(ops, done | 1 << at, value),
        })
    }

    /// All times of a history are different, as those of a fine clock are.
    fn history() -> impl Strategy<Value = Vec<Op>> {
        let times = Just((1..=16_u64).collect::<Vec<_>>()).prop_shuffle();
        (times, prop::collection::vec((0..4_u8, 0..5_u64), 1..8)).prop_map(|(times, kinds)| {
            let mut next = 1;
            let ops = kinds.iter().enumerate().map(|(at, &(kind, value))| {
                let (a, b) = (times[2 * at], times[2 * at + 1]);
                let (from, to) = (a.min(b), Some(a.max(b)));
                let mut write = || {
                    next += 1;
                    Act::Write(next - 1)
                };
                match kind {
                    0 => Op { act: write(), from, to },
                    1 => Op { act: write(), from, to: if value == 0 { None } else { to } },
                    _ => Op { act: Act::Read(value), from, to },
                }
            });
            ops.collect()
        })
    }

    #[test]
    fn the_search_over_all_orders_agrees() {
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            cases: 5_000,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let (good, bad) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        let outcome = runner.run(&history(), |ops| {
            let searched = search(&ops, 0, INITIAL);
            let counter = if searched { &good } else { &bad };
            counter.set(counter.get() + 1);
            prop_assert_eq!(check(&ops).is_ok(), searched, "{:?}", check(&ops));
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{error}"));
        assert!(good.get() > 500 && bad.get() > 500, "{good:?} {bad:?}");
    }
}
