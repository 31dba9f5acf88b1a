//! What must be found, as `tests/clients/orm/expected.json` says it, and how near to that a stack came. It must
//! not know how the stacks are played.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;

/// Loops over a result.
const SEQUENTIAL: [&str; 3] = ["proved", "nested", "interleaved"];

#[derive(Deserialize)]
pub struct Expected {
    pub stacks: BTreeMap<String, Stack>,
    pub scenarios: BTreeMap<String, Scenario>,
}

#[derive(Deserialize)]
pub struct Stack {
    /// What its statements must be recognised as; none: as nobody's.
    pub library: Option<String>,
    pub command: Vec<String>,
    /// Scenarios that this stack cannot play.
    #[serde(default)]
    pub without: BTreeSet<String>,
    /// What differs from the common expectation.
    #[serde(default)]
    pub but: BTreeMap<String, Vec<Loop>>,
}

#[derive(Deserialize)]
pub struct Scenario {
    /// At least so many statements must have been seen, or it did not happen.
    pub calls: u64,
    /// Stacks that play it; all if it is not given.
    pub only: Option<BTreeSet<String>>,
    pub find: Vec<Loop>,
}

/// A loop, expected or found. In a found one each list has one entry.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loop {
    pub class: Words,
    pub table: String,
    /// Table and column, if the class is one that knows them.
    #[serde(default)]
    pub parent: Option<(String, Words)>,
}

/// One word, or any of several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Words {
    One(String),
    Any(Vec<String>),
}

impl Words {
    fn has(&self, word: &str) -> bool {
        match self {
            Words::One(one) => one == word,
            Words::Any(any) => any.iter().any(|one| one == word),
        }
    }

    fn first(&self) -> &str {
        match self {
            Words::One(one) => one,
            Words::Any(any) => &any[0],
        }
    }
}

/// What one stack came to.
#[derive(Default)]
pub struct Score {
    pub expected: usize,
    pub found: usize,
    pub right: usize,
    pub sequential: usize,
    pub proved: usize,
    /// Findings that name the right library, and a remedy.
    pub named: usize,
    pub remedied: usize,
    pub remarks: Vec<String>,
}

impl Score {
    pub fn row(&self, table: &mut String, name: &str) {
        let _ = writeln!(
            table,
            "{name:<22} {:>8} {:>6} {:>6} {:>8} {:>6} {:>10} {:>6} {:>6} {:>8}",
            self.expected,
            self.found,
            self.right,
            self.expected - self.right,
            self.found - self.right,
            self.sequential,
            self.proved,
            self.named,
            self.remedied,
        );
    }

    /// Adds up.
    pub fn merge(&mut self, other: &Score) {
        self.expected += other.expected;
        self.found += other.found;
        self.right += other.right;
        self.sequential += other.sequential;
        self.proved += other.proved;
        self.named += other.named;
        self.remedied += other.remedied;
    }

    /// Looks whether findings name the library that wrote their statements, and what to change.
    pub fn look_at_names(&mut self, scenario: &str, library: Option<&str>, findings: &[Value]) {
        for finding in findings {
            let named = finding["library"].as_str();
            self.remedied += usize::from(finding["remedy"].is_string());
            if named == library {
                self.named += 1;
            } else {
                let statement = text(finding, "statement");
                self.remarks.push(format!("{scenario}: taken for {named:?}: {statement:.120}"));
            }
        }
    }

    /// Compares what a scenario should have and what it has.
    pub fn add(&mut self, scenario: &str, loops: &[Loop], findings: &[Value]) {
        let mut open: Vec<&Value> = findings.iter().collect();
        self.found += findings.len();
        self.expected += loops.len();
        for wanted in loops {
            let sequential = SEQUENTIAL.contains(&wanted.class.first());
            self.sequential += usize::from(sequential);
            let like = |finding: &&Value| table(&text(finding, "statement")) == wanted.table;
            // The one that is right in all, if there is one.
            let place = open
                .iter()
                .position(|finding| like(finding) && wanted.is_exactly(finding))
                .or_else(|| open.iter().position(|finding| like(finding) && wanted.is_kind(finding)));
            let Some(place) = place else {
                self.remarks.push(format!("{scenario}: MISSING {} {}", wanted.class.first(), wanted.table));
                continue;
            };
            let finding = open.remove(place);
            self.right += 1;
            if wanted.is_exactly(finding) {
                self.proved += usize::from(sequential);
            } else {
                let parent =
                    wanted.parent.as_ref().map(|(table, column)| format!("{table}.{}", column.first()));
                self.remarks.push(format!(
                    "{scenario}: wanted {} {} by {}, found {}",
                    wanted.class.first(),
                    wanted.table,
                    parent.unwrap_or_default(),
                    brief(finding),
                ));
            }
        }
        self.remarks.extend(open.iter().map(|finding| format!("{scenario}: EXTRA {}", brief(finding))));
    }
}

impl Loop {
    /// A loop is a loop, whether it was proved or counted.
    fn is_kind(&self, finding: &Value) -> bool {
        let class = text(finding, "class");
        let sequential = |class: &str| class == "counted" || SEQUENTIAL.contains(&class);
        self.class.has(&class) || (sequential(self.class.first()) && sequential(&class))
    }

    fn is_exactly(&self, finding: &Value) -> bool {
        let parent = self.parent.as_ref().is_none_or(|(parent, column)| {
            table(&text(finding, "parent")) == *parent && column.has(&text(finding, "column"))
        });
        self.class.has(&text(finding, "class")) && parent
    }
}

/// The first sample table that a statement names behind FROM, INTO or UPDATE.
fn table(statement: &str) -> String {
    let plain = statement.to_lowercase().replace(['"', '(', ')', ','], " ");
    let words: Vec<&str> = plain.split_whitespace().collect();
    let names = words.windows(2).filter(|pair| ["from", "into", "update"].contains(&pair[0]));
    let mut tables = names.map(|pair| pair[1].trim_start_matches("public.").to_owned());
    tables.find(|name| TABLES.contains(&name.as_str())).unwrap_or_default()
}

const TABLES: [&str; 6] =
    ["organizations", "facilities", "emission_sources", "emissions_data", "conversations", "messages"];

fn brief(finding: &Value) -> String {
    let cut = |text: String| text.chars().take(160).collect::<String>();
    format!(
        "{} n={} {} <- {}.{}",
        text(finding, "class"),
        finding["last_n"],
        cut(text(finding, "statement")),
        table(&text(finding, "parent")),
        text(finding, "column"),
    )
}

/// A field of a finding.
pub fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}
