//! What happened: counters that sessions bump, histograms, the ledger, slow statements, metrics, log set-up.

pub mod catalogs;
pub mod coalescing;
pub mod counters;
mod exposition;
pub mod facts;
pub mod fences;
pub mod findings;
pub mod indexes;
pub mod latency;
pub mod ledger;
pub mod log;
pub mod loops;
pub mod metrics;
pub mod partitions;
pub mod process;
pub mod settings;
pub mod slow_log;
pub mod state;
pub mod story;

pub use settings::{ObserveSettings, StatePlace, StateSettings};

/// Where and how logs are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// A tracing filter such as `info` or `pgweir=debug`. Default `info`.
    pub level: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

impl Default for LogSettings {
    fn default() -> Self {
        LogSettings { level: "info".to_owned(), format: LogFormat::Text }
    }
}
