//! A short mixed workload on the sample database, the same for every way to reach it. Measures what clients
//! see and how many server connections it took; knows nothing of what lies between.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, NoTls, Statement};

use super::sample::{CONVERSATIONS, EMISSION_SOURCES, EMISSIONS_DATA, USERS, explain};

/// A kind of application.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    pub name: &'static str,
    /// One line that says what these clients do.
    pub about: &'static str,
    pub clients: usize,
    /// Between two operations of a client, drawn from zero to twice this.
    pub pause: Duration,
    /// Connect and disconnect around every operation.
    pub reconnect: bool,
}

/// What the tour runs, in this order.
pub const WORKLOADS: [Workload; 3] = [
    Workload {
        name: "16 busy clients",
        about: "each sends its next operation as soon as the last one is answered",
        clients: 16,
        pause: Duration::ZERO,
        reconnect: false,
    },
    Workload {
        name: "150 ordinary clients",
        about: "each works for a moment and then pauses 100 ms on average, as web applications do",
        clients: 150,
        pause: Duration::from_millis(100),
        reconnect: false,
    },
    Workload {
        name: "16 short-lived clients",
        about: "each connects, does one operation and leaves, as scripts and functions do",
        clients: 16,
        pause: Duration::ZERO,
        reconnect: true,
    },
];

/// A way to the database. Its application name tells its server connections from those of the other way.
#[derive(Debug, Clone)]
pub struct Way {
    pub config: Config,
    /// Server connections that count as this way's: an SQL condition on pg_stat_activity.
    pub counted: &'static str,
}

pub const DIRECT_NAME: &str = "pgweir-demo-direct";
pub const POOLED_NAME: &str = "pgweir-demo-pooled";

/// What one run of a workload came to.
#[derive(Debug, Default)]
pub struct Outcome {
    pub elapsed: Duration,
    /// One per completed operation, in microseconds; with `reconnect` it includes connecting.
    pub latencies_us: Vec<u64>,
    /// The most that pg_stat_activity showed at once.
    pub server_connections: i64,
    /// By message, so that a report can say what went wrong.
    pub errors: BTreeMap<String, u64>,
}

impl Outcome {
    /// How many operations or connections failed.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Adds another run of the same workload over the same way.
    pub fn merge(&mut self, other: Outcome) {
        self.elapsed += other.elapsed;
        self.latencies_us.extend(other.latencies_us);
        self.server_connections = self.server_connections.max(other.server_connections);
        for (message, count) in other.errors {
            *self.errors.entry(message).or_default() += count;
        }
    }
}

/// Runs one workload for `duration`. `watcher` is a connection of its own, straight to the server.
pub async fn run(
    workload: Workload,
    way: &Way,
    watcher: &Client,
    duration: Duration,
) -> Result<Outcome, String> {
    let mut outcome = Outcome::default();
    let connections = if workload.reconnect {
        (0..workload.clients).map(|_| None).collect()
    } else {
        connect_all(workload, way, &mut outcome).await
    };
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for (number, connection) in connections.into_iter().enumerate() {
        let config = way.config.clone();
        let random = StdRng::seed_from_u64(number as u64);
        let end = begun + duration;
        clients.spawn(drive(workload, config, connection, random, end));
    }
    while !clients.is_empty() {
        outcome.server_connections = outcome.server_connections.max(count(watcher, way).await?);
        let tick = tokio::time::sleep(Duration::from_millis(100));
        tokio::pin!(tick);
        loop {
            tokio::select! {
                done = clients.join_next() => match done {
                    Some(Ok(part)) => outcome.merge(part),
                    Some(Err(e)) => return Err(format!("a client of the workload failed: {e}")),
                    None => break,
                },
                () = &mut tick => break,
            }
        }
    }
    outcome.elapsed = begun.elapsed();
    Ok(outcome)
}

