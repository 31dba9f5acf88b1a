//! `GET /api/database/coalescing`: what coalescing came to, per shape, as JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::api::asked;
use super::state::Shared;
use crate::observe::coalescing::{Row, Totals};

/// Rows of one answer, at most; as many as are kept.
const LIMIT_MAX: usize = 10_000;

/// What may be asked. All of it is optional.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    limit: usize,
    database: Option<String>,
}

impl Default for Wanted {
    fn default() -> Self {
        Wanted { limit: 50, database: None }
    }
}

/// One shape.
#[derive(Debug, Serialize)]
struct View {
    shape: String,
    database: String,
    statement: String,
    level: &'static str,
    /// Why it is not coalesced.
    off: Option<String>,
    #[serde(flatten)]
    sums: Sums,
}

/// Look-ups by what became of them.
#[derive(Debug, Serialize)]
struct Sums {
    batches: u64,
    members: u64,
    prefetched: u64,
    served: u64,
    wasted: u64,
    wasted_rows: u64,
    saved_queries: u64,
    fallbacks: BTreeMap<&'static str, u64>,
    staleness: Staleness,
}

/// How old answers from what was fetched before may have been, milliseconds.
#[derive(Debug, Serialize)]
struct Staleness {
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// So many answers were not older than that, and older than the one before.
    histogram: Vec<Bucket>,
}

#[derive(Debug, Serialize)]
struct Bucket {
    up_to_ms: f64,
    count: u64,
}

pub(super) async fn coalescing(
    State(shared): State<Arc<Shared>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    let wanted = match asked(wanted, "limit and database may be given") {
        Ok(wanted) => wanted,
        Err(answer) => return *answer,
    };
    let all = &shared.registry.coalescing;
    let mut rows = all.rows();
    let shapes = rows.len();
    rows.retain(|row| wanted.database.as_ref().is_none_or(|wanted| **wanted == *row.key.database));
    let matching = rows.len();
    rows.truncate(wanted.limit.min(LIMIT_MAX));
    let views: Vec<View> = rows.iter().map(view).collect();
    let totals = sums(&all.totals());
    Json(serde_json::json!({"shapes": shapes, "matching": matching, "totals": totals, "statements": views}))
        .into_response()
}

fn view(row: &Row) -> View {
    View {
        shape: format!("{:016x}", row.key.fingerprint),
        database: row.key.database.to_string(),
        statement: row.text.to_string(),
        level: row.status.level,
        off: row.status.off.clone(),
        sums: sums(&row.totals),
    }
}

fn sums(totals: &Totals) -> Sums {
    let ms = |us: u64| us as f64 / 1000.0;
    let percentile = |p| ms(totals.staleness.percentile(p));
    let buckets = totals.staleness.counts().map(|(up_to, count)| Bucket { up_to_ms: ms(up_to), count });
    Sums {
        batches: totals.batches,
        members: totals.members,
        prefetched: totals.prefetched,
        served: totals.served,
        wasted: totals.wasted,
        wasted_rows: totals.wasted_rows,
        saved_queries: totals.saved(),
        fallbacks: totals.fallbacks.clone(),
        staleness: Staleness {
            p50_ms: percentile(0.5),
            p99_ms: percentile(0.99),
            max_ms: percentile(1.0),
            histogram: buckets.collect(),
        },
    }
}
