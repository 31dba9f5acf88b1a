//! `pgweir indexes`: has a running pgweir build what it advises, or take it away, and says how it goes. Asks and
//! prints; decides nothing.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::ask::Ask;

/// Build advised indexes, take them away, and see what came of them.
#[derive(Subcommand)]
pub enum Indexes {
    Apply(Apply),
    Drop(Drop),
    History(History),
}

/// Build an index that is advised, by its id.
///
/// It is built CONCURRENTLY: the application goes on reading and writing. A lock that somebody holds is waited
/// for 2 s at a time, and nothing invalid is left behind. Afterwards the measured times of the shapes that it
/// was to help are compared with those before (pgweir indexes history). Ctrl-C ends the watching, not the build.
#[derive(Args)]
pub struct Apply {
    #[command(flatten)]
    ask: Ask,
    /// As `pgweir advise` prints it.
    id: String,
}

/// Take away an index that was built on command, by its id.
#[derive(Args)]
pub struct Drop {
    #[command(flatten)]
    ask: Ask,
    /// As `pgweir indexes history` prints it.
    id: String,
}

/// What was built and taken away since pgweir was started, and what came of it.
#[derive(Args)]
pub struct History {
    #[command(flatten)]
    ask: Ask,
}

/// Between looks at how far it is.
const PAUSE: Duration = Duration::from_secs(1);

impl Indexes {
    /// The text to print.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what to do.
    pub fn run(self) -> Result<String, String> {
        match self {
            Indexes::Apply(apply) => act(&apply.ask, &apply.id, "apply"),
            Indexes::Drop(drop) => act(&drop.ask, &drop.id, "drop"),
            Indexes::History(history) => {
                let answer = history.ask.get("/api/database/indexes", &[])?;
                if history.ask.json {
                    return Ok(format!("{:#}\n", answer["history"]));
                }
                let all = answer["history"].as_array().into_iter().flatten();
                let text: String = all.map(line).collect();
                Ok(if text.is_empty() {
                    "Nothing was built on command since pgweir was started.\n".to_owned()
                } else {
                    text
                })
            }
        }
    }
}

/// Begins it, and watches until it has ended.
fn act(ask: &Ask, id: &str, what: &str) -> Result<String, String> {
    ask.post(&format!("/api/database/indexes/{id}/{what}"), &serde_json::json!({}))?;
    let mut told = String::new();
    loop {
        std::thread::sleep(PAUSE);
        let answer = ask.get("/api/database/indexes", &[])?;
        let mut all = answer["history"].as_array().into_iter().flatten();
        let Some(act) = all.find(|act| act["id"] == id) else {
            return Err(format!("{id} is not remembered any more"));
        };
        let word = |key: &str| act[key].as_str().unwrap_or_default();
        match word("state") {
            "waiting" | "building" => {
                if word("message") != told {
                    told = word("message").to_owned();
                    eprintln!("{told}");
                }
            }
            "failed" => return Err(format!("{}: {}", word("name"), word("message"))),
            _ if ask.json => return Ok(format!("{act:#}\n")),
            _ => return Ok(line(act)),
        }
    }
}

fn line(act: &Value) -> String {
    let word = |key: &str| act[key].as_str().unwrap_or_default();
    let message = if word("message").is_empty() { String::new() } else { format!(": {}", word("message")) };
    format!(
        "{}  {}  {} on {}{message}\n    {}\n",
        word("id"),
        word("state"),
        word("name"),
        word("table"),
        word("ddl")
    )
}
