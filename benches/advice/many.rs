//! A thousand shapes over forty tables: how long advice takes, and how many questions.

use std::time::Instant;

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
    let outcome = advise(&runtime, cluster, "many", shapes, &AdviseSettings::default());
    println!(
        "{count} shapes: {} suggestions of {} candidates, {} questions, {:.1} s, {:.0} % less time by the planner",
        outcome.advice.suggestions.len(),
        outcome.advice.candidates,
        outcome.questions,
        begun.elapsed().as_secs_f64(),
        100.0 * (1.0 - outcome.advice.after_ms / outcome.advice.before_ms)
    );
}
