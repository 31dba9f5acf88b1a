//! A thousand shapes over forty tables: how long advice takes, how many questions, and what it costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pgweir::advise::AdviseSettings;
use pgweir::demo::cluster::Cluster;
use pgweir::maintain::index::gather::{Shape, from_sql};

use crate::saas::{advise, connect};

const TABLES: usize = 40;

/// For each table; `{t}` stands for its number, `{n}` for a number that makes shapes differ.
const SHAPES: [&str; 5] = [
    "select a, b, c{n} from t{t} where a = 7 and at > timestamp '2024-03-01'",
    "select b, c{n} from t{t} where b = 3 order by at desc limit 20",
    "select t{t}.c{n}, u.a from t{t} join t0 u on u.id = t{t}.a where t{t}.b = 9",
    "select count(c{n}) from t{t} where d = 'x5' and a in (1, 2, 3)",
    "update t{t} set c{n} = 1 where d = 'x9' and b = 4",
];

pub fn run(cluster: &Cluster) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        connect(cluster, "postgres").await.batch_execute("CREATE DATABASE many").await.unwrap();
        let client = connect(cluster, "many").await;
        client.batch_execute("CREATE EXTENSION hypopg").await.unwrap();
        for t in 0..TABLES {
            let sql = format!(
                "CREATE TABLE t{t} AS SELECT i AS id, i * 31 % 997 AS a, i * 17 % 499 AS b, 'x' || i % 50 AS d, \
                 i AS c0, i AS c1, i AS c2, i AS c3, i AS c4, timestamp '2024-01-01' + i * interval '5 minutes' AS at \
                 FROM generate_series(1, 20000) i"
            );
            client.batch_execute(&sql).await.unwrap();
        }
        client.batch_execute("CHECKPOINT").await.unwrap();
        client.batch_execute("VACUUM (ANALYZE)").await.unwrap();
    });
    let mut shapes: Vec<Shape> = Vec::new();
    for t in 0..TABLES {
        for n in 0..5 {
            for sql in SHAPES {
                let sql = sql.replace("{t}", &t.to_string()).replace("{n}", &n.to_string());
                shapes.extend(from_sql(&sql, &[]));
            }
        }
    }
    let (count, begun) = (shapes.len(), Instant::now());
    let (own, of_server) = (own_cpu_s(), server_cpu_s(cluster));
    let ended = Arc::new(AtomicBool::new(false));
    let watching = watch(cluster, ended.clone());
    let outcome = advise(&runtime, cluster, "many", shapes, &AdviseSettings::default());
    ended.store(true, Relaxed);
    let connections = watching.join().unwrap();
    let took = begun.elapsed().as_secs_f64();
    let (own, of_server) = (own_cpu_s() - own, server_cpu_s(cluster) - of_server);
    println!(
        "{count} shapes: {} suggestions of {} candidates, {} questions, {:.1} s, {:.0} % less time by the planner",
        outcome.advice.suggestions.len(),
        outcome.advice.candidates,
        outcome.questions,
        took,
        100.0 * (1.0 - outcome.advice.after_ms / outcome.advice.before_ms)
    );
    // In the background the adviser rests nine times as long as a run took (`proxy/advising.rs`, REST).
    println!(
        "at most {connections} connections; CPU: pgweir {own:.1} s, PostgreSQL {of_server:.1} s; with the rest of {:.0} s \
         that follows in the background: {:.1} % of a core on average",
        took * 9.0,
        100.0 * (own + of_server) / (took * 10.0)
    );
}

fn own_cpu_s() -> f64 {
    // SAFETY: an all-zero rusage is a valid one, and the call writes to it only.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// Of backends that have ended.
fn server_cpu_s(cluster: &Cluster) -> f64 {
    // A backend is counted when the postmaster has taken note of its end.
    std::thread::sleep(Duration::from_millis(300));
    let text = std::fs::read_to_string(format!("/proc/{}/stat", cluster.pid().unwrap())).unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    // Fields 16 and 17 of proc(5), in hundredths of a second.
    fields[13..15].iter().map(|field| field.parse::<f64>().unwrap() / 100.0).sum()
}

/// The most connections of pgweir that there were at a time.
fn watch(cluster: &Cluster, ended: Arc<AtomicBool>) -> JoinHandle<i64> {
    let url = cluster.url("postgres");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            let query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgweir probe'";
            let mut most = 0;
            while !ended.load(Relaxed) {
                most = most.max(client.query_one(query, &[]).await.unwrap().get(0));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            most
        })
    })
}
