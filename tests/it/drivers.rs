//! Real drivers: each one of `tests/clients` holds its conversation directly with PostgreSQL and through pgweir in
//! session and in transaction mode, and must be told the same. It must not know how either end is started: that is
//! behind `Endpoints`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Where one conversation can be held. Both URLs name the same database, as its owner, so that transcripts agree.
pub trait Endpoints {
    /// Straight to PostgreSQL: `postgres://user:password@host:port/database`.
    fn direct_url(&self) -> String;
    /// Through a pgweir whose pool is in this mode (`session` or `transaction`) and holds at least four servers;
    /// fewer than `CLIENTS` (8), so that clients have to wait for one another.
    fn pgweir_url(&self, mode: &str) -> String;
}

/// The names that `tests/clients/run.sh` knows, in its order.
pub const DRIVERS: [&str; 11] = [
    "psql",
    "libpq",
    "psycopg3",
    "psycopg2",
    "asyncpg",
    "sqlalchemy",
    "node_pg",
    "postgresjs",
    "pgjdbc",
    "tokio_postgres",
    "sqlx",
];

/// One test per driver. `$endpoints` is an expression that makes an `Endpoints` for that driver's test.
macro_rules! driver_tests {
    ($endpoints:expr) => {
        $crate::drivers::driver_tests! { $endpoints;
            psql libpq psycopg3 psycopg2 asyncpg sqlalchemy node_pg postgresjs pgjdbc tokio_postgres sqlx }
    };
    ($endpoints:expr; $($driver:ident)*) => {$(
        #[test]
        fn $driver() {
            $crate::drivers::same_conversation(&$endpoints, stringify!($driver));
        }
    )*
        #[test]
        fn no_driver_is_left_out() {
            $crate::drivers::assert_complete(&[$(stringify!($driver)),*]);
        }
    };
}
pub(crate) use driver_tests;

/// Holds `driver`'s conversation three times and panics with the differences if pgweir can be told from PostgreSQL.
pub fn same_conversation(endpoints: &impl Endpoints, driver: &str) {
    install();
    // One driver at a time: each brings its own crowd of clients, and two crowds on two cores only slow each other.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let direct = converse(driver, &endpoints.direct_url(), "session");
    assert!(
        direct.passed,
        "{driver} fails without pgweir, so nothing can be compared:\n{}",
        direct.complaints()
    );
    for mode in ["session", "transaction"] {
        let through = converse(driver, &endpoints.pgweir_url(mode), mode);
        let different = differences(&direct.transcript(), &through.transcript());
        assert!(
            through.passed && different.is_empty(),
            "{driver} through pgweir in {mode} mode:\n{}\n{}",
            through.complaints(),
            different.join("\n"),
        );
    }
}

/// The list that the tests are made from, `DRIVERS` and `run.sh --list` must be one.
pub fn assert_complete(tested: &[&str]) {
    let listed =
        Command::new(clients_dir().join("run.sh")).arg("--list").output().expect("run.sh can be started");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert_eq!(tested, DRIVERS);
    assert_eq!(listed.split_whitespace().collect::<Vec<_>>(), DRIVERS);
}

/// What one driver printed and whether it was content.
struct Conversation {
    output: String,
    passed: bool,
}

impl Conversation {
    /// The lines that must not differ from run to run.
    fn transcript(&self) -> Vec<&str> {
        self.output.lines().filter(|line| line.starts_with("result: ")).collect()
    }

    /// What a person needs to see of a failure, without the checks that passed; at most the last 80 lines.
    fn complaints(&self) -> String {
        let quiet = ["result: ", "ok ", "note: "];
        let lines: Vec<&str> =
            self.output.lines().filter(|l| !quiet.iter().any(|q| l.starts_with(q))).collect();
        lines[lines.len().saturating_sub(80)..].join("\n")
    }
}

fn converse(driver: &str, url: &str, mode: &str) -> Conversation {
    let done = Command::new(clients_dir().join("run.sh"))
        .args([url, mode, driver])
        .output()
        .expect("run.sh can be started");
    let output = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    Conversation { passed: done.status.success(), output }
}

/// The first 20 lines in which two transcripts differ, as `- direct` and `+ through pgweir`.
fn differences(direct: &[&str], through: &[&str]) -> Vec<String> {
    let pairs = (0..direct.len().max(through.len())).map(|n| (direct.get(n), through.get(n)));
    let differing = pairs.filter(|(left, right)| left != right).take(20);
    let side = |sign: char, line: Option<&&str>| line.map(|line| format!("{sign} {line}"));
    differing.flat_map(|(left, right)| [side('-', left), side('+', right)]).flatten().collect()
}

/// Installs the drivers once per test binary; `install.sh` itself does only what is missing.
pub fn install() {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    let done = DONE.get_or_init(|| {
        let run = Command::new(clients_dir().join("install.sh")).output().map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        if run.status.success() { Ok(()) } else { Err(said) }
    });
    if let Err(why) = done {
        panic!(
            "the drivers could not be installed; run tests/clients/install.sh by hand to see all of it:\n{why}"
        );
    }
}

pub fn clients_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

#[test]
fn a_changed_answer_and_a_missing_one_are_differences() {
    assert!(differences(&["result: a = 1"], &["result: a = 1"]).is_empty());
    assert_eq!(differences(&["result: a = 1"], &["result: a = 2"]), ["- result: a = 1", "+ result: a = 2"]);
    assert_eq!(differences(&["result: a = 1"], &[]), ["- result: a = 1"]);
}

#[test]
fn only_what_went_wrong_is_shown() {
    let heard = Conversation {
        passed: false,
        output: "result: a = 1\nok a\nnot ok b: got 1, want 2\n1 passed, 1 failed\n".into(),
    };
    assert_eq!(heard.complaints(), "not ok b: got 1, want 2\n1 passed, 1 failed");
    assert_eq!(heard.transcript(), ["result: a = 1"]);
}
