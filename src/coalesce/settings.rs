//! What people may decide of coalescing: whether, and how fresh answers have to be. Plain data; `config` fills it in.

use std::collections::BTreeMap;

use super::prefetch::level::Level;

/// `rules/coalesce.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoalesceSettings {
    /// Default true.
    pub enabled: bool,
    /// For tables and shapes that are not named. Default strict.
    pub default: Level,
    /// By `schema.table`.
    pub tables: BTreeMap<String, Level>,
    /// By fingerprint; goes before the tables.
    pub shapes: BTreeMap<u64, Level>,
    /// Fetch ahead in SERIALIZABLE transactions too, although that may add serialization failures. Default false.
    pub serializable: bool,
}

impl Default for CoalesceSettings {
    fn default() -> Self {
        CoalesceSettings {
            enabled: true,
            default: Level::Strict,
            tables: BTreeMap::new(),
            shapes: BTreeMap::new(),
            serializable: false,
        }
    }
}

impl CoalesceSettings {
    /// Of a shape that reads these tables.
    pub fn level<'a>(&self, shape: u64, tables: impl Iterator<Item = &'a str>) -> Level {
        if let Some(level) = self.shapes.get(&shape) {
            return *level;
        }
        let each = tables.map(|table| self.tables.get(table).copied().unwrap_or(self.default));
        each.reduce(Level::stricter).unwrap_or(self.default)
    }

    /// Whether answers may be kept outside of fixed snapshots at all.
    pub fn keeps(&self) -> bool {
        let kept = |level: &Level| *level != Level::Strict;
        self.enabled && (kept(&self.default) || self.tables.values().chain(self.shapes.values()).any(kept))
    }

    /// Whether some of them only while a fence holds.
    pub fn fences(&self) -> bool {
        let fenced = |level: &Level| *level == Level::Fenced;
        self.enabled
            && (fenced(&self.default) || self.tables.values().chain(self.shapes.values()).any(fenced))
    }
}
