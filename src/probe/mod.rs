//! pgweir's own questions to a database: a few connections of its own, with short timeouts, that change
//! nothing. Knows how to ask and what to make of the answers; when to ask, the shell decides.

pub mod building;
mod carrier;
pub mod catalog;
mod code;
mod columns;
pub mod dedicated;
mod details;
mod effects;
pub mod explain;
mod plan;
pub mod state;
mod tables;
mod times;
pub mod trial;

use std::error::Error as _;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
};

use self::explain::Explain;
use crate::auth::credential::ServerLogin;
use crate::catalog::Catalog;
use crate::observe::state::Saved;
use crate::pool::connector::Connector;
use crate::pool::server::ServerError;
use crate::pool::settings::ServerAddress;

/// How pgweir asks questions of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSettings {
    /// Default true. Without it the catalog is not known.
    pub enabled: bool,
    /// One of `users`, whose password is known. `None`: one of those who use the database.
    pub user: Option<String>,
    /// The catalog is read again after this, and when the schema was changed through pgweir. Default 5 min.
    pub refresh: Duration,
    /// No question of pgweir's takes longer. Default 5 s.
    pub statement_timeout: Duration,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        ProbeSettings {
            enabled: true,
            user: None,
            refresh: Duration::from_secs(300),
            statement_timeout: Duration::from_secs(5),
        }
    }
}

/// Connections to one database: one for the catalog, one for what is asked meanwhile. They count against the
/// server's `max_connections`.
const CONNECTIONS_MAX: usize = 2;

/// Connections that were not used for so long are closed.
pub const IDLE_MAX: Duration = Duration::from_secs(30);

/// Whoever wants a connection waits so long for another question to end.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A table that somebody alters is not waited for any longer.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// The catalog takes a dozen questions, of which few take any time.
const CATALOG_TIMES: u32 = 3;

/// A plan that is measured takes three questions, of which the first is asked with a few small ones.
const EXPLAIN_TIMES: u32 = 4;

/// A server that does not heed its own timeout is left after this much more.
const GRACE: Duration = Duration::from_secs(2);

/// What pgweir's own connections are called in `pg_stat_activity`.
pub const APPLICATION_NAME: &str = "pgweir probe";

/// Whom to ask.
#[derive(Clone)]
pub struct Target {
    /// The name on the server.
    pub database: String,
    /// Tried in order.
    pub servers: Vec<ServerAddress>,
    pub login: ServerLogin,
    pub tls: Arc<Connector>,
    /// How long opening a connection may take, login included.
    pub connect: Duration,
}

/// Why there is no answer. The text holds no value of any statement.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProbeError {
    #[error("{0}")]
    Connect(#[from] ServerError),
    #[error("{message} (SQLSTATE {sqlstate})")]
    Refused { sqlstate: String, message: String },
    #[error("the connection was lost: {0}")]
    Lost(String),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("pgweir asks too much at once")]
    Busy,
    #[error("{0}")]
    NoLogin(String),
    /// What was asked cannot be answered, whatever the server says.
    #[error("{0}")]
    Unfit(String),
}

impl ProbeError {
    /// A few words that stand for it in a metric.
    pub fn kind(&self) -> &'static str {
        match self {
            ProbeError::Connect(ServerError::Credential(_)) | ProbeError::NoLogin(_) => "credential",
            ProbeError::Connect(ServerError::Refused { .. }) => "login_refused",
            ProbeError::Connect(_) => "unreachable",
            ProbeError::Refused { sqlstate, .. } if sqlstate == "42501" => "permission",
            ProbeError::Refused { sqlstate, .. } if matches!(sqlstate.as_str(), "55P03" | "57014") => {
                "timeout"
            }
            ProbeError::Refused { .. } => "refused",
            ProbeError::Lost(_) => "lost",
            ProbeError::TimedOut(_) => "timeout",
            ProbeError::Busy => "busy",
            ProbeError::Unfit(_) => "unfit",
        }
    }

    /// The SQLSTATE, where the server gave one to a question.
    fn sqlstate(&self) -> Option<&str> {
        match self {
            ProbeError::Refused { sqlstate, .. } => Some(sqlstate),
            _ => None,
        }
    }
}

impl From<tokio_postgres::Error> for ProbeError {
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(said) = error.as_db_error() {
            let (sqlstate, message) = (said.code().code().to_owned(), said.message().to_owned());
            return ProbeError::Refused { sqlstate, message };
        }
        // A login that failed comes wrapped, see `carrier`.
        let inner = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
        match inner.and_then(|io| io.get_ref()).and_then(|inner| inner.downcast_ref::<ServerError>()) {
            Some(login) => ProbeError::Connect(login.clone()),
            None => {
                let cause = error.source().map_or_else(String::new, |source| format!(": {source}"));
                ProbeError::Lost(format!("{error}{cause}"))
            }
        }
    }
}

/// The connections to one database.
pub struct Probe {
    pool: Pool,
    connect: Duration,
    timeout: Duration,
    role: String,
}

