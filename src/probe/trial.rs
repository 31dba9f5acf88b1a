//! Plans of statements with indexes that are not there: HypoPG on one connection, where the extension is
//! installed. Executes nothing, creates nothing. Must not know which indexes are wanted or why.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use deadpool_postgres::Object;
use serde_json::Value;
use tokio_postgres::Statement;

use super::catalog::get;
use super::explain::AnyText;
use super::{Probe, ProbeError, quoted};
use crate::catalog::{Attnum, Oid};

/// Whether indexes can be tried that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tries {
    Yes,
    /// The extension is on the server and not in this database.
    Available,
    No,
}

/// What matters of a server for advice, beside its catalog.
#[derive(Debug, Clone, Default)]
pub struct Circumstances {
    /// Texts are compared byte by byte.
    pub bytewise: bool,
    pub random_page_cost: f64,
    /// Seconds since when uses of indexes are counted.
    pub counted_s: f64,
    /// Indexes that are being built.
    pub building: Vec<Oid>,
    /// Tables, and the part of their pages that all transactions see.
    pub all_visible: Vec<(Oid, f64)>,
    pub values: Vec<ColumnValues>,
}

/// What `pg_stats` knows of a column's values, as text.
#[derive(Debug, Clone, Default)]
pub struct ColumnValues {
    pub table: Oid,
    pub column: Attnum,
    /// With their part of the rows.
    pub common: Vec<(String, f64)>,
    pub bounds: Vec<String>,
}

/// A plan in short.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    pub cost: f64,
    pub reads: Vec<Read>,
}

/// A node that reads a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Read {
    pub kind: String,
    pub table: String,
    pub index: Option<String>,
    /// The number of the index that was tried, if it is one.
    pub tried: Option<usize>,
    pub rows: f64,
    pub cost: f64,
}

/// HypoPG numbers its indexes from a small store; so many at once are far from its end.
const OFFER_MAX: usize = 400;

/// One connection on which indexes are tried.
pub struct Trial {
    // Dropped by `Object::take`, so that what it has tried goes with it.
    client: Option<Object>,
    /// Where the extension's functions are.
    schema: Option<String>,
    pub tries: Tries,
    indexes: Vec<String>,
    /// Those in place, by number, with HypoPG's own oid.
    placed: HashMap<usize, Oid>,
    questions: Vec<Asked>,
}

/// A question as it is asked.
enum Asked {
    Plain(Statement),
    /// By the name of a prepared statement, with parameters.
    Generic(String),
    /// PostgreSQL refuses it.
    Refused,
}

impl Drop for Trial {
    fn drop(&mut self) {
        drop(self.client.take().map(Object::take));
    }
}

impl Probe {
    /// A connection to try indexes on. It is closed at the end.
    pub async fn trial(&self) -> Result<Trial, ProbeError> {
        let client = self.client().await?;
        let query = "SELECT (SELECT n.nspname::text FROM pg_catalog.pg_extension e \
            JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'hypopg'), \
            EXISTS (SELECT FROM pg_catalog.pg_available_extensions WHERE name = 'hypopg')";
        let row = client.query_one(query, &[]).await?;
        let (schema, available): (Option<String>, bool) = (get(&row, 0)?, get(&row, 1)?);
        let tries = match (&schema, available) {
            (Some(_), _) => Tries::Yes,
            (None, true) => Tries::Available,
            (None, false) => Tries::No,
        };
        client.batch_execute("SET plan_cache_mode = force_generic_plan; SET jit = off").await?;
        Ok(Trial {
            client: Some(client),
            schema,
            tries,
            indexes: Vec::new(),
            placed: HashMap::new(),
            questions: Vec::new(),
        })
    }
}

impl Trial {
    fn client(&self) -> Result<&Object, ProbeError> {
        self.client.as_ref().ok_or_else(|| ProbeError::Lost("it was closed".to_owned()))
    }

    /// What the server is like, and what it knows of the values of these tables.
    pub async fn circumstances(&self, tables: &[Oid]) -> Result<Circumstances, ProbeError> {
        let client = self.client()?;
        let row = client.query_one(SERVER, &[]).await?;
        let mut found = Circumstances {
            bytewise: get(&row, 0)?,
            random_page_cost: get(&row, 1)?,
            counted_s: get(&row, 2)?,
            ..Circumstances::default()
        };
        // A user who may not see others' progress sees none, and a build in the making then looks failed.
        for row in &client.query(BUILDING, &[]).await? {
            found.building.push(get(row, 0)?);
        }
        for row in &client.query(VISIBLE, &[&tables]).await? {
            found.all_visible.push((get(row, 0)?, get(row, 1)?));
        }
        for row in &client.query(VALUES, &[&tables]).await? {
            let (common, parts): (Option<Vec<String>>, Option<Vec<f32>>) = (get(row, 2)?, get(row, 3)?);
            let common = common.unwrap_or_default().into_iter();
            let common = common.zip(parts.unwrap_or_default().into_iter().map(f64::from)).collect();
            let bounds: Option<Vec<String>> = get(row, 4)?;
            let bounds = bounds.unwrap_or_default();
            found.values.push(ColumnValues { table: get(row, 0)?, column: get(row, 1)?, common, bounds });
        }
        Ok(found)
    }

