//! Batches answer as their statements would by themselves. A slice of what `cargo run --example replay-fuzz` does
//! without an end.

#[path = "../replay/fuzz.rs"]
pub mod fuzz;

use crate::cluster::{TestDatabase, shared};

/// Some seconds; each run has a seed of its own, and says it.
const COMPARISONS: u64 = 8_000;

#[test]
fn batches_answer_like_their_statements() {
    let database = TestDatabase::new("replay");
    let seed = rand::random::<u32>().into();
    let mut fuzz = fuzz::Fuzz::new(shared(), database.name(), seed);
    let figures = fuzz.run(COMPARISONS, |_| {});
    println!("{figures}");
    assert!(figures.differences == 0 && figures.failed_alone.is_empty(), "seed {seed}\n{figures}");
    assert!(figures.types.len() > 50 && figures.shapes.len() > 40, "seed {seed}\n{figures}");
    // The comparison can see.
    let sabotaged = fuzz.sabotaged(COMPARISONS / 20);
    assert!(sabotaged.differences > COMPARISONS / 200, "seed {seed}\n{sabotaged}");
}
