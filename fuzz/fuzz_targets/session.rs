//! Fuzzes the session core from both sides, in every pool mode: no panic, no standstill, whole frames to
//! either side, and no server let go while anything is owed. The input is a script; see
//! `src/session/properties.rs`, where the properties are.
//! Run: `cargo +nightly fuzz run session -- -max_total_time=60`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::session::properties;

fuzz_target!(|script: &[u8]| properties::converse(script));