impl Probe {
    /// Opens nothing yet.
    ///
    /// # Errors
    /// `Unfit`, which cannot happen with these settings.
    pub fn new(target: Target, settings: &ProbeSettings) -> Result<Probe, ProbeError> {
        let (connect, timeout) = (target.connect, settings.statement_timeout);
        let role = target.login.user.clone();
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let carrier = carrier::Carrier::new(target, &startup(timeout));
        let manager = Manager::from_connect(carrier.config(), carrier, config);
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS_MAX)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(WAIT_MAX))
            .create_timeout(Some(connect))
            .build()
            .map_err(|error| ProbeError::Unfit(error.to_string()))?;
        Ok(Probe { pool, connect, timeout, role })
    }

    /// The user on the server.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The whole catalog, as this user may see it.
    ///
    /// # Errors
    /// There is no connection, or the server was busy with other things; what is only forbidden becomes a note.
    pub async fn catalog(&self) -> Result<Catalog, ProbeError> {
        let mut client = self.client().await?;
        let answer = self.within(CATALOG_TIMES, catalog::read(&mut client)).await;
        settle(client, answer)
    }

    /// PostgreSQL's plan of a statement, as JSON.
    ///
    /// # Errors
    /// There is no connection, or the server has no plan for it, which is `Refused` or `Unfit`.
    pub async fn explain(&self, question: &Explain) -> Result<String, ProbeError> {
        let mut client = self.client().await?;
        let each = question.timeout.unwrap_or(self.timeout);
        let answer = within(each * EXPLAIN_TIMES + GRACE, explain::plan(&mut client, question)).await;
        settle(client, answer)
    }

    /// PostgreSQL's processes at this moment, by number. One that is missing has ended, and so has whatever it was
    /// asked to do: a backend leaves the list after its transaction is over.
    ///
    /// # Errors
    /// There is no connection, or the server was busy with other things.
    pub async fn backends(&self) -> Result<Vec<i32>, ProbeError> {
        let client = self.client().await?;
        let question = "SELECT pid FROM pg_catalog.pg_stat_activity WHERE pid IS NOT NULL";
        let asked = async { Ok(client.query(question, &[]).await?) };
        let rows = self.within(1, asked).await;
        let numbers = rows.and_then(|rows| rows.iter().map(|row| catalog::get(row, 0)).collect());
        settle(client, numbers)
    }

    /// Keeps ledger and findings in a schema of this database, see [`state::save`].
    pub async fn save(&self, place: &state::Place, saved: &Saved) -> Result<u64, ProbeError> {
        let mut client = self.client().await?;
        let answer = self.within(2, state::save(&mut client, place, saved)).await;
        settle(client, answer)
    }

    /// What was kept there, see [`state::load`].
    pub async fn load(&self, place: &state::Place) -> Result<Saved, ProbeError> {
        let mut client = self.client().await?;
        let answer = self.within(2, state::load(&mut client, place)).await;
        settle(client, answer)
    }

    async fn client(&self) -> Result<Object, ProbeError> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => error.into(),
            PoolError::Timeout(TimeoutType::Wait) => ProbeError::Busy,
            PoolError::Timeout(_) => ProbeError::TimedOut(self.connect),
            other => ProbeError::Unfit(other.to_string()),
        })
    }

    /// Work of a few questions takes no longer than so many times the statement timeout.
    async fn within<T>(
        &self,
        times: u32,
        work: impl Future<Output = Result<T, ProbeError>>,
    ) -> Result<T, ProbeError> {
        within(self.timeout * times + GRACE, work).await
    }

    /// Closes what was not used for so long.
    pub fn close_idle(&self, unused: Duration) {
        self.pool.retain(|_, metrics| metrics.last_used() < unused);
    }

    /// No connection is open.
    pub fn is_idle(&self) -> bool {
        self.pool.status().size == 0
    }
}

async fn within<T>(
    bound: Duration,
    work: impl Future<Output = Result<T, ProbeError>>,
) -> Result<T, ProbeError> {
    tokio::time::timeout(bound, work).await.unwrap_or(Err(ProbeError::TimedOut(bound)))
}

/// A connection that an error came by is closed: it may be within a transaction, and another costs little.
fn settle<T>(client: Object, answer: Result<T, ProbeError>) -> Result<T, ProbeError> {
    if answer.is_err() {
        drop(Object::take(client));
    }
    answer
}

/// What each connection says of itself when it starts.
fn startup(timeout: Duration) -> [(&'static str, String); 6] {
    let ms = |duration: Duration| duration.as_millis().max(1).to_string();
    [
        ("client_encoding", "UTF8".to_owned()),
        ("application_name", APPLICATION_NAME.to_owned()),
        ("default_transaction_read_only", "on".to_owned()),
        ("statement_timeout", ms(timeout)),
        ("lock_timeout", ms(LOCK_TIMEOUT.min(timeout))),
        ("idle_in_transaction_session_timeout", ms(timeout + GRACE)),
    ]
}

/// A name as SQL writes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
