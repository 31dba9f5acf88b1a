//! `pgweir indexes`: has a running pgweir build what it advises, or take it away, and says how it goes. Asks and
//! prints; decides nothing.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::ask::Ask;

/// Build advised indexes, take them away, and see what came of them.
#[derive(Subcommand)]
pub enum Indexes {
    Apply(Apply),
    Drop(Drop),
    Dismiss(Dismiss),
    Recall(Recall),
    History(History),
}

/// Build an index that is advised, by its id.
///
/// It is built CONCURRENTLY, on a partitioned table partition by partition: the application goes on reading and
/// writing, and nothing invalid is left behind. It does not begin while a standby lags, the server is busy or an
/// old transaction is open (indexes.auto in the rules), unless --force says so. Afterwards the measured times of
/// the statements that it was to help, and of others on the table, are compared with those before (pgweir indexes
/// history). Ctrl-C ends the watching, not the build.
#[derive(Args)]
pub struct Apply {
    #[command(flatten)]
    ask: Ask,
    /// As `pgweir advise` prints it.
    id: String,
    /// Build it whatever the server has to do beside.
    #[arg(long)]
    force: bool,
}

/// Let a suggestion be: it is not made any more.
#[derive(Args)]
pub struct Dismiss {
    #[command(flatten)]
    ask: Ask,
    /// As `pgweir advise` prints it.
    id: String,
    /// For whoever reads this later.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// Take back that a suggestion was dismissed by a command.
#[derive(Args)]
pub struct Recall {
    #[command(flatten)]
    ask: Ask,
    /// As `pgweir indexes history` prints it.
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

/// What was built and taken away, and what came of it.
///
/// It outlives pgweir where the ledger does (observe.state in the rules).
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
            Indexes::Apply(apply) => act(&apply.ask, &apply.id, "apply", &json!({"force": apply.force})),
            Indexes::Drop(drop) => act(&drop.ask, &drop.id, "drop", &json!({})),
            Indexes::Dismiss(dismiss) => {
                let said = json!({"reason": dismiss.reason});
                dismiss.ask.post(&format!("/api/database/indexes/{}/dismiss", dismiss.id), &said)?;
                Ok(format!("{} is not suggested any more\n", dismiss.id))
            }
            Indexes::Recall(recall) => {
                recall.ask.post(&format!("/api/database/indexes/{}/recall", recall.id), &json!({}))?;
                Ok(format!("{} may be suggested again\n", recall.id))
            }
            Indexes::History(history) => {
                let answer = history.ask.get("/api/database/indexes", &[])?;
                if history.ask.json {
                    return Ok(format!("{:#}\n", answer["history"]));
                }
                Ok(told(&answer))
            }
        }
    }
}

/// The history for people, with what was dismissed and what is waited for.
fn told(answer: &Value) -> String {
    let mut text: String = answer["history"].as_array().into_iter().flatten().map(line).collect();
    if text.is_empty() {
        text.push_str("No index was built or taken away.\n");
    }
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for one in answer["dismissed"].as_array().into_iter().flatten() {
        text.push_str(&format!("{}  dismissed: {}\n", word(&one["id"]), word(&one["reason"])));
    }
    for (database, status) in answer["auto"].as_object().into_iter().flatten() {
        text.push_str(&format!("indexes.auto, {database}: {}\n", word(status)));
    }
    text
}

/// Begins it, and watches until it has ended.
fn act(ask: &Ask, id: &str, what: &str, said: &Value) -> Result<String, String> {
    ask.post(&format!("/api/database/indexes/{id}/{what}"), said)?;
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
    let auto = if act["by"] == "auto" { " (auto)" } else { "" };
    let mut text = format!(
        "{}  {}{auto}  {} on {}{message}\n    {}\n",
        word("id"),
        word("state"),
        word("name"),
        word("table"),
        word("ddl")
    );
    if act["state"] == "disappointing" {
        text.push_str(&format!("    it is proposed for removal: pgweir indexes drop {}\n", word("id")));
    }
    let shapes = act["shapes"].as_array().into_iter().flatten();
    for shape in shapes.filter(|shape| shape["calls_after"].as_u64() > Some(0)) {
        let of = |key: &str| shape[key].as_f64().unwrap_or_default();
        text.push_str(&format!(
            "    {}  {:.3} → {:.3} ms, {} calls\n",
            shape["shape"].as_str().unwrap_or_default(),
            of("before_ms"),
            of("after_ms"),
            of("calls_after")
        ));
    }
    text
}
