//! One statement for many: the text of a look-up is put, as it is, into a query that runs it once for each of
//! K sets of values, so that PostgreSQL itself does all comparing. Built once per shape; `batch` writes the
//! values, `split` takes the answer apart. Whether a shape may be replayed at all is decided in `eligible`.
//!
//! ```sql
//! select pgw_k.pgw_o, pgw_q.* from rows from (pg_catalog.unnest($1), …) with ordinality as pgw_k(pgw_1, …, pgw_o)
//! cross join lateral ( <the text, with pgw_k.pgw_1 for each varying value> offset 0 ) as pgw_q
//! ```
//! Where a value could give a column its name, `($1)[pgw_k.pgw_o]` stands for it, which gives none either.
//! Arrays are declared by the OID of their type, never by its name: `character[]` would cut its elements to one
//! letter. `offset 0` keeps the planner from pulling the text up, so that rows of one set stay together and in
//! the order that the text alone gives them. The session's `standard_conforming_strings` and `array_nulls` must
//! be on, and its encoding one that [`types::is_safe_encoding`] knows as safe.

mod batch;
mod literal;
mod probe;
#[cfg(test)]
mod tests;
pub mod types;

use std::fmt;

use crate::catalog::Oid;
use crate::sql::outline::Outline;
use crate::sql::shape::{Hole, HoleKind};
use crate::wire::reply;

pub use batch::{Batch, Member, Unfit};
pub use probe::{Probe, described};
use types::ArrayType;

/// Where a value stands in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Byte offsets.
    pub start: u32,
    pub end: u32,
    pub kind: SlotKind,
    /// Of a parameter, or of a literal that becomes one: the type that the server said. For a [`Probe`], the
    /// one that the client declared, 0 if it did not.
    pub oid: Oid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotKind {
    /// `$n`, with n from 1.
    Parameter(u16),
    /// Digits, perhaps with a minus sign.
    Integer,
    /// `'…'`, read with `standard_conforming_strings`.
    String,
    /// Any other value, which cannot vary within a batch.
    Other,
}

impl Slot {
    /// The type is not known yet.
    pub fn of_hole(hole: &Hole) -> Slot {
        let kind = match hole.kind {
            HoleKind::Parameter(number) => SlotKind::Parameter(number),
            HoleKind::Integer => SlotKind::Integer,
            HoleKind::String => SlotKind::String,
            _ => SlotKind::Other,
        };
        Slot { start: hole.start, end: hole.end, kind, oid: 0 }
    }
}

/// Why a text cannot be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is no SELECT, WITH, VALUES or TABLE, or not exactly one.
    NoQuery,
    Locking,
    /// Before 18, PostgreSQL sorts them in an order that depends on what it knows while planning.
    GroupingSets,
    /// There is one value for all; one answer serves them without a batch.
    NothingVaries,
    /// The value at this offset cannot come from a row without a change of meaning.
    Literal(u32),
    /// No array type, or none that is known, for values of this type.
    Type(Oid),
    /// Slots out of order or outside of the text, or a gap in the numbers of parameters.
    Slots,
    /// More parameters than a statement may have.
    TooMany,
    /// A name in the text is one of those that the batch's own text uses.
    Name,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoQuery => formatter.write_str("it is not one query alone"),
            Refusal::Locking => formatter.write_str("it locks rows"),
            Refusal::GroupingSets => formatter.write_str("it has grouping sets"),
            Refusal::NothingVaries => formatter.write_str("no value in it varies"),
            Refusal::Literal(at) => {
                write!(formatter, "the value at byte {at} cannot come from a row and mean the same")
            }
            Refusal::Type(oid) => write!(formatter, "values of type {oid} have no array type that is known"),
            Refusal::Slots => formatter.write_str("the places of its values are not those of its text"),
            Refusal::TooMany => formatter.write_str("it has too many parameters"),
            Refusal::Name => formatter.write_str("it uses a name that starts with pgw_"),
        }
    }
}

/// PostgreSQL counts parameters in sixteen bits; drivers stop at half of that.
const PARAMETERS_MAX: usize = 32_767;

/// Where the values of an array or a scalar come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// `$n` of the client, n from 1.
    Parameter(u16),
    /// The slot of this number, which holds a literal.
    Literal(usize),
}

/// A value that differs between the members, as an array.
#[derive(Debug, Clone, Copy)]
struct Column {
    source: Source,
    element: Oid,
    array: ArrayType,
    /// A number may have a sign.
    signed: bool,
}

/// How a shape is replayed.
#[derive(Debug)]
pub struct Replay {
    text: Vec<u8>,
    /// As in a Parse message: a count and the OIDs.
    types: Vec<u8>,
    /// `$1` to `$columns.len()`.
    columns: Vec<Column>,
    /// The client's parameters that are the same for all members, in the order in which they follow.
    scalars: Vec<u16>,
    /// For each of the client's parameters, which column (below `columns.len()`) or scalar (from there on).
    places: Vec<usize>,
    /// What a member's text has to equal outside of the literals that vary.
    original: Vec<u8>,
    slots: Vec<Slot>,
    literals: usize,
    /// Members of one batch at most.
    members_max: u32,
}

