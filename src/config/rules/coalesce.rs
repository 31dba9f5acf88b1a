//! The section `coalesce` of the rules: its mirror, its defaults, and what it becomes. The comments of the
//! mirror are what editors show.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::coalesce::prefetch::level;
use crate::coalesce::settings::{self, CoalesceSettings};
use crate::config::resolve::Context;

/// Look-ups that are answered together, or from what was fetched ahead.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Coalesce {
    /// false: every statement goes to PostgreSQL as it is.
    pub enabled: bool,
    /// For tables and shapes that are not named below.
    pub default: Rule,
    /// Fetch ahead in SERIALIZABLE transactions too. A row that was fetched and never asked for can make a
    /// transaction fail with 40001 that would have been committed.
    pub serializable: bool,
    /// What is done with single-row INSERTs.
    pub insert: Insert,
    /// By a table's name, with or without its schema. A statement gets the strictest level of its tables.
    pub tables: BTreeMap<String, Rule>,
    /// By a statement's shape, as `pgweir report queries` prints it: 16 hexadecimal digits, in quotes.
    /// Decides in place of its tables.
    pub shapes: BTreeMap<String, Rule>,
}

/// How fresh answers have to be.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub level: Level,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing is done with these statements.
    Off,
    /// As PostgreSQL itself would have answered, always.
    Strict,
    /// Never stale, as long as all who write to these tables use this pgweir.
    Fenced,
    /// Not older than so many milliseconds.
    Bounded(Bounded),
}

/// How old an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bounded {
    /// Milliseconds from when the query was sent whose answer is given.
    #[schemars(range(min = 1, max = 1000))]
    pub max_staleness_ms: u32,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Insert {
    /// Each goes alone.
    Off,
    /// Those of one pipeline become one statement, each answered as alone.
    Merged,
    /// Not built yet: the same as merged.
    Grouped,
    /// And those of a transaction wait for its end, or for a statement that could see them; errors come that
    /// late too.
    Deferred,
}

impl Default for Coalesce {
    fn default() -> Self {
        let room = CoalesceSettings::default();
        let insert = match room.insert {
            settings::Insert::Off => Insert::Off,
            settings::Insert::Merged => Insert::Merged,
            settings::Insert::Grouped => Insert::Grouped,
            settings::Insert::Deferred => Insert::Deferred,
        };
        let level = match room.default {
            None => Level::Off,
            Some(level::Level::Strict) => Level::Strict,
            Some(level::Level::Fenced) => Level::Fenced,
            Some(level::Level::Bounded { max_staleness_ms }) => Level::Bounded(Bounded { max_staleness_ms }),
        };
        Coalesce {
            enabled: room.enabled,
            default: Rule { level },
            serializable: room.serializable,
            insert,
            tables: BTreeMap::new(),
            shapes: BTreeMap::new(),
        }
    }
}

/// The room's settings.
pub(super) fn resolve(context: &mut Context<'_>, coalesce: &Coalesce) -> CoalesceSettings {
    let mut settings = CoalesceSettings {
        enabled: coalesce.enabled,
        default: level(coalesce.default),
        serializable: coalesce.serializable,
        insert: match coalesce.insert {
            Insert::Off => settings::Insert::Off,
            Insert::Merged => settings::Insert::Merged,
            Insert::Grouped => settings::Insert::Grouped,
            Insert::Deferred => settings::Insert::Deferred,
        },
        tables: BTreeMap::new(),
        shapes: BTreeMap::new(),
    };
    for (name, rule) in &coalesce.tables {
        if name.split('.').any(str::is_empty) || name.split('.').count() > 2 {
            let message = "expected a table's name, or schema.table, as PostgreSQL stores them";
            context.wrong(&["coalesce", "tables", name], message);
        }
        settings.tables.insert(name.clone(), level(*rule));
    }
    for (text, rule) in &coalesce.shapes {
        if let Some(shape) = super::resolve::shape(context, &["coalesce", "shapes", text], Some(text)) {
            settings.shapes.insert(shape, level(*rule));
        }
    }
    settings
}

fn level(rule: Rule) -> Option<level::Level> {
    match rule.level {
        Level::Off => None,
        Level::Strict => Some(level::Level::Strict),
        Level::Fenced => Some(level::Level::Fenced),
        Level::Bounded(Bounded { max_staleness_ms }) => Some(level::Level::Bounded { max_staleness_ms }),
    }
}
