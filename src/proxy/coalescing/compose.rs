//! Puts look-ups that nobody has sent yet into a batch, written as their client would have written them. One that cannot
//! be written exactly so is left out.

use super::line::{Line, slot};
use crate::coalesce::prefetch::keys::Key;
use crate::coalesce::prefetch::plan::Order;
use crate::coalesce::replay::{Batch, Member, Replay, Slot};
use crate::wire::client::Bind;

/// Fills a batch with the members of an order. Returns which of them are in it, by their place.
pub fn fill(
    line: &Line,
    replay: &Replay,
    order: &Order,
    members: &[Box<[Key]>],
    batch: &mut Batch,
) -> Vec<usize> {
    batch.clear(replay);
    let slots: Vec<Slot> = line.site.literals.iter().map(|literal| slot(literal, 0)).collect();
    let places: Vec<(u32, u32)> = slots.iter().map(|slot| (slot.start, slot.end)).collect();
    let (mut text, mut bind) = (Vec::new(), Vec::new());
    let mut add = |member: &[Key]| -> Option<()> {
        text.clear();
        bind.clear();
        let mut own = slots.clone();
        if !slots.is_empty() {
            let written = order.write_text(member, &line.site.text, &places, &mut text)?;
            own.iter_mut().zip(written).for_each(|(slot, place)| (slot.start, slot.end) = place);
        }
        if !line.simple() {
            order.write_bind(member, &mut bind)?;
        }
        let bind = (!line.simple()).then_some(Bind { portal: b"", statement: b"", rest: &bind });
        batch.add(replay, &Member { text: &text, slots: &own, bind }).ok()
    };
    let taken = members.iter().enumerate().filter_map(|(at, member)| add(member).map(|()| at));
    taken.collect()
}
