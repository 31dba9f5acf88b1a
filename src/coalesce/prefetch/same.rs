//! Look-ups that one unit of work repeats: which were asked before, so that the next answer is worth keeping.
//! Must not hold a value or an answer. Pure.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::Child;
use super::keys::Key;

/// Look-ups remembered, eight bytes each; what is repeated later than that is not noticed.
const RECENT_MAX: usize = 64;

/// Statements whose look-ups are counted.
const COUNTED_MAX: usize = 16;

/// What was asked of late in one unit of work.
#[derive(Default)]
pub struct Recent {
    asked: VecDeque<u64>,
    /// Per statement: how many different look-ups.
    counts: Vec<(u64, u32)>,
}

impl Recent {
    /// Notes a look-up. Returns whether it was asked before, and how many different ones of this statement
    /// there were with this one. A collision of two hashes costs a copy of an answer and nothing else.
    pub fn note(&mut self, child: &Child, keys: &[Key]) -> (bool, u32) {
        let mut hasher = DefaultHasher::new();
        (child.statement, child.formats, child.context, keys).hash(&mut hasher);
        let hash = hasher.finish();
        let again = self.asked.contains(&hash);
        if !again {
            if self.asked.len() >= RECENT_MAX {
                self.asked.pop_front();
            }
            self.asked.push_back(hash);
        }
        let at = match self.counts.iter().position(|(statement, _)| *statement == child.statement) {
            Some(at) => at,
            None if self.counts.len() < COUNTED_MAX => {
                self.counts.push((child.statement, 0));
                self.counts.len() - 1
            }
            None => return (again, 0),
        };
        let count = &mut self.counts[at].1;
        *count += u32::from(!again);
        (again, *count)
    }

    pub fn clear(&mut self) {
        *self = Recent::default();
    }

    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }
}
