//! `pgweir report nplus1`: the loops that were found, as a person reads them.

use crate::cli::ask::Ask;
use crate::observe::findings::Finding;
use crate::observe::story;
use clap::{Args, ValueEnum};

/// Loops of statements that one statement could replace, and where their values came from.
///
/// `proved` means that the values were those of a column of an earlier result, row by row; `nested` and
/// `interleaved` are proved too. `counted` loops repeat with different values of unknown origin.
/// The rule that is shown has pgweir fetch such a loop at once.
#[derive(Args)]
#[command(after_help = "Examples:\n  pgweir report nplus1\n  pgweir report nplus1 --fail-on proved   \
                        # exit code 1 if there is one: for an application's CI")]
pub struct NPlusOne {
    #[command(flatten)]
    ask: Ask,
    /// How many findings, the costliest first.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Only this database.
    #[arg(long)]
    database: Option<String>,
    /// Exit with 1 when there is a finding of this kind.
    #[arg(long, value_enum)]
    fail_on: Option<FailOn>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Loops whose parent is known.
    Proved,
    /// Any finding.
    Any,
}

/// More than pgweir keeps.
const ALL: usize = 10_000;

impl NPlusOne {
    pub fn run(self) -> Result<String, String> {
        // Whether to fail is decided by all of them, shown or not.
        let limit = if self.fail_on.is_some() { ALL } else { self.limit };
        let mut parameters = vec![("limit", limit.to_string())];
        parameters.extend(self.database.map(|database| ("database", database)));
        let mut answer = self.ask.get("/api/database/nplus1", &parameters)?;
        let found = answer["found"].as_u64().unwrap_or(0);
        let findings: Vec<Finding> = serde_json::from_value(answer["findings"].take())
            .map_err(|error| format!("the answer is of another version of pgweir: {error}"))?;
        let shown = &findings[..findings.len().min(self.limit)];
        let text = match self.ask.json {
            true => format!("{:#}\n", serde_json::json!({"found": found, "findings": shown})),
            false => story::of(shown, found),
        };
        let fails = |finding: &&Finding| match self.fail_on {
            None => false,
            Some(FailOn::Proved) => finding.proved,
            Some(FailOn::Any) => true,
        };
        match findings.iter().filter(fails).count() {
            0 => Ok(text),
            n => Err(format!("{text}\n{n} of the findings fail --fail-on")),
        }
    }
}
