//! Acting on the database, under a rule or an operator's command, each act audited: the only room that changes
//! a schema. Plans are made by the pure files (`civil`, `period`, `bound`, `layout`) and carried out by the
//! others. Must not know HTTP, files of settings or sessions of clients.

pub mod actor;
mod archive;
mod book;
pub mod bound;
pub mod cell;
pub mod civil;
mod convert;
pub mod desk;
mod export;
mod file;
mod halt;
pub mod index;
pub mod layout;
pub mod missing;
mod partition;
pub mod period;
pub mod request;
pub mod settings;
mod sql;
pub mod suggest;
mod tally;
mod tree;
mod upkeep;
pub mod work;
mod zones;

use crate::probe::ProbeError;

pub use self::settings::{MaintenanceSettings, TableName, TableRule};

/// Why something was not done. The text holds no value of any row.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Trouble {
    #[error("{0}")]
    Database(#[from] ProbeError),
    /// It cannot be done as things are; says what would help.
    #[error("{0}")]
    Unfit(String),
    /// Another pgweir, or another command, is at work on the table.
    #[error("{0} is being worked on already, by this pgweir or another one")]
    Busy(String),
    #[error("nothing was done, because it cannot be audited: {0}")]
    Unaudited(String),
    #[error("stopped; the same command goes on from here")]
    Stopped,
}

impl Trouble {
    /// A word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Trouble::Database(error) => error.kind(),
            Trouble::Unfit(_) => "unfit",
            Trouble::Busy(_) => "busy",
            Trouble::Unaudited(_) => "audit",
            Trouble::Stopped => "stopped",
        }
    }

    pub(crate) fn sqlstate(&self) -> Option<&str> {
        match self {
            Trouble::Database(ProbeError::Refused { sqlstate, .. }) => Some(sqlstate),
            _ => None,
        }
    }

    /// Somebody else held a lock; a later attempt may succeed.
    fn contends(&self) -> bool {
        matches!(self.sqlstate(), Some("55P03" | "40P01" | "40001"))
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        Trouble::Database(error.into())
    }
}

/// What is wrong with what was found, and what would help.
fn unfit(message: impl Into<String>) -> Trouble {
    Trouble::Unfit(message.into())
}
