//! Index advice, measured on a private PostgreSQL: `cargo bench --bench advice -- saas`, `… -- many`, `… -- tpch`,
//! `… -- job FOLDER`. What is advised is built, and the tables show times, costs and sizes before and after.
//! `benches/README.md` says more.

// A panic is how this program reports.
#![allow(clippy::unwrap_used)]

mod job;
mod many;
mod proved;
#[path = "../../tests/it/advice/saas.rs"]
mod saas;
mod tpch;

use pgweir::advise::AdviseSettings;
use pgweir::demo::cluster::{Cluster, ClusterOptions};

/// As other advisers were measured: a budget in MB, HypoPG's own sizes, no bound but the budget.
fn settings(budget: u64) -> AdviseSettings {
    AdviseSettings {
        budget_bytes: budget << 20,
        min_gain_percent: 1,
        min_share_percent: 0,
        max_per_table: 20,
        planner_sizes: true,
        ..AdviseSettings::default()
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let has = |name: &str| words.iter().any(|word| word == name);
    let settings =
        [("shared_buffers", "512MB"), ("work_mem", "64MB"), ("max_wal_size", "4GB"), ("autovacuum", "off")];
    let start = || {
        Cluster::start(ClusterOptions {
            settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            ..ClusterOptions::default()
        })
        .unwrap()
    };
    if has("saas") {
        let report = saas::run(&start(), 200 << 20);
        report.print();
        let missing = report.missing(include_str!("../../tests/data/advice/saas_held_back.txt"));
        println!("hand-made indexes that nothing advised is as good as: {missing:?}");
    }
    if has("tpch") {
        let scale = words.iter().find_map(|word| word.parse::<f64>().ok()).unwrap_or(1.0);
        tpch::run(&start(), scale, has("execute"));
    }
    if has("many") {
        many::run(&start());
    }
    if let Some(folder) = words.iter().position(|word| word == "job").and_then(|at| words.get(at + 1)) {
        // With the settings of the figures that it is compared with.
        let cluster = Cluster::start(ClusterOptions {
            settings: vec![("autovacuum".to_owned(), "off".to_owned())],
            ..ClusterOptions::default()
        });
        job::run(&cluster.unwrap(), std::path::Path::new(folder));
    }
    if words.is_empty() {
        println!("usage: saas | many | tpch [SCALE] [execute] | job FOLDER");
    }
}
