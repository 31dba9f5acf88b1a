//! Did every read of a list see a state as new as it had to, and none from the future? The longest read tells the
//! order of the appends, so that each read is a version, and the question is one of times. It asks of single
//! statements what the anomalies of transactions leave open in READ COMMITTED, where each statement has a snapshot
//! of its own. Pure.

use std::collections::{HashMap, HashSet};

use super::history::{Act, End, Isolation, Txn};

struct Read<'a> {
    list: &'a [u64],
    from: u64,
    to: u64,
}

struct Append {
    value: u64,
    from: u64,
    /// `None`: it may take effect later, or never.
    to: Option<u64>,
}

/// What is wrong, list by list.
pub fn check(isolation: Isolation, txns: &[Txn]) -> Vec<String> {
    let mut reads: HashMap<u64, Vec<Read<'_>>> = HashMap::new();
    let mut appends: HashMap<u64, Vec<Append>> = HashMap::new();
    for txn in txns {
        let mut own: HashMap<u64, HashSet<u64>> = HashMap::new();
        for step in &txn.steps {
            match &step.act {
                Act::Append(value) => {
                    own.entry(step.key).or_default().insert(*value);
                    if txn.end != End::Aborted {
                        let append = Append { value: *value, from: txn.commit, to: txn.acknowledged() };
                        appends.entry(step.key).or_default().push(append);
                    }
                }
                Act::List(list) => {
                    // Its own appends, which nobody else sees yet, stand last: the row is locked.
                    let own = own.entry(step.key).or_default();
                    let others = list.iter().take_while(|value| !own.contains(value)).count();
                    let (from, to) = txn.snapshot(isolation, step);
                    reads.entry(step.key).or_default().push(Read { list: &list[..others], from, to });
                }
                _ => {}
            }
        }
    }
    let mut faults = Vec::new();
    for (key, reads) in &reads {
        let appends = appends.remove(key).unwrap_or_default();
        if let Err(fault) = one(reads, &appends) {
            faults.push(format!("list {key}: {fault}"));
        }
    }
    faults
}

