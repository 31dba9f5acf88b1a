//! Pipelines of INSERTs, frame by frame as PostgreSQL answers each of them, in one statement. Everything is done twice,
//! directly and through pgweir, in two databases that are copies of each other; afterwards the rows are the same.

use pgweir::demo::cluster::{Cluster, ClusterOptions};

use crate::cluster::{ask, batch, prepare};
use crate::frames::{frame, show};
use crate::raw::{Raw, Startup};
use crate::support::{Weir, settings, until};

const DIRECT: &str = "pgweir_template";
const MERGED: &str = "merged";

pub(crate) const SYNC: [u8; 5] = *b"S\0\0\0\x04";
pub(crate) const FLUSH: [u8; 5] = *b"H\0\0\0\x04";

/// A cluster that counts statements, two equal databases in it, and a pgweir before one of them.
pub(crate) struct House {
    cluster: Cluster,
    pub(crate) weir: Weir,
}

/// One client of each.
pub(crate) struct Pair {
    pub(crate) direct: Raw,
    pub(crate) merged: Raw,
}

impl House {
    pub(crate) fn new(schema: &[&str]) -> House {
        let preload = ("shared_preload_libraries".to_owned(), "pg_stat_statements".to_owned());
        let cluster = Cluster::start(ClusterOptions { settings: vec![preload], ..Default::default() })
            .unwrap_or_else(|e| panic!("the tests need a PostgreSQL: {e}"));
        prepare(&cluster);
        batch(&cluster.url(DIRECT), &["CREATE EXTENSION pg_stat_statements"]);
        batch(&cluster.url(DIRECT), schema);
        batch(&cluster.url(DIRECT), &["GRANT ALL ON ALL TABLES IN SCHEMA public TO app"]);
        batch(&cluster.url(DIRECT), &["GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app"]);
        batch(&cluster.url("postgres"), &[&format!("CREATE DATABASE {MERGED} TEMPLATE {DIRECT} OWNER app")]);
        let text = settings(MERGED, cluster.port(), "max_size: 3", "").replace("workers: 2", "workers: 1");
        House { cluster, weir: Weir::start(&text) }
    }

    pub(crate) fn pair(&self) -> Pair {
        Pair {
            direct: Raw::open(self.cluster.port(), &Startup::new(DIRECT)),
            merged: Raw::open(self.weir.listen.port(), &Startup::new(MERGED)),
        }
    }

    pub(crate) fn direct_port(&self) -> u16 {
        self.cluster.port()
    }

    /// The answer of each database to a query as superuser.
    pub(crate) fn ask(&self, query: &str) -> [String; 2] {
        [DIRECT, MERGED].map(|database| ask(&self.cluster.url(database), query))
    }

    pub(crate) fn run(&self, statements: &[&str]) {
        [DIRECT, MERGED].iter().for_each(|database| batch(&self.cluster.url(database), statements));
    }

    pub(crate) fn same(&self, query: &str) {
        let [direct, merged] = self.ask(query);
        assert_eq!(direct, merged, "{query}");
    }

    /// Merged statements, and INSERTs of clients, that PostgreSQL has counted since it was last asked.
    pub(crate) fn counted(&self) -> (u64, u64) {
        let query = "SELECT coalesce(sum(calls) FILTER (WHERE query LIKE '%pgw_k%'), 0) || ' ' || \
            coalesce(sum(calls) FILTER (WHERE query NOT LIKE '%pgw_k%'), 0) FROM pg_stat_statements s \
            JOIN pg_database d ON d.oid = dbid WHERE datname = 'merged' AND query ILIKE 'insert %'";
        let counts = ask(&self.cluster.url(MERGED), query);
        ask(&self.cluster.url(MERGED), "SELECT pg_stat_statements_reset()");
        let (merged, single) = counts.split_once(' ').unwrap();
        (merged.parse().unwrap(), single.parse().unwrap())
    }

    /// Sends something on and on until all of it is merged.
    pub(crate) fn warm_up(&self, mut send: impl FnMut()) {
        until("INSERTs become one", || {
            self.counted();
            send();
            let (merged, single) = self.counted();
            (merged > 0 && single == 0).then_some(())
        });
    }
}

