//! Fuzzes the messages that a client sends in a SCRAM login: no panic, and nobody gets in without the password.
//! The input is one byte of choices, then both messages with a zero byte between them.
//! Run: `cargo +nightly fuzz run scram_server -- -max_total_time=60`.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use pgweir::auth::scram::Mechanism;
use pgweir::auth::scram_keys::Verifier;
use pgweir::auth::scram_server::ScramServer;

static VERIFIER: LazyLock<Arc<Verifier>> =
    LazyLock::new(|| Arc::new(Verifier::derive(b"pencil", b"salt", 1)));

fuzz_target!(|input: &[u8]| {
    let Some((choices, messages)) = input.split_first() else {
        return;
    };
    let cut = messages.iter().position(|byte| *byte == 0);
    let (first, last) = messages.split_at(cut.unwrap_or(messages.len()));
    let last = last.get(1..).unwrap_or_default();
    let mechanism = match choices & 1 {
        0 => Mechanism::Sha256,
        _ => Mechanism::Sha256Plus,
    };
    let binding = (choices & 2 != 0).then(|| vec![7; 32]);
    let mut server = ScramServer::new(VERIFIER.clone(), binding, [1; 18]);
    if let Ok(challenge) = server.client_first(mechanism, first) {
        // What the server says must be readable by a client: one nonce, one salt, one count.
        assert!(challenge.starts_with(b"r=") && challenge.ends_with(b",s=c2FsdA==,i=1"));
    }
    assert!(server.client_final(last).is_err());
    assert!(
        server.client_first(mechanism, first).is_err(),
        "a login is over after its final message"
    );
});
