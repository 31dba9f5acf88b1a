//! Loops and look-alikes as real libraries send them, through a running pgweir: each scenario of
//! `tests/clients/orm` has a database name of its own, so that what is found can be told apart, and
//! `expected.json` says what must be found there. It must not know how anything is found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use serde::Deserialize;
use serde_json::Value;

use crate::cluster::{APP_PASSWORD, APP_USER, TestDatabase, batch, shared};
use crate::drivers::{clients_dir, install};
use crate::support::{Weir, wait_for};

/// Stacks that run at the same time; most of a stack's time is pauses, but some start a whole machine.
const TOGETHER: usize = 4;

/// Scenarios with this many findings or less of the classes below are loops over a result.
const SEQUENTIAL: [&str; 3] = ["proved", "nested", "interleaved"];

#[derive(Deserialize)]
struct Expected {
    stacks: BTreeMap<String, Stack>,
    scenarios: BTreeMap<String, Scenario>,
}

#[derive(Deserialize)]
struct Stack {
    library: String,
    command: Vec<String>,
    /// Scenarios that this stack cannot play.
    #[serde(default)]
    without: BTreeSet<String>,
    /// What differs from the common expectation.
    #[serde(default)]
    but: BTreeMap<String, Vec<Loop>>,
}

#[derive(Deserialize)]
struct Scenario {
    /// At least so many statements must have been seen, or it did not happen.
    calls: u64,
    /// Stacks that play it; all if it is not given.
    only: Option<BTreeSet<String>>,
    find: Vec<Loop>,
}

/// A loop, expected or found. In a found one each list has one entry.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Loop {
    class: Words,
    table: String,
    /// Table and column, if the class is one that knows them.
    #[serde(default)]
    parent: Option<(String, Words)>,
}

/// One word, or any of several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Words {
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
struct Score {
    expected: usize,
    found: usize,
    right: usize,
    sequential: usize,
    proved: usize,
    remarks: Vec<String>,
}

#[test]
fn loops_of_real_libraries_are_found_and_look_alikes_are_not() {
    install();
    let expected: Expected =
        serde_json::from_str(&std::fs::read_to_string(orm_dir().join("expected.json")).unwrap())
            .expect("expected.json is as this test reads it");
    let database = TestDatabase::new("orm");
    let schema = std::fs::read_to_string(orm_dir().join("schema.sql")).unwrap();
    batch(&database.url(), &[&schema]);
    let port = shared().port();
    let weir = Weir::start(&format!(
        "listen: {{address: 127.0.0.1, port: 0}}\nadmin: {{address: 127.0.0.1, port: 0}}\nworkers: 2\n\
         databases:\n  \"*\": {{servers: [{{host: 127.0.0.1, port: {port}}}], database: {}, \
         pool: {{mode: transaction, server_idle: 1s}}}}\n\
         users: {{{APP_USER}: {{password: {APP_PASSWORD}}}}}\n",
        database.name
    ));
    play_all(&expected, &weir);
    // What a burst came to is known when it is over, a moment after its last client has gone.
    wait_for("all clients to be gone", || weir.metric("pgweir_clients", &[]) == 0.0);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let (found, calls) = (found(&weir), calls(&weir));
    save_dialects(&expected, &found);
    let scores: Vec<_> = expected
        .stacks
        .keys()
        .map(|stack| (stack.clone(), score(&expected, stack, &found, &calls)))
        .collect();
    judge(&scores);
}

