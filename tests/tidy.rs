//! The walls of the house, as data: which room stands on which floor, what a pure room may name, where each
//! external crate lives, how long files and functions may be. Fails when the code leaves them. Reads text
//! and compiles nothing; ARCHITECTURE.md says why the walls stand where they do.

#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/source_tests.rs"]
mod source_tests;

use source::{Source, all, paths};

/// A room imports from lower floors and from itself.
const FLOORS: [(u32, &[&str]); 9] = [
    (1, &["error", "catalog"]),
    (2, &["wire", "sql", "auth", "net", "tls"]),
    (3, &["pool", "observe", "coalesce", "route"]),
    (4, &["session", "advise", "probe"]),
    (5, &["maintain"]),
    (6, &["config", "admin"]),
    (7, &["proxy"]),
    (8, &["demo"]),
    (9, &["cli"]),
];

/// Imports between rooms of one floor: who, what, why.
const NEIGHBOURS: [(&str, &str, &str); 7] = [
    (
        "pool",
        "observe::counters",
        "plain numbers, which the pool counts up; what is made of them is decided in observe",
    ),
    (
        "pool",
        "observe::ledger",
        "a shape carries the entry that its statements are counted in, and does not look into it",
    ),
    ("observe", "coalesce::fence", "workers share the counters of a fence; what they mean is decided there"),
    ("observe", "coalesce::writes", "what a counter is kept for"),
    (
        "observe",
        "coalesce::prefetch::template",
        "what workers learned is kept for the others and over restarts",
    ),
    ("pool", "route", "a pool keeps what its statements are narrowed by, and does not decide on it"),
    ("config", "admin", "a room owns the settings that it obeys, and config gathers them from every room"),
];

/// Files and folders that decide and do nothing else: no sockets, files, clocks, threads or globals.
const PURE: [&str; 26] = [
    "src/advise/",
    "src/catalog/",
    "src/error.rs",
    "src/wire/",
    "src/sql/",
    "src/auth/",
    "src/net/buffer.rs",
    "src/coalesce/",
    "src/route/",
    "src/session/",
    "src/maintain/bound.rs",
    "src/maintain/cell.rs",
    "src/maintain/civil.rs",
    "src/maintain/index/settings.rs",
    "src/maintain/layout.rs",
    "src/maintain/period.rs",
    "src/maintain/settings.rs",
    "src/maintain/sql.rs",
    "src/maintain/suggest.rs",
    "src/pool/baggage.rs",
    "src/pool/memory.rs",
    "src/pool/routing.rs",
    "src/pool/shape.rs",
    "src/pool/statement.rs",
    "src/pool/template.rs",
    "src/pool/values.rs",
];

/// What pure code may import from files that are not pure: plain data.
const PURE_IMPORTS: [(&str, &str); 3] = [
    ("pool::settings::PoolMode", "an enum"),
    ("observe::counters::PinReason", "an enum"),
    ("observe::ledger::Entry", "carried along, never looked into"),
];

/// Parts of the standard library that reach outside, and what keeps state for the whole process.
const IMPURE_STD: [&str; 13] = [
    "net",
    "fs",
    "env",
    "io",
    "os",
    "process",
    "thread",
    "time::Instant",
    "time::SystemTime",
    "sync::Mutex",
    "sync::RwLock",
    "sync::OnceLock",
    "sync::atomic",
];

