//! A plain table becomes a partitioned one while it is used: a shadow beside it is filled in batches and kept in
//! step by a log of changed keys, compared, and then takes its place in one short transaction. Until it is told
//! to finish, the way back is open. The steps are noted in the database, so that any pgweir goes on after a crash.
//!
//! Why a log of keys and not a trigger that writes the shadow: whatever the isolation level of the application's
//! transactions, adding a key to a log cannot fail, wait or miss a row that another snapshot does not see. Only
//! pgweir writes the shadow, and what it writes it reads from the table itself.

mod commands;
mod fill;
mod meet;
mod plan;
mod source;
mod state;
mod switch;
mod sync;
mod undo;

pub(super) use commands::{cancel, convert, finish, is_open, revert, sync_back};
