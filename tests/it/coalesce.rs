//! Look-ups of many clients at once, frame by frame as PostgreSQL answers each of them alone, in fewer queries. A
//! crowd asks in one instant: pgweir is stopped while its clients write, and goes on when all have.

use pgweir::demo::cluster::Cluster;

use crate::cluster::{ask, batch, counting};
use crate::frames::{frame, show};
use crate::raw::{Raw, Startup};
use crate::support::{Weir, settings, until, wait_for};

const DATABASE: &str = "pgweir_template";

const SCHEMA: [&str; 5] = [
    "CREATE EXTENSION pg_stat_statements",
    "CREATE TABLE items (id int PRIMARY KEY, owner bigint, name varchar(20), tag char(4), price numeric(9,2), \
     seen timestamptz, code uuid, data jsonb, parts text[])",
    "INSERT INTO items SELECT n, n % 40, CASE WHEN n % 9 = 0 THEN NULL ELSE 'it''em \"' || n || '\\' END, \
     chr(97 + n % 20), n / 7.0, timestamptz '2026-01-01 UTC' + n * interval '1 hour', md5(n::text)::uuid, \
     jsonb_build_object('n', n), ARRAY['a', n::text, NULL] FROM generate_series(1, 2000) n",
    "CREATE INDEX ON items (owner); CREATE INDEX ON items (name); ANALYZE items",
    "GRANT ALL ON ALL TABLES IN SCHEMA public TO app",
];

/// A cluster that counts statements, and a pgweir with one worker in front of it.
struct House {
    cluster: Cluster,
    weir: Weir,
}

impl House {
    fn new(pool: &str) -> House {
        let cluster = counting();
        batch(&cluster.url(DATABASE), &SCHEMA);
        let text = settings(DATABASE, cluster.port(), pool, "").replace("workers: 2", "workers: 1");
        House { cluster, weir: Weir::start(&text) }
    }

    fn superuser(&self) -> String {
        self.cluster.url(DATABASE)
    }

    fn clients(&self, n: usize) -> Vec<Raw> {
        (0..n).map(|_| Raw::open(self.weir.listen.port(), &Startup::new(DATABASE))).collect()
    }

    fn direct(&self) -> Raw {
        Raw::open(self.cluster.port(), &Startup::new(DATABASE))
    }

    /// Each client asks its own, all in the same instant. Returns what each got.
    fn at_once(&self, clients: &mut [Raw], requests: &[Vec<u8>]) -> Vec<Vec<u8>> {
        self.weir.signal(libc::SIGSTOP);
        let stat = format!("/proc/{}/stat", self.weir.pid());
        wait_for("pgweir stands still", || {
            let stat = std::fs::read_to_string(&stat).unwrap();
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
        });
        for (client, request) in clients.iter_mut().zip(requests) {
            client.send(request);
        }
        self.weir.signal(libc::SIGCONT);
        let syncs = |request: &[u8]| {
            crate::frames::cut(request).iter().filter(|f| matches!(f[0], b'S' | b'Q')).count()
        };
        clients
            .iter_mut()
            .zip(requests)
            .map(|(client, request)| (0..syncs(request)).flat_map(|_| until_ready(client)).collect())
            .collect()
    }

    /// Data queries and batches that PostgreSQL has counted since the last reset.
    fn counted(&self) -> (u64, u64) {
        let query = "SELECT coalesce(sum(calls), 0) || ' ' || coalesce(sum(calls) FILTER (WHERE query LIKE '%pgw_k%'), 0) \
                     FROM pg_stat_statements WHERE query LIKE '%items%'";
        let counts = ask(&self.superuser(), query);
        let (all, batches) = counts.split_once(' ').unwrap();
        (all.parse().unwrap(), batches.parse().unwrap())
    }

    fn reset(&self) {
        ask(&self.superuser(), "SELECT pg_stat_statements_reset()");
    }

    /// Asks in crowds until the crowd's look-ups travel together and are compared no more.
    fn warm_up(&self, clients: &mut [Raw], request: impl Fn(usize) -> Vec<u8>) {
        let mut rounds = 0;
        until("look-ups travel together", || {
            self.reset();
            let requests: Vec<_> = (0..clients.len()).map(|at| request(at + 20 * rounds)).collect();
            self.at_once(clients, &requests);
            rounds += 1;
            let (all, batches) = self.counted();
            (batches > 0 && all <= 3).then_some(())
        });
    }
}

