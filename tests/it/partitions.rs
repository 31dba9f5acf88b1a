//! Partitioned tables as pgweir looks after them: created ahead, like their siblings, never in anybody's way.

mod archive;
mod convert;
mod drivers;
mod held;
mod measure;
mod missing;
mod seen;
mod upkeep;
mod writers;
mod zones;

use std::process::Command;

use serde_json::Value;

use crate::cluster::{TestDatabase, ask, batch};
use crate::support::{Weir, plain, until};

/// A token of role operator and its hash.
const TOKEN: &str = "pgweir_operator";

/// What `pgweir.yaml` says so that this token may act.
pub fn tokens() -> String {
    let hash = pgweir::admin::token::hash(TOKEN);
    format!(
        "admin: {{address: 127.0.0.1, port: 0, tokens: [{{name: ops, role: operator, hash: \"{hash}\"}}], audit_log: audit}}"
    )
}

/// A pgweir with these entries of `partitions`, one per line, which acts only when it is told to.
pub fn start(database: &TestDatabase, entries: &[&str]) -> Weir {
    start_with(database, entries, "maintenance: {enabled: false}\n", |_| {})
}

pub fn start_with(
    database: &TestDatabase,
    entries: &[&str],
    more: &str,
    arrange: impl FnOnce(&mut Command),
) -> Weir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    let entries: String = entries.iter().map(|entry| format!("  - {entry}\n")).collect();
    let list =
        if entries.is_empty() { "partitions: []\n".to_owned() } else { format!("partitions:\n{entries}") };
    std::fs::write(folder.path().join("rules/a.yaml"), format!("{list}{more}")).unwrap();
    let settings = plain(database, "max_size: 5", "rules: rules")
        .replace("admin: {address: 127.0.0.1, port: 0}", &tokens());
    Weir::start_in(folder, &settings, arrange)
}

/// Runs `pgweir partitions …` against a running one: whether it went well, and what it said.
pub fn command(weir: &Weir, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_pgweir"))
        .arg("partitions")
        .args(arguments)
        .args(["--admin", &weir.admin.to_string(), "--token", TOKEN])
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// The same, which has to go well.
pub fn done(weir: &Weir, arguments: &[&str]) -> String {
    let (good, text) = command(weir, arguments);
    assert!(good, "{arguments:?}: {text}");
    text
}

/// The same, which has to fail.
pub fn refused(weir: &Weir, arguments: &[&str]) -> String {
    let (good, text) = command(weir, arguments);
    assert!(!good, "{arguments:?}: {text}");
    text
}

/// The view of the first table.
pub fn view(weir: &Weir) -> Value {
    let text = done(weir, &["list", "--json"]);
    let answer: Value = serde_json::from_str(&text).unwrap();
    answer["tables"][0].clone()
}

/// Partitions and their bounds, in order.
pub fn bounds(database: &TestDatabase, table: &str) -> Vec<String> {
    let query = format!(
        "SET TimeZone = 'UTC'; SELECT coalesce(string_agg(c.relname || ' ' || pg_get_expr(c.relpartbound, c.oid), E'\\n' \
         ORDER BY c.relname), '') FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
         WHERE i.inhparent = '{table}'::regclass"
    );
    let text = ask(&database.superuser_url(), &query);
    let short =
        |line: &str| line.replace("FOR VALUES FROM ", "").replace("'", "").replace(" 00:00:00+00", "");
    text.lines().map(short).collect()
}

pub fn run(database: &TestDatabase, statements: &[&str]) {
    batch(&database.url(), statements);
}

/// The lines of the audit log.
pub fn audited(weir: &Weir) -> Vec<Value> {
    let text = until("the audit log", || std::fs::read_to_string(weir.file("audit")).ok());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
