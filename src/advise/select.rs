//! Which set of candidates fits the budget: the greedy search of Extend (Schlosser, Kossmann, Boissier, ICDE
//! 2019) by benefit per byte, over candidates that plans with all of them in place have chosen (Valentin and
//! others, DB2 Advisor, ICDE 2000), followed by exchanges of one for another. What the planner likes no better
//! than a plainer index is decided by rule, because cost alone prefers columns whose order follows the rows'.

use super::judge::{Judge, Set};
use super::relax::relaxed;

/// How often all candidates are tried at once, each time without those that were used before.
const ROUNDS: usize = 3;

/// So much of a gain is given up for a plainer index or one of a better rule.
const PLAINER: f64 = 0.9;

/// Exchanges are worth it from this part of the whole on.
const EXCHANGE: f64 = 0.002;

/// Candidates that stand in for one that goes.
const SUBSTITUTES: usize = 12;

/// Passes of exchanges; the second finds little.
const PASSES: usize = 3;

/// A move adds one candidate, or several that a plan uses together.
#[derive(Debug, Clone)]
struct Move {
    adds: Set,
    /// What it saved when it was last looked at, milliseconds.
    gain: f64,
    /// It was looked at beside so many chosen ones.
    at: usize,
}

/// How a gain is weighed against bytes: to the power of.
const POWERS: [f64; 3] = [1.0, 0.5, 0.0];

/// The best set that was found.
pub fn select(judge: &mut Judge<'_, '_>) -> Set {
    if judge.is_long(judge.questions_alone()) {
        return slowly(judge);
    }
    let moves = moves(judge);
    let (mut best, mut least) = (Set::new(), f64::INFINITY);
    // Where everything fits, bytes decide nothing.
    let every: Set = moves.iter().flat_map(|one| one.adds.iter().copied()).collect();
    let powers =
        if judge.bytes(&every) <= judge.workload.settings.budget_bytes { &POWERS[2..] } else { &POWERS[..] };
    for &power in powers {
        let mut chosen = greedy(judge, &moves, Set::new(), power);
        for _ in 0..PASSES {
            let before = chosen.clone();
            chosen = exchanged(judge, &moves, chosen);
            chosen = greedy(judge, &moves, chosen, power);
            if chosen == before || judge.exhausted() {
                break;
            }
        }
        let objective = judge.objective(&chosen);
        if objective < least * (1.0 - EXCHANGE) {
            (best, least) = (chosen, objective);
        }
        if judge.exhausted() {
            break;
        }
    }
    let best = plain_ones(judge, best);
    without_idle(judge, best)
}

/// The same where each question takes long: from the top down, then whatever else fits.
fn slowly(judge: &mut Judge<'_, '_>) -> Set {
    let mut open: Set = (0..judge.candidates.len()).filter(|&place| judge.is_tried(place)).collect();
    let users = judge.used(&open);
    open.retain(|place| !users.iter().any(|(_, used)| used.contains(place)));
    // Once more without those, for what may stand in for them.
    judge.used(&open);
    judge.narrow(true);
    let chosen = relaxed(judge, &users);
    // What is not known to help would be asked in vain.
    let rest = (0..judge.candidates.len()).filter(|place| !judge.affected[*place].is_empty());
    let unknown = |place| Move { adds: Set::from([place]), gain: f64::INFINITY, at: usize::MAX };
    let moves: Vec<Move> = rest.map(unknown).collect();
    let chosen = greedy(judge, &moves, chosen, 0.0);
    let best = plain_ones(judge, chosen);
    without_idle(judge, best)
}

/// Exchanges each for one that does as well whatever the values are, or for a plainer one with the same first
/// keys, where that gives up little of what it saves.
fn plain_ones(judge: &mut Judge<'_, '_>, mut chosen: Set) -> Set {
    for place in chosen.clone() {
        let mut rest = chosen.clone();
        rest.remove(&place);
        let own = judge.saved(&rest, &chosen);
        let mut best: Option<((bool, usize, u64), usize)> = None;
        let near: Vec<usize> =
            (0..judge.candidates.len()).filter(|&other| stands_in(judge, place, other)).collect();
        for other in near {
            let mut set = rest.clone();
            set.insert(other);
            if judge.bytes(&set) > judge.workload.settings.budget_bytes || judge.exhausted() {
                continue;
            }
            let candidate = &judge.candidates[other];
            let rank =
                (!candidate.rule.is_preferred(), candidate.index.attributes(), judge.weights[other].bytes);
            if best.is_none_or(|(least, _)| rank < least) && judge.saved(&rest, &set) >= own * PLAINER {
                best = Some((rank, other));
            }
        }
        if let Some((_, other)) = best {
            rest.insert(other);
            chosen = rest;
        }
    }
    chosen
}

