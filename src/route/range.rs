//! Ranges of times: closed at both ends, to the microsecond, and open-ended where there is no bound. Pure.

use super::calendar::Micros;

/// From `lo` to `hi`, both included. `Micros::MIN` and `Micros::MAX` stand for no bound, which NULL aside lets
/// everything in, ±infinity too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub lo: Micros,
    pub hi: Micros,
}

impl Range {
    pub const ALL: Range = Range { lo: Micros::MIN, hi: Micros::MAX };

    pub fn new(lo: Micros, hi: Micros) -> Range {
        Range { lo, hi }
    }

    pub fn at(at: Micros) -> Range {
        Range { lo: at, hi: at }
    }

    pub fn from(lo: Micros) -> Range {
        Range { lo, hi: Micros::MAX }
    }

    pub fn until(hi: Micros) -> Range {
        Range { lo: Micros::MIN, hi }
    }

    pub fn and(self, other: Range) -> Range {
        Range { lo: self.lo.max(other.lo), hi: self.hi.min(other.hi) }
    }

    /// The least range that holds both.
    pub fn hull(self, other: Range) -> Range {
        Range { lo: self.lo.min(other.lo), hi: self.hi.max(other.hi) }
    }

    pub fn has_lo(self) -> bool {
        self.lo != Micros::MIN
    }

    pub fn has_hi(self) -> bool {
        self.hi != Micros::MAX
    }

    pub fn shifted(self, by: Micros) -> Range {
        Range { lo: shift(self.lo, by), hi: shift(self.hi, by) }
    }

    pub fn widened(self, by: Micros) -> Range {
        Range { lo: shift(self.lo, -by), hi: shift(self.hi, by) }
    }

    /// Each end by a function of its own; an end without a bound stays, and one that has no value loses its bound.
    pub fn map(self, lo: impl Fn(Micros) -> Option<Micros>, hi: impl Fn(Micros) -> Option<Micros>) -> Range {
        Range {
            lo: if self.has_lo() { lo(self.lo).unwrap_or(Micros::MIN) } else { self.lo },
            hi: if self.has_hi() { hi(self.hi).unwrap_or(Micros::MAX) } else { self.hi },
        }
    }
}

/// No bound stays none, and a bound never becomes none by wrapping around.
pub fn shift(at: Micros, by: Micros) -> Micros {
    match at {
        Micros::MIN | Micros::MAX => at,
        at => at.saturating_add(by),
    }
}