fn one(reads: &[Read<'_>], appends: &[Append]) -> Result<(), String> {
    let order: &[u64] = reads.iter().map(|read| read.list).max_by_key(|list| list.len()).unwrap_or_default();
    let place: HashMap<u64, usize> = order.iter().enumerate().map(|(at, &value)| (value, at + 1)).collect();
    let begun: HashMap<u64, u64> = appends.iter().map(|append| (append.value, append.from)).collect();
    for read in reads {
        if read.list != &order[..read.list.len()] {
            return Err(format!("{:?} and {order:?} were both read", read.list));
        }
        for value in read.list {
            match begun.get(value) {
                None => return Err(format!("{value} was read, and nothing appended it that could commit")),
                Some(&from) if from > read.to => {
                    return Err(format!(
                        "{value} was read {} ns before it could be committed",
                        from - read.to
                    ));
                }
                Some(_) => {}
            }
        }
    }
    // What was over at some time: the highest version that was there then, or was seen.
    let seen = reads.iter().map(|read| (read.to, read.list.len()));
    let written = appends.iter().filter_map(|append| {
        // One that no read ever shows is behind all that do.
        Some((append.to?, place.get(&append.value).copied().unwrap_or(order.len() + 1)))
    });
    let mut over: Vec<(u64, usize)> = seen.chain(written).collect();
    over.sort_unstable();
    let mut highest = 0;
    for (_, version) in &mut over {
        highest = highest.max(*version);
        *version = highest;
    }
    let at_least =
        |time: u64| over[..over.partition_point(|(to, _)| *to < time)].last().map_or(0, |last| last.1);
    for read in reads {
        if read.list.len() < at_least(read.from) {
            let list = read.list;
            return Err(format!("{list:?} was read {} versions late", at_least(read.from) - list.len()));
        }
    }
    for append in appends {
        if let Some(&version) = place.get(&append.value)
            && version <= at_least(append.from)
        {
            return Err(format!("{} was committed late and stands too far in front", append.value));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::history::Step;
    use super::*;

    /// One transaction from its steps; each takes one unit of time, the commit takes one more.
    fn txn(from: u64, end: End, steps: &[(u64, Act)]) -> Txn {
        let steps: Vec<Step> = (from..)
            .zip(steps)
            .map(|(at, (key, act))| Step { key: *key, act: act.clone(), from: 10 * at, to: 10 * at + 9 })
            .collect();
        let commit = 10 * (from + steps.len() as u64);
        Txn { process: from as i64, from: 10 * from, to: commit + 9, end, steps, commit, fault: None }
    }

    fn append(value: u64) -> (u64, Act) {
        (1, Act::Append(value))
    }

    fn list(values: &[u64]) -> (u64, Act) {
        (1, Act::List(values.to_vec()))
    }

    use End::{Aborted, Committed, Unknown};
    use Isolation::{ReadCommitted, RepeatableRead};

    #[test]
    fn histories_that_must_pass() {
        for (isolation, history) in [
            (ReadCommitted, vec![txn(1, Committed, &[append(1)]), txn(3, Committed, &[list(&[1])])]),
            // Under way, it may be seen or not.
            (ReadCommitted, vec![txn(1, Committed, &[append(1)]), txn(2, Committed, &[list(&[])])]),
            (ReadCommitted, vec![txn(1, Committed, &[append(1)]), txn(2, Committed, &[list(&[1])])]),
            // Its own append is seen by itself alone.
            (ReadCommitted, vec![txn(1, Aborted, &[append(1), list(&[1])]), txn(2, Committed, &[list(&[])])]),
            // Nobody knows whether it was committed.
            (ReadCommitted, vec![txn(1, Unknown, &[append(1)]), txn(5, Committed, &[list(&[]), list(&[1])])]),
            // Two snapshots in one transaction, and one.
            (
                ReadCommitted,
                vec![
                    txn(3, Committed, &[append(1)]),
                    txn(1, Committed, &[list(&[]), list(&[]), list(&[]), list(&[]), list(&[1])]),
                ],
            ),
            (
                RepeatableRead,
                vec![
                    txn(3, Committed, &[append(1)]),
                    txn(1, Committed, &[list(&[]), list(&[]), list(&[]), list(&[]), list(&[])]),
                ],
            ),
        ] {
            assert_eq!(check(isolation, &history), Vec::<String>::new(), "{history:?}");
        }
    }

    #[test]
    fn histories_that_must_fail() {
        for (isolation, history) in [
            // A stale read, by itself and in a transaction that began before.
            (ReadCommitted, vec![txn(1, Committed, &[append(1)]), txn(3, Committed, &[list(&[])])]),
            (
                ReadCommitted,
                vec![
                    txn(3, Committed, &[append(1)]),
                    txn(1, Committed, &[list(&[]), list(&[]), list(&[]), list(&[]), list(&[])]),
                ],
            ),
            (RepeatableRead, vec![txn(1, Committed, &[append(1)]), txn(3, Committed, &[list(&[])])]),
            // Backwards from one statement to the next.
            (ReadCommitted, vec![txn(1, Unknown, &[append(1)]), txn(5, Committed, &[list(&[1]), list(&[])])]),
            // From the future, from a transaction that failed, from nowhere.
            (ReadCommitted, vec![txn(5, Committed, &[append(1)]), txn(1, Committed, &[list(&[1])])]),
            (ReadCommitted, vec![txn(1, Aborted, &[append(1)]), txn(2, Committed, &[list(&[1])])]),
            (ReadCommitted, vec![txn(2, Committed, &[list(&[7])])]),
            // Two orders; a later append in front of an earlier one; a lost append.
            (
                ReadCommitted,
                vec![
                    txn(1, Unknown, &[append(1), append(2)]),
                    txn(8, Committed, &[list(&[1, 2])]),
                    txn(9, Committed, &[list(&[2, 1])]),
                ],
            ),
            (
                ReadCommitted,
                vec![
                    txn(1, Committed, &[append(1)]),
                    txn(3, Committed, &[append(2)]),
                    txn(8, Committed, &[list(&[2, 1])]),
                ],
            ),
            (
                ReadCommitted,
                vec![
                    txn(1, Committed, &[append(1)]),
                    txn(3, Committed, &[append(2)]),
                    txn(8, Committed, &[list(&[2])]),
                ],
            ),
        ] {
            assert!(!check(isolation, &history).is_empty(), "{history:?}");
        }
    }
}