impl Replay {
    /// A statement of another kind, all of whose parameters vary: `$n` of its text is the array of the values that
    /// `$n` of the members has.
    ///
    /// # Errors
    /// There are too many.
    pub fn of_arrays(
        text: Vec<u8>,
        parameters: &[(Oid, ArrayType)],
        members_max: u32,
    ) -> Result<Replay, Refusal> {
        let column = |(at, &(element, array)): (usize, &(Oid, ArrayType))| Column {
            source: Source::Parameter(at as u16 + 1),
            element,
            array,
            signed: true,
        };
        let oids: Vec<Oid> = parameters.iter().map(|(_, array)| array.oid).collect();
        Ok(Replay {
            text,
            types: probe::type_list(&oids)?,
            columns: parameters.iter().enumerate().map(column).collect(),
            scalars: Vec::new(),
            places: (0..parameters.len()).collect(),
            original: Vec::new(),
            slots: Vec::new(),
            literals: 0,
            members_max,
        })
    }

    /// `varying` belongs to `slots`, which are all values in the text, in its order; a parameter that stands
    /// there more than once varies if one of its slots does. `arrays` is asked for types that are not
    /// PostgreSQL's own. Every parameter that the statement has must be in the text, which the number of types
    /// in the server's ParameterDescription shows.
    ///
    /// # Errors
    /// Why these statements stay as they are.
    pub fn build(
        text: &[u8],
        slots: &[Slot],
        varying: &[bool],
        arrays: &dyn Fn(Oid) -> Option<ArrayType>,
    ) -> Result<Replay, Refusal> {
        let outline = check(text, slots, varying)?;
        let parameters = parameters(slots, varying)?;
        let mut replay = Replay {
            text: Vec::with_capacity(text.len() + 256),
            types: Vec::new(),
            columns: Vec::new(),
            scalars: Vec::new(),
            places: vec![0; parameters.len()],
            original: text.to_vec(),
            slots: slots.to_vec(),
            literals: 0,
            members_max: batch::MEMBERS_MAX,
        };
        replay.choose(slots, varying, (&parameters, &outline), arrays)?;
        replay.write_text(text, varying, &outline);
        Ok(replay)
    }

    /// Decides what becomes an array and what stays a scalar.
    fn choose(
        &mut self,
        slots: &[Slot],
        varying: &[bool],
        (parameters, outline): (&[Option<Parameter>], &Outline),
        arrays: &dyn Fn(Oid) -> Option<ArrayType>,
    ) -> Result<(), Refusal> {
        let array = |oid: Oid| types::builtin(oid).or_else(|| arrays(oid)).ok_or(Refusal::Type(oid));
        for (at, parameter) in parameters.iter().enumerate() {
            let parameter = parameter.ok_or(Refusal::Slots)?;
            if parameter.varies {
                self.places[at] = self.columns.len();
                let (source, element) = (Source::Parameter(at as u16 + 1), parameter.oid);
                self.columns.push(Column { source, element, array: array(element)?, signed: true });
            }
        }
        for (at, slot) in slots.iter().enumerate().filter(|(at, _)| varying[*at]) {
            if matches!(slot.kind, SlotKind::Parameter(_)) {
                continue;
            }
            // `'1'::interval day` is a day as a literal and a second as a parameter.
            if slot.kind == SlotKind::String && slot.oid == types::INTERVAL {
                return Err(Refusal::Literal(slot.start));
            }
            self.literals += 1;
            let source = Source::Literal(at);
            let signed = outline.may_have_sign(slot.start);
            self.columns.push(Column { source, element: slot.oid, array: array(slot.oid)?, signed });
        }
        if self.columns.is_empty() {
            return Err(Refusal::NothingVaries);
        }
        for (at, parameter) in parameters.iter().enumerate() {
            if parameter.is_some_and(|parameter| !parameter.varies) {
                self.places[at] = self.columns.len() + self.scalars.len();
                self.scalars.push(at as u16 + 1);
            }
        }
        let oids = self.columns.iter().map(|column| column.array.oid);
        let scalars = self.scalars.iter().filter_map(|&number| parameters[usize::from(number) - 1]);
        let oids: Vec<Oid> = oids.chain(scalars.map(|parameter| parameter.oid)).collect();
        self.types = probe::type_list(&oids)?;
        Ok(())
    }

