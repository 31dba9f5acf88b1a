//! The loops that were found, over all sessions: one finding per database and shape, with what it came to.
//! Bounded; the finding that was seen least recently makes room.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Deserializer, Serialize};

use super::slow_log::threshold::names_table;

/// Findings kept. An application has dozens; more would not be read.
const FINDINGS_MAX: usize = 1_000;

/// One loop, as often as it was met.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Finding {
    /// Stable over restarts and versions: database, shape and what kind of loop it is decide it.
    pub id: String,
    #[serde(deserialize_with = "class")]
    pub class: ClassName,
    /// Whether the values are known to come from the parent's column.
    pub proved: bool,
    pub database: String,
    pub user: String,
    pub application: String,
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
    /// All time spent on them, and what one execution each would have taken, ms.
    pub time_ms: f64,
    pub one_query_ms: f64,
    /// Which library wrote the statement, and what to change there.
    pub library: Option<String>,
    pub remedy: Option<String>,
    /// Unix time.
    pub first_seen_s: u64,
    pub last_seen_s: u64,
}

/// One of a few names. It has a name of its own so that serde does not take it for a borrowed text.
type ClassName = &'static str;

/// The classes there are; those of an earlier process are found among them.
const CLASSES: [&str; 7] =
    ["proved", "nested", "interleaved", "counted", "redundant", "write_loop", "concurrent"];

fn class<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'static str, D::Error> {
    let name = String::deserialize(deserializer)?;
    let known = CLASSES.iter().find(|known| **known == name);
    known.copied().ok_or_else(|| serde::de::Error::custom("an unknown class of finding"))
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
    fn covers(&self, finding: &Finding) -> bool {
        match self {
            Silence::Finding(id) => *id == finding.id,
            Silence::Shape(shape) => finding.shape == format!("{shape:016x}"),
            Silence::Table(table) => names_table(&finding.statement, table),
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
    pub fingerprint: u64,
    pub statement: String,
    pub parent: Option<(u64, String, String)>,
    pub n: u64,
    pub time_us: u64,
    pub now_s: u64,
}

/// All findings of this process.
#[derive(Debug, Default)]
pub struct Findings {
    all: Mutex<HashMap<String, Finding>>,
    silence: Mutex<Vec<Silence>>,
    pub episodes: AtomicU64,
    pub statements: AtomicU64,
}

impl Findings {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Finding>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an episode. Returns the finding if it is new, or newly proved.
    pub fn note(&self, met: Met) -> Option<Finding> {
        self.episodes.fetch_add(1, Relaxed);
        self.statements.fetch_add(met.n, Relaxed);
        let id = id(&met);
        let mut all = self.all();
        if !all.contains_key(&id) && all.len() >= FINDINGS_MAX {
            let oldest = all.values().min_by_key(|finding| finding.last_seen_s).map(|old| old.id.clone());
            oldest.map(|oldest| all.remove(&oldest));
        }
        let known = all.get(&id).map(|finding| finding.proved);
        let finding = all.entry(id.clone()).or_insert_with(|| Finding {
            id,
            class: met.class,
            database: met.database.clone(),
            user: met.user.clone(),
            shape: format!("{:016x}", met.fingerprint),
            statement: met.statement.clone(),
            first_seen_s: met.now_s,
            ..Finding::default()
        });
        finding.add(&met);
        let news = known.is_none() || (known == Some(false) && met.proved);
        (news && !self.is_silenced(finding)).then(|| finding.clone())
    }

    fn silence(&self) -> MutexGuard<'_, Vec<Silence>> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_silenced(&self, finding: &Finding) -> bool {
        self.silence().iter().any(|silence| silence.covers(finding))
    }

    /// What nobody wants to hear of from now on. It is still met and counted.
    pub fn set_silence(&self, silence: Vec<Silence>) {
        *self.silence() = silence;
    }

    /// Puts in what an earlier process found.
    pub fn remember(&self, findings: Vec<Finding>) {
        let mut all = self.all();
        for finding in findings.into_iter().take(FINDINGS_MAX) {
            all.entry(finding.id.clone()).or_insert(finding);
        }
    }

    /// Every finding, silenced ones too, in no order; for a file.
    pub fn every(&self) -> Vec<Finding> {
        self.all().values().cloned().collect()
    }

    /// Adds what was found out about a finding's origin.
    pub fn explain(&self, id: &str, library: Option<String>, remedy: Option<String>) {
        if let Some(finding) = self.all().get_mut(id) {
            (finding.library, finding.remedy) = (library, remedy);
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

impl Finding {
    fn add(&mut self, met: &Met) {
        // What was proved once stays proved.
        if met.proved || !self.proved {
            self.class = met.class;
            self.proved |= met.proved;
        }
        if let Some((fingerprint, text, column)) = &met.parent {
            self.parent_shape = Some(format!("{fingerprint:016x}"));
            self.parent = Some(text.clone());
            self.column = Some(column.clone());
        }
        self.application.clone_from(&met.application);
        self.episodes += 1;
        self.last_n = met.n;
        self.max_n = self.max_n.max(met.n);
        self.total_n += met.n;
        let ms = met.time_us as f64 / 1000.0;
        self.time_ms += ms;
        self.one_query_ms += ms / met.n.max(1) as f64;
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
        assert_eq!((finding.class, finding.proved, finding.episodes), ("proved", true, 4));
        assert_eq!((finding.total_n, finding.time_ms, finding.one_query_ms), (40, 20.0, 2.0));
        assert_eq!(finding.id, "np-".to_owned() + &first.id[3..]);
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
        for class in CLASSES {
            let group = class;
            findings.note(Met { group, ..met(class, true) });
        }
        let text = serde_json::to_string(&findings.list()).unwrap();
        let later = Findings::default();
        later.remember(serde_json::from_str(&text).unwrap());
        assert_eq!(later.list(), findings.list());
        assert_eq!(later.list().len(), CLASSES.len());
        assert!(serde_json::from_str::<Finding>("{\"class\": \"hearsay\"}").is_err());
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
