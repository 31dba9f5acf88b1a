//! What must hold for any text of a settings file. The fuzz target runs it with coverage to guide it, and
//! the tests of this room run it a bounded number of times.

use std::path::Path;

use super::load_text;

/// The text becomes settings, or mistakes in the order of the file that point into it.
pub fn judge(text: &str) {
    match load_text("pgweir.yaml", text, Path::new("no-such-folder")) {
        Ok(settings) => assert!(settings.workers >= 1 && !settings.databases.is_empty()),
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "neither settings nor a mistake");
            assert!(mistakes.is_sorted_by_key(|mistake| mistake.at));
            let last = text.lines().count().max(1) as u64 + 1;
            for mistake in mistakes {
                assert!((1..=last).contains(&mistake.at.line), "{mistake}");
                assert!(!mistake.message.is_empty());
            }
        }
    }
}
