//! Loads the sample SaaS database (sample.sql) and says how far it is. Knows nothing of pgweir's proxy.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, SimpleQueryMessage};

const SQL: &str = include_str!("sample.sql");

/// How many rows the larger tables hold after a load; the workload picks its keys below these.
pub const USERS: i64 = 5_000;
pub const EMISSION_SOURCES: i64 = 6_000;
pub const EMISSIONS_DATA: i64 = 600_000;
pub const CONVERSATIONS: i64 = 10_000;

/// Left on the database, so that a second demo on the same server recognises it.
const MARK: &str = "sample database of pgweir demo, complete";

/// One finished step of the load.
#[derive(Debug, Clone)]
pub struct Step {
    pub name: &'static str,
    /// Rows inserted; 0 for steps that insert none.
    pub rows: u64,
    pub took: Duration,
}

/// Loads everything through `client`, whose role becomes the owner of the tables. `begins` is told the name
/// of each step before it runs, `ends` what came of it. An interrupted load leaves an unmarked database.
pub async fn load(
    client: &Client,
    mut begins: impl FnMut(&'static str),
    mut ends: impl FnMut(&Step),
) -> Result<(), String> {
    for (name, sql) in steps() {
        begins(name);
        let begun = Instant::now();
        let messages =
            client.simple_query(sql).await.map_err(|e| format!("loading {name}: {}", explain(&e)))?;
        let inserted = messages.iter().map(|message| match message {
            SimpleQueryMessage::CommandComplete(rows) => *rows,
            _ => 0,
        });
        ends(&Step { name, rows: inserted.sum(), took: begun.elapsed() });
    }
    let database = current_database(client).await?;
    let mark = format!("COMMENT ON DATABASE {} IS '{MARK}'", quote_identifier(&database));
    client.batch_execute(&mark).await.map_err(|e| format!("marking the sample database: {}", explain(&e)))
}

/// Whether the database that `client` is connected to holds a complete sample already.
pub async fn is_loaded(client: &Client) -> Result<bool, String> {
    let query = "SELECT shobj_description(oid, 'pg_database') FROM pg_database \
                 WHERE datname = current_database()";
    let row = client
        .query_one(query, &[])
        .await
        .map_err(|e| format!("looking for the sample database: {}", explain(&e)))?;
    Ok(row.get::<_, Option<String>>(0).as_deref() == Some(MARK))
}

/// PostgreSQL's own words for an error; tokio-postgres alone says only "db error".
pub fn explain(error: &tokio_postgres::Error) -> String {
    use std::error::Error;
    if let Some(e) = error.as_db_error() {
        return e.to_string();
    }
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

async fn current_database(client: &Client) -> Result<String, String> {
    let row = client.query_one("SELECT current_database()::text", &[]).await.map_err(|e| explain(&e))?;
    Ok(row.get(0))
}

/// The parts of sample.sql as (name, statements).
fn steps() -> impl Iterator<Item = (&'static str, &'static str)> {
    SQL.split("\n-- step: ").skip(1).map(|part| {
        part.split_once('\n').expect("a step's name is followed by its statements, see the test below")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_falls_into_named_steps() {
        let names: Vec<_> =
            SQL.split("\n-- step: ").skip(1).map(|part| part.split_once('\n').unwrap().0).collect();
        assert_eq!(
            names,
            [
                "schema",
                "organizations",
                "users",
                "facilities",
                "emission_sources",
                "emissions_data",
                "conversations",
                "messages",
                "security_audit_logs",
                "keys and indexes",
                "vacuum, statistics"
            ]
        );
        assert!(steps().all(|(_, sql)| sql.trim_end().ends_with(';')));
    }

    #[test]
    fn the_row_counts_are_those_of_the_script() {
        for rows in [USERS, EMISSION_SOURCES, EMISSIONS_DATA, CONVERSATIONS] {
            assert!(SQL.contains(&format!("generate_series(1, {rows})")), "{rows}");
        }
    }

    #[test]
    fn identifiers_are_quoted() {
        assert_eq!(quote_identifier("a\"b"), "\"a\"\"b\"");
    }
}
