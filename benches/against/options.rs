//! The command line of the benchmark. Must not know how anything is measured.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// Measures pgweir beside a peer against the same private PostgreSQL: throughput, latency, CPU time
/// of the proxy and memory, as medians over rounds that alternate between the two.
#[derive(Debug, Parser)]
#[command(name = "against")]
pub struct Options {
    /// Names or families of scenarios, separated by commas; see --list.
    #[arg(long, value_delimiter = ',')]
    pub scenario: Vec<String>,
    /// Show the scenarios and end.
    #[arg(long)]
    pub list: bool,
    /// How often each scenario runs with each program.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Length of each measured stretch, after half a second of warm-up.
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// Whom to compare with. pgweir-unobserved is pgweir with `observe: {enabled: false}`: what observation costs.
    #[arg(long, default_value = "pgbouncer", value_parser = ["pgbouncer", "pgweir-unobserved", "none"])]
    pub peer: String,
    /// What is measured. With pgbouncer, it runs against itself and shows the noise of the machine.
    #[arg(long, default_value = "pgweir", value_parser = ["pgweir", "pgbouncer", "none"])]
    pub subject: String,
    /// Leave out the reference without any proxy.
    #[arg(long)]
    pub no_direct: bool,
    /// A first impression: 1 round, 1 second, a tenth of the rows and of the idle clients.
    #[arg(long)]
    pub quick: bool,
    /// Worker threads of pgweir.
    #[arg(long, default_value_t = 1)]
    pub workers: u32,
    /// The pgweir program; by default the one that cargo has just built.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_pgweir"))]
    pub pgweir: PathBuf,
    /// The PgBouncer program.
    #[arg(long, default_value = "pgbouncer")]
    pub pgbouncer: PathBuf,
    /// The folder of initdb and postgres.
    #[arg(long)]
    pub pg_bin: Option<PathBuf>,
    /// Write every figure of every round here.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Print the table as it stands in the README at the end.
    #[arg(long)]
    pub markdown: bool,
    /// A command that runs beside each measured stretch, such as "perf record -g -o perf.data -p {pid}";
    /// {pid} and {name} are replaced, it is sent SIGINT at the end. Figures of such a run are not comparable.
    #[arg(long)]
    pub attach: Option<String>,
    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// The options, with `--quick` applied.
    pub fn read() -> Options {
        let mut options = Options::parse();
        if options.quick {
            options.rounds = 1;
            options.seconds = options.seconds.min(1.0);
        }
        options
    }

    pub fn stretch(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.max(0.1))
    }

    /// Rows of the big result and of COPY.
    pub fn bulk_rows(&self) -> u64 {
        if self.quick { 100_000 } else { 1_000_000 }
    }

    pub fn idle_clients(&self) -> [usize; 2] {
        if self.quick { [100, 500] } else { [1_000, 5_000] }
    }
}
