//! Whether the answer of one statement may serve in place of another's: it must depend on nothing but the values,
//! the data as of one moment, and the session's settings; and asking for it must do nothing. Decided from what a
//! shape says and what the catalog knows; what neither knows is refused. Knows no connection.
//!
//! A yes holds until the schema changes. Whose answers may be shared (same user, same settings, no transaction in
//! between) is for the caller to know.

mod names;
mod reason;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::BTreeSet;
use std::panic::catch_unwind;

use crate::catalog::{Catalog, Oid};
use crate::sql::class::Class;
use crate::sql::facts::{self, Facts, Operand, Operator, Role};
use crate::sql::shape::Shaper;
use crate::sql::words::{self, Place};

pub use reason::Reason;

/// What may be relaxed; see README.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Strict,
    Fenced,
    Bounded,
}

impl Level {
    pub const ALL: [Level; 3] = [Level::Strict, Level::Fenced, Level::Bounded];

    pub fn label(self) -> &'static str {
        match self {
            Level::Strict => "strict",
            Level::Fenced => "fenced",
            Level::Bounded => "bounded",
        }
    }
}

/// When the answers are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// All who get one were waiting when the question left.
    Together,
    /// They are kept for later statements of the transaction in which it was asked.
    Transaction,
    /// They are kept for statements of later transactions.
    Later,
}

/// The session whose statements these are.
#[derive(Debug, Clone, Copy)]
pub struct Session<'a> {
    /// Schemas that names are searched in, as `current_schemas(false)` lists them in the session itself: `"$user"` is
    /// resolved, and schemas that do not exist or that the user has no USAGE on are left out.
    pub search_path: &'a [String],
    /// It has temporary objects, or may have.
    pub temporary: bool,
}

/// One shape.
#[derive(Debug, Clone, Copy)]
pub struct Statement<'a> {
    pub facts: &'a Facts,
    /// Its text without values.
    pub canonical: &'a str,
}

/// What an eligible shape depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Closure {
    /// Every table that is read in the end, through views, policies and functions, with partitions and heirs;
    /// views and materialized views too. Ascending.
    pub tables: Vec<Oid>,
    /// It reads settings by their names: all of a session's must be the same, `application_name` too.
    pub reads_settings: bool,
    /// It asks for the time of the transaction or statement.
    pub reads_time: bool,
    /// Holes, from 1, that must not vary as literals: an index may depend on knowing them while planning.
    pub planned_holes: Vec<u16>,
}

/// How a function's body is read: its canonical text → its facts. The caller has the stack that this needs.
pub type ReadFacts<'a> = &'a dyn Fn(&str) -> Option<(String, Facts)>;

/// One query's canonical text and facts. Call it on a thread with a stack of [`crate::sql::guard::STACK`] bytes.
pub fn read(text: &str) -> Option<(String, Facts)> {
    let (mut found, mut count) = (None, 0);
    Shaper::default().shapes(text.as_bytes(), true, |shape| {
        count += 1;
        found = std::str::from_utf8(shape.canonical).ok().map(str::to_owned);
    });
    let canonical = found.filter(|_| count == 1)?;
    // The parser is somebody else's, and a database may hold any text.
    let facts = catch_unwind(|| facts::read(&canonical)).ok()?.ok()?;
    Some((canonical, facts))
}

/// The decision for each level, with the sharing that the level is for.
pub fn levels(
    statement: Statement<'_>,
    catalog: &Catalog,
    session: Session<'_>,
) -> [(Level, Result<Closure, Reason>); 3] {
    Level::ALL.map(|level| {
        let sharing = if level == Level::Strict { Sharing::Together } else { Sharing::Later };
        (level, closure(statement, catalog, session, (level, sharing), &read))
    })
}

