//! `pgweir report`: what a running pgweir has found out, for people. Asks and prints; computes nothing.

mod nplus1;
mod queries;

use clap::Subcommand;

/// Show what a running pgweir has found out.
#[derive(Subcommand)]
pub enum Report {
    Queries(queries::Queries),
    #[command(name = "nplus1")]
    NPlusOne(nplus1::NPlusOne),
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
        }
    }
}

/// Three figures that count.
fn readable(ms: f64) -> String {
    match ms {
        _ if ms >= 100.0 => format!("{ms:.0}"),
        _ if ms >= 10.0 => format!("{ms:.1}"),
        _ if ms >= 1.0 => format!("{ms:.2}"),
        _ => format!("{ms:.3}"),
    }
}
