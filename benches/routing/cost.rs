//! What the decision costs per statement. Batches of all cases take turns; printed is the median.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use pgweir::catalog::{
    Catalog, Column, Facts, PartitionOf, Partitioning, Strategy, Table, TableKind, Volatility,
};
use pgweir::route::literal::Value;
use pgweir::route::narrow::Work;
use pgweir::route::table::Router;
use pgweir::route::{RouteSettings, zone::Zone};
use pgweir::sql::edit;

const TEXTS: [(&str, &str); 6] = [
    ("date_trunc", "SELECT * FROM emissions WHERE date_trunc('day', recorded_at) = '2024-03-01'"),
    (
        "date_trunc, 250 bytes",
        r#"SELECT "e"."id", "e"."plant_id", "e"."recorded_at", "e"."co2", "e"."nox" FROM "emissions" "e" WHERE ("e"."plant_id" = 1042 AND "e"."state" = 'valid' AND date_trunc('day', "e"."recorded_at") = '2024-03-01') ORDER BY "e"."recorded_at" DESC LIMIT 21"#,
    ),
    ("now()", "SELECT count(*) FROM emissions WHERE plant_id = 7 AND recorded_at > now() - interval '1 day'"),
    (
        "keyset",
        "SELECT * FROM emissions WHERE (recorded_at, id) < ('2024-03-01 10:00+00', 77) ORDER BY 1 DESC LIMIT 10",
    ),
    (
        "a range as it is",
        "SELECT * FROM emissions WHERE recorded_at >= '2024-03-01' AND recorded_at < '2024-03-02'",
    ),
    ("another table", "SELECT * FROM plant WHERE id = 7 AND name = 'x' ORDER BY name LIMIT 21"),
];

const ROUNDS: usize = 401;
const BATCH: usize = 100;

fn router() -> Router {
    let column =
        |number, name: &str, type_oid| Column { number, name: name.into(), type_oid, ..Column::default() };
    let table =
        |oid, name: &str| Table { oid, schema: "public".into(), name: name.into(), ..Table::default() };
    let mut parent = table(1, "emissions");
    parent.kind = TableKind::Partitioned;
    parent.columns = vec![column(1, "id", 20), column(2, "recorded_at", 1184)];
    parent.partitioning = Some(Partitioning {
        strategy: Strategy::Range,
        columns: vec![Some(2)],
        key: "RANGE (recorded_at)".into(),
    });
    let mut tables = vec![parent, table(2, "plant")];
    for (at, bound) in [
        "FOR VALUES FROM ('2023-01-01') TO ('2024-01-01')",
        "FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
    ]
    .iter()
    .enumerate()
    {
        let mut partition = table(10 + at as u32, &format!("p{at}"));
        partition.partition_of = Some(PartitionOf { parent: 1, bound: (*bound).into() });
        tables.push(partition);
    }
    let builtins = BTreeMap::from([("date_trunc".to_owned(), Volatility::Stable)]);
    let facts =
        Facts { search_path: vec!["public".into()], schemas: vec!["public".into()], ..Facts::default() };
    let catalog = Catalog::new(facts, tables, Vec::new(), builtins, BTreeMap::new());
    Router::new(Arc::new(catalog), &RouteSettings::default())
}

/// Nanoseconds per call.
fn time(mut work: impl FnMut()) -> f64 {
    let begun = Instant::now();
    (0..BATCH).for_each(|_| work());
    begun.elapsed().as_nanos() as f64 / BATCH as f64
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

pub fn run() {
    let (router, mut work) = (router(), Work::default());
    let moment = router.moment(Zone::UTC, 1_700_000_000_000_000, None);
    let prepared =
        router.prepare("select * from emissions where date_trunc('day', recorded_at) = $1", &[], &moment);
    let prepared = prepared.unwrap();
    let mut figures = vec![[const { Vec::new() }; 2]; TEXTS.len() + 1];
    for _ in 0..ROUNDS {
        for ((_, text), [narrow, concerns]) in TEXTS.iter().zip(&mut figures) {
            narrow.push(time(|| {
                let narrowed = router.narrow(black_box(text), &moment, &mut work);
                drop(black_box(narrowed.map(|splices| edit::apply(text, &splices))));
            }));
            concerns.push(time(|| {
                black_box(router.concerns(black_box(text)));
            }));
        }
        figures[TEXTS.len()][0].push(time(|| {
            drop(black_box(prepared.bounds(&router, black_box(&[Value::Text("2024-03-01")]), &moment)));
        }));
    }
    println!("{:<24} {:>10} {:>12}  (ns)", "statement", "narrow", "is it ours");
    let names = TEXTS.iter().map(|(name, _)| *name).chain(["bounds of a Bind"]);
    for (name, [narrow, concerns]) in names.zip(figures) {
        let concerns = if concerns.is_empty() { String::new() } else { format!("{:.0}", median(concerns)) };
        println!("{name:<24} {:>10.0} {concerns:>12}", median(narrow));
    }
}
