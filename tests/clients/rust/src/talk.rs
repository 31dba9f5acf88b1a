//! What both Rust clients share: the transcript, the identity of queries, and the expected answers.
//! It must not know any driver. `result:` lines are what two runs are compared by, so nothing in them may differ
//! from run to run.

use std::cell::Cell;
use std::fmt::Debug;
use std::time::Duration;

pub const MEGABYTE: usize = 1 << 20;
pub const ROWS: usize = 10_000;
/// What anything asynchronous (a cancel, a notification) may take before it counts as lost.
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const HAIRY: &str =
    "quote ' double \" backslash \\ dollar $1 percent %s umlaut äöü emoji 🐘 tab\tnewline\nend";

/// A section that ends early says why as text.
pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// One run of the conversation: counts checks and prints the transcript.
pub struct Talk {
    pub url: String,
    pub schema: String,
    pub lock_key: i64,
    pub clients: usize,
    pub lookups: usize,
    passed: Cell<u32>,
    failed: Cell<u32>,
    identities: Cell<i32>,
}

impl Talk {
    /// Reads the command line: `URL session|transaction`. Ends the program with code 2 if it is anything else.
    pub fn new(driver: &str) -> Talk {
        let args: Vec<String> = std::env::args().collect();
        if args.len() < 3 || !["session", "transaction"].contains(&args[2].as_str()) {
            eprintln!("usage: {} URL session|transaction", args[0]);
            std::process::exit(2);
        }
        let number = |name: &str, usual| {
            std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(usual)
        };
        Talk {
            url: args[1].clone(),
            schema: format!("c_{driver}_{}", std::process::id()),
            lock_key: i64::from(std::process::id()) * 1000,
            clients: number("CLIENTS", 8),
            lookups: number("LOOKUPS", 50),
            passed: Cell::new(0),
            failed: Cell::new(0),
            identities: Cell::new(0),
        }
    }

    /// Prints one line of the transcript and counts whether the answer is the expected one.
    pub fn check<A: Debug + PartialEq<B>, B: Debug>(&self, name: &str, got: A, want: B) {
        println!("result: {name} = {got:?}");
        if got == want {
            self.passed.set(self.passed.get() + 1);
            println!("ok {name}");
        } else {
            self.failed.set(self.failed.get() + 1);
            println!("not ok {name}: got {got:?}, want {want:?}");
        }
    }

    /// A statement whose result type has changed may fail with 0A000 or answer anew; nothing else is right.
    pub fn after_ddl(&self, name: &str, got: &str, fresh: &str) {
        println!("note: {name}: {got}");
        let word = if got == "0A000" || got == fresh { "0A000 or fresh" } else { got };
        self.check(name, word, "0A000 or fresh");
    }

    /// Records how a section ended.
    pub fn section(&self, name: &str, outcome: Outcome) {
        if let Err(error) = outcome {
            self.failed.set(self.failed.get() + 1);
            println!("not ok {name}: {error}");
        }
    }

    /// The query with its own identity as first column: (identity, text).
    pub fn tagged(&self, sql: &str) -> (i32, String) {
        let id = self.identities.get() + 1;
        self.identities.set(id);
        (id, format!("select {id} as qid, q.* from ({sql}) q"))
    }

    /// Prints the last line and ends the program.
    pub fn finish(&self) -> ! {
        println!("{} passed, {} failed", self.passed.get(), self.failed.get());
        std::process::exit(i32::from(self.failed.get() > 0));
    }
}

/// `size` digits in which no part repeats soon, so that a lost or doubled piece shows.
pub fn big_text(size: usize) -> String {
    let mut text: String = (0..=size / 9).map(|n| format!("{n:09}")).collect();
    text.truncate(size);
    text
}
