//! EXPLAIN: PostgreSQL's plan of one statement, in a read-only transaction that is rolled back. Without
//! ANALYZE nothing is executed. Must not know why a plan is wanted.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Statement, Transaction};

use super::plan::{bounded, volatile_function};
use super::{ProbeError, quoted};
use crate::catalog::Catalog;

/// Longer statements are not explained; the plan of one would not fit either.
const STATEMENT_MAX: usize = 64 * 1024;

/// From 16 on, PostgreSQL shows a plan without looking at the values of parameters.
const GENERIC_SINCE: u32 = 160_000;

/// A statement to be explained.
///
/// The plan shows what stands in the text and in `values`: whoever must not see values asks with the text of
/// the shape, whose values are parameters, and without `values`. To plan it, PostgreSQL may run functions that it
/// calls and that are not volatile; so it has to be asked as the user whose statement it is.
#[derive(Debug, Clone, Default)]
pub struct Explain {
    /// One statement; `$1` and so on are its parameters.
    pub statement: String,
    /// Types of the parameters by oid, as a Parse declares them; 0, or missing: PostgreSQL infers it.
    pub types: Vec<u32>,
    /// In PostgreSQL's text form, `None` for NULL. Without them the plan is one for any values.
    pub values: Option<Vec<Option<String>>>,
    /// Schemas in which names are searched; empty: those of the user who asks.
    pub search_path: Vec<String>,
    /// None of its questions may take longer; `None`: what holds for all of the probe's.
    pub timeout: Option<Duration>,
    /// Executes it and measures; only for what is known to change nothing.
    pub analyze: Option<Analyze>,
}

/// Who asks for ANALYZE answers for the statement.
#[derive(Debug, Clone)]
pub struct Analyze {
    /// The statement's own words are those of a pure read: it writes, locks and calls nothing that does.
    pub pure_read: bool,
    /// Tells which functions are volatile.
    pub catalog: Arc<Catalog>,
}

/// A plan as JSON text of at most `plan::PLAN_MAX` bytes.
///
/// # Errors
/// `Refused` has the server's SQLSTATE, without its message, which may quote a value.
pub(super) async fn plan(client: &mut Client, question: &Explain) -> Result<String, ProbeError> {
    if question.statement.len() > STATEMENT_MAX {
        return Err(ProbeError::Unfit(format!("the statement is longer than {STATEMENT_MAX} bytes")));
    }
    let transaction = client.build_transaction().read_only(true).start().await?;
    let answer = within(&transaction, question).await.map_err(without_message);
    transaction.rollback().await?;
    answer
}

fn without_message(error: ProbeError) -> ProbeError {
    match error {
        ProbeError::Refused { sqlstate, .. } => {
            ProbeError::Refused { sqlstate, message: "PostgreSQL does not explain the statement".to_owned() }
        }
        other => other,
    }
}

async fn within(transaction: &Transaction<'_>, question: &Explain) -> Result<String, ProbeError> {
    if !question.search_path.is_empty() {
        let schemas: Vec<String> = question.search_path.iter().map(|schema| quoted(schema)).collect();
        transaction.batch_execute(&format!("SET LOCAL search_path = {}", schemas.join(", "))).await?;
    }
    if let Some(timeout) = question.timeout {
        let ms = timeout.as_millis().max(1);
        transaction.batch_execute(&format!("SET LOCAL statement_timeout = {ms}")).await?;
    }
    let plain = explained(transaction, question, "").await?;
    let Some(analyze) = &question.analyze else {
        return bounded(&plain);
    };
    if !analyze.pure_read {
        return Err(ProbeError::Unfit("only a pure read is executed for its plan".to_owned()));
    }
    // With VERBOSE, every function has its schema, and views and SQL functions are spelled out.
    let verbose = explained(transaction, question, "VERBOSE, ").await?;
    if let Some(function) = volatile_function(&verbose, &question.search_path, &analyze.catalog) {
        return Err(ProbeError::Unfit(format!(
            "it is not executed, because it calls {function}, which is volatile or not known"
        )));
    }
    bounded(&explained(transaction, question, "ANALYZE, BUFFERS, ").await?)
}

