//! A page of 50 records and three look-ups for each, as the users of real libraries write it (`page` in
//! `tests/clients/orm`): directly and through pgweir the programs print the same, and PostgreSQL counts the queries.
//! The tables' level is `fenced`. It must not know how the programs are written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Command, Stdio};

use pgweir::coalesce::prefetch::level::Level;
use pgweir::coalesce::settings::CoalesceSettings;
use pgweir::demo::cluster::Cluster;
use pgweir::pool::settings::PoolMode;
use serde_json::Value;

use crate::cluster::{APP_PASSWORD, APP_USER, ask, batch, counting};
use crate::drivers::{clients_dir, install};
use crate::pgweir::{Pgweir, pool};
use crate::support::http;

const TEMPLATE: &str = "pgweir_template";
const SCENARIO: &str = "page";

/// What issue 4 asks for, with the page's own query.
const COLD_MAX: u64 = 10;
const WARM_MAX: u64 = 4;

/// Stacks that take more on a new connection, and why.
const MORE: [(&str, u64, &str); 1] =
    [("sqlalchemy_asyncpg", 7, "a statement's first Bind comes behind a Flush, within an open pipeline")];

/// How soon it is found out what is asked depends on the machine, so a pgweir that was slow to learn may be followed by
/// another.
const ATTEMPTS: usize = 4;

/// A cluster that counts statements, with one database per stack.
struct House {
    cluster: Cluster,
    stacks: BTreeMap<String, Vec<String>>,
}

/// Queries for a page: directly, through a pgweir that has never seen it, and the second time.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Counts {
    direct: u64,
    cold: u64,
    warm: u64,
}

impl Counts {
    fn is_good(&self, stack: &str) -> bool {
        let more = MORE.iter().find(|(name, ..)| *name == stack).map(|(_, more, _)| *more);
        self.cold <= COLD_MAX && self.warm <= more.unwrap_or(WARM_MAX)
    }
}

