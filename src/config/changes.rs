//! What a reload changes, in words for the log. Names no secret: users are named, their passwords are not.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::Settings;

/// One line per change from `old` to `new`, in the order of the file; empty when nothing changes. A change
/// that has no effect before the next start ends with `needs a restart`.
pub fn explain_changes(old: &Settings, new: &Settings) -> Vec<String> {
    let mut lines = Vec::new();
    let mut restart = |key: &str, old: String, new: String| {
        if old != new {
            lines.push(format!("{key}: {old} → {new}; needs a restart"));
        }
    };
    restart("listen.address", old.listen.address.to_string(), new.listen.address.to_string());
    restart("listen.port", old.listen.port.to_string(), new.listen.port.to_string());
    let folder = |settings: &Settings| match &settings.listen.unix_socket_dir {
        Some(path) => path.display().to_string(),
        None => "none".to_owned(),
    };
    restart("listen.unix_socket_dir", folder(old), folder(new));
    restart("admin.address", old.admin.address.to_string(), new.admin.address.to_string());
    restart("admin.port", old.admin.port.to_string(), new.admin.port.to_string());
    restart("workers", old.workers.to_string(), new.workers.to_string());

    let mut section = |key: &str, differs: bool| {
        if differs {
            lines.push(format!("{key}: changed"));
        }
    };
    section("listen.tls", old.listen.tls != new.listen.tls);
    section("admin.tls", old.admin.tls != new.admin.tls);
    section("admin.tokens", old.admin.tokens != new.admin.tokens);
    section("admin.audit_log", old.admin.audit_log != new.admin.audit_log);
    entries("databases", &old.databases, &new.databases, &mut lines);
    entries("users", &old.auth.users, &new.auth.users, &mut lines);
    value("auth.method", &old.auth.method, &new.auth.method, &mut lines);
    value("auth.query", &old.auth.query, &new.auth.query, &mut lines);
    value("timeouts", &old.timeouts, &new.timeouts, &mut lines);
    value("limits", &old.limits, &new.limits, &mut lines);
    value("log", &old.log, &new.log, &mut lines);
    value("rules", &old.rules_folder, &new.rules_folder, &mut lines);
    let sections = [
        ("observe", (&old.rules.observe, &old.rules.probe) != (&new.rules.observe, &new.rules.probe)),
        ("slow_log", old.rules.slow_log != new.rules.slow_log),
        ("nplus1", old.rules.nplus1 != new.rules.nplus1),
        ("coalesce", old.rules.coalesce != new.rules.coalesce),
        ("indexes", old.rules.indexes != new.rules.indexes),
        ("partitions", old.rules.partitions != new.rules.partitions),
        ("maintenance", old.rules.maintenance != new.rules.maintenance),
    ];
    let differing = sections.iter().filter(|(_, differs)| *differs);
    lines.extend(differing.map(|(name, _)| format!("rules, {name}: changed")));
    lines
}

/// Entries of a map by name: added, removed, changed. More than a screenful is summed up, because a user
/// list may hold thousands.
fn entries<T: PartialEq>(
    key: &str,
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
    lines: &mut Vec<String>,
) {
    const SCREENFUL: usize = 20;
    let mut found = Vec::new();
    for (name, value) in new {
        match old.get(name) {
            None => found.push(format!("{key}.{name}: added")),
            Some(before) if before != value => found.push(format!("{key}.{name}: changed")),
            Some(_) => {}
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        found.push(format!("{key}.{name}: removed"));
    }
    let more = found.len().saturating_sub(SCREENFUL);
    found.truncate(SCREENFUL);
    lines.append(&mut found);
    if more > 0 {
        lines.push(format!("{key}: {more} more changes"));
    }
}

/// A value whose `Debug` holds no secret.
fn value<T: PartialEq + Debug>(key: &str, old: &T, new: &T, lines: &mut Vec<String>) {
    if old != new {
        lines.push(format!("{key}: {old:?} → {new:?}"));
    }
}
