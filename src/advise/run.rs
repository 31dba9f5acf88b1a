//! From a workload to advice: the order of the steps, and what people are told of the outcome.

use serde::{Deserialize, Serialize};

use super::candidate::{self, Candidate, Note};
use super::index::full_name;
use super::judge::{Judge, Set};
use super::look::{self, Resolved};
use super::rule::Rule;
use super::suggestion::{Alternative, Confidence, Helped, Suggestion, id};
use super::{Planned, Planner, Workload, select, size, values, writes};
use crate::catalog::Table;

/// What came of one workload.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// The largest gain first.
    pub suggestions: Vec<Suggestion>,
    /// Why other statements get none.
    pub notes: Vec<Remark>,
    /// Milliseconds of all statements, now and with the suggestions, by the planner.
    pub before_ms: f64,
    pub after_ms: f64,
    pub size_bytes: u64,
    pub candidates: usize,
    /// Statements that were looked at.
    pub shapes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    pub shape: String,
    pub table: String,
    pub reason: String,
}

/// Alternatives and shapes that a suggestion shows.
const ALTERNATIVES: usize = 3;
const SHAPES_SHOWN: usize = 20;

/// Remarks of one run.
const REMARKS_MAX: usize = 1_000;

/// Makes advice.
pub fn advise(workload: &Workload<'_>, planner: &mut dyn Planner) -> Advice {
    let statements = workload.statements;
    let resolved: Vec<Resolved<'_>> = statements
        .iter()
        .map(|statement| match workload.settings.ignore_shapes.contains(&statement.fingerprint) {
            true => Resolved::default(),
            false => look::resolve(statement, workload.catalog, workload.surroundings),
        })
        .collect();
    let (candidates, mut notes) = candidate::all(workload, &resolved);
    let mut asks = Vec::with_capacity(statements.len());
    for (at, statement) in statements.iter().enumerate() {
        let wanted = candidates.iter().any(|candidate| candidate.statements.contains(&at))
            || resolved[at]
                .looks
                .iter()
                .any(|look| candidates.iter().any(|c| c.index.table == look.table.oid));
        asks.push(match values::questions(statement, &resolved[at], workload.surroundings) {
            Ok(questions) if wanted => questions,
            Ok(_) => Vec::new(),
            Err(reason) => {
                notes.extend(resolved[at].looks.first().map(|look| Note {
                    statement: at,
                    table: look.table.oid,
                    reason: format!("it cannot be planned: {reason}"),
                }));
                Vec::new()
            }
        });
    }
    let mut judge = Judge::new(workload, &resolved, &candidates, asks, planner);
    let mut chosen = select::select(&mut judge);
    let dismissed = |place: &usize| {
        let name = identity(&candidates[*place], workload);
        workload.settings.dismissed.contains(&name)
    };
    chosen.retain(|place| !dismissed(place));
    let mut advice = Advice {
        before_ms: judge.now_ms.iter().sum(),
        after_ms: judge.objective(&chosen),
        size_bytes: judge.bytes(&chosen),
        candidates: candidates.len(),
        shapes: statements.len(),
        ..Advice::default()
    };
    let mut names: Vec<String> = Vec::new();
    for &place in &chosen {
        let suggestion = suggest(&mut judge, &chosen, place, &mut names);
        advice.suggestions.extend(suggestion);
    }
    advice.suggestions.sort_by(|one, other| other.gain_ms.total_cmp(&one.gain_ms));
    rejected(&mut judge, &chosen, &mut notes);
    advice.notes = remarks(workload, &notes);
    advice
}

fn identity(candidate: &Candidate, workload: &Workload<'_>) -> String {
    let table = workload.catalog.table_by_oid(candidate.index.table);
    table.map_or_else(String::new, |table| {
        id("ix", &format!("{} {}", full_name(table), candidate.index.definition(table)))
    })
}

