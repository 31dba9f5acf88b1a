//! Loops as an application runs them through a driver (tokio-postgres): one inside of another, and an upload that looks
//! up what its own input names and inserts. The answers and the rows are those of a direct connection; PostgreSQL counts
//! the queries. The tables' level is `fenced`, INSERTs are `deferred`.

use std::fmt::Debug;

use pgweir::coalesce::prefetch::level::Level;
use pgweir::coalesce::settings::{CoalesceSettings, Insert};
use pgweir::demo::cluster::Cluster;
use pgweir::pool::settings::PoolMode;
use tokio_postgres::{Client, Statement};

use crate::cluster::{app_url, ask, batch, connect, counting};
use crate::pgweir::{Pgweir, pool};

const DIRECT: &str = "pgweir_template";
const THROUGH: &str = "driven";

const SCHEMA: &[&str] = &[
    "CREATE EXTENSION pg_stat_statements",
    "CREATE TABLE organizations (id int PRIMARY KEY, name text); \
     INSERT INTO organizations SELECT n, 'organization ' || n FROM generate_series(1, 2000) n",
    "CREATE TABLE facilities (id int PRIMARY KEY, organization_id int REFERENCES organizations, name text); \
     INSERT INTO facilities SELECT n * 3, n * 7 % 2000 + 1, 'facility ' || n FROM generate_series(1, 20000) n; \
     CREATE INDEX ON facilities (organization_id)",
    "CREATE TABLE meters (id bigint PRIMARY KEY, facility_id int REFERENCES facilities, kind varchar(20), since date); \
     INSERT INTO meters SELECT n, n * 3, 'kind ' || n % 9, '2026-01-01'::date + n % 400 FROM generate_series(1, 20000) n; \
     CREATE INDEX ON meters (facility_id)",
    "CREATE TABLE sites (id int PRIMARY KEY, code text UNIQUE, name text); \
     INSERT INTO sites SELECT n, 'site-' || n, 'Site ' || n FROM generate_series(1, 200) n",
    "CREATE TABLE sources (id int PRIMARY KEY, factor float8); \
     INSERT INTO sources SELECT n, n / 8.0 FROM generate_series(1, 300) n",
    "CREATE TABLE users (id uuid PRIMARY KEY, email text); \
     INSERT INTO users SELECT md5(n::text)::uuid, n || '@example.org' FROM generate_series(1, 100) n",
    "CREATE TABLE uploads (nr int, site_id int REFERENCES sites, source_id int REFERENCES sources, \
     user_id uuid REFERENCES users, amount float8, note text)",
    "ANALYZE",
];

/// How soon it is found out what is asked depends on the machine.
const ROUNDS: i32 = 8;
const ATTEMPTS: usize = 3;

struct House {
    cluster: Cluster,
    weir: Pgweir,
}

impl House {
    fn new() -> House {
        let cluster = counting();
        batch(&cluster.url(DIRECT), SCHEMA);
        batch(&cluster.url(DIRECT), &["GRANT ALL ON ALL TABLES IN SCHEMA public TO app"]);
        let copy = format!("CREATE DATABASE {THROUGH} TEMPLATE {DIRECT} OWNER app");
        batch(&cluster.url("postgres"), &[&copy]);
        let weir = Pgweir::before(&cluster, PoolMode::Transaction, |settings| {
            settings.rules.coalesce = CoalesceSettings {
                default: Some(Level::Fenced),
                insert: Insert::Deferred,
                ..Default::default()
            };
            // What is found out about a look-up needs a server beside that of the transaction which asks.
            pool(settings, |pool| pool.min_size = 3);
        });
        let house = House { cluster, weir };
        house.weir.knows(THROUGH, "uploads");
        house
    }

    fn reset(&self) {
        ask(&self.cluster.url(THROUGH), "SELECT pg_stat_statements_reset()");
    }

    /// Data queries of clients of pgweir since the last reset.
    fn queries(&self) -> u64 {
        let count = "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid \
                     WHERE datname = current_database() AND query !~ 'pg_(stat_statements|catalog.pg_)' \
                     AND query ~ '(organizations|facilities|meters|sites|sources|users|uploads)'";
        ask(&self.cluster.url(THROUGH), count).parse().unwrap()
    }

    /// Plays a scenario on a direct connection and through pgweir, again and again: answers must be equal. Returns the
    /// queries of each round.
    async fn rounds<T: PartialEq + Debug>(&self, play: impl AsyncFn(&mut Client, i32) -> T) -> Vec<u64> {
        let mut direct = connect(&app_url(&self.cluster, DIRECT)).await;
        let mut through = connect(&self.weir.url(THROUGH)).await;
        let mut counts = Vec::new();
        for round in 0..ROUNDS {
            self.reset();
            let answers = play(&mut through, round).await;
            counts.push(self.queries());
            assert_eq!(answers, play(&mut direct, round).await, "round {round}");
        }
        counts
    }
}

