//! The rule files: what the capabilities may do and from when on. Read as strictly as pgweir.yaml, and gathered
//! from the types that the rooms own. Knows files, but nothing that runs.

mod coalesce;
mod defaults;
mod indexes;
mod mirror;
mod partitions;
mod resolve;

#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

pub use self::mirror::RuleFile;
pub use self::partitions::Span;
use super::mistake::{Mistake, nearest};
use super::resolve::Context;
use super::strict::{self, Report};
use super::yaml::{self, Node, Position, Value};
use super::{schema, users};
use crate::advise::AdviseSettings;
use crate::coalesce::Thresholds;
use crate::coalesce::settings::CoalesceSettings;
use crate::maintain::index::settings::AutoSettings;
use crate::maintain::{MaintenanceSettings, TableRule};
use crate::observe::findings::Silence;
use crate::observe::slow_log::settings::{ExplainMode, SlowLogSettings};
use crate::observe::{ObserveSettings, StatePlace};
use crate::probe::ProbeSettings;
use crate::route::RouteSettings;

/// What all rule files say together; what they leave out has its default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    pub observe: ObserveSettings,
    /// `observe.probe`.
    pub probe: ProbeSettings,
    pub slow_log: SlowLogSettings,
    pub nplus1: NPlusOneSettings,
    pub coalesce: CoalesceSettings,
    /// Which partitioned tables are left alone.
    pub route: RouteSettings,
    pub indexes: AdviseSettings,
    /// `indexes.auto`.
    pub auto: AutoSettings,
    /// Tables that are divided by time.
    pub partitions: Vec<TableRule>,
    pub maintenance: MaintenanceSettings,
}

impl Rules {
    /// What counts as a loop; `None`: nobody looks.
    pub fn thresholds(&self) -> Option<Thresholds> {
        (self.observe.enabled && self.nplus1.enabled).then_some(self.nplus1.thresholds)
    }

    /// Whether values of statements are wanted anywhere.
    pub fn wants_values(&self) -> bool {
        let slow = &self.slow_log;
        let executes = slow.explain.mode == ExplainMode::Analyze
            || slow.rules.iter().any(|rule| rule.explain == Some(ExplainMode::Analyze));
        self.observe.enabled && (self.observe.parameters || (slow.enabled && (slow.parameters || executes)))
    }
}

/// The section `nplus1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NPlusOneSettings {
    pub enabled: bool,
    pub thresholds: Thresholds,
    pub silence: Vec<Silence>,
}

impl Default for NPlusOneSettings {
    fn default() -> Self {
        NPlusOneSettings { enabled: true, thresholds: Thresholds::default(), silence: Vec::new() }
    }
}

/// A rule file is a page or two.
const FILE_BYTES: u64 = 1024 * 1024;

/// The rule files of a folder, by name. None if it cannot be read; whoever loads them says so.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| ends(path, "yaml")).collect();
    files.sort();
    files
}

fn ends(path: &Path, extension: &str) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    // A ConfigMap's ..data and an editor's swap files are no rules.
    !hidden && path.extension().is_some_and(|found| found == extension)
}

/// Reads and checks the rules of a folder. Relative paths in them start at `base`.
///
/// # Errors
/// Every mistake, in the order of the files, never none.
pub fn load_rules(folder: &Path, base: &Path) -> Result<Rules, Vec<Mistake>> {
    let mut reader = Reader {
        base,
        schema: schema::rules(),
        rules: Rules::default(),
        homes: BTreeMap::new(),
        mistakes: Vec::new(),
    };
    match std::fs::read_dir(folder) {
        Err(error) => {
            let message = format!("the folder cannot be read: {error}");
            reader.mistakes.push(mistake(folder, Position::START, String::new(), message));
        }
        Ok(entries) => {
            for path in entries.flatten().map(|entry| entry.path()).filter(|path| ends(path, "yml")) {
                let message = "a rule file ends in .yaml; rename this one or move it elsewhere".to_owned();
                reader.mistakes.push(mistake(&path, Position::START, String::new(), message));
            }
            files(folder).iter().for_each(|path| reader.file(path));
        }
    }
    if reader.mistakes.is_empty() { Ok(reader.rules) } else { Err(super::in_order(reader.mistakes)) }
}

