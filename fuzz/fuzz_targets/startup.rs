//! Fuzzes the first packet of a connection: TLS and GSS requests, cancel requests, start-up parameters.
//! The input is the packet's body, all behind its length.
//! Run: `cargo +nightly fuzz run startup -- -max_total_time=60`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::wire::client::{Opening, opening};
use pgweir::{session, wire};

fuzz_target!(|input: &[u8]| {
    wire::properties::start(input);
    if let Some(Opening::Startup { parameters, .. }) = opening(input)
        && let Ok(settings) = session::settings::startup(&parameters)
    {
        // What names the connection is not a setting of the session.
        assert!(
            !settings.contains_key(&b"user"[..])
                || parameters.iter().any(|(name, _)| *name == b"options")
        );
    }
});