async fn count(watcher: &Client, way: &Way) -> Result<i64, String> {
    let query = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
         AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND {}",
        way.counted
    );
    let rows = watcher.query(&query, &[]).await;
    let rows = rows.map_err(|e| format!("counting server connections: {}", explain(&e)))?;
    Ok(rows.first().map_or(0, |row| row.get(0)))
}

/// One connected client with its statements prepared, as drivers keep them.
struct Connection {
    client: Client,
    statements: Vec<Statement>,
}

async fn connect_all(workload: Workload, way: &Way, outcome: &mut Outcome) -> Vec<Option<Connection>> {
    let mut opening = JoinSet::new();
    for _ in 0..workload.clients {
        let config = way.config.clone();
        opening.spawn(async move {
            let client = open(&config).await?;
            let mut statements = Vec::new();
            for (sql, _) in Operation::SQL {
                statements.push(client.prepare(sql).await.map_err(|e| explain(&e))?);
            }
            Ok::<_, String>(Connection { client, statements })
        });
    }
    let mut connections = Vec::new();
    while let Some(done) = opening.join_next().await {
        match done.unwrap_or_else(|e| Err(e.to_string())) {
            Ok(connection) => connections.push(Some(connection)),
            Err(message) => *outcome.errors.entry(message).or_default() += 1,
        }
    }
    connections
}

async fn open(config: &Config) -> Result<Client, String> {
    let (client, connection) = config.connect(NoTls).await.map_err(|e| explain(&e))?;
    tokio::spawn(connection);
    Ok(client)
}

/// One client until `end`. Stops at an error that ends its connection.
async fn drive(
    workload: Workload,
    config: Config,
    mut connection: Option<Connection>,
    mut random: StdRng,
    end: Instant,
) -> Outcome {
    let mut outcome = Outcome::default();
    loop {
        if !workload.pause.is_zero() {
            let longest = workload.pause.as_micros() as u64 * 2;
            let pause = Duration::from_micros(random.random_range(0..=longest));
            tokio::time::sleep(pause).await;
        }
        let begun = Instant::now();
        if begun >= end {
            return outcome;
        }
        let operation = Operation::draw(&mut random);
        let done = match &mut connection {
            Some(connection) => operation.run(connection).await,
            None => operation.run_alone(&config).await,
        };
        match done {
            Ok(()) => outcome.latencies_us.push(begun.elapsed().as_micros() as u64),
            Err(message) => *outcome.errors.entry(message).or_default() += 1,
        }
        if connection.as_ref().is_some_and(|c| c.client.is_closed()) {
            return outcome;
        }
    }
}

/// One thing an application does: 60 % point reads, 20 % range reads, 10 % inserts, 10 % transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Point { reading: i64 },
    Range { source: i64, days_ago: i32 },
    Insert { conversation: i64, user: i64 },
    Transaction { source: i64, user: i64 },
}

impl Operation {
    /// The statements with the types of their parameters.
    const SQL: [(&str, &[Type]); 5] = [
        (
            "SELECT recorded_at::text, quantity, co2e_kg, quality FROM emissions_data WHERE id = $1",
            &[Type::INT8],
        ),
        (
            "SELECT count(*), sum(co2e_kg) FROM emissions_data WHERE emission_source_id = $1 \
             AND recorded_at BETWEEN current_date - $2::int - 30 AND current_date - $2::int",
            &[Type::INT8, Type::INT4],
        ),
        (
            "INSERT INTO messages (conversation_id, user_id, body) VALUES ($1, $2, 'Thank you, noted.')",
            &[Type::INT8, Type::INT8],
        ),
        ("UPDATE emission_sources SET updated_at = now() WHERE id = $1", &[Type::INT8]),
        (
            "INSERT INTO security_audit_logs (organization_id, user_id, action) \
             SELECT organization_id, id, 'source_change' FROM users WHERE id = $1",
            &[Type::INT8],
        ),
    ];