/// `options` end in a comma. The extended protocol takes no second statement behind the first.
async fn explained(
    transaction: &Transaction<'_>,
    question: &Explain,
    options: &str,
) -> Result<String, ProbeError> {
    let text = format!("EXPLAIN ({options}FORMAT JSON) {}", question.statement);
    let types: Vec<Type> = question.types.iter().map(|&oid| builtin(oid)).collect();
    let statement = transaction.prepare_typed(&text, &types).await?;
    let count = statement.params().len();
    match &question.values {
        _ if count == 0 => ask(transaction, &statement, &[]).await,
        Some(values) if values.len() == count => {
            let values: Vec<AsText> = values.iter().map(|value| AsText(value.as_deref())).collect();
            ask(transaction, &statement, &values).await
        }
        Some(values) => {
            let given = values.len();
            Err(ProbeError::Unfit(format!(
                "the statement has {count} parameters, and {given} values are given"
            )))
        }
        None if options.contains("ANALYZE") => {
            Err(ProbeError::Unfit("a statement with parameters needs values to be executed".to_owned()))
        }
        None => generic(transaction, question, options, count).await,
    }
}

/// A plan for any values: that of a prepared statement whose plan must not depend on them. They are needed all
/// the same, and are NULL; before 16, partitions may be missing from the plan because of that.
async fn generic(
    transaction: &Transaction<'_>,
    question: &Explain,
    options: &str,
    count: usize,
) -> Result<String, ProbeError> {
    let version =
        transaction.query_one("SELECT pg_catalog.current_setting('server_version_num')::int4", &[]).await?;
    let open = match u32::try_from(version.try_get::<_, i32>(0)?) {
        Ok(GENERIC_SINCE..) => "GENERIC_PLAN, ",
        _ => "",
    };
    let declared = declaration(transaction, &question.types, count).await?;
    transaction.batch_execute("SET LOCAL plan_cache_mode = force_generic_plan").await?;
    let prepare = format!("PREPARE pgweir_explain{declared} AS {}", question.statement);
    let prepared = transaction.prepare(&prepare).await?;
    transaction.execute(&prepared, &[]).await?;
    let values = vec!["NULL"; count].join(", ");
    let text = format!("EXPLAIN ({options}{open}FORMAT JSON) EXECUTE pgweir_explain({values})");
    let statement = transaction.prepare(&text).await?;
    let answer = ask(transaction, &statement, &[]).await?;
    // It would outlive the transaction; where an error came before this, the connection is closed.
    transaction.batch_execute("DEALLOCATE pgweir_explain").await?;
    Ok(answer)
}

/// `(integer, unknown)`, or nothing where no type is declared.
async fn declaration(
    transaction: &Transaction<'_>,
    types: &[u32],
    count: usize,
) -> Result<String, ProbeError> {
    if types.iter().all(|&oid| oid == 0) {
        return Ok(String::new());
    }
    let oids: Vec<u32> = (0..count).map(|at| types.get(at).copied().unwrap_or_default()).collect();
    let query = "SELECT CASE WHEN t.oid = 0 THEN 'unknown' ELSE pg_catalog.format_type(t.oid, NULL) END \
        FROM pg_catalog.unnest($1::oid[]) WITH ORDINALITY t(oid, place) ORDER BY t.place";
    let rows = transaction.query(query, &[&oids]).await?;
    let names = rows.iter().map(|row| row.try_get::<_, String>(0)).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("({})", names.join(", ")))
}

/// The type of a parameter, where tokio-postgres knows it by itself; other types are inferred.
fn builtin(oid: u32) -> Type {
    Type::from_oid(oid).unwrap_or(Type::UNKNOWN)
}

async fn ask(
    transaction: &Transaction<'_>,
    statement: &Statement,
    values: &[AsText<'_>],
) -> Result<String, ProbeError> {
    let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
    let row = transaction.query_one(statement, &values).await?;
    let AnyText(plan) = row.try_get(0)?;
    Ok(plan)
}

/// A value of any type as PostgreSQL reads it from text.
#[derive(Debug, Clone, Copy)]
struct AsText<'a>(Option<&'a str>);

impl ToSql for AsText<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self.0 {
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// EXPLAIN answers with `json`, whose binary form is its text.
pub(super) struct AnyText(pub(super) String);

impl<'a> tokio_postgres::types::FromSql<'a> for AnyText {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(AnyText(String::from_utf8(raw.to_vec())?))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::JSON || *kind == Type::TEXT
    }
}