fn until_ready(client: &mut Raw) -> Vec<u8> {
    let mut seen = Vec::new();
    while let Some(frame) = client.frame() {
        let ready = frame[0] == b'Z';
        seen.extend(frame);
        if ready {
            break;
        }
    }
    seen
}

fn query(text: &str) -> Vec<u8> {
    frame(b'Q', format!("{text}\0").as_bytes())
}

/// A Bind with parameters in one form, and columns in one format.
fn bind(name: &str, values: &[Option<&[u8]>], binary: bool, result: u8) -> Vec<u8> {
    let mut body = format!("\0{name}\0").into_bytes();
    body.extend([0, 1, 0, u8::from(binary)]);
    body.extend((values.len() as u16).to_be_bytes());
    for value in values {
        body.extend(value.map_or(-1, |value| value.len() as i32).to_be_bytes());
        body.extend(value.unwrap_or_default());
    }
    body.extend([0, 1, 0, result]);
    frame(b'B', &body)
}

fn parse(name: &str, text: &str) -> Vec<u8> {
    frame(b'P', format!("{name}\0{text}\0\0\0").as_bytes())
}

fn execute(rows: u32) -> Vec<u8> {
    frame(b'E', &[&[0][..], &rows.to_be_bytes()].concat())
}

const SYNC: [u8; 5] = *b"S\0\0\0\x04";

/// Parse, Bind, Describe, Execute, Sync, as most drivers send it.
fn unnamed(text: &str, values: &[Option<&[u8]>], binary: bool, result: u8) -> Vec<u8> {
    let describe = frame(b'D', b"P\0");
    [parse("", text), bind("", values, binary, result), describe, execute(0), SYNC.to_vec()].concat()
}

#[test]
fn a_crowd_of_look_ups_is_few_queries() {
    let house = House::new("max_size: 5");
    let mut clients = house.clients(50);
    let by_literal = |id: usize| query(&format!("SELECT * FROM items WHERE id = {}", id % 2100));
    let by_parameter = |id: usize| {
        let id = (id % 2100).to_string();
        unnamed("SELECT name, price FROM items WHERE id = $1", &[Some(id.as_bytes())], false, 1)
    };
    let kinds: [&dyn Fn(usize) -> Vec<u8>; 2] = [&by_literal, &by_parameter];
    for request in kinds {
        house.warm_up(&mut clients, request);
        house.reset();
        let requests: Vec<_> = (0..50).map(|at| request(at * 37)).collect();
        let answers = house.at_once(&mut clients, &requests);
        let (all, batches) = house.counted();
        assert!(all <= 3 && batches >= 1, "50 look-ups took {all} queries, {batches} of them batches");
        let mut direct = house.direct();
        for (request, answer) in requests.iter().zip(answers) {
            direct.send(request);
            assert_eq!(show(&answer), show(&until_ready(&mut direct)));
        }
    }
    // One who sends many ahead is a crowd as well.
    house.reset();
    let requests: Vec<_> = (0..40).map(|at| by_parameter(at * 31)).collect();
    let answer = house.at_once(&mut clients[..1], &[requests.concat()]).concat();
    assert!(house.counted().0 <= 3, "{:?}", house.counted());
    let mut direct = house.direct();
    direct.send(&requests.concat());
    let expected: Vec<u8> = requests.iter().flat_map(|_| until_ready(&mut direct)).collect();
    assert_eq!(show(&answer), show(&expected));
}

/// Texts with one value, asked with values of all kinds.
const TEXTS: [&str; 12] = [
    "SELECT * FROM items WHERE id = $1",
    "SELECT id, name AS n, tag, price FROM items WHERE $1 = id ORDER BY id LIMIT 1;",
    "SELECT name FROM items WHERE owner = $1 ORDER BY id DESC LIMIT 3",
    "SELECT id FROM items WHERE owner = $1",
    "SELECT 1 AS a FROM items WHERE id = $1 LIMIT 1",
    "SELECT price, seen, data, parts, code FROM items WHERE id = $1 -- the whole of it",
    "SELECT i.id, j.name FROM items i JOIN items j ON j.id = i.owner WHERE i.id = $1",
    "SELECT id FROM items WHERE id = $1 OR owner = $1 ORDER BY 1",
    "WITH x AS (SELECT * FROM items WHERE owner = $1) SELECT id, tag FROM x ORDER BY id LIMIT 2",
    "SELECT id / ($1 % 3) FROM items WHERE id = $1",
    "SELECT DISTINCT tag FROM items WHERE owner = $1 ORDER BY tag",
    "SELECT id FROM items WHERE id IN ($1) UNION ALL SELECT owner FROM items WHERE id = $1",
];

