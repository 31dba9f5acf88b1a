//! Indexes on partitioned tables: built partition by partition under writers, gone on with after leftovers, and taken
//! away without what was there before.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::Value;

use super::acting::Site;
use crate::cluster::{TestDatabase, ask, batch, connect};
use crate::rawclient::bound;
use crate::support::{until, wait_for};

const TABLES: &[&str] = &[
    "CREATE TABLE events (id bigint, org int NOT NULL, at date NOT NULL, note text) PARTITION BY RANGE (at)",
    "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2024-02-01')",
    "CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2024-02-01') TO ('2024-03-01')",
    "CREATE TABLE events_3 PARTITION OF events FOR VALUES FROM ('2024-03-01') TO ('2024-04-01') \
        PARTITION BY RANGE (org)",
    "CREATE TABLE events_3a PARTITION OF events_3 FOR VALUES FROM (0) TO (250)",
    "CREATE TABLE events_3b PARTITION OF events_3 FOR VALUES FROM (250) TO (500)",
    "INSERT INTO events SELECT i, i % 500, date '2024-01-01' + i % 90, repeat('x', 60) FROM generate_series(1, 60000) i",
    "CREATE INDEX older ON events_2 (org)",
    "CHECKPOINT",
    "VACUUM (ANALYZE) events",
    "ALTER TABLE events OWNER TO app",
    "ALTER TABLE events_1 OWNER TO app",
    "ALTER TABLE events_2 OWNER TO app",
    "ALTER TABLE events_3 OWNER TO app",
    "ALTER TABLE events_3a OWNER TO app",
    "ALTER TABLE events_3b OWNER TO app",
];

fn site(database: &TestDatabase) -> (Site, String) {
    batch(&database.superuser_url(), TABLES);
    if super::has_hypopg() {
        batch(&database.superuser_url(), &["CREATE EXTENSION hypopg"]);
    }
    let site = Site::start(database, "observe: {parameters: true}\n");
    let mut client = site.weir.login(&database.name);
    for number in 0..30 {
        client.send(&bound("select * from events where org = $1", &[&(number * 13 % 500).to_string()]));
        assert_eq!(client.reply().error, None);
    }
    let id = site.suggested();
    (site, id)
}

/// Valid ones and all, of the whole and its parts.
fn indexes(database: &TestDatabase) -> String {
    let query = "SELECT string_agg(indrelid::regclass || ' ' || indexrelid::regclass || CASE WHEN indisvalid THEN '' \
        ELSE ' invalid' END || CASE WHEN relispartition THEN ' part' ELSE '' END, ', ' \
        ORDER BY indrelid::regclass::text, 1) FROM pg_index JOIN pg_class ON oid = indexrelid \
        WHERE indrelid::regclass::text LIKE 'events%'";
    ask(&database.superuser_url(), query)
}

const BUILT: &str = "events idx_events_org, events_1 idx_events_org_events_1 part, events_2 older part, \
    events_3 idx_events_org_events_3 part, events_3a idx_events_org_events_3a part, \
    events_3b idx_events_org_events_3b part";

fn executed(act: &Value) -> Vec<&str> {
    act["executed"].as_array().unwrap().iter().map(|sql| sql.as_str().unwrap()).collect()
}

#[test]
fn it_is_built_partition_by_partition_under_writers() {
    let database = TestDatabase::new("advice_parted");
    let (site, id) = site(&database);
    let runtime = super::runtime();
    let holder = runtime.block_on(connect(&database.url()));
    runtime.block_on(holder.batch_execute("BEGIN; UPDATE events_1 SET note = 'y' WHERE id = 1000")).unwrap();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = site.weir.login(&database.name);
            let mut count = 0;
            while !ended.load(Relaxed) {
                let day = 1 + count % 28;
                let text =
                    format!("insert into events values (-1, 7, '2024-0{}-{day:02}', 'new')", 1 + count % 3);
                assert_eq!(client.query(&text).error, None);
                count += 1;
            }
            count
        });
        let applying = scope.spawn(|| site.run(&["indexes", "apply", &id]));
        until("the first partition waits for a writer", || {
            site.act()["message"]
                .as_str()
                .filter(|told| told.starts_with("partition 1 of 4 (events_1): "))
                .map(drop)
        });
        runtime.block_on(holder.batch_execute("COMMIT")).unwrap();
        let text = applying.join().unwrap().unwrap();
        assert!(text.contains("verifying"), "{text}");
        ended.store(true, Relaxed);
        assert!(writer.join().unwrap() > 10);
    });
    assert_eq!(indexes(&database), BUILT);
    let act = site.act();
    let executed = executed(&act);
    assert_eq!(executed[0], "CREATE INDEX idx_events_org ON ONLY public.events (org)");
    let parts: Vec<&&str> = executed.iter().filter(|sql| sql.contains("CONCURRENTLY")).collect();
    assert_eq!(parts.len(), 3, "{executed:#?}");
    assert_eq!(executed.iter().filter(|sql| sql.contains("ATTACH PARTITION")).count(), 5, "{executed:#?}");
    // What was there before stays.
    site.run(&["indexes", "drop", &id]).unwrap();
    assert_eq!(indexes(&database), "events_2 older");
}

#[test]
fn leftovers_are_gone_on_from() {
    let database = TestDatabase::new("advice_parted_left");
    let (site, id) = site(&database);
    let left = [
        "CREATE INDEX idx_events_org ON ONLY events (org)",
        "CREATE INDEX idx_events_org_events_1 ON events_1 (org)",
        "CREATE INDEX idx_events_org_events_3a ON events_3a (org)",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_events_org_events_3a'::regclass",
    ];
    batch(&database.superuser_url(), &left);
    site.run(&["indexes", "apply", &id]).unwrap();
    assert_eq!(indexes(&database), BUILT);
    let act = site.act();
    let concurrently = executed(&act).into_iter().filter(|sql| sql.starts_with("CREATE INDEX CONC")).count();
    assert_eq!(concurrently, 2, "one was there and one was broken: {act:#}");
    // A build that cannot be done takes its parts away again.
    site.run(&["indexes", "drop", &id]).unwrap();
    wait_for("it is suggested again", || site.suggested() == id);
    batch(&database.superuser_url(), &["ALTER TABLE events_3b OWNER TO CURRENT_USER"]);
    let failed = site.run(&["indexes", "apply", &id]).unwrap_err();
    assert!(failed.contains("must be owner of table events_3b"), "{failed}");
    assert_eq!(indexes(&database), "events_2 older");
}
