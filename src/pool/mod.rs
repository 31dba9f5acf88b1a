//! Server connections: pools by (database, user), lent to one session at a time.

pub mod settings;
