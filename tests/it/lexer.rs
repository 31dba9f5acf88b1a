//! A real PostgreSQL judges the lexer: what is one literal to us must be one value to the server, what we take
//! for the end of a statement must be one, an operator must be the server's operator, and a statement written
//! in our way, with its values put back, must bring the same rows. Knows nothing of the proxy.

use std::collections::HashMap;

use pgweir::sql::shape::{Fingerprint, Hole, Shaper};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::cluster::{TestDatabase, connect};

mod write;

use write::Dice;

struct Seen {
    fingerprint: Fingerprint,
    canonical: String,
    holes: Vec<Hole>,
}

fn shapes(text: &str, standard: bool) -> Vec<Seen> {
    let mut found = Vec::new();
    Shaper::default().shapes(text.as_bytes(), standard, |shape| {
        found.push(Seen {
            fingerprint: shape.fingerprint,
            canonical: String::from_utf8(shape.canonical.to_vec()).unwrap(),
            holes: shape.holes.to_vec(),
        });
    });
    found
}

fn cut<'a>(text: &'a str, hole: &Hole) -> &'a str {
    &text[hole.start as usize..hole.end as usize]
}

/// What a text brings: the rows and the number of commands, or the server's words.
async fn run(client: &Client, text: &str) -> Result<(Vec<Vec<Option<String>>>, usize), String> {
    let messages = client.simple_query(text).await;
    let messages = messages.map_err(|e| e.as_db_error().map_or(e.to_string(), |e| e.message().to_owned()))?;
    let (mut rows, mut commands) = (Vec::new(), 0);
    for message in messages {
        match message {
            SimpleQueryMessage::Row(row) => {
                rows.push((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect());
            }
            SimpleQueryMessage::CommandComplete(_) => commands += 1,
            _ => {}
        }
    }
    Ok((rows, commands))
}

async fn set_standard(client: &Client, standard: bool) {
    let on = if standard { "on" } else { "off" };
    let settings = format!("set standard_conforming_strings = {on}; set escape_string_warning = off");
    client.batch_execute(&settings).await.unwrap();
}

/// Each hole of `select a, b, c` alone must have the value of its column.
async fn one_value_each(client: &Client, text: &str, standard: bool) -> bool {
    let Ok((rows, commands)) = run(client, text).await else {
        return false;
    };
    let seen = shapes(text, standard);
    assert_eq!(seen.len(), commands, "{text:?}");
    let holes: Vec<&str> = seen.iter().flat_map(|seen| &seen.holes).map(|hole| cut(text, hole)).collect();
    let values: Vec<&Option<String>> = rows.iter().flatten().collect();
    assert_eq!(holes.len(), values.len(), "{text:?}: {holes:?} {values:?}");
    // Together they cost one round trip.
    let alone = format!("select {}", holes.join("\n, "));
    let (again, _) = run(client, &alone).await.unwrap_or_else(|e| panic!("{text:?}: {alone:?}: {e}"));
    assert_eq!(again.iter().flatten().collect::<Vec<_>>(), values, "{text:?}");
    for (hole, value) in holes.iter().zip(values) {
        let (one, _) =
            run(client, &format!("select {hole}")).await.unwrap_or_else(|e| panic!("{hole:?}: {e}"));
        assert_eq!(&one[0][0], value, "{text:?}: {hole:?}");
    }
    true
}

#[tokio::test]
async fn one_literal_is_one_value() {
    let database = TestDatabase::new("lexer_literals");
    let client = connect(&database.url()).await;
    for standard in [true, false] {
        set_standard(&client, standard).await;
        let mut dice = Dice::new(if standard { 1 } else { 2 });
        let mut accepted = 0;
        for _ in 0..400 {
            let text = dice.literals(standard);
            accepted += usize::from(one_value_each(&client, &text, standard).await);
        }
        assert!(accepted > 200, "the server took only {accepted} of 400 texts");
    }
}

#[tokio::test]
async fn statements_end_where_the_server_ends_them() {
    let database = TestDatabase::new("lexer_statements");
    let client = connect(&database.url()).await;
    client.batch_execute("create table t (a int)").await.unwrap();
    for standard in [true, false] {
        set_standard(&client, standard).await;
        let mut dice = Dice::new(if standard { 3 } else { 4 });
        let mut accepted = 0;
        for _ in 0..300 {
            // The last one is there because the driver counts a text without any statement as one.
            let text = dice.statements(standard) + ";select 0";
            let Ok((_, commands)) = run(&client, &text).await else {
                continue;
            };
            accepted += 1;
            let seen = shapes(&text, standard);
            let shown: Vec<&str> = seen.iter().map(|seen| seen.canonical.as_str()).collect();
            assert_eq!(shown.len(), commands, "{text:?}: {shown:?}");
        }
        assert!(accepted > 150, "the server took only {accepted} of 300 texts");
    }
}

/// The server names the operator that it does not have.
#[tokio::test]
async fn operators_end_where_the_server_ends_them() {
    let database = TestDatabase::new("lexer_operators");
    let client = connect(&database.url()).await;
    let mut dice = Dice::new(5);
    let mut named = 0;
    for _ in 0..1_000 {
        let operator = dice.operator();
        let text = format!("select 1 {operator} 2\n");
        let Err(said) = run(&client, &text).await else {
            continue;
        };
        let Some(name) = said.strip_prefix("operator does not exist: ") else {
            continue;
        };
        let name: Vec<&str> = name.split(' ').filter(|word| *word != "integer").collect();
        let seen = shapes(&text, true);
        let has = seen[0].canonical.split(' ').any(|word| [word] == *name);
        assert!(has, "{text:?}: {name:?} is not in {:?}", seen[0].canonical);
        named += 1;
    }
    assert!(named > 300, "the server named only {named} operators");
}

/// The canonical text with the values of the original, when each has its place in it.
fn restored(text: &str, seen: &Seen) -> Option<String> {
    let mut canonical = seen.canonical.clone();
    let distinct = seen.holes.windows(2).all(|pair| pair[0].number < pair[1].number);
    for hole in seen.holes.iter().rev().filter(|_| distinct) {
        let mark = format!("${}", hole.number);
        let at = canonical.rfind(&mark)?;
        let quoted = canonical[..at].ends_with('\'') && canonical[at + mark.len()..].starts_with('\'');
        let (start, end) = (at - usize::from(quoted), at + mark.len() + usize::from(quoted));
        canonical.replace_range(start..end, cut(text, hole));
    }
    distinct.then_some(canonical)
}

#[tokio::test]
async fn our_way_of_writing_means_the_same() {
    let database = TestDatabase::new("lexer_meaning");
    let client = connect(&database.url()).await;
    client.batch_execute(write::TABLE).await.unwrap();
    let mut dice = Dice::new(6);
    let (mut accepted, mut compared) = (0, 0);
    for _ in 0..1_500 {
        let text = dice.query();
        let Ok((rows, _)) = run(&client, &text).await else {
            continue;
        };
        accepted += 1;
        let seen = shapes(&text, true);
        assert_eq!(seen.len(), 1, "{text:?}");
        let Some(restored) = restored(&text, &seen[0]) else {
            continue;
        };
        compared += 1;
        let (again, _) = run(&client, &restored)
            .await
            .unwrap_or_else(|e| panic!("{text}\n{}\n{restored}\n{e}", seen[0].canonical));
        assert_eq!(again, rows, "{text}\n{}\n{restored}", seen[0].canonical);
    }
    assert!(accepted > 500 && compared > 300, "{accepted} accepted, {compared} compared");
}

/// PostgreSQL's own identifier of a query, which leaves constants out.
async fn query_identifier(client: &Client, text: &str) -> String {
    let (rows, _) = run(client, &format!("explain (verbose, costs off) {text}"))
        .await
        .unwrap_or_else(|e| panic!("{text}: {e}"));
    let mut lines = rows.iter().flatten().flatten();
    lines.find_map(|line| line.trim().strip_prefix("Query Identifier: ")).unwrap().to_owned()
}

/// Of the same group: one query to the server and one shape to us. Of different groups: different to both.
#[tokio::test]
async fn shapes_group_as_the_servers_query_identifiers() {
    let database = TestDatabase::new("lexer_identifiers");
    let client = connect(&database.url()).await;
    client.batch_execute(write::TABLE).await.unwrap();
    let (superuser, name) = (connect(&database.superuser_url()).await, &database.name);
    let set = format!("alter database {name} set compute_query_id = on");
    superuser.batch_execute(&set).await.unwrap();
    let client = connect(&database.superuser_url()).await;
    let (mut by_identifier, mut by_shape) = (HashMap::new(), HashMap::new());
    for (group, texts) in write::GROUPS.iter().enumerate() {
        for text in *texts {
            let identifier = query_identifier(&client, text).await;
            let shape = shapes(text, true)[0].fingerprint;
            assert_eq!(*by_identifier.entry(identifier).or_insert(group), group, "{text}");
            assert_eq!(*by_shape.entry(shape).or_insert(group), group, "{text}");
        }
    }
    assert_eq!(
        by_identifier.len(),
        write::GROUPS.len(),
        "the server has more than one identifier for a group"
    );
    for (one, other) in write::TURNED {
        assert_eq!(shapes(one, true)[0].fingerprint, shapes(other, true)[0].fingerprint, "{other}");
        assert_ne!(query_identifier(&client, one).await, query_identifier(&client, other).await, "{other}");
    }
    assert_eq!(by_shape.len(), write::GROUPS.len(), "we have more than one shape for a group");
}

/// A quoted name keeps its quotes exactly where the server has a keyword that is no plain name.
#[tokio::test]
async fn keywords_are_the_servers() {
    let database = TestDatabase::new("lexer_keywords");
    let client = connect(&database.url()).await;
    let (rows, _) = run(&client, "select word, catcode from pg_get_keywords()").await.unwrap();
    assert!(rows.len() > 400);
    for row in rows {
        let [Some(word), Some(category)] = row.as_slice() else {
            panic!("{row:?}");
        };
        let text = format!("select \"{word}\" from t");
        let keeps = shapes(&text, true)[0].canonical.contains('"');
        assert_eq!(keeps, category != "U", "{word} is of category {category}");
    }
}
