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
    /// By `schema.table`, or by the table's name alone.
    pub tables: BTreeMap<String, Level>,
    /// By fingerprint; goes before the tables.
    pub shapes: BTreeMap<u64, Level>,
    /// Fetch ahead in SERIALIZABLE transactions too, although that may add serialization failures. Default false.
    pub serializable: bool,
    /// Default merged.
    pub insert: Insert,
}

/// What is done with single-row INSERTs. Each includes what stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub enum Insert {
    /// Nothing.
    Off,
    /// Those of one pipeline become one statement.
    #[default]
    Merged,
    /// Those of several connections are committed together.
    Grouped,
    /// Those of a transaction wait for its end, or for a statement that could see them.
    Deferred,
}

impl Default for CoalesceSettings {
    fn default() -> Self {
        CoalesceSettings {
            enabled: true,
            default: Level::Strict,
            tables: BTreeMap::new(),
            shapes: BTreeMap::new(),
            serializable: false,
            insert: Insert::default(),
        }
    }
}

impl CoalesceSettings {
    /// Of a shape that reads these tables, each as `schema.table`: what is said of the shape, or the strictest of
    /// what is said of its tables.
    pub fn level<'a>(&self, shape: u64, tables: impl Iterator<Item = &'a str>) -> Level {
        if !self.enabled {
            return Level::Off;
        }
        if let Some(level) = self.shapes.get(&shape) {
            return *level;
        }
        let said = |table: &str| {
            let alone = || table.split_once('.').and_then(|(_, name)| self.tables.get(name));
            self.tables.get(table).or_else(alone).copied()
        };
        let each = tables.map(|table| said(table).unwrap_or(self.default));
        each.reduce(Level::stricter).unwrap_or(self.default)
    }

    /// Whether answers may be kept outside of fixed snapshots at all.
    pub fn keeps(&self) -> bool {
        self.any(|level| !matches!(level, Level::Off | Level::Strict))
    }

    /// Whether some of them only while a fence holds.
    pub fn fences(&self) -> bool {
        self.any(|level| level == Level::Fenced)
    }

    fn any(&self, is: impl Fn(Level) -> bool) -> bool {
        let mut levels = self.tables.values().chain(self.shapes.values()).chain([&self.default]);
        self.enabled && levels.any(|level| is(*level))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_decides_before_its_tables_and_of_those_the_strictest() {
        let loose = Level::Bounded { max_staleness_ms: 200 };
        let settings = CoalesceSettings {
            tables: BTreeMap::from([
                ("public.a".to_owned(), Level::Fenced),
                ("b".to_owned(), loose),
                ("x.b".to_owned(), Level::Off),
            ]),
            shapes: BTreeMap::from([(7, loose), (8, Level::Off)]),
            ..CoalesceSettings::default()
        };
        let level = |shape, tables: &[&'static str]| settings.level(shape, tables.iter().copied());
        assert_eq!(level(1, &["public.a"]), Level::Fenced);
        assert_eq!(level(1, &["other.a"]), Level::Strict);
        assert_eq!(level(1, &["any.b"]), loose);
        assert_eq!(level(1, &["any.b", "public.a"]), Level::Fenced);
        assert_eq!(level(1, &["public.a", "public.c"]), Level::Strict);
        assert_eq!(level(1, &["public.a", "x.b"]), Level::Off);
        assert_eq!(level(7, &["x.b"]), loose);
        assert_eq!(level(8, &["public.a"]), Level::Off);
        assert_eq!(level(1, &[]), Level::Strict);
        assert!(settings.keeps() && settings.fences());
        assert!(!CoalesceSettings::default().keeps());
        let off = CoalesceSettings { enabled: false, ..settings };
        assert!(off.level(7, std::iter::empty()) == Level::Off && !off.keeps());
    }
}
