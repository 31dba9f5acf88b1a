//! Settings: pgweir.yaml, checked and gathered from the types that the rooms own. Knows files and the
//! environment, but no connection: what it returns needs neither again.

mod changes;
mod defaults;
pub mod file;
mod human;
mod mistake;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod resolve;
pub mod rules;
mod schema;
mod strict;
mod upstream;
mod userlist;
mod users;
pub mod yaml;

#[cfg(test)]
mod mistakes_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use changes::explain_changes;
pub use defaults::{ADMIN_PORT, LISTEN_PORT};
pub use human::Size;
pub use mistake::Mistake;
pub use rules::{Rules, load_rules};
pub use schema::{rules_schema_text, schema_text};
pub use upstream::{database_of, from_upstream};
pub use yaml::parse;

use crate::admin::AdminSettings;
use crate::auth::AuthSettings;
use crate::observe::LogSettings;
use crate::pool::settings::DatabaseSettings;
use crate::session::limits::{Limits, Timeouts};
use crate::tls::ClientTls;

/// Everything a running pgweir obeys, resolved: no file is read and no default applied after this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub listen: ListenSettings,
    pub admin: AdminSettings,
    /// Worker threads, at least 1.
    pub workers: usize,
    /// By the name clients ask for; `*` matches any other.
    pub databases: BTreeMap<String, Arc<DatabaseSettings>>,
    pub auth: AuthSettings,
    pub timeouts: Timeouts,
    pub limits: Limits,
    pub log: LogSettings,
    pub rules: Rules,
    /// The folder that they were read from; `None`: they are the defaults.
    pub rules_folder: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenSettings {
    /// Default 127.0.0.1.
    pub address: IpAddr,
    /// Default 6432; 0 lets the system choose.
    pub port: u16,
    /// A socket `.s.PGSQL.<port>` is made here too.
    pub unix_socket_dir: Option<PathBuf>,
    pub tls: Option<ClientTls>,
}

/// A settings file is a few pages; larger is another file.
const FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Reads and checks a settings file. `Err` holds every mistake in the order of the file, never none.
pub fn load(path: &Path) -> Result<Settings, Vec<Mistake>> {
    let name = path.display().to_string();
    let text = users::read_bounded(path, FILE_BYTES).map_err(|message| {
        vec![Mistake {
            file: name.clone(),
            at: yaml::Position::START,
            path: String::new(),
            message,
            nearest: None,
        }]
    })?;
    // A bare file name has the empty parent, and joining to that stays in the working folder.
    let folder = path.parent().unwrap_or(Path::new(""));
    load_text(&name, &text, folder)
}

/// Checks the text of a settings file. `name` is what mistakes show; relative paths start at `folder`.
pub fn load_text(name: &str, text: &str, folder: &Path) -> Result<Settings, Vec<Mistake>> {
    let mut report = strict::Report::new(name);
    let tree = match yaml::parse(text) {
        Ok(tree) => tree,
        Err(error) => {
            report.add(error.at, "", error.message);
            return Err(report.mistakes);
        }
    };
    let schema = schema::schema();
    let good = strict::check(&schema, &tree, &mut report).unwrap_or_default();
    let file = match serde_json::from_value::<file::File>(good) {
        Ok(file) => file,
        Err(error) => {
            // What is wrong with the whole is said already; else the schema lets something pass that
            // the mirror does not, and saying so beats running with other settings.
            if report.mistakes.is_empty() {
                report.add(tree.at, "", error.to_string());
            }
            return Err(in_order(report.mistakes));
        }
    };
    let settings = resolve::resolve(&file, &tree, folder, &mut report);
    if report.mistakes.is_empty() { Ok(settings) } else { Err(in_order(report.mistakes)) }
}

/// What `workers: auto` means on this machine.
pub fn default_workers() -> usize {
    human::Workers::Auto.resolve(resolve::cores())
}

fn in_order(mut mistakes: Vec<Mistake>) -> Vec<Mistake> {
    mistakes.sort_by(|a, b| (&a.file, a.at).cmp(&(&b.file, b.at)));
    mistakes
}
