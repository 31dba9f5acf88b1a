//! The loops that were found, over all sessions: one finding per database and shape, with what it came to.
//! Bounded; the finding that was seen least recently makes room.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::facts::Book;
use super::slow_log::threshold::names_table;

/// Findings kept. An application has dozens; more would not be read.
const FINDINGS_MAX: usize = 1_000;

/// Episodes of a finding that are told one by one.
const RECENT_MAX: usize = 20;

/// One loop, as often as it was met.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Finding {
    /// Stable over restarts and versions: database, shape and what kind of loop it is decide it.
    pub id: String,
    pub class: String,
    /// Whether the values are known to come from the parent's column.
    pub proved: bool,
    pub database: String,
    pub user: String,
    pub application: String,
    /// What the statement's own comment says of its place in the application.
    pub origin: Option<String>,
    /// Fingerprint and text of what is repeated.
    pub shape: String,
    pub statement: String,
    /// The same of the statement whose result is looped over.
    pub parent_shape: Option<String>,
    pub parent: Option<String>,
    /// The column of the parent's result.
    pub column: Option<String>,
    /// Episodes met, repetitions in the last, in the longest and in all.
    pub episodes: u64,
    pub last_n: u64,
    pub max_n: u64,
    pub total_n: u64,
    /// The last episodes: Unix time and repetitions.
    pub recent: Vec<(u64, u64)>,
    /// All time spent on them, and what one statement for all values of an episode would have taken, ms.
    pub time_ms: f64,
    pub one_query_ms: f64,
    /// Which library wrote the statement, and what to change there.
    pub library: Option<String>,
    pub remedy: Option<String>,
    /// The rule of `rules/coalesce.yaml` that is about this statement.
    pub rule: Option<String>,
    /// Unix time.
    pub first_seen_s: u64,
    pub last_seen_s: u64,
}

/// A finding that nobody wants to hear of. Exactly one of them is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// A finding's id.
    Finding(String),
    /// The fingerprint of what is repeated.
    Shape(u64),
    /// A table of the repeated statement.
    Table(String),
}

impl Silence {
    fn covers(&self, finding: &Finding, facts: &Book) -> bool {
        match self {
            Silence::Finding(id) => *id == finding.id,
            Silence::Shape(shape) => finding.shape == format!("{shape:016x}"),
            Silence::Table(table) => {
                let known = u64::from_str_radix(&finding.shape, 16).ok().and_then(|shape| facts.get(shape));
                names_table(&finding.statement, known.as_deref(), table)
            }
        }
    }
}

/// One episode for the findings.
#[derive(Debug, Clone, Default)]
pub struct Met {
    pub class: &'static str,
    pub proved: bool,
    /// Classes that are one finding when they meet the same shape.
    pub group: &'static str,
    pub database: String,
    pub user: String,
    pub application: String,
    pub origin: Option<String>,
    pub fingerprint: u64,
    pub statement: String,
    pub parent: Option<(u64, String, String)>,
    pub n: u64,
    pub time_us: u64,
    pub now_s: u64,
    pub library: Option<&'static str>,
    pub remedy: Option<String>,
    pub rule: Option<String>,
}

/// All findings of this process.
#[derive(Debug, Default)]
pub struct Findings {
    all: Mutex<HashMap<String, Finding>>,
    silence: Mutex<Vec<Silence>>,
    /// Says which tables a shape is about.
    facts: Arc<Book>,
    classes: Mutex<BTreeMap<&'static str, Tally>>,
    /// Statements of sessions that were not watched, because too many were at the same time.
    pub unwatched: AtomicU64,
}

/// What was met of one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub episodes: u64,
    pub statements: u64,
}

impl Findings {
    /// None yet; of shapes whose facts are in the book.
    pub fn new(facts: Arc<Book>) -> Self {
        Findings { facts, ..Findings::default() }
    }

    /// What was met of each class so far.
    pub fn tallies(&self) -> BTreeMap<&'static str, Tally> {
        self.classes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, met: &Met) {
        let mut classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = classes.entry(met.class).or_default();
        tally.episodes += 1;
        tally.statements += met.n;
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Finding>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an episode. Returns the finding if it is new, or newly proved.
    pub fn note(&self, met: Met) -> Option<Finding> {
        self.count(&met);
        let id = id(&met);
        let mut all = self.all();
        make_room(&mut all, &id);
        let known = all.get(&id).map(|finding| finding.proved);
        let finding = all.entry(id.clone()).or_insert_with(|| Finding {
            id,
            class: met.class.to_owned(),
            database: met.database.clone(),
            user: met.user.clone(),
            shape: format!("{:016x}", met.fingerprint),
            statement: met.statement.clone(),
            first_seen_s: met.now_s,
            ..Finding::default()
        });
        finding.add(met);
        let newly = known.is_none() || (known == Some(false) && finding.proved);
        (newly && !self.is_silenced(finding)).then(|| finding.clone())
    }

    fn silence(&self) -> MutexGuard<'_, Vec<Silence>> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_silenced(&self, finding: &Finding) -> bool {
        self.silence().iter().any(|silence| silence.covers(finding, &self.facts))
    }

    /// What nobody wants to hear of from now on. It is still met and counted.
    pub fn set_silence(&self, silence: Vec<Silence>) {
        *self.silence() = silence;
    }

    /// Every finding, silenced ones too, in no order; for a file.
    pub fn every(&self) -> Vec<Finding> {
        self.all().values().cloned().collect()
    }

    /// Puts in what an earlier process found.
    pub fn remember(&self, findings: Vec<Finding>) {
        let mut all = self.all();
        for finding in findings {
            make_room(&mut all, &finding.id);
            all.entry(finding.id.clone()).or_insert(finding);
        }
    }

    /// The costliest first; without those that are silenced.
    pub fn list(&self) -> Vec<Finding> {
        let mut list = self.every();
        list.retain(|finding| !self.is_silenced(finding));
        list.sort_by(|one, two| two.time_ms.total_cmp(&one.time_ms).then_with(|| one.id.cmp(&two.id)));
        list
    }
}

