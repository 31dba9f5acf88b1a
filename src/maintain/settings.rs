//! What pgweir may do to a database by itself, as the sections `partitions` and `maintenance` of the rules
//! say. Plain data.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::bound::Kind;
use super::period::Interval;

/// The section `maintenance`: how the acts of every table are done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenanceSettings {
    /// Default true. Off: nothing happens by itself; what an operator asks for does.
    pub enabled: bool,
    /// How often each table is looked at. Default 10 min.
    pub every: Duration,
    /// How long a change waits for a lock, with clients queueing behind it, before it steps back and tries
    /// again. Default 1 s.
    pub lock_timeout: Duration,
    /// Holds what pgweir has to remember of archives and conversions. Default `pgweir`.
    pub schema: String,
}

impl Default for MaintenanceSettings {
    fn default() -> Self {
        MaintenanceSettings {
            enabled: true,
            every: Duration::from_secs(600),
            lock_timeout: Duration::from_secs(1),
            schema: "pgweir".to_owned(),
        }
    }
}

/// A table and its schema, as the catalog spells them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    pub schema: String,
    pub name: String,
}

impl TableName {
    pub fn new(schema: &str, name: &str) -> TableName {
        TableName { schema: schema.to_owned(), name: name.to_owned() }
    }

    /// `name` is in the schema `public`. Parts with dots are written in double quotes.
    pub fn parse(text: &str) -> Option<TableName> {
        let mut parts = vec![String::new()];
        let mut quoted = false;
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '"' if quoted && letters.peek() == Some(&'"') => {
                    letters.next();
                    parts.last_mut()?.push('"');
                }
                '"' => quoted = !quoted,
                '.' if !quoted => parts.push(String::new()),
                _ => parts.last_mut()?.push(letter),
            }
        }
        let (name, schema) = (parts.pop()?, parts.pop().unwrap_or_else(|| "public".to_owned()));
        let whole = !quoted && parts.is_empty() && !name.is_empty() && !schema.is_empty();
        whole.then_some(TableName { schema, name })
    }

    /// As SQL writes it.
    pub fn sql(&self) -> String {
        format!("{}.{}", super::sql::name(&self.schema), super::sql::name(&self.name))
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// One entry of the section `partitions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRule {
    /// As clients name it. `None`: the only one of pgweir.yaml.
    pub database: Option<String>,
    /// Who acts; needs to own the table. `None`: whoever asks pgweir's own questions.
    pub user: Option<String>,
    pub table: TableName,
    pub column: String,
    pub interval: Interval,
    /// Periods after the present one that have their partitions already.
    pub premake: u32,
    /// Whose midnights are the boundaries; the server knows the names.
    pub time_zone: String,
    /// What numbers and texts mean; `None` for types that tell a time by themselves.
    pub format: Option<Kind>,
    pub retention: Option<Retention>,
    /// Statements on the table may be narrowed to the partitions that they need.
    pub route: bool,
    /// A row that finds no partition gets one.
    pub create_missing: bool,
    /// Columns of whole numbers that grow with the key: closed partitions get checks of which values they hold.
    pub zone_maps: Vec<String>,
}

/// What happens to partitions that are wholly older.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    pub keep: Interval,
    pub archive: Archive,
}

/// Where a partition goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Archive {
    /// Another schema of the same database.
    Schema(String),
    /// Another tablespace; it is a table of its own there, under its old name.
    Tablespace(String),
    /// Files in a folder of the machine that pgweir runs on; then the partition is dropped.
    Parquet(PathBuf),
    /// Nowhere: it is dropped.
    Drop,
}

impl Archive {
    /// A word for metrics, answers and the book of archives.
    pub fn kind(&self) -> &'static str {
        match self {
            Archive::Schema(_) => "schema",
            Archive::Tablespace(_) => "tablespace",
            Archive::Parquet(_) => "parquet",
            Archive::Drop => "drop",
        }
    }

    /// The name of the schema, of the tablespace, or the folder.
    pub fn place(&self) -> String {
        match self {
            Archive::Schema(name) | Archive::Tablespace(name) => name.clone(),
            Archive::Parquet(folder) => folder.display().to_string(),
            Archive::Drop => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_are_read() {
        let name = |text: &str| TableName::parse(text).map(|table| (table.schema, table.name));
        let pair = |schema: &str, name: &str| Some((schema.to_owned(), name.to_owned()));
        assert_eq!(name("events"), pair("public", "events"));
        assert_eq!(name("shop.events"), pair("shop", "events"));
        assert_eq!(name("\"Odd Name\".\"a.b\"\"c\""), pair("Odd Name", "a.b\"c"));
        for bad in ["", ".", "a.", ".b", "a.b.c", "\"a"] {
            assert_eq!(name(bad), None, "{bad}");
        }
    }
}
