//! Loops and look-alikes as real libraries send them, through a running pgweir: each scenario of
//! `tests/clients/orm` has a database name of its own, so that what is found can be told apart, and
//! `expected.json` says what must be found there. It must not know how anything is found.

mod expect;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

use expect::{Expected, Loop, Scenario, Score, Stack, text};

use crate::cluster::{APP_PASSWORD, APP_USER, TestDatabase, batch, shared};
use crate::drivers::{clients_dir, install};
use crate::support::{Weir, wait_for};

/// Stacks that run at the same time; most of a stack's time is pauses, but some start a whole machine.
const TOGETHER: usize = 4;

/// Bursts are looked through once a second.
const BURSTS_WITHIN: Duration = Duration::from_secs(5);

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
         pool: {{mode: transaction, server_idle: 1s, max_size: 10}}}}\n\
         users: {{{APP_USER}: {{password: {APP_PASSWORD}}}}}\n",
        database.name
    ));
    play_all(&expected, &weir);
    wait_for("all clients to be gone", || weir.metric("pgweir_clients", &[]) == 0.0);
    await_bursts(&expected, &weir);
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

/// What a burst came to is known a moment after it is over. One that was missed is judged later, with the rest.
fn await_bursts(expected: &Expected, weir: &Weir) {
    let begun = Instant::now();
    let stacks = || expected.stacks.keys().filter(|stack| wanted(stack));
    let is_there =
        |found: &BTreeMap<_, _>, stack: &String| found.contains_key(&format!("{stack}__concurrent"));
    while begun.elapsed() < BURSTS_WITHIN {
        let found = found(weir);
        if stacks().all(|stack| is_there(&found, stack)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
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
        score.look_at_names(scenario, expected.stacks[stack].library.as_deref(), findings);
    }
    score
}

fn judge(scores: &[(String, Score)]) {
    let mut table = format!(
        "\n{:<22} {:>8} {:>6} {:>6} {:>8} {:>6} {:>10} {:>6} {:>6} {:>8}\n",
        "stack",
        "expected",
        "found",
        "right",
        "missing",
        "extra",
        "sequential",
        "proved",
        "named",
        "remedied"
    );
    let mut sum = Score::default();
    for (stack, score) in scores {
        score.row(&mut table, stack);
        sum.merge(score);
    }
    sum.row(&mut table, "all");
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
    assert!(percent(sum.named, sum.found) >= 90.0, "libraries are not recognised:\n{table}");
    assert!(percent(sum.remedied, sum.found) >= 90.0, "there is no remedy:\n{table}");
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