fn mistake(path: &Path, at: Position, key: String, message: String) -> Mistake {
    Mistake { file: path.display().to_string(), at, path: key, message, nearest: None }
}

struct Reader<'a> {
    base: &'a Path,
    schema: Json,
    rules: Rules,
    /// Where each section stands.
    homes: BTreeMap<String, PathBuf>,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path) {
        let text = match users::read_bounded(path, FILE_BYTES) {
            Ok(text) => text,
            Err(message) => {
                self.mistakes.push(mistake(path, Position::START, String::new(), message));
                return;
            }
        };
        let mut report = Report::new(path.display().to_string());
        match yaml::parse(&text) {
            Ok(tree) => self.tree(path, &tree, &mut report),
            Err(error) => report.add(error.at, "", error.message),
        }
        self.mistakes.append(&mut report.mistakes);
    }

    fn tree(&mut self, path: &Path, tree: &Node, report: &mut Report) {
        let good = strict::check(&self.schema, tree, report).unwrap_or_default();
        let file = match serde_json::from_value::<RuleFile>(good) {
            Ok(file) => file,
            Err(error) => {
                if report.mistakes.is_empty() {
                    report.add(tree.at, "", error.to_string());
                }
                return;
            }
        };
        let rules = resolve::resolve(&file, &mut Context::new(tree, self.base, report));
        let Value::Map(entries) = &tree.value else {
            return;
        };
        for (key, _) in entries {
            let name = key.name.as_str();
            if let Some(other) = self.homes.get(name) {
                let message =
                    format!("the section stands in {} already; keep it in one file", other.display());
                report.add(key.at, name, message);
                continue;
            }
            match name {
                "observe" => {
                    (self.rules.observe, self.rules.probe) = (rules.observe.clone(), rules.probe.clone());
                }
                "slow_log" => self.rules.slow_log = rules.slow_log.clone(),
                "nplus1" => self.rules.nplus1 = rules.nplus1.clone(),
                "coalesce" => self.rules.coalesce = rules.coalesce.clone(),
                "indexes" => {
                    (self.rules.indexes, self.rules.auto) = (rules.indexes.clone(), rules.auto.clone());
                }
                "partitions" => self.rules.partitions = rules.partitions.clone(),
                "maintenance" => self.rules.maintenance = rules.maintenance.clone(),
                _ => continue,
            }
            self.homes.insert(name.to_owned(), path.to_owned());
        }
    }
}

/// Checks what only makes sense beside pgweir.yaml: names of users and databases.
pub fn check_names<'a>(
    rules: &Rules,
    users: impl Iterator<Item = &'a str>,
    databases: impl Iterator<Item = &'a str>,
    folder: &Path,
) -> Vec<Mistake> {
    let (users, databases): (Vec<_>, Vec<_>) = (users.collect(), databases.collect());
    let mut mistakes = Vec::new();
    let mut add = |path: &[&str], message: &str, name: &str, known: &[&str]| {
        let (file, at) = find(folder, path);
        let mut mistake = mistake(&file, at, path.join("."), message.to_owned());
        mistake.nearest = nearest(name, known.iter().copied());
        mistakes.push(mistake);
    };
    if let Some(user) = rules.probe.user.as_deref().filter(|user| !users.contains(user)) {
        let message = "the user is not listed in pgweir.yaml, so pgweir has no password for it";
        add(&["observe", "probe", "user"], message, user, &users);
    }
    if let StatePlace::Postgres { database, .. } = &rules.observe.state.place
        && !databases.iter().any(|known| known == database || *known == "*")
    {
        let message = "the database is not listed in pgweir.yaml";
        add(&["observe", "state", "postgres", "database"], message, database, &databases);
    }
    for (path, message, name, of_users) in partitions::names(rules, &users, &databases) {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        add(&path, message, &name, if of_users { &users } else { &databases });
    }
    mistakes
}

/// Where a key of the rules stands.
fn find(folder: &Path, path: &[&str]) -> (PathBuf, Position) {
    for file in files(folder) {
        let tree = users::read_bounded(&file, FILE_BYTES).ok().and_then(|text| yaml::parse(&text).ok());
        if let Some(tree) = tree.filter(|tree| path.first().is_some_and(|first| tree.get(first).is_some())) {
            return (file, tree.find(path));
        }
    }
    (folder.to_owned(), Position::START)
}
