//! What the rules allow to be coalesced, and how fresh answers have to be. Pure.

use std::collections::BTreeMap;

use super::prefetch::level::Level;

/// What is done with single-row INSERTs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub enum Insert {
    /// Nothing.
    Off,
    /// Those of one pipeline become one statement.
    #[default]
    Merged,
    /// And those of several connections are to be committed together; not built yet, the same as `Merged`.
    Grouped,
    /// And those of a transaction wait for its end, or for a statement that could see them.
    Deferred,
}

/// The section `coalesce` of the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoalesceSettings {
    pub enabled: bool,
    /// Of tables and shapes that are not named. `None`: nothing is done with them.
    pub default: Option<Level>,
    /// Answers are fetched ahead in SERIALIZABLE too.
    pub serializable: bool,
    pub insert: Insert,
    /// By name, with or without the schema.
    pub tables: BTreeMap<String, Option<Level>>,
    /// By fingerprint.
    pub shapes: BTreeMap<u64, Option<Level>>,
}

impl Default for CoalesceSettings {
    fn default() -> Self {
        CoalesceSettings {
            enabled: true,
            default: Some(Level::Strict),
            serializable: false,
            insert: Insert::default(),
            tables: BTreeMap::new(),
            shapes: BTreeMap::new(),
        }
    }
}

impl CoalesceSettings {
    /// The level for a shape whose answer depends on these tables, each with its schema: what is said of the
    /// shape, or the strictest of what is said of its tables. `None`: nothing is done with it.
    pub fn level<'a>(&self, shape: u64, tables: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Level> {
        if !self.enabled {
            return None;
        }
        if let Some(level) = self.shapes.get(&shape) {
            return *level;
        }
        let mut strictest: Option<Level> = None;
        for (schema, name) in tables {
            let level = self.said_of(schema, name).unwrap_or(self.default)?;
            strictest = Some(strictest.map_or(level, |strictest| strictest.stricter(level)));
        }
        strictest.or(self.default)
    }

    /// What the rules say of a table by its name; the outer `None`: nothing.
    pub fn said_of(&self, schema: &str, name: &str) -> Option<Option<Level>> {
        self.tables.get(&format!("{schema}.{name}")).or_else(|| self.tables.get(name)).copied()
    }

    /// Whether some answers may be kept only while a fence holds.
    pub fn fences(&self) -> bool {
        self.any(|level| level == Level::Fenced)
    }

    /// Whether any rule allows an answer that is older than its question, so that fences and write sets are
    /// needed.
    pub fn remembers(&self) -> bool {
        self.any(|level| level != Level::Strict)
    }

    fn any(&self, is: impl Fn(Level) -> bool) -> bool {
        let mut all = self.tables.values().chain(self.shapes.values()).chain([&self.default]);
        self.enabled && all.any(|level| level.is_some_and(&is))
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
                ("public.a".to_owned(), Some(Level::Fenced)),
                ("b".to_owned(), Some(loose)),
                ("x.b".to_owned(), None),
            ]),
            shapes: BTreeMap::from([(7, Some(loose)), (8, None)]),
            ..CoalesceSettings::default()
        };
        let level =
            |shape, tables: &[(&'static str, &'static str)]| settings.level(shape, tables.iter().copied());
        assert_eq!(level(1, &[("public", "a")]), Some(Level::Fenced));
        assert_eq!(level(1, &[("other", "a")]), Some(Level::Strict));
        assert_eq!(level(1, &[("any", "b")]), Some(loose));
        assert_eq!(level(1, &[("any", "b"), ("public", "a")]), Some(Level::Fenced));
        assert_eq!(level(1, &[("public", "a"), ("public", "c")]), Some(Level::Strict));
        assert_eq!(level(1, &[("public", "a"), ("x", "b")]), None, "one that is off");
        assert_eq!(level(7, &[("x", "b")]), Some(loose));
        assert_eq!(level(8, &[("public", "a")]), None);
        assert_eq!(level(1, &[]), Some(Level::Strict));
        assert!(settings.remembers() && !CoalesceSettings::default().remembers());
        let off = CoalesceSettings { enabled: false, ..settings };
        assert!(off.level(7, std::iter::empty()).is_none() && !off.remembers());
    }
}
