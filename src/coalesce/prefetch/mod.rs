//! Fetching ahead for loops that ask one by one. A session's look-ups come in as plain values, and for each
//! the answer is: send it on, answer it from the buffer, or fetch it together with those that will follow.
//! Pure: no socket, no clock; the shell sends what `plan` asks for and hands the answers to `Session::file`.
//!
//! - `keys`: values in a form that can be compared; `level`: when an answer may be given;
//! - `table`: the key columns of a session's last results; `buffer`: its answers that were fetched ahead;
//! - `template`: which look-up follows which result, learned, with what it saved and wasted; `rate`: the
//!   judgement;
//! - `plan`: the decision; `follow`: loops over a result; `session`: what is remembered between two
//!   statements, and what makes it forget;
//! - `message`: an order's members as messages; `small`: whole small tables; `same`: identical reads.
//!
//! What the shell does, and when:
//!
//! 1. Per worker it has a [`buffer::Budget`], per pool and worker [`template::Templates`], per session a
//!    [`session::Session`] and a `Watch::with_values`.
//! 2. A statement that reads comes: `Watch::asked` first. If its shape may be replayed, [`plan::plan`]; it
//!    answers at once where the level allows nothing. If `Templates::watched` names columns of its shape and
//!    it goes to the server, `Session::tables` gets `begin`, then every `part` of its answer, then `end`.
//! 3. `Serve`: the frames, under the messages that the client asked for. `Fetch`: all orders in one snapshot,
//!    behind a savepoint or in a read-only transaction of their own; then `file` or `file_table` for each, in
//!    order. The first returns what the client waits for, if it returns `None` or the fetch failed
//!    (`failed`), the client's own statement goes as it is. `Forward` with `keep`: `file_own` with its
//!    answer.
//! 4. `Taken` is of the moment before the query is handed to the server, its fence too.
//! 5. Statements that are not look-ups call what they make untrue: `own_write` before they are sent,
//!    `direct_read` for reads that pass, `error`, `setting_changed` and so on. Nothing of that costs anything
//!    while `is_empty`.
//! 6. `unit_ended` with the watch's unit, then `settle`; `settled` tells what to count.

pub mod buffer;
mod follow;
pub mod keys;
pub mod level;
mod message;
pub mod plan;
pub mod rate;
pub mod same;
pub mod session;
pub mod small;
pub mod table;
pub mod template;

#[cfg(test)]
mod buffer_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod play;
#[cfg(test)]
mod table_tests;

use keys::Slot;
use level::Level;

/// A look-up's statement, as the shell knows it. Kept and shared while its text and the schema stay the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Fingerprint of its shape.
    pub shape: u64,
    /// Equal numbers mean: equal text but for the values, and equal parameter types. Types of whole numbers
    /// may differ where all their slots are `by_value`.
    pub statement: u64,
    /// Equal numbers mean: the same result formats.
    pub formats: u32,
    /// Equal numbers mean: all that a session can set to change an answer is equal (role, search_path, other
    /// settings).
    pub context: u64,
    /// One per value, in the order of the text's holes and parameters.
    pub slots: Box<[Slot]>,
    /// Its result: type OIDs of the columns, and format codes as a Bind has them.
    pub types: Box<[u32]>,
    pub result_formats: Box<[i16]>,
    /// All that its answer depends on, by OID, with what is behind views, functions and policies.
    pub tables: Box<[u32]>,
    /// What the rules say for it.
    pub level: Level,
    pub serializable: bool,
    /// If it looks for one row of a small table.
    pub small: Option<small::Small>,
}

impl Child {
    /// Equal values get equal answers from both.
    pub fn is_like(&self, other: &Child) -> bool {
        (self.statement, self.formats, self.context) == (other.statement, other.formats, other.context)
    }

    pub fn reads(&self, tables: &[u32]) -> bool {
        self.tables.iter().any(|table| tables.contains(table))
    }
}

/// What something was fetched for: one run of a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Episode {
    /// A template's number in `template::Templates`.
    pub template: u32,
    /// Counts the loops of a session.
    pub serial: u32,
}