/// Runs every stack, a few at a time. `PGWEIR_ORM_STACKS` names those wanted, if not all.
fn play_all(expected: &Expected, weir: &Weir) {
    let mut waiting: Vec<_> = expected.stacks.iter().filter(|(name, _)| wanted(name)).collect();
    waiting.reverse();
    let (waiting, failures) = (Mutex::new(waiting), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..TOGETHER {
            scope.spawn(|| {
                while let Some((name, stack)) = { waiting.lock().unwrap().pop() } {
                    if let Err(why) = play(expected, name, stack, weir) {
                        failures.lock().unwrap().push(format!("{name}: {why}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "these could not be played:\n{}", failures.join("\n"));
}

fn wanted(stack: &str) -> bool {
    std::env::var("PGWEIR_ORM_STACKS").map_or(true, |names| names.split(',').any(|name| name == stack))
}

fn play(expected: &Expected, name: &str, stack: &Stack, weir: &Weir) -> Result<(), String> {
    let begun = Instant::now();
    let cache = clients_dir().join(".cache");
    let words: Vec<String> =
        stack.command.iter().map(|word| word.replace("CACHE", cache.to_str().unwrap())).collect();
    let played = scenarios(expected, name).into_iter().map(|(scenario, _)| scenario);
    let output = Command::new("timeout")
        .args(["-k", "5", "150"])
        .args(words)
        .arg(weir.url("").trim_end_matches('/'))
        .arg(name)
        .args(played)
        .current_dir(orm_dir())
        .env("NODE_PATH", cache.join("orm/node_modules"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| e.to_string())?;
    eprintln!("{name}: played in {:.1} s", begun.elapsed().as_secs_f64());
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with("done ")).collect();
    if output.status.success() { Ok(()) } else { Err(lines.join("\n")) }
}

/// The scenarios that a stack plays, with what must be found.
fn scenarios<'a>(expected: &'a Expected, stack: &str) -> Vec<(&'a str, &'a [Loop])> {
    let own = &expected.stacks[stack];
    let plays = |(name, scenario): &(&'a String, &'a Scenario)| {
        !own.without.contains(*name) && scenario.only.as_ref().is_none_or(|only| only.contains(stack))
    };
    let what = |(name, scenario): (&'a String, &'a Scenario)| {
        (name.as_str(), own.but.get(name).unwrap_or(&scenario.find).as_slice())
    };
    expected.scenarios.iter().filter(plays).map(what).collect()
}

/// The findings by database.
fn found(weir: &Weir) -> BTreeMap<String, Vec<Value>> {
    let (status, body) = weir.get("/api/database/nplus1?limit=10000");
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for finding in answer["findings"].as_array().unwrap() {
        all.entry(text(finding, "database")).or_default().push(finding.clone());
    }
    all
}

/// The statements that the ledger counted, by database.
fn calls(weir: &Weir) -> BTreeMap<String, u64> {
    let (status, body) = weir.get("/api/database/queries?limit=10000");
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    let mut all = BTreeMap::new();
    for query in answer["queries"].as_array().unwrap() {
        *all.entry(text(query, "database")).or_default() += query["calls"].as_u64().unwrap();
    }
    all
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn score(
    expected: &Expected,
    stack: &str,
    found: &BTreeMap<String, Vec<Value>>,
    calls: &BTreeMap<String, u64>,
) -> Score {
    let mut score = Score::default();
    if !wanted(stack) {
        return score;
    }
    for (scenario, loops) in scenarios(expected, stack) {
        let database = format!("{stack}__{scenario}");
        let (happened, least) =
            (calls.get(&database).copied().unwrap_or(0), expected.scenarios[scenario].calls);
        assert!(happened >= least, "{database}: {happened} statements were seen, and {least} must be");
        let findings = found.get(&database).map_or(&[][..], Vec::as_slice);
        score.add(scenario, loops, findings);
    }
    score
}

impl Score {
    fn add(&mut self, scenario: &str, loops: &[Loop], findings: &[Value]) {
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

fn judge(scores: &[(String, Score)]) {
    let mut table = format!(
        "\n{:<22} {:>8} {:>6} {:>6} {:>8} {:>6} {:>10} {:>6}\n",
        "stack", "expected", "found", "right", "missing", "extra", "sequential", "proved"
    );
    let mut sum = Score::default();
    for (stack, score) in scores {
        row(&mut table, stack, score);
        sum.expected += score.expected;
        sum.found += score.found;
        sum.right += score.right;
        sum.sequential += score.sequential;
        sum.proved += score.proved;
    }
    row(&mut table, "all", &sum);
    let percent = |part: usize, whole: usize| part as f64 * 100.0 / whole.max(1) as f64;
    let (precision, recall) = (percent(sum.right, sum.found), percent(sum.right, sum.expected));
    let proved = percent(sum.proved, sum.sequential);
    let _ = writeln!(
        table,
        "precision {precision:.1} %, recall {recall:.1} %, proved with the right column {proved:.1} %"
    );
    for (stack, score) in scores {
        score.remarks.iter().for_each(|remark| table.push_str(&format!("{stack}: {remark}\n")));
    }
    // Past the test harness, which keeps what a passing test prints to itself.
    std::io::Write::write_all(&mut std::io::stderr(), table.as_bytes()).unwrap();
    assert!(sum.expected > 0, "nothing was played");
    assert!(precision >= 99.0 && recall >= 98.0 && proved >= 95.0, "{table}");
}

fn row(table: &mut String, name: &str, score: &Score) {
    let _ = writeln!(
        table,
        "{name:<22} {:>8} {:>6} {:>6} {:>8} {:>6} {:>10} {:>6}",
        score.expected,
        score.found,
        score.right,
        score.expected - score.right,
        score.found - score.right,
        score.sequential,
        score.proved,
    );
}

/// Writes what each library's statements look like, for those who recognise libraries by them; only when asked
/// by `PGWEIR_SAVE_DIALECTS=1`.
fn save_dialects(expected: &Expected, found: &BTreeMap<String, Vec<Value>>) {
    if std::env::var_os("PGWEIR_SAVE_DIALECTS").is_none() {
        return;
    }
    let mut all = Vec::new();
    for (name, stack) in &expected.stacks {
        for (scenario, _) in scenarios(expected, name) {
            for finding in found.get(&format!("{name}__{scenario}")).into_iter().flatten() {
                all.push(serde_json::json!({
                    "stack": name,
                    "library": stack.library,
                    "kind": scenario,
                    "class": finding["class"],
                    "statement": finding["statement"],
                    "parent": finding["parent"],
                    "column": finding["column"],
                }));
            }
        }
    }
    all.sort_by_key(|entry| (text(entry, "stack"), text(entry, "kind"), text(entry, "statement")));
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    std::fs::create_dir_all(&folder).unwrap();
    let json = serde_json::to_string_pretty(&all).unwrap() + "\n";
    std::fs::write(folder.join("orm-dialects.json"), json).unwrap();
}

fn orm_dir() -> PathBuf {
    clients_dir().join("orm")
}
