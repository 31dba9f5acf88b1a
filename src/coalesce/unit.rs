//! A unit of work of one session: the statements between two pauses, or of one transaction, as far as is
//! needed to see what repeats. Pure.

use super::Thresholds;
use super::episode::{Episode, judge};
use super::link::{Links, Provenance, Results};
use super::rows::BYTES_MAX;
use crate::sql::kind::Kind;
use crate::sql::mark::{self, Marks};

/// Shapes followed in one unit; a request with more has other worries than a loop.
const SHAPES_MAX: usize = 24;

/// Statements of one unit whose values are kept, four bytes each, to tell how many differ.
const MARKS_MAX: usize = 768;

/// A unit that does not end by itself is judged after so many statements, or so long.
const STATEMENTS_MAX: u32 = 10_000;
const AGE_MAX_US: u64 = 60_000_000;

/// A transaction of this many statements is a unit of its own; shorter ones are steps of a larger one.
const OWN_UNIT: u32 = 5;

/// How much slower than usual an application must be for a pause to end the unit; and what is usual as long
/// as nothing is known, µs.
const SLOWER: u64 = 20;
const PAUSE_US: u64 = 1_000;

/// A longer pause ends a loop too that goes on behind it.
const LONG_PAUSE_US: u64 = 1_000_000;

/// Results outlive a shorter pause than this: it may be the client's own work between a list and the first
/// look-up.
const RESULTS_AGE_US: u64 = 5_000_000;

/// What asks the same again at this pace or slower waits in between, as no loop does.
const PACE_US: u64 = 25_000;

/// One shape in a unit.
#[derive(Debug)]
pub struct Seen {
    pub fingerprint: u64,
    pub kind: Kind,
    pub count: u32,
    pub time_us: u64,
    /// How often the statement before it had the same shape.
    pub consecutive: u32,
    pub links: Links,
    /// Sent before the statement ahead of it was answered.
    pipelined: u32,
    /// A write followed at once.
    before_write: u32,
    /// Values in all.
    values: u64,
    /// Rows read or written.
    rows: u64,
    /// The values of the first time and of the last, and those of each time in one word.
    first: Marks,
    last: Marks,
    all: Vec<u32>,
    /// From the first time to the second, per value; and how often a step of that size followed.
    steps: [u32; mark::FIRST],
    even: u32,
    /// How many values differed from the time before, in all.
    changes: u32,
    first_us: u64,
    last_us: u64,
}

impl Seen {
    fn new((fingerprint, kind): (u64, Kind), marks: &Marks, now_us: u64) -> Self {
        Seen {
            fingerprint,
            kind,
            count: 0,
            time_us: 0,
            consecutive: 0,
            links: Links::default(),
            pipelined: 0,
            before_write: 0,
            values: 0,
            rows: 0,
            first: *marks,
            last: *marks,
            all: Vec::new(),
            steps: [0; mark::FIRST],
            even: 0,
            changes: 0,
            first_us: now_us,
            last_us: now_us,
        }
    }

    /// Different values among those kept.
    pub fn distinct(&self) -> u32 {
        let mut all = self.all.clone();
        all.sort_unstable();
        all.dedup();
        all.len() as u32
    }

    /// A read of page after page: some value grows by the same step each time.
    pub fn is_paged(&self) -> bool {
        self.kind == Kind::Page && self.even * 2 >= self.count
    }

    /// Each inserts several rows.
    pub fn is_bulk_insert(&self) -> bool {
        self.kind == Kind::Insert && self.rows >= 2 * u64::from(self.count)
    }

    /// Compares the values with those of the time before.
    fn step(&mut self, marks: &Marks) {
        let mut even = false;
        let pairs = marks.each().iter().zip(self.last.each()).zip(&mut self.steps);
        for ((&mark, &before), step) in pairs {
            let now = mark.wrapping_sub(before);
            self.changes += u32::from(now != 0);
            if self.count == 2 {
                *step = now;
            }
            // Marks of whole numbers keep their distances but for the last digit.
            even |= now != 0 && now.wrapping_sub(*step).wrapping_add(2) <= 4;
        }
        self.even += u32::from(even);
        self.last = *marks;
    }

    pub fn is_pipelined(&self) -> bool {
        self.pipelined * 5 > self.count * 4
    }

    /// It asks for many keys at a time: many values, of which many change.
    pub fn is_batch(&self, from: u32) -> bool {
        let changing = self.changes >= from.min(mark::FIRST as u32) / 2 * self.count.saturating_sub(1);
        changing && self.values >= u64::from(from) * u64::from(self.count)
    }

