//! Which tables a statement may write, by its facts and the catalog: those that it names, and those that foreign
//! keys, triggers, rules, views, partitions and functions lead to. Whatever is not known for sure may write all.
//! Pure. Must not know what the answer is used for.

mod closure;

use crate::catalog::{Catalog, Oid, Table};
use crate::sql::class::{self, Class};
use crate::sql::facts::{Facts, Role};
use closure::Closure;

/// Tables by oid. The empty set is that of a statement that writes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteSet {
    /// Sorted.
    Tables(Vec<Oid>),
    All,
}

/// Tables of one set at most: to note more of them one by one costs more than it saves.
pub const TABLES_MAX: usize = 64;

impl Default for WriteSet {
    fn default() -> Self {
        WriteSet::Tables(Vec::new())
    }
}

impl WriteSet {
    pub fn is_empty(&self) -> bool {
        matches!(self, WriteSet::Tables(tables) if tables.is_empty())
    }

    /// Keeps its memory for the next.
    pub fn clear(&mut self) {
        match self {
            WriteSet::Tables(tables) => tables.clear(),
            WriteSet::All => *self = WriteSet::default(),
        }
    }

    /// Adds another's tables.
    pub fn add(&mut self, other: &WriteSet) {
        match (&mut *self, other) {
            (WriteSet::All, _) => {}
            (_, WriteSet::All) => *self = WriteSet::All,
            (WriteSet::Tables(own), WriteSet::Tables(others)) => {
                for other in others {
                    if let Err(at) = own.binary_search(other) {
                        own.insert(at, *other);
                    }
                }
                if own.len() > TABLES_MAX {
                    *self = WriteSet::All;
                }
            }
        }
    }

    /// Whether all of another's tables are among these.
    pub fn covers(&self, other: &WriteSet) -> bool {
        match (self, other) {
            (WriteSet::All, _) => true,
            (_, WriteSet::All) => false,
            (WriteSet::Tables(own), WriteSet::Tables(others)) => {
                others.iter().all(|other| own.binary_search(other).is_ok())
            }
        }
    }

    /// Whether it may write one of these tables.
    pub fn touches(&self, tables: &[Oid]) -> bool {
        match self {
            WriteSet::All => true,
            WriteSet::Tables(own) => tables.iter().any(|table| own.binary_search(table).is_ok()),
        }
    }
}

/// What a statement may write, and why that is everything, for people; the sentence holds names from the
/// catalog and from the statement's shape, and no values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Writes {
    pub set: WriteSet,
    pub why: Option<String>,
}

impl From<Result<WriteSet, String>> for Writes {
    fn from(found: Result<WriteSet, String>) -> Self {
        match found {
            Ok(set) => Writes { set, why: None },
            Err(why) => Writes { set: WriteSet::All, why: Some(why) },
        }
    }
}

/// Of one statement, by the text of its shape. `facts`: what the parser made of it; `catalog`: one that was read
/// after the last change of the schema was done.
pub fn of(canonical: &str, facts: Option<&Facts>, catalog: Option<&Catalog>) -> Writes {
    statement(canonical, facts, catalog).into()
}

type Doubt = String;

fn statement(canonical: &str, facts: Option<&Facts>, catalog: Option<&Catalog>) -> Result<WriteSet, Doubt> {
    let classified = class::of(canonical);
    let first = class::first_words(canonical);
    match classified.class {
        Class::TransactionControl if first.iter().any(|word| word == "prepared" || word == "prepare") => {
            return Err("two-phase commit is not followed".to_owned());
        }
        Class::TransactionControl => return Ok(WriteSet::default()),
        // The query of a cursor runs when rows are fetched, in the same transaction.
        Class::Session if first.first().is_none_or(|word| word != "declare") => {
            return Ok(WriteSet::default());
        }
        Class::Ddl => return Err("it changes the schema, or rights".to_owned()),
        Class::Utility if classified.may_write => return Err("it may do anything".to_owned()),
        Class::Utility => return Ok(WriteSet::default()),
        Class::Read | Class::Write | Class::Session => {}
    }
    if classified.class == Class::Write && first.first().is_some_and(|word| word == "copy") {
        return Err("COPY is not followed".to_owned());
    }
    let facts = facts.ok_or("the parser does not know it")?;
    let catalog = catalog.ok_or("the catalog is not known")?;
    if facts.cut {
        return Err("it is too long to be known in full".to_owned());
    }
    known(catalog)?;
    calm(facts, catalog)?;
    let (mut closure, events) = (Closure::new(catalog, facts), closure::events(facts));
    for table in &facts.tables {
        let schema = table.schema.as_deref();
        let found = named(catalog, schema, &table.name);
        match table.role {
            Role::Read => closure.read(&found, schema, &table.name)?,
            Role::Written if found.is_empty() => return Err(format!("{} is not known", table.full_name())),
            Role::Written => found.iter().try_for_each(|table| closure.write(table, events))?,
        }
    }
    if classified.class == Class::Write && closure.is_empty() {
        return Err("what it writes is not known".to_owned());
    }
    closure.set()
}

