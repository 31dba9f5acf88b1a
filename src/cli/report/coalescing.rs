//! `pgweir report coalescing`: what coalescing came to, as a table.

use clap::Args;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width};
use serde_json::Value;

use crate::cli::ask::Ask;

/// Look-ups that shared a query or were answered from what was fetched ahead, per shape; what saved most
/// queries first.
///
/// `batches` are queries that answered `members` look-ups which waited for them; `prefetched` look-ups came
/// along before anybody asked, `served` answers were given from those, `wasted` ones were never asked for.
/// `alone` counts look-ups that went to PostgreSQL as they were, with the reasons. `age` is how old the
/// snapshot of a served answer was: the median and the oldest, in ms.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  pgweir report coalescing\n  pgweir report coalescing --database shop --json"
)]
pub struct Coalescing {
    #[command(flatten)]
    ask: Ask,
    /// How many rows.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Only this database.
    #[arg(long)]
    database: Option<String>,
    /// Print statements whole, however long.
    #[arg(long)]
    wide: bool,
}

impl Coalescing {
    pub fn run(self) -> Result<String, String> {
        let mut parameters = vec![("limit", self.limit.to_string())];
        parameters.extend(self.database.map(|database| ("database", database)));
        let answer = self.ask.get("/api/database/coalescing", &parameters)?;
        Ok(if self.ask.json { format!("{answer:#}\n") } else { table(&answer, self.wide) })
    }
}

const HEADER: [&str; 12] = [
    "shape",
    "level",
    "batches",
    "members",
    "prefetched",
    "served",
    "wasted",
    "saved",
    "alone",
    "age",
    "database",
    "statement",
];

/// Characters of a statement in a table that is not wide.
const STATEMENT: u16 = 60;

fn table(answer: &Value, wide: bool) -> String {
    let empty = Vec::new();
    let statements = answer["statements"].as_array().unwrap_or(&empty);
    if statements.is_empty() {
        return "nothing was coalesced yet; `pgweir report nplus1` shows loops, and rules/coalesce.yaml says what may \
                be done about them\n"
            .to_owned();
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(HEADER);
    table.set_content_arrangement(ContentArrangement::Disabled);
    statements.iter().for_each(|statement| {
        table.add_row(row(statement, wide));
    });
    for column in 2..8 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    if let Some(statement) = table.column_mut(11).filter(|_| !wide) {
        statement.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(STATEMENT + 2)));
    }
    let mut text = format!("{}\n", table.trim_fmt());
    for statement in statements {
        if let Some(reason) = statement["off"].as_str() {
            let shape = statement["shape"].as_str().unwrap_or_default();
            text.push_str(&format!("{shape} is not coalesced: {reason}\n"));
        }
    }
    let count = |key: &str| answer["totals"][key].as_u64().unwrap_or(0);
    let shapes = answer["shapes"].as_u64().unwrap_or(0);
    let (shown, saved, wasted) = (statements.len(), count("saved_queries"), count("wasted"));
    text.push_str(&format!(
        "{shown} of {shapes} shapes. {saved} queries saved, {wasted} look-ups fetched for nothing.\n"
    ));
    text
}

fn row(statement: &Value, wide: bool) -> Vec<String> {
    let text = |key: &str| statement[key].as_str().unwrap_or_default();
    let count = |key: &str| statement[key].as_u64().unwrap_or(0).to_string();
    let sql = text("statement");
    let short = match sql.char_indices().nth(usize::from(STATEMENT) - 1) {
        Some((end, _)) if !wide => format!("{}…", &sql[..end]),
        _ => sql.to_owned(),
    };
    let alone = statement["fallbacks"].as_object().into_iter().flatten();
    let alone: Vec<String> = alone.map(|(reason, count)| format!("{count} {reason}")).collect();
    let age = |key: &str| statement["staleness"][key].as_f64().unwrap_or(0.0);
    let level = if statement["off"].is_string() { "off" } else { text("level") };
    let mut cells = vec![text("shape").to_owned(), level.to_owned()];
    cells.extend(["batches", "members", "prefetched", "served", "wasted", "saved_queries"].map(count));
    cells.push(alone.join(", "));
    cells.push(format!("{:.1}/{:.1}", age("p50_ms"), age("max_ms")));
    cells.extend([text("database").to_owned(), short]);
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_and_what_is_off() {
        let statement = serde_json::json!({"shape": "00000000000000ff", "database": "app", "level": "fenced",
            "statement": "select ".to_owned() + &"a, ".repeat(50), "off": null, "batches": 3, "members": 3,
            "prefetched": 147, "served": 147, "wasted": 0, "saved_queries": 147, "fallbacks": {"level": 2, "alone": 1},
            "staleness": {"p50_ms": 1.25, "max_ms": 40.0}});
        let mut off = statement.clone();
        (off["shape"], off["off"]) = ("00000000000000aa".into(), "it locks rows".into());
        let answer = serde_json::json!({"shapes": 7, "statements": [statement, off],
            "totals": {"saved_queries": 294, "wasted": 5}});
        let text = table(&answer, false);
        assert!(
            text.contains("fenced") && text.contains("147") && text.contains("1 alone, 2 level"),
            "{text}"
        );
        assert!(text.contains("1.2/40.0") && text.contains('…'), "{text}");
        assert!(text.contains("00000000000000aa is not coalesced: it locks rows\n"), "{text}");
        assert!(
            text.ends_with("2 of 7 shapes. 294 queries saved, 5 look-ups fetched for nothing.\n"),
            "{text}"
        );
        assert!(table(&serde_json::json!({}), false).starts_with("nothing was coalesced yet"));
    }
}
