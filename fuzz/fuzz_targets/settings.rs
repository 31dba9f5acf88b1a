//! Fuzzes the settings: any text becomes settings or a list of mistakes that point into the text, in order.
//! The properties are those of `src/config/properties.rs`.
//! Run: `cargo +nightly fuzz run settings -- -max_total_time=60`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::config::properties;

fuzz_target!(|text: &str| {
    // Names of files are opened; the folder of this file does not exist, so only absolute ones could be.
    if !text.contains('/') {
        properties::judge(text);
    }
});
