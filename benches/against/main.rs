//! pgweir beside a peer, whole process against whole process: the benchmark of `make bench`.
//! `benches/README.md` says what is measured and how to read it.
//!
//! Reading order: `options`, `scenario` (what is run, and the goals), `target` (who is run),
//! `queries`, `connect`, `bulk`, `idle` (how each is measured), `load` (the clients), `report`.

mod bulk;
mod cluster;
mod connect;
mod connection;
mod environment;
mod frames;
mod idle;
mod load;
mod login;
mod metric;
mod options;
mod process;
mod queries;
mod report;
mod scenario;
mod scram;
mod target;
mod tls;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

use cluster::{Bulk, Cluster};
use options::Options;
use process::Account;
use report::{Column, Outcome, Role};
use scenario::Scenario;
use target::{Site, Target};

/// Any failure, as a text for the reader.
pub type Fail = Box<dyn std::error::Error + Send + Sync>;

pub fn fail<T>(text: impl Into<String>) -> Result<T, Fail> {
    Err(text.into().into())
}

/// What every measurement needs.
pub struct Bench {
    pub options: Options,
    pub cluster: Cluster,
    pub tls: tls::Identity,
    account: Option<Account>,
    folder: PathBuf,
}

impl Bench {
    pub fn site(&self) -> Site<'_> {
        Site {
            folder: &self.folder,
            account: self.account,
            tls: &self.tls,
            postgres_port: self.cluster.port,
            verifier: &self.cluster.verifier,
        }
    }
}

fn main() -> ExitCode {
    let options = Options::read();
    if options.list {
        scenario::all(&options).iter().for_each(|s| println!("{}", s.name));
        return ExitCode::SUCCESS;
    }
    match run(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("against: {error}");
            ExitCode::FAILURE
        }
    }
}

/// True when every scenario ran to its end on every target.
fn run(options: Options) -> Result<bool, Fail> {
    let scenarios = chosen(&options)?;
    let mut targets = Vec::new();
    for (role, name) in [(Role::Subject, &options.subject), (Role::Peer, &options.peer)] {
        if name != "none" {
            targets.push((role, Target::named(name, &options)?));
        }
    }
    // A program that runs against itself needs two names.
    if let [(_, subject), (_, peer)] = &mut targets[..]
        && subject.label == peer.label
    {
        subject.label += " (again)";
        peer.label += " (peer)";
    }
    process::catch_interrupts();
    let files = process::raise_file_limit();
    let home = tempfile::Builder::new().prefix("against-").tempdir()?;
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755))?;
    let bench = prepare(options, home.path().to_owned())?;
    if !bench.options.no_direct {
        targets.push((Role::Direct, Target::direct(&bench.cluster.version)));
    }
    let environment = environment::describe(&bench, &targets, files);
    environment.iter().for_each(|(name, value)| println!("{name}: {value}"));
    let mut outcomes = Vec::new();
    for scenario in scenarios {
        let outcome = measure(&bench, scenario, &targets);
        if process::interrupted() {
            return fail("interrupted");
        }
        println!("{}", outcome.block().trim_end_matches('\n'));
        outcomes.push(outcome);
    }
    let (kept, judged) = outcomes.iter().map(Outcome::goals).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    println!("\ngoals kept: {kept} of {judged}");
    if let Some(file) = &bench.options.json {
        std::fs::write(file, format!("{:#}\n", report::json(&environment, &outcomes)))?;
    }
    if bench.options.markdown {
        println!("\n{}", report::markdown(&environment, &outcomes));
    }
    let mut columns = outcomes.iter().flat_map(|o| &o.columns);
    Ok(columns.all(|column| column.failure.is_none()))
}

/// The scenarios that the options name, by name or by family.
fn chosen(options: &Options) -> Result<Vec<Scenario>, Fail> {
    let mut list = scenario::all(options);
    let matches = |s: &Scenario, name: &String| s.name == *name || s.family == name;
    for name in &options.scenario {
        if !list.iter().any(|s| matches(s, name)) {
            return fail(format!("unknown scenario {name:?}; --list shows them"));
        }
    }
    list.retain(|s| options.scenario.is_empty() || options.scenario.iter().any(|name| matches(s, name)));
    Ok(list)
}

fn prepare(options: Options, folder: PathBuf) -> Result<Bench, Fail> {
    let account = Account::for_servers()?;
    let bin = cluster::find_bin(options.pg_bin.as_deref())?;
    let room = folder.join("postgres");
    std::fs::create_dir(&room)?;
    if let Some(account) = account {
        account.own(&room)?;
    }
    let tls = tls::identity(&folder, account)?;
    eprintln!("starting a private PostgreSQL and filling it ...");
    let cluster = Cluster::start(&bin, &room, account, &tls, Bulk(options.bulk_rows()))?;
    Ok(Bench { options, cluster, tls, account, folder })
}

/// All rounds of one scenario. Who goes first changes from round to round, so that neither drift of
/// the machine nor the state that the other leaves behind favours one of them.
fn measure(bench: &Bench, scenario: Scenario, targets: &[(Role, Target)]) -> Outcome {
    let fits = |(role, _): &&(Role, Target)| *role != Role::Direct || scenario.has_direct();
    let targets: Vec<_> = targets.iter().filter(fits).collect();
    let mut columns: Vec<_> = targets
        .iter()
        .map(|(role, target)| Column {
            label: target.label.clone(),
            role: *role,
            samples: Vec::new(),
            failure: None,
        })
        .collect();
    for round in 0..bench.options.rounds as usize {
        let mut order: Vec<_> = (0..targets.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let column = &mut columns[index];
            if column.failure.is_some() || process::interrupted() {
                continue;
            }
            // The same ids for everybody in a round.
            let seed = 0x9E37_79B9 * (round as u64 + 1);
            match scenario.run(bench, &targets[index].1, seed) {
                Ok(sample) => column.samples.push(sample),
                Err(error) => column.failure = Some(error.to_string()),
            }
        }
    }
    let notes = targets.iter().filter_map(|(_, target)| {
        let text = scenario.substitute(target)?;
        Some(format!("{} {} {text}", target.label, target.version))
    });
    let notes = notes.collect();
    Outcome { scenario, columns, notes }
}