    fn write_text(&mut self, text: &[u8], varying: &[bool], outline: &Outline) {
        let out = &mut self.text;
        out.extend_from_slice(b"select pgw_k.pgw_o, pgw_q.* from rows from (");
        for (at, column) in self.columns.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            // Values that have columns themselves are taken by their place.
            let call = if column.array.composite { "generate_subscripts" } else { "unnest" };
            let more = if column.array.composite { ", 1" } else { "" };
            out.extend_from_slice(format!("{comma}pg_catalog.{call}(${}{more})", at + 1).as_bytes());
        }
        out.extend_from_slice(b") with ordinality as pgw_k(");
        (1..=self.columns.len()).for_each(|at| out.extend_from_slice(format!("pgw_{at}, ").as_bytes()));
        out.extend_from_slice(b"pgw_o) cross join lateral (");
        let mut done = outline.start;
        for (at, slot) in self.slots.iter().enumerate() {
            let place = match slot.kind {
                SlotKind::Parameter(number) => self.places[usize::from(number) - 1],
                _ if varying[at] => {
                    let of_slot = |column: &Column| column.source == Source::Literal(at);
                    self.columns.iter().position(of_slot).unwrap_or_default()
                }
                _ => continue,
            };
            out.extend_from_slice(&text[done..slot.start as usize]);
            let number = place + 1;
            out.extend_from_slice(
                match self.columns.get(place) {
                    None => format!(" ${number} "),
                    Some(column) if !column.array.composite && outline.is_operand(slot.start) => {
                        format!(" pgw_k.pgw_{number} ")
                    }
                    // An element gives no column a name, as the parameter that it stands for gave none.
                    Some(_) => format!(" (${number})[pgw_k.pgw_o] "),
                }
                .as_bytes(),
            );
            done = slot.end as usize;
        }
        out.extend_from_slice(&text[done..outline.end]);
        // A comment may be the last line of the text.
        out.push(b'\n');
        if !outline.limited {
            out.extend_from_slice(b"offset 0");
        }
        out.extend_from_slice(b") as pgw_q");
    }

    /// The batch's statement.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The same with each column twice, so that it can be had in two forms. `None`: it is another kind of replay.
    pub fn text_twice(&self) -> Option<Vec<u8>> {
        const ONCE: &[u8] = b"select pgw_k.pgw_o, pgw_q.* from";
        let rest = self.text.strip_prefix(ONCE)?;
        Some([b"select pgw_k.pgw_o, pgw_q.*, pgw_q.* from", rest].concat())
    }

    /// The types of its parameters, as in a Parse message.
    pub fn types(&self) -> &[u8] {
        &self.types
    }

    /// Its Parse message, under this name.
    pub fn write_parse(&self, name: &[u8], out: &mut Vec<u8>) {
        reply::parse(out, name, &self.text, &self.types);
    }
}

/// A parameter of the client's.
#[derive(Debug, Clone, Copy)]
struct Parameter {
    oid: Oid,
    varies: bool,
}

/// The parameters by number; `None` in a gap.
fn parameters(slots: &[Slot], varying: &[bool]) -> Result<Vec<Option<Parameter>>, Refusal> {
    let mut parameters: Vec<Option<Parameter>> = Vec::new();
    for (slot, &varies) in slots.iter().zip(varying) {
        let SlotKind::Parameter(number) = slot.kind else {
            continue;
        };
        let at = usize::from(number).checked_sub(1).ok_or(Refusal::Slots)?;
        if at >= PARAMETERS_MAX {
            return Err(Refusal::TooMany);
        }
        if at >= parameters.len() {
            parameters.resize(at + 1, None);
        }
        let known = parameters[at].get_or_insert(Parameter { oid: slot.oid, varies });
        known.varies |= varies;
    }
    Ok(parameters)
}

/// What must hold for a probe and for a replay.
fn check(text: &[u8], slots: &[Slot], varying: &[bool]) -> Result<Outline, Refusal> {
    let outline = Outline::of(text, true).ok_or(Refusal::NoQuery)?;
    if outline.locking {
        return Err(Refusal::Locking);
    }
    if outline.grouping_sets {
        return Err(Refusal::GroupingSets);
    }
    if text.windows(4).any(|part| part.eq_ignore_ascii_case(b"pgw_")) {
        return Err(Refusal::Name);
    }
    let mut done = outline.start;
    for slot in slots {
        let (start, end) = (slot.start as usize, slot.end as usize);
        if start < done || end <= start || end > outline.end {
            return Err(Refusal::Slots);
        }
        done = end;
    }
    if varying.len() != slots.len() {
        return Err(Refusal::Slots);
    }
    let lifted = slots.iter().zip(varying).filter(|(_, varying)| **varying).map(|(slot, _)| slot);
    for slot in lifted {
        let literal = &text[slot.start as usize..slot.end as usize];
        let fits = match slot.kind {
            SlotKind::Parameter(_) => true,
            SlotKind::Integer => {
                let signed = literal.starts_with(b"-") && !outline.may_have_sign(slot.start);
                types::of_integer(literal).is_some() && outline.is_value(slot.start) && !signed
            }
            SlotKind::String => literal::is_plain(literal),
            SlotKind::Other => false,
        };
        if !fits || outline.is_coerced(slot.start) {
            return Err(Refusal::Literal(slot.start));
        }
    }
    Ok(outline)
}