fn suggest(
    judge: &mut Judge<'_, '_>,
    chosen: &Set,
    place: usize,
    names: &mut Vec<String>,
) -> Option<Suggestion> {
    let (workload, candidate) = (judge.workload, &judge.candidates[place]);
    let table = workload.catalog.table_by_oid(candidate.index.table)?;
    let taken = |name: &str| {
        names.iter().any(|known| known == name)
            || workload.catalog.tables.iter().any(|other| {
                other.schema == table.schema
                    && (other.name == name || other.indexes.iter().any(|index| index.name == name))
            })
    };
    let name = candidate.index.name(table, &workload.settings.name, &taken);
    names.push(name.clone());
    let mut rest = chosen.clone();
    rest.remove(&place);
    let statements = judge.affected[place].clone();
    let (without, with) = (judge.times(&rest, &statements), judge.times(chosen, &statements));
    let gain_ms = without.iter().sum::<f64>() - with.iter().sum::<f64>() - judge.weights[place].write_ms;
    let mut helped: Vec<(usize, f64)> = statements
        .iter()
        .zip(without.iter().zip(&with))
        .filter(|(at, (before, after))| *before - *after > judge.now_ms[**at] * 0.02)
        .map(|(&at, (_, after))| (at, *after))
        .collect();
    helped.sort_by(|one, other| judge.now_ms[other.0].total_cmp(&judge.now_ms[one.0]));
    let before: f64 = helped.iter().map(|(at, _)| judge.now_ms[*at]).sum();
    let after: f64 = helped.iter().map(|(_, after)| after).sum();
    let definition = candidate.index.definition(table);
    let tried = judge.is_tried(place);
    let real = helped.iter().all(|(at, _)| {
        let statement = &workload.statements[*at];
        !statement.samples.is_empty() || !statement.whole.is_empty()
    });
    let rows = size::rows(table, workload.catalog);
    Some(Suggestion {
        id: identity(candidate, workload),
        database: String::new(),
        table: format!("{}.{}", table.schema, table.name),
        ddl: candidate.index.ddl(table, &name),
        name,
        definition,
        then: then(candidate, table),
        size_bytes: judge.weights[place].bytes,
        build_s: size::build_s(rows * candidate.part, candidate.index.attributes()),
        gain_percent: if before > 0.0 { round(100.0 * (before - after) / before) } else { 0.0 },
        gain_ms: round(gain_ms),
        confidence: match (tried, real) {
            (false, _) => Confidence::Low,
            (true, true) => Confidence::High,
            (true, false) => Confidence::Medium,
        },
        judged_by: if tried { "planner" } else { "estimate" }.to_owned(),
        writes: writes::count(&candidate.index, table, workload),
        write_ms: round(judge.weights[place].write_ms),
        why: why(candidate, table, tried),
        alternatives: alternatives(judge, place, table),
        shapes: helped
            .into_iter()
            .take(SHAPES_SHOWN)
            .map(|(at, after)| shape(judge, chosen, at, after, table))
            .collect(),
    })
}

