//! Server connections: pools by (database, user), lent to one session at a time.

pub mod baggage;
pub mod cancel;
pub mod clock;
pub mod connector;
pub mod lend;
pub mod login;
pub mod memory;
pub mod open;
pub mod routing;
pub mod server;
pub mod settings;
pub mod shape;
pub mod share;
pub mod statement;
pub mod template;
pub mod values;