/// 50 organizations, the ten facilities of each, and a look-up for each facility: 551 statements.
async fn nested(client: &mut Client, round: i32) -> Vec<String> {
    let organizations = client
        .prepare("SELECT id, name FROM organizations WHERE id > $1 ORDER BY id LIMIT 50")
        .await
        .unwrap();
    let facilities = client
        .prepare("SELECT id, name FROM facilities WHERE organization_id = $1 ORDER BY id")
        .await
        .unwrap();
    let meters =
        client.prepare("SELECT id, kind, since::text FROM meters WHERE facility_id = $1").await.unwrap();
    let mut said = Vec::new();
    for organization in client.query(&organizations, &[&(round * 60)]).await.unwrap() {
        let (id, name): (i32, String) = (organization.get(0), organization.get(1));
        for facility in client.query(&facilities, &[&id]).await.unwrap() {
            let (id, facility): (i32, String) = (facility.get(0), facility.get(1));
            for meter in client.query(&meters, &[&id]).await.unwrap() {
                let (id, kind, since): (i64, String, String) = (meter.get(0), meter.get(1), meter.get(2));
                said.push(format!("{name} {facility} {id} {kind} {since}"));
            }
        }
    }
    said
}

/// 50 records in one transaction, and for each three look-ups by what the application's input names, and an INSERT.
async fn upload(client: &mut Client, round: i32) -> Vec<String> {
    let site = client.prepare("SELECT id, name FROM sites WHERE code = $1").await.unwrap();
    let source = client.prepare("SELECT id, factor FROM sources WHERE id = $1").await.unwrap();
    let user = client.prepare("SELECT email FROM users WHERE id = $1").await.unwrap();
    let insert: Statement = client
        .prepare("INSERT INTO uploads (nr, site_id, source_id, user_id, amount, note) VALUES ($1, $2, $3, $4, $5, $6)")
        .await
        .unwrap();
    let mut said = Vec::new();
    let transaction = client.transaction().await.unwrap();
    for at in 0..50 {
        let nr = round * 50 + at;
        let code = format!("site-{}", nr * 37 % 200 + 1);
        let site = transaction.query_one(&site, &[&code]).await.unwrap();
        let source = transaction.query_one(&source, &[&(nr * 41 % 300 + 1)]).await.unwrap();
        let key = uuid(nr * 43 % 100 + 1);
        let user = transaction.query_one(&user, &[&key]).await.unwrap();
        let (email, factor): (String, f64) = (user.get(0), source.get(1));
        let (site_id, source_id): (i32, i32) = (site.get(0), source.get(0));
        let amount = factor * 2.0;
        let done = transaction.execute(&insert, &[&nr, &site_id, &source_id, &key, &amount, &email]).await;
        said.push(format!("{} {email} {factor} {}", site.get::<_, String>(1), done.unwrap()));
    }
    transaction.commit().await.unwrap();
    said
}

/// The key of a user, as the schema makes it.
fn uuid(n: i32) -> Uuid {
    Uuid(<md5::Md5 as md5::Digest>::digest(n.to_string()).into())
}

/// tokio-postgres without its `uuid` feature.
#[derive(Debug)]
struct Uuid([u8; 16]);

impl tokio_postgres::types::ToSql for Uuid {
    fn to_sql(
        &self,
        _: &tokio_postgres::types::Type,
        out: &mut bytes::BytesMut,
    ) -> Result<tokio_postgres::types::IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(tokio_postgres::types::IsNull::No)
    }

    fn accepts(kind: &tokio_postgres::types::Type) -> bool {
        *kind == tokio_postgres::types::Type::UUID
    }

    tokio_postgres::types::to_sql_checked!();
}

#[tokio::test]
async fn a_loop_in_a_loop_takes_three_queries() {
    let mut seen = Vec::new();
    for _ in 0..ATTEMPTS {
        let counts = House::new().rounds(nested).await;
        println!("nested: {counts:?} data queries for 551");
        if counts[1..].iter().any(|count| *count <= 3) && counts[0] <= 12 {
            return;
        }
        seen.push(counts);
    }
    panic!("3 are allowed when it is known, 12 the first time: {seen:?}");
}

#[tokio::test]
async fn an_upload_of_two_hundred_statements_takes_five_queries() {
    let mut seen = Vec::new();
    for _ in 0..ATTEMPTS {
        let house = House::new();
        let counts = house.rounds(upload).await;
        println!("upload: {counts:?} data queries for 200");
        let rows = "SELECT count(*) || md5(string_agg(u::text, '|' ORDER BY ctid)) FROM uploads u";
        let [ours, theirs] = [THROUGH, DIRECT].map(|database| ask(&house.cluster.url(database), rows));
        assert_eq!(ours, theirs);
        if counts[1..].iter().any(|count| *count <= 5) {
            return;
        }
        seen.push(counts);
    }
    panic!("5 are allowed when it is known: {seen:?}");
}