    /// Says which indexes there may be; they are numbered from 0. For each, the bytes that HypoPG believes it to
    /// have, or why it is none.
    pub async fn offer(&mut self, ddl: &[String]) -> Result<Vec<Result<u64, String>>, ProbeError> {
        self.indexes = ddl.to_vec();
        let Some(schema) = self.schema.as_ref().map(|schema| quoted(schema)) else {
            return Ok(ddl.iter().map(|_| Err("HypoPG is not installed".to_owned())).collect());
        };
        let mut sizes = Vec::new();
        let query = format!(
            "SELECT indexrelid, {schema}.hypopg_relation_size(indexrelid)::int8 FROM {schema}.hypopg_create_index($1)"
        );
        let create = self.client()?.prepare(&query).await?;
        for some in ddl.chunks(OFFER_MAX) {
            let client = self.client()?;
            let asked = some.iter().map(|ddl| {
                let create = &create;
                async move { client.query_one(create, &[ddl]).await }
            });
            for answer in together(asked.collect()).await {
                sizes.push(match answer {
                    Ok(row) => Ok(u64::try_from(get::<i64>(&row, 1)?).unwrap_or_default()),
                    Err(error) => match ProbeError::from(error) {
                        ProbeError::Refused { message, .. } => Err(message),
                        other => return Err(other),
                    },
                });
            }
            client.batch_execute(&format!("SELECT {schema}.hypopg_reset()")).await?;
        }
        Ok(sizes)
    }

    /// Says which statements will be planned; they are numbered from 0. `true`: it has parameters.
    pub async fn prepare(&mut self, questions: &[(String, bool)]) -> Result<(), ProbeError> {
        let mut prepared = Vec::with_capacity(questions.len());
        for (number, (text, generic)) in questions.iter().enumerate() {
            let client = self.client()?;
            let one = match generic {
                false => client.prepare(&format!("EXPLAIN (FORMAT JSON) {text}")).await.map(Asked::Plain),
                true => named(client, number, text).await.map(Asked::Generic),
            };
            prepared.push(match one {
                Ok(asked) => asked,
                Err(error) => match ProbeError::from(error) {
                    ProbeError::Refused { .. } => Asked::Refused,
                    other => return Err(other),
                },
            });
        }
        self.questions = prepared;
        Ok(())
    }

    /// Plans of these questions with exactly these indexes in place; none where PostgreSQL refuses.
    pub async fn plan(
        &mut self,
        indexes: &[usize],
        questions: &[usize],
    ) -> Result<Vec<Option<Plan>>, ProbeError> {
        self.place(indexes).await?;
        let (client, by_oid) = (self.client()?, self.by_oid());
        let ask = |number: &usize| {
            let asked = self.questions.get(*number);
            async move {
                match asked {
                    Some(Asked::Plain(statement)) => client.query_one(statement, &[]).await.map(Some),
                    Some(Asked::Generic(execute)) => client.query_one(execute.as_str(), &[]).await.map(Some),
                    Some(Asked::Refused) | None => Ok(None),
                }
            }
        };
        let mut plans = Vec::with_capacity(questions.len());
        for answer in together(questions.iter().map(ask).collect()).await {
            plans.push(match answer {
                Ok(Some(row)) => {
                    let AnyText(text) = get(&row, 0)?;
                    serde_json::from_str(&text).ok().and_then(|plan| read(&plan, &by_oid))
                }
                Ok(None) => None,
                Err(error) => match ProbeError::from(error) {
                    ProbeError::Refused { .. } => None,
                    other => return Err(other),
                },
            });
        }
        Ok(plans)
    }

    fn by_oid(&self) -> HashMap<Oid, usize> {
        self.placed.iter().map(|(&number, &oid)| (oid, number)).collect()
    }

    /// Takes away what is too much and puts in place what is missing.
    async fn place(&mut self, wanted: &[usize]) -> Result<(), ProbeError> {
        let Some(schema) = self.schema.as_ref().map(|schema| quoted(schema)) else {
            return Ok(());
        };
        let gone: Vec<usize> =
            self.placed.keys().copied().filter(|number| !wanted.contains(number)).collect();
        let new: Vec<usize> =
            wanted.iter().copied().filter(|number| !self.placed.contains_key(number)).collect();
        if gone.is_empty() && new.is_empty() {
            return Ok(());
        }
        let (drop, create) = (
            format!("SELECT {schema}.hypopg_drop_index($1)"),
            format!("SELECT indexrelid FROM {schema}.hypopg_create_index($1)"),
        );
        let client = self.client()?;
        let (drop, create) = (client.prepare(&drop).await?, client.prepare(&create).await?);
        let drops = gone.iter().filter_map(|number| self.placed.get(number)).map(|oid| {
            let drop = &drop;
            async move { client.execute(drop, &[oid]).await }
        });
        for answer in together(drops.collect()).await {
            answer?;
        }
        let creates = new.iter().filter_map(|&number| self.indexes.get(number)).map(|ddl| {
            let create = &create;
            async move { client.query_one(create, &[ddl]).await }
        });
        let mut oids = Vec::new();
        for answer in together(creates.collect()).await {
            oids.push(get::<Oid>(&answer?, 0)?);
        }
        // Plans of prepared statements are kept until something is known to have changed.
        client.batch_execute("DISCARD PLANS").await?;
        gone.iter().for_each(|number| drop_placed(&mut self.placed, *number));
        self.placed.extend(new.into_iter().zip(oids));
        Ok(())
    }
}