/// What a shape depends on, if its answers may be shared.
///
/// # Errors
/// Why they may not be.
pub fn closure(
    statement: Statement<'_>,
    catalog: &Catalog,
    session: Session<'_>,
    (level, sharing): (Level, Sharing),
    read: ReadFacts<'_>,
) -> Result<Closure, Reason> {
    by_text(statement, level)?;
    if catalog.facts.cut || !catalog.hidden.known {
        return Err(Reason::Catalog);
    }
    let mut walk = walk::Walk::new(catalog, session, (level, sharing), read);
    walk.statement(statement.facts, statement.canonical, 0)?;
    let mut closure = walk.finish();
    if level == Level::Strict {
        float_sums(statement, catalog, &closure.tables)?;
    }
    if closure.reads_time && sharing == Sharing::Later {
        return Err(Reason::Time);
    }
    closure.planned_holes = planned_holes(statement.facts);
    Ok(closure)
}

/// The part of the decision that needs no catalog.
///
/// # Errors
/// Why its answers may not be shared.
pub fn by_text(statement: Statement<'_>, level: Level) -> Result<(), Reason> {
    let facts = statement.facts;
    if facts.locking.is_some() {
        return Err(Reason::Locks);
    }
    let reads = ["select", "with", "values", "table"].contains(&facts.statement.as_str());
    let writes = facts.may_write || facts.tables.iter().any(|table| table.role == Role::Written);
    if facts.class != Class::Read || writes || !reads {
        return Err(Reason::NoRead);
    }
    if facts.cut || statement.canonical.ends_with('…') {
        return Err(Reason::TooLong);
    }
    for word in words::of(statement.canonical) {
        if word.text == "tablesample" && word.place != Place::Operator {
            return Err(Reason::Samples);
        }
        let ordered_kind = word.place == Place::Called && names::depends_on_order(&word.text);
        if level == Level::Strict && ordered_kind && !word.ordered {
            return Err(Reason::OrderOf(word.text));
        }
    }
    Ok(())
}

/// Sums of floats depend on the order in which rows come. A float is a column's type, or what a function or cast
/// makes; numbers in the text are none.
fn float_sums(statement: Statement<'_>, catalog: &Catalog, tables: &[Oid]) -> Result<(), Reason> {
    let words = words::of(statement.canonical);
    let called = words.iter().filter(|word| word.place == Place::Called);
    let Some(sum) = called.clone().find(|word| names::sums(&word.text)) else {
        return Ok(());
    };
    let is_plain = |oid: Oid| !names::FLOATS.contains(&oid) && (oid < names::FIRST_OWN);
    let mut columns = tables.iter().filter_map(|&oid| catalog.table_by_oid(oid)).flat_map(|t| &t.columns);
    let plain_columns = columns.all(|column| is_plain(catalog.base_type(column.type_oid)));
    let makes_float = |text: &str| names::FLOAT_WORDS.contains(&text);
    let plain_words = !words.iter().any(|word| makes_float(&word.text));
    let functions = statement.facts.functions.iter();
    let plain_functions = { functions }.all(|name| names::sums(name) || names::keeps_type(name));
    match plain_columns && plain_words && plain_functions {
        true => Ok(()),
        false => Err(Reason::OrderOf(sum.text.clone())),
    }
}

/// A pattern's beginning, a path into JSON, a regular expression: an index is used if it is a constant.
fn planned_holes(facts: &Facts) -> Vec<u16> {
    let mut holes = BTreeSet::new();
    for predicate in &facts.predicates {
        let plain = matches!(
            predicate.operator,
            Operator::Equal
                | Operator::NotEqual
                | Operator::Less
                | Operator::LessEqual
                | Operator::Greater
                | Operator::GreaterEqual
                | Operator::In
                | Operator::NotIn
                | Operator::Any
        );
        if plain && predicate.wrapped.is_none() {
            continue;
        }
        match &predicate.operand {
            Operand::Hole { number, .. } => drop(holes.insert(*number)),
            Operand::Holes(numbers) | Operand::Expression { holes: numbers, .. } if !plain => {
                holes.extend(numbers.iter().copied());
            }
            _ => {}
        }
    }
    holes.into_iter().collect()
}
