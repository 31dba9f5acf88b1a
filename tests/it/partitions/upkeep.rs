//! Creating ahead: boundaries by the server's clock and time zones, partitions like their siblings, people's own
//! partitions, several pgweir at once, and what is refused.

use crate::cluster::{TestDatabase, ask, batch, connect};
use crate::support::{until, wait_for};

use super::{audited, bounds, command, done, refused, run, start, start_with, view};

const EVENTS: &str = "CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz NOT NULL, v text, \
    PRIMARY KEY (id, at)) PARTITION BY RANGE (at)";

const RULE: &str = "{table: public.events, column: at, interval: month, premake: 2}";

fn months(database: &TestDatabase, count: i32) -> Vec<String> {
    let name = |ahead: i32| {
        let query = format!(
            "SELECT to_char(m, '\"events_\"YYYY_MM \"(\"YYYY-MM-DD\") TO (\"') || to_char(m + interval '1 month', \
             'YYYY-MM-DD\")\"') FROM (SELECT date_trunc('month', now() AT TIME ZONE 'UTC') + {ahead} * interval '1 month') AS x(m)"
        );
        ask(&database.url(), &query)
    };
    (0..count).map(name).collect()
}

#[test]
fn partitions_are_created_ahead_once() {
    let database = TestDatabase::new("ahead");
    run(&database, &[EVENTS, "CREATE INDEX ON events (v)"]);
    let weir = start(&database, &[RULE]);
    let dry = done(&weir, &["maintain", "--dry-run"]);
    assert_eq!(dry.lines().count(), 3, "{dry}");
    assert!(dry.lines().all(|line| line.starts_with("create public.events_")), "{dry}");
    assert_eq!(bounds(&database, "events"), [""; 0]);
    done(&weir, &["maintain", "--table", "public.events"]);
    assert_eq!(bounds(&database, "events"), months(&database, 3));
    assert_eq!(done(&weir, &["maintain"]), "nothing to do\n");
    run(
        &database,
        &[
            "INSERT INTO events (at, v) SELECT now() + n * interval '20 days', 'x' FROM generate_series(0, 2) n",
        ],
    );
    let seen = view(&weir);
    assert_eq!(seen["partitions"].as_array().unwrap().len(), 3);
    assert_eq!(seen["partitions"][0]["state"], "current");
    assert!(seen["covered_s"].as_f64().unwrap() > 58.0 * 86_400.0, "{seen}");
    assert!(seen["error"].is_null() && seen["notes"].as_array().unwrap().is_empty(), "{seen}");
    assert_eq!(weir.metric("pgweir_partitions", &["state=\"future\""]), 2.0);
    assert_eq!(weir.metric("pgweir_partitions_created_total", &[]), 3.0);
    let lines = audited(&weir);
    let ddl: Vec<&str> = lines.iter().filter_map(|line| line["statement"].as_str()).collect();
    assert_eq!(ddl.iter().filter(|statement| statement.contains("ATTACH PARTITION")).count(), 6, "{ddl:?}");
    assert!(lines.iter().any(|line| line["what"] == "POST /api/database/partitions"), "{lines:?}");
    let list = done(&weir, &["list"]);
    assert!(list.contains("by month of at (UTC)") && list.contains("future"), "{list}");
}

#[test]
fn it_happens_by_itself_and_one_of_several_does_it() {
    let database = TestDatabase::new("alone");
    run(&database, &[EVENTS]);
    let every = "maintenance: {every: 1s}\n";
    let weirs: Vec<_> = (0..3).map(|_| start_with(&database, &[RULE], every, |_| {})).collect();
    until("the partitions", || (bounds(&database, "events") == months(&database, 3)).then_some(()));
    let metric = |name: &str| weirs.iter().map(|weir| weir.metric(name, &[])).sum::<f64>();
    wait_for("all have looked", || {
        weirs.iter().all(|weir| weir.metric("pgweir_partitions_looked_at_seconds", &[]) > 0.0)
    });
    assert_eq!(metric("pgweir_partitions_created_total"), 3.0);
    assert_eq!(metric("pgweir_schema_acts_failed_total"), 0.0);
    assert_eq!(metric("pgweir_partitions_failures_total"), 0.0);
    // A partition that somebody drops comes again.
    let last = months(&database, 3).pop().unwrap();
    run(&database, &[&format!("DROP TABLE {}", last.split(' ').next().unwrap())]);
    wait_for("it comes again", || bounds(&database, "events") == months(&database, 3));
}

