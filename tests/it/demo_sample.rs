//! The sample database loads completely, with the skew and the span of time it promises, and the workload
//! of the tour runs on it without a single failure.

use std::time::Duration;

use pgweir::demo::cluster::{Cluster, ClusterOptions};
use pgweir::demo::sample;
use pgweir::demo::upstream::Upstream;
use pgweir::demo::workload::{self, DIRECT_NAME, WORKLOADS, Way};
use tokio_postgres::Client;

use crate::cluster::ask;

/// A cluster of its own, because the workload takes 150 connections.
#[tokio::test]
async fn the_sample_loads_and_the_workload_runs_on_it() {
    let cluster = Cluster::start(ClusterOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let upstream = Upstream::in_cluster(&cluster).await.unwrap();
    let client = upstream.connect("app", "test").await.unwrap();
    check_load(&client, &cluster.url("app")).await;
    check_workloads(&client, &upstream).await;
}

async fn check_workloads(client: &Client, upstream: &Upstream) {
    let way =
        Way { config: upstream.config(DIRECT_NAME), counted: "application_name = 'pgweir-demo-direct'" };
    for workload in WORKLOADS {
        let outcome = workload::run(workload, &way, client, Duration::from_secs(1)).await.unwrap();
        assert_eq!(outcome.errors, [].into(), "{}", workload.name);
        assert!(outcome.latencies_us.len() > workload.clients, "{}", workload.name);
        if !workload.reconnect {
            let clients = workload.clients as i64;
            assert_eq!(outcome.server_connections, clients, "{}", workload.name);
        }
    }
    // The writes have arrived: more rows than the sample holds.
    let query = "SELECT (SELECT count(*) > 80000 FROM messages) \
                 AND (SELECT count(*) > 120000 FROM security_audit_logs)";
    assert!(client.query_one(query, &[]).await.unwrap().get::<_, bool>(0));
}

async fn check_load(client: &Client, url: &str) {
    assert!(!sample::is_loaded(client).await.unwrap());
    let (mut begun, mut ended) = (Vec::new(), Vec::new());
    sample::load(client, |name| begun.push(name), |step| ended.push(step.clone())).await.unwrap();
    assert!(sample::is_loaded(client).await.unwrap());
    assert_eq!(begun, ended.iter().map(|step| step.name).collect::<Vec<_>>());
    for step in &ended {
        println!("{:<20} {:>8} rows {:>7.2} s", step.name, step.rows, step.took.as_secs_f64());
    }
    for (table, rows) in [
        ("organizations", 200),
        ("users", sample::USERS),
        ("facilities", 1200),
        ("emission_sources", sample::EMISSION_SOURCES),
        ("emissions_data", sample::EMISSIONS_DATA),
        ("conversations", sample::CONVERSATIONS),
        ("messages", 80_000),
        ("security_audit_logs", 120_000),
    ] {
        let counted = ask(url, &format!("SELECT count(*) FROM {table}"));
        assert_eq!(counted, rows.to_string(), "{table}");
        let step = ended.iter().find(|step| step.name == table).unwrap();
        assert_eq!(step.rows as i64, rows, "{table}");
        // The next row gets a key of its own.
        let next = ask(url, &format!("SELECT nextval(pg_get_serial_sequence('{table}', 'id'))"));
        assert_eq!(next, (rows + 1).to_string(), "{table}");
    }
    expect(
        url,
        "SELECT max(recorded_at) - min(recorded_at) BETWEEN interval '1440 days' AND interval '1462 days' \
         AND max(recorded_at) <= now() FROM emissions_data",
    );
    // A tenth of the organizations has most of the data.
    expect(
        url,
        "SELECT sum(n) FILTER (WHERE rank <= 20) > 0.4 * sum(n) FROM \
         (SELECT count(*) AS n, row_number() OVER (ORDER BY count(*) DESC) AS rank FROM emissions_data d \
          JOIN emission_sources s ON s.id = d.emission_source_id JOIN facilities f ON f.id = s.facility_id \
          GROUP BY f.organization_id) per_organization",
    );
    expect(url, "SELECT count(*) = 10 AND bool_and(convalidated) FROM pg_constraint WHERE contype = 'f'");
}

fn expect(url: &str, query: &str) {
    assert_eq!(ask(url, query), "t", "{query}");
}

#[tokio::test]
async fn a_running_server_gets_one_database_and_nothing_else() {
    let cluster = Cluster::start(ClusterOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let url = cluster.url("postgres");
    let upstream = Upstream::at(&url).await.unwrap();
    let again = Upstream::at(&url).await.unwrap();
    assert_eq!(upstream.database, again.database);
    let client = upstream.connect(&upstream.database, "test").await.unwrap();
    assert!(!sample::is_loaded(&client).await.unwrap());
    let query = "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database \
                 WHERE NOT datistemplate";
    assert_eq!(ask(&url, query), "pgweir_demo postgres");
    assert_eq!(ask(&url, "SELECT count(*) FROM pg_roles WHERE rolcanlogin"), "1");
}

#[tokio::test]
async fn a_role_that_may_not_create_databases_is_told_so() {
    let cluster = Cluster::start(ClusterOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let url = crate::cluster::app_url(&cluster, "postgres");
    crate::cluster::prepare(&cluster);
    let error = Upstream::at(&url).await.err().unwrap();
    assert!(error.contains("CREATEDB"), "{error}");
    assert!(!error.contains(crate::cluster::APP_PASSWORD), "{error}");
}
