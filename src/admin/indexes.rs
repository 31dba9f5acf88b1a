//! `GET /api/database/indexes`: the indexes that exist, with what is wrong with them, and those that are advised.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{asked, failure};
use super::state::Shared;
use super::{Advices, IndexAct};

/// What may be asked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    database: Option<String>,
    /// Make advice now, in place of showing what was made last.
    fresh: bool,
    /// In place of `indexes.budget_mb`; implies `fresh`.
    budget_mb: Option<u64>,
}

pub(super) async fn indexes(
    State(shared): State<Arc<Shared>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    let wanted = match asked(wanted, "database, fresh (true or false) and budget_mb may be given") {
        Ok(wanted) => wanted,
        Err(answer) => return *answer,
    };
    let budget = wanted.budget_mb.map(|mb| mb.saturating_mul(1024 * 1024));
    match shared.fabric.advice(wanted.fresh || budget.is_some(), budget).await {
        Ok(all) => Json(view(&all, wanted.database.as_deref())).into_response(),
        Err(reason) => failure(StatusCode::SERVICE_UNAVAILABLE, &reason, "ask again in a minute"),
    }
}

/// What a command may say beside its name.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Said {
    /// Build it whatever the server has to do.
    force: bool,
    /// Why nobody wants to hear of it.
    reason: Option<String>,
}

/// Characters of a reason.
const REASON_MAX: usize = 500;

/// Begins to build what was suggested, or to take it away, or notes that nobody wants to hear of it;
/// `GET /api/database/indexes` tells how it goes.
pub(super) async fn act(
    State(shared): State<Arc<Shared>>,
    Path((id, act)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let said = match body.is_empty() {
        true => Ok(Said::default()),
        false => serde_json::from_slice::<Said>(&body),
    };
    let said = match said {
        Ok(said) => said,
        Err(error) => {
            let hint = "send JSON such as {\"force\": true} or {\"reason\": \"…\"}, or nothing";
            return failure(StatusCode::BAD_REQUEST, &error.to_string(), hint);
        }
    };
    let what = match act.as_str() {
        "apply" => IndexAct::Apply { force: said.force },
        "drop" => IndexAct::Drop,
        "dismiss" => {
            IndexAct::Dismiss { reason: said.reason.unwrap_or_default().chars().take(REASON_MAX).collect() }
        }
        "recall" => IndexAct::Recall,
        _ => {
            let hint = "apply, drop, dismiss and recall are known";
            return failure(StatusCode::NOT_FOUND, "there is no such command", hint);
        }
    };
    match shared.fabric.act_on_index(&id, what) {
        Ok(()) => (StatusCode::ACCEPTED, Json(json!({"status": "begun"}))).into_response(),
        Err(reason) => failure(
            StatusCode::CONFLICT,
            &reason,
            "GET /api/database/indexes lists suggestions and what was done about them",
        ),
    }
}

/// Lists of all databases together; each entry says of which it is.
fn view(all: &Advices, database: Option<&str>) -> Value {
    let (mut suggestions, mut existing, mut notes, mut hints) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut databases = Vec::new();
    for advised in
        all.databases.iter().filter(|advised| database.is_none_or(|wanted| wanted == advised.database))
    {
        let at =
            humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(advised.at_s)).to_string();
        let outcome = match &advised.outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                databases.push(json!({"database": advised.database, "at": at, "error": error}));
                continue;
            }
        };
        let advice = &outcome.advice;
        databases.push(json!({
            "database": advised.database,
            "at": at,
            "shapes": advice.shapes,
            "candidates": advice.candidates,
            "questions": outcome.questions,
            "took_ms": outcome.took_ms,
            "before_ms": advice.before_ms,
            "after_ms": advice.after_ms,
            "size_bytes": advice.size_bytes,
        }));
        suggestions.extend(advice.suggestions.iter().map(|one| json!(one)));
        existing.extend(outcome.existing.iter().map(|one| json!(one)));
        notes.extend(advice.notes.iter().map(|one| json!(one)));
        hints.extend(outcome.hints.iter().cloned());
    }
    hints.dedup();
    json!({
        "suggestions": suggestions,
        "existing": existing,
        "history": all.history,
        "dismissed": all.dismissed,
        "auto": all.auto,
        "notes": notes,
        "hints": hints,
        "databases": databases,
        "making": all.making,
    })
}
