//! What sets of candidates are worth: the time of each statement under a set, by the planner's costs in
//! proportion to the time that was measured. Each question is asked once. Knows no budget.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::candidate::Candidate;
use super::look::Resolved;
use super::{Planned, Planner, Question, Workload, estimate, size, writes};
use crate::catalog::Table;

/// Milliseconds of one unit of cost, where no time was measured: a page from a disk, about.
const MS_PER_COST: f64 = 0.01;

/// Candidates by their places, in order.
pub type Set = BTreeSet<usize>;

/// Plans that are remembered of one statement.
const SEEN_MAX: usize = 200;

/// A statement's plans, which hold for every set between what they use and what there was.
#[derive(Debug)]
struct Seen {
    there: Vec<usize>,
    used: Set,
    cost: f64,
}

/// What one candidate costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weight {
    pub bytes: u64,
    /// Milliseconds in the workload's time.
    pub write_ms: f64,
}

pub struct Judge<'a, 'b> {
    pub workload: &'b Workload<'a>,
    pub resolved: &'b [Resolved<'a>],
    pub candidates: &'b [Candidate],
    planner: &'b mut dyn Planner,
    /// Of each statement; empty: it has no plan.
    questions: Vec<Vec<usize>>,
    /// Plans without any candidate, of each statement's first question.
    pub base: Vec<Planned>,
    costs: Vec<f64>,
    /// Milliseconds of each statement now.
    pub now_ms: Vec<f64>,
    pub weights: Vec<Weight>,
    /// Statements that read the candidate's table.
    pub affected: Vec<Vec<usize>>,
    /// The part of a statement's cost that a candidate saves whom the planner cannot try.
    savings: HashMap<(usize, usize), f64>,
    tried: Vec<bool>,
    known: HashMap<(usize, Vec<usize>), f64>,
    /// Candidates that some plan of a statement has used.
    useful: HashSet<(usize, usize)>,
    /// Plans of each statement.
    seen: Vec<Vec<Seen>>,
    /// Those that people are shown, of one set.
    shown: (Set, HashMap<usize, Planned>),
    asked: usize,
}

