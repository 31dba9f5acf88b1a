//! The Join Order Benchmark's queries on synthetic rows, without keys: planner costs with what is advised against
//! costs without, for two budgets in HypoPG's own sizes. `job.py` writes the folder that is read.

use std::path::Path;
use std::time::Instant;

use pgweir::demo::cluster::Cluster;
use pgweir::maintain::index::gather::{Shape, from_sql};
use tokio_postgres::Client;

use crate::proved;
use crate::saas::{advise, connect};

/// Megabytes, and the relative cost that has to be reached within 30 s.
const GOALS: [(u64, f64); 2] = [(680, 0.25), (904, 0.18)];

pub fn run(cluster: &Cluster, folder: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let begun = Instant::now();
    let client = runtime.block_on(loaded(cluster, folder));
    let size = "SELECT (sum(pg_relation_size(oid)) / 1048576)::int8 FROM pg_class WHERE relkind = 'r' \
        AND relnamespace = 'public'::regnamespace";
    let megabytes: i64 = runtime.block_on(client.query_one(size, &[])).unwrap().get(0);
    println!("JOB, {megabytes} MB of tables, loaded in {:.0} s", begun.elapsed().as_secs_f64());
    let mut files: Vec<_> =
        std::fs::read_dir(folder.join("queries")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let queries: Vec<String> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    println!(
        "{:>9} {:>8} {:>8} {:>9} {:>9} {:>10} {:>10} {:>9}",
        "budget MB", "relative", "goal", "indexes", "HypoPG MB", "candidates", "questions", "seconds"
    );
    for (budget, goal) in GOALS {
        let settings = crate::settings(budget);
        let shapes: Vec<Shape> = queries.iter().flat_map(|sql| shapes(sql)).collect();
        let begun = Instant::now();
        let outcome = advise(&runtime, cluster, "job", shapes, &settings);
        let advice = &outcome.advice;
        println!(
            "{budget:>9} {:>8.3} {goal:>8.3} {:>9} {:>9} {:>10} {:>10} {:>9.1}",
            advice.after_ms / advice.before_ms,
            advice.suggestions.len(),
            advice.size_bytes >> 20,
            advice.candidates,
            outcome.questions,
            begun.elapsed().as_secs_f64()
        );
        let (before, after, megabytes) = proved::checked(&runtime, &client, &queries, &outcome);
        println!(
            "            asked anew: {before:.0} → {after:.0}, {:.3}, {megabytes:.0} MB",
            after / before
        );
        for one in &advice.suggestions {
            println!("            {} {} {} MB", one.table, one.definition, one.size_bytes >> 20);
        }
    }
}

/// Each query is a shape of its own, as in the figures of others, though some differ in values only.
fn shapes(sql: &str) -> Vec<Shape> {
    let mut shapes = from_sql(sql, &[]);
    assert_eq!(shapes.len(), 1, "{sql}");
    shapes.iter_mut().for_each(|shape| shape.whole.push(sql.to_owned()));
    shapes
}

async fn loaded(cluster: &Cluster, folder: &Path) -> Client {
    connect(cluster, "postgres").await.batch_execute("CREATE DATABASE job").await.unwrap();
    let client = connect(cluster, "job").await;
    client.batch_execute(&std::fs::read_to_string(folder.join("schema.sql")).unwrap()).await.unwrap();
    client.batch_execute("CREATE EXTENSION hypopg").await.unwrap();
    for entry in std::fs::read_dir(folder.join("data")).unwrap() {
        let path = entry.unwrap().path();
        let table = path.file_stem().unwrap().to_str().unwrap();
        if path.extension().is_some_and(|extension| extension == "csv") {
            let copy = format!("COPY {table} FROM '{}' WITH (FORMAT csv)", path.display());
            client.batch_execute(&copy).await.unwrap();
        }
    }
    client.batch_execute("CHECKPOINT").await.unwrap();
    client.batch_execute("VACUUM (ANALYZE)").await.unwrap();
    client
}
