//! A PostgreSQL that counts, a pgweir in front of it, and look-ups as libraries send them.

use std::path::Path;

use pgweir::coalesce::prefetch::level::Level;
use pgweir::coalesce::settings::CoalesceSettings;
use pgweir::demo::cluster::Cluster;
use pgweir::observe::StatePlace;
use pgweir::pool::settings::PoolMode;

use crate::cluster::{ask, batch, counting};
use crate::frames::frame;
use crate::pgweir::{Pgweir, pool};
use crate::raw::{Raw, Startup};

pub(crate) const DATABASE: &str = "pgweir_template";

const SCHEMA: [&str; 8] = [
    "CREATE EXTENSION pg_stat_statements",
    "CREATE TABLE facilities (id int PRIMARY KEY, name text); \
     INSERT INTO facilities SELECT n, 'facility ' || n FROM generate_series(1, 5000) n",
    "CREATE TABLE sources (id int PRIMARY KEY, kind varchar(20)); \
     INSERT INTO sources SELECT n, 'kind ' || n % 7 FROM generate_series(1, 5000) n",
    "CREATE TABLE users (id uuid PRIMARY KEY, email text); \
     INSERT INTO users SELECT md5(n::text)::uuid, n || '@example.org' FROM generate_series(1, 5000) n",
    "CREATE TABLE records (id int PRIMARY KEY, facility_id int, source_id int, user_id uuid, quantity numeric); \
     INSERT INTO records SELECT n, n * 3 % 4000 + 1, n * 5 % 4000 + 1, md5((n * 7 % 4000 + 1)::text)::uuid, n \
     FROM generate_series(1, 2000) n",
    "CREATE TABLE units (id int PRIMARY KEY, name text, factor numeric); \
     INSERT INTO units SELECT n, 'unit ' || n, n / 3.0 FROM generate_series(1, 300, 2) n",
    "ANALYZE",
    "GRANT ALL ON ALL TABLES IN SCHEMA public TO app",
];

pub(crate) struct House {
    pub(crate) cluster: Cluster,
    pub(crate) weir: Pgweir,
    state: tempfile::TempDir,
}

fn weir(cluster: &Cluster, level: Level, workers: usize, state: &Path) -> Pgweir {
    Pgweir::before(cluster, PoolMode::Transaction, |settings| {
        settings.rules.coalesce = CoalesceSettings { default: Some(level), ..Default::default() };
        settings.rules.observe.state.place = StatePlace::File(state.join("pgweir.state"));
        settings.workers = workers;
        // What is found out about a look-up needs a server beside that of the transaction which asks.
        pool(settings, |pool| pool.min_size = 3);
    })
}

impl House {
    pub(crate) fn new(level: Level) -> House {
        House::with(level, 2)
    }

    /// With so many workers; each judges by what it sees itself whether a loop is worth a fetch.
    pub(crate) fn with(level: Level, workers: usize) -> House {
        let cluster = counting();
        batch(&cluster.url(DATABASE), &SCHEMA);
        let state = tempfile::tempdir().unwrap();
        let weir = weir(&cluster, level, workers, state.path());
        House { cluster, weir, state }.ready()
    }

    /// pgweir ends, and another begins with what it has kept.
    pub(crate) fn restart(self, level: Level) -> House {
        let House { cluster, weir: old, state } = self;
        drop(old);
        let weir = weir(&cluster, level, 2, state.path());
        House { cluster, weir, state }.ready()
    }

    fn ready(self) -> House {
        self.weir.knows(DATABASE, "facilities");
        self
    }

    pub(crate) fn client(&self) -> Client {
        Client(Raw::open(self.weir.port(), &Startup::new(DATABASE)))
    }

    pub(crate) fn direct(&self) -> Client {
        Client(Raw::open(self.cluster.port(), &Startup::new(DATABASE)))
    }

    pub(crate) fn reset(&self) {
        ask(&self.cluster.url(DATABASE), "SELECT pg_stat_statements_reset()");
    }

    /// Data queries since the last reset.
    pub(crate) fn queries(&self) -> u64 {
        let count = "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query ~ '(facilities|sources|users|records|units)' \
                     AND query !~ 'pg_stat_statements'";
        ask(&self.cluster.url(DATABASE), count).parse().unwrap()
    }
}

pub(crate) struct Client(pub(crate) Raw);

impl Client {
    pub(crate) fn send(&mut self, request: &[u8]) -> Vec<u8> {
        self.0.send(request);
        let mut seen = Vec::new();
        while let Some(frame) = self.0.frame() {
            let ready = frame[0] == b'Z';
            seen.extend(frame);
            if ready {
                break;
            }
        }
        seen
    }

    pub(crate) fn query(&mut self, text: &str) -> Vec<u8> {
        self.send(&frame(b'Q', format!("{text}\0").as_bytes()))
    }
}

/// Text columns of the rows among frames.
pub(crate) fn rows(frames: &[u8]) -> Vec<Vec<String>> {
    let rows = crate::frames::cut(frames).into_iter().filter(|frame| frame[0] == b'D');
    let text = |cell: Option<&[u8]>| String::from_utf8_lossy(cell.unwrap_or_default()).into_owned();
    rows.map(|row| pgweir::wire::server::columns(&row[5..]).unwrap().into_iter().map(text).collect())
        .collect()
}

/// A look-up as a library sends it.
pub(crate) type Send = fn(&mut Client, &str, &str) -> Vec<u8>;

pub(crate) fn by_literal(client: &mut Client, text: &str, value: &str) -> Vec<u8> {
    let literal = if value.contains('-') { format!("'{value}'") } else { value.to_owned() };
    client.query(&text.replace("$1", &literal))
}

pub(crate) fn by_parameter(client: &mut Client, text: &str, value: &str) -> Vec<u8> {
    let parse = frame(b'P', format!("\0{text}\0\0\0").as_bytes());
    let mut bind = b"\0\0\0\0\0\x01".to_vec();
    bind.extend((value.len() as u32).to_be_bytes());
    bind.extend(value.as_bytes());
    bind.extend([0, 0]);
    let rest = [frame(b'D', b"P\0"), frame(b'E', b"\0\0\0\0\0"), frame(b'S', b"")].concat();
    client.send(&[parse, frame(b'B', &bind), rest].concat())
}