impl<'a, 'b> Judge<'a, 'b> {
    /// Asks for the plans as they are. `asks`: the questions of each statement.
    pub fn new(
        workload: &'b Workload<'a>,
        resolved: &'b [Resolved<'a>],
        candidates: &'b [Candidate],
        asks: Vec<Vec<Question>>,
        planner: &'b mut dyn Planner,
    ) -> Self {
        let (mut all, mut questions) = (Vec::new(), Vec::new());
        for asks in asks {
            questions.push((all.len()..all.len() + asks.len()).collect::<Vec<usize>>());
            all.extend(asks);
        }
        planner.prepare(&all);
        let tables: Vec<Option<&Table>> =
            candidates.iter().map(|candidate| workload.catalog.table_by_oid(candidate.index.table)).collect();
        let sql: Vec<String> = candidates
            .iter()
            .zip(&tables)
            .map(|(candidate, table)| {
                table.map_or_else(String::new, |table| candidate.index.plain_ddl(table))
            })
            .collect();
        let indexes: Vec<_> = candidates.iter().map(|candidate| candidate.index.clone()).collect();
        let offered = planner.offer(&indexes, &sql);
        let tried: Vec<bool> = candidates
            .iter()
            .zip(&offered)
            .map(|(candidate, offered)| offered.is_ok() && candidate.unjudged.is_none())
            .collect();
        let weights = candidates
            .iter()
            .zip(&tables)
            .zip(&offered)
            .map(|((candidate, table), offered)| weight(candidate, *table, offered.as_ref().ok(), workload))
            .collect();
        let mut judge = Judge {
            workload,
            resolved,
            candidates,
            planner,
            base: vec![Planned::default(); questions.len()],
            costs: vec![0.0; questions.len()],
            now_ms: vec![0.0; questions.len()],
            seen: questions.iter().map(|_| Vec::new()).collect(),
            questions,
            weights,
            affected: Vec::new(),
            savings: HashMap::new(),
            tried,
            known: HashMap::new(),
            useful: HashSet::new(),
            shown: Default::default(),
            asked: 0,
        };
        judge.begin();
        judge
    }

    fn begin(&mut self) {
        let all: Vec<usize> = (0..self.questions.len()).collect();
        let plans = self.plans(&Set::new(), &all);
        for (at, plans) in plans.into_iter().enumerate() {
            let statement = &self.workload.statements[at];
            let Some(first) = plans.first() else {
                continue;
            };
            self.base[at] = first.clone();
            self.costs[at] = mean(&plans);
            self.now_ms[at] = match statement.total_ms > 0.0 {
                true => statement.total_ms,
                false => self.costs[at] * MS_PER_COST * statement.calls.max(1) as f64,
            };
        }
        for (place, candidate) in self.candidates.iter().enumerate() {
            let reads = |at: &usize| {
                let looks = self.resolved[*at].looks.iter();
                self.costs[*at] > 0.0
                    && (candidate.statements.contains(at)
                        || looks.map(|look| look.table.oid).any(|oid| oid == candidate.index.table))
            };
            self.affected.push((0..self.questions.len()).filter(reads).collect());
            let Some(table) = self.workload.catalog.table_by_oid(candidate.index.table) else {
                continue;
            };
            if self.tried[place] {
                continue;
            }
            for &at in candidate.statements.iter().filter(|at| self.costs[**at] > 0.0) {
                let saving =
                    estimate::saving(candidate, table, &self.base[at], &self.resolved[at], self.workload);
                self.savings.insert((at, place), saving);
            }
        }
    }

    /// Plans of statements, each of all its questions, under a set. Nothing where one has no plan.
    fn plans(&mut self, set: &Set, statements: &[usize]) -> Vec<Vec<Planned>> {
        let candidates: Vec<usize> = set.iter().copied().filter(|&place| self.tried[place]).collect();
        let questions: Vec<usize> =
            statements.iter().flat_map(|&at| self.questions[at].iter().copied()).collect();
        self.asked += questions.len();
        let mut plans = self.planner.plan(&candidates, &questions).into_iter();
        let sizes: Vec<usize> = self.questions.iter().map(Vec::len).collect();
        let (useful, seen, affected) = (&mut self.useful, &mut self.seen, &self.affected);
        // What is not about a statement's tables makes no difference to it.
        let about =
            |place: &usize, at: usize| affected.get(*place).is_some_and(|all| all.binary_search(&at).is_ok());
        let mut of = |at: &usize| {
            let own: Vec<Option<Planned>> = plans.by_ref().take(sizes[*at]).collect();
            let used: Set =
                own.iter().flatten().flat_map(|plan| &plan.nodes).filter_map(|node| node.candidate).collect();
            useful.extend(used.iter().map(|&place| (place, *at)));
            let own = own.into_iter().collect::<Option<Vec<Planned>>>().unwrap_or_default();
            if !own.is_empty() && seen[*at].len() < SEEN_MAX {
                let there = candidates.iter().copied().filter(|place| about(place, *at)).collect();
                seen[*at].push(Seen { there, used, cost: mean(&own) });
            }
            own
        };
        statements.iter().map(&mut of).collect()
    }

    /// Which candidates each statement's plans use when all of these are there.
    pub fn used(&mut self, set: &Set) -> Vec<(usize, Set)> {
        let statements: Vec<usize> = (0..self.questions.len()).filter(|&at| self.costs[at] > 0.0).collect();
        let plans = self.plans(set, &statements);
        let used = |plans: &Vec<Planned>| {
            plans.iter().flat_map(|plan| &plan.nodes).filter_map(|node| node.candidate).collect()
        };
        statements.into_iter().zip(&plans).map(|(at, plans)| (at, used(plans))).collect()
    }

    /// From now on a candidate counts only for the statements that it was made for, and those of which some plan has
    /// used it. What was never used, neither alone nor among all others, is hardly used beside some. `strict`: of the
    /// former, only those of which some plan has used an index that begins alike.
    pub fn narrow(&mut self, strict: bool) {
        let first = |place: usize| {
            let index = &self.candidates[place].index;
            (index.table, index.keys.first().map(|key| key.sql.as_str()))
        };
        let alike: HashSet<_> = self.useful.iter().map(|&(place, at)| (first(place), at)).collect();
        for (place, affected) in self.affected.iter_mut().enumerate() {
            let own = &self.candidates[place].statements;
            let may = |at: usize| !strict || !self.tried[place] || alike.contains(&(first(place), at));
            affected.retain(|&at| self.useful.contains(&(place, at)) || own.contains(&at) && may(at));
        }
    }

    /// Milliseconds that a statement saves when everything is in place, as far as a plan of that is known.
    pub fn saved_by_all(&self, statement: usize) -> f64 {
        let most = self.seen[statement].iter().max_by_key(|seen| seen.there.len());
        most.map_or(0.0, |seen| self.now_ms[statement] * (1.0 - seen.cost / self.costs[statement]))
    }

    /// The plan of a statement's first question under a set, for people.
    pub fn plan(&mut self, set: &Set, statement: usize) -> Option<Planned> {
        if self.shown.0 != *set {
            self.shown = (set.clone(), HashMap::new());
        }
        if let Some(known) = self.shown.1.get(&statement) {
            return Some(known.clone());
        }
        let first = match self.planner.spent() {
            true => None,
            false => self.plans(set, &[statement]).pop().and_then(|plans| plans.into_iter().next()),
        };
        first.inspect(|plan| drop(self.shown.1.insert(statement, plan.clone())))
    }

    /// Milliseconds of these statements under a set, in their order.
    pub fn times(&mut self, set: &Set, statements: &[usize]) -> Vec<f64> {
        let key = |judge: &Self, at: usize| {
            let relevant = set
                .iter()
                .copied()
                .filter(|&place| judge.tried[place] && judge.affected[place].binary_search(&at).is_ok());
            (at, relevant.collect::<Vec<usize>>())
        };
        let (mut keys, mut missing) = (Vec::with_capacity(statements.len()), Vec::new());
        for &at in statements {
            let key = key(self, at);
            if self.costs[at] > 0.0 && !key.1.is_empty() && !self.known.contains_key(&key) {
                match self.between(at, &key.1) {
                    Some(cost) => drop(self.known.insert(key.clone(), cost)),
                    None => missing.push((at, key.clone())),
                }
            }
            keys.push(key);
        }
        if !missing.is_empty() && !self.planner.spent() {
            let of: Vec<usize> = missing.iter().map(|(at, _)| *at).collect();
            let plans = self.plans(set, &of);
            for ((at, key), plans) in missing.into_iter().zip(&plans) {
                let cost = if plans.is_empty() { self.costs[at] } else { mean(plans) };
                self.known.insert(key, cost);
            }
        }
        let time = |(&at, key): (&usize, &(usize, Vec<usize>))| {
            if self.costs[at] <= 0.0 {
                return self.now_ms[at];
            }
            let cost = self.known.get(key).copied().unwrap_or(self.costs[at]);
            let guessed =
                set.iter().filter_map(|&place| self.savings.get(&(at, place)).copied()).fold(0.0, f64::max);
            self.now_ms[at] * (cost / self.costs[at]) * (1.0 - guessed)
        };
        statements.iter().zip(&keys).map(time).collect()
    }

    /// The cost under these candidates, where a plan is known that had all of them and more, and used no more than
    /// them: PostgreSQL would choose it again.
    fn between(&self, statement: usize, relevant: &[usize]) -> Option<f64> {
        let holds = |seen: &&Seen| {
            seen.used.iter().all(|place| relevant.binary_search(place).is_ok())
                && relevant.iter().all(|place| seen.there.binary_search(place).is_ok())
        };
        self.seen[statement].iter().find(holds).map(|seen| seen.cost)
    }

    /// Questions that a look at each candidate alone would take.
    pub fn questions_alone(&self) -> usize {
        self.affected.iter().flatten().map(|&at| self.questions[at].len()).sum()
    }

    /// So many questions would take most of the time that there is.
    pub fn is_long(&self, questions: usize) -> bool {
        self.planner.is_long(questions)
    }

    /// Milliseconds that a set saves against another, with what both cost those who write.
    pub fn saved(&mut self, from: &Set, to: &Set) -> f64 {
        let changed = from.symmetric_difference(to).copied().collect::<Vec<usize>>();
        let mut statements: Vec<usize> =
            changed.iter().flat_map(|&place| self.affected[place].iter().copied()).collect();
        statements.sort_unstable();
        statements.dedup();
        let before: f64 = self.times(from, &statements).iter().sum();
        let after: f64 = self.times(to, &statements).iter().sum();
        let writes = |set: &Set| set.iter().map(|&place| self.weights[place].write_ms).sum::<f64>();
        before - after + writes(from) - writes(to)
    }

    /// Milliseconds of all statements, and what the set costs those who write.
    pub fn objective(&mut self, set: &Set) -> f64 {
        let all: Vec<usize> = (0..self.questions.len()).collect();
        let read: f64 = self.times(set, &all).iter().sum();
        read + set.iter().map(|&place| self.weights[place].write_ms).sum::<f64>()
    }

    pub fn bytes(&self, set: &Set) -> u64 {
        set.iter().map(|&place| self.weights[place].bytes).sum()
    }

    /// The planner has tried it.
    pub fn is_tried(&self, place: usize) -> bool {
        self.tried[place]
    }

    pub fn exhausted(&self) -> bool {
        self.asked >= self.workload.settings.max_questions || self.planner.exhausted()
    }
}

fn mean(plans: &[Planned]) -> f64 {
    plans.iter().map(|plan| plan.cost).sum::<f64>() / plans.len().max(1) as f64
}

fn weight(
    candidate: &Candidate,
    table: Option<&Table>,
    planner: Option<&u64>,
    workload: &Workload<'_>,
) -> Weight {
    let Some(table) = table else {
        return Weight { bytes: 0, write_ms: 0.0 };
    };
    let rows = size::rows(table, workload.catalog);
    let formula = size::of(&candidate.index, table, rows, candidate.part);
    let bytes = match planner.filter(|bytes| workload.settings.planner_sizes && **bytes > 0) {
        Some(bytes) => *bytes,
        None => formula,
    };
    Weight { bytes, write_ms: writes::cost(&candidate.index, table, workload) }
}
