//! Fuzzes the facts: any text has facts or a reason for having none, soon, and the process lives.
//! The properties are those of `src/sql/facts/properties.rs`.
//! Run: `cargo +nightly fuzz run facts -- -max_total_time=60 -timeout=10 -max_len=16384`.
#![no_main]

use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use libfuzzer_sys::fuzz_target;
use pgweir::sql::facts::properties;
use pgweir::sql::guard::STACK;

/// The parser's thread: texts go in, and an answer comes when one was read.
static PARSER: LazyLock<Mutex<(SyncSender<String>, Receiver<()>)>> = LazyLock::new(|| {
    let (texts, inbox) = sync_channel::<String>(0);
    let (done, outbox) = sync_channel(0);
    let thread = std::thread::Builder::new().stack_size(STACK);
    let spawned = thread.spawn(move || {
        for text in inbox {
            properties::judge(&text);
            if done.send(()).is_err() {
                return;
            }
        }
    });
    spawned.expect("a thread can be started");
    Mutex::new((texts, outbox))
});

fuzz_target!(|text: &str| {
    let parser = PARSER.lock().expect("a panic ends the fuzzer");
    parser.0.send(text.to_owned()).expect("the parser lives");
    parser.1.recv().expect("the text was read");
});
