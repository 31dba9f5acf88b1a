//! Where a write leads: foreign keys, triggers, rules, views, partitions. Pure. Knows the catalog, and of the
//! statement only which relations it names and what it does to them.

use std::collections::BTreeMap;

use super::{Doubt, TABLES_MAX, WriteSet};
use crate::catalog::{Action, Catalog, ForeignKey, Oid, Table, TableKind, Timing, TriggerState};
use crate::sql::facts::{Facts, OnConflict};

const INSERT: u8 = 1;
const UPDATE: u8 = 2;
const DELETE: u8 = 4;
const TRUNCATE: u8 = 8;

/// What it does to the tables that it writes.
pub fn events(facts: &Facts) -> u8 {
    let rows = INSERT | UPDATE | DELETE;
    match facts.statement.as_str() {
        "truncate" => TRUNCATE,
        _ if !facts.ctes.is_empty() => rows,
        "insert" if facts.on_conflict == Some(OnConflict::Update) => INSERT | UPDATE,
        "insert" => INSERT,
        "update" => UPDATE,
        "delete" => DELETE,
        _ => rows,
    }
}

/// The columns that an UPDATE gives values to, if it is nothing but an UPDATE.
fn assigned(facts: &Facts) -> Option<&[String]> {
    (facts.statement == "update" && facts.ctes.is_empty()).then_some(&facts.assigned)
}

fn event(name: &str) -> u8 {
    match name {
        "INSERT" => INSERT,
        "UPDATE" => UPDATE,
        "DELETE" => DELETE,
        "TRUNCATE" => TRUNCATE,
        _ => u8::MAX,
    }
}

// --- where a write leads ---

pub struct Closure<'a> {
    catalog: &'a Catalog,
    /// What happens to each table.
    seen: BTreeMap<Oid, u8>,
    next: Vec<(&'a Table, u8)>,
    assigned: Option<&'a [String]>,
}

impl<'a> Closure<'a> {
    pub fn new(catalog: &'a Catalog, facts: &'a Facts) -> Self {
        Closure { catalog, seen: BTreeMap::new(), next: Vec::new(), assigned: assigned(facts) }
    }