/// A candidate finds the same rows in the same way, plainer or surer.
fn stands_in(judge: &Judge<'_, '_>, place: usize, other: usize) -> bool {
    let (one, by) = (&judge.candidates[place], &judge.candidates[other]);
    let (own, index) = (&one.index, &by.index);
    if (own.table, own.method, &own.predicate) != (index.table, index.method, &index.predicate) {
        return false;
    }
    let plainer = index.attributes() < own.attributes()
        && own.keys.starts_with(&index.keys)
        && (by.rule.is_preferred() || !one.rule.is_preferred());
    let surer = by.rule.is_preferred()
        && !one.rule.is_preferred()
        && index.include.is_empty()
        && index.keys.starts_with(&own.keys);
    plainer || surer
}

/// Candidates that some plan uses, alone and together.
fn moves(judge: &mut Judge<'_, '_>) -> Vec<Move> {
    let mut open: Set = (0..judge.candidates.len()).filter(|&place| judge.is_tried(place)).collect();
    let (mut alive, mut bundles) = (Set::new(), Vec::new());
    for round in 0..ROUNDS {
        let used = judge.used(&open);
        for (_, used) in &used {
            if used.len() > 1 && round == 0 {
                bundles.push(used.clone());
            }
            alive.extend(used.iter().copied());
        }
        let before = open.len();
        open.retain(|place| !alive.contains(place));
        if open.len() == before || judge.exhausted() {
            break;
        }
    }
    // Without their carried columns, they serve others too; and what cannot be tried is judged by rule.
    let plain: Vec<usize> = (0..judge.candidates.len())
        .filter(|place| {
            let own = &judge.candidates[*place].index;
            !judge.is_tried(*place)
                || judge.candidates[*place].rule.is_preferred() && own.include.is_empty()
                || alive.iter().any(|other| {
                    let other = &judge.candidates[*other].index;
                    own.table == other.table
                        && own.include.is_empty()
                        && own.keys.len() <= other.keys.len()
                        && own.keys.iter().zip(&other.keys).all(|(a, b)| a.sql == b.sql)
                })
        })
        .collect();
    alive.extend(plain);
    judge.narrow(false);
    bundles.sort();
    bundles.dedup();
    let singles = alive.iter().map(|&place| Set::from([place]));
    let mut moves = Vec::new();
    for adds in singles.chain(bundles) {
        let gain = gain(judge, &Set::new(), &adds);
        if gain > 0.0 {
            moves.push(Move { adds, gain, at: 0 });
        }
    }
    moves
}

/// Milliseconds saved by adding, less what it costs those who write.
fn gain(judge: &mut Judge<'_, '_>, chosen: &Set, adds: &Set) -> f64 {
    let mut statements: Vec<usize> = adds.iter().flat_map(|&place| judge.affected[place].clone()).collect();
    statements.sort_unstable();
    statements.dedup();
    let with: Set = chosen.union(adds).copied().collect();
    let before: f64 = judge.times(chosen, &statements).iter().sum();
    let after: f64 = judge.times(&with, &statements).iter().sum();
    let writes: f64 = adds.difference(chosen).map(|&place| judge.weights[place].write_ms).sum();
    before - after - writes
}

fn greedy(judge: &mut Judge<'_, '_>, moves: &[Move], mut chosen: Set, power: f64) -> Set {
    let budget = judge.workload.settings.budget_bytes;
    let total: f64 = judge.now_ms.iter().sum();
    let mut open: Vec<Move> = moves.iter().filter(|one| !one.adds.is_subset(&chosen)).cloned().collect();
    open.iter_mut().for_each(|one| one.at = usize::MAX * usize::from(!chosen.is_empty()));
    loop {
        let spent = judge.bytes(&chosen);
        let new = |judge: &Judge<'_, '_>, one: &Move| -> u64 {
            one.adds.difference(&chosen).map(|&place| judge.weights[place].bytes).sum()
        };
        let score = |one: &Move| one.gain / (new(judge, one).max(1) as f64).powf(power);
        let scores = open.iter().map(score);
        // Gains shrink as others are chosen, so the first that keeps its place is the best.
        let Some((at, _)) = scores.enumerate().max_by(|one, other| one.1.total_cmp(&other.1)) else {
            return chosen;
        };
        let bytes = new(judge, &open[at]);
        if bytes == 0 || spent + bytes > budget || !fits_tables(judge, &chosen, &open[at].adds) {
            open.swap_remove(at);
            continue;
        }
        if open[at].at != chosen.len() {
            if judge.exhausted() {
                return chosen;
            }
            open[at].gain = gain(judge, &chosen, &open[at].adds);
            open[at].at = chosen.len();
            continue;
        }
        if open[at].gain <= total * GAIN_MIN {
            return chosen;
        }
        let best = open[at].clone();
        let taken = plainer(judge, &open, &chosen, &best);
        chosen.extend(taken.iter().copied());
        open.retain(|one| !one.adds.is_subset(&chosen));
    }
}

