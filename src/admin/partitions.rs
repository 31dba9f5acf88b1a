//! `GET /api/database/partitions`: the partitioned tables of the rules, archives, commands. `POST`: acts on
//! them. A command that takes long answers with its number, and goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::api::{Failure, asked, failure};
use super::state::Shared;
use crate::maintain::index::gather;
use crate::maintain::request::Request;
use crate::maintain::suggest::{Suggestion, suggest};
use crate::observe::partitions::{Job, TableView};

/// How long an answer waits for the end of a command. Clients give up after 30 s.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it looks.
const PAUSE: Duration = Duration::from_millis(50);

/// What may be asked. All of it is optional.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    database: Option<String>,
    /// As schema.name.
    table: Option<String>,
    /// One command, by its number.
    job: Option<u64>,
}

pub(super) async fn partitions(
    State(shared): State<Arc<Shared>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    let wanted = match asked(wanted, "database, table and job may be given") {
        Ok(wanted) => wanted,
        Err(answer) => return *answer,
    };
    let board = &shared.registry.partitions;
    if let Some(id) = wanted.job {
        return match board.job(id) {
            Some(job) => Json(job).into_response(),
            None => {
                let hint = "GET /api/database/partitions lists those that are remembered";
                failure(StatusCode::NOT_FOUND, &format!("there is no command {id}"), hint)
            }
        };
    }
    let mut tables = board.tables();
    let same = |name: &str, wanted: &Option<String>| wanted.as_ref().is_none_or(|wanted| wanted == name);
    tables.retain(|view| same(&view.database, &wanted.database) && same(&view.table, &wanted.table));
    let suggestions = suggestions(&shared, &wanted).await;
    let tables: Vec<&TableView> = tables.iter().map(Arc::as_ref).collect();
    Json(json!({"tables": tables, "suggestions": suggestions, "jobs": board.jobs()})).into_response()
}

/// Plain tables that would gain from being divided, as far as statements and catalogs are known.
async fn suggestions(shared: &Arc<Shared>, wanted: &Wanted) -> Vec<Suggestion> {
    let mut found = Vec::new();
    for (database, known) in shared.registry.catalogs.list() {
        let Some(catalog) = known.catalog.clone() else {
            continue;
        };
        if wanted.database.as_ref().is_some_and(|wanted| *wanted != database) {
            continue;
        }
        let mut rows = shared.registry.ledger.rows();
        rows.retain(|row| *row.key.database == *database);
        // The parser takes some milliseconds, and its own thread is waited for.
        let looked = move || suggest(&database, &catalog, &gather::statements(gather::from_ledger(&rows)));
        found.extend(tokio::task::spawn_blocking(looked).await.unwrap_or_default());
    }
    found.retain(|one| wanted.table.as_ref().is_none_or(|table| *table == one.table));
    found
}

/// The error of a command, with what it said before.
fn failed(job: &Job, error: &str) -> Response {
    let hint = "`lines` holds what was said before";
    let body = json!({"error": error, "hint": hint, "id": job.id, "lines": job.lines});
    let mut response = (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response();
    response.extensions_mut().insert(Failure(error.to_owned()));
    response
}

pub(super) async fn act(
    State(shared): State<Arc<Shared>>,
    request: Result<Json<Request>, JsonRejection>,
) -> Response {
    let Json(request) = match request {
        Ok(request) => request,
        Err(rejection) => {
            let hint = "send JSON such as {\"action\": \"maintain\", \"table\": \"public.events\", \"dry_run\": true}";
            return failure(StatusCode::BAD_REQUEST, &rejection.body_text(), hint);
        }
    };
    let Some(desk) = shared.fabric.maintenance() else {
        return failure(
            StatusCode::SERVICE_UNAVAILABLE,
            "there is nobody to do it",
            "ask a pgweir that serves",
        );
    };
    let board = &shared.registry.partitions;
    let id = match desk.leave(board, request) {
        Ok(id) => id,
        Err(reason) => {
            let hint = "GET /api/database/partitions shows what is under way";
            return failure(StatusCode::SERVICE_UNAVAILABLE, &reason, hint);
        }
    };
    let begun = Instant::now();
    loop {
        let Some(job) = board.job(id) else {
            return failure(StatusCode::NOT_FOUND, "the command is forgotten", "look into the log");
        };
        match (job.state, &job.error) {
            ("failed", Some(error)) => {
                return failed(&job, error);
            }
            ("running", _) if begun.elapsed() < PATIENCE => tokio::time::sleep(PAUSE).await,
            _ => return Json(job).into_response(),
        }
    }
}
