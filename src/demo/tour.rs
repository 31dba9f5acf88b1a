//! The tour's script: what happens in which order, and what is printed. Each chapter's work lives in a
//! file of its own.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::cluster::{Cluster, ClusterOptions};
use super::command::Shell;
use super::home::Home;
use super::report::{Comparison, render, verdict};
use super::upstream::Upstream;
use super::workload::{self, DIRECT_NAME, Outcome, POOLED_NAME, WORKLOADS, Way};
use super::{Options, coalescing, indexes, loops, partitions, sample, settings};
use crate::proxy::{self, Running};

/// How long each workload runs before it is the other way's turn.
const TURN: Duration = Duration::from_secs(3);

/// Not measured, once per way.
const WARM_UP: Duration = Duration::from_secs(2);

/// Whose turn it is, as indexes into `ways`. Neither way always comes first, so that a machine that grows
/// slower or faster favours none.
const ORDER: [usize; 4] = [0, 1, 1, 0];

/// Runs everything; a cluster that was started is gone on return.
pub fn run(options: &Options) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("cannot start: {e}"))?;
    let cluster = match options.upstream {
        Some(_) => None,
        None => Some(start_cluster(options)?),
    };
    // From here on Ctrl-C is an event, so that the cluster is always stopped and removed.
    let mut stage = Stage::new(&runtime)?;
    let upstream = stage.play(prepare(options, cluster.as_ref()))??;
    let home = Home::create(None)?;
    let (running, shell) = start_pgweir(options, &upstream, home.path().join("audit.log"))?;
    let outcome = chapters(options, &mut stage, &upstream, (&running, &shell));
    println!("Stopping.");
    running.shutdown();
    running.wait();
    drop(cluster);
    outcome
}

fn chapters(
    options: &Options,
    stage: &mut Stage,
    upstream: &Upstream,
    (running, shell): (&Running, &Shell),
) -> Result<(), String> {
    let comparisons = stage.play(compare(upstream, running.listen))??;
    println!("\n{}", render(&comparisons));
    let verdict = verdict(&comparisons);
    let [_, pooled] = ways(upstream, running.listen);
    println!("{}", stage.play(loops::chapter(&pooled.config, running))??);
    println!("{}", stage.play(coalescing::chapter(upstream))??);
    println!("{}", stage.play(indexes::chapter(&pooled.config, shell))??);
    println!("{}", stage.play(partitions::chapter(&pooled.config, shell, running))??);
    if options.once {
        return verdict;
    }
    println!("{}", what_next(upstream, running, shell));
    stage.until_interrupted();
    verdict
}

/// Runs one async chapter after the other, until somebody interrupts.
struct Stage<'a> {
    runtime: &'a Runtime,
    interrupt: Signal,
    terminate: Signal,
}