/// Smaller gains, as a part of the whole, are not looked at.
const GAIN_MIN: f64 = 0.0005;

/// Among those that are nearly as good, the one of the better rule, or the smaller one.
fn plainer(judge: &mut Judge<'_, '_>, open: &[Move], chosen: &Set, best: &Move) -> Set {
    let [place] = best.adds.iter().copied().collect::<Vec<_>>()[..] else {
        return best.adds.clone();
    };
    let table = judge.candidates[place].index.table;
    let rank = |judge: &Judge<'_, '_>, place: usize| {
        let candidate = &judge.candidates[place];
        let preferred = !candidate.rule.is_preferred();
        (preferred, candidate.index.attributes(), candidate.rule, judge.weights[place].bytes)
    };
    let spent = judge.bytes(chosen);
    let mut taken = place;
    for one in open {
        let [other] = one.adds.iter().copied().collect::<Vec<_>>()[..] else {
            continue;
        };
        let fits = spent + judge.weights[other].bytes <= judge.workload.settings.budget_bytes;
        let near = judge.candidates[other].index.table == table && one.gain >= best.gain * PLAINER && fits;
        if near
            && rank(judge, other) < rank(judge, taken)
            && gain(judge, chosen, &one.adds) >= best.gain * PLAINER
        {
            taken = other;
        }
    }
    Set::from([taken])
}

fn fits_tables(judge: &Judge<'_, '_>, chosen: &Set, adds: &Set) -> bool {
    let with: Set = chosen.union(adds).copied().collect();
    adds.iter().all(|&place| {
        let table = judge.candidates[place].index.table;
        let count = with.iter().filter(|&&other| judge.candidates[other].index.table == table).count();
        count <= judge.workload.settings.max_per_table
    })
}

/// Takes each out in turn, and puts in what serves better, if anything does.
fn exchanged(judge: &mut Judge<'_, '_>, moves: &[Move], mut chosen: Set) -> Set {
    let total: f64 = judge.now_ms.iter().sum();
    let budget = judge.workload.settings.budget_bytes;
    let mut ranked: Vec<&Move> = moves.iter().collect();
    ranked.sort_by(|a, b| b.gain.total_cmp(&a.gain));
    for place in chosen.clone() {
        if judge.exhausted() {
            break;
        }
        let mut rest = chosen.clone();
        rest.remove(&place);
        let table = judge.candidates[place].index.table;
        let near = ranked
            .iter()
            .filter(|one| one.adds.iter().any(|&other| judge.candidates[other].index.table == table));
        // Where everything fits, nothing has to go for what is far away.
        let far = ranked.iter().take(if judge.bytes(&chosen) * 2 > budget { SUBSTITUTES } else { 0 });
        let tries: Vec<Set> =
            near.take(SUBSTITUTES).chain(far).map(|one| rest.union(&one.adds).copied().collect()).collect();
        for with in std::iter::once(rest.clone()).chain(tries) {
            if with == chosen || judge.bytes(&with) > budget || !fits_tables(judge, &with, &with) {
                continue;
            }
            let more = judge.saved(&chosen, &with);
            let smaller = judge.bytes(&with) < judge.bytes(&chosen);
            if more > total * EXCHANGE || smaller && more >= 0.0 {
                chosen = with;
            }
        }
    }
    chosen
}

/// What saves too little beside the others goes.
fn without_idle(judge: &mut Judge<'_, '_>, mut chosen: Set) -> Set {
    let total: f64 = judge.now_ms.iter().sum();
    let settings = judge.workload.settings;
    let least_gain = f64::from(settings.min_gain_percent) / 100.0;
    let least_share = f64::from(settings.min_share_percent) / 100.0;
    loop {
        let mut worst: Option<(f64, usize)> = None;
        for &place in &chosen {
            let mut rest = chosen.clone();
            rest.remove(&place);
            let statements = judge.affected[place].clone();
            let without = judge.times(&rest, &statements);
            let with = judge.times(&chosen, &statements);
            let saved: f64 =
                without.iter().sum::<f64>() - with.iter().sum::<f64>() - judge.weights[place].write_ms;
            let parts = statements.iter().zip(without.iter().zip(&with));
            let best = parts
                .map(|(&at, (before, after))| (before - after) / judge.now_ms[at].max(1e-9))
                .fold(0.0, f64::max);
            let worth = best >= least_gain && (saved >= total * least_share || best >= HALF) && saved > 0.0;
            if !worth && worst.is_none_or(|(least, _)| saved < least) {
                worst = Some((saved, place));
            }
        }
        match worst {
            Some((_, place)) => chosen.remove(&place),
            None => return chosen,
        };
    }
}

/// A statement that is helped so much is worth an index even if it is a small part of the whole.
const HALF: f64 = 0.5;
