//! A look-up as what fetches ahead knows it, put together from what was found out about its line.

use super::line::Line;
use super::survey::holes;
use crate::catalog::{Catalog, Oid, Table};
use crate::coalesce::prefetch::Child;
use crate::coalesce::prefetch::keys::{Slot, oid};
use crate::coalesce::prefetch::level::Level;
use crate::coalesce::prefetch::small::Small;
use crate::coalesce::settings::CoalesceSettings;
use crate::session::answer::Described;
use crate::sql::facts::{Facts, Operand, Operator, Predicate, Role};
use crate::sql::shape::HoleKind;
use crate::wire::{HEADER, cstr, int16};

/// What was read about it.
pub struct Read<'a> {
    /// Of its parameters, and of the literals that vary behind them.
    pub types: &'a [Oid],
    /// All that its answers depend on; `None`: they may not be kept.
    pub tables: Option<&'a [Oid]>,
    pub facts: Option<&'a Facts>,
    pub catalog: &'a Catalog,
}

pub fn of(line: &Line, described: &Described, read: &Read<'_>, settings: &CoalesceSettings) -> Child {
    let shape = line.site.shape.fingerprint;
    let level = read.tables.and_then(|tables| level(settings, shape, tables, read.catalog));
    let slots = slots(line, read);
    let small = read.facts.and_then(|facts| small(facts, line, read, &slots));
    Child {
        shape,
        statement: line.site.id,
        formats: line.site.formats_number(&line.formats),
        context: line.baggage.fingerprint(),
        slots,
        types: column_types(&described.row),
        result_formats: codes(&line.formats),
        tables: read.tables.unwrap_or_default().into(),
        level: level.unwrap_or_default(),
        serializable: settings.serializable,
        small,
    }
}

/// What the rules say of a shape that depends on these tables; `None`: to leave it alone. What is said of a partitioned
/// table is said of its partitions, unless they are named.
pub fn level(settings: &CoalesceSettings, shape: u64, tables: &[Oid], catalog: &Catalog) -> Option<Level> {
    let covered = |table: &&Table| {
        let within = table.partition_of.as_ref().is_some_and(|of| tables.contains(&of.parent));
        within && settings.said_of(&table.schema, &table.name).is_none()
    };
    let named = tables.iter().filter_map(|&oid| catalog.table_by_oid(oid)).filter(|table| !covered(table));
    settings.level(shape, named.map(|table| (&*table.schema, &*table.name)))
}

/// Of each value: its type, and whether only what it means matters.
fn slots(line: &Line, read: &Read<'_>) -> Box<[Slot]> {
    let numbers = numbers(line);
    let types = types(line, read.types, numbers.len());
    let slot = |(&number, type_oid): (&Option<u16>, Oid)| {
        let comparable = matches!(
            type_oid,
            oid::INT2 | oid::INT4 | oid::INT8 | oid::UUID | oid::BOOL | oid::TEXT | oid::VARCHAR
        );
        let text = &line.site.shape.text;
        let equal = number.is_some_and(|number| {
            read.facts.is_some_and(|facts| is_compared_only(facts, text, number, type_oid).is_some())
        });
        Slot { type_oid, by_value: comparable && equal }
    };
    numbers.iter().zip(types).map(slot).collect()
}

/// For each value of the line's look-ups, its hole in the canonical text; `None`: it stands there more than once.
fn numbers(line: &Line) -> Vec<Option<u16>> {
    let site = &line.site;
    let holes = holes(site.sample());
    if !site.literals.is_empty() {
        let at = |start: u32| holes.iter().find(|hole| hole.start == start).map(|hole| hole.number);
        return site.literals.iter().map(|value| at(super::line::slot(value, 0).start)).collect();
    }
    let count = holes.iter().filter_map(|hole| match hole.kind {
        HoleKind::Parameter(number) => Some(usize::from(number)),
        _ => None,
    });
    let of = |number: usize| {
        let is = |kind: HoleKind| matches!(kind, HoleKind::Parameter(own) if usize::from(own) == number);
        let mut own = holes.iter().filter(|hole| is(hole.kind));
        own.next().filter(|_| own.next().is_none()).map(|hole| hole.number)
    };
    (1..=count.max().unwrap_or(0)).map(of).collect()
}

/// The types of the values; 0 where the server was not asked.
fn types(line: &Line, found: &[Oid], values: usize) -> Vec<Oid> {
    if line.site.literals.is_empty() {
        return (0..values).map(|at| found.get(at).copied().unwrap_or(0)).collect();
    }
    let mut found = found.iter().copied();
    (0..values).map(|at| if line.varying & 1 << at == 0 { 0 } else { found.next().unwrap_or(0) }).collect()
}

