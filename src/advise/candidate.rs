//! From looks to indexes that are worth a question: equality first, then one range or the order. What exists
//! already, what is too small and what cannot help is left out, each with its reason. Knows no cost.

use std::collections::{BTreeSet, HashMap};

use super::cover::{self, Covered};
use super::index::{Index, Key, Method, full_name};
use super::look::{Look, Part, Resolved};
use super::rule::Rule;
use super::{Workload, size, special};
use crate::catalog::{Attnum, Oid, Table};

#[derive(Debug, Clone)]
pub struct Candidate {
    pub index: Index,
    pub rule: Rule,
    /// So many of the first keys may change places.
    pub free: usize,
    pub statements: BTreeSet<usize>,
    /// An existing index that this one makes needless.
    pub replaces: Option<String>,
    /// The part of the table's rows that it holds: 1 unless it is partial.
    pub part: f64,
    /// The planner cannot judge it; the part of the rows that it finds.
    pub unjudged: Option<f64>,
}

/// Why a statement gets no index on a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub statement: usize,
    pub table: Oid,
    pub reason: String,
}

/// Columns that are carried along, and their bytes; wider ones double the table.
const INCLUDE_MAX: usize = 4;
const INCLUDE_BYTES: i32 = 64;

/// A B-tree entry is refused above 2,704 bytes; columns this wide on average have such values.
const KEY_BYTES: i32 = 500;

/// A condition that holds for more of the rows than this is no use as a key, and one that holds for less may
/// make an index partial.
const POINT_MAX: f64 = 0.5;
const PARTIAL_MAX: f64 = 0.2;

/// Index-only scans pay where most pages need no visit.
const VISIBLE_MIN: f64 = 0.5;

/// Candidates of one workload; a plan for each is asked once at least.
const CANDIDATES_MAX: usize = 5_000;

/// All candidates of a workload, each once.
pub fn all(workload: &Workload<'_>, resolved: &[Resolved<'_>]) -> (Vec<Candidate>, Vec<Note>) {
    let mut maker = Maker {
        workload,
        sets: point_sets(resolved),
        found: Vec::new(),
        places: HashMap::new(),
        notes: Vec::new(),
        statement: 0,
    };
    for (at, resolved) in resolved.iter().enumerate() {
        maker.statement = at;
        for look in &resolved.looks {
            match maker.unfit(look.table) {
                Some(reason) => maker.note(look.table.oid, reason),
                None => maker.look(look),
            }
        }
        for (table, reason) in &resolved.notes {
            maker.note(*table, reason.clone());
        }
    }
    special::foreign_keys(&mut maker);
    (maker.found, maker.notes)
}

