//! Which partitions a table lacks, and the proof that what it has and what it gets neither overlap nor leave a
//! gap. Plain numbers in, plain numbers out; nothing is created here.

use super::bound::{Edge, HIGHEST, LOWEST};
use super::period::Interval;

/// A partition that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    pub name: String,
    pub lower: Edge,
    pub upper: Edge,
}

/// A boundary of the calendar: the local moment and where that is in the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub local: i64,
    pub edge: Edge,
}

/// A partition that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub lower: Edge,
    pub upper: Edge,
    /// The end of its name.
    pub suffix: String,
}

/// Periods that one plan may lay out. A daily table of 27 years has fewer; more is a clock gone wild or a row
/// of a far year.
pub const PERIODS_MAX: usize = 10_000;

/// The local boundaries from the period of `from` to the end of the one that holds `until`.
///
/// # Errors
/// There are more than [`PERIODS_MAX`].
pub fn calendar(interval: Interval, from: i64, until: i64) -> Result<Vec<i64>, String> {
    let mut boundaries = vec![interval.floor(from)];
    while let Some(&last) = boundaries.last().filter(|last| **last <= until) {
        if boundaries.len() > PERIODS_MAX {
            return Err(format!(
                "more than {PERIODS_MAX} partitions would be needed; choose a longer interval"
            ));
        }
        boundaries.push(interval.next(last));
    }
    Ok(boundaries)
}

/// Joins local boundaries with what the server says they are. A boundary that falls together with the one
/// before it is left out: its period does not exist, as the 30th of December 2011 in Samoa.
///
/// # Errors
/// The clock of this zone goes backwards across a boundary.
pub fn steps(locals: &[i64], edges: Vec<Edge>) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = Vec::with_capacity(locals.len());
    for (&local, edge) in locals.iter().zip(edges) {
        match steps.last_mut() {
            Some(last) if edge.mark < last.edge.mark => {
                return Err(format!("the time zone puts {} before {}", edge.sql, last.edge.sql));
            }
            // The period that begins here is the one that exists.
            Some(last) if edge.mark == last.edge.mark => last.local = local,
            _ => steps.push(Step { local, edge }),
        }
    }
    Ok(steps)
}

/// Where new partitions begin: behind the newest one that is not in the future. `None`: there is none, or they
/// reach to the end of time.
pub fn front(ranges: &[Range], now: i64) -> Option<&Edge> {
    let begun = ranges.iter().filter(|range| range.lower.mark <= now);
    begun.map(|range| &range.upper).max_by_key(|upper| upper.mark)
}

/// What lacks between `from` and the last step, cut along the steps. Partitions that people have made stay as
/// they are, and what is made beside them ends where they begin.
pub fn pieces(ranges: &[Range], steps: &[Step], interval: Interval, from: &Edge) -> Vec<Piece> {
    let mut ranges: Vec<&Range> = ranges.iter().collect();
    ranges.sort_by_key(|range| range.lower.mark);
    let mut pieces = Vec::new();
    for pair in steps.windows(2) {
        let [begin, end] = pair else { continue };
        let mut at = if begin.edge.mark < from.mark { from } else { &begin.edge };
        for range in &ranges {
            if range.upper.mark <= at.mark || range.lower.mark >= end.edge.mark {
                continue;
            }
            if range.lower.mark > at.mark {
                pieces.push(piece(at, &range.lower, interval, begin));
            }
            at = &range.upper;
        }
        if at.mark < end.edge.mark {
            pieces.push(piece(at, &end.edge, interval, begin));
        }
    }
    pieces
}

fn piece(lower: &Edge, upper: &Edge, interval: Interval, period: &Step) -> Piece {
    Piece { lower: lower.clone(), upper: upper.clone(), suffix: interval.name(period.local) }
}

/// Proves that partitions and pieces together hold every value from `from` to `until` exactly once, and that
/// no two of them overlap anywhere. Runs before anything is created and looks at nothing but the numbers.
///
/// # Errors
/// A sentence that names the two that are wrong.
pub fn prove(ranges: &[Range], pieces: &[Piece], from: i64, until: i64) -> Result<(), String> {
    let there = ranges.iter().map(|range| (range.lower.mark, range.upper.mark, range.name.as_str()));
    let made = pieces.iter().map(|piece| (piece.lower.mark, piece.upper.mark, piece.suffix.as_str()));
    let mut all: Vec<(i64, i64, &str)> = there.chain(made).collect();
    all.sort_unstable();
    if let Some((_, _, name)) = all.iter().find(|(lower, upper, _)| lower >= upper) {
        return Err(format!("the partition {name} would hold nothing"));
    }
    for pair in all.windows(2) {
        let [(_, end, one), (begin, _, other)] = pair else { continue };
        if begin < end {
            return Err(format!("the partitions {one} and {other} would overlap"));
        }
    }
    let mut covered = from;
    for &(lower, upper, name) in all.iter().filter(|(_, upper, _)| *upper > from) {
        if covered >= until {
            break;
        }
        if lower > covered {
            return Err(format!("there would be a gap before the partition {name}"));
        }
        covered = upper;
    }
    if covered < until {
        return Err("the partitions would end too early".to_owned());
    }
    Ok(())
}

/// How far the partitions reach from `now` without a gap; `now` itself if none holds it.
pub fn covered_until(ranges: &[Range], now: i64) -> i64 {
    let mut sorted: Vec<(i64, i64)> =
        ranges.iter().map(|range| (range.lower.mark, range.upper.mark)).collect();
    sorted.sort_unstable();
    let mut end = now;
    for (lower, upper) in sorted {
        if lower <= end && upper > end {
            end = upper;
        }
    }
    end
}

/// Partitions that lie wholly before `cutoff`, the oldest first. One without a lower end is nobody's period and
/// stays.
pub fn expired(ranges: &[Range], cutoff: i64) -> Vec<&Range> {
    let whole = |range: &&Range| range.upper.mark <= cutoff && range.lower.mark != LOWEST;
    let mut expired: Vec<&Range> = ranges.iter().filter(whole).collect();
    expired.sort_by_key(|range| range.lower.mark);
    expired
}

/// Gaps between partitions before `now`, where rows cannot be stored: the names around each.
pub fn gaps(ranges: &[Range], now: i64) -> Vec<(String, String)> {
    let mut sorted: Vec<&Range> = ranges.iter().filter(|range| range.lower.mark <= now).collect();
    sorted.sort_by_key(|range| range.lower.mark);
    let apart = |pair: &[&Range]| match pair {
        [one, other] if one.upper.mark < other.lower.mark && one.upper.mark != HIGHEST => {
            Some((one.name.clone(), other.name.clone()))
        }
        _ => None,
    };
    sorted.windows(2).filter_map(apart).collect()
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
