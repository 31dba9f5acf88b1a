//! A chapter of the tour: the readings of four years become a table of months while somebody writes to it, are asked
//! for, and one month is archived and brought back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config};

use super::command::Shell;
use super::sample::explain;
use super::timing::{Timing, connect};
use crate::maintain::TableName;
use crate::maintain::period::{Interval, Unit};
use crate::maintain::settings::{Archive, MaintenanceSettings, Retention, TableRule};
use crate::proxy::Running;

const TABLE: &str = "public.emissions_data";

/// As an application writes it: nothing that PostgreSQL could leave partitions out by.
const MONTH: &str =
    "SELECT count(*), sum(co2e_kg) FROM emissions_data WHERE date_trunc('month', recorded_at) = '{}'";
const MONTHS: &str = "SELECT (date_trunc('month', now()) - n * interval '1 month')::date::text \
                      FROM generate_series(1, 9) n";
const DAY: &str =
    "SELECT count(*), sum(co2e_kg) FROM emissions_data WHERE recorded_at > now() - interval '1 day'";

/// Times that the last day is asked for; so many months are.
const CALLS: usize = 9;

/// Between two rows of the writer, which is not what is measured.
const PAUSE: Duration = Duration::from_millis(2);

/// A catalog is read at most once a second, and then all workers have to take it over.
const PATIENCE: Duration = Duration::from_secs(15);

/// The rows of the writer: of a quality that no other row has, with a serial number as quantity.
const WRITE: &str = "INSERT INTO emissions_data (emission_source_id, recorded_at, quantity, co2e_kg, quality) \
                     VALUES (1, now(), {}, 0, 'tour')";
const WRITTEN: &str = "SELECT count(*), count(DISTINCT quantity) FROM emissions_data WHERE quality = 'tour'";
const FORGET: &str = "DELETE FROM emissions_data WHERE quality = 'tour'";

/// The oldest partition, and whether there are any.
const OLDEST: &str = "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
                      WHERE i.inhparent = 'public.emissions_data'::regclass ORDER BY 1 LIMIT 1";

/// What `rules/partitions.yaml` would say; nothing happens by itself, so that the tour alone decides when.
pub fn rules() -> (Vec<TableRule>, MaintenanceSettings) {
    let rule = TableRule {
        database: None,
        user: None,
        table: TableName { schema: "public".to_owned(), name: "emissions_data".to_owned() },
        column: "recorded_at".to_owned(),
        interval: Interval { count: 1, unit: Unit::Month },
        premake: 3,
        time_zone: "UTC".to_owned(),
        format: None,
        retention: Some(Retention {
            keep: Interval { count: 36, unit: Unit::Month },
            archive: Archive::Schema("archive".to_owned()),
        }),
        route: true,
        create_missing: true,
        zone_maps: Vec::new(),
    };
    (vec![rule], MaintenanceSettings { enabled: false, ..Default::default() })
}

/// Plays it and returns the chapter's text.
///
/// # Errors
/// A sentence when a query or a command fails, or a row is missing.
pub async fn chapter(pooled: &Config, shell: &Shell, running: &Running) -> Result<String, String> {
    let client = connect(pooled, "demo-readings").await?;
    if !client.query(OLDEST, &[]).await.map_err(|error| explain(&error))?.is_empty() {
        return Ok(format!("{TABLE} is partitioned since the last tour; its chapter is left out.\n"));
    }
    let months = months(&client).await?;
    let month = |number: usize| MONTH.replace("{}", &months[number]);
    let before = (Timing::of(&client, months.len(), month).await?, Timing::of(&client, CALLS, day).await?);
    let writer = Writer::start(pooled).await?;
    let converted = shell.shown(&["partitions", "convert", TABLE]).await;
    let written = writer.stop(&client).await?;
    let converted = converted?;
    let finished = shell.shown(&["partitions", "finish", TABLE]).await?;
    routed(&client, &month(0), running).await?;
    let after = (Timing::of(&client, months.len(), month).await?, Timing::of(&client, CALLS, day).await?);
    let row = client.query_one(OLDEST, &[]).await.map_err(|error| explain(&error))?;
    let oldest: String = row.get(0);
    let archived = shell.shown(&["partitions", "archive", TABLE, &oldest]).await?;
    let restored = shell.shown(&["partitions", "restore", TABLE, &oldest]).await?;
    Ok(format!(
        "The readings of one month, by date_trunc: {}; of the last day: {}.\n\n\
         {converted}\n{written}\n\n{finished}\n\
         The same month: {} ({}); the last day: {} ({}).\n\n{archived}\n{restored}",
        before.0,
        before.1,
        after.0,
        after.0.beside(&before.0),
        after.1,
        after.1.beside(&before.1),
    ))
}

/// Their first days.
async fn months(client: &Client) -> Result<Vec<String>, String> {
    let rows = client.query(MONTHS, &[]).await.map_err(|error| explain(&error))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn day(_: usize) -> String {
    DAY.to_owned()
}

/// Asks until pgweir has read what the table is now and narrows statements on it, which takes it about a second.
async fn routed(client: &Client, month: &str, running: &Running) -> Result<(), String> {
    let (begun, before) = (Instant::now(), running.narrowed());
    while running.narrowed() == before {
        if begun.elapsed() > PATIENCE {
            return Err(format!("{TABLE} is partitioned and not routed; please tell pgweir's authors"));
        }
        client.simple_query(month).await.map_err(|error| explain(&error))?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Somebody who writes row after row.
struct Writer {
    over: Arc<AtomicBool>,
    task: JoinHandle<Result<(i64, Duration), String>>,
}

impl Writer {
    async fn start(pooled: &Config) -> Result<Writer, String> {
        let client = connect(pooled, "demo-writer").await?;
        client.batch_execute(FORGET).await.map_err(|error| explain(&error))?;
        let over = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(write(client, over.clone()));
        Ok(Writer { over, task })
    }

    /// Ends it; says how many rows were written, and that they are all there, each once.
    async fn stop(self, client: &Client) -> Result<String, String> {
        self.over.store(true, Relaxed);
        let (written, longest) = self.task.await.map_err(|error| format!("the writer failed: {error}"))??;
        let row = client.query_one(WRITTEN, &[]).await.map_err(|error| explain(&error))?;
        let (rows, different): (i64, i64) = (row.get(0), row.get(1));
        if (rows, different) != (written, written) {
            return Err(format!(
                "{written} rows were written during the conversion, {rows} are there, {different} different ones"
            ));
        }
        client.batch_execute(FORGET).await.map_err(|error| explain(&error))?;
        Ok(format!(
            "Meanwhile {written} rows were written, none failed and each is there once; the slowest took {:.0} ms.",
            longest.as_secs_f64() * 1e3
        ))
    }
}

/// Writes until told; how many, and the longest time of one.
async fn write(client: Client, over: Arc<AtomicBool>) -> Result<(i64, Duration), String> {
    let (mut written, mut longest) = (0_i64, Duration::ZERO);
    while !over.load(Relaxed) {
        let begun = Instant::now();
        let statement = WRITE.replace("{}", &(written + 1).to_string());
        client.batch_execute(&statement).await.map_err(|error| explain(&error))?;
        longest = longest.max(begun.elapsed());
        written += 1;
        tokio::time::sleep(PAUSE).await;
    }
    Ok((written, longest))
}
