//! The golden cases: reading them, loading their tables, comparing what is advised.

use std::collections::BTreeSet;
use std::path::Path;

use pgweir::advise::AdviseSettings;
use pgweir::maintain::index::Outcome;
use pgweir::maintain::index::gather::{Shape, from_sql};
use serde::Deserialize;

use super::{advise, small};
use crate::cluster::{TestDatabase, ask, batch};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    base: Vec<String>,
    #[serde(default)]
    schema: Vec<String>,
    statements: Vec<Asked>,
    #[serde(default)]
    settings: Settings,
    planner: Option<bool>,
    expect: Vec<String>,
    #[serde(default)]
    either: Vec<Vec<String>>,
    because: Option<String>,
    replaces: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    sql: String,
    #[serde(default)]
    values: Vec<Vec<Option<String>>>,
    calls: Option<u64>,
    ms: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    budget_mb: Option<u64>,
    brin_mb: Option<u64>,
    max_per_table: Option<usize>,
}

fn all() -> Vec<Case> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/advice"));
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        serde_yaml::from_str::<Vec<Case>>(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    files.iter().flat_map(read).collect()
}

/// How many are right, and what is wrong with the others.
pub fn play_all() -> (usize, Vec<String>) {
    let database = TestDatabase::new("advice");
    let base = include_str!("../../data/advice/base.sql");
    batch(
        &database.superuser_url(),
        &["CREATE EXTENSION pg_trgm", "CREATE EXTENSION hypopg", "CREATE SCHEMA base"],
    );
    batch(&database.superuser_url(), &base.split(";\n").collect::<Vec<_>>());
    let only = std::env::var("ADVICE_CASE").ok();
    let (mut right, mut wrong) = (0, Vec::new());
    for (number, case) in all().iter().enumerate() {
        if only.as_ref().is_some_and(|only| !case.name.contains(only.as_str())) {
            continue;
        }
        load(&database, number, case);
        let outcome = advise(&database, case.statements.iter().flat_map(shapes).collect(), &settings(case));
        if only.is_some() {
            println!("{outcome:#?}");
        }
        match fault(case, &outcome) {
            None => right += 1,
            Some(fault) => wrong.push(format!("{}: {fault}", case.name)),
        }
        batch(&database.superuser_url(), &[&format!("DROP SCHEMA case_{number} CASCADE")]);
    }
    (right, wrong)
}

/// Each case has a schema of its own, which new connections search.
fn load(database: &TestDatabase, number: usize, case: &Case) {
    let schema = format!("case_{number}");
    let mut sql = vec![
        format!("CREATE SCHEMA {schema}"),
        format!("ALTER DATABASE {} SET search_path = {schema}, public", database.name),
    ];
    match case.planner {
        Some(false) => sql.push("DROP EXTENSION IF EXISTS hypopg".to_owned()),
        _ => sql.push("CREATE EXTENSION IF NOT EXISTS hypopg SCHEMA public".to_owned()),
    }
    batch(&database.superuser_url(), &sql.iter().map(String::as_str).collect::<Vec<_>>());
    let mut sql = Vec::new();
    for table in &case.base {
        sql.push(format!("CREATE TABLE {table} AS SELECT * FROM base.{table} ORDER BY id"));
        sql.push(format!("ALTER TABLE {table} ADD PRIMARY KEY (id)"));
    }
    sql.extend(case.schema.iter().cloned());
    batch(&database.superuser_url(), &sql.iter().map(String::as_str).collect::<Vec<_>>());
    let tables = ask(
        &database.superuser_url(),
        &format!(
            "SELECT string_agg(oid::regclass::text, ', ') FROM pg_class WHERE relkind IN ('r', 'p', 'm') \
             AND relnamespace = '{schema}'::regnamespace"
        ),
    );
    // The cluster commits asynchronously; before its log is on the disk, VACUUM knows no row to be visible to all.
    batch(&database.superuser_url(), &["CHECKPOINT", &format!("VACUUM (ANALYZE) {tables}")]);
}

fn shapes(asked: &Asked) -> Vec<Shape> {
    let calls = asked.calls.unwrap_or(1000);
    let one = |values: &Vec<Option<String>>| {
        let values: Vec<Option<&str>> = values.iter().map(Option::as_deref).collect();
        from_sql(&asked.sql, &values)
    };
    let none = Vec::new();
    let samples = if asked.values.is_empty() { vec![&none] } else { asked.values.iter().collect() };
    let share = samples.len() as u64;
    let mut shapes: Vec<Shape> = samples.into_iter().flat_map(one).collect();
    for shape in &mut shapes {
        shape.calls = calls / share;
        shape.total_ms = asked.ms.unwrap_or_default() * shape.calls as f64;
    }
    shapes
}

fn settings(case: &Case) -> AdviseSettings {
    let mut settings = small();
    if let Some(mb) = case.settings.budget_mb {
        settings.budget_bytes = mb << 20;
    }
    if let Some(mb) = case.settings.brin_mb {
        settings.brin_table_bytes = mb << 20;
    }
    settings.max_per_table = case.settings.max_per_table.unwrap_or(settings.max_per_table);
    settings
}

fn fault(case: &Case, outcome: &Outcome) -> Option<String> {
    let suggestions = &outcome.advice.suggestions;
    let short = |table: &str| table.rsplit('.').next().unwrap_or_default().to_owned();
    let found: BTreeSet<String> =
        suggestions.iter().map(|one| format!("{} {}", short(&one.table), one.definition)).collect();
    let mut good = std::iter::once(&case.expect).chain(&case.either);
    if !good.any(|expect| expect.iter().cloned().collect::<BTreeSet<_>>() == found) {
        let notes: Vec<&str> = outcome.advice.notes.iter().map(|note| note.reason.as_str()).collect();
        return Some(format!("{found:?} in place of {:?}; notes: {notes:?}", case.expect));
    }
    if let Some(because) = &case.because
        && !outcome.advice.notes.iter().any(|note| note.reason.contains(because))
    {
        return Some(format!("no reason has {because:?}: {:?}", outcome.advice.notes));
    }
    if let Some(narrow) = &case.replaces
        && !suggestions.iter().any(|one| one.then.iter().any(|sql| sql.contains(narrow)))
    {
        return Some(format!("{narrow} is not said to be needless: {suggestions:?}"));
    }
    None
}
