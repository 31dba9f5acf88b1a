//! Writes look-ups that nobody has sent yet, with values that were found in a result, as members of a batch. A value that
//! cannot be written exactly as the client would write it is left out.

use crate::coalesce::prefetch::keys::Key;
use crate::coalesce::prefetch::plan::Order;
use crate::coalesce::replay::{Batch, Member, Replay, Slot, SlotKind};
use crate::wire::client::Bind;
use crate::wire::int16;

use super::line::Line;

/// One look-up's values, as messages have them.
#[derive(Default)]
struct Written {
    text: Vec<u8>,
    slots: Vec<Slot>,
    bind: Vec<u8>,
    value: Vec<u8>,
}

/// Fills a batch with the members of an order. Returns which of them are in it, by their place.
pub fn fill(
    line: &Line,
    replay: &Replay,
    order: &Order,
    members: &[Box<[Key]>],
    batch: &mut Batch,
) -> Vec<usize> {
    batch.clear(replay);
    let mut written = Written::default();
    let mut taken = Vec::with_capacity(members.len());
    for (at, member) in members.iter().enumerate() {
        if written.write(line, order, member).is_none() {
            continue;
        }
        let bind =
            (!written.bind.is_empty()).then(|| Bind { portal: b"", statement: b"", rest: &written.bind });
        let asked = Member { text: &written.text, slots: &written.slots, bind };
        if batch.add(replay, &asked).is_ok() {
            taken.push(at);
        }
    }
    taken
}

impl Written {
    fn write(&mut self, line: &Line, order: &Order, member: &[Key]) -> Option<()> {
        let mut values: Vec<&Key> = order.constants.iter().collect();
        for (&place, key) in order.varying.iter().zip(member) {
            *values.get_mut(usize::from(place))? = key;
        }
        if line.site.literals.is_empty() { self.bind(line, order, &values) } else { self.text(line, &values) }
    }

    /// The text of the line's first look-up with these values in it.
    fn text(&mut self, line: &Line, values: &[&Key]) -> Option<()> {
        let (text, literals) = (&line.site.text, &line.site.literals);
        (literals.len() == values.len()).then_some(())?;
        self.text.clear();
        self.slots.clear();
        self.bind.clear();
        let mut done = 0;
        for (at, literal) in literals.iter().enumerate() {
            let slot = super::line::slot(literal, 0);
            let own = &text[slot.start as usize..slot.end as usize];
            self.text.extend_from_slice(&text[done..slot.start as usize]);
            let start = self.text.len() as u32;
            if line.varying & 1 << at == 0 {
                self.text.extend_from_slice(own);
            } else {
                self.literal(values[at], slot.kind)?;
            }
            let end = self.text.len() as u32;
            self.slots.push(Slot { start, end, ..slot });
            done = slot.end as usize;
        }
        self.text.extend_from_slice(&text[done..]);
        if !line.simple() {
            self.bind.extend_from_slice(&[0, 0, 0, 0]);
            self.bind.extend_from_slice(&line.formats);
        }
        Some(())
    }

    fn literal(&mut self, key: &Key, kind: SlotKind) -> Option<()> {
        match (kind, key) {
            (SlotKind::Integer, Key::Integer(number)) if *number >= 0 => {
                self.text.extend_from_slice(number.to_string().as_bytes());
            }
            (SlotKind::String, key) => {
                self.value.clear();
                key.write(0, false, &mut self.value)?;
                if self.value.contains(&b'\\') {
                    return None;
                }
                self.text.push(b'\'');
                for &byte in &self.value {
                    if byte == b'\'' {
                        self.text.push(byte);
                    }
                    self.text.push(byte);
                }
                self.text.push(b'\'');
            }
            _ => return None,
        }
        Some(())
    }

    fn bind(&mut self, line: &Line, order: &Order, values: &[&Key]) -> Option<()> {
        self.text.clear();
        self.slots.clear();
        self.bind.clear();
        self.bind.extend_from_slice(&line.parameters);
        let codes = int16(&line.parameters).map_or(&[][..], |(_, codes)| codes);
        self.bind.extend_from_slice(&(values.len() as u16).to_be_bytes());
        for (at, key) in values.iter().enumerate() {
            let code = if codes.len() == 2 { 0 } else { at * 2 };
            let binary = codes.get(code..code + 2).is_some_and(|code| code == [0, 1]);
            if key.is_null() {
                self.bind.extend_from_slice(&(-1_i32).to_be_bytes());
                continue;
            }
            self.value.clear();
            key.write(order.child.slots.get(at)?.type_oid, binary, &mut self.value)?;
            self.bind.extend_from_slice(&(self.value.len() as i32).to_be_bytes());
            self.bind.extend_from_slice(&self.value);
        }
        self.bind.extend_from_slice(&line.formats);
        Some(())
    }
}
