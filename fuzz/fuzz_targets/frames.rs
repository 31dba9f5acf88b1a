//! Fuzzes the frame cutter and every view of a frame's body: whatever the bytes, each is read within its own
//! bounds or refused. The properties are those of `src/wire/properties.rs`.
//! Run: `cargo +nightly fuzz run frames -- -max_total_time=60`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::wire::properties;

fuzz_target!(|input: &[u8]| properties::cut(input));