impl House {
    fn new() -> House {
        install();
        let cluster = counting();
        let schema = std::fs::read_to_string(orm_dir().join("schema.sql")).unwrap();
        let grants = "GRANT ALL ON ALL TABLES IN SCHEMA public TO app";
        batch(&cluster.url(TEMPLATE), &["CREATE EXTENSION pg_stat_statements", &schema, grants]);
        let expected = std::fs::read_to_string(orm_dir().join("expected.json")).unwrap();
        let expected: Value = serde_json::from_str(&expected).unwrap();
        let command = |stack: &Value| -> Vec<String> {
            let words = stack["command"].as_array().unwrap().iter();
            words.map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        let stacks = expected["stacks"].as_object().unwrap().iter();
        let stacks: BTreeMap<String, Vec<String>> = stacks
            .filter(|(name, _)| wanted(name))
            .map(|(name, stack)| (name.clone(), command(stack)))
            .collect();
        for name in stacks.keys() {
            let create = format!("CREATE DATABASE {} TEMPLATE {TEMPLATE} OWNER {APP_USER}", database(name));
            batch(&cluster.url("postgres"), &[&create]);
        }
        House { cluster, stacks }
    }

    /// What a stack's program prints, and the data queries that PostgreSQL counted meanwhile.
    fn play(&self, stack: &str, port: u16) -> (String, u64) {
        ask(&self.cluster.url(&database(stack)), "SELECT pg_stat_statements_reset()");
        let cache = clients_dir().join(".cache");
        let words = self.stacks[stack].iter().map(|word| word.replace("CACHE", cache.to_str().unwrap()));
        let output = Command::new("timeout")
            .args(["-k", "5", "150"])
            .args(words)
            .arg(format!("postgres://{APP_USER}:{APP_PASSWORD}@127.0.0.1:{port}"))
            .args([stack, SCENARIO])
            .current_dir(orm_dir())
            .env("NODE_PATH", cache.join("orm/node_modules"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stack} cannot be played:\n{said}\n{complaints}");
        assert_eq!(said.lines().filter(|line| line.starts_with("row ")).count(), 50, "{stack}:\n{said}");
        (said, self.statements(stack).iter().map(|(calls, _)| calls).sum())
    }

    /// Data queries of a stack since its last run began.
    fn statements(&self, stack: &str) -> Vec<(u64, String)> {
        let query = "SELECT coalesce(json_agg(json_build_array(calls, query) ORDER BY calls DESC), '[]') \
                     FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid \
                     WHERE datname = current_database() AND query ~* '(readings|plants|meters|people)' \
                     AND query !~ '(pg_stat_statements|pg_attribute|pg_class)'";
        let rows: Value = serde_json::from_str(&ask(&self.cluster.url(&database(stack)), query)).unwrap();
        let row = |row: &Value| (row[0].as_u64().unwrap(), row[1].as_str().unwrap().to_owned());
        rows.as_array().unwrap().iter().map(row).collect()
    }

    /// A pgweir that has never seen a loop, and knows the catalogs, which it reads soon after first use.
    fn weir(&self, stacks: &[&String]) -> Pgweir {
        let weir = Pgweir::before(&self.cluster, PoolMode::Transaction, |settings| {
            settings.rules.coalesce = CoalesceSettings { default: Some(Level::Fenced), ..Default::default() };
            // What is found out about a look-up needs a server beside that of the transaction which asks.
            pool(settings, |pool| pool.min_size = 2);
        });
        for stack in stacks {
            let name = database(stack);
            weir.knows(&name, "readings");
        }
        weir
    }
}

fn database(stack: &str) -> String {
    format!("{stack}__{SCENARIO}")
}

fn orm_dir() -> std::path::PathBuf {
    clients_dir().join("orm")
}

/// `PGWEIR_ORM_STACKS` names those wanted, if not all.
fn wanted(stack: &str) -> bool {
    std::env::var("PGWEIR_ORM_STACKS").map_or(true, |names| names.split(',').any(|name| name == stack))
}

/// The table that is printed, with all that was counted of each stack.
fn table(counted: &BTreeMap<&String, Vec<Counts>>) -> String {
    let mut table = format!("\n{:<22} {:>7} {:>6} {:>6}\n", "stack", "direct", "cold", "warm");
    for (stack, counts) in counted {
        for Counts { direct, cold, warm } in counts {
            let _ = writeln!(table, "{stack:<22} {direct:>7} {cold:>6} {warm:>6}");
        }
    }
    table
}

#[test]
fn a_page_of_records_takes_four_queries_with_every_library() {
    let house = House::new();
    let direct: BTreeMap<&String, (String, u64)> =
        house.stacks.keys().map(|stack| (stack, house.play(stack, house.cluster.port()))).collect();
    let mut counted: BTreeMap<&String, Vec<Counts>> = BTreeMap::new();
    let mut left: Vec<&String> = house.stacks.keys().collect();
    let mut said = String::new();
    for _ in 0..ATTEMPTS {
        let weir = house.weir(&left);
        left.retain(|stack| {
            let (expected, direct) = &direct[stack];
            let mut run = |which: &str| {
                let (printed, count) = house.play(stack, weir.port());
                assert_eq!(&printed, expected, "{stack}, {which}");
                let _ = writeln!(said, "--- {stack}, {which}: {count}");
                for (calls, query) in house.statements(stack) {
                    let _ =
                        writeln!(said, "{calls} {}", query.split_whitespace().collect::<Vec<_>>().join(" "));
                }
                count
            };
            let counts = Counts { direct: *direct, cold: run("cold"), warm: run("warm") };
            counted.entry(stack).or_default().push(counts);
            !counts.is_good(stack)
        });
        if left.is_empty() {
            break;
        }
        if std::env::var_os("PGWEIR_ORM_EXPLAIN").is_some() {
            let (_, page) = http(weir.admin(), "GET", "/api/database/coalescing?limit=1000", &[]);
            eprintln!("{said}\n{page}");
        }
    }
    let table = table(&counted);
    // Past the test harness, which keeps what a passing test prints to itself.
    std::io::Write::write_all(&mut std::io::stderr(), table.as_bytes()).unwrap();
    assert!(left.is_empty(), "{COLD_MAX} are allowed cold, {WARM_MAX} warm:\n{table}\n{said}");
}
