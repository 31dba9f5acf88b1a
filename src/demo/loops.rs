//! A chapter of the tour: a page as an ORM would load it, in a loop, and what pgweir says about it.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use super::sample::explain;
use crate::observe::findings::Finding;
use crate::observe::story;
use crate::proxy::Running;

/// The page's name towards the database.
const NAME: &str = "demo-page";

/// Rows on the page.
const PAGE: usize = 150;

/// pgweir judges a session's work when it rests or leaves; that takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// As Django writes them: values in the text, LIMIT 21 for a single object.
const PARENTS: &str = "SELECT \"emission_sources\".\"id\", \"emission_sources\".\"facility_id\", \
                       \"emission_sources\".\"name\" FROM \"emission_sources\" \
                       ORDER BY \"emission_sources\".\"updated_at\" DESC LIMIT 150";
const CHILD: &str = "SELECT \"facilities\".\"id\", \"facilities\".\"name\" FROM \"facilities\" \
                     WHERE \"facilities\".\"id\" = {} LIMIT 21";
const JOINED: &str = "SELECT \"emission_sources\".\"id\", \"emission_sources\".\"name\", \"facilities\".\"name\" \
                      FROM \"emission_sources\" INNER JOIN \"facilities\" \
                      ON (\"emission_sources\".\"facility_id\" = \"facilities\".\"id\") \
                      ORDER BY \"emission_sources\".\"updated_at\" DESC LIMIT 150";

/// Runs the loop through pgweir and returns the chapter's text.
///
/// # Errors
/// A sentence when a query fails or pgweir does not see the loop.
pub async fn chapter(pooled: &Config, running: &Running) -> Result<String, String> {
    // Once to warm caches, once to be measured; each page is a visit of its own.
    visit(pooled).await?;
    let (looped, joined) = visit(pooled).await?;
    let finding = find(running).await?;
    Ok(format!(
        "A page as an ORM loads it: one query for {PAGE} emission sources, then one for the facility of each.\n  \
         {} queries through pgweir took {:.1} ms; one query with the join that was meant takes {:.1} ms.\n\n\
         What pgweir says about it (pgweir report nplus1):\n\n{}",
        PAGE + 1,
        looped.as_secs_f64() * 1e3,
        joined.as_secs_f64() * 1e3,
        story::of(&[finding], 1)
    ))
}

/// Loads the page both ways on a connection of its own: how long the loop took, and the join.
async fn visit(pooled: &Config) -> Result<(Duration, Duration), String> {
    let mut pooled = pooled.clone();
    let (client, connection) =
        pooled.application_name(NAME).connect(NoTls).await.map_err(|error| explain(&error))?;
    let connection = tokio::spawn(connection);
    let looped = load_page(&client).await?;
    let begun = Instant::now();
    rows(&client, JOINED).await?;
    let joined = begun.elapsed();
    drop(client);
    // The connection's own task ends with its client, and then pgweir knows that too.
    let _ = connection.await;
    Ok((looped, joined))
}

async fn load_page(client: &Client) -> Result<Duration, String> {
    let begun = Instant::now();
    let parents = rows(client, PARENTS).await?;
    if parents.len() != PAGE {
        return Err(format!("the sample has {} emission sources on the page, not {PAGE}", parents.len()));
    }
    for facility in parents {
        rows(client, &CHILD.replace("{}", &facility)).await?;
    }
    Ok(begun.elapsed())
}

/// The second column of each row.
async fn rows(client: &Client, query: &str) -> Result<Vec<String>, String> {
    let messages = client.simple_query(query).await.map_err(|error| explain(&error))?;
    let second = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(1).map(str::to_owned),
        _ => None,
    });
    Ok(second.collect())
}

async fn find(running: &Running) -> Result<Finding, String> {
    let begun = Instant::now();
    loop {
        let found = running.findings().into_iter().find(|finding| finding.application == NAME);
        match found {
            Some(finding) => return Ok(finding),
            None if begun.elapsed() > PATIENCE => {
                return Err("pgweir did not report the loop; please tell its authors".to_owned());
            }
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
