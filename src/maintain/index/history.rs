//! How an act on an index begins, by the suggestion and what the ledger says at that moment. Knows no connection.

use std::collections::HashMap;

use crate::advise::Suggestion;
use crate::observe::indexes::{Act, By, Role, Shape, State, Tally};

/// Calls within the last hour from which on they stand for the time before; else all that is known does.
const RECENT_MIN: u64 = 30;

/// What the ledger says of one database, by fingerprint.
pub type Tallies = HashMap<u64, Tally>;

/// What the ledger says, and what it said about an hour ago.
#[derive(Debug, Clone, Copy)]
pub struct Counts<'a> {
    pub now: &'a Tallies,
    pub earlier: Option<&'a Tallies>,
}

impl Counts<'_> {
    /// The time before, and what is counted already.
    fn shape(&self, fingerprint: u64, role: Role) -> Shape {
        let now = self.now.get(&fingerprint).copied().unwrap_or_default();
        let earlier = self.earlier.and_then(|earlier| earlier.get(&fingerprint));
        let recent = earlier.and_then(|earlier| now.since(earlier));
        let before = recent.filter(|recent| recent.calls >= RECENT_MIN).unwrap_or(now);
        Shape::new(format!("{fingerprint:016x}"), role, before, now)
    }
}

/// The act, which waits. `others`: shapes that it may slow down, and such that have nothing to do with it.
pub fn begin(suggestion: &Suggestion, by: By, now_s: u64, counts: Counts<'_>, others: &[(u64, Role)]) -> Act {
    let helped: Vec<u64> = suggestion.shapes.iter().filter_map(|helped| hex(&helped.shape)).collect();
    let others = others.iter().filter(|(fingerprint, _)| !helped.contains(fingerprint));
    Act {
        id: suggestion.id.clone(),
        database: suggestion.database.clone(),
        table: suggestion.table.clone(),
        schema: suggestion.table.split('.').next().unwrap_or_default().to_owned(),
        name: suggestion.name.clone(),
        definition: suggestion.definition.clone(),
        ddl: suggestion.ddl.clone(),
        // What would take an older index away is left out: that is for later, when this one is proved.
        then: suggestion.then.iter().filter(|sql| sql.starts_with("ANALYZE")).cloned().collect(),
        by,
        state: State::Waiting,
        message: String::new(),
        asked_s: now_s,
        built_s: 0,
        ended_s: 0,
        promised_percent: suggestion.gain_percent,
        gain_percent: None,
        size_bytes: suggestion.size_bytes,
        taken_back: false,
        executed: Vec::new(),
        shapes: helped.iter().map(|&fingerprint| counts.shape(fingerprint, Role::Helped)).collect(),
        others: others.map(|&(fingerprint, role)| counts.shape(fingerprint, role)).collect(),
    }
}

/// It is built: what is counted from now on is after it. What came while it was being built is neither.
pub fn built(act: &mut Act, now_s: u64, now: &Tallies) {
    (act.state, act.built_s, act.ended_s) = (State::Verifying, now_s, now_s);
    act.message = "waiting for calls".to_owned();
    for shape in act.shapes.iter_mut().chain(&mut act.others) {
        shape.after = Tally::default();
        if let Some(tally) = hex(&shape.shape).and_then(|fingerprint| now.get(&fingerprint)) {
            shape.seen = *tally;
        }
    }
}

/// A fingerprint as people read it.
pub fn hex(shape: &str) -> Option<u64> {
    u64::from_str_radix(shape, 16).ok()
}