    /// Nothing is written so far.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// A relation that is read writes nothing, unless it calls what does.
    pub fn read(&self, found: &[&'a Table], schema: Option<&str>, name: &str) -> Result<(), Doubt> {
        let system = match schema {
            Some(schema) => matches!(schema, "pg_catalog" | "information_schema"),
            None => name.starts_with("pg_"),
        };
        if found.is_empty() && !system {
            return Err(format!("{name} is not known"));
        }
        let (mut next, mut seen) = (found.to_vec(), Vec::new());
        while let Some(table) = next.pop() {
            if seen.contains(&table.oid) {
                continue;
            }
            seen.push(table.oid);
            if let Some(function) =
                self.catalog.effects.on_read.get(&table.oid).and_then(|names| names.first())
            {
                return Err(format!("{} calls {function}, which is volatile", table.name));
            }
            if table.kind == TableKind::View {
                // What it reads of PostgreSQL's own is not in the catalog, and calm.
                next.extend(table.reads.iter().filter_map(|&oid| self.catalog.table_by_oid(oid)));
            }
        }
        Ok(())
    }

    pub fn write(&mut self, table: &'a Table, events: u8) -> Result<(), Doubt> {
        self.add(table, events);
        while let Some((table, events)) = self.next.pop() {
            self.follow(table, events)?;
            // Further columns may be set by what follows.
            self.assigned = None;
        }
        Ok(())
    }

    fn add(&mut self, table: &'a Table, events: u8) {
        let known = self.seen.entry(table.oid).or_default();
        if *known | events != *known {
            *known |= events;
            self.next.push((table, *known));
        }
    }

    fn follow(&mut self, table: &'a Table, events: u8) -> Result<(), Doubt> {
        let name = &table.name;
        if !table.rules.is_empty() {
            return Err(format!("{name} has rules"));
        }
        if table.kind == TableKind::Foreign {
            return Err(format!("{name} is a foreign table"));
        }
        let effects = &self.catalog.effects;
        let run =
            [&effects.on_read, &effects.on_write].into_iter().filter_map(|of| of.get(&table.oid)).flatten();
        if let Some(function) = run.into_iter().next() {
            return Err(format!("{name} calls {function}, which is volatile"));
        }
        self.triggers(table, events)?;
        if table.kind == TableKind::View {
            for &oid in &table.reads {
                let base = self.catalog.table_by_oid(oid);
                let base = base.ok_or_else(|| format!("what the view {name} is made of is not known"))?;
                self.add(base, events);
            }
            return Ok(());
        }
        // A row that moves to another partition is deleted from one and inserted into the other.
        let divided = table.kind == TableKind::Partitioned || table.partition_of.is_some();
        let moves = divided && events & UPDATE != 0;
        let events = if moves { events | INSERT | DELETE } else { events };
        self.catalog.children_of(table.oid).for_each(|child| self.add(child, events));
        if moves {
            self.add(table, events);
        }
        self.foreign_keys(table, events);
        Ok(())
    }

    /// Those of a partitioned table are its partitions' too, whether the catalog shows them there or not.
    fn triggers(&self, table: &Table, events: u8) -> Result<(), Doubt> {
        let mut at = Some(table);
        while let Some(table) = at {
            for trigger in &table.triggers {
                let fires = trigger.events.iter().any(|name| event(name) & events != 0);
                let calm = || {
                    let (schema, name) = trigger.function.split_once('.').unwrap_or(("", &trigger.function));
                    self.catalog.is_calm(Some(schema), name)
                };
                if fires && trigger.enabled != TriggerState::Disabled && !calm() {
                    let (table, trigger) = (&table.name, &trigger.name);
                    return Err(format!("{table} has the trigger {trigger}, which may do anything"));
                }
            }
            at = self.parent(table);
        }
        Ok(())
    }

    fn parent(&self, table: &Table) -> Option<&'a Table> {
        table.partition_of.as_ref().and_then(|of| self.catalog.table_by_oid(of.parent))
    }

    /// Rows of other tables that go, or change, with rows of this one. A key that points to a partitioned table
    /// holds for its partitions.
    fn foreign_keys(&mut self, table: &'a Table, events: u8) {
        let mut target = Some(table);
        while let Some(to) = target {
            for (from, key) in self.catalog.foreign_keys_to(to.oid) {
                let led = self.led_to(table, key, events);
                if led != 0 {
                    self.add(from, led);
                }
            }
            target = self.parent(to);
        }
    }

    /// What happens to the table that has the key when this happens to the one that it points to.
    fn led_to(&self, table: &Table, key: &ForeignKey, events: u8) -> u8 {
        let mut led = 0;
        if events & DELETE != 0 {
            led |= match key.on_delete {
                Action::Cascade => DELETE,
                Action::SetNull | Action::SetDefault => UPDATE,
                Action::NoAction | Action::Restrict => 0,
            };
        }
        if events & UPDATE != 0 && self.may_update(table, key) {
            led |= match key.on_update {
                Action::NoAction | Action::Restrict => 0,
                Action::Cascade | Action::SetNull | Action::SetDefault => UPDATE,
            };
        }
        // With CASCADE, which facts do not tell.
        led | (events & TRUNCATE)
    }

    /// Whether the columns that the key points to may get other values.
    fn may_update(&self, table: &Table, key: &ForeignKey) -> bool {
        let Some(assigned) = self.assigned else { return true };
        // A trigger in front may set any column.
        let meddles = table.triggers.iter().any(|trigger| trigger.timing == Timing::Before);
        let assigns = |number| {
            let column = table.column_by_number(number);
            column.is_none_or(|column| assigned.contains(&column.name))
        };
        meddles || key.to_columns.iter().any(|&number| assigns(number))
    }

    pub fn set(self) -> Result<WriteSet, Doubt> {
        match self.seen.len() {
            0..=TABLES_MAX => Ok(WriteSet::Tables(self.seen.into_keys().collect())),
            more => Err(format!("it may write {more} tables")),
        }
    }
}