#[test]
fn new_partitions_are_like_their_siblings() {
    let database = TestDatabase::new("alike");
    batch(&database.superuser_url(), &["DROP ROLE IF EXISTS part_reader", "CREATE ROLE part_reader"]);
    run(
        &database,
        &[
            "CREATE TABLE kind (id int PRIMARY KEY)",
            "CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz NOT NULL, kind int REFERENCES kind, \
             v text DEFAULT 'd', n int CHECK (n > 0), up text GENERATED ALWAYS AS (upper(v)) STORED, \
             PRIMARY KEY (id, at)) PARTITION BY RANGE (at)",
            "CREATE INDEX by_v ON events (v) WHERE n > 5",
            "CREATE UNIQUE INDEX once ON events (v, at)",
            "CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
            "CREATE TRIGGER noted BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION noted()",
            "CREATE TABLE first PARTITION OF events FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2026-02-01 00:00+00') \
             WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_enabled = off)",
            "ALTER TABLE first ALTER COLUMN v SET STATISTICS 500",
            "ALTER TABLE first ALTER COLUMN n SET (n_distinct = -0.5)",
            "ALTER TABLE first ALTER COLUMN v SET NOT NULL",
            "ALTER TABLE events ALTER COLUMN v SET NOT NULL",
            "ALTER TABLE first REPLICA IDENTITY USING INDEX first_v_at_idx",
            "GRANT SELECT ON first TO part_reader WITH GRANT OPTION",
            "GRANT UPDATE (v) ON first TO part_reader",
            "ALTER DEFAULT PRIVILEGES GRANT DELETE ON TABLES TO part_reader",
            "ALTER TABLE events ENABLE ROW LEVEL SECURITY",
        ],
    );
    let weir = start(&database, &["{table: events, column: at, interval: year, premake: 1}"]);
    done(&weir, &["maintain"]);
    let like = |table: &str| {
        let url = database.superuser_url();
        [
            format!("SELECT coalesce(reloptions::text, '') || relreplident::text || relpersistence::text FROM pg_class WHERE oid = '{table}'::regclass"),
            format!("SELECT reloptions::text FROM pg_class WHERE oid = (SELECT reltoastrelid FROM pg_class WHERE oid = '{table}'::regclass)"),
            format!("SELECT string_agg(attname || coalesce(attstattarget, -1)::text || coalesce(attoptions::text, '') || attnotnull || coalesce(attacl::text, ''), ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0"),
            format!("SELECT string_agg(regexp_replace(pg_get_indexdef(indexrelid), '^.*USING', '') || indisreplident, ',' ORDER BY 1) FROM (SELECT *, pg_get_indexdef(indexrelid) d FROM pg_index WHERE indrelid = '{table}'::regclass) i"),
            format!("SELECT string_agg(contype::text || pg_get_constraintdef(oid), ',' ORDER BY contype::text || pg_get_constraintdef(oid)) FROM pg_constraint WHERE conrelid = '{table}'::regclass"),
            format!("SELECT string_agg(x::text, ',' ORDER BY x::text) FROM pg_class, unnest(relacl) x WHERE oid = '{table}'::regclass"),
            format!("SELECT string_agg(tgname, ',') FROM pg_trigger WHERE tgrelid = '{table}'::regclass AND NOT tgisinternal"),
        ]
        .map(|query| ask(&url, &query))
    };
    let year = ask(&database.url(), "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY')");
    let next: i32 = year.parse::<i32>().unwrap() + 1;
    assert_eq!(like("first"), like(&format!("events_{next}")));
    let secure = |table: &str| {
        ask(
            &database.url(),
            &format!("SELECT relrowsecurity::text FROM pg_class WHERE oid = '{table}'::regclass"),
        )
    };
    assert_eq!(secure(&format!("events_{next}")), "true");
    batch(&database.superuser_url(), &["DROP OWNED BY part_reader", "DROP ROLE part_reader"]);
}

