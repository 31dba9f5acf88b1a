//! `GET /api/database/catalog`: what is known of the databases, in short, or of one table, in full.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::{asked, failure};
use super::state::Shared;
use crate::catalog::{Catalog, Table, TableKind};
use crate::observe::catalogs::Known;

/// Tables of one answer, at most.
const LIMIT_MAX: usize = 10_000;

/// Tables that are shown in full, at most: those of one name in different schemas.
const FULL_MAX: usize = 20;

/// What may be asked. Without a database, all are listed without their tables.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    database: Option<String>,
    /// `name` or `schema.name`, as the catalog spells it.
    table: Option<String>,
    limit: usize,
}

impl Default for Wanted {
    fn default() -> Self {
        Wanted { database: None, table: None, limit: 100 }
    }
}

/// One table in short.
#[derive(Debug, Serialize)]
struct Brief<'a> {
    schema: &'a str,
    name: &'a str,
    kind: TableKind,
    partition: bool,
    rows: Option<f64>,
    bytes: u64,
    index_bytes: u64,
    columns: usize,
    indexes: Vec<&'a str>,
}

pub(super) async fn catalog(
    State(shared): State<Arc<Shared>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    let wanted = match asked(wanted, "database, table and limit may be given") {
        Ok(wanted) => wanted,
        Err(answer) => return *answer,
    };
    let catalogs = &shared.registry.catalogs;
    let Some(database) = &wanted.database else {
        let all: Vec<Value> = catalogs.list().iter().map(|(name, known)| summary(name, known)).collect();
        return Json(json!({"databases": all})).into_response();
    };
    let Some(known) = catalogs.known(database) else {
        let hint =
            "a catalog is read when a client uses the database; GET /api/database/catalog lists those known";
        return failure(StatusCode::NOT_FOUND, &format!("the catalog of {database} is not known"), hint);
    };
    let mut answer = summary(database, &known);
    if let Some(catalog) = &known.catalog {
        answer["tables"] = match &wanted.table {
            Some(name) => json!(named(catalog, name)),
            None => json!(largest(catalog, wanted.limit)),
        };
    }
    Json(answer).into_response()
}

fn summary(database: &str, known: &Known) -> Value {
    let time =
        |unix_s| humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(unix_s)).to_string();
    let error = known
        .error
        .as_ref()
        .map(|error| json!({"kind": error.kind, "message": error.text, "at": time(error.at_s)}));
    let mut answer = json!({
        "database": database,
        "refreshes": known.refreshes,
        "failures": known.failures,
        "refresh_ms": known.took_ms,
        "error": error,
    });
    if let Some(catalog) = &known.catalog {
        let facts = &catalog.facts;
        answer["server_database"] = json!(facts.database);
        answer["server_version"] = json!(facts.server_version);
        answer["role"] = json!(facts.role);
        answer["read_at"] = json!(time(facts.read_at_s));
        answer["table_count"] = json!(catalog.tables.len());
        answer["cut"] = json!(facts.cut);
        answer["extensions"] = json!(facts.extensions);
        answer["notes"] = json!(facts.notes);
    }
    answer
}

fn largest(catalog: &Catalog, limit: usize) -> Vec<Brief<'_>> {
    let mut tables: Vec<&Table> = catalog.tables.iter().collect();
    tables.sort_by_key(|table| std::cmp::Reverse(table.bytes + table.index_bytes()));
    tables.truncate(limit.min(LIMIT_MAX));
    tables.into_iter().map(brief).collect()
}

fn brief(table: &Table) -> Brief<'_> {
    Brief {
        schema: &table.schema,
        name: &table.name,
        kind: table.kind,
        partition: table.is_partition(),
        rows: table.rows,
        bytes: table.bytes,
        index_bytes: table.index_bytes(),
        columns: table.columns.len(),
        indexes: table.indexes.iter().map(|index| index.name.as_str()).collect(),
    }
}

fn named<'a>(catalog: &'a Catalog, name: &str) -> Vec<&'a Table> {
    let full = |table: &Table| table.name == name || format!("{}.{}", table.schema, table.name) == name;
    catalog.tables.iter().filter(|table| full(table)).take(FULL_MAX).collect()
}