/// What is run behind it.
fn then(candidate: &Candidate, table: &Table) -> Vec<String> {
    let mut then: Vec<String> = Vec::new();
    if candidate.rule == Rule::Expression || candidate.index.keys.iter().any(|key| key.column.is_none()) {
        then.push(format!("ANALYZE {}", full_name(table)));
    }
    if let Some(narrow) = &candidate.replaces {
        then.push(format!(
            "DROP INDEX CONCURRENTLY {}.{}",
            super::index::quoted(&table.schema),
            super::index::quoted(narrow)
        ));
    }
    then
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn shape(judge: &mut Judge<'_, '_>, chosen: &Set, at: usize, after_ms: f64, table: &Table) -> Helped {
    let statement = &judge.workload.statements[at];
    let (base, now) = (judge.base[at].clone(), judge.now_ms[at]);
    let planned = judge.plan(chosen, at).unwrap_or_default();
    Helped {
        shape: format!("{:016x}", statement.fingerprint),
        statement: statement.text.clone(),
        calls: statement.calls,
        mean_ms: (now / statement.calls.max(1) as f64 * 1000.0).round() / 1000.0,
        gain_percent: round(100.0 * (now - after_ms) / now.max(1e-9)),
        cost_before: round(base.cost),
        cost_after: round(planned.cost),
        plan_before: summary(&base, table),
        plan_after: summary(&planned, table),
    }
}

/// How a plan reads one table.
fn summary(plan: &Planned, table: &Table) -> String {
    let nodes = plan.nodes.iter().filter(|node| node.table == table.name || node.table.is_empty());
    let one = |node: &super::Node| match (&node.index, node.candidate) {
        (Some(index), _) => format!("{} using {index}", node.kind),
        (None, Some(_)) => format!("{} using a suggested index", node.kind),
        (None, None) => node.kind.clone(),
    };
    let mut parts: Vec<String> = nodes.map(one).collect();
    parts.dedup();
    parts.join(", ")
}

fn why(candidate: &Candidate, table: &Table, tried: bool) -> Vec<String> {
    let mut why = vec![candidate.rule.sentence().to_owned()];
    if candidate.index.predicate.is_some() {
        why.push("All calls have the same condition, so rows that do not fulfil it are left out.".to_owned());
    }
    if !candidate.index.include.is_empty() {
        why.push("All columns that are read are in it, so most reads need no visit to the table.".to_owned());
    }
    if let Some(narrow) = &candidate.replaces {
        why.push(format!("It does all that {narrow} does; that one can go once this one is proved."));
    }
    if !tried {
        why.push("No planner has tried it: the gain is an estimate from statistics.".to_owned());
    }
    if table.partitioning.is_some() {
        why.push(
            "The table is partitioned, and this statement keeps writers waiting; `pgweir indexes apply` builds it \
             partition by partition instead, beside them."
                .to_owned(),
        );
    }
    why
}

fn alternatives(judge: &mut Judge<'_, '_>, place: usize, table: &Table) -> Vec<Alternative> {
    let own = judge.affected[place].clone();
    let mut found: Vec<(f64, usize)> = Vec::new();
    let before: f64 = judge.times(&Set::new(), &own).iter().sum();
    let near = (0..judge.candidates.len()).filter(|&other| {
        other != place
            && judge.candidates[other].index.table == table.oid
            && judge.candidates[other]
                .statements
                .intersection(&judge.candidates[place].statements)
                .next()
                .is_some()
    });
    for other in near.take(ALTERNATIVES * 4).collect::<Vec<_>>() {
        if judge.exhausted() {
            break;
        }
        let after: f64 = judge.times(&Set::from([other]), &own).iter().sum();
        found.push((before - after, other));
    }
    found.sort_by(|one, other| other.0.total_cmp(&one.0));
    let one = |(gain, other): (f64, usize)| Alternative {
        definition: judge.candidates[other].index.definition(table),
        gain_ms: round(gain),
        size_bytes: judge.weights[other].bytes,
    };
    found.into_iter().take(ALTERNATIVES).map(one).collect()
}

/// Says of statements whose candidates were not chosen why.
fn rejected(judge: &mut Judge<'_, '_>, chosen: &Set, notes: &mut Vec<Note>) {
    let all: Vec<usize> = (0..judge.workload.statements.len()).collect();
    let with = judge.times(chosen, &all);
    for at in all {
        if with[at] < judge.now_ms[at] * 0.98 || notes.iter().any(|note| note.statement == at) {
            continue;
        }
        let own: Vec<usize> = (0..judge.candidates.len())
            .filter(|&place| judge.candidates[place].statements.contains(&at))
            .collect();
        let Some(&first) = own.first() else {
            continue;
        };
        let mut best: Option<(f64, usize)> = None;
        for &place in own.iter().take(if judge.exhausted() { 0 } else { 8 }) {
            let time = judge.times(&Set::from([place]), &[at])[0];
            if best.is_none_or(|(least, _)| time < least) {
                best = Some((time, place));
            }
        }
        let (time, place) = best.unwrap_or((judge.now_ms[at], first));
        let saved = judge.now_ms[at] - time;
        let weight = judge.weights[place];
        let reason = match () {
            () if judge.exhausted() => "there was no time to look at it more closely".to_owned(),
            () if saved <= judge.now_ms[at] * 0.02 => {
                "the planner would not use an index for it: too many rows match, or there is one already"
                    .to_owned()
            }
            () if weight.write_ms >= saved => format!(
                "an index would save {:.0} ms and cost those who write {:.0} ms in the same time",
                saved, weight.write_ms
            ),
            () if weight.bytes > judge.workload.settings.budget_bytes => {
                "no index for it fits the budget".to_owned()
            }
            () => format!(
                "an index would save {:.0} % of its time, which is not worth it",
                100.0 * saved / judge.now_ms[at].max(1e-9)
            ),
        };
        notes.push(Note { statement: at, table: judge.candidates[place].index.table, reason });
    }
}

fn remarks(workload: &Workload<'_>, notes: &[Note]) -> Vec<Remark> {
    let one = |note: &Note| {
        let table = workload.catalog.table_by_oid(note.table)?;
        let statement = workload.statements.get(note.statement)?;
        Some(Remark {
            shape: format!("{:016x}", statement.fingerprint),
            table: format!("{}.{}", table.schema, table.name),
            reason: note.reason.clone(),
        })
    };
    notes.iter().filter_map(one).take(REMARKS_MAX).collect()
}