#[test]
fn every_kind_of_key_takes_rows_of_now() {
    let database = TestDatabase::new("kinds");
    let kinds = [
        ("tz", "timestamptz", "now()", "", "hour"),
        ("ts", "timestamp", "now() AT TIME ZONE 'Pacific/Apia'", "time_zone: Pacific/Apia", "day"),
        ("d", "date", "(now() AT TIME ZONE 'America/Havana')::date", "time_zone: America/Havana", "week"),
        ("s", "int", "extract(epoch FROM now())::int", "format: epoch_s", "month"),
        (
            "ms",
            "bigint",
            "(extract(epoch FROM now()) * 1000)::bigint",
            "format: epoch_ms, time_zone: Europe/Paris",
            "quarter",
        ),
        ("ns", "bigint", "(extract(epoch FROM now()) * 1000000000)::bigint", "format: epoch_ns", "day"),
        (
            "v7",
            "uuid",
            "(lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0') || '7abc8def0123456789ab')::uuid",
            "",
            "day",
        ),
        ("ulid", "text COLLATE \"C\"", "'01' || 'ZZZZZZZZZZZZZZZZZZZZZZZZ'", "format: ulid", "year"),
    ];
    let mut rules = Vec::new();
    for (name, kind, _, more, interval) in kinds {
        run(&database, &[&format!("CREATE TABLE {name} (k {kind} NOT NULL) PARTITION BY RANGE (k)")]);
        let more = if more.is_empty() { String::new() } else { format!(", {more}") };
        rules.push(format!("{{table: {name}, column: k, interval: {interval}, premake: 2{more}}}"));
    }
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let weir = start(&database, &rules);
    let said = done(&weir, &["maintain"]);
    for (name, _, now, _, _) in kinds.iter().filter(|kind| kind.0 != "ulid") {
        run(&database, &[&format!("INSERT INTO {name} VALUES ({now})")]);
        assert_eq!(bounds(&database, name).len(), 3, "{said}");
    }
    // 26 letters of base 32: the time of now, then anything.
    let ulid = "WITH ms AS (SELECT (extract(epoch FROM now()) * 1000)::bigint AS t) INSERT INTO ulid SELECT string_agg(\
        substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((t >> (5 * (9 - n))) & 31)::int + 1, 1), '' ORDER BY n) || \
        'ABCDEFGH01234567' FROM ms, generate_series(0, 9) n";
    run(&database, &[ulid]);
    assert_eq!(done(&weir, &["maintain", "--table", "ulid"]), "nothing to do\n");
}

#[test]
fn days_of_23_and_25_hours_are_the_servers() {
    let database = TestDatabase::new("zones");
    let zones = ["Europe/Paris", "America/Havana", "Antarctica/Casey"];
    let mut rules = Vec::new();
    for (at, zone) in zones.iter().enumerate() {
        run(&database, &[&format!("CREATE TABLE z{at} (k timestamptz NOT NULL) PARTITION BY RANGE (k)")]);
        rules.push(format!("{{table: z{at}, column: k, interval: day, premake: 370, time_zone: {zone}}}"));
    }
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let weir = start(&database, &rules);
    done(&weir, &["maintain"]);
    for (at, zone) in zones.iter().enumerate() {
        // Each boundary is a midnight of the zone, or the first moment after one that does not exist.
        let query = format!(
            "SELECT count(*) || ' ' || count(*) FILTER (WHERE (b AT TIME ZONE '{zone}')::time > '01:00') FROM \
             (SELECT (regexp_match(pg_get_expr(relpartbound, oid), 'FROM \\(''([^'']*)'))[1]::timestamptz AS b \
             FROM pg_class WHERE oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'z{at}'::regclass)) x"
        );
        assert_eq!(ask(&database.url(), &query), "371 0", "{zone}");
    }
}

