//! TPC-H without any index: planner costs with what is advised against costs without, for several budgets, with
//! HypoPG's own sizes, so that the figures compare with those of other advisers. With `execute`, what is advised
//! is built and the queries run.

use std::fmt::Display;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use pgweir::demo::cluster::Cluster;
use pgweir::maintain::index::gather::{Shape, from_sql};
use tokio_postgres::Client;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};

use crate::proved;
use crate::saas::{advise, connect};

const TABLES: &str = "
CREATE TABLE nation (n_nationkey int, n_name char(25), n_regionkey int, n_comment varchar(152));
CREATE TABLE region (r_regionkey int, r_name char(25), r_comment varchar(152));
CREATE TABLE part (p_partkey int, p_name varchar(55), p_mfgr char(25), p_brand char(10), p_type varchar(25),
    p_size int, p_container char(10), p_retailprice decimal(15,2), p_comment varchar(23));
CREATE TABLE supplier (s_suppkey int, s_name char(25), s_address varchar(40), s_nationkey int, s_phone char(15),
    s_acctbal decimal(15,2), s_comment varchar(101));
CREATE TABLE partsupp (ps_partkey int, ps_suppkey int, ps_availqty int, ps_supplycost decimal(15,2),
    ps_comment varchar(199));
CREATE TABLE customer (c_custkey int, c_name varchar(25), c_address varchar(40), c_nationkey int, c_phone char(15),
    c_acctbal decimal(15,2), c_mktsegment char(10), c_comment varchar(117));
CREATE TABLE orders (o_orderkey int, o_custkey int, o_orderstatus char(1), o_totalprice decimal(15,2),
    o_orderdate date, o_orderpriority char(15), o_clerk char(15), o_shippriority int, o_comment varchar(79));
CREATE TABLE lineitem (l_orderkey int, l_partkey int, l_suppkey int, l_linenumber int, l_quantity decimal(15,2),
    l_extendedprice decimal(15,2), l_discount decimal(15,2), l_tax decimal(15,2), l_returnflag char(1),
    l_linestatus char(1), l_shipdate date, l_commitdate date, l_receiptdate date, l_shipinstruct char(25),
    l_shipmode char(10), l_comment varchar(44))";

/// Megabytes, and the relative cost that has to be reached.
const GOALS: [(u64, f64); 3] = [(500, 0.65), (1000, 0.545), (2000, 0.49)];

pub fn run(cluster: &Cluster, scale: f64, execute: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(loaded(cluster, scale));
    let queries: Vec<(i32, String)> =
        PARAMETERS.iter().map(|(number, _)| (*number, query(*number))).collect();
    println!(
        "{:>9} {:>8} {:>8} {:>9} {:>9} {:>10} {:>9}",
        "budget MB", "relative", "goal", "indexes", "HypoPG MB", "questions", "seconds"
    );
    let mut last = None;
    for (budget, goal) in GOALS {
        let settings = crate::settings(budget);
        let begun = Instant::now();
        let outcome = advise(&runtime, cluster, "tpch", shapes(&queries), &settings);
        let relative = outcome.advice.after_ms / outcome.advice.before_ms;
        println!(
            "{budget:>9} {relative:>8.3} {goal:>8.3} {:>9} {:>9} {:>10} {:>9.1}",
            outcome.advice.suggestions.len(),
            outcome.advice.size_bytes >> 20,
            outcome.questions,
            begun.elapsed().as_secs_f64()
        );
        let texts: Vec<String> = queries.iter().map(|(_, sql)| sql.clone()).collect();
        let (before, after, megabytes) = proved::checked(&runtime, &client, &texts, &outcome);
        println!(
            "            asked anew: {before:.0} → {after:.0}, {:.3}, {megabytes:.0} MB",
            after / before
        );
        for one in &outcome.advice.suggestions {
            println!("            {} {} {} MB", one.table, one.definition, one.size_bytes >> 20);
        }
        last.get_or_insert(outcome);
    }
    if execute && let Some(outcome) = last {
        println!("\nexecuted with the first set, one index after the other");
        let named = |(number, sql): &(i32, String)| {
            (format!("Q{number}"), sql.clone(), from_sql(sql, &[])[0].fingerprint)
        };
        proved::run(&runtime, &client, queries.iter().map(named).collect(), &outcome);
    }
}

