//! `pgweir report`: what a running pgweir has found out, for people. Asks and prints; computes nothing.

mod coalescing;
mod nplus1;
mod plan;
mod queries;

use clap::Subcommand;

/// Show what a running pgweir has found out.
#[derive(Subcommand)]
pub enum Report {
    Queries(queries::Queries),
    #[command(name = "nplus1")]
    NPlusOne(nplus1::NPlusOne),
    Coalescing(coalescing::Coalescing),
}

impl Report {
    /// The text to print.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what to do.
    pub fn run(self) -> Result<String, String> {
        match self {
            Report::Queries(queries) => queries.run(),
            Report::NPlusOne(findings) => findings.run(),
            Report::Coalescing(coalescing) => coalescing.run(),
        }
    }
}
