//! The shell: the only room that moves bytes between clients and servers. `start` builds the rooms and
//! their threads; `Running` ends them.

pub mod advising;
mod answers;
pub mod books;
mod borrow;
pub mod building;
pub mod chore;
pub(crate) mod coalescing;
pub mod control;
mod creating;
pub mod descriptors;
pub mod drive;
mod explaining;
pub mod farewell;
mod finding;
mod foreground;
pub mod greet;
pub mod holding;
mod hub;
mod keeping;
pub mod listen;
mod maintaining;
mod measuring;
pub mod once;
pub mod opening;
pub mod probing;
pub mod prove;
mod refreshing;
pub mod report;
mod routing;
pub mod running;
mod slow;
mod tending;
pub mod watching;
mod welcome;
mod whom;
pub mod wishes;
pub mod worker;

pub use foreground::run_blocking;
pub use running::{Running, start};
