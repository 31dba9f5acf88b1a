//! Runs `transcripts/*.txt` through `Session`, without sockets: what the client sends, what the server is
//! then sent, what it answers, what the client then sees. Everything that comes out must be in the
//! transcript. Each one runs whole, byte by byte, and cut at random places, and must read the same.
//! `transcripts/README.md` explains the form; adding a case needs no Rust.

#![allow(clippy::unwrap_used)]

#[path = "transcripts/frames.rs"]
mod frames;
#[path = "transcripts/runner.rs"]
mod runner;
#[path = "transcripts/words.rs"]
mod words;

use proptest::prelude::*;
use runner::{Case, Cuts};

#[test]
fn whole() {
    each(|case| case.run(&mut Cuts::Whole));
}

#[test]
fn byte_by_byte() {
    each(|case| case.run(&mut Cuts::Sizes(vec![1], 0)));
}

#[test]
fn every_case_has_a_title_of_its_own() {
    let mut titles: Vec<String> = Case::all().into_iter().map(|case| case.title).collect();
    assert!(titles.len() > 40, "only {} cases were found", titles.len());
    titles.sort();
    let count = titles.len();
    titles.dedup();
    assert_eq!(titles.len(), count, "two cases have one title");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn cut_anywhere(sizes in proptest::collection::vec(1usize..40, 1..30)) {
        let cut = |case: &Case| case.run(&mut Cuts::Sizes(sizes.clone(), 0));
        each(|case| if case.is_large() { Ok(()) } else { cut(case) });
    }
}

/// Runs every case and reports all that fail.
fn each(run: impl Fn(&Case) -> Result<(), String>) {
    let failures: Vec<String> = Case::all()
        .iter()
        .filter_map(|case| run(case).err().map(|why| format!("{}: {why}", case.title)))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
