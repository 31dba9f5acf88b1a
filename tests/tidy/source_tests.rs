//! The walls see what they should: each check is shown something that it has to refuse.

use super::source::{Source, paths};
use super::{floor_faults, purity_faults, size_faults};

fn source(path: &str, code: &str) -> Source {
    Source::new(path, code)
}

#[test]
fn comments_and_literals_are_not_code() {
    let raw = r##"a /* x /* y */ z */ b // c "d
"e\"f" g 'h' '\'' 'i j b"k" r#"l"m"# n b'"' "o" p br"q" r"##;
    let code = source("src/x.rs", raw).code;
    let words: Vec<&str> = code.split_whitespace().collect();
    assert_eq!(words, ["a", "b", "g", "'i", "j", "n", "p", "r"]);
    assert_eq!(code.lines().count(), raw.lines().count());
}

#[test]
fn paths_are_found_in_groups() {
    let code = "use crate::a::{self, b::{c, d as e}, f}; fn g() { crate::h::i(); not_crate::j(); }\
                pub(in crate::k) fn l() {} use crate::{m, n::o};";
    let expected = ["a::self", "a::b::c", "a::b::d", "a::f", "h::i", "k", "m", "n::o"];
    assert_eq!(paths(code, "crate"), expected);
    assert_eq!(paths("use std::time::{Duration, Instant};", "std").len(), 2);
}

#[test]
fn functions_are_measured_by_their_code() {
    let code = "fn one() {\n    a();\n\n    // why\n    b(\"}\");\n}\ntrait T { fn none(&self) -> [u8; 4]; }\n\
                fn two<F: Fn(u8) -> u8>(f: F) where F: Copy {\n    if x { y() }\n}\n";
    let functions = source("src/x.rs", code).functions();
    assert_eq!(functions, [("one".to_owned(), 2), ("two".to_owned(), 1)]);
}

#[test]
fn what_is_for_tests_is_not_production() {
    let code = "fn a() {}\n#[cfg(test)]\nmod tests;\nfn b() {}\n#[cfg(test)]\nmod inline {\n fn c() {}\n}\n";
    let production = source("src/x.rs", code).production().to_owned();
    assert!(production.contains("fn b()") && !production.contains("fn c()"));
}

#[test]
fn a_wrong_import_is_refused() {
    let faults = |path, code| floor_faults(&source(path, code)).len();
    assert_eq!(faults("src/wire/a.rs", "use crate::pool::lend::Lease;"), 1, "upwards");
    assert_eq!(faults("src/wire/a.rs", "use crate::auth::Secret;"), 1, "sideways");
    assert_eq!(faults("src/pool/a.rs", "use crate::{session, error};"), 1, "in a group");
    assert_eq!(faults("src/pool/a.rs", "use crate::observe::log;"), 1, "beyond the exception");
    assert_eq!(faults("src/pool/a.rs", "use crate::observe::counters::X;"), 0);
    assert_eq!(faults("src/pool/a.rs", "use super::super::proxy;"), 1, "in disguise");
    assert_eq!(faults("src/attic/a.rs", ""), 1, "a room without a floor");
    assert_eq!(faults("src/proxy/a.rs", "use crate::session::Session;"), 0);
}

#[test]
fn impure_code_is_refused() {
    let faults = |path, code| purity_faults(&source(path, code)).len();
    for code in [
        "use tokio::net::TcpStream;",
        "use std::{fs, rc::Rc};",
        "use std::time::{Duration, Instant};",
        "static COUNT: Cell<u8> = Cell::new(0);",
        "static mut COUNT: u8 = 0;",
        "thread_local! {}",
        "use crate::pool::lend::Pool;",
        "use crate::net::stream::Stream;",
        "fn a() { tracing::info!() }",
    ] {
        assert!(faults("src/session/a.rs", code) > 0, "{code}");
    }
    let fine = "use std::time::Duration; use crate::pool::memory::Memory; use crate::wire::{self, head};\n\
                static WORDS: LazyLock<Words> = LazyLock::new(build);\n// tokio::net\n";
    assert_eq!(faults("src/session/a.rs", fine), 0);
    assert_eq!(faults("src/proxy/a.rs", "use tokio::net::TcpStream;"), 0);
}

#[test]
fn long_and_headless_files_are_refused() {
    let faults = |path, code: &str| size_faults(&source(path, code)).len();
    assert_eq!(faults("src/a.rs", "//! Why.\nfn a() {}\n"), 0);
    assert_eq!(faults("src/a.rs", "fn a() {}\n"), 1);
    assert_eq!(faults("tests/a.rs", &format!("//! Why.\n{}", "\n".repeat(400))), 1);
    let body = "    b();\n".repeat(71);
    assert_eq!(faults("src/a.rs", &format!("//! Why.\nfn a() {{\n{body}}}\n")), 1);
    assert_eq!(faults("src/a.rs", "//! Why.\nfn a() { b.unwrap() }\n"), 1);
    assert_eq!(faults("tests/a.rs", "//! Why.\nfn a() { b.unwrap() }\n"), 0);
}
