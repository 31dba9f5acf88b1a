//! What each capability does with a statement and why, in one sentence each. Says only what the code does
//! today; a capability that does not exist is said not to, with what the facts show for it.

use serde_json::Value;

use super::{Statement, subject};
use crate::coalesce::eligible::{self, Level};
use crate::config::Settings;
use crate::observe::facts::Known;
use crate::observe::slow_log::settings::{Limit, SlowLogSettings};
use crate::observe::slow_log::threshold::names_table;
use crate::sql::Traits;
use crate::sql::class::Class;
use crate::sql::facts::{Facts, Operand, Predicate};
use crate::sql::kind::Kind;

/// Capability and sentence, in the order in which a statement meets them.
pub fn all(statement: &Statement, settings: Option<&Settings>) -> Vec<(&'static str, String)> {
    let facts = statement.known.facts();
    vec![
        ("pooling", pooling(statement.traits)),
        ("ledger", ledger(statement)),
        ("n+1 watch", loops(statement.kind).to_owned()),
        ("slow log", slow_log(statement, settings)),
        ("coalescing", beyond(TOGETHER, facts.map(coalescing))),
        ("time ranges", statement.ranges.clone().unwrap_or_else(|| offline(facts.map(ranges)))),
        ("index advice", beyond(ADVISED, facts.map(indexes))),
    ]
}

fn pooling(traits: Traits) -> String {
    let mut said = Vec::new();
    if traits.has(Traits::NAMES_STATEMENT) {
        said.push("names a prepared statement, which is the client's own on whichever server it gets");
    }
    if traits.has(Traits::STATE) {
        said.push(
            "may leave something in the session, so the server is asked what before anybody else gets it",
        );
    }
    if traits.has(Traits::EXECUTES) && !traits.has(Traits::STATE) {
        said.push("runs another statement, and what that may leave in the session is asked for if need be");
    }
    if traits.has(Traits::BEGINS) {
        said.push("opens a transaction, so the client keeps its server until that ends");
    }
    if traits.has(Traits::LOCAL) {
        said.push("changes settings for its transaction only, which ends them by itself");
    }
    if traits.has(Traits::DDL) {
        said.push("changes the schema, so statements prepared before it are prepared anew");
    }
    if said.is_empty() {
        said.push("leaves nothing in the session: the server goes back as soon as no transaction is open");
    }
    said.join("; ")
}

fn ledger(statement: &Statement) -> String {
    let facts = match statement.known {
        Known::Read(_) => "",
        Known::Unparsed { .. } => ", and among the calls of unparsed shapes",
    };
    format!("counted under shape {:016x} of its database and user{facts}", statement.fingerprint)
}

fn loops(kind: Kind) -> &'static str {
    match kind {
        Kind::Read => {
            "a read: counts as a loop when it comes again and again with other values in one unit of work"
        }
        Kind::Page => "a page of a larger result: coming again with another offset makes no loop",
        Kind::Insert | Kind::Write => {
            "a write: counts as a write loop when it comes again and again in one unit of work"
        }
        Kind::Marker => "a question to the session or a ping: makes no loop, and marks where work begins",
        Kind::Other => "no loop is made of it",
    }
}

/// The threshold in general, and the rules that are about this statement.
fn slow_log(statement: &Statement, settings: Option<&Settings>) -> String {
    let slow = settings.map_or_else(SlowLogSettings::default, |settings| settings.rules.slow_log.clone());
    if !slow.enabled {
        return "off by the rules".to_owned();
    }
    let about = slow.rules.iter().filter(|rule| {
        rule.shape.is_none_or(|shape| shape == statement.fingerprint)
            && rule
                .table
                .as_ref()
                .is_none_or(|table| names_table(&statement.canonical, Some(&statement.known), table))
    });
    let mut said = format!("slow beyond {}", humantime::format_duration(slow.over));
    for rule in about {
        said.push_str("; ");
        said.push_str(&match rule.limit {
            Limit::Never => "never slow".to_owned(),
            Limit::Over(over) => format!("beyond {}", humantime::format_duration(over)),
            Limit::P99 { times, .. } => format!("beyond {times} times its own 99th percentile"),
        });
        let whose = [("in database", &rule.database), ("for user", &rule.user), ("on table", &rule.table)];
        for (what, name) in whose {
            name.iter().for_each(|name| said.push_str(&format!(" {what} {name}")));
        }
    }
    if settings.is_none() {
        said.push_str(" by default; --config says what is in force");
    }
    said
}

const TOGETHER: &str =
    "asked together with others of its kind if the catalog allows it, which --database says";
const ADVISED: &str = "judged with all other statements by pgweir advise";

/// What the facts show for a capability that looks at more than the text; `elsewhere` says where.
fn beyond(elsewhere: &str, shown: Option<String>) -> String {
    let shown = shown.unwrap_or_else(|| "without facts it will stay so".to_owned());
    format!("{elsewhere}; {shown}")
}

/// What the facts show of time ranges while no database was asked.
fn offline(shown: Option<String>) -> String {
    let shown = shown.unwrap_or_else(|| "no facts".to_owned());
    format!("--database-url says whether a table is partitioned by time, and what is added then; {shown}")
}

