//! `GET /api/database/queries` and `…/nplus1`: the ledger and the loops found, as JSON, filtered and cut.

use std::time::{Duration, UNIX_EPOCH};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::Role;
use super::access::Known;
use super::api::asked;
use super::state::Shared;
use crate::observe::facts::Book;
use crate::observe::ledger::Row;
use crate::sql::facts::TableRef;

/// Rows of one answer, at most; more than the ledger holds by default.
const LIMIT_MAX: usize = 10_000;

/// What may be asked. All of it is optional.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    sort: Sort,
    limit: usize,
    database: Option<String>,
    user: Option<String>,
    /// A part of the statement's text, in any case, or its shape.
    filter: Option<String>,
    /// Show plans, where there are any.
    plans: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Wanted { sort: Sort::TotalTime, limit: 50, database: None, user: None, filter: None, plans: false }
    }
}

/// The largest comes first.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sort {
    TotalTime,
    MeanTime,
    MaxTime,
    P99Time,
    QueueTime,
    ServerTime,
    ClientTime,
    Calls,
    Errors,
    Rows,
    Bytes,
    LastSeen,
}

/// One shape. Times are milliseconds.
#[derive(Debug, Serialize)]
struct View {
    shape: String,
    database: String,
    user: String,
    statement: String,
    /// What the parser has found out, once it has come to this shape.
    class: Option<&'static str>,
    tables: Option<Vec<String>>,
    calls: u64,
    errors: u64,
    rows: u64,
    bytes: u64,
    total_ms: f64,
    mean_ms: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    queue_ms: f64,
    server_ms: f64,
    client_ms: f64,
    first_seen: String,
    last_seen: String,
    /// Values of one call, for whoever may act on the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_at: Option<String>,
    /// Why there is no plan, or none that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_note: Option<String>,
}

pub(super) async fn queries(
    State(shared): State<Arc<Shared>>,
    known: Option<Extension<Known>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    let wanted = match asked(
        wanted,
        "sort, limit, database, user, filter and plans may be given; sort is total_time, mean_time, \
                        max_time, p99_time, queue_time, server_time, client_time, calls, errors, rows, bytes \
                        or last_seen",
    ) {
        Ok(wanted) => wanted,
        Err(answer) => return *answer,
    };
    let ledger = &shared.registry.ledger;
    let mut rows = ledger.rows();
    let shapes = rows.len();
    rows.retain(|row| matches(row, &wanted));
    let matching = rows.len();
    rows.sort_by_cached_key(|row| std::cmp::Reverse(weight(row, wanted.sort)));
    rows.truncate(wanted.limit.min(LIMIT_MAX));
    let values = known.is_some_and(|Extension(known)| known.role >= Role::Operator);
    let mut queries: Vec<View> = rows.iter().map(|row| view(row, &shared.registry.facts)).collect();
    for (view, row) in queries.iter_mut().zip(&rows) {
        view.parameters = row.sample.as_deref().filter(|_| values).map(str::to_owned);
        let explains = &shared.registry.slow_log.explains;
        let answer = wanted.plans.then(|| explains.answer(&row.key)).flatten().unwrap_or_default();
        if let Some(plan) = answer.plan.filter(|plan| values || !plan.has_values) {
            (view.plan, view.plan_at) = (Some(plan.text), Some(time(plan.at_s)));
        }
        view.plan_note = answer.note;
    }
    let answer = serde_json::json!({
        "shapes": shapes,
        "matching": matching,
        "evicted": ledger.evicted(),
        "queries": queries,
    });
    Json(answer).into_response()
}

/// What may be asked of the findings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Which {
    limit: usize,
    database: Option<String>,
}

impl Default for Which {
    fn default() -> Self {
        Which { limit: 50, database: None }
    }
}

pub(super) async fn nplus1(
    State(shared): State<Arc<Shared>>,
    which: Result<Query<Which>, QueryRejection>,
) -> Response {
    let which = match asked(which, "limit and database may be given") {
        Ok(which) => which,
        Err(answer) => return *answer,
    };
    let mut findings = shared.registry.findings.list();
    let found = findings.len();
    let silenced = shared.registry.findings.every().len().saturating_sub(found);
    findings.retain(|finding| which.database.as_ref().is_none_or(|wanted| *wanted == finding.database));
    findings.truncate(which.limit.min(LIMIT_MAX));
    Json(serde_json::json!({"found": found, "silenced": silenced, "findings": findings})).into_response()
}

fn matches(row: &Row, wanted: &Wanted) -> bool {
    let same = |name: &str, wanted: &Option<String>| wanted.as_ref().is_none_or(|wanted| wanted == name);
    let has = |filter: &String| {
        let filter = filter.to_lowercase();
        row.text.to_lowercase().contains(&filter) || hex(row.key.fingerprint) == filter
    };
    same(&row.key.database, &wanted.database)
        && same(&row.key.user, &wanted.user)
        && wanted.filter.as_ref().is_none_or(has)
}

fn weight(row: &Row, sort: Sort) -> u64 {
    let totals = &row.totals;
    match sort {
        Sort::TotalTime => totals.total_us(),
        Sort::MeanTime => totals.total_us() / totals.calls.max(1),
        Sort::MaxTime => totals.max_us,
        Sort::P99Time => totals.latency.percentile(0.99),
        Sort::QueueTime => totals.queue_us,
        Sort::ServerTime => totals.server_us,
        Sort::ClientTime => totals.client_us,
        Sort::Calls => totals.calls,
        Sort::Errors => totals.errors,
        Sort::Rows => totals.rows,
        Sort::Bytes => totals.bytes,
        Sort::LastSeen => totals.last_s,
    }
}

fn view(row: &Row, facts: &Book) -> View {
    let known = facts.get(row.key.fingerprint);
    let facts = known.as_ref().and_then(|known| known.facts());
    let totals = &row.totals;
    let percentile = |p| ms(totals.latency.percentile(p).min(totals.max_us));
    View {
        shape: hex(row.key.fingerprint),
        database: row.key.database.to_string(),
        user: row.key.user.to_string(),
        statement: row.text.to_string(),
        class: known.as_ref().map(|known| known.class().class.label()),
        tables: facts.map(|facts| facts.tables.iter().map(TableRef::full_name).collect()),
        calls: totals.calls,
        errors: totals.errors,
        rows: totals.rows,
        bytes: totals.bytes,
        total_ms: ms(totals.total_us()),
        mean_ms: ms(totals.total_us()) / totals.calls.max(1) as f64,
        p50_ms: percentile(0.5),
        p99_ms: percentile(0.99),
        max_ms: ms(totals.max_us),
        queue_ms: ms(totals.queue_us),
        server_ms: ms(totals.server_us),
        client_ms: ms(totals.client_us),
        first_seen: time(totals.first_s),
        last_seen: time(totals.last_s),
        parameters: None,
        plan: None,
        plan_at: None,
        plan_note: None,
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

/// How a shape is named to people.
fn hex(fingerprint: u64) -> String {
    format!("{fingerprint:016x}")
}

fn time(unix_s: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(unix_s)).to_string()
}
