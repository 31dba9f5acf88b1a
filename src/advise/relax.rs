//! The set for a budget where each question takes long, as with joins of a dozen tables: from all that plans use when
//! everything is in place, what is missed least per byte goes or makes room for something narrower, until the rest
//! fits (Relaxation: Bruno and Chaudhuri, SIGMOD 2005). A plan that did not use what goes stays as it is, so few
//! questions are left to ask.

use std::collections::BTreeMap;

use super::judge::{Judge, Set};

/// Narrower candidates that may stand in for one.
const NARROWER: usize = 3;

/// An index goes, and something narrower may come in its place.
#[derive(Debug, Clone)]
struct Change {
    goes: usize,
    comes: Option<usize>,
    /// Milliseconds more per byte less; at first a guess.
    penalty: f64,
    /// It was looked at in this step.
    step: usize,
}

/// What a narrower index is guessed to lose of what the wider one saves.
const NARROWER_LOSES: f64 = 0.3;

/// So much of all that is saved may be guessed to be lost without a question.
const IDLE: f64 = 0.01;

/// Makes the set that is used when everything is in place fit the budget. `users`: what each statement's plan used
/// then.
pub fn relaxed(judge: &mut Judge<'_, '_>, users: &[(usize, Set)]) -> Set {
    let shares = shares(judge, users);
    let mut chosen: Set = shares.keys().copied().collect();
    let mut idle = shares.values().sum::<f64>() * IDLE;
    let mut least_first: Vec<(usize, f64)> = shares.iter().map(|(&place, &share)| (place, share)).collect();
    least_first.sort_by(|one, other| one.1.total_cmp(&other.1));
    for (place, share) in least_first {
        idle -= share;
        if idle < 0.0 || fits(judge, &chosen) {
            break;
        }
        chosen.remove(&place);
    }
    let share = |place: usize| shares.get(&place).copied().unwrap_or_default();
    let mut open: Vec<Change> =
        chosen.iter().flat_map(|&place| changes(judge, place, share(place))).collect();
    let mut step = 1;
    while !fits(judge, &chosen) {
        let least = open.iter().enumerate().min_by(|one, other| one.1.penalty.total_cmp(&other.1.penalty));
        let Some((at, _)) = least else {
            break;
        };
        let with = changed(&chosen, &open[at]);
        // What others lose by it has grown since, if anything, so that the least stays the least. Without time for
        // questions, guesses have to do.
        if open[at].step != step && !judge.exhausted() {
            open[at].penalty = penalty(judge, &chosen, &with);
            open[at].step = step;
            continue;
        }
        let taken = open.swap_remove(at);
        chosen = with;
        open.retain(|one| one.goes != taken.goes && one.comes.is_none_or(|comes| !chosen.contains(&comes)));
        if let Some(comes) = taken.comes {
            open.extend(changes(judge, comes, share(taken.goes)));
        }
        step += 1;
    }
    chosen
}

fn fits(judge: &Judge<'_, '_>, chosen: &Set) -> bool {
    let settings = judge.workload.settings;
    let of_table = |place: usize| {
        let table = judge.candidates[place].index.table;
        chosen.iter().filter(|&&other| judge.candidates[other].index.table == table).count()
    };
    judge.bytes(chosen) <= settings.budget_bytes
        && chosen.iter().all(|&place| of_table(place) <= settings.max_per_table)
}

/// What each candidate saves, where those that a plan uses together have equal parts in it.
fn shares(judge: &Judge<'_, '_>, users: &[(usize, Set)]) -> BTreeMap<usize, f64> {
    let mut shares = BTreeMap::new();
    for (statement, used) in users {
        let saved = judge.saved_by_all(*statement) / used.len().max(1) as f64;
        for &place in used {
            *shares.entry(place).or_insert(0.0) += saved;
        }
    }
    shares
}

fn changes(judge: &Judge<'_, '_>, goes: usize, share: f64) -> Vec<Change> {
    let own = &judge.candidates[goes].index;
    let mut narrower: Vec<usize> = (0..judge.candidates.len())
        .filter(|&other| {
            let index = &judge.candidates[other].index;
            judge.is_tried(other)
                && (index.table, index.method, &index.predicate) == (own.table, own.method, &own.predicate)
                && judge.weights[other].bytes < judge.weights[goes].bytes
                && own.keys.starts_with(&index.keys)
        })
        .collect();
    // The nearest first: it keeps the most.
    narrower.sort_by_key(|&other| std::cmp::Reverse(judge.weights[other].bytes));
    narrower.truncate(NARROWER);
    let one = |comes: Option<usize>| {
        let left = comes.map_or(0, |comes| judge.weights[comes].bytes);
        let freed = judge.weights[goes].bytes.saturating_sub(left).max(1) as f64;
        let lost = if comes.is_some() { share * NARROWER_LOSES } else { share };
        Change { goes, comes, penalty: lost / freed, step: 0 }
    };
    std::iter::once(one(None)).chain(narrower.into_iter().map(|other| one(Some(other)))).collect()
}

fn changed(chosen: &Set, change: &Change) -> Set {
    let mut with = chosen.clone();
    with.remove(&change.goes);
    with.extend(change.comes);
    with
}

fn penalty(judge: &mut Judge<'_, '_>, chosen: &Set, with: &Set) -> f64 {
    let freed = judge.bytes(chosen).saturating_sub(judge.bytes(with)).max(1);
    -judge.saved(chosen, with) / freed as f64
}
