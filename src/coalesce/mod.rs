//! N+1: loops of statements that one could replace. This room watches a session's statements and says what
//! it saw; it changes none of them. Pure: statements, rows and the time come in, episodes come out.

pub mod burst;
pub mod column;
pub mod episode;
pub mod insert;
pub mod link;
pub mod remedy;
pub mod replay;
pub mod rows;
pub mod split;
pub mod unit;

#[cfg(test)]
mod tests;

/// From how many repetitions on something is an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Repetitions of one shape in one unit of work.
    pub minimum: u32,
    /// Different values among them.
    pub distinct: u32,
    /// Repetitions that count without a proof of where the values came from.
    pub counted: u32,
    /// Time in all that counts without one, µs.
    pub total_us: u64,
    /// A pause that ends a unit of work, µs; applications that are slower by nature get more.
    pub gap_us: u64,
}

/// Sentry reports 5 repetitions or 50 ms, Digma 5 repetitions; a pause of 50 ms is longer than an
/// application takes between two statements of one request.
impl Default for Thresholds {
    fn default() -> Self {
        Thresholds { minimum: 5, distinct: 3, counted: 10, total_us: 50_000, gap_us: 50_000 }
    }
}
