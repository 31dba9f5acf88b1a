//! Fuzzes the lexer and the canonical text: whatever the bytes, values are told in order and within the text,
//! and a canonical text is its own. The properties are those of `src/sql/shape_properties.rs`.
//! Run: `cargo +nightly fuzz run shape -- -max_total_time=60`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::sql::shape_properties;

fuzz_target!(|input: &[u8]| {
    shape_properties::any_text(input, true);
    shape_properties::any_text(input, false);
});