/// External crates, by the name in the code, and the rooms that may name them.
const CRATES: [(&str, &[&str]); 40] = [
    ("axum", &["admin"]),
    ("base64", &["admin", "auth", "cli"]),
    ("bytes", &["probe", "wire"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("comfy_table", &["cli", "demo"]),
    ("dashmap", &["proxy"]),
    ("deadpool_postgres", &["probe"]),
    ("foldhash", &["pool", "proxy", "session"]),
    ("hmac", &["auth"]),
    ("hyper", &["admin"]),
    ("humantime", &["admin", "cli", "observe"]),
    ("hyper_util", &["admin"]),
    ("libc", &["demo", "net", "observe", "proxy"]),
    ("md5", &["auth"]),
    ("memchr", &["pool", "sql", "wire"]),
    ("parquet", &["maintain"]),
    ("pgwire", &["wire"]),
    ("prometheus", &["observe"]),
    ("rand", &["admin", "cli", "demo", "pool", "proxy"]),
    ("rustix", &["net"]),
    ("rustls", &["cli", "pool", "tls"]),
    ("schemars", &["config"]),
    ("serde", &["admin", "advise", "catalog", "coalesce", "config", "maintain", "observe", "probe", "sql"]),
    ("serde_json", &["admin", "cli", "config", "demo", "maintain", "observe", "probe"]),
    ("serde_yaml", &["config"]),
    ("sha2", &["admin", "auth", "cli", "maintain", "tls"]),
    ("socket2", &["pool", "proxy"]),
    ("sqlparser", &["sql"]),
    ("stringprep", &["auth"]),
    ("strsim", &["config"]),
    ("subtle", &["admin", "auth"]),
    ("thiserror", &["auth", "maintain", "pool", "probe", "tls"]),
    ("tokio", &["admin", "cli", "demo", "maintain", "net", "pool", "probe", "proxy"]),
    ("tokio_postgres", &["demo", "maintain", "probe"]),
    ("tokio_rustls", &["admin", "net", "pool", "proxy"]),
    ("tracing", &["admin", "demo", "maintain", "observe", "pool", "probe", "proxy"]),
    ("tracing_subscriber", &["observe"]),
    ("ureq", &["cli"]),
    ("x509_parser", &["tls"]),
];

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 70;

/// Files that are longer than they should be, and how long they may be until they are divided.
const LONG_FILES: [(&str, usize); 2] =
    [("tests/clients/rust/src/tokio_postgres_client.rs", 431), ("tests/transcripts/runner.rs", 446)];

fn floor(room: &str) -> Option<u32> {
    let home = FLOORS.iter().find(|(_, rooms)| rooms.contains(&room))?;
    Some(home.0)
}

fn is_pure(path: &str) -> bool {
    PURE.iter().any(|pure| path.starts_with(pure))
}

fn fail_if_any(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

// --- floors ---

fn floor_faults(source: &Source) -> Vec<String> {
    let room = source.room();
    if matches!(room, "lib" | "main") {
        return Vec::new();
    }
    let Some(home) = floor(room) else {
        return vec![format!("{}: FLOORS has no room {room}", source.path)];
    };
    let mut faults = Vec::new();
    if source.production().contains("super::super::") {
        faults.push(format!("{}: name the room, as crate::…", source.path));
    }
    for path in paths(&source.code, "crate") {
        let to = path.split("::").next().unwrap_or_default();
        let allowed = match floor(to) {
            _ if to == room => true,
            None => false,
            Some(floor) if floor == home => is_neighbour(room, &path),
            Some(floor) => floor < home,
        };
        if !allowed {
            faults.push(format!("{}: {room} (floor {home}) imports {path}", source.path));
        }
    }
    faults
}

fn is_neighbour(room: &str, path: &str) -> bool {
    NEIGHBOURS.iter().any(|(from, to, _)| room == *from && path.starts_with(to))
}

#[test]
fn rooms_import_downwards_only() {
    fail_if_any(all("src").iter().flat_map(floor_faults).collect());
}

#[test]
fn the_map_in_lib_rs_shows_the_same_floors() {
    let map = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs"))
        .expect("src/lib.rs is a text file");
    let mut shown: Vec<(u32, Vec<String>)> = Vec::new();
    for line in map.lines().filter_map(|line| line.strip_prefix("//! ")) {
        let number = line.split_once(". ").and_then(|(number, _)| number.parse().ok());
        if let Some(number) = number {
            shown.push((number, Vec::new()));
        }
        if let Some((_, rooms)) = shown.last_mut() {
            let names = line.split('`').skip(1).step_by(2);
            rooms.extend(names.map(str::to_owned));
        }
    }
    let built: Vec<(u32, Vec<String>)> = FLOORS
        .iter()
        .map(|(floor, rooms)| (*floor, rooms.iter().map(|&room| room.to_owned()).collect()))
        .collect();
    assert_eq!(shown, built, "src/lib.rs on the left, FLOORS on the right");
}

// --- purity ---

fn purity_faults(source: &Source) -> Vec<String> {
    let code = source.production();
    if !is_pure(&source.path) || code.is_empty() {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for path in paths(code, "std") {
        if IMPURE_STD.iter().any(|impure| path.starts_with(impure)) {
            faults.push(format!("{}: pure code names std::{path}", source.path));
        }
    }
    for word in ["static mut ", "thread_local!", "unsafe ", "async ", "std::*", "println!"] {
        if code.contains(word) {
            faults.push(format!("{}: pure code says {word}", source.path));
        }
    }
    for outside in ["tokio", "tracing", "rand", "libc", "socket2"] {
        if !paths(code, outside).is_empty() {
            faults.push(format!("{}: pure code names {outside}", source.path));
        }
    }
    for line in code.lines().filter(|line| is_static(line)) {
        if !line.contains("LazyLock<") {
            faults.push(format!("{}: a global: {}", source.path, line.trim()));
        }
    }
    for path in paths(code, "crate") {
        let listed = PURE_IMPORTS.iter().any(|(plain, _)| path == *plain);
        if !listed && !is_pure(&file_of(&path)) {
            faults.push(format!("{}: pure code imports {path}", source.path));
        }
    }
    faults
}

fn is_static(line: &str) -> bool {
    let line = line.trim_start().trim_start_matches("pub ");
    line.starts_with("static ")
}

/// Where `pool::memory::Memory` may live, as far as PURE has to know: `src/pool/memory.rs`.
fn file_of(path: &str) -> String {
    let mut parts = path.split("::");
    match (parts.next().unwrap_or_default(), parts.next()) {
        (room, _) if is_pure(&format!("src/{room}.rs")) => format!("src/{room}.rs"),
        (room, Some(module)) => format!("src/{room}/{module}.rs"),
        (room, None) => format!("src/{room}/"),
    }
}

#[test]
fn pure_rooms_touch_nothing_outside() {
    fail_if_any(all("src").iter().flat_map(purity_faults).collect());
}

// --- external crates ---

fn dependencies(manifest: &str) -> Vec<String> {
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let names = section.lines().filter(|line| !line.starts_with('#'));
    names
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| match name {
            // The package and its library have different names.
            "md-5" => "md5".to_owned(),
            name => name.replace('-', "_"),
        })
        .collect()
}

fn names_crate(source: &Source, name: &str) -> bool {
    let code = source.production();
    !paths(code, name).is_empty() || code.contains(&format!("use {name};"))
}

#[test]
fn each_crate_stays_in_its_rooms() {
    let sources = all("src");
    let mut faults = Vec::new();
    for (name, homes) in CRATES {
        let mut rooms: Vec<&str> =
            sources.iter().filter(|source| names_crate(source, name)).map(Source::room).collect();
        rooms.sort_unstable();
        rooms.dedup();
        if rooms != homes {
            faults.push(format!("{name} is named in {rooms:?}, its rooms are {homes:?}"));
        }
    }
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    for name in dependencies(&manifest.expect("Cargo.toml is a text file")) {
        if !CRATES.iter().any(|(known, _)| *known == name) {
            faults.push(format!("{name} is a dependency without a room in CRATES"));
        }
    }
    fail_if_any(faults);
}

// --- sizes and heads ---

fn size_faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    let bound =
        LONG_FILES.iter().find(|(path, _)| *path == source.path).map_or(FILE_LINES, |(_, lines)| *lines);
    let lines = source.raw.lines().count();
    if lines > bound {
        faults.push(format!("{}: {lines} lines of {bound}", source.path));
    }
    for (name, lines) in source.functions() {
        if lines > FUNCTION_LINES {
            faults.push(format!("{}: fn {name} has {lines} lines", source.path));
        }
    }
    if !source.raw.trim_start().starts_with("//!") {
        faults.push(format!("{}: does not open with //!", source.path));
    }
    if source.production().contains(".unwrap()") {
        faults.push(format!("{}: unwrap() outside of tests", source.path));
    }
    faults
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let folders = ["src", "tests", "benches", "examples", "fuzz"];
    let sources = folders.iter().flat_map(|folder| all(folder));
    fail_if_any(sources.flat_map(|source| size_faults(&source)).collect());
}

#[test]
fn no_exception_outlives_its_reason() {
    let sources: Vec<Source> = ["src", "tests"].iter().flat_map(|folder| all(folder)).collect();
    let mut faults = Vec::new();
    for (from, to, _) in NEIGHBOURS {
        let mut rooms = sources.iter().filter(|source| source.room() == from);
        if !rooms.any(|source| paths(&source.code, "crate").iter().any(|p| p.starts_with(to))) {
            faults.push(format!("{from} imports nothing of {to} any more"));
        }
    }
    for (path, _) in LONG_FILES {
        let long = |source: &&Source| source.path == path && source.raw.lines().count() > FILE_LINES;
        if !sources.iter().any(|source| long(&source)) {
            faults.push(format!("{path} is short enough now"));
        }
    }
    for (path, _) in PURE_IMPORTS {
        let pure = |source: &&Source| is_pure(&source.path);
        if !sources.iter().filter(pure).any(|s| paths(&s.code, "crate").iter().any(|p| p == path)) {
            faults.push(format!("pure code imports no {path} any more"));
        }
    }
    fail_if_any(faults);
}
