//! On what the figures were taken: machine, kernel and versions, for the foot of the table.

use std::collections::BTreeMap;
use std::fs;

use crate::Bench;
use crate::report::Role;
use crate::target::Target;

/// Names and values, in order of name.
pub fn describe(bench: &Bench, targets: &[(Role, Target)], files: u64) -> BTreeMap<&'static str, String> {
    let mut facts = BTreeMap::new();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("CPU", |line| line.trim_start_matches([' ', '\t', ':']));
    facts.insert("cores", format!("{cores} ({model})"));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    facts.insert("kernel", kernel.trim().to_owned());
    facts.insert("PostgreSQL", bench.cluster.version.clone());
    for (_, target) in targets.iter().filter(|(role, _)| *role != Role::Direct) {
        let name = if target.label.starts_with("pgweir") { "pgweir" } else { "PgBouncer" };
        facts.insert(name, target.version.clone());
    }
    facts.insert("open files allowed", files.to_string());
    let options = &bench.options;
    facts.insert("rounds", format!("{} of {} s", options.rounds, options.seconds));
    facts.insert("pgweir workers", options.workers.to_string());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or_default().to_owned();
    facts.insert("load average at the start", load);
    facts
}