/// Queries, with the parameters of the specification's validation run. 2, 17 and 20 are left out, as in the
/// comparison.
const PARAMETERS: [(i32, &[&str]); 19] = [
    (1, &["90"]),
    (3, &["BUILDING", "1995-03-15"]),
    (4, &["1993-07-01"]),
    (5, &["ASIA", "1994-01-01"]),
    (6, &["1994-01-01", "0.06", "24"]),
    (7, &["FRANCE", "GERMANY"]),
    (8, &["BRAZIL", "AMERICA", "ECONOMY ANODIZED STEEL"]),
    (9, &["green"]),
    (10, &["1993-10-01"]),
    (11, &["GERMANY", "0.0001"]),
    (12, &["MAIL", "SHIP", "1994-01-01"]),
    (13, &["special", "requests"]),
    (14, &["1995-09-01"]),
    (15, &["1996-01-01"]),
    (16, &["Brand#45", "MEDIUM POLISHED", "49", "14", "23", "45", "19", "3", "36", "9"]),
    (18, &["300"]),
    (19, &["Brand#12", "Brand#23", "Brand#34", "1", "10", "20"]),
    (21, &["SAUDI ARABIA"]),
    (22, &["13", "31", "23", "29", "30", "18", "17"]),
];

/// The query as PostgreSQL takes it: Q15 comes with a view, which stands here as a WITH query.
fn query(number: i32) -> String {
    let mut text = tpchgen::q_and_a::queries::query(number).unwrap().to_owned();
    if number == 15 {
        let (view, rest) = text.split_once(';').unwrap();
        let (head, body) = view.split_once(" as").unwrap();
        let head = head.replace("create view revenue:s", "with revenue");
        let rest = rest.split_once(';').unwrap().0.replace("revenue:s", "revenue");
        text = format!("{head} as ({body}) {rest}");
    }
    let (_, parameters) = PARAMETERS.iter().find(|(known, _)| *known == number).unwrap();
    for (at, value) in parameters.iter().enumerate().rev() {
        text = text.replace(&format!(":{}", at + 1), value);
    }
    text.replace(" day (3)", " day").trim().trim_end_matches(';').to_owned()
}

fn shapes(queries: &[(i32, String)]) -> Vec<Shape> {
    let one = |(_, sql): &(i32, String)| {
        let mut shapes = from_sql(sql, &[]);
        assert_eq!(shapes.len(), 1, "{sql}");
        shapes.iter_mut().for_each(|shape| shape.whole.push(sql.clone()));
        shapes
    };
    queries.iter().flat_map(one).collect()
}

async fn loaded(cluster: &Cluster, scale: f64) -> Client {
    connect(cluster, "postgres").await.batch_execute("CREATE DATABASE tpch").await.unwrap();
    let client = connect(cluster, "tpch").await;
    client.batch_execute(TABLES).await.unwrap();
    client.batch_execute("CREATE EXTENSION hypopg").await.unwrap();
    let folder = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let at = folder.path();
    let begun = Instant::now();
    copy(&client, at, "nation", NationGenerator::new(scale, 1, 1).iter()).await;
    copy(&client, at, "region", RegionGenerator::new(scale, 1, 1).iter()).await;
    copy(&client, at, "part", PartGenerator::new(scale, 1, 1).iter()).await;
    copy(&client, at, "supplier", SupplierGenerator::new(scale, 1, 1).iter()).await;
    copy(&client, at, "partsupp", PartSuppGenerator::new(scale, 1, 1).iter()).await;
    copy(&client, at, "customer", CustomerGenerator::new(scale, 1, 1).iter()).await;
    copy(&client, at, "orders", OrderGenerator::new(scale, 1, 1).iter()).await;
    copy(&client, at, "lineitem", LineItemGenerator::new(scale, 1, 1).iter()).await;
    client.batch_execute("CHECKPOINT").await.unwrap();
    client.batch_execute("VACUUM (ANALYZE)").await.unwrap();
    println!("TPC-H at scale {scale}, loaded in {:.0} s", begun.elapsed().as_secs_f64());
    client
}

/// By way of a file that the server reads.
async fn copy(client: &Client, folder: &Path, table: &str, rows: impl Iterator<Item = impl Display>) {
    let path = folder.join(table);
    let mut file = BufWriter::new(std::fs::File::create(&path).unwrap());
    for row in rows {
        let line = row.to_string();
        writeln!(file, "{}", line.trim_end_matches('|')).unwrap();
    }
    drop(file);
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let copy = format!("COPY {table} FROM '{}' WITH (DELIMITER '|')", path.display());
    client.batch_execute(&copy).await.unwrap();
    std::fs::remove_file(path).unwrap();
}
