//! The same bytes to PostgreSQL and through pgweir, compared frame by frame: PostgreSQL is the oracle, for
//! what works and for what fails. The scripts are in `differential/*.txt`; adding one needs no Rust.
//!
//! A script sends frames (the form of `transcripts/frames.rs`) and waits: `wait Z` for a ReadyForQuery,
//! `wait Z 3` for three, `wait end` for the end of the connection. `client 2` goes on as another client.
//! `startup: name value` adds start-up parameters; `modes: session` runs it in that mode only.

use std::collections::BTreeMap;

use pgweir::pool::settings::PoolMode;
use pgweir::wire::server::{error_field, sqlstate};

use crate::cluster::{self, TestDatabase};
use crate::frames::{encode, show, words};
use crate::pgweir::{Pgweir, pool};
use crate::raw::{Raw, Startup};

mod disturb;
mod more;
mod random;
mod script;

use disturb::Disturb;
use script::Script;

/// What every script finds.
const SCHEMA: [&str; 4] = [
    "CREATE TABLE items (id int PRIMARY KEY, name text)",
    "INSERT INTO items SELECT n, 'item ' || n FROM generate_series(1, 10) n",
    "CREATE TABLE later (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)",
    "CREATE SCHEMA other; CREATE TABLE other.items (name text, extra int); \
     INSERT INTO other.items VALUES ('other', 1)",
];

/// Frames by wait.
type Seen = Vec<Vec<Vec<u8>>>;

fn database(subject: &str) -> TestDatabase {
    let database = TestDatabase::new(subject);
    cluster::batch(&database.url(), &SCHEMA);
    database
}

/// Pool of three: one for the client, one each for those who disturb it.
fn weir(mode: PoolMode) -> Pgweir {
    Pgweir::start(mode, |settings| {
        settings.workers = 1;
        pool(settings, |pool| {
            pool.max_size = if mode == PoolMode::Session { 20 } else { 3 };
        });
    })
}

/// Runs every script directly and in this mode; reports all that differ.
fn compare(mode: PoolMode, disturbed: bool, scripts: &[Script]) {
    let subject = format!("{mode:?}_{disturbed}").to_lowercase();
    let (direct, through) = (database(&subject), database(&subject));
    let weir = weir(mode);
    let mut failures = Vec::new();
    let mut compared = 0;
    for script in scripts.iter().filter(|script| script.is_for(mode)) {
        let oracle = match script.play(cluster::shared().port(), &direct.name, None, None) {
            Ok(oracle) => oracle,
            Err(why) => {
                failures.push(format!("{}: even directly: {why}", script.title));
                continue;
            }
        };
        if mode == PoolMode::Statement && opens_transactions(&oracle) {
            continue;
        }
        let mut disturb = disturbed.then(|| Disturb::new(weir.port(), &through.name, mode));
        let played = script.play(weir.port(), &through.name, Some(&oracle), disturb.as_mut());
        let outcome = played.and_then(|seen| differences(&oracle, &seen, script.late));
        if let Err(why) = outcome {
            failures.push(format!("{} ({mode:?}, disturbed {disturbed}): {why}", script.title));
        }
        compared += 1;
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(compared > 0, "nothing was compared");
}

/// Whether a ReadyForQuery said anything but idle.
fn opens_transactions(seen: &Seen) -> bool {
    let mut frames = seen.iter().flatten();
    frames.any(|frame| frame[0] == b'Z' && frame[5] != b'I')
}

fn differences(oracle: &Seen, seen: &Seen, late: bool) -> Result<(), String> {
    if late && parameters(oracle) != parameters(seen) {
        return Err("other parameters in the end".to_owned());
    }
    for (at, (expected, found)) in oracle.iter().zip(seen).enumerate() {
        let mask = |frames: &[Vec<u8>]| -> Vec<Vec<u8>> {
            frames.iter().filter(|frame| !late || frame[0] != b'S').map(|frame| masked(frame)).collect()
        };
        if !alike(&mask(expected), &mask(found)) {
            return Err(format!(
                "wait {}: PostgreSQL says\n{}\n  pgweir says\n{}",
                at + 1,
                show(&expected.concat()),
                show(&found.concat())
            ));
        }
    }
    if oracle.len() == seen.len() {
        Ok(())
    } else {
        Err(format!("{} waits, and {} through pgweir", oracle.len(), seen.len()))
    }
}

/// Equal, but for a statement that pgweir had to parse on the server first, which a failed transaction
/// refuses before PostgreSQL would have looked for any other mistake.
fn alike(expected: &[Vec<u8>], found: &[Vec<u8>]) -> bool {
    let refused = |frame: &[u8]| {
        let routine = error_field(&frame[5..], b'R');
        frame[0] == b'E' && sqlstate(&frame[5..]) == *b"25P02" && routine == Some(b"exec_parse_message")
    };
    expected.len() == found.len()
        && expected
            .iter()
            .zip(found)
            .all(|(expected, found)| expected == found || (expected[0] == b'E' && refused(found)))
}

/// What ParameterStatus said last, by name.
fn parameters(seen: &Seen) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let frames = seen.iter().flatten().filter(|frame| frame[0] == b'S');
    frames
        .filter_map(|frame| pgweir::wire::server::parameter(&frame[5..]))
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect()
}

/// A frame without what has to differ: the backend's key and process id, and OIDs of tables, which are
/// made anew in each database.
fn masked(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    match frame[0] {
        b'K' => frame.truncate(1),
        b'A' => frame[5..9].fill(0),
        // pgweir refuses in PostgreSQL's words, but has no file, line and routine of it.
        b'E' if error_field(&frame[5..], b'V') == Some(b"FATAL") => {
            let field = |field| error_field(&frame[5..], field).unwrap_or_default();
            frame = [field(b'C'), field(b'M')].join(&b' ');
        }
        b'T' => {
            let mut at = 7;
            while at < frame.len() {
                let end = at + frame[at..].iter().position(|&b| b == 0).unwrap();
                frame[end + 1..end + 5].fill(0);
                at = end + 19;
            }
        }
        _ => {}
    }
    frame
}

#[test]
fn in_session_mode() {
    compare(PoolMode::Session, false, &Script::all());
}

#[test]
fn in_transaction_mode() {
    compare(PoolMode::Transaction, false, &Script::all());
}

#[test]
fn in_transaction_mode_across_servers() {
    compare(PoolMode::Transaction, true, &Script::all());
}

#[test]
fn in_statement_mode_across_servers() {
    compare(PoolMode::Statement, true, &Script::all());
}
