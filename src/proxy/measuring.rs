//! What the ledger says of the shapes that an index concerns, before and after. Knows no connection.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::hub::Hub;
use crate::advise::Suggestion;
use crate::maintain::index::history::{self, Counts, Tallies};
use crate::maintain::index::verify;
use crate::observe::indexes::{Act, By, Role, State, Tally};
use crate::observe::ledger::Row;
use crate::observe::process::now_s;
use crate::sql::facts::{self, Facts};

/// How often the ledger is noted, and for how long: the last hour stands for the time before an index.
const MARK: Duration = Duration::from_secs(15 * 60);
const MARKS_MAX: usize = 5;

/// Shapes of the same table that are watched, and such that have nothing to do with it.
const OTHERS_MAX: usize = 200;
const CONTROLS_MAX: usize = 30;

/// The ledger of the last hour, by database.
#[derive(Default)]
pub(super) struct Marks(Mutex<VecDeque<(Instant, HashMap<String, Tallies>)>>);

impl Marks {
    /// Notes the ledger, if it is time to.
    pub(super) fn note(&self, hub: &Hub) {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if marks.back().is_some_and(|(at, _)| at.elapsed() < MARK) {
            return;
        }
        let mut all: HashMap<String, Tallies> = HashMap::new();
        for row in hub.registry.ledger.rows() {
            add(all.entry(row.key.database.to_string()).or_default(), &row);
        }
        if marks.len() >= MARKS_MAX {
            marks.pop_front();
        }
        marks.push_back((Instant::now(), all));
    }

    fn earliest(&self, database: &str) -> Option<Tallies> {
        let marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        marks.front().and_then(|(_, all)| all.get(database).cloned())
    }
}

fn add(tallies: &mut Tallies, row: &Row) {
    tallies.entry(row.key.fingerprint).or_default().add(&Tally::of(&row.totals));
}

/// What each shape of a database came to, over all users.
pub(super) fn tallies(hub: &Hub, database: &str) -> Tallies {
    let mut all = Tallies::new();
    for row in hub.registry.ledger.rows().iter().filter(|row| *row.key.database == *database) {
        add(&mut all, row);
    }
    all
}

/// The act by which a suggestion is built.
pub(super) fn act(hub: &Hub, suggestion: &Suggestion, by: By) -> Act {
    let now = tallies(hub, &suggestion.database);
    let earlier = hub.yard.marks.earliest(&suggestion.database);
    let others = others(hub, &suggestion.table, &now);
    history::begin(suggestion, by, now_s(), Counts { now: &now, earlier: earlier.as_ref() }, &others)
}

/// Shapes that name the table, those that take the most time first, and the most frequent of the rest.
fn others(hub: &Hub, table: &str, now: &Tallies) -> Vec<(u64, Role)> {
    let (schema, name) = table.split_once('.').unwrap_or(("", table));
    let mut own: Vec<(f64, u64, Role)> = Vec::new();
    let mut controls: Vec<(u64, u64)> = Vec::new();
    for (&fingerprint, tally) in now {
        let known = hub.registry.facts.get(fingerprint);
        let Some(facts) = known.as_ref().and_then(|known| known.facts()) else {
            continue;
        };
        match role(facts, schema, name) {
            Some(role) => own.push((tally.ms, fingerprint, role)),
            None if !facts.tables.is_empty() => controls.push((tally.calls, fingerprint)),
            None => {}
        }
    }
    own.sort_by(|one, other| other.0.total_cmp(&one.0));
    controls.sort_unstable_by(|one, other| other.cmp(one));
    let own = own.into_iter().take(OTHERS_MAX).map(|(_, fingerprint, role)| (fingerprint, role));
    own.chain(controls.into_iter().take(CONTROLS_MAX).map(|(_, fingerprint)| (fingerprint, Role::Control)))
        .collect()
}

/// What a shape has to do with a table.
fn role(facts: &Facts, schema: &str, name: &str) -> Option<Role> {
    let named = facts
        .tables
        .iter()
        .filter(|table| table.name == name && table.schema.as_ref().is_none_or(|written| written == schema));
    named.fold(None, |role, table| match (role, table.role) {
        (Some(Role::Writes), _) | (_, facts::Role::Written) => Some(Role::Writes),
        (_, facts::Role::Read) => Some(Role::Reads),
    })
}

/// Looks at every index that stands: whether it keeps its promise. What changes is logged.
pub(super) fn look(hub: &Hub) {
    let acts = &hub.registry.indexes;
    let mut databases: HashMap<String, Tallies> = HashMap::new();
    let settings = hub.live().settings.rules.auto.verify;
    let is_watched = |act: &Act| {
        act.state == State::Verifying
            || act.state.stands() && now_s() <= act.built_s + settings.within.as_secs()
    };
    for act in acts.list().into_iter().filter(is_watched) {
        databases.entry(act.database.clone()).or_insert_with(|| tallies(hub, &act.database));
    }
    if databases.is_empty() {
        return;
    }
    acts.look(|act| {
        let Some(now) = databases.get(&act.database) else {
            return false;
        };
        let of = |shape: &str| history::hex(shape).and_then(|fingerprint| now.get(&fingerprint)).copied();
        let changed = verify::look(act, &settings, now_s(), of);
        if changed {
            match act.state {
                State::Proved => {
                    tracing::info!(id = act.id, name = act.name, "an index is proved: {}", act.message)
                }
                _ => tracing::warn!(id = act.id, name = act.name, "an index disappoints: {}", act.message),
            }
        }
        changed
    });
}