impl Pair {
    /// Sends the same to both; the answers must be equal. Returns them.
    pub(crate) fn both(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let readies = crate::frames::cut(bytes).iter().filter(|f| matches!(f[0], b'S' | b'Q')).count();
        let [direct, merged] = [&mut self.direct, &mut self.merged].map(|client| {
            client.send(bytes);
            client.until(b'Z', readies)
        });
        let shown = |frames: &[Vec<u8>]| show(&frames.concat());
        assert_eq!(shown(&direct), shown(&merged), "to {} bytes:\n{}", bytes.len(), short(&show(bytes)));
        direct
    }

    /// The same for bytes that end with a Flush: so many frames come.
    fn flushed(&mut self, bytes: &[u8], frames: usize) {
        for client in [&mut self.direct, &mut self.merged] {
            client.send(bytes);
            (0..frames).for_each(|_| assert!(client.frame().is_some_and(|frame| frame[0] != b'E')));
        }
    }

    pub(crate) fn query(&mut self, text: &str) -> Vec<Vec<u8>> {
        self.both(&query(text))
    }
}

fn short(text: &str) -> &str {
    text.get(..4000).unwrap_or(text)
}

pub(crate) fn query(text: &str) -> Vec<u8> {
    frame(b'Q', format!("{text}\0").as_bytes())
}

pub(crate) fn parse(name: &str, text: &str, types: &[u32]) -> Vec<u8> {
    let mut body = format!("{name}\0{text}\0").into_bytes();
    body.extend((types.len() as u16).to_be_bytes());
    types.iter().for_each(|oid| body.extend(oid.to_be_bytes()));
    frame(b'P', &body)
}

/// A Bind whose parameters have these forms: text or binary.
pub(crate) fn bind(name: &str, forms: &[u16], values: &[Option<Vec<u8>>]) -> Vec<u8> {
    let mut body = format!("\0{name}\0").into_bytes();
    body.extend((forms.len() as u16).to_be_bytes());
    forms.iter().for_each(|form| body.extend(form.to_be_bytes()));
    body.extend((values.len() as u16).to_be_bytes());
    for value in values {
        body.extend(value.as_ref().map_or(-1, |value| value.len() as i32).to_be_bytes());
        body.extend(value.as_deref().unwrap_or_default());
    }
    body.extend([0, 0]);
    frame(b'B', &body)
}

pub(crate) fn describe(what: &str) -> Vec<u8> {
    frame(b'D', format!("{what}\0").as_bytes())
}

pub(crate) fn execute(rows: u32) -> Vec<u8> {
    frame(b'E', &[&[0][..], &rows.to_be_bytes()].concat())
}

pub(crate) fn text(value: impl ToString) -> Option<Vec<u8>> {
    Some(value.to_string().into_bytes())
}

/// A whole transaction's beginning, as drivers that prepare everything send it.
fn begin(name: &str) -> Vec<u8> {
    [parse(name, "BEGIN", &[]), bind(name, &[], &[]), execute(0)].concat()
}

pub(crate) const SCHEMA: [&str; 2] = [
    "CREATE TABLE items (id serial PRIMARY KEY, k int UNIQUE, name varchar(12) NOT NULL, price numeric(9,2) CHECK \
     (price >= 0), at timestamptz DEFAULT '2026-01-01 UTC', tag char(3), data jsonb)",
    "CREATE TABLE small (a int, b text)",
];

pub(crate) const INSERT: &str = "INSERT INTO items (k, name, price, tag, data) VALUES ($1, $2, $3, $4, $5)";

/// A row of the items, in text form.
pub(crate) fn item(k: usize) -> Vec<Option<Vec<u8>>> {
    let name = ["it's", "\"{,}\"", "\\", "NULL", "é ß", ""][k % 6];
    let price = if k.is_multiple_of(5) { None } else { text(format!("{}.25", k)) };
    vec![text(k), text(name), price, text("ab"), text(format!("{{\"k\": [{k}]}}"))]
}

