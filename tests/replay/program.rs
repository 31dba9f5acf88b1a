//! Does a batch answer as its statements would by themselves? Compares until told to stop, on a PostgreSQL of its
//! own: `cargo run --release --example replay-fuzz -- --comparisons 1000000`. And is refused what must not be shared?
//! `… -- --refusals 5000`. Ends with 1 at any difference, and at anything accepted.

mod fuzz;
#[path = "../it/rawclient.rs"]
#[allow(clippy::unwrap_used)] // It is a part of the tests.
mod rawclient;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use pgweir::demo::cluster::{Cluster, ClusterOptions};

const USAGE: &str = "usage: replay-fuzz [--comparisons N | --refusals N] [--seed N]";

/// How often progress is shown.
const EVERY: Duration = Duration::from_secs(5);

/// Comparisons that must fail, which show that the others could.
const SABOTAGED: u64 = 1_000;

fn main() -> ExitCode {
    let (mut comparisons, mut refusals, mut seed) = (100_000, 0, rand::random::<u32>().into());
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().and_then(|value| value.parse::<u64>().ok());
        match (name.as_str(), value) {
            ("--comparisons", Some(value)) => comparisons = value,
            ("--refusals", Some(value)) => refusals = value,
            ("--seed", Some(value)) => seed = value,
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let cluster = match Cluster::start(ClusterOptions::default()) {
        Ok(cluster) => cluster,
        Err(error) => {
            eprintln!("no PostgreSQL to compare with: {error}");
            return ExitCode::from(2);
        }
    };
    println!("{}, seed {seed}", cluster.programs().version);
    let begun = Instant::now();
    if refusals > 0 {
        let figures = fuzz::refuse::run(&cluster, "postgres", refusals, seed);
        println!("{figures}seed {seed}, {:.0} s", begun.elapsed().as_secs_f64());
        return ExitCode::from(u8::from(!figures.accepted.is_empty()));
    }
    let mut shown = begun;
    let mut fuzz = fuzz::Fuzz::new(&cluster, "postgres", seed);
    let sabotaged = fuzz.sabotaged(SABOTAGED);
    let (seen, of) = (sabotaged.differences, sabotaged.comparisons);
    println!("{seen} of {of} answers differ when they are handed to the wrong members");
    let figures = fuzz.run(comparisons, |figures| {
        if shown.elapsed() > EVERY {
            shown = Instant::now();
            let (done, differences) = (figures.comparisons, figures.differences);
            println!("{done} of {comparisons}, {differences} differences, {} s", begun.elapsed().as_secs());
        }
    });
    println!("{figures}seed {seed}, {:.0} s", begun.elapsed().as_secs_f64());
    ExitCode::from(u8::from(figures.differences > 0 || seen == 0))
}
