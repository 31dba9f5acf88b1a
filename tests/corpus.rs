//! What real client stacks sent (`tests/data/orm-sql`), as shapes: statements that mean the same fall together,
//! nothing of a value is left, and the canonical text is SQL. Needs no server.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use pgweir::sql::shape::{Fingerprint, Shaper};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

/// Every statement, with the file that it comes from.
fn corpus() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/orm-sql");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut statements = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "sqls")) {
        let stack = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(file).unwrap();
        let texts = text.split('\x01').filter(|text| !text.trim().is_empty());
        statements.extend(texts.map(|text| (stack.clone(), text.to_owned())));
    }
    assert!(statements.len() > 300, "{} statements", statements.len());
    statements
}

fn shapes(text: &str) -> Vec<(Fingerprint, String)> {
    let mut found = Vec::new();
    Shaper::default().shapes(text.as_bytes(), true, |shape| {
        found.push((shape.fingerprint, String::from_utf8(shape.canonical.to_vec()).unwrap()));
    });
    found
}

fn parses(text: &str) -> Result<(), String> {
    Parser::parse_sql(&PostgreSqlDialect {}, text).map(|_| ()).map_err(|e| e.to_string())
}

#[test]
fn canonical_texts_are_sql_where_the_originals_are() {
    let (mut parsed, mut lost) = (0, Vec::new());
    for (stack, text) in corpus() {
        if parses(&text).is_err() {
            continue;
        }
        parsed += 1;
        for (_, canonical) in shapes(&text) {
            if let Err(e) = parses(&canonical) {
                lost.push(format!("{stack}: {e}\n  {text}\n  {canonical}"));
            }
        }
    }
    println!("{parsed} statements parse; lost: {}", lost.join("\n"));
    assert!(lost.len() * 100 <= parsed, "{} of {parsed} lost:\n{}", lost.len(), lost.join("\n"));
}

#[test]
fn shapes_of_the_corpus() {
    let mut by: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (stack, text) in corpus() {
        for (_, canonical) in shapes(&text) {
            by.entry(canonical).or_default().push(format!("{stack}: {text}"));
        }
    }
    for (canonical, texts) in &by {
        println!("{canonical}\n    {}", texts.len());
    }
}
