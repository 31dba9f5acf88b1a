//! A chapter of the tour: a page that asks for each row's company one by one, over a network that takes its time. Once
//! through pgweir that only pools, as a pooler would, and once through pgweir that fetches ahead. The program is the same.

use std::time::{Duration, Instant};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, Table};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::relay::Relay;
use super::sample::explain;
use super::settings;
use super::timing::connect;
use super::upstream::Upstream;
use crate::coalesce::prefetch::level::Level;
use crate::coalesce::settings::CoalesceSettings;
use crate::proxy::{self, Running};

/// There, and as much back: two zones of a cloud.
const DELAY: Duration = Duration::from_millis(1);

/// Rows of a page; each asks for three more.
const ROWS: usize = 50;

/// For a catalog that is read.
const PATIENCE: Duration = Duration::from_secs(15);

/// Pages, each of other rows.
const VISITS: usize = 6;

/// One page: what a template of a web application would touch.
const MESSAGES: &str = "SELECT id, conversation_id, user_id, created_at FROM messages \
                        WHERE id > {} ORDER BY id LIMIT 50";
const CONVERSATION: &str = "SELECT id, subject FROM conversations WHERE id = {}";
const AUTHOR: &str = "SELECT id, full_name, organization_id FROM users WHERE id = {}";
const ORGANIZATION: &str = "SELECT id, name, plan FROM organizations WHERE id = {}";

/// Statements on the page's tables that the server has executed so far.
const EXECUTED: &str = "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements \
     WHERE query ~ 'FROM (messages|conversations|users|organizations)' AND query !~ 'pg_stat_statements'";

/// What one visit of the page came to.
struct Visit {
    answers: Vec<Vec<Option<String>>>,
    took: Duration,
    /// `None`: the server has no pg_stat_statements.
    executed: Option<i64>,
}

/// Plays both ways and returns the chapter's text.
///
/// # Errors
/// A sentence when something fails, or when both ways did not answer alike.
pub async fn chapter(upstream: &Upstream) -> Result<String, String> {
    let relay = Relay::start((upstream.host.clone(), upstream.port), DELAY)
        .map_err(|error| format!("cannot start a relay: {error}"))?;
    let watcher = upstream.connect(&upstream.database, "pgweir-demo-watcher").await?;
    let pooling = CoalesceSettings { enabled: false, ..Default::default() };
    let fetching = CoalesceSettings { default: Some(Level::Fenced), ..Default::default() };
    let pooled = visits(upstream, &relay, &watcher, pooling).await?;
    let fetched = visits(upstream, &relay, &watcher, fetching).await?;
    for (number, (pooled, fetched)) in pooled.iter().zip(&fetched).enumerate() {
        if pooled.answers != fetched.answers {
            return Err(format!(
                "page {} was answered in two ways; please tell pgweir's authors",
                number + 1
            ));
        }
    }
    Ok(format!(
        "A page of {ROWS} messages, each with its conversation, its author and the author's organization:\n\
         {} queries, one after the other, over a network that takes {} ms there and back.\n\
         The same program, and the same answers, through pgweir that only pools and through pgweir that fetches\n\
         ahead (rules: coalesce: {{default: {{level: fenced}}}}):\n\n{}",
        1 + 3 * ROWS,
        2 * DELAY.as_millis(),
        table(&pooled, &fetched)
    ))
}

async fn visits(
    upstream: &Upstream,
    relay: &Relay,
    watcher: &Client,
    coalesce: CoalesceSettings,
) -> Result<Vec<Visit>, String> {
    let far =
        Upstream { host: relay.address.ip().to_string(), port: relay.address.port(), ..upstream.clone() };
    let any = ([127, 0, 0, 1], 0).into();
    let mut settings = settings::for_tour(&far, any, any);
    settings.rules.coalesce = coalesce;
    let running = proxy::start(settings)?;
    let visits = visit_all(upstream, &running, watcher).await;
    running.shutdown();
    running.wait();
    visits
}

async fn visit_all(upstream: &Upstream, running: &Running, watcher: &Client) -> Result<Vec<Visit>, String> {
    let name = "pgweir-demo-pages";
    let client = connect(&upstream.through(running.listen, name), name).await?;
    wait_for_catalog(&client, running, &upstream.database).await?;
    let mut visits = Vec::new();
    for number in 0..VISITS {
        let before = executed(watcher).await;
        let begun = Instant::now();
        let answers = load_page(&client, number * ROWS).await?;
        let took = begun.elapsed();
        let executed = executed(watcher).await.zip(before).map(|(after, before)| after - before);
        visits.push(Visit { answers, took, executed });
    }
    Ok(visits)
}

/// pgweir reads it soon after the first statement; a page before that teaches it nothing.
async fn wait_for_catalog(client: &Client, running: &Running, database: &str) -> Result<(), String> {
    let begun = Instant::now();
    while !running.has_read(database) {
        if begun.elapsed() > PATIENCE {
            return Err("pgweir did not read the catalog; please tell its authors".to_owned());
        }
        client.simple_query("SELECT 1").await.map_err(|error| explain(&error))?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn executed(watcher: &Client) -> Option<i64> {
    watcher.query_one(EXECUTED, &[]).await.ok().map(|row| row.get(0))
}

/// All rows that came, in their order.
async fn load_page(client: &Client, after: usize) -> Result<Vec<Vec<Option<String>>>, String> {
    let messages = rows(client, MESSAGES, &after.to_string()).await?;
    let mut all = messages.clone();
    for message in &messages {
        all.extend(rows(client, CONVERSATION, cell(message, 1)).await?);
        let author = rows(client, AUTHOR, cell(message, 2)).await?;
        for author in &author {
            all.extend(rows(client, ORGANIZATION, cell(author, 2)).await?);
        }
        all.extend(author);
    }
    Ok(all)
}

fn cell(row: &[Option<String>], column: usize) -> &str {
    row.get(column).and_then(Option::as_deref).unwrap_or("NULL")
}

async fn rows(client: &Client, query: &str, value: &str) -> Result<Vec<Vec<Option<String>>>, String> {
    let messages = client.simple_query(&query.replace("{}", value)).await.map_err(|error| explain(&error))?;
    let texts = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
        }
        _ => None,
    });
    Ok(texts.collect())
}

fn table(pooled: &[Visit], fetched: &[Visit]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header([
        "page",
        "pooling: queries",
        "time",
        "pgweir: queries",
        "time",
        "",
    ]);
    let queries = |visit: &Visit| visit.executed.map_or("-".to_owned(), |count| count.to_string());
    let ms = |visit: &Visit| format!("{:.1} ms", visit.took.as_secs_f64() * 1e3);
    for (number, (pooled, fetched)) in pooled.iter().zip(fetched).enumerate() {
        let change = (fetched.took.as_secs_f64() / pooled.took.as_secs_f64() - 1.0) * 100.0;
        let row = [(number + 1).to_string(), queries(pooled), ms(pooled), queries(fetched), ms(fetched)];
        let row = row.into_iter().chain([format!("{change:+.0} %")]);
        table.add_row(row.map(|text| Cell::new(text).set_alignment(CellAlignment::Right)));
    }
    table.trim_fmt() + "\n"
}
