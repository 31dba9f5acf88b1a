//! `pgweir advise`: index advice from a running pgweir, or offline from a log and a database. Asks and prints;
//! what is advised is decided in `advise`.

mod print;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use crate::auth::credential::{Learned, ServerLogin};
use crate::cli::ask::Ask;
use crate::config::{self, Size};
use crate::maintain::index::gather::{self, Shape};
use crate::maintain::index::{self, Outcome, slow};
use crate::pool::connector::Connector;
use crate::probe::{Probe, ProbeSettings, Target};

/// Advise indexes for the statements that were observed.
///
/// Asks a running pgweir, which makes advice from all that it has seen. With --database-url, no pgweir has to
/// run: the database is asked directly, and the statements come from slow-query logs (--log), from files of SQL
/// (--sql), or, without either, from the running pgweir's ledger. Nothing is created, and no statement is
/// executed: PostgreSQL plans them, with indexes that are not there if the extension hypopg is installed.
#[derive(Args)]
#[command(after_help = "Examples:\n  pgweir advise\n  pgweir advise --budget 2GB --json\n  \
                  pgweir advise --log slow.jsonl --database-url postgres://app:secret@db/shop\n  \
                  pgweir advise --sql report.sql --database-url postgres://app:secret@db/shop")]
pub struct Advise {
    #[command(flatten)]
    ask: Ask,
    /// All suggested indexes together are no larger. Default: indexes.budget_mb of the rules.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    budget: Option<u64>,
    /// Only this database.
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Show what was advised last, and do not look again.
    #[arg(long, conflicts_with_all = ["budget", "database_url"])]
    last: bool,
    /// The database to ask, as postgres://user:password@host:port/database.
    ///
    /// A password on the command line can be seen by other users of the machine; the environment variable
    /// PGWEIR_DATABASE_URL, or PGPASSWORD for the password alone, cannot.
    #[arg(long, value_name = "URL", env = "PGWEIR_DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// A file of the slow-query log; may be given several times.
    #[arg(long, value_name = "FILE", requires = "database_url")]
    log: Vec<PathBuf>,
    /// A file of SQL whose statements count one call each; may be given several times.
    #[arg(long, value_name = "FILE", requires = "database_url")]
    sql: Vec<PathBuf>,
    /// The rules that hold with --database-url.
    #[arg(long, value_name = "DIR", requires = "database_url")]
    rules: Option<PathBuf>,
    /// Say of every statement why it gets no index.
    #[arg(long)]
    notes: bool,
}

/// A size such as 2GB, as the settings write them.
fn size(text: &str) -> Result<u64, String> {
    Size::parse(text).map(|Size(bytes)| bytes)
}

/// A file of SQL is a page or two.
const SQL_MAX: u64 = 16 * 1024 * 1024;

/// Making advice takes up to a minute for each of a few databases.
const PATIENCE: Duration = Duration::from_secs(300);

/// Between looks whether it is made.
const PAUSE: Duration = Duration::from_secs(1);

impl Advise {
    /// The text to print.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what to do.
    pub fn run(self) -> Result<String, String> {
        let answer = match &self.database_url {
            Some(url) => self.offline(url)?,
            None => self.online()?,
        };
        Ok(match self.ask.json {
            true => format!("{answer:#}\n"),
            false => print::text(&answer, self.notes),
        })
    }

    fn online(&self) -> Result<Value, String> {
        let mut parameters = vec![("fresh", (!self.last).to_string())];
        parameters.extend(self.database.iter().map(|name| ("database", name.clone())));
        // What is not a whole number of megabytes is rounded down, as a budget is a bound.
        parameters.extend(self.budget.map(|bytes| ("budget_mb", (bytes >> 20).to_string())));
        let mut answer = self.ask.get("/api/database/indexes", &parameters)?;
        let begun = Instant::now();
        parameters.retain(|(name, _)| *name == "database");
        while answer["making"] == true && begun.elapsed() < PATIENCE && !self.last {
            std::thread::sleep(PAUSE);
            answer = self.ask.get("/api/database/indexes", &parameters)?;
        }
        Ok(answer)
    }