#[test]
fn what_people_made_stays() {
    let database = TestDatabase::new("peoples");
    run(
        &database,
        &[
            EVENTS,
            // It ends in the middle of the next month, and one far away.
            "DO $$ DECLARE m timestamptz := date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'; BEGIN \
             EXECUTE format('CREATE TABLE odd PARTITION OF events FOR VALUES FROM (%L) TO (%L)', m - interval '40 days', \
             m + interval '40 days'); END $$",
            "CREATE TABLE far PARTITION OF events FOR VALUES FROM ('52217-01-01') TO ('52218-01-01')",
            "INSERT INTO events (at) VALUES ('52217-06-01')",
        ],
    );
    let weir = start(&database, &[RULE]);
    done(&weir, &["maintain"]);
    let found = bounds(&database, "events");
    // The rest of the next month, or of the one after it where months are short, and what follows.
    assert!((3..=5).contains(&found.len()), "{found:?}");
    assert!(found.iter().any(|line| line.starts_with("far ")), "{found:?}");
    assert_eq!(done(&weir, &["maintain"]), "nothing to do\n");
    run(
        &database,
        &["INSERT INTO events (at) SELECT now() + n * interval '10 days' FROM generate_series(0, 5) n"],
    );
}

#[test]
fn what_cannot_be_done_is_said() {
    let database = TestDatabase::new("refused");
    run(
        &database,
        &[
            "CREATE TABLE flat (at timestamptz NOT NULL)",
            "CREATE TABLE listed (at timestamptz NOT NULL) PARTITION BY LIST (at)",
            "CREATE TABLE counted (at bigint NOT NULL) PARTITION BY RANGE (at)",
            "CREATE TABLE zoned (at timestamptz NOT NULL) PARTITION BY RANGE (at)",
            "CREATE TABLE stray (at timestamptz NOT NULL) PARTITION BY RANGE (at)",
            "CREATE TABLE rest PARTITION OF stray DEFAULT",
            "INSERT INTO stray VALUES (now())",
        ],
    );
    let rule = |table: &str, more: &str| format!("{{table: {table}, column: at, interval: day{more}}}");
    let rules = [
        rule("flat", ""),
        rule("listed", ""),
        rule("counted", ""),
        rule("zoned", ", time_zone: Mars/Olympus"),
        rule("stray", ""),
        rule("gone", ""),
    ];
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let weir = start(&database, &rules);
    for (table, expected) in [
        ("flat", "not partitioned; `pgweir partitions convert public.flat"),
        ("listed", "not partitioned by RANGE (at)"),
        ("counted", "say by `format`"),
        ("zoned", "time zone \"Mars/Olympus\" not recognized"),
        ("stray", "default partition public.rest holds rows"),
        ("gone", "there is no table public.gone"),
        ("other", "is not in the section `partitions`"),
    ] {
        let text = refused(&weir, &["maintain", "--table", table]);
        assert!(text.contains(expected), "{table}: {text}");
    }
    // All of them at once: each is tried, and the outcome is a failure.
    let (good, text) = command(&weir, &["maintain"]);
    assert!(!good && text.contains("there is no table public.gone"), "{text}");
    run(&database, &["DELETE FROM stray"]);
    let text = done(&weir, &["maintain", "--table", "stray"]);
    assert_eq!(text.lines().count(), 4, "{text}");
    let notes = done(&weir, &["list", "--table", "public.stray"]);
    assert!(notes.contains("public.rest is a default partition"), "{notes}");
}

#[test]
fn writers_go_on_and_a_lock_is_waited_for_in_small_bits() {
    let database = TestDatabase::new("locked");
    run(
        &database,
        &[EVENTS, "CREATE TABLE first PARTITION OF events FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')"],
    );
    let weir = start_with(
        &database,
        &["{table: events, column: at, interval: year}"],
        "maintenance: {enabled: false, lock_timeout: 100ms}\n",
        |_| {},
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let holder = runtime.block_on(async {
        let holder = connect(&database.url()).await;
        holder.batch_execute("BEGIN; LOCK TABLE events IN SHARE UPDATE EXCLUSIVE MODE").await.unwrap();
        holder
    });
    std::thread::scope(|scope| {
        let made = scope.spawn(|| done(&weir, &["maintain"]));
        let timeouts = || audited(&weir).iter().filter(|line| line["result"] == "failed").count();
        wait_for("it has stepped back", || timeouts() > 0);
        // Meanwhile others write.
        run(&database, &["INSERT INTO events (at) VALUES ('2020-05-05')"]);
        runtime.block_on(holder.batch_execute("COMMIT")).unwrap();
        assert!(made.join().unwrap().contains("created"));
    });
    assert!(bounds(&database, "events").len() > 5);
}