fn known(catalog: &Catalog) -> Result<(), Doubt> {
    if catalog.facts.cut {
        return Err("the database has more objects than are known".to_owned());
    }
    if !catalog.effects.known {
        return Err("what functions do is not known".to_owned());
    }
    match catalog.effects.anywhere.first() {
        Some(name) => Err(format!("{name} is volatile and may run without being named")),
        None => Ok(()),
    }
}

/// What PostgreSQL's grammar writes like a function and is none.
const SYNTAX: [&str; 29] = [
    "any",
    "array",
    "coalesce",
    "current_catalog",
    "current_date",
    "current_role",
    "current_time",
    "current_timestamp",
    "current_user",
    "exists",
    "extract",
    "greatest",
    "grouping",
    "least",
    "localtime",
    "localtimestamp",
    "normalize",
    "nullif",
    "overlay",
    "position",
    "row",
    "session_user",
    "some",
    "substring",
    "system_user",
    "treat",
    "trim",
    "user",
    "xmlelement",
];

/// It calls nothing that may write.
fn calm(facts: &Facts, catalog: &Catalog) -> Result<(), Doubt> {
    let restless = facts.functions.iter().find(|function| {
        let (schema, name) = match function.rsplit_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, function.as_str()),
        };
        !(catalog.is_calm(schema, name) || schema.is_none() && SYNTAX.contains(&name))
    });
    match restless {
        Some(name) => Err(format!("it calls {name}, which is volatile or not known")),
        None => Ok(()),
    }
}

/// The relations that a name may mean: without a schema, those of every schema, since what a session searches
/// is its own affair.
fn named<'a>(catalog: &'a Catalog, schema: Option<&str>, name: &str) -> Vec<&'a Table> {
    let within = |schema: &str| catalog.table::<&str>(&[], Some(schema), name);
    match schema {
        Some(schema) => within(schema).into_iter().collect(),
        None => catalog.facts.schemas.iter().filter_map(|schema| within(schema)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(tables: &[Oid]) -> WriteSet {
        WriteSet::Tables(tables.to_vec())
    }

    #[test]
    fn sets_add_up() {
        let mut all = WriteSet::default();
        assert!(all.is_empty() && !all.touches(&[1]) && all.covers(&set(&[])));
        for (add, sum) in [(vec![7, 9], vec![7, 9]), (vec![], vec![7, 9]), (vec![3, 9, 8], vec![3, 7, 8, 9])]
        {
            all.add(&set(&add));
            assert_eq!(all, set(&sum));
        }
        assert!(all.touches(&[1, 8]) && !all.touches(&[1, 2, 10]) && !all.touches(&[]));
        assert!(all.covers(&set(&[3, 9])) && !all.covers(&set(&[3, 4])) && !all.covers(&WriteSet::All));
        all.add(&set(&(100..100 + TABLES_MAX as Oid).collect::<Vec<_>>()));
        assert_eq!(all, WriteSet::All, "more than are noted one by one");
        all.add(&set(&[1]));
        assert!(all == WriteSet::All && all.covers(&WriteSet::All) && all.touches(&[77]) && !all.is_empty());
        all.clear();
        assert!(all.is_empty());
    }

    #[test]
    fn without_facts_or_catalog_only_what_surely_writes_nothing_is_calm() {
        for text in ["begin", "commit", "set a = $1", "show a", "listen x", "close c", "deallocate p", ""] {
            assert!(of(text, None, None).set.is_empty(), "{text}");
        }
        for text in
            ["select $1", "insert into t values ($1)", "declare c cursor for select $1", "call p()", "%"]
        {
            let writes = of(text, None, None);
            assert!(writes.set == WriteSet::All && writes.why.is_some(), "{text}");
        }
    }
}