    /// As a check for uniqueness is, whose row is inserted next.
    pub fn is_check_before_write(&self) -> bool {
        self.before_write * 5 >= self.count * 4
    }

    /// It comes at its own pace and not as fast as an application can.
    pub fn is_poll(&self) -> bool {
        let span = self.last_us.saturating_sub(self.first_us);
        span > self.time_us * 4 && span / u64::from(self.count.max(1)) >= PACE_US
    }
}

/// What one session did since its last pause.
#[derive(Debug, Default)]
struct Unit {
    shapes: Vec<Seen>,
    results: Results,
    /// The beginning of an answer that is not complete.
    part: Vec<u8>,
    statements: u32,
    marks: usize,
    began_us: u64,
    last_us: u64,
    /// The shape asked last, by its place.
    last: Option<usize>,
    /// Asked and not answered; and how many of them are looked at.
    outstanding: u32,
    ahead: u32,
}

/// Watches one session.
#[derive(Debug, Default)]
pub struct Watch {
    unit: Option<Box<Unit>>,
    /// The usual pause between two statements, µs.
    pause_us: u64,
    /// Statements in the transaction that is open.
    in_transaction: u32,
    /// The values of results are wanted, not only how they compare.
    raw: bool,
}

impl Watch {
    /// One that keeps the beginnings of results as they came, too.
    pub fn with_values() -> Self {
        Watch { raw: true, ..Watch::default() }
    }

    /// Where the values of the statement asked last came from, if it is of this shape.
    pub fn provenance(&self, fingerprint: u64) -> Option<Provenance> {
        let unit = self.unit.as_ref()?;
        let seen = unit.shapes.get(unit.last?).filter(|seen| seen.fingerprint == fingerprint)?;
        seen.links.provenance(&seen.last, &seen.first)
    }

    /// The beginning of a result, by the number that a provenance gives; only `with_values`.
    pub fn frames(&self, serial: u32) -> Option<&[u8]> {
        self.unit.as_ref()?.results.frames(serial)
    }

    /// A statement is asked. Returns what the unit before it came to, if it begins a new one.
    pub fn asked(
        &mut self,
        (fingerprint, kind): (u64, Kind),
        marks: &Marks,
        now_us: u64,
        thresholds: &Thresholds,
    ) -> Vec<Episode> {
        let mut results = Results::default();
        let mut ended = Vec::new();
        if self.is_over((fingerprint, kind), marks, now_us, thresholds) {
            if let Some(unit) = &mut self.unit
                && kind != Kind::Marker
                && now_us.saturating_sub(unit.last_us) < RESULTS_AGE_US
            {
                results = std::mem::take(&mut unit.results);
            }
            ended = self.end(thresholds);
        }
        if kind == Kind::Marker {
            return ended;
        }
        let unit =
            self.unit.get_or_insert_with(|| Box::new(Unit { began_us: now_us, results, ..Unit::default() }));
        unit.ask((fingerprint, kind), marks, now_us);
        ended
    }

    /// Whether a statement of this kind belongs to another unit than the one before it.
    fn is_over(
        &mut self,
        (fingerprint, kind): (u64, Kind),
        marks: &Marks,
        now_us: u64,
        thresholds: &Thresholds,
    ) -> bool {
        let Some(unit) = &mut self.unit else {
            return false;
        };
        let pause = if unit.outstanding == 0 { now_us.saturating_sub(unit.last_us) } else { 0 };
        let usual = (self.pause_us.max(PAUSE_US) * SLOWER).max(thresholds.gap_us);
        if unit.outstanding == 0 && pause <= usual {
            // Steps up and down meet at the median, which a few long pauses do not move.
            let step = self.pause_us.max(PAUSE_US) / 8;
            self.pause_us = if pause > self.pause_us {
                self.pause_us + step
            } else {
                self.pause_us - step.min(self.pause_us)
            };
        }
        kind == Kind::Marker
            || (pause > LONG_PAUSE_US.max(usual))
            || (pause > usual && !unit.continues(fingerprint, marks))
            || unit.statements >= STATEMENTS_MAX
            || now_us.saturating_sub(unit.began_us) > AGE_MAX_US
    }

    /// A part of an answer came; `frames` are all of it that this step brought.
    pub fn part(&mut self, frames: &[u8]) {
        if let Some(unit) = &mut self.unit {
            let room = BYTES_MAX.saturating_sub(unit.part.len());
            unit.part.extend_from_slice(&frames[..frames.len().min(room)]);
        }
    }

