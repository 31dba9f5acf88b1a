//! `GET /api/database/eligibility`: whether answers of a statement may be shared, by the catalog of its database, and
//! why not. Nothing is executed, and no server is asked.

use std::sync::Arc;
use std::thread;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{asked, failure};
use super::state::Shared;
use crate::catalog::Catalog;
use crate::coalesce::eligible::{self, Closure, Reason, Session, Statement};
use crate::sql::guard;

/// What is asked. The text is one statement; its values, if it has any, are not looked at.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    database: String,
    sql: String,
    /// Schemas, with commas between; as the catalog's own user has them if it is missing.
    search_path: Option<String>,
}

pub(super) async fn eligibility(
    State(shared): State<Arc<Shared>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    let wanted = match asked(wanted, "database and sql must be given, search_path may be") {
        Ok(wanted) => wanted,
        Err(answer) => return *answer,
    };
    let known = shared.registry.catalogs.known(&wanted.database);
    let Some(catalog) = known.and_then(|known| known.catalog.clone()) else {
        let hint =
            "a catalog is read when a client uses the database; GET /api/database/catalog lists those known";
        let error = format!("the catalog of {} is not known", wanted.database);
        return failure(StatusCode::NOT_FOUND, &error, hint);
    };
    match apart(move || decide(&catalog, &wanted)) {
        Some(Some(levels)) => Json(json!({"levels": levels})).into_response(),
        _ => failure(
            StatusCode::UNPROCESSABLE_ENTITY,
            "the text is not one statement that the parser knows",
            "`pgweir explain` says what it stumbles over; such a statement is forwarded unchanged",
        ),
    }
}

/// Runs on a thread that has the stack which the parser needs. `None`: there is none, or it has panicked.
fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let thread = thread::Builder::new().name("parser".to_owned()).stack_size(guard::STACK);
    thread.spawn(work).ok()?.join().ok()
}

fn decide(catalog: &Catalog, wanted: &Wanted) -> Option<Vec<Value>> {
    let (canonical, facts) = eligible::read(&wanted.sql)?;
    let given = wanted.search_path.as_ref();
    let given = given.map(|path| path.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>());
    let search_path = given.as_ref().unwrap_or(&catalog.facts.search_path);
    let session = Session { search_path, temporary: false };
    let statement = Statement { facts: &facts, canonical: &canonical };
    let levels = eligible::levels(statement, catalog, session);
    Some(levels.iter().map(|(level, outcome)| shown(catalog, level.label(), outcome)).collect())
}

fn shown(catalog: &Catalog, level: &str, outcome: &Result<Closure, Reason>) -> Value {
    match outcome {
        Err(reason) => json!({
            "level": level, "eligible": false, "kind": reason.label(), "reason": reason.to_string(),
        }),
        Ok(closure) => {
            let tables = closure.tables.iter().filter_map(|&oid| catalog.table_by_oid(oid));
            let tables: Vec<String> =
                tables.map(|table| format!("{}.{}", table.schema, table.name)).collect();
            json!({
                "level": level,
                "eligible": true,
                "tables": tables,
                "reads_time": closure.reads_time,
                "reads_settings": closure.reads_settings,
            })
        }
    }
}
