//! Index advice against a real PostgreSQL: the golden cases of `tests/data/advice`.

mod acting;
mod auto;
mod cases;
mod parted;
mod restart;
mod running;
mod saas;

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgweir::advise::{AdviseSettings, Confidence};
use pgweir::auth::Secret;
use pgweir::auth::credential::ServerLogin;
use pgweir::maintain::index::gather::{Shape, from_sql, merge, statements};
use pgweir::maintain::index::{self, Outcome};
use pgweir::pool::connector::Connector;
use pgweir::pool::settings::ServerAddress;
use pgweir::probe::{Probe, ProbeSettings, Target};
use pgweir::tls::ServerTls;
use tokio::runtime::Runtime;

use crate::cluster::{TestDatabase, ask, batch, shared};

/// Everything together takes 25 s on a machine that does nothing else; this is for one that does much else.
const CASES_MAX: Duration = Duration::from_secs(600);

pub fn has_hypopg() -> bool {
    shared().programs().has_library("hypopg")
}

/// Asks as the superuser, on connections of its own.
pub fn probe(database: &TestDatabase) -> Probe {
    let cluster = shared();
    let target = Target {
        database: database.name.clone(),
        servers: vec![ServerAddress::Tcp { host: "127.0.0.1".to_owned(), port: cluster.port() }],
        login: ServerLogin {
            user: cluster.superuser().to_owned(),
            secret: Some(Secret::Plain(cluster.password().to_owned())),
            learned: Default::default(),
        },
        tls: Arc::new(Connector::new(&ServerTls::default()).unwrap()),
        connect: Duration::from_secs(20),
    };
    Probe::new(target, &ProbeSettings::default()).unwrap()
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Tables of a few megabytes, so that a case is quick.
pub fn small() -> AdviseSettings {
    AdviseSettings { min_table_bytes: 200_000, ..AdviseSettings::default() }
}

pub fn advise(database: &TestDatabase, shapes: Vec<Shape>, settings: &AdviseSettings) -> Outcome {
    let (runtime, statements) = (runtime(), statements(merge(shapes)));
    let probe = probe(database);
    index::run(&runtime, &probe, &statements, settings).unwrap()
}

#[test]
fn golden_cases() {
    if !has_hypopg() {
        println!("skipped: this PostgreSQL has no HypoPG");
        return;
    }
    let begun = Instant::now();
    let (right, wrong) = cases::play_all();
    println!("{right} of {} cases are right, in {:?}", right + wrong.len(), begun.elapsed());
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert!(begun.elapsed() < CASES_MAX, "{:?}", begun.elapsed());
}

const VOLATILE: &[&str] = &[
    "CREATE TABLE t AS SELECT i AS a, i % 1000 AS b, repeat('x', 100) AS c FROM generate_series(1, 20000) i",
    "CREATE SEQUENCE ran",
    "CREATE FUNCTION spy(int) RETURNS bool LANGUAGE sql VOLATILE AS 'SELECT nextval(''ran'') > 0'",
    "VACUUM (ANALYZE) t",
];

#[test]
fn nothing_is_executed_to_judge_it() {
    let database = TestDatabase::new("advice_spy");
    batch(&database.superuser_url(), VOLATILE);
    if has_hypopg() {
        batch(&database.superuser_url(), &["CREATE EXTENSION hypopg"]);
    }
    let mut shapes = from_sql("select * from t where b = 7 and spy(a)", &[]);
    shapes.extend(from_sql("delete from t where b = 8 and spy(a)", &[]));
    shapes.extend(from_sql("insert into t select a, b, c from t where b = 9 and spy(b)", &[]));
    shapes.extend(from_sql("select *, nextval('ran') from t where b = $1", &[Some("5")]));
    let outcome = advise(&database, shapes, &small());
    assert_eq!(outcome.advice.suggestions.len(), 1, "{outcome:#?}");
    assert_eq!(outcome.advice.suggestions[0].definition, "(b)");
    assert_eq!(ask(&database.superuser_url(), "SELECT is_called FROM ran"), "f");
    assert_eq!(ask(&database.superuser_url(), "SELECT count(*) FROM t"), "20000");
    let confidence = if has_hypopg() { Confidence::High } else { Confidence::Low };
    assert_eq!(outcome.advice.suggestions[0].confidence, confidence);
}

/// What the first users saved with composite indexes.
const SAVED_PERCENT: f64 = 71.0;
const BUDGET: u64 = 200 << 20;

/// Measured times vary; what is worse than this is slower.
const SLOWER_MS: f64 = 0.3;

#[test]
fn the_sample_gets_faster_by_what_is_advised() {
    if !has_hypopg() {
        println!("skipped: this PostgreSQL has no HypoPG");
        return;
    }
    let cluster = pgweir::demo::cluster::Cluster::start(Default::default()).unwrap();
    let report = saas::run(&cluster, BUDGET);
    report.print();
    assert!(report.shapes.len() >= 18);
    assert!(report.saved_percent() >= SAVED_PERCENT, "{:.1} %", report.saved_percent());
    assert!(report.real_bytes <= BUDGET, "{} bytes", report.real_bytes);
    let slower = |shape: &&saas::Measured| shape.after > shape.before * 1.05 + SLOWER_MS;
    let slower: Vec<_> = report.shapes.iter().filter(slower).collect();
    assert!(slower.is_empty(), "{slower:?}");
    let missing = report.missing(include_str!("../data/advice/saas_held_back.txt"));
    assert!(missing.is_empty(), "nothing is as good as {missing:?}");
}
