//! Statements that mean the same although their parameters are declared in whole numbers of different widths: some
//! drivers declare each number in the narrowest type that holds it. An answer to one serves the other, and what is
//! fetched ahead is asked in the widest type.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::line::Line;
use super::{ChildId, Lines, SITES_MAX};
use crate::coalesce::prefetch::Child;
use crate::coalesce::prefetch::keys::{Slot, oid};
use crate::pool::statement::Context;

/// A text, the types of its parameters with whole numbers that are compared in one, and what it was read under.
type Meaning = (Box<[u8]>, Box<[u32]>, Context);

/// Numbers for statements, the same for those that mean the same.
#[derive(Default)]
pub struct Numbers {
    known: RefCell<HashMap<Meaning, u64, foldhash::fast::RandomState>>,
    last: Cell<u64>,
}

/// Apart from the numbers of statements, which count from 1, and of texts with values, which have the highest bit.
const FIRST: u64 = 1 << 62;

fn is_whole(type_oid: u32) -> bool {
    matches!(type_oid, oid::INT2 | oid::INT4 | oid::INT8)
}

impl Numbers {
    /// For the statement of a line. Where a number is used for more than `=`, its type may matter.
    pub fn of(&self, line: &Line, slots: &[Slot]) -> u64 {
        let whole = |slot: &Slot| slot.by_value && is_whole(slot.type_oid);
        let Some(statement) = line.site.statement.as_ref().filter(|_| line.site.literals.is_empty()) else {
            return line.site.id;
        };
        if !slots.iter().any(whole) {
            return line.site.id;
        }
        let type_of = |slot: &Slot| if whole(slot) { oid::INT8 } else { slot.type_oid };
        let meaning = (statement.text.clone(), slots.iter().map(type_of).collect(), statement.context());
        let mut known = self.known.borrow_mut();
        if known.len() >= SITES_MAX && !known.contains_key(&meaning) {
            known.clear();
        }
        *known.entry(meaning).or_insert_with(|| {
            self.last.set(self.last.get() + 1);
            FIRST + self.last.get()
        })
    }
}

impl Lines {
    /// Notes an open line: of those whose look-ups mean the same, the one with the widest parameters is asked.
    pub(super) fn note_child(&self, child: &Child, line: &Rc<Line>) {
        let mut children = self.children.borrow_mut();
        if children.len() >= SITES_MAX {
            children.retain(|_, line| line.strong_count() > 0);
        }
        if children.len() >= SITES_MAX {
            return;
        }
        let id: ChildId = (child.statement, child.formats, child.context, line.varying);
        let known = children.get(&id).and_then(std::rc::Weak::upgrade).and_then(|line| line.plan());
        if known.is_none_or(|plan| is_as_wide(&child.slots, &plan.child.slots)) {
            children.insert(id, Rc::downgrade(line));
        }
    }
}

fn is_as_wide(own: &[Slot], other: &[Slot]) -> bool {
    let width = |slot: &Slot| match slot.type_oid {
        oid::INT2 => 2,
        oid::INT4 => 4,
        _ => 8,
    };
    own.iter().zip(other).all(|(own, other)| !is_whole(other.type_oid) || width(own) >= width(other))
}
