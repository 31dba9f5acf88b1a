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
            lo: if is_end(self.lo) { self.lo } else { lo(self.lo).unwrap_or(Micros::MIN) },
            hi: if is_end(self.hi) { self.hi } else { hi(self.hi).unwrap_or(Micros::MAX) },
        }
    }
}

/// Times beyond 190,000 years count as endless, so that reckoning with days and months cannot overflow; as bounds
/// they are left out.
pub const FAR: Micros = 6_000_000_000_000_000_000;

fn is_end(at: Micros) -> bool {
    matches!(at, Micros::MIN | Micros::MAX)
}

/// No bound stays none.
pub fn shift(at: Micros, by: Micros) -> Micros {
    if is_end(at) { at } else { clamped(at.saturating_add(by)) }
}

/// A time that is not too far away to reckon with, or the end that it is closest to.
pub fn clamped(at: Micros) -> Micros {
    match at {
        at if at >= FAR => Micros::MAX,
        at if at <= -FAR => Micros::MIN,
        at => at,
    }
}

#[cfg(test)]
mod tests {
    use super::super::calendar::{Unit, YEAR_MAX};
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_times_overflow(at: i64, by: i64, other: i64) {
            let range = Range::new(clamped(at), clamped(other)).shifted(by).widened(other);
            for unit in [Unit::Day, Unit::Week, Unit::Month, Unit::Quarter, Unit::Year] {
                range.map(|lo| Some(unit.ceiling(lo)), |hi| Some(unit.next(hi)));
            }
            range.map(
                |lo| super::super::calendar::add_months(lo, by),
                |hi| super::super::calendar::add_months(hi, by % (12 * YEAR_MAX)),
            );
        }
    }
}