impl<'a> Stage<'a> {
    fn new(runtime: &'a Runtime) -> Result<Self, String> {
        let _inside = runtime.enter();
        let listen = |kind| signal(kind).map_err(|e| format!("cannot listen for signals: {e}"));
        Ok(Stage {
            runtime,
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    fn play<T>(&mut self, chapter: impl Future<Output = T>) -> Result<T, String> {
        self.runtime.block_on(async {
            tokio::select! {
                value = chapter => Ok(value),
                _ = self.interrupt.recv() => Err("interrupted".to_owned()),
                _ = self.terminate.recv() => Err("terminated".to_owned()),
            }
        })
    }

    fn until_interrupted(&mut self) {
        // The error is the wish.
        let _ = self.play(std::future::pending::<()>());
    }
}

fn start_cluster(options: &Options) -> Result<Cluster, String> {
    if options.fetch_postgres {
        println!("Fetching PostgreSQL (once, 13 MB) unless it is here already ...");
    }
    let begun = Instant::now();
    let cluster = Cluster::start(ClusterOptions {
        pg_bin: options.pg_bin.clone(),
        fetch_postgres: options.fetch_postgres,
        settings: vec![("shared_buffers".to_owned(), "256MB".to_owned())],
        ..Default::default()
    })?;
    let user = cluster.account().map_or(String::new(), |name| format!(" as user {name}"));
    println!(
        "A private PostgreSQL {} runs on 127.0.0.1:{}{user} ({:.1} s). It is removed at the end.\n  \
         programs: {}\n  folder:   {}",
        cluster.programs().version,
        cluster.port(),
        begun.elapsed().as_secs_f64(),
        cluster.programs().folder.display(),
        cluster.folder().display()
    );
    Ok(cluster)
}

async fn prepare(options: &Options, cluster: Option<&Cluster>) -> Result<Upstream, String> {
    let upstream = match (cluster, &options.upstream) {
        (Some(cluster), _) => Upstream::in_cluster(cluster).await?,
        (None, Some(url)) => Upstream::at(url).await?,
        (None, None) => return Err("there is no PostgreSQL to use".to_owned()),
    };
    let client = upstream.connect(&upstream.database, "pgweir-demo").await?;
    if sample::is_loaded(&client).await? {
        println!("The sample database {} is there already.", upstream.database);
        return Ok(upstream);
    }
    refuse_foreign(&client, &upstream.database).await?;
    println!("\nLoading the sample database {}:", upstream.database);
    let begun = Instant::now();
    let terminal = std::io::stdout().is_terminal();
    sample::load(
        &client,
        |name| {
            if terminal {
                print!("  {name:<20} ...");
                let _ = std::io::stdout().flush();
            }
        },
        |step| {
            let rows = match step.rows {
                0 => String::new(),
                rows => format!("{rows} rows"),
            };
            let again = if terminal { "\r" } else { "" };
            let seconds = step.took.as_secs_f64();
            println!("{again}  {:<20} {rows:>12} {seconds:>7.2} s", step.name);
        },
    )
    .await?;
    println!("  loaded in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(upstream)
}

/// A database of the sample's name that is not the sample is somebody's, or a load that was interrupted.
async fn refuse_foreign(client: &tokio_postgres::Client, database: &str) -> Result<(), String> {
    let query = "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = 'public')";
    let row = client.query_one(query, &[]).await;
    let row = row.map_err(|e| sample::explain(&e))?;
    if row.get(0) {
        return Err(format!(
            "the database {database} holds tables but not the complete sample; \
             if nobody needs it, run DROP DATABASE {database} and start again"
        ));
    }
    Ok(())
}

fn start_pgweir(
    options: &Options,
    upstream: &Upstream,
    audit_log: PathBuf,
) -> Result<(Running, Shell), String> {
    let mut settings = settings::for_tour(upstream, options.listen, options.admin);
    let token = settings::operator(&mut settings, audit_log);
    (settings.rules.partitions, settings.rules.maintenance) = partitions::rules();
    let running = proxy::start(settings)?;
    for (wanted, got, what) in
        [(options.listen, running.listen, "clients"), (options.admin, running.admin, "HTTP")]
    {
        if wanted.port() != 0 && wanted.port() != got.port() {
            println!("Port {} is taken; pgweir uses {got} for {what}.", wanted.port());
        }
    }
    println!("\npgweir listens on {} and lends out at most 20 server connections.", running.listen);
    let shell = Shell { admin: running.admin, token };
    Ok((running, shell))
}

async fn compare(upstream: &Upstream, listen: SocketAddr) -> Result<Vec<Comparison>, String> {
    let watcher = upstream.connect(&upstream.database, "pgweir-demo-watcher").await?;
    let ways = ways(upstream, listen);
    let turns = ORDER.len() * WORKLOADS.len();
    let seconds = TURN.as_secs() as usize * turns + WARM_UP.as_secs() as usize * 2;
    println!("Running {} workloads directly and through pgweir, {seconds} s in all:", WORKLOADS.len());
    // Pages, plans and statistics are cold after a load; whoever came first would pay for that.
    for way in &ways {
        workload::run(WORKLOADS[0], way, &watcher, WARM_UP).await?;
    }
    let mut comparisons = Vec::new();
    for workload in WORKLOADS {
        println!("  {} ...", workload.name);
        let mut outcomes = [Outcome::default(), Outcome::default()];
        for way in ORDER {
            let outcome = workload::run(workload, &ways[way], &watcher, TURN).await?;
            outcomes[way].merge(outcome);
        }
        let [direct, pooled] = outcomes;
        comparisons.push(Comparison { workload, direct, pooled });
    }
    Ok(comparisons)
}

/// The pool's connections: neither the direct clients' nor those of pgweir's own questions.
const POOLED: &str = "application_name NOT IN ('pgweir-demo-direct', 'pgweir probe')";

/// Directly, and through pgweir. pgweir's own idle connections may bear any client's name, but never the
/// name that only direct clients use.
fn ways(upstream: &Upstream, listen: SocketAddr) -> [Way; 2] {
    let direct =
        Way { config: upstream.config(DIRECT_NAME), counted: "application_name = 'pgweir-demo-direct'" };
    let pooled = Way { config: upstream.through(listen, POOLED_NAME), counted: POOLED };
    [direct, pooled]
}

fn what_next(upstream: &Upstream, running: &Running, shell: &Shell) -> String {
    // The password of somebody's running server stays off the screen.
    let password = match upstream.database.as_str() {
        "app" => &upstream.password,
        _ => "PASSWORD",
    };
    let url = format!("postgres://{}:{password}@{}/{}", upstream.user, running.listen, upstream.database);
    let admin = running.admin;
    format!(
        "pgweir keeps serving until Ctrl-C.\n  \
         connection string  {url}\n  \
         metrics            http://{admin}/metrics\n\n\
         Try next, in another terminal:\n  \
         export PGWEIR_TOKEN={token}\n  \
         psql {url} -c 'SELECT name, plan FROM organizations LIMIT 5'\n  \
         curl -s -H \"authorization: Bearer $PGWEIR_TOKEN\" http://{admin}/api/database/connections\n  \
         pgweir report queries --admin {admin}\n  \
         pgweir report nplus1 --admin {admin}\n  \
         pgweir partitions list --admin {admin}\n",
        token = shell.token
    )
}
