//! `pgweir report nplus1`: the loops that were found, as a person reads them.

use std::fmt::Write;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::readable;
use crate::cli::ask::Ask;

/// Loops of statements that one statement could replace, and where their values came from.
///
/// `proved` means that the values were those of a column of an earlier result, row by row; `nested` and
/// `interleaved` are proved too. `counted` loops repeat with different values of unknown origin.
/// Nothing is rewritten.
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

impl NPlusOne {
    pub fn run(self) -> Result<String, String> {
        let mut parameters = vec![("limit", self.limit.to_string())];
        parameters.extend(self.database.map(|database| ("database", database)));
        let answer = self.ask.get("/api/database/nplus1", &parameters)?;
        let text = if self.ask.json { format!("{answer:#}\n") } else { describe(&answer) };
        let findings = answer["findings"].as_array().map_or(&[][..], Vec::as_slice);
        let failing = findings.iter().filter(|finding| match self.fail_on {
            None => false,
            Some(FailOn::Proved) => finding["proved"] == true,
            Some(FailOn::Any) => true,
        });
        match failing.count() {
            0 => Ok(text),
            n => Err(format!("{text}\n{n} of the findings fail --fail-on")),
        }
    }
}

fn describe(answer: &Value) -> String {
    let findings = answer["findings"].as_array().map_or(&[][..], Vec::as_slice);
    if findings.is_empty() {
        return "no loop was found so far\n".to_owned();
    }
    let mut text = String::new();
    for finding in findings {
        // Writing to a string cannot fail.
        let _ = write_one(&mut text, finding);
    }
    let _ = writeln!(text, "{} of {} findings. Nothing was rewritten.", findings.len(), answer["found"]);
    text
}

fn write_one(text: &mut String, finding: &Value) -> std::fmt::Result {
    let word = |key: &str| finding[key].as_str().unwrap_or_default();
    let number = |key: &str| finding[key].as_u64().unwrap_or(0);
    let time = |key: &str| readable(finding[key].as_f64().unwrap_or(0.0));
    let who = match word("application") {
        "" => format!("{}/{}", word("database"), word("user")),
        application => format!("{}/{} ({application})", word("database"), word("user")),
    };
    writeln!(text, "{}  {}  {who}", word("id"), word("class").to_uppercase())?;
    writeln!(
        text,
        "  {} times at the last, {} at most; {} episodes, {} statements in all",
        number("last_n"),
        number("max_n"),
        number("episodes"),
        number("total_n")
    )?;
    writeln!(text, "  {} ms; one statement each time: about {} ms", time("time_ms"), time("one_query_ms"))?;
    if let Some(parent) = finding["parent"].as_str() {
        writeln!(text, "  for each  {} of  {parent}", word("column"))?;
    }
    writeln!(text, "  repeated  {}", word("statement"))?;
    if let Some(remedy) = finding["remedy"].as_str() {
        writeln!(text, "  remedy    {remedy}  ({})", word("library"))?;
    }
    writeln!(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_reads_as_a_story() {
        let finding = serde_json::json!({"id": "np-1", "class": "proved", "proved": true, "database": "app",
            "user": "me", "application": "web", "statement": "select a", "parent": "select b",
            "column": "author_id", "episodes": 2, "last_n": 50, "max_n": 60, "total_n": 110,
            "time_ms": 12.5, "one_query_ms": 0.25});
        let text = describe(&serde_json::json!({"found": 1, "findings": [finding]}));
        assert!(text.contains("np-1  PROVED  app/me (web)"), "{text}");
        assert!(text.contains("for each  author_id of  select b\n  repeated  select a"), "{text}");
        assert!(describe(&serde_json::json!({})).contains("no loop"));
    }
}
