//! Advice from a running pgweir and from its log: the workload goes through the program, the advice is what its
//! commands print.

use std::process::Command;

use serde_json::Value;

use crate::advice::has_hypopg;
use crate::cluster::{APP_PASSWORD, APP_USER, TestDatabase, ask, batch};
use crate::rawclient::{Raw, bound};
use crate::support::{Weir, plain, until};

const TABLES: &[&str] = &[
    "CREATE TABLE invoices AS SELECT i AS id, i % 500 AS organization_id, date '2024-01-01' + i % 600 AS period, \
        i % 7 AS kind, repeat('x', 60) AS note FROM generate_series(1, 60000) i",
    "ALTER TABLE invoices ADD PRIMARY KEY (id)",
    "CREATE INDEX twin_one ON invoices (kind)",
    "CREATE INDEX twin_two ON invoices (kind)",
    "ALTER TABLE invoices OWNER TO app",
    "CHECKPOINT",
    "VACUUM (ANALYZE) invoices",
];

pub fn loaded(name: &str) -> TestDatabase {
    let database = TestDatabase::new(name);
    batch(&database.superuser_url(), TABLES);
    if has_hypopg() {
        batch(&database.superuser_url(), &["CREATE EXTENSION hypopg"]);
    }
    database
}

pub fn workload(weir: &Weir, database: &TestDatabase) {
    let mut client = Raw::connect(weir.listen).login(APP_USER, APP_PASSWORD, &database.name).unwrap();
    for number in 0..30 {
        let values = [(number * 13 % 500).to_string(), "2024-06-01".to_owned(), "2024-07-01".to_owned()];
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let text = "select * from invoices where organization_id = $1 and period >= $2 and period < $3";
        client.send(&bound(text, &values));
        assert_eq!(client.reply().error, None);
    }
}

pub fn command(words: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_pgweir")).args(words).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

pub fn json(words: &[&str]) -> Value {
    serde_json::from_str(&command(words).unwrap()).unwrap()
}

fn check(answer: &Value) {
    let suggestions = answer["suggestions"].as_array().unwrap();
    assert_eq!(suggestions.len(), 1, "{answer:#}");
    let one = &suggestions[0];
    assert_eq!(one["table"], "public.invoices");
    assert_eq!(one["definition"], "(organization_id, period)");
    assert!(one["gain_percent"].as_f64().unwrap() > 70.0, "{one:#}");
    assert!(one["size_bytes"].as_u64().unwrap() > 100_000 && one["id"].as_str().unwrap().starts_with("ix-"));
    assert!(one["confidence"].is_string() && one["shapes"].as_array().unwrap().len() == 1, "{one:#}");
    let existing = answer["existing"].as_array().unwrap();
    let twin = existing.iter().find(|index| index["verdict"] == "duplicate").unwrap();
    assert_eq!(twin["name"], "twin_two", "{existing:#?}");
}

#[test]
fn a_running_pgweir_advises_and_its_advice_can_be_run() {
    let database = loaded("advice_run");
    let weir = Weir::start(&plain(&database, "max_size: 3", ""));
    workload(&weir, &database);
    let admin = weir.admin.to_string();
    let mut answer = Value::Null;
    // Shapes are parsed and counted a moment later.
    until("the advice", || {
        answer = json(&["advise", "--json", "--admin", &admin]);
        (!answer["suggestions"].as_array().unwrap().is_empty()).then_some(())
    });
    check(&answer);
    let ddl = answer["suggestions"][0]["ddl"].as_str().unwrap();
    batch(&database.superuser_url(), &[ddl]);
    let name = answer["suggestions"][0]["name"].as_str().unwrap();
    assert_eq!(name, "idx_invoices_organization_id_period");
    let valid = format!("SELECT indisvalid FROM pg_index WHERE indexrelid = '{name}'::regclass");
    assert_eq!(ask(&database.superuser_url(), &valid), "t");
    until("no more advice", || {
        let answer = json(&["advise", "--json", "--admin", &admin]);
        answer["suggestions"].as_array().unwrap().is_empty().then_some(())
    });
    let text = command(&["advise", "--admin", &admin, "--last"]).unwrap();
    assert!(text.contains("No index is advised") && text.contains("duplicate twin_two"), "{text}");
}

#[test]
fn a_log_and_a_database_are_enough() {
    let database = loaded("advice_log");
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    let rules = "slow_log: {over: 0s, parameters: true, lines_per_minute: {per_shape: 1000, all: 1000}, \
                 file: {path: slow.jsonl}}\n";
    std::fs::write(folder.path().join("rules/slow.yaml"), rules).unwrap();
    let weir = Weir::start_in(folder, &plain(&database, "max_size: 3", "rules: rules\n"), |_| {});
    workload(&weir, &database);
    let log = weir.file("slow.jsonl");
    until("30 lines", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        (text.lines().filter(|line| line.contains("invoices")).count() >= 30).then_some(())
    });
    let (log, url) = (log.display().to_string(), database.url());
    let answer = json(&["advise", "--json", "--log", &log, "--database-url", &url, "--budget", "1GB"]);
    check(&answer);
    if has_hypopg() {
        assert_eq!(answer["suggestions"][0]["confidence"], "high", "{answer:#}");
    }
    let text = command(&["advise", "--log", &log, "--database-url", &url]).unwrap();
    assert!(text.contains("CREATE INDEX CONCURRENTLY idx_invoices_organization_id_period"), "{text}");
    let tight = json(&["advise", "--json", "--log", &log, "--database-url", &url, "--budget", "64kB"]);
    assert!(tight["suggestions"].as_array().unwrap().is_empty(), "{tight:#}");
    let wrong = command(&["advise", "--log", "no/such", "--database-url", &url]).unwrap_err();
    assert!(wrong.contains("no/such"), "{wrong}");
    assert!(!text.contains(APP_PASSWORD));
}
