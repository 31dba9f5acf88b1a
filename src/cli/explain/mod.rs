//! `pgweir explain`: what pgweir sees in a statement and what it would do with it. Asks no running pgweir, and a
//! server only for its catalog, if one is named. What each capability does is put into words by `fate`; what is
//! added to a statement on a partitioned table, by `ranges`.

mod fate;
mod ranges;

use std::fmt::Write;
use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::ask::Ask;
use crate::config::Settings;
use crate::observe::facts::{Known, read_apart};
use crate::pool::shape::READ_MAX;
use crate::sql::facts::{Facts, Predicate, Role, TableRef};
use crate::sql::kind::{self, Kind};
use crate::sql::shape::Shaper;
use crate::sql::{self, Traits};

/// Show what pgweir sees in a statement and what it would do with it.
///
/// Prints the shape (the statement without its values, and the fingerprint that the reports show), what the
/// statement says (tables, conditions, order, locks, functions), and one sentence per capability. Nothing is
/// executed and no server is asked, so whether a table has an index or a function is volatile is not known. With
/// --database, a running pgweir is asked what its catalog says of the statement, which is sent without its values. With
/// --database-url the server is asked for its catalog, and the bounds are shown that are added to the statement if its
/// table is partitioned by time.
///
/// A statement that the parser does not know is no mistake: pgweir forwards it unchanged, and this says so.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  pgweir explain \"select * from books where author_id = 7 order by title\"\n  \
                  pgweir explain --json \"update books set title = 'x' where id = 7\" | jq '.statements[0].facts'\n  \
                  pgweir explain --config pgweir.yaml - < report.sql\n  \
                  pgweir explain --database shop \"select * from order_totals where id = 7\"\n  \
                  pgweir explain --database-url postgres://app@db/shop \"select * from m where at::date = '2024-03-01'\""
)]
pub struct Explain {
    /// One or more statements; - reads them from standard input.
    sql: String,
    /// The settings whose rules apply.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask the running pgweir whether answers may be shared, by the catalog of this database.
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// The database whose partitioned tables count, as postgres://user@host/database; the password may come from
    /// PGPASSWORD.
    #[arg(long, value_name = "URL", env = "PGWEIR_EXPLAIN_DATABASE", hide_env_values = true)]
    database_url: Option<String>,
    #[command(flatten)]
    ask: Ask,
}

/// More than this is no statement to explain, and pgweir reads far less of one.
const INPUT_MAX: u64 = 16 * 1024 * 1024;

impl Explain {
    /// The text to print.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what to do.
    pub fn run(self) -> Result<String, String> {
        let settings = self.config.as_deref().map(super::load).transpose()?;
        let text = match self.sql.as_str() {
            "-" => input(std::io::stdin().lock())?,
            _ => self.sql,
        };
        let mut statements = statements(&text)?;
        if let Some(database) = &self.database {
            for statement in &mut statements {
                let asked = [("database", database.clone()), ("sql", statement.canonical.clone())];
                statement.levels = Some(self.ask.get("/api/database/eligibility", &asked)?["levels"].take());
            }
        }
        if let Some(url) = &self.database_url {
            let told = ranges::told(&text, statements.len(), url)?;
            statements.iter_mut().for_each(|statement| statement.ranges = Some(told.clone()));
        }
        Ok(match self.ask.json {
            true => format!("{:#}\n", as_json(&statements, settings.as_ref())),
            false => as_text(&statements, settings.as_ref()),
        })
    }
}

fn input(from: impl Read) -> Result<String, String> {
    let mut text = String::new();
    let read = from.take(INPUT_MAX + 1).read_to_string(&mut text);
    let bytes = read.map_err(|error| format!("cannot read standard input: {error}"))?;
    match bytes as u64 > INPUT_MAX {
        true => Err(format!("standard input has more than {} MiB", INPUT_MAX >> 20)),
        false => Ok(text),
    }
}

/// What is found out about one statement.
struct Statement {
    fingerprint: u64,
    canonical: String,
    /// How many values it has, parameters included.
    values: usize,
    known: Known,
    kind: Kind,
    traits: Traits,
    /// What a running pgweir says of each level of sharing.
    levels: Option<Value>,
    /// What is added to it for its partitioned tables, if a database was asked.
    ranges: Option<String>,
}

fn statements(text: &str) -> Result<Vec<Statement>, String> {
    if text.len() > READ_MAX {
        return Err(format!(
            "the text has {} bytes; pgweir does not read texts over {} KiB: it forwards them unchanged and \
             counts them in the pool's totals only",
            text.len(),
            READ_MAX / 1024
        ));
    }
    let mut found = Vec::new();
    Shaper::default().shapes(text.as_bytes(), true, |shape| {
        let canonical = String::from_utf8_lossy(shape.canonical).into_owned();
        if canonical.trim().is_empty() {
            return;
        }
        found.push(Statement {
            fingerprint: shape.fingerprint,
            values: shape.holes.len(),
            known: read_apart(&canonical),
            kind: kind::of(&canonical),
            traits: sql::traits(canonical.as_bytes()),
            levels: None,
            ranges: None,
            canonical,
        });
    });
    match found.is_empty() {
        true => Err("there is no statement in the text".to_owned()),
        false => Ok(found),
    }
}

