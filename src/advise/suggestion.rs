//! A suggestion as people and programs read it. Holds no value of any statement.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// PostgreSQL's planner has tried it, with values of real calls.
    High,
    /// PostgreSQL's planner has tried it, with values from its statistics.
    Medium,
    /// Estimated; never applied without a person's command.
    Low,
}

/// The order of the fields is that of the JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suggestion {
    /// Of table and definition, so that it is the same in every run.
    pub id: String,
    /// The database, by the name that clients ask for; empty when there is only one.
    #[serde(default)]
    pub database: String,
    /// `schema.name`.
    pub table: String,
    pub name: String,
    /// Such as `(customer_id, created_at)`.
    pub definition: String,
    /// To be run outside of a transaction.
    pub ddl: String,
    /// Further statements that belong to it, in order, such as ANALYZE after an expression.
    pub then: Vec<String>,
    pub size_bytes: u64,
    pub build_s: f64,
    /// Of the time of the shapes that it helps.
    pub gain_percent: f64,
    /// Milliseconds that it saves beside the other suggestions, in the time that was observed.
    pub gain_ms: f64,
    pub confidence: Confidence,
    /// `planner` or `estimate`.
    pub judged_by: String,
    /// Entries that writes made in it, in the time that was observed, and the milliseconds for them.
    pub writes: u64,
    pub write_ms: f64,
    /// Full sentences: by which rule, and why not another.
    pub why: Vec<String>,
    pub alternatives: Vec<Alternative>,
    pub shapes: Vec<Helped>,
}

/// Another index on the table that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    pub definition: String,
    /// Alone, in milliseconds, beside this suggestion's own alone.
    pub gain_ms: f64,
    pub size_bytes: u64,
}

/// A shape that it helps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Helped {
    /// 16 hexadecimal digits.
    pub shape: String,
    pub statement: String,
    pub calls: u64,
    pub mean_ms: f64,
    /// By the planner's costs with all suggestions.
    pub gain_percent: f64,
    pub cost_before: f64,
    pub cost_after: f64,
    pub plan_before: String,
    pub plan_after: String,
}

/// Stable over runs and machines: FNV-1a.
pub fn id(prefix: &str, text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{prefix}-{:08x}", (hash ^ (hash >> 32)) as u32)
}