    fn offline(&self, url: &str) -> Result<Value, String> {
        let (database, place, user, secret) = config::database_of(url)?;
        let mut settings = match &self.rules {
            None => config::Rules::default(),
            Some(folder) => config::load_rules(folder, std::path::Path::new("")).map_err(|mistakes| {
                mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
            })?,
        }
        .indexes;
        settings.budget_bytes = self.budget.unwrap_or(settings.budget_bytes);
        let (shapes, mut hints) = self.shapes()?;
        let statements = gather::statements(gather::merge(shapes));
        if statements.is_empty() {
            return Err("there is no statement to advise indexes for; is it the right file?".to_owned());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
        let _guard = runtime.enter();
        let target = Target {
            database: database.clone(),
            servers: place.servers.clone(),
            login: ServerLogin { user, secret: Some(secret), learned: Learned::default() },
            tls: Arc::new(Connector::new(&place.tls).map_err(|error| error.to_string())?),
            connect: place.pool.connect,
        };
        let wrong = |error: crate::probe::ProbeError| format!("{database} cannot be asked: {error}");
        let probe = Probe::new(target, &ProbeSettings::default()).map_err(wrong)?;
        let mut outcome = index::run(&runtime, &probe, &statements, &settings).map_err(wrong)?;
        outcome.belongs_to(&database);
        hints.append(&mut outcome.hints);
        Ok(view(&outcome, &hints, &database))
    }

    /// What is known of statements, and what is to be said of it.
    fn shapes(&self) -> Result<(Vec<Shape>, Vec<String>), String> {
        let (mut shapes, mut hints) = (Vec::new(), Vec::new());
        for path in &self.log {
            let (found, other) = slow::read(path, self.database.as_deref())?;
            if other > 0 {
                hints.push(format!("{}: {other} lines are none of a slow-query log", path.display()));
            }
            shapes.extend(found);
        }
        for path in &self.sql {
            let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            let length = std::fs::metadata(path).map_err(|error| wrong(&error))?.len();
            if length > SQL_MAX {
                return Err(wrong(&format!("it has more than {} MiB", SQL_MAX >> 20)));
            }
            let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
            shapes.extend(gather::from_sql(&text, &[]));
        }
        if self.log.is_empty() && self.sql.is_empty() {
            let mut parameters = vec![("limit", "10000".to_owned())];
            parameters.extend(self.database.iter().map(|name| ("database", name.clone())));
            let answer = self.ask.get("/api/database/queries", &parameters).map_err(|error| {
                format!(
                    "there are neither --log nor --sql, and no running pgweir to ask for its ledger: {error}"
                )
            })?;
            shapes.extend(answer["queries"].as_array().into_iter().flatten().filter_map(shape));
        }
        Ok((shapes, hints))
    }
}

/// A shape as the API tells it.
fn shape(query: &Value) -> Option<Shape> {
    let text = query["statement"].as_str()?.to_owned();
    Some(Shape {
        fingerprint: u64::from_str_radix(query["shape"].as_str()?, 16).ok()?,
        calls: query["calls"].as_u64()?,
        rows: query["rows"].as_u64().unwrap_or_default(),
        total_ms: query["server_ms"].as_f64().unwrap_or_default(),
        samples: query["parameters"]
            .as_str()
            .and_then(|values| gather::described(values, &text))
            .into_iter()
            .collect(),
        text,
        whole: Vec::new(),
    })
}

/// As the API has it.
fn view(outcome: &Outcome, hints: &[String], database: &str) -> Value {
    let advice = &outcome.advice;
    json!({
        "suggestions": advice.suggestions,
        "existing": outcome.existing,
        "history": [],
        "notes": advice.notes,
        "hints": hints,
        "databases": [{
            "database": database,
            "shapes": advice.shapes,
            "candidates": advice.candidates,
            "questions": outcome.questions,
            "took_ms": outcome.took_ms,
            "before_ms": advice.before_ms,
            "after_ms": advice.after_ms,
            "size_bytes": advice.size_bytes,
        }],
    })
}