/// The condition `column = value` that is all that this value, of this type, is used for.
fn is_compared_only<'a>(
    facts: &'a Facts,
    canonical: &str,
    number: u16,
    type_oid: Oid,
) -> Option<&'a Predicate> {
    let hole = format!("${number}");
    let behind = |(at, _): (usize, &str)| canonical.get(at + hole.len()..);
    let mut all = canonical.match_indices(&hole).filter_map(behind);
    let mut once = all.by_ref().filter(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()));
    let behind = once.next().filter(|_| once.next().is_none())?;
    // In a list the facts do not say what a value is cast to.
    let plain = behind.trim_start().starts_with(')');
    facts.predicates.iter().find(|predicate| {
        let equal =
            matches!(predicate.operator, Operator::Equal | Operator::In) && predicate.wrapped.is_none();
        let own = match &predicate.operand {
            Operand::Hole { number: own, cast } => {
                *own == number && cast.as_ref().is_none_or(|cast| keeps_meaning(cast, type_oid))
            }
            Operand::Holes(numbers) => **numbers == [number] && plain,
            _ => false,
        };
        equal && own
    })
}

/// A cast that libraries write beside their parameters: to the type that the value has, or from one whole number to
/// another. What such a number cannot be is an error of the server's to give.
fn keeps_meaning(cast: &str, type_oid: Oid) -> bool {
    let whole = |type_oid| matches!(type_oid, oid::INT2 | oid::INT4 | oid::INT8);
    let to = cast_to(cast);
    to == Some(type_oid) || (to.is_some_and(whole) && whole(type_oid))
}

/// The type that a cast names, if it is one of those that keys have.
fn cast_to(cast: &str) -> Option<Oid> {
    match cast {
        "smallint" | "int2" => Some(oid::INT2),
        "integer" | "int" | "int4" => Some(oid::INT4),
        "bigint" | "int8" => Some(oid::INT8),
        "uuid" => Some(oid::UUID),
        "text" => Some(oid::TEXT),
        // With a length it would cut the value.
        "varchar" | "character varying" => Some(oid::VARCHAR),
        _ => None,
    }
}

/// The table, if it is small enough to be read as a whole, and the look-up is by its key alone.
fn small(facts: &Facts, line: &Line, read: &Read<'_>, slots: &[Slot]) -> Option<Small> {
    let catalog = read.catalog;
    let [table] = facts.tables.as_slice() else {
        return None;
    };
    let name = catalog.table(&catalog.facts.search_path, table.schema.as_deref(), &table.name)?;
    // The session may search other schemas than whoever read the catalog.
    read.tables?.contains(&name.oid).then_some(())?;
    let simple = facts.subqueries == 0 && facts.set_operations == 0 && facts.ctes.is_empty();
    if table.role != Role::Read || !simple {
        return None;
    }
    let numbers = numbers(line);
    let mut keys = slots.iter().zip(&numbers).enumerate().filter_map(|(at, (slot, number))| {
        let predicate = is_compared_only(facts, &line.site.shape.text, (*number)?, slot.type_oid)?;
        // A cast to another type may refuse a value that the table does not have.
        let refuses = match &predicate.operand {
            Operand::Hole { cast: Some(cast), .. } => cast_to(cast) != Some(slot.type_oid),
            _ => false,
        };
        (slot.by_value && predicate.top && !refuses).then_some((at, predicate))
    });
    let (at, predicate) = keys.next()?;
    Small::of(catalog, name, &predicate.column.column, u16::try_from(at).ok()?).ok()
}

/// The types that a RowDescription frame names.
fn column_types(frame: &[u8]) -> Box<[Oid]> {
    let mut types = Vec::new();
    let mut rest = frame.get(HEADER..).and_then(int16).map_or(&[][..], |(_, rest)| rest);
    while let Some((_, tail)) = cstr(rest) {
        let Some(&[_, _, _, _, _, _, a, b, c, d, ..]) = tail.first_chunk::<18>() else { break };
        types.push(Oid::from_be_bytes([a, b, c, d]));
        rest = &tail[18..];
    }
    types.into()
}

/// Format codes, as a Bind has them.
fn codes(formats: &[u8]) -> Box<[i16]> {
    let codes = formats.get(2..).unwrap_or_default().as_chunks::<2>().0;
    codes.iter().map(|code| i16::from_be_bytes(*code)).collect()
}