fn as_json(statements: &[Statement], settings: Option<&Settings>) -> Value {
    let one = |statement: &Statement| {
        let (class, facts) = (statement.known.class(), statement.known.facts());
        let reason = match &statement.known {
            Known::Read(_) => None,
            Known::Unparsed { reason, .. } => Some(reason.to_string()),
        };
        let does: serde_json::Map<String, Value> = fate::all(statement, settings)
            .into_iter()
            .map(|(capability, sentence)| (capability.replace([' ', '+'], "_"), sentence.into()))
            .collect();
        json!({
            "shape": format!("{:016x}", statement.fingerprint),
            "text": statement.canonical,
            "values": statement.values,
            "class": class.class,
            "may_write": class.may_write,
            "facts": facts,
            "unparsed": reason,
            "does": does,
            "levels": statement.levels,
        })
    };
    json!({"statements": statements.iter().map(one).collect::<Vec<_>>()})
}

fn as_text(statements: &[Statement], settings: Option<&Settings>) -> String {
    let mut out = String::new();
    for (at, statement) in statements.iter().enumerate() {
        if statements.len() > 1 {
            let gap = if at > 0 { "\n" } else { "" };
            let _ = writeln!(out, "{gap}Statement {} of {}\n", at + 1, statements.len());
        }
        one(&mut out, statement);
        out.push_str("\nWhat pgweir does with it\n");
        for (capability, sentence) in fate::all(statement, settings) {
            line(&mut out, capability, &sentence);
        }
        out.push_str("\nWhether answers may be shared\n");
        for (level, sentence) in fate::levels(statement) {
            line(&mut out, &level, &sentence);
        }
    }
    out
}

/// Width of the left column.
const LEFT: usize = 20;

fn line(out: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "  {name:LEFT$}{value}");
}

fn one(out: &mut String, statement: &Statement) {
    line(out, "shape", &format!("{:016x}", statement.fingerprint));
    line(out, "statement", &statement.canonical);
    line(out, "values", &statement.values.to_string());
    let class = statement.known.class();
    let doubt = if class.may_write && statement.known.facts().is_none() { ", may write" } else { "" };
    line(out, "class", &format!("{}{doubt}", class.class.label().replace('_', " ")));
    match &statement.known {
        Known::Read(facts) => list(out, facts),
        Known::Unparsed { reason, .. } => {
            line(out, "facts", &format!("none: {reason}"));
            line(out, "", "It is forwarded unchanged, and counted like any other.");
        }
    }
}

fn list(out: &mut String, facts: &Facts) {
    let mut row = |name: &str, values: Vec<String>| {
        for (at, value) in values.iter().enumerate() {
            line(out, if at == 0 { name } else { "" }, value);
        }
    };
    row("tables", facts.tables.iter().map(table).collect());
    row("conditions", facts.predicates.iter().map(predicate).collect());
    row("joins", facts.joins.iter().map(|pair| format!("{} = {}", pair.left, pair.right)).collect());
    row("group by", joined(facts.group_by.iter().map(ToString::to_string)));
    row(
        "order by",
        joined(facts.order.iter().map(|order| {
            let nulls = order.nulls_first.map(|first| if first { " nulls first" } else { " nulls last" });
            let direction = if order.descending { " desc" } else { "" };
            format!("{}{direction}{}", order.by, nulls.unwrap_or_default())
        })),
    );
    row("limit", facts.limit.iter().map(ToString::to_string).collect());
    row("offset", facts.offset.iter().map(ToString::to_string).collect());
    row("functions", joined(facts.functions.iter().cloned()));
    row("with queries", joined(facts.ctes.iter().cloned()));
    row("assigned", joined(facts.assigned.iter().cloned()));
    let flags = [
        (facts.locking.is_some(), "locks rows".to_owned()),
        (facts.distinct, "distinct".to_owned()),
        (facts.aggregate, "aggregates".to_owned()),
        (facts.window, "window functions".to_owned()),
        (facts.returning, "returning".to_owned()),
        (facts.on_conflict.is_some(), "on conflict".to_owned()),
        (facts.subqueries > 0, format!("{} inner queries", facts.subqueries)),
        (facts.set_operations > 0, format!("{} set operations", facts.set_operations)),
        (facts.cut, "longer than what is kept".to_owned()),
    ];
    row("also", joined(flags.into_iter().filter(|(has, _)| *has).map(|(_, name)| name)));
}

/// One line of several values, or none.
fn joined(values: impl Iterator<Item = String>) -> Vec<String> {
    let all: Vec<String> = values.collect();
    if all.is_empty() { all } else { vec![all.join(", ")] }
}

fn table(table: &TableRef) -> String {
    let alias = table.alias.as_ref().map(|alias| format!(" as {alias}")).unwrap_or_default();
    let role = match table.role {
        Role::Read => "read",
        Role::Written => "written",
    };
    format!("{}{alias} ({role})", table.full_name())
}

fn predicate(predicate: &Predicate) -> String {
    let column = subject(predicate);
    let comparison = format!("{column} {} {}", predicate.operator, predicate.operand);
    let place = match (predicate.top, predicate.query) {
        (true, _) => "",
        (false, 0) => "  (one part of a condition)",
        (false, _) => "  (in an inner query)",
    };
    format!("{}{place}", comparison.trim_end())
}

/// The column, and what is done to it before it is compared.
fn subject(predicate: &Predicate) -> String {
    let column = &predicate.column;
    match predicate.wrapped.as_deref() {
        None => column.to_string(),
        Some(cast) if cast.starts_with("::") => format!("{column}{cast}"),
        Some(wrapped) => format!("{wrapped}({column})"),
    }
}

#[cfg(test)]
mod tests;
