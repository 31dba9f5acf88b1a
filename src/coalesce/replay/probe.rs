//! The question that comes before a replay: of which types are the values, which columns has the answer? The
//! text with parameters in place of the literals that vary goes to the server for Parse and Describe. Knows no
//! connection.

use super::types::ArrayType;
use super::{PARAMETERS_MAX, Refusal, Replay, Slot, SlotKind, check, parameters, types};
use crate::catalog::Oid;
use crate::wire::reply;

/// What to ask about one shape.
#[derive(Debug)]
pub struct Probe {
    original: Vec<u8>,
    text: Vec<u8>,
    types: Vec<u8>,
    slots: Vec<Slot>,
    varying: Vec<bool>,
    /// For each slot, its parameter in the probe's text; 0: it stays as it is.
    numbers: Vec<u16>,
    count: usize,
}

impl Probe {
    /// `slots` and `varying` as for [`Replay::build`], with the types that the client declared, or 0.
    ///
    /// # Errors
    /// Why these statements stay as they are.
    pub fn build(text: &[u8], slots: &[Slot], varying: &[bool]) -> Result<Probe, Refusal> {
        let outline = check(text, slots, varying)?;
        let parameters = parameters(slots, varying)?;
        let mut oids = Vec::with_capacity(parameters.len() + slots.len());
        for parameter in &parameters {
            oids.push(parameter.ok_or(Refusal::Slots)?.oid);
        }
        let (mut out, mut done, mut numbers) =
            (Vec::with_capacity(text.len() + 32), outline.start, Vec::new());
        for (slot, &varying) in slots.iter().zip(varying) {
            let literal = &text[slot.start as usize..slot.end as usize];
            let number = match slot.kind {
                SlotKind::Parameter(number) => number,
                _ if !varying => 0,
                SlotKind::Integer => {
                    oids.push(types::of_integer(literal).ok_or(Refusal::Literal(slot.start))?);
                    oids.len() as u16
                }
                _ => {
                    oids.push(0);
                    oids.len() as u16
                }
            };
            numbers.push(number);
            if number != 0 {
                out.extend_from_slice(&text[done..slot.start as usize]);
                out.extend_from_slice(format!(" ${number} ").as_bytes());
                done = slot.end as usize;
            }
        }
        out.extend_from_slice(&text[done..outline.end]);
        let (slots, varying) = (slots.to_vec(), varying.to_vec());
        let (types, count) = (type_list(&oids)?, oids.len());
        Ok(Probe { original: text.to_vec(), text: out, types, slots, varying, numbers, count })
    }

    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Its Parse message, under this name.
    pub fn write_parse(&self, name: &[u8], out: &mut Vec<u8>) {
        reply::parse(out, name, &self.text, &self.types);
    }

    /// The replay, once the server has said the types of the probe's parameters.
    ///
    /// # Errors
    /// As [`Replay::build`]; [`Refusal::Slots`] when there are more or fewer types than parameters in the text.
    pub fn replay(
        &self,
        described: &[Oid],
        arrays: &dyn Fn(Oid) -> Option<ArrayType>,
    ) -> Result<Replay, Refusal> {
        if described.len() != self.count {
            return Err(Refusal::Slots);
        }
        let typed = |(slot, &number): (&Slot, &u16)| {
            let oid = usize::from(number).checked_sub(1).map_or(0, |at| described[at]);
            Slot { oid, ..*slot }
        };
        let slots: Vec<Slot> = self.slots.iter().zip(&self.numbers).map(typed).collect();
        Replay::build(&self.original, &slots, &self.varying, arrays)
    }
}

/// The types of a ParameterDescription's body. `None`: it is cut or wrong.
pub fn described(body: &[u8]) -> Option<Vec<Oid>> {
    let (count, oids) = body.split_first_chunk::<2>()?;
    let oids = oids.as_chunks::<4>();
    let fits = oids.1.is_empty() && oids.0.len() == usize::from(u16::from_be_bytes(*count));
    fits.then(|| oids.0.iter().map(|oid| Oid::from_be_bytes(*oid)).collect())
}

/// The tail of a Parse message.
pub(super) fn type_list(oids: &[Oid]) -> Result<Vec<u8>, Refusal> {
    if oids.len() > PARAMETERS_MAX {
        return Err(Refusal::TooMany);
    }
    let mut list = (oids.len() as u16).to_be_bytes().to_vec();
    oids.iter().for_each(|oid| list.extend_from_slice(&oid.to_be_bytes()));
    Ok(list)
}