/// How drivers send `executeBatch` and `executemany`: what comes before in a flush of its own with its number of
/// answers, and the pipeline of so many rows from `k` on.
type Form = (&'static str, fn(&mut Pair, usize), fn(usize, usize) -> Vec<u8>);

pub(crate) fn prepare_named(pair: &mut Pair, first: usize) {
    if first == 0 {
        pair.both(&[parse("S_1", INSERT, &[23, 1043]), describe("SS_1"), SYNC.to_vec()].concat());
        pair.both(&[parse("S_2", "BEGIN", &[]), SYNC.to_vec()].concat());
    }
}

fn rows(k: usize, n: usize, row: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    (k..k + n).flat_map(row).collect()
}

fn jdbc_rows(k: usize, n: usize) -> Vec<u8> {
    let row = |k| [bind("S_1", &[0; 5], &item(k)), describe("P"), execute(1)].concat();
    [rows(k, n, row), SYNC.to_vec()].concat()
}

const FORMS: [Form; 7] = [
    ("jdbc, autocommit", prepare_named, jdbc_rows),
    ("jdbc, in a transaction", prepare_named, |k, n| {
        let begin = [bind("S_2", &[], &[]), execute(0)].concat();
        [begin, jdbc_rows(k, n), query("COMMIT")].concat()
    }),
    (
        "psycopg",
        |_, _| (),
        |k, n| {
            let name = format!("_pg3_{k}");
            let begin =
                [parse("", "BEGIN", &[]), bind("", &[], &[]), describe("P"), execute(0), SYNC.to_vec()];
            let row = |k| [bind(&name, &[0; 5], &item(k)), describe("P"), execute(0)].concat();
            let all =
                [parse(&name, INSERT, &[23, 0, 0, 0, 0]), rows(k, n, row), SYNC.to_vec(), FLUSH.to_vec()];
            [begin.concat(), all.concat(), query("COMMIT")].concat()
        },
    ),
    (
        "asyncpg",
        |pair, k| {
            let name = format!("__asyncpg_stmt_{k}__");
            let prepared =
                [parse(&name, INSERT, &[]), describe(&format!("S{name}")), FLUSH.to_vec()].concat();
            pair.flushed(&prepared, 3);
        },
        |k, n| {
            let name = format!("__asyncpg_stmt_{k}__");
            let row = |k: usize| {
                let mut values = item(k);
                values[0] = Some((k as i32).to_be_bytes().to_vec());
                values[4] = values[4].take().map(|json| [&[1][..], &json].concat());
                [bind(&name, &[1, 1, 0, 1, 1], &values), execute(0)].concat()
            };
            [rows(k, n, row), SYNC.to_vec()].concat()
        },
    ),
    (
        "one Sync each, in a transaction",
        |pair, k| {
            prepare_named(pair, k);
            if k > 0 {
                pair.query("begin");
            }
        },
        |k, n| {
            let row = |k| [bind("S_1", &[], &item(k)), execute(0), SYNC.to_vec()].concat();
            [rows(k, n, row), query("commit")].concat()
        },
    ),
    (
        "unnamed and parsed each time",
        |_, _| (),
        |k, n| {
            let row = |k| {
                let one = [parse("", INSERT, &[23]), describe("S"), bind("", &[0], &item(k)), describe("P")];
                [one.concat(), execute(0)].concat()
            };
            [rows(k, n, row), SYNC.to_vec()].concat()
        },
    ),
    (
        "all of a transaction at once",
        |_, _| (),
        |k, n| {
            let row = |k| [bind("", &[0], &item(k)), execute(0)].concat();
            let end = [parse("", "COMMIT", &[]), bind("", &[], &[]), execute(0), SYNC.to_vec()].concat();
            [begin(""), parse("", INSERT, &[]), rows(k, n, row), end].concat()
        },
    ),
];

#[test]
fn pipelines_are_one_statement() {
    let house = House::new(&SCHEMA);
    for (number, (name, before, pipeline)) in FORMS.into_iter().enumerate() {
        let mut pair = house.pair();
        let mut k = number * 1_000_000;
        before(&mut pair, 0);
        house.warm_up(|| {
            before(&mut pair, k + 1);
            pair.both(&pipeline(k + 1, 3));
            k += 3;
        });
        for n in [3, 7, 200, 1_000] {
            before(&mut pair, k + 1);
            pair.both(&pipeline(k + 1, n));
            k += n;
            let (merged, single) = house.counted();
            // Answers that are owed cannot wait for more to come.
            let owed = name.starts_with("one Sync each") && n == 1_000;
            let few = merged <= 4 && single <= 4;
            assert!((merged, single) == (1, 0) || (owed && few), "{name}: {n} rows: {merged}, {single}");
        }
        pair.query("SELECT count(*), min(k), max(k) FROM items");
    }
    house.same("SELECT count(*) || md5(string_agg(i::text, '|' ORDER BY id)) FROM items i");
}
