//! Drivers with prepared statements across a conversion, and a dump of what comes of it. The drivers' part needs a
//! Python with psycopg 3 and asyncpg, named by PGWEIR_PYTHON; without one it is left out, and says so.

use std::process::{Command, Stdio};

use crate::cluster::{TestDatabase, ask, shared};

use super::{done, run, start};

const CHECKSUM: &str = "SELECT count(*) || ' ' || sum(hashtextextended(x::text, 3)::numeric) FROM t x";

#[test]
fn drivers_go_on_across_a_conversion_and_its_dump_restores() {
    let database = TestDatabase::new("converted_drivers");
    run(
        &database,
        &[
            "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL)",
            "INSERT INTO t (at) SELECT now() - n * interval '1 hour' FROM generate_series(1, 5000) n",
        ],
    );
    let weir = start(&database, &[]);
    let client = std::env::var("PGWEIR_PYTHON").ok().map(|python| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/python/conversion_client.py");
        let mut command = Command::new(python);
        command.args([script, &weir.url(&database.name)]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    });
    if client.is_some() {
        crate::support::wait_for("the drivers write", || {
            ask(&database.url(), "SELECT count(*)::text FROM t").parse::<u32>().unwrap() > 5_100
        });
    } else {
        println!("left out: PGWEIR_PYTHON names no Python with psycopg and asyncpg");
    }
    done(&weir, &["convert", "t", "--column", "at", "--interval", "month"]);
    done(&weir, &["finish", "t"]);
    if let Some(mut client) = client {
        let written = |more: u32, from: u32| {
            let count = || ask(&database.url(), "SELECT count(*)::text FROM t").parse::<u32>().unwrap();
            crate::support::wait_for("the drivers go on", || count() > from + more);
        };
        written(100, ask(&database.url(), "SELECT count(*)::text FROM t").parse().unwrap());
        drop(client.stdin.take());
        let output = client.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}");
        let counts: Vec<u32> = said.split_whitespace().map(|count| count.parse().unwrap()).collect();
        assert!(counts.len() == 2 && counts.iter().all(|count| *count > 20), "{said}");
    }
    let copy = TestDatabase::new("converted_copy");
    let program = |name: &str| Command::new(shared().programs().path(name));
    let dump = program("pg_dump").arg(database.superuser_url()).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let file = weir.file("dump.sql");
    std::fs::write(&file, &dump.stdout).unwrap();
    let restored = program("psql")
        .args([&copy.superuser_url(), "-q", "-v", "ON_ERROR_STOP=1", "-f"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let partitions = "SELECT count(*)::text FROM pg_inherits WHERE inhparent = 't'::regclass";
    for query in [CHECKSUM, partitions] {
        assert_eq!(ask(&copy.url(), query), ask(&database.url(), query), "{query}");
    }
    run(&copy, &["INSERT INTO t (at) VALUES (now())"]);
}
