//! The sample database loads completely, with the skew and the span of time it promises.

use pgweir::demo::sample;

use crate::cluster::{TestDatabase, ask, connect};

#[tokio::test]
async fn the_sample_loads_with_its_skew() {
    let database = TestDatabase::new("sample");
    let client = connect(&database.url()).await;
    assert!(!sample::is_loaded(&client).await.unwrap());
    let (mut begun, mut ended) = (Vec::new(), Vec::new());
    sample::load(
        &client,
        |name| begun.push(name),
        |step| ended.push(step.clone()),
    )
    .await
    .unwrap();
    assert!(sample::is_loaded(&client).await.unwrap());
    assert_eq!(
        begun,
        ended.iter().map(|step| step.name).collect::<Vec<_>>()
    );
    for step in &ended {
        println!(
            "{:<20} {:>8} rows {:>7.2} s",
            step.name,
            step.rows,
            step.took.as_secs_f64()
        );
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
        let url = database.url();
        let counted = ask(&url, &format!("SELECT count(*) FROM {table}"));
        assert_eq!(counted, rows.to_string(), "{table}");
        let step = ended.iter().find(|step| step.name == table).unwrap();
        assert_eq!(step.rows as i64, rows, "{table}");
        // The next row gets a key of its own.
        let next = ask(
            &url,
            &format!("SELECT nextval(pg_get_serial_sequence('{table}', 'id'))"),
        );
        assert_eq!(next, (rows + 1).to_string(), "{table}");
    }
    expect(
        &database,
        "SELECT max(recorded_at) - min(recorded_at) BETWEEN interval '1440 days' AND interval '1462 days' \
         AND max(recorded_at) <= now() FROM emissions_data",
    );
    // A tenth of the organizations has most of the data.
    expect(
        &database,
        "SELECT sum(n) FILTER (WHERE rank <= 20) > 0.4 * sum(n) FROM \
         (SELECT count(*) AS n, row_number() OVER (ORDER BY count(*) DESC) AS rank FROM emissions_data d \
          JOIN emission_sources s ON s.id = d.emission_source_id JOIN facilities f ON f.id = s.facility_id \
          GROUP BY f.organization_id) per_organization",
    );
    expect(
        &database,
        "SELECT count(*) = 10 AND bool_and(convalidated) FROM pg_constraint WHERE contype = 'f'",
    );
}

fn expect(database: &TestDatabase, query: &str) {
    assert_eq!(ask(&database.url(), query), "t", "{query}");
}