/// The same request with its value in the text, in a parameter of each form, by a name.
fn request(text: &str, value: usize, kind: usize) -> Vec<u8> {
    let digits = value.to_string();
    let binary = (value as i32).to_be_bytes();
    match kind {
        0 => query(&text.replace("$1", &digits)),
        1 => unnamed(text, &[Some(digits.as_bytes())], false, 0),
        2 => {
            let parse = frame(b'P', format!("\0{text}\0\0\x01\0\0\0\x17").as_bytes());
            [parse, bind("", &[Some(&binary)], true, 1), execute(0), SYNC.to_vec()].concat()
        }
        3 => {
            let bind = bind("", &[None], false, 1);
            [parse("", text), frame(b'D', b"S\0"), bind, execute(1), SYNC.to_vec()].concat()
        }
        _ => {
            let limit = [parse("", text), bind("", &[Some(digits.as_bytes())], false, 1)].concat();
            [limit, frame(b'D', b"P\0"), execute(1), SYNC.to_vec()].concat()
        }
    }
}

#[test]
fn answers_are_those_that_each_gets_alone() {
    let house = House::new("max_size: 3");
    let (mut clients, mut direct) = (house.clients(24), house.direct());
    house.reset();
    // Some kinds of errors differ in nothing but what happened before them in the same session.
    let mut random = 7_u64;
    let mut next = move |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    for round in 0..240 {
        let (text, kind) = (TEXTS[round / 20 % TEXTS.len()], round / 4 % 5);
        let requests: Vec<_> = clients
            .iter()
            .map(|_| match next(10) {
                0 => request(TEXTS[next(TEXTS.len())], next(2100), next(5)),
                _ => request(text, next(2100), kind),
            })
            .collect();
        let answers = house.at_once(&mut clients, &requests);
        for (request, answer) in requests.iter().zip(answers) {
            direct.send(request);
            let expected = until_ready(&mut direct);
            assert_eq!(show(&answer), show(&expected), "round {round}: {}", show(request));
        }
    }
    let (all, batches) = house.counted();
    assert!(batches > 50, "of {all} queries only {batches} asked for several");
    assert_eq!(house.weir.logged("an answer differed"), 0, "{}", house.weir.log());
}

#[test]
fn a_lost_server_costs_nobody_an_answer() {
    let house = House::new("max_size: 2");
    let mut clients = house.clients(20);
    let by_id = |id: usize| query(&format!("SELECT name FROM items WHERE id = {}", id % 2000 + 1));
    house.warm_up(&mut clients, by_id);
    // The flight waits for a lock, and is killed there.
    let mut locker = house.direct();
    for end in ["pg_terminate_backend", "pg_cancel_backend"] {
        for text in ["BEGIN", "LOCK TABLE items IN ACCESS EXCLUSIVE MODE"] {
            locker.send(&query(text));
            until_ready(&mut locker);
        }
        std::thread::scope(|scope| {
            let killer = scope.spawn(|| {
                let end = format!(
                    "SELECT coalesce(bool_or({end}(pid)), false) FROM pg_stat_activity \
                     WHERE wait_event_type = 'Lock' AND query LIKE '%pgw_k%'"
                );
                wait_for("a flight waits for the lock", || ask(&house.superuser(), &end) == "t");
                locker.send(&query("COMMIT"));
                until_ready(&mut locker);
            });
            // The first goes alone, and would be first in the lock's queue as well: it has a shape of its own.
            let requests: Vec<_> = (0..20).map(|at| [by_id(at), by_id(at + 500)].concat()).collect();
            let answers = house.at_once(&mut clients, &requests);
            killer.join().unwrap();
            for (at, answer) in answers.iter().enumerate() {
                let failed = crate::frames::cut(answer).iter().any(|frame| frame[0] == b'E');
                assert!(!failed, "client {at}: {}", show(answer));
            }
        });
        house.warm_up(&mut clients, by_id);
    }
}