fn make_room(all: &mut HashMap<String, Finding>, id: &str) {
    if !all.contains_key(id) && all.len() >= FINDINGS_MAX {
        let oldest = all.values().min_by_key(|finding| finding.last_seen_s).map(|old| old.id.clone());
        oldest.map(|oldest| all.remove(&oldest));
    }
}

/// What one statement for n values takes beside one for a single value: fifty look-ups as one statement took
/// as long as four to nine single ones on PostgreSQL 15 (look-ups by key, children, counts, latest).
const EACH_MORE: f64 = 0.08;

impl Finding {
    fn add(&mut self, met: Met) {
        // What was proved once stays proved.
        if met.proved || !self.proved {
            self.class = met.class.to_owned();
            self.proved |= met.proved;
        }
        if let Some((fingerprint, text, column)) = met.parent {
            self.parent_shape = Some(format!("{fingerprint:016x}"));
            (self.parent, self.column) = (Some(text), Some(column));
        }
        self.application = met.application;
        // What is not known this time may have been known before.
        self.origin = met.origin.or(self.origin.take());
        self.library = met.library.map(str::to_owned).or(self.library.take());
        self.remedy = met.remedy.or(self.remedy.take());
        self.rule = met.rule.or(self.rule.take());
        self.episodes += 1;
        self.last_n = met.n;
        self.max_n = self.max_n.max(met.n);
        self.total_n += met.n;
        if self.recent.len() >= RECENT_MAX {
            self.recent.remove(0);
        }
        self.recent.push((met.now_s, met.n));
        let (ms, n) = (met.time_us as f64 / 1000.0, met.n.max(1) as f64);
        self.time_ms += ms;
        self.one_query_ms += (ms / n * (1.0 + EACH_MORE * (n - 1.0))).min(ms);
        self.last_seen_s = met.now_s;
    }
}

/// FNV-1a over what makes the finding; written out here so that no library can change it.
fn id(met: &Met) -> String {
    let bytes = met.database.bytes().chain([0]).chain(met.group.bytes()).chain(met.fingerprint.to_be_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("np-{:08x}", (hash >> 32) as u32 ^ hash as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(class: &'static str, proved: bool) -> Met {
        let (database, statement) = ("app".to_owned(), "select $1".to_owned());
        Met {
            class,
            proved,
            group: "loop",
            database,
            statement,
            fingerprint: 7,
            n: 10,
            time_us: 5_000,
            ..Met::default()
        }
    }

    #[test]
    fn episodes_of_one_loop_are_one_finding() {
        let findings = Findings::default();
        let first = findings.note(met("counted", false)).expect("it is new");
        assert!(findings.note(met("counted", false)).is_none());
        assert!(findings.note(met("proved", true)).is_some_and(|finding| finding.id == first.id));
        assert!(findings.note(met("counted", false)).is_none());
        let [finding] = &findings.list()[..] else { panic!("one finding") };
        assert_eq!((&*finding.class, finding.proved, finding.episodes), ("proved", true, 4));
        assert_eq!((finding.total_n, finding.time_ms), (40, 20.0));
        assert!((3.4..3.5).contains(&finding.one_query_ms), "{}", finding.one_query_ms);
        assert_eq!(finding.recent, [(0, 10); 4]);
        let tallies = findings.tallies();
        assert_eq!(tallies["counted"], Tally { episodes: 3, statements: 30 });
        assert_eq!(tallies["proved"], Tally { episodes: 1, statements: 10 });
        let later = Findings::default();
        later.remember(findings.list());
        assert!(later.note(met("counted", false)).is_none());
        assert_eq!(later.list()[0].episodes, 5);
    }

    #[test]
    fn a_silenced_loop_is_met_and_not_told() {
        let findings = Findings::default();
        let id = findings.note(met("counted", false)).expect("it is new").id;
        for silence in [Silence::Finding(id), Silence::Shape(7), Silence::Table("t".to_owned())] {
            findings.set_silence(vec![silence.clone()]);
            let table = Met { statement: "select a from t".to_owned(), ..met("counted", false) };
            let others = Findings::default();
            others.set_silence(vec![silence]);
            assert_eq!(others.note(table), None);
            assert_eq!((others.list().len(), others.every().len()), (0, 1));
        }
        findings.set_silence(Vec::new());
        assert_eq!(findings.list().len(), 1);
    }

    #[test]
    fn findings_survive_their_form_as_text() {
        let findings = Findings::default();
        for class in ["proved", "write_loop"] {
            findings.note(Met { group: class, ..met(class, true) });
        }
        let text = serde_json::to_string(&findings.list()).unwrap();
        let later = Findings::default();
        later.remember(serde_json::from_str(&text).unwrap());
        assert_eq!(later.list(), findings.list());
        assert_eq!(later.list().len(), 2);
    }

    #[test]
    fn the_oldest_finding_makes_room() {
        let findings = Findings::default();
        for at in 0..=FINDINGS_MAX as u64 {
            findings.note(Met { fingerprint: at, now_s: at, ..met("counted", false) });
        }
        let list = findings.list();
        assert_eq!(list.len(), FINDINGS_MAX);
        assert!(list.iter().all(|finding| finding.last_seen_s > 0));
    }
}
