//! What the keys of a transcript say, as values of the session core.

use pgweir::pool::settings::PoolMode;
use pgweir::session::Need;
use pgweir::session::settings::{State, answer};

use crate::frames::{show, words};

pub fn mode(text: &str) -> PoolMode {
    match text {
        "session" => PoolMode::Session,
        "transaction" => PoolMode::Transaction,
        "statement" => PoolMode::Statement,
        _ => panic!("not a mode: {text}"),
    }
}

/// Rows as the question for a server's state brings them; `unknown`: the server could not answer.
pub fn state(text: &str) -> Option<State> {
    if text == "unknown" {
        return None;
    }
    let words = words(text);
    let rows: Vec<Vec<Option<Vec<u8>>>> = words
        .split(|word| word.is_none())
        .filter(|row| !row.is_empty())
        .map(|row| {
            let kind: &[u8] = match row[0].as_deref().unwrap() {
                b"set" => b"s",
                b"prepared" => b"p",
                b"lock" => b"l",
                b"temporary" => b"t",
                b"cursor" => b"h",
                b"listens" => b"n",
                other => panic!("not a state: {}", other.escape_ascii()),
            };
            [&[Some(kind.to_vec())], &row[1..]].concat()
        })
        .collect();
    Some(answer(&rows))
}

pub fn name(need: &Need) -> String {
    match need {
        Need::Bytes(_) => "bytes".to_owned(),
        Need::Server => "server".to_owned(),
        Need::Answers => "answers".to_owned(),
        Need::Close => "close".to_owned(),
        Need::Refuse(error) => format!("refuse {}", error.sqlstate),
        Need::Broken(_) => "broken".to_owned(),
    }
}

pub fn equal(expected: &[u8], found: &[u8]) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    Err(format!("expected\n{}\n  found\n{}", show(expected), show(found)))
}
