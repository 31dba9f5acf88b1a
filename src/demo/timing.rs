//! Times of one statement with ever other values, as the chapters of the tour tell them.

use std::fmt;
use std::time::Instant;

use tokio_postgres::{Client, Config, NoTls};

use super::sample::explain;

/// The median, in milliseconds.
pub struct Timing(f64);

impl Timing {
    /// Asks `calls` times, one after the other.
    ///
    /// # Errors
    /// A sentence when a query fails.
    pub async fn of(
        client: &Client,
        calls: usize,
        statement: impl Fn(usize) -> String,
    ) -> Result<Timing, String> {
        let mut times = Vec::with_capacity(calls);
        for number in 0..calls {
            let begun = Instant::now();
            client.simple_query(&statement(number)).await.map_err(|error| explain(&error))?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        Ok(Timing(times.get(calls / 2).copied().unwrap_or(0.0)))
    }

    /// How much more or less it takes than before.
    pub fn beside(&self, before: &Timing) -> String {
        format!("{:+.0} %", (self.0 / before.0 - 1.0) * 100.0)
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "median {:.2} ms", self.0)
    }
}

/// A connection under a name of its own; gone when the client is dropped.
///
/// # Errors
/// A sentence when it cannot be made.
pub async fn connect(way: &Config, name: &str) -> Result<Client, String> {
    let mut config = way.clone();
    let (client, connection) =
        config.application_name(name).connect(NoTls).await.map_err(|error| explain(&error))?;
    tokio::spawn(connection);
    Ok(client)
}
