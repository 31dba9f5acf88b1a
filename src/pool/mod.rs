//! Server connections: pools by (database, user), lent to one session at a time.

pub mod baggage;
pub mod memory;
pub mod settings;
pub mod statement;
