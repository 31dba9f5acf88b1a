//! The section `indexes`: from its mirror to the adviser's settings, and the mirror of what is built without being
//! told. The comments are what editors show.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mirror;
use super::resolve::not_zero;
use crate::advise::{self, AdviseSettings};
use crate::config::human::{Human, Size};
use crate::config::resolve::{Context, size};
use crate::maintain::index::settings::{AutoSettings, Guard, Hours, Verify};

/// Building indexes without being told, and when a build has to wait; the latter holds for commands too.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Auto {
    /// true: what is advised is built, verified, and taken back if it was not worth it.
    pub enabled: bool,
    /// Tables that may get indexes, as schema.name; * stands for anything.
    pub tables: Vec<String>,
    /// When a build may begin, such as 22:00-06:00. Default: at any time.
    pub hours: Option<String>,
    /// Whose hours they are, as PostgreSQL names time zones.
    pub time_zone: String,
    /// Megabytes of all indexes that were built so and are still there.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub budget_mb: u64,
    /// Indexes that are being built, or whose worth is not known yet.
    #[schemars(range(min = 1, max = 20))]
    pub at_once: u32,
    /// What advice has to be worth at least; an estimate is never enough.
    pub confidence: Sureness,
    /// How far a standby may be behind in time.
    pub max_lag: Human,
    /// How far a standby may be behind in bytes of log.
    pub max_lag_size: Size,
    /// Statements that run at the same time on the server.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_active: u32,
    /// Age of the oldest transaction of the database. Not 0.
    pub max_transaction: Human,
    /// Calls of a statement after which its new times are believed.
    #[schemars(range(min = 5, max = 1_000_000))]
    pub verify_calls: u32,
    /// What is not known after this counts as not there. Not 0.
    pub verify_within: Human,
    /// Another statement that reads the table may take so much longer than before, percent.
    #[schemars(range(min = 1, max = 1000))]
    pub slower_percent: u32,
    /// A statement that writes to the table may take so much longer than before, percent.
    #[schemars(range(min = 1, max = 1000))]
    pub slower_writes_percent: u32,
}

/// How sure advice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sureness {
    /// PostgreSQL's planner has tried it, with values of real calls (observe.parameters).
    High,
    /// The same, with values from the statistics.
    Medium,
}

impl Default for Auto {
    fn default() -> Self {
        let AutoSettings { guard, verify, .. } = AutoSettings::default();
        let room = AutoSettings::default();
        Auto {
            enabled: room.enabled,
            tables: room.tables,
            hours: room.hours.map(|hours| hours.to_string()),
            time_zone: room.time_zone,
            budget_mb: room.budget_bytes >> 20,
            at_once: u32::try_from(room.at_once).unwrap_or(u32::MAX),
            confidence: Sureness::High,
            max_lag: Human(guard.max_lag),
            max_lag_size: Size(guard.max_lag_bytes),
            max_active: guard.max_active,
            max_transaction: Human(guard.max_transaction),
            verify_calls: u32::try_from(verify.calls).unwrap_or(u32::MAX),
            verify_within: Human(verify.within),
            slower_percent: verify.slower_percent,
            slower_writes_percent: verify.slower_writes_percent,
        }
    }
}

pub(super) fn auto(context: &mut Context<'_>, auto: &Auto) -> AutoSettings {
    let at = |key: &'static str| ["indexes", "auto", key];
    not_zero(context, &at("max_transaction"), auto.max_transaction);
    not_zero(context, &at("verify_within"), auto.verify_within);
    for (number, pattern) in auto.tables.iter().enumerate() {
        if !pattern.contains(['.', '*']) {
            let message = "expected schema.name, with * for anything, such as public.*";
            context.wrong(&["indexes", "auto", "tables", &number.to_string()], message);
        }
    }
    let hours = auto.hours.as_deref().map(Hours::parse);
    if hours == Some(None) {
        context.wrong(&at("hours"), "expected two different times of day such as 22:00-06:00");
    }
    if auto.time_zone.is_empty() {
        context.wrong(&at("time_zone"), "the name is empty; remove the key for UTC");
    }
    AutoSettings {
        enabled: auto.enabled,
        tables: auto.tables.clone(),
        hours: hours.flatten(),
        time_zone: auto.time_zone.clone(),
        budget_bytes: auto.budget_mb << 20,
        at_once: size(auto.at_once),
        confidence: match auto.confidence {
            Sureness::High => advise::Confidence::High,
            Sureness::Medium => advise::Confidence::Medium,
        },
        guard: Guard {
            max_lag: auto.max_lag.0,
            max_lag_bytes: auto.max_lag_size.0,
            max_active: auto.max_active,
            max_transaction: auto.max_transaction.0.max(Duration::from_secs(1)),
        },
        verify: Verify {
            calls: u64::from(auto.verify_calls),
            within: auto.verify_within.0.max(Duration::from_secs(1)),
            slower_percent: auto.slower_percent,
            slower_writes_percent: auto.slower_writes_percent,
        },
    }
}

pub(super) fn resolve(context: &mut Context<'_>, indexes: &mirror::Indexes) -> AdviseSettings {
    not_zero(context, &["indexes", "every"], indexes.every);
    if !indexes.name.contains("{columns}") {
        let message = "the name needs {columns}, or indexes of one table could not be told apart";
        context.wrong(&["indexes", "name"], message);
    }
    for (at, pattern) in indexes.ignore.iter().enumerate() {
        if !pattern.contains(['.', '*']) {
            let message = "expected schema.name, with * for anything, such as public.tmp_*";
            context.wrong(&["indexes", "ignore", &at.to_string()], message);
        }
    }
    for (at, entry) in indexes.dismiss.iter().enumerate() {
        let digits = entry.id.strip_prefix("ix-").unwrap_or_default();
        if digits.len() != 8 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let message = "expected an id such as ix-1234abcd, as `pgweir advise` prints it";
            context.wrong(&["indexes", "dismiss", &at.to_string(), "id"], message);
        }
    }
    AdviseSettings {
        enabled: indexes.enabled,
        budget_bytes: indexes.budget_mb << 20,
        ignore: indexes.ignore.clone(),
        dismissed: indexes.dismiss.iter().map(|entry| entry.id.clone()).collect(),
        min_table_bytes: indexes.min_table.0,
        min_rows: indexes.min_rows,
        min_gain_percent: indexes.min_gain_percent,
        max_per_table: size(indexes.max_per_table),
        name: indexes.name.clone(),
        every_s: indexes.every.0.as_secs().max(1),
        unused_after_days: indexes.unused_after_days,
        ..AdviseSettings::default()
    }
}
