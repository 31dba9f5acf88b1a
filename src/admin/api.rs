//! The routes and their answers. Who may call them is decided before, in `guard`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde_json::json;

use super::catalog::catalog;
use super::coalescing::coalescing;
use super::eligibility::eligibility;
use super::guard;
use super::indexes::{act as act_on_index, indexes};
use super::partitions::{act, partitions};
use super::queries::{nplus1, queries};
use super::state::Shared;
use crate::observe::metrics;

/// Bytes of a request's body. Commands are small; nothing is uploaded.
pub(super) const BODY_MAX: usize = 64 * 1024;

const PAGE: &str = include_str!("page.html");

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/database/connections", get(connections))
        .route("/api/database/catalog", get(catalog))
        .route("/api/database/eligibility", get(eligibility))
        .route("/api/database/queries", get(queries))
        .route("/api/database/nplus1", get(nplus1))
        .route("/api/database/coalescing", get(coalescing))
        .route("/api/database/indexes", get(indexes))
        .route("/api/database/indexes/{id}/{act}", post(act_on_index))
        .route("/api/database/partitions", get(partitions).post(act))
        .route("/api/reload", post(reload))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn_with_state(shared.clone(), guard::guard))
        .with_state(shared)
}

/// The message of an error answer, left on the response for the audit log.
#[derive(Clone)]
pub(super) struct Failure(pub(super) String);

/// Every error looks like this: `{"error": what is wrong, "hint": what to do next}`.
pub(super) fn failure(status: StatusCode, error: &str, hint: &str) -> Response {
    let mut response = (status, Json(json!({"error": error, "hint": hint}))).into_response();
    response.extensions_mut().insert(Failure(error.to_owned()));
    response
}

/// What was asked for in a URL; else the answer that says what is wrong. `hint`: what may be asked.
pub(super) fn asked<T>(wanted: Result<Query<T>, QueryRejection>, hint: &str) -> Result<T, Box<Response>> {
    let refused =
        |rejection: QueryRejection| failure(StatusCode::BAD_REQUEST, &rejection.body_text(), hint).into();
    wanted.map(|Query(wanted)| wanted).map_err(refused)
}

async fn page() -> Html<String> {
    Html(PAGE.replace("{version}", env!("CARGO_PKG_VERSION")))
}

async fn metrics_page(State(shared): State<Arc<Shared>>) -> Response {
    let text = metrics::render(&shared.registry);
    let kind = HeaderValue::from_static(metrics::CONTENT_TYPE);
    ([(CONTENT_TYPE, kind)], Body::from(text)).into_response()
}

/// The process runs and this thread answers; says nothing of the databases.
async fn healthz() -> Response {
    Json(json!({"status": "ok"})).into_response()
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    match shared.fabric.ready() {
        Ok(()) => Json(json!({"status": "ready"})).into_response(),
        Err(reason) => {
            failure(StatusCode::SERVICE_UNAVAILABLE, &reason, "send clients elsewhere until this answers 200")
        }
    }
}

async fn connections(State(shared): State<Arc<Shared>>) -> Response {
    Json(json!({"pools": shared.fabric.connections().await})).into_response()
}

async fn reload(State(shared): State<Arc<Shared>>) -> Response {
    match shared.fabric.reload().await {
        Ok(()) => Json(json!({"status": "reloaded"})).into_response(),
        Err(reason) => failure(
            StatusCode::UNPROCESSABLE_ENTITY,
            &reason,
            "the old settings stay in force; `pgweir check --config …` shows every mistake",
        ),
    }
}

async fn not_found() -> Response {
    failure(StatusCode::NOT_FOUND, "there is no such page", "GET / lists what there is")
}

async fn wrong_method() -> Response {
    failure(
        StatusCode::METHOD_NOT_ALLOWED,
        "this page does not take that method",
        "GET / lists the pages and their methods",
    )
}