    /// A statement was answered with so many rows; `frames` is its answer, or the last part of it.
    pub fn answered(&mut self, fingerprint: u64, rows: u64, time_us: u64, frames: &[u8], now_us: u64) {
        let Some(unit) = &mut self.unit else {
            return;
        };
        unit.last_us = now_us;
        unit.outstanding = unit.outstanding.saturating_sub(1);
        if let Some(seen) = unit.shapes.iter_mut().find(|seen| seen.fingerprint == fingerprint) {
            unit.ahead = unit.ahead.saturating_sub(1);
            seen.time_us += time_us;
            seen.last_us = now_us;
            seen.rows += rows;
            // One row is nobody's list.
            if rows >= 2 {
                unit.results.keep(fingerprint, [&unit.part, frames], self.raw);
            }
        }
        unit.part = Vec::new();
    }

    /// A transaction ended. Returns what the unit came to, if that was its end.
    pub fn transaction_ended(&mut self, thresholds: &Thresholds) -> Vec<Episode> {
        let own = std::mem::take(&mut self.in_transaction) >= OWN_UNIT;
        let Some(unit) = self.unit.as_mut().filter(|_| own) else {
            return Vec::new();
        };
        // Objects are often read in one transaction and looked at in the next.
        let (results, last_us) = (std::mem::take(&mut unit.results), unit.last_us);
        let ended = self.end(thresholds);
        if !results.is_empty() {
            self.unit = Some(Box::new(Unit { results, began_us: last_us, last_us, ..Unit::default() }));
        }
        ended
    }

    /// A statement ended inside a transaction.
    pub fn in_transaction(&mut self) {
        self.in_transaction += 1;
    }

    /// Whether anything is remembered.
    pub fn is_watching(&self) -> bool {
        self.unit.is_some()
    }

    /// The unit is over: what it came to. Gives its memory back.
    pub fn end(&mut self, thresholds: &Thresholds) -> Vec<Episode> {
        let Some(unit) = self.unit.take() else {
            return Vec::new();
        };
        unit.shapes.iter().filter_map(|seen| judge(seen, &unit.shapes, thresholds)).collect()
    }
}

impl Unit {
    /// Whether a statement is the next step of a loop over a result.
    fn continues(&mut self, fingerprint: u64, marks: &Marks) -> bool {
        let seen = self.shapes.iter().find(|seen| seen.fingerprint == fingerprint);
        seen.is_some_and(|seen| seen.links.go_on(marks, &mut self.results))
    }

    fn ask(&mut self, (fingerprint, kind): (u64, Kind), marks: &Marks, now_us: u64) {
        self.statements += 1;
        self.last_us = now_us;
        self.outstanding += 1;
        if kind == Kind::Other {
            // What opens and closes transactions stands between the statements of any loop.
            return;
        }
        if matches!(kind, Kind::Insert | Kind::Write)
            && let Some(last) = self.last.and_then(|last| self.shapes.get_mut(last))
            && matches!(last.kind, Kind::Read | Kind::Page)
        {
            last.before_write += 1;
        }
        let place = match self.shapes.iter().position(|seen| seen.fingerprint == fingerprint) {
            Some(place) => place,
            None if self.shapes.len() >= SHAPES_MAX => {
                self.last = None;
                return;
            }
            None => {
                self.shapes.push(Seen::new((fingerprint, kind), marks, now_us));
                self.shapes.len() - 1
            }
        };
        let seen = &mut self.shapes[place];
        seen.count += 1;
        seen.values += u64::from(marks.count);
        // Drivers send the first statement along with BEGIN.
        seen.pipelined += u32::from(self.ahead > 0);
        self.ahead += 1;
        seen.consecutive += u32::from(self.last == Some(place));
        if seen.count > 1 {
            seen.step(marks);
        }
        if matches!(kind, Kind::Read | Kind::Page) && seen.count > 1 {
            seen.links.follow(marks, &seen.first, &mut self.results);
        }
        if self.marks < MARKS_MAX {
            self.marks += 1;
            seen.all.push(marks.all);
        }
        self.last = Some(place);
    }
}

#[cfg(test)]
impl Watch {
    /// Bytes of memory that are held, about.
    pub fn weight(&self) -> usize {
        let Some(unit) = &self.unit else {
            return 0;
        };
        let seen = |seen: &Seen| size_of::<Seen>() + seen.all.capacity() * 4 + seen.links.weight();
        size_of::<Unit>()
            + unit.part.capacity()
            + unit.results.weight()
            + unit.shapes.iter().map(seen).sum::<usize>()
    }
}