fn drop_placed(placed: &mut HashMap<usize, Oid>, number: usize) {
    placed.remove(&number);
}

/// Prepares a statement with parameters under a name, and returns how it is explained for any values.
async fn named(client: &Object, number: usize, text: &str) -> Result<String, tokio_postgres::Error> {
    let name = format!("pgweir_trial_{number}");
    let prepared = client.prepare(&format!("PREPARE {name} AS {text}")).await?;
    client.execute(&prepared, &[]).await?;
    let query = "SELECT pg_catalog.cardinality(parameter_types)::int4 FROM pg_catalog.pg_prepared_statements \
        WHERE name = $1";
    let count: i32 = client.query_one(query, &[&name]).await?.try_get(0)?;
    let values = vec!["NULL"; usize::try_from(count).unwrap_or_default()].join(", ");
    let values = if values.is_empty() { values } else { format!("({values})") };
    Ok(format!("EXPLAIN (FORMAT JSON) EXECUTE {name}{values}"))
}

/// All at once on one connection, which sends them without waiting for each answer.
async fn together<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    let mut open: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    std::future::poll_fn(move |context| {
        let mut ready = true;
        for (future, output) in open.iter_mut().zip(&mut outputs).filter(|(_, output)| output.is_none()) {
            match future.as_mut().poll(context) {
                Poll::Ready(value) => *output = Some(value),
                Poll::Pending => ready = false,
            }
        }
        match ready {
            true => Poll::Ready(outputs.iter_mut().filter_map(Option::take).collect()),
            false => Poll::Pending,
        }
    })
    .await
}

/// The cost and the nodes that read tables.
fn read(plan: &Value, tried: &HashMap<Oid, usize>) -> Option<Plan> {
    let top = plan.get(0)?.get("Plan")?;
    let mut found = Plan { cost: top.get("Total Cost")?.as_f64()?, reads: Vec::new() };
    let mut open = vec![top];
    while let Some(node) = open.pop() {
        let text = |key: &str| node.get(key).and_then(Value::as_str).map(str::to_owned);
        let number = |key: &str| node.get(key).and_then(Value::as_f64).unwrap_or_default();
        let (table, index) = (text("Relation Name"), text("Index Name"));
        if table.is_some() || index.is_some() {
            // HypoPG names its indexes `<oid>method_table_columns`.
            let oid = index.as_ref().and_then(|name| name.strip_prefix('<')?.split('>').next()?.parse().ok());
            let tried = oid.and_then(|oid: Oid| tried.get(&oid).copied());
            found.reads.push(Read {
                kind: text("Node Type").unwrap_or_default(),
                table: table.unwrap_or_default(),
                index: index.filter(|_| tried.is_none()),
                tried,
                rows: number("Plan Rows"),
                cost: number("Total Cost"),
            });
        }
        open.extend(node.get("Plans").and_then(Value::as_array).into_iter().flatten());
    }
    Some(found)
}

/// Uses are counted since the last reset, or, where there was none, at least since the server's start.
const SERVER: &str = "SELECT d.datcollate IN ('C', 'POSIX'), current_setting('random_page_cost')::float8, \
        extract(epoch FROM clock_timestamp() - coalesce(s.stats_reset, pg_postmaster_start_time()))::float8 \
    FROM pg_catalog.pg_database d JOIN pg_catalog.pg_stat_database s ON s.datid = d.oid \
    WHERE d.datname = current_database()";

const BUILDING: &str =
    "SELECT index_relid FROM pg_catalog.pg_stat_progress_create_index WHERE index_relid <> 0";

const VISIBLE: &str = "SELECT oid, (relallvisible::float8 / greatest(relpages, 1))::float8 \
    FROM pg_catalog.pg_class WHERE oid = ANY($1::oid[])";

/// Long values stand for nothing that is compared. A partitioned table's own come last and win.
const VALUES: &str = "SELECT c.oid, a.attnum, (s.most_common_vals::text)::text[], s.most_common_freqs, \
        (s.histogram_bounds::text)::text[] \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    JOIN pg_catalog.pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname \
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = s.attname \
    WHERE c.oid = ANY($1::oid[]) AND s.avg_width <= 100 ORDER BY s.inherited";
