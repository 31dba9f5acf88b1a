//! What is observed and where it is kept, as the section `observe` of the rules says. Plain data.

use std::path::PathBuf;
use std::time::Duration;

use super::ledger::SHAPES_MAX;

/// The section `observe`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObserveSettings {
    /// Off: no statement is read for its shape, and nothing that builds on shapes happens.
    pub enabled: bool,
    /// Shapes that the ledger keeps.
    pub shapes: usize,
    /// Keep one sample of parameter values with each shape.
    pub parameters: bool,
    pub state: StateSettings,
}

impl Default for ObserveSettings {
    fn default() -> Self {
        ObserveSettings {
            enabled: true,
            shapes: SHAPES_MAX,
            parameters: false,
            state: StateSettings::default(),
        }
    }
}

/// Where ledger and findings outlive the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateSettings {
    pub place: StatePlace,
    /// How often it is saved; the end of the process saves too.
    pub every: Duration,
}

impl Default for StateSettings {
    fn default() -> Self {
        StateSettings { place: StatePlace::Off, every: Duration::from_secs(60) }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum StatePlace {
    /// Nowhere: each start begins anew.
    #[default]
    Off,
    File(PathBuf),
    /// A schema of a database that clients may ask for.
    Postgres {
        database: String,
        schema: String,
        /// Tells the pgweir that share a schema apart; `None`: the name of the host.
        instance: Option<String>,
    },
}
