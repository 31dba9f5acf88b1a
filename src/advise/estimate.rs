//! What an index would save where the planner cannot try it: from the plan as it is, the statistics and the
//! number of rows that would be left. A guess, and labelled as one.

use super::candidate::Candidate;
use super::look::Resolved;
use super::rule::Rule;
use super::{Planned, Workload};
use crate::catalog::Table;

/// Descending a tree of three levels whose upper ones are cached.
const DESCENT: f64 = 10.0;

/// Of reading one row from an index and the table, beside the page.
const ROW: f64 = 0.02;

/// Rows of a result that is sorted and cut.
const PAGE_OF_RESULTS: f64 = 20.0;

/// The part of a statement's cost that a candidate saves, 0 to 1.
pub fn saving(
    candidate: &Candidate,
    table: &Table,
    plan: &Planned,
    resolved: &Resolved<'_>,
    workload: &Workload<'_>,
) -> f64 {
    let rows = super::size::rows(table, workload.catalog).max(1.0);
    let page_cost = workload.surroundings.random_page_cost;
    let found = |selectivity: f64| DESCENT + rows * selectivity * (page_cost + ROW);
    if candidate.rule == Rule::ForeignKey {
        // The look at the children is not in the plan, but in the time that was measured.
        let whole = super::size::bytes(table, workload.catalog) as f64 / 8192.0 + rows * 0.0125;
        let after = found(candidate.unjudged.unwrap_or(1.0));
        return ((whole - after) / (plan.cost + whole)).clamp(0.0, 1.0);
    }
    let leaves = workload.catalog.leaves_of(table);
    let read: f64 = plan
        .nodes
        .iter()
        .filter(|node| leaves.iter().any(|leaf| leaf.name == node.table))
        .filter(|node| node.kind == "Seq Scan")
        .map(|node| node.cost)
        .sum();
    let selectivity = candidate.unjudged.unwrap_or_else(|| selectivity(candidate, resolved));
    let after = match candidate.rule {
        Rule::Order => found(PAGE_OF_RESULTS / rows),
        _ => found(selectivity),
    };
    ((read - after) / plan.cost.max(1.0)).clamp(0.0, 1.0)
}

/// Of the rows, those that the keys of a B-tree find, by the statistics.
fn selectivity(candidate: &Candidate, resolved: &Resolved<'_>) -> f64 {
    let mut best = 1.0_f64;
    for look in resolved.looks.iter().filter(|look| look.table.oid == candidate.index.table) {
        let mut part = 1.0;
        for key in &candidate.index.keys {
            let points = look.points.iter().chain(&look.joins).chain(look.alternatives.iter().flatten());
            if let Some(known) = points.clone().find(|known| known.key.sql == key.sql) {
                part *= known.selectivity;
                continue;
            }
            // One range ends what the tree can narrow down.
            if let Some(known) = look.ranges.iter().find(|known| known.key.sql == key.sql) {
                part *= known.selectivity;
            }
            break;
        }
        best = best.min(part);
    }
    best
}