    fn draw(random: &mut StdRng) -> Operation {
        let mut key = |rows: i64| random.random_range(1..=rows);
        let (reading, source) = (key(EMISSIONS_DATA), key(EMISSION_SOURCES));
        let (conversation, user) = (key(CONVERSATIONS), key(USERS));
        match random.random_range(0..10) {
            0..6 => Operation::Point { reading },
            6..8 => Operation::Range { source, days_ago: random.random_range(0..1400) },
            8 => Operation::Insert { conversation, user },
            _ => Operation::Transaction { source, user },
        }
    }

    async fn run(self, connection: &mut Connection) -> Result<(), String> {
        let Connection { client, statements } = connection;
        let done = match &self {
            Operation::Point { reading } => client.query(&statements[0], &[reading]).await.map(drop),
            Operation::Range { source, days_ago } => {
                client.query(&statements[1], &[source, days_ago]).await.map(drop)
            }
            Operation::Insert { conversation, user } => {
                client.execute(&statements[2], &[conversation, user]).await.map(drop)
            }
            Operation::Transaction { source, user } => {
                change(client, &statements[3], source, &statements[4], user).await
            }
        };
        done.map_err(|e| explain(&e))
    }

    /// On a connection of its own, without preparing: one statement is all it is for.
    async fn run_alone(self, config: &Config) -> Result<(), String> {
        let client = open(config).await?;
        let (at, first, second): (usize, i64, Option<i64>) = match self {
            Operation::Point { reading } => (0, reading, None),
            Operation::Range { source, days_ago } => {
                let (sql, types) = Self::SQL[1];
                let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
                    [(&source, types[0].clone()), (&days_ago, types[1].clone())];
                let done = client.query_typed(sql, &parameters).await;
                return done.map(drop).map_err(|e| explain(&e));
            }
            Operation::Insert { conversation, user } => (2, conversation, Some(user)),
            Operation::Transaction { source, .. } => (3, source, None),
        };
        let sql = Self::SQL[at].0;
        let mut parameters: Vec<(&(dyn tokio_postgres::types::ToSql + Sync), Type)> =
            vec![(&first, Type::INT8)];
        parameters.extend(second.iter().map(|value| (value as _, Type::INT8)));
        let done = client.query_typed(sql, &parameters).await;
        done.map(drop).map_err(|e| explain(&e))
    }
}

async fn change(
    client: &mut Client,
    update: &Statement,
    source: &i64,
    log: &Statement,
    user: &i64,
) -> Result<(), tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    transaction.execute(update, &[source]).await?;
    transaction.execute(log, &[user]).await?;
    transaction.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mixture_is_as_documented() {
        let mut random = StdRng::seed_from_u64(1);
        let mut counts = [0; 4];
        for _ in 0..10_000 {
            counts[match Operation::draw(&mut random) {
                Operation::Point { .. } => 0,
                Operation::Range { .. } => 1,
                Operation::Insert { .. } => 2,
                Operation::Transaction { .. } => 3,
            }] += 1;
        }
        let [point, range, insert, transaction] = counts;
        assert!((5800..6200).contains(&point), "{counts:?}");
        assert!((1800..2200).contains(&range), "{counts:?}");
        assert!((850..1150).contains(&insert), "{counts:?}");
        assert!((850..1150).contains(&transaction), "{counts:?}");
    }

    #[test]
    fn runs_add_up() {
        let run = |latency, connections| Outcome {
            elapsed: Duration::from_secs(1),
            latencies_us: vec![latency],
            server_connections: connections,
            errors: [("no".to_owned(), 2)].into(),
        };
        let mut sum = run(5, 3);
        sum.merge(run(7, 2));
        assert_eq!(sum.elapsed, Duration::from_secs(2));
        assert_eq!(sum.latencies_us, [5, 7]);
        assert_eq!(sum.server_connections, 3);
        assert_eq!(sum.errors["no"], 4);
    }
}
