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
    println!("{parsed} statements parse, {} of them not in canonical form", lost.len());
    assert!(parsed > 350, "{parsed}");
    assert!(lost.len() * 100 <= parsed, "{} of {parsed} lost:\n{}", lost.len(), lost.join("\n"));
}

/// Texts that one shape must gather, and how many distinct texts there are of each.
const GATHERED: [(&str, usize); 8] = [
    // Django binds on the client's and on the server's side.
    (
        "select auth_group.id, auth_group.name from auth_group inner join auth_user_groups \
         on (auth_group.id = auth_user_groups.group_id) where auth_user_groups.user_id = $1",
        5,
    ),
    ("insert into auth_user_groups(user_id, group_id) values ($1, $2) on conflict do nothing", 5),
    (
        "insert into django_migrations(app, name, applied) values ($1, $2, $3::timestamptz) \
         returning django_migrations.id",
        14,
    ),
    // SQLAlchemy writes the value on the left.
    ("select book.id, book.title, book.price, book.author_id from book where book.author_id = $1", 5),
    (
        "select id, title, \"createdAt\", \"updatedAt\", \"AuthorId\" from \"Books\" as \"Book\" \
         where \"Book\".\"AuthorId\" = $1",
        3,
    ),
    ("select * from t where id = $1", 4),
    ("insert into t(a) values ($1)", 3),
    ("savepoint _pg3_1", 2),
];

#[test]
fn statements_that_differ_in_values_are_one_shape() {
    let mut by: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut fingerprints: BTreeMap<Fingerprint, String> = BTreeMap::new();
    for (stack, text) in corpus() {
        for (fingerprint, canonical) in shapes(&text) {
            let known = fingerprints.entry(fingerprint).or_insert_with(|| canonical.clone());
            assert_eq!(*known, canonical);
            by.entry(canonical).or_default().push(format!("{stack}: {text}"));
        }
    }
    assert_eq!(fingerprints.len(), by.len());
    for (canonical, count) in GATHERED {
        let texts = by.get(canonical).map_or(&[][..], Vec::as_slice);
        assert_eq!(texts.len(), count, "{canonical}:\n{}", texts.join("\n"));
    }
}

/// Nothing in quotes or digits is left, besides names and what belongs to a type or an ordinal.
#[test]
fn no_value_is_left() {
    for (stack, text) in corpus() {
        for (_, canonical) in shapes(&text) {
            let inside = canonical.split('\'').skip(1).step_by(2);
            for literal in inside {
                let digits = literal.strip_prefix('$').unwrap_or_default();
                assert!(
                    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()),
                    "{stack}: {canonical}"
                );
            }
        }
    }
}