/// The columns that each look of a table looks up by value, for those that could share an index.
fn point_sets(resolved: &[Resolved<'_>]) -> HashMap<Oid, Vec<BTreeSet<String>>> {
    let mut sets: HashMap<Oid, Vec<BTreeSet<String>>> = HashMap::new();
    for look in resolved.iter().flat_map(|resolved| &resolved.looks) {
        let parts = look.points.iter().chain(&look.joins);
        let set: BTreeSet<String> = parts.map(|part| part.key.sql.clone()).collect();
        if !set.is_empty() {
            sets.entry(look.table.oid).or_default().push(set);
        }
    }
    sets
}

pub(super) struct Maker<'a, 'b> {
    pub workload: &'b Workload<'a>,
    sets: HashMap<Oid, Vec<BTreeSet<String>>>,
    found: Vec<Candidate>,
    places: HashMap<Index, usize>,
    notes: Vec<Note>,
    pub statement: usize,
}

impl Maker<'_, '_> {
    pub(super) fn note(&mut self, table: Oid, reason: String) {
        let note = Note { statement: self.statement, table, reason };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Why a table gets no index at all.
    pub(super) fn unfit(&self, table: &Table) -> Option<String> {
        let settings = self.workload.settings;
        let name = format!("{}.{}", table.schema, table.name);
        if settings.ignore.iter().any(|pattern| matches(pattern, &name)) {
            return Some("the rules say to leave the table alone".to_owned());
        }
        let catalog = self.workload.catalog;
        let (bytes, rows) = (size::bytes(table, catalog), size::rows(table, catalog));
        if table.rows.is_none() && rows == 0.0 {
            return Some("the table was never analysed, so nothing is known of it: run ANALYZE".to_owned());
        }
        if bytes < settings.min_table_bytes || rows < settings.min_rows as f64 {
            return Some("the table is small: reading it whole costs less than an index is worth".to_owned());
        }
        None
    }

    fn look(&mut self, look: &Look<'_>) {
        let before = self.found.len();
        special::of(self, look);
        let unique: Vec<Attnum> =
            look.points.iter().filter(|part| !part.many).filter_map(|part| part.key.column).collect();
        if look.table.is_unique(&unique) {
            return self.note(look.table.oid, "a unique index finds its one row already".to_owned());
        }
        for parts in look.alternatives.iter().flatten() {
            self.add(look, vec![parts.key.clone()], 1, Rule::Alternative);
        }
        let points = self.points(look);
        let steady: Vec<&Part> = points.iter().filter(|part| !part.many).collect();
        let keys = |parts: &[&Part]| parts.iter().map(|part| part.key.clone()).collect::<Vec<Key>>();
        let all: Vec<&Part> = steady.iter().copied().chain(points.iter().filter(|part| part.many)).collect();
        let (steady, all) = (keys(&steady), keys(&all));
        self.ordered(look, &steady, &all);
        for range in &look.ranges {
            let rule = if all.is_empty() { Rule::Range } else { Rule::PointsRange };
            self.add(look, joined(&all, std::slice::from_ref(&range.key)), all.len(), rule);
        }
        if !all.is_empty() {
            self.add(look, all.clone(), all.len(), Rule::Points);
        }
        self.joins(look, &all);
        if self.found.len() == before
            && look.sole
            && !self.notes.iter().any(|note| note.statement == self.statement)
        {
            self.note(look.table.oid, reason_for_nothing(look).to_owned());
        }
    }

    /// Sorted, grouped or cut: what comes behind the points is in the order that is wanted.
    fn ordered(&mut self, look: &Look<'_>, steady: &[Key], all: &[Key]) {
        if !look.order.is_empty() {
            let wanted = turned(&look.order, look.distinct_on);
            let rule = if steady.is_empty() { Rule::Order } else { Rule::PointsOrder };
            if look.limited || look.distinct_on > 0 || !steady.is_empty() {
                self.add(look, joined(steady, &wanted), steady.len(), rule);
            }
            if all.len() > steady.len() {
                self.add(look, joined(all, &wanted), all.len(), rule);
            }
        }
        if let Some((parts, _)) = &look.rows {
            let wanted: Vec<Key> = parts.iter().map(|part| part.key.clone()).collect();
            self.add(look, joined(steady, &wanted), steady.len(), Rule::PointsRange);
        }
        for extreme in &look.extremes {
            let plain = Key { descending: false, nulls_first: false, ..extreme.clone() };
            self.add(look, joined(steady, &[plain]), steady.len(), Rule::Group);
        }
        if !look.group.is_empty() {
            self.add(look, joined(steady, &look.group), steady.len(), Rule::Group);
        }
    }

    fn joins(&mut self, look: &Look<'_>, all: &[Key]) {
        let joins: Vec<Key> = look.joins.iter().map(|part| part.key.clone()).collect();
        for join in &joins {
            let own = [join.clone()];
            let column: Vec<Attnum> = join.column.into_iter().collect();
            if look.table.is_unique(&column) {
                continue;
            }
            self.add(look, own.to_vec(), 1, Rule::Join);
            if !all.is_empty() {
                self.add(look, joined(&own, all), 1 + all.len(), Rule::Join);
                self.add(look, joined(all, &own), 1 + all.len(), Rule::Join);
            }
            for range in &look.ranges {
                self.add(look, joined(&joined(&own, all), std::slice::from_ref(&range.key)), 1, Rule::Join);
            }
            if !look.order.is_empty() {
                let wanted = turned(&look.order, look.distinct_on);
                self.add(look, joined(&own, &wanted), 1, Rule::Join);
            }
        }
        if let [one, other] = &joins[..] {
            let both = [one.clone(), other.clone()];
            self.add(look, both.to_vec(), 2, Rule::Join);
            self.add(look, joined(all, &both), all.len() + 2, Rule::Join);
        }
    }

    /// Points that narrow the search, those that other looks share first, then the most selective.
    fn points(&self, look: &Look<'_>) -> Vec<Part> {
        let mut points: Vec<Part> = Vec::new();
        for part in &look.points {
            if part.selectivity <= POINT_MAX && !points.iter().any(|known| known.key == part.key) {
                points.push(part.clone());
            }
        }
        let own: BTreeSet<String> = points.iter().map(|part| part.key.sql.clone()).collect();
        let shared = |part: &Part| {
            let sets = self.sets.get(&look.table.oid).into_iter().flatten();
            sets.filter(|set| set.len() < own.len() && set.is_subset(&own) && set.contains(&part.key.sql))
                .count()
        };
        points.sort_by(|one, other| {
            let by_others = shared(other).cmp(&shared(one));
            by_others.then(one.selectivity.total_cmp(&other.selectivity))
        });
        points.truncate(self.workload.settings.max_keys);
        points
    }

    /// Adds a candidate and its variants.
    pub(super) fn add(&mut self, look: &Look<'_>, keys: Vec<Key>, free: usize, rule: Rule) {
        let keys = self.fitting(look.table, keys);
        if keys.is_empty() {
            return;
        }
        let free = free.min(keys.len());
        let rule = if keys.iter().any(|key| key.column.is_none()) { Rule::Expression } else { rule };
        let index = Index {
            table: look.table.oid,
            method: Method::Btree,
            keys,
            include: Vec::new(),
            predicate: None,
        };
        self.keep(look.table, index.clone(), free, rule, None);
        self.covering(look, &index, free, rule);
        for constant in &look.constants {
            let keys: Vec<Key> =
                index.keys.iter().filter(|key| key.column != Some(constant.column)).cloned().collect();
            let free = free.min(keys.len());
            if constant.selectivity < PARTIAL_MAX && !keys.is_empty() {
                let predicate = Some(constant.sql.clone());
                let index = Index { keys, predicate, ..index.clone() };
                self.keep(look.table, index.clone(), free, rule, None);
                if let Some(&at) = self.places.get(&index) {
                    self.found[at].part = constant.selectivity;
                }
            }
        }
    }

    fn covering(&mut self, look: &Look<'_>, index: &Index, free: usize, rule: Rule) {
        let Some(used) = look.used.as_ref().filter(|_| !look.written) else {
            return;
        };
        let rest: Vec<Attnum> =
            used.iter().copied().filter(|number| !index.columns().any(|known| known == *number)).collect();
        let width = |number: &Attnum| look.table.column_by_number(*number).map_or(8, width);
        let visible = self.workload.surroundings.all_visible.get(&look.table.oid).copied().unwrap_or(0.0);
        if rest.is_empty() || rest.len() > INCLUDE_MAX || rest.iter().map(width).sum::<i32>() > INCLUDE_BYTES
        {
            return;
        }
        if visible < VISIBLE_MIN && look.table.partitioning.is_none() {
            return;
        }
        self.keep(look.table, Index { include: rest, ..index.clone() }, free, rule, None);
    }

    /// Keys without repetitions and without what a B-tree would refuse.
    fn fitting(&self, table: &Table, keys: Vec<Key>) -> Vec<Key> {
        let mut fitting: Vec<Key> = Vec::new();
        for key in keys {
            let wide = key
                .column
                .and_then(|number| table.column_by_number(number))
                .is_some_and(|c| width(c) > KEY_BYTES);
            if fitting.iter().any(|known| known.sql == key.sql) {
                continue;
            }
            if wide || fitting.len() == self.workload.settings.max_keys {
                break;
            }
            fitting.push(key);
        }
        fitting
    }

    pub(super) fn keep(
        &mut self,
        table: &Table,
        index: Index,
        free: usize,
        rule: Rule,
        unjudged: Option<f64>,
    ) {
        if let Some(&at) = self.places.get(&index) {
            let known = &mut self.found[at];
            known.statements.insert(self.statement);
            known.rule = known.rule.min(rule);
            known.free = known.free.max(free);
            return;
        }
        let replaces = match cover::existing(&index, free, table) {
            Covered::By(name) => {
                return self.note(table.oid, format!("the index {name} serves it already"));
            }
            Covered::Invalid(name) => {
                return self.note(
                    table.oid,
                    format!("the index {name} would serve it but is invalid: rebuild it (REINDEX INDEX CONCURRENTLY)"),
                );
            }
            Covered::Widens(name) => Some(name),
            Covered::No => None,
        };
        if self.found.len() >= CANDIDATES_MAX {
            return;
        }
        self.places.insert(index.clone(), self.found.len());
        let statements = BTreeSet::from([self.statement]);
        self.found.push(Candidate { index, rule, free, statements, replaces, part: 1.0, unjudged });
    }
}

fn reason_for_nothing(look: &Look<'_>) -> &'static str {
    match () {
        () if !look.special.is_empty() => "its conditions are of a kind that no index at hand serves",
        () if look.points.iter().any(|part| part.selectivity > POINT_MAX) => {
            "its condition holds for most rows, so that reading all of them is faster"
        }
        () => "it has no condition and no order that an index could serve",
    }
}

fn width(column: &crate::catalog::Column) -> i32 {
    column.statistics.map_or(8, |statistics| statistics.average_width)
}

fn joined(first: &[Key], then: &[Key]) -> Vec<Key> {
    first.iter().chain(then).cloned().collect()
}

/// An index is read in both directions, so only what changes direction within it is spelled out.
fn turned(order: &[Key], distinct_on: usize) -> Vec<Key> {
    let backwards = order.first().is_some_and(|key| key.descending) && distinct_on == 0;
    let turn = |key: &Key| match backwards {
        true => Key { descending: !key.descending, nulls_first: !key.nulls_first, ..key.clone() },
        false => key.clone(),
    };
    let mut keys: Vec<Key> = order.iter().map(turn).collect();
    // NULLS LAST beside DESC turns into NULLS FIRST beside ASC, which reads odd; the order as asked is plainer.
    if keys.iter().any(|key| key.nulls_first != key.descending) {
        keys = order.to_vec();
    }
    keys
}

/// `*` stands for anything.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).filter(|&at| rest.is_char_boundary(at)).any(|at| matches(after, &rest[at..]))
        }),
    }
}

/// For people.
pub fn table_name(workload: &Workload<'_>, oid: Oid) -> String {
    workload.catalog.table_by_oid(oid).map(full_name).unwrap_or_default()
}
