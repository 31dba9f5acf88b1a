//! Fuzzes the messages that a server sends in a SCRAM login: no panic, and no server passes for the right one without
//! the password. The input is one byte of choices, then both messages with a zero byte between them.
//! Run: `cargo +nightly fuzz run scram_client -- -max_total_time=60`.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pgweir::auth::scram::Offer;
use pgweir::auth::scram_client::{Credential, ScramClient};
use pgweir::auth::scram_keys::ClientKeys;

static KEYS: LazyLock<ClientKeys> = LazyLock::new(|| ClientKeys::derive(b"pencil", b"salt", 1));

fuzz_target!(|input: &[u8]| {
    let Some((choices, messages)) = input.split_first() else {
        return;
    };
    let cut = messages.iter().position(|byte| *byte == 0);
    let (challenge, last) = messages.split_at(cut.unwrap_or(messages.len()));
    let last = last.get(1..).unwrap_or_default();
    let credential = match choices & 1 {
        0 => Credential::Keys(KEYS.clone()),
        _ => Credential::Password {
            password: "pencil".into(),
            cached: Some(KEYS.clone()),
        },
    };
    let offer = Offer {
        sha256: true,
        sha256_plus: true,
    };
    let binding = (choices & 2 != 0).then(|| vec![7; 32]);
    let Ok(mut client) = ScramClient::new(credential, offer, binding, [2; 18]) else {
        return;
    };
    // Nonces are random in life; here the choice lets the fuzzer past the check without guessing 24 letters.
    let mut message = Vec::new();
    if choices & 4 != 0 {
        message.extend_from_slice(b"r=AgICAgICAgICAgICAgICAgIC");
    }
    message.extend_from_slice(challenge);
    // A high count is allowed and only slow; that it is bounded is a test of its own.
    if client.will_derive(&message) {
        return;
    }
    let _ = client.server_first(&message);
    assert!(client.server_final(last).is_err());
    assert!(client.into_keys().is_none());
    let _ = Offer::parse(input);
});