fn coalescing(facts: &Facts) -> String {
    if facts.class != Class::Read || facts.may_write {
        return "it is no read".to_owned();
    }
    if facts.locking.is_some() {
        return "it locks rows, which each asker must do for itself".to_owned();
    }
    if facts.tables.is_empty() {
        return "it reads no table".to_owned();
    }
    let keys: Vec<String> = facts.predicates.iter().filter(|p| is_key(p)).map(subject).collect();
    if keys.is_empty() {
        return "no top-level condition looks a value up by =".to_owned();
    }
    let mut shown = format!("a look-up by {}", keys.join(" and "));
    if !facts.plain {
        shown.push_str(", with conditions beyond those listed");
    }
    if !facts.functions.is_empty() {
        shown.push_str(&format!(", if {} may be called for several at once", facts.functions.join(", ")));
    }
    shown
}

/// For each level, whether answers may be shared and why not: as a running pgweir said, or else from the text alone.
pub fn levels(statement: &Statement) -> Vec<(String, String)> {
    if let Some(levels) = statement.levels.as_ref().and_then(Value::as_array) {
        return levels.iter().map(told).collect();
    }
    let one = |level: Level| {
        let sentence = match statement.known.facts() {
            None => "no: what it says is not known".to_owned(),
            Some(facts) => {
                let statement = eligible::Statement { facts, canonical: &statement.canonical };
                match eligible::by_text(statement, level) {
                    Ok(()) => {
                        "nothing in its text forbids it; --database asks what the catalog says".to_owned()
                    }
                    Err(reason) => format!("no: {reason}"),
                }
            }
        };
        (level.label().to_owned(), sentence)
    };
    Level::ALL.into_iter().map(one).collect()
}

fn told(level: &Value) -> (String, String) {
    let text = |key: &str| level[key].as_str().unwrap_or_default().to_owned();
    let sentence = match level["eligible"].as_bool() {
        Some(true) => {
            let tables = level["tables"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let tables: Vec<&str> = tables.collect();
            let read = if tables.is_empty() { "no table".to_owned() } else { tables.join(", ") };
            let time = if level["reads_time"] == true { ", and the time" } else { "" };
            let settings = if level["reads_settings"] == true { ", and the session's settings" } else { "" };
            format!("yes; it reads {read}{time}{settings}")
        }
        _ => format!("no: {}", text("reason")),
    };
    (text("level"), sentence)
}

/// `column = $n`, on the column itself.
fn is_key(predicate: &Predicate) -> bool {
    let from_hole = matches!(predicate.operand, Operand::Hole { .. });
    predicate.top
        && predicate.wrapped.is_none()
        && predicate.operator == crate::sql::facts::Operator::Equal
        && from_hole
}

fn ranges(facts: &Facts) -> String {
    let bound = |p: &&Predicate| p.top && p.wrapped.is_none() && (p.operator.is_range() || is_key(p));
    let bounds: Vec<&Predicate> = facts.predicates.iter().filter(bound).collect();
    if !bounds.iter().any(|predicate| predicate.operator.is_range()) {
        return "no range on a column".to_owned();
    }
    let told = |p: &&Predicate| p.operator.is_range();
    let text = |p: &Predicate| format!("{} {} {}", p.column, p.operator, p.operand);
    let shown: Vec<String> = bounds.into_iter().filter(told).map(text).collect();
    format!("a range: {}", shown.join(" and "))
}

fn indexes(facts: &Facts) -> String {
    let columns = |wanted: fn(&Predicate) -> bool| {
        let mut found: Vec<String> = Vec::new();
        for predicate in facts.predicates.iter().filter(|predicate| wanted(predicate)) {
            let name = subject(predicate);
            if !found.contains(&name) {
                found.push(name);
            }
        }
        found
    };
    let plain_columns = |operands: &mut dyn Iterator<Item = &Operand>| -> Vec<String> {
        operands.filter(|operand| matches!(operand, Operand::Column(_))).map(ToString::to_string).collect()
    };
    let parts = [
        ("equality on", columns(|p| p.wrapped.is_none() && p.operator.is_lookup() && !is_join(p))),
        ("range on", columns(|p| p.wrapped.is_none() && p.operator.is_range())),
        ("needs an index on the expression", columns(|p| p.wrapped.is_some())),
        ("joined by", facts.joins.iter().map(|pair| format!("{} = {}", pair.left, pair.right)).collect()),
        ("grouped by", plain_columns(&mut facts.group_by.iter())),
        ("sorted by", plain_columns(&mut facts.order.iter().map(|order| &order.by))),
    ];
    let said: Vec<String> = parts
        .into_iter()
        .filter(|(_, columns)| !columns.is_empty())
        .map(|(what, columns)| format!("{what} {}", columns.join(", ")))
        .collect();
    if said.is_empty() { "no condition that an index could serve".to_owned() } else { said.join("; ") }
}

fn is_join(predicate: &Predicate) -> bool {
    matches!(predicate.operand, Operand::Column(_))
}
