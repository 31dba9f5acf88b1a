//! `pgweir report queries`: the ledger as a table.

use clap::{Args, ValueEnum};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width};
use serde_json::Value;

use super::plan::tree;
use crate::cli::ask::Ask;
use crate::observe::story::readable;

/// What each shape of statement came to: calls, rows, time, and what the time was spent on.
///
/// A shape is a statement without its values. Times are milliseconds: `total` over all calls, then the
/// mean, the median, the 99th percentile and the longest; `queue` is time spent waiting for a server
/// connection, `server` the server's own, `client` waiting for the client to take the answer.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  pgweir report queries\n  pgweir report queries --sort queue-time --limit 5\n  \
                        pgweir report queries --filter emissions_data --json"
)]
pub struct Queries {
    #[command(flatten)]
    ask: Ask,
    /// What comes first.
    #[arg(long, value_enum, default_value_t = Sort::TotalTime)]
    sort: Sort,
    /// How many rows.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Only this database.
    #[arg(long)]
    database: Option<String>,
    /// Only this user.
    #[arg(long)]
    user: Option<String>,
    /// Only statements with this in their text, or of this shape.
    #[arg(long)]
    filter: Option<String>,
    /// Print statements whole, however long.
    #[arg(long)]
    wide: bool,
    /// Print this shape's statement and its latest plan (slow_log.explain in the rules asks for plans).
    #[arg(long, value_name = "SHAPE", conflicts_with = "filter")]
    plan: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Sort {
    TotalTime,
    MeanTime,
    MaxTime,
    P99Time,
    QueueTime,
    ServerTime,
    ClientTime,
    Calls,
    Errors,
    Rows,
    Bytes,
    LastSeen,
}

impl Queries {
    pub fn run(self) -> Result<String, String> {
        let sort = self.sort.to_possible_value().map(|value| value.get_name().replace('-', "_"));
        let mut parameters = vec![("limit", self.limit.to_string())];
        parameters.extend(sort.map(|sort| ("sort", sort)));
        parameters.extend(self.database.map(|database| ("database", database)));
        parameters.extend(self.user.map(|user| ("user", user)));
        parameters.extend(self.filter.map(|filter| ("filter", filter)));
        parameters.extend(self.plan.iter().map(|shape| ("filter", shape.to_lowercase())));
        parameters.extend(self.plan.iter().map(|_| ("plans", "true".to_owned())));
        let answer = self.ask.get("/api/database/queries", &parameters)?;
        if self.ask.json {
            return Ok(format!("{answer:#}\n"));
        }
        match self.plan {
            Some(shape) => plans(&answer, &shape),
            None => Ok(table(&answer, self.wide)),
        }
    }
}

/// A shape's statement and plan, for each database and user that runs it.
fn plans(answer: &Value, shape: &str) -> Result<String, String> {
    let mut text = String::new();
    for query in answer["queries"].as_array().into_iter().flatten() {
        let word = |key: &str| query[key].as_str().unwrap_or_default();
        if word("shape").eq_ignore_ascii_case(shape) {
            let plan = match query["plan"].as_str() {
                Some(plan) => format!("plan of {}:\n{}", word("plan_at"), tree(plan)),
                None if query["plan_note"].is_string() => "there is no plan".to_owned(),
                None => {
                    "no plan was asked for yet; slow_log.explain in the rules says when one is".to_owned()
                }
            };
            let note = query["plan_note"].as_str().map_or_else(String::new, |note| format!("\n({note})"));
            let (database, user) = (word("database"), word("user"));
            text.push_str(&format!("{shape}  {database}/{user}\n{}\n\n{plan}{note}\n\n", word("statement")));
        }
    }
    match text.is_empty() {
        true => Err(format!("no shape {shape} is in the ledger; `pgweir report queries` lists them")),
        false => Ok(text),
    }
}

const HEADER: [&str; 14] = [
    "shape",
    "calls",
    "errors",
    "rows",
    "total",
    "mean",
    "p50",
    "p99",
    "max",
    "queue",
    "server",
    "client",
    "database/user",
    "statement",
];

/// Characters of a statement in a table that is not wide.
const STATEMENT: u16 = 60;

fn table(answer: &Value, wide: bool) -> String {
    let empty = Vec::new();
    let queries = answer["queries"].as_array().unwrap_or(&empty);
    if queries.is_empty() {
        return "no statement matches; has anybody asked anything through this pgweir?\n".to_owned();
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(HEADER);
    table.set_content_arrangement(ContentArrangement::Disabled);
    for query in queries {
        table.add_row(row(query, wide));
    }
    for column in 1..12 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    if let Some(statement) = table.column_mut(13).filter(|_| !wide) {
        statement.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(STATEMENT + 2)));
    }
    let count = |key: &str| answer[key].as_u64().unwrap_or(0);
    let evicted = match count("evicted") {
        0 => String::new(),
        n => format!(", {n} evicted for want of room"),
    };
    format!("{}\n{} of {} shapes{evicted}. Times in ms.\n", table.trim_fmt(), queries.len(), count("shapes"))
}

fn row(query: &Value, wide: bool) -> Vec<String> {
    let text = |key: &str| query[key].as_str().unwrap_or_default();
    let count = |key: &str| query[key].as_u64().unwrap_or(0).to_string();
    let time = |key: &str| readable(query[key].as_f64().unwrap_or(0.0));
    let statement = text("statement");
    let short = match statement.char_indices().nth(usize::from(STATEMENT) - 1) {
        Some((end, _)) if !wide => format!("{}…", &statement[..end]),
        _ => statement.to_owned(),
    };
    let mut cells = vec![text("shape").to_owned(), count("calls"), count("errors"), count("rows")];
    let times = ["total_ms", "mean_ms", "p50_ms", "p99_ms", "max_ms", "queue_ms", "server_ms", "client_ms"];
    cells.extend(times.map(time));
    cells.push(format!("{}/{}", text("database"), text("user")));
    cells.push(short);
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_stands_below_its_statement() {
        let query = serde_json::json!({"shape": "00000000000000ff", "database": "app", "user": "me",
            "statement": "select 1", "plan": "Result\n", "plan_at": "2026-01-01T00:00:00Z"});
        let answer = serde_json::json!({"queries": [query]});
        let text = plans(&answer, "00000000000000FF").unwrap();
        assert!(text.contains("app/me\nselect 1\n\nplan of 2026-01-01T00:00:00Z:\nResult\n"), "{text}");
        assert!(plans(&answer, "01").unwrap_err().contains("no shape 01"));
    }

    #[test]
    fn a_table_is_readable_and_cuts_long_statements() {
        let long = "select ".to_owned() + &"a, ".repeat(50);
        let query = serde_json::json!({"shape": "00000000000000ff", "calls": 12, "errors": 0, "rows": 7,
            "total_ms": 1234.5, "mean_ms": 0.1234, "p50_ms": 2.5, "p99_ms": 55.55, "max_ms": 99.9,
            "queue_ms": 0.0, "server_ms": 1.0, "client_ms": 0.0, "database": "app", "user": "me",
            "statement": long});
        let answer = serde_json::json!({"shapes": 3, "evicted": 2, "queries": [query]});
        let short = table(&answer, false);
        assert!(short.contains("1234") && short.contains("0.123") && short.contains("app/me"), "{short}");
        assert!(short.contains('…') && !short.contains(&long), "{short}");
        assert!(short.ends_with("1 of 3 shapes, 2 evicted for want of room. Times in ms.\n"), "{short}");
        assert!(table(&answer, true).contains(long.trim_end()));
        assert!(table(&serde_json::json!({}), false).contains("no statement"));
    }
}
