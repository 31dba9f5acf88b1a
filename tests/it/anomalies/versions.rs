//! Registers that count their values become lists of them: a register that holds its third value reads like a list
//! of three. So what is said of lists can be said of registers. Pure.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use super::history::{Act, End, Held, Step, Txn};

/// The value of each version of one register.
type Order = BTreeMap<u64, u64>;

/// # Errors
/// A register had two values at once, or one that nobody wrote.
pub fn as_lists(txns: &[Txn]) -> Result<Vec<Txn>, String> {
    let orders = orders(txns)?;
    let empty = Order::new();
    let mut lists = txns.to_vec();
    for txn in &mut lists {
        let mut own: HashMap<u64, Order> = HashMap::new();
        for step in &mut txn.steps {
            let order = orders.get(&step.key).unwrap_or(&empty);
            match step.act {
                Act::Write(value, held) => {
                    let own = own.entry(step.key).or_default();
                    held.map(|held| own.insert(held.version, value));
                    step.act = Act::Append(value);
                }
                Act::Register(held) => step.act = Act::List(list(held, order, own.get(&step.key))),
                _ => {}
            }
        }
    }
    Ok(lists)
}

/// All values up to the one that was read. What the transaction itself wrote counts before what others did.
fn list(held: Option<Held>, order: &Order, own: Option<&Order>) -> Vec<u64> {
    let Some(held) = held else { return Vec::new() };
    let value = |version: u64| own.and_then(|own| own.get(&version)).or(order.get(&version)).copied();
    (1..held.version).filter_map(value).chain([held.value]).collect()
}

fn orders(txns: &[Txn]) -> Result<HashMap<u64, Order>, String> {
    let mut orders: HashMap<u64, Order> = HashMap::new();
    let (mut uncertain, mut aborted): (HashMap<u64, Vec<u64>>, HashSet<u64>) =
        (HashMap::new(), HashSet::new());
    for (txn, key, act) in steps(txns) {
        match (act, txn.end) {
            (Act::Write(_, Some(held)), End::Committed) => note(&mut orders, key, *held)?,
            (Act::Write(value, _), End::Unknown) => uncertain.entry(key).or_default().push(*value),
            (Act::Write(value, _), End::Aborted) => drop(aborted.insert(*value)),
            _ => {}
        }
    }
    for (txn, key, act) in steps(txns) {
        if let Act::Register(Some(held)) = act
            && !aborted.contains(&held.value)
            && !txn.steps.iter().any(|step| matches!(step.act, Act::Write(value, _) if value == held.value))
        {
            note(&mut orders, key, *held)?;
        }
    }
    for (key, order) in &mut orders {
        // A version that nobody saw is one of the writes whose end is unknown.
        let last = order.keys().next_back().copied().unwrap_or_default();
        let known: HashSet<u64> = order.values().copied().collect();
        let mut left = uncertain.remove(key).unwrap_or_default();
        left.retain(|value| !known.contains(value));
        for version in 1..=last {
            if let Entry::Vacant(gap) = order.entry(version) {
                let value = left.pop();
                gap.insert(value.ok_or_else(|| format!("nobody wrote version {version} of register {key}"))?);
            }
        }
    }
    Ok(orders)
}

fn steps(txns: &[Txn]) -> impl Iterator<Item = (&Txn, u64, &Act)> {
    txns.iter().flat_map(|txn| txn.steps.iter().map(move |Step { key, act, .. }| (txn, *key, act)))
}

fn note(orders: &mut HashMap<u64, Order>, key: u64, held: Held) -> Result<(), String> {
    match orders.entry(key).or_default().insert(held.version, held.value) {
        Some(other) if other != held.value => {
            Err(format!("version {} of register {key} is {other} and {}", held.version, held.value))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txn(end: End, steps: &[Act]) -> Txn {
        let steps = steps.iter().map(|act| Step { key: 7, act: act.clone(), from: 0, to: 0 }).collect();
        Txn { process: 0, from: 0, to: 0, end, steps, commit: 0, fault: None }
    }

    fn held(version: u64, value: u64) -> Option<Held> {
        Some(Held { version, value })
    }

    fn acts(txns: &[Txn]) -> Vec<Act> {
        txns.iter().flat_map(|txn| txn.steps.iter().map(|step| step.act.clone())).collect()
    }

    #[test]
    fn what_was_read_becomes_all_that_was_written() {
        let history = [
            txn(End::Committed, &[Act::Write(10, held(1, 10)), Act::Register(held(1, 10))]),
            txn(End::Unknown, &[Act::Write(20, None)]),
            txn(End::Committed, &[Act::Write(30, held(3, 30))]),
            txn(End::Aborted, &[Act::Write(40, held(4, 40)), Act::Register(held(4, 40))]),
            txn(End::Committed, &[Act::Register(held(3, 30)), Act::Register(None)]),
            // A read of what failed stays visible as one.
            txn(End::Committed, &[Act::Register(held(4, 40))]),
        ];
        let expected = [
            Act::Append(10),
            Act::List(vec![10]),
            Act::Append(20),
            Act::Append(30),
            Act::Append(40),
            Act::List(vec![10, 20, 30, 40]),
            Act::List(vec![10, 20, 30]),
            Act::List(vec![]),
            Act::List(vec![10, 20, 30, 40]),
        ];
        assert_eq!(acts(&as_lists(&history).unwrap()), expected);
    }

    #[test]
    fn two_values_at_once_and_values_of_nobody_are_faults() {
        let write = |version, value| txn(End::Committed, &[Act::Write(value, held(version, value))]);
        assert!(as_lists(&[write(1, 10), write(1, 20)]).is_err());
        assert!(as_lists(&[write(1, 10), txn(End::Committed, &[Act::Register(held(1, 30))])]).is_err());
        assert!(as_lists(&[write(2, 10)]).is_err());
    }
}
