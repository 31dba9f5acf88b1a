//! Pages in the order of the key, looked for in a few partitions first: whatever is asked, the client sees the frames
//! that PostgreSQL would have sent, and where the page is full only those partitions were locked.

use std::net::SocketAddr;

use super::dice::Dice;
use crate::cluster::{APP_PASSWORD, APP_USER, TestDatabase, batch, shared};
use crate::rawclient::{Raw, bound, extended, framed, query};
use crate::support::{Weir, plain, wait_for};

/// Partitions of a day each. Tenant 100 has rows in the first days only, 101 few, 102 none.
fn fill(database: &TestDatabase) {
    let days = |table: &str, days: u32| {
        format!(
            "do $$ begin for n in 0..{days} loop execute format('create table {table}_%s partition of {table} \
             for values from (%L) to (%L)', n, date '2024-01-01' + n, date '2024-01-02' + n); end loop; end $$"
        )
    };
    batch(
        &database.url(),
        &[
            "set timezone = 'UTC'",
            "create table p (id bigint, at timestamptz, tenant int, v int, primary key (id, at)) partition by range (at)",
            &days("p", 79),
            "insert into p select n, timestamptz '2024-01-01+00' + n / 4 * interval '1 hour', \
             case when n < 120 and n % 9 = 0 then 100 when n % 500 = 3 then 101 else n % 7 end, n % 13 \
             from generate_series(0, 7679) n",
            "create index on p (tenant, at)",
            "create table q (id bigint, at timestamp, tenant int) partition by range (at)",
            &days("q", 59),
            "create table q_default partition of q default",
            "insert into q select n, timestamp '2024-01-01' + n * interval '2 hours', n % 5 from generate_series(0, 719) n",
            "insert into q select n, null, n % 5 from generate_series(1, 20) n",
            "create table d (id bigint, day date not null, tenant int) partition by range (day)",
            &days("d", 59),
            "insert into d select n, date '2024-01-01' + n / 10, n % 5 from generate_series(0, 599) n",
            "create table u (tenant int primary key, name text)",
            "insert into u select n, 'tenant ' || n from generate_series(0, 3) n",
            "create sequence s",
            "create view w as select *, nextval('s') as seen from p",
            "analyze",
        ],
    );
}

struct Pair {
    weir: Weir,
    direct: Raw,
    through: Raw,
    database: TestDatabase,
}

impl Pair {
    fn new(subject: &str) -> Pair {
        let database = TestDatabase::new(subject);
        fill(&database);
        let weir = Weir::start(&plain(&database, "max_size: 2", ""));
        let address = SocketAddr::from(([127, 0, 0, 1], shared().port()));
        let direct = Raw::connect(address).login(APP_USER, APP_PASSWORD, database.name()).unwrap();
        let through = weir.login(database.name());
        let mut pair = Pair { weir, direct, through, database };
        pair.direct.query("set timezone = 'UTC'");
        pair.through.query("set timezone = 'UTC'");
        wait_for("pages are looked for in a few partitions", || {
            pair.locks("select id from p order by at desc limit 10") < 20
        });
        pair
    }

    /// How many partitions of p a page locks.
    fn locks(&mut self, page: &str) -> u32 {
        self.through.query("begin");
        self.through.query(page);
        let locks = self.through.query(
            "select count(distinct relation) from pg_locks join pg_class c on c.oid = relation \
             where pid = pg_backend_pid() and relname ~ '^[pqd]_' and relkind = 'r'",
        );
        self.through.query("rollback");
        locks.value().parse().unwrap()
    }

    /// Sends the same both ways and compares all up to so many ReadyForQuery frames.
    fn same(&mut self, request: &[u8], readies: usize, what: &str) -> usize {
        let all = [&mut self.direct, &mut self.through].map(|client| {
            client.send(request);
            let mut frames = Vec::new();
            while frames.iter().filter(|(tag, _)| *tag == b'Z').count() < readies {
                frames.push(client.frame().unwrap_or_else(|| panic!("{what}: closed")));
            }
            frames
        });
        let tags =
            |frames: &[(u8, Vec<u8>)]| frames.iter().map(|(tag, _)| char::from(*tag)).collect::<String>();
        assert!(all[0] == all[1], "{what}: {} directly, {}", tags(&all[0]), tags(&all[1]));
        all[0].iter().filter(|(tag, _)| *tag == b'D').count()
    }

    fn widened(&self) -> f64 {
        self.weir.metric("pgweir_widened_statements_total", &[])
    }
}

/// A page by dice; with a tie-breaker, so that there is one right answer.
fn page(dice: &mut Dice) -> String {
    let (table, key) = dice.pick(&[("p", "at"), ("p", "at"), ("q", "at"), ("d", "day")]);
    let way = dice.pick(&["", "asc", "desc", "desc", "desc", "desc nulls last", "asc nulls first"]);
    let tenant = dice.pick(&[0, 1, 3, 5, 100, 101, 102]);
    let condition = match dice.below(6) {
        0 => "true".to_owned(),
        1 => format!("{table}.tenant = {tenant}"),
        2 => format!("{table}.tenant = {tenant} or {table}.id % 11 = 0"),
        3 => format!("{table}.{key} < '2024-02-{:02}'", 1 + dice.below(28)),
        4 => format!(
            "({table}.{key}, {table}.id) < ('2024-02-{:02}', 5) and {table}.tenant = {tenant}",
            1 + dice.below(28)
        ),
        _ => format!(
            "{table}.{key} >= '2024-01-{:02}' and {table}.tenant in ({tenant}, 4)",
            1 + dice.below(28)
        ),
    };
    let rows = dice.pick(&[1, 2, 5, 10, 40, 300]);
    let offset = if dice.one_in(3) { format!("offset {}", dice.below(60)) } else { String::new() };
    let (from, list) = match dice.below(5) {
        0 => (format!("{table} join u on u.tenant = {table}.tenant"), "u.name, "),
        1 => (format!("{table} left join u on u.tenant = {table}.tenant"), "u.name, "),
        2 => (format!("u left join {table} on u.tenant = {table}.tenant"), "u.name, "),
        _ => (table.to_owned(), ""),
    };
    let list = match dice.below(4) {
        0 => format!("{list}{table}.*"),
        1 => format!("{list}1000 / ({table}.id + 1) as quotient, {table}.id"),
        // The result has a column of the key's name that is not the key.
        2 => format!("{list}{table}.id, -{table}.id as {key}"),
        _ => format!("{list}{table}.id, {table}.{key}, lower({table}.tenant::text)"),
    };
    let by = if dice.one_in(3) && from == table { key.to_owned() } else { format!("{table}.{key}") };
    let limit = match dice.below(3) {
        0 => format!("{offset} fetch next {rows} rows only"),
        _ => format!("limit {rows} {offset}"),
    };
    format!("select {list} from {from} where {condition} order by {by} {way}, {table}.id {limit}")
}

#[test]
fn pages_are_those_of_the_server() {
    let mut pair = Pair::new("reach_pages");
    let seed = rand::random::<u64>();
    let mut dice = Dice(seed);
    let (mut with_rows, cases) = (0, 1_500);
    for case in 0..cases {
        let text = page(&mut dice);
        let inside = dice.one_in(4);
        if inside {
            pair.same(&query("begin"), 1, "begin");
        }
        let what = format!("seed {seed}, case {case}: {text}");
        let rows = match dice.below(3) {
            0 => pair.same(&query(&text), 1, &what),
            1 => pair.same(&extended(&text), 1, &what),
            // What comes behind in the same breath waits, and is answered in order.
            _ => {
                let behind = "select id from p where id < 3 order by id";
                let both = [extended(&text), query(behind), query(&text), extended("select 1")].concat();
                pair.same(&both, 4, &what)
            }
        };
        with_rows += usize::from(rows > 0);
        if inside {
            pair.same(&query("rollback"), 1, "rollback");
        }
    }
    assert!(with_rows > cases / 3, "{with_rows}");
    let (narrowed, widened) = (pair.weir.metric("pgweir_narrowed_statements_total", &[]), pair.widened());
    assert!(widened > 20.0 && narrowed > 1.5 * widened, "{narrowed} narrowed, {widened} widened");
    assert_eq!(pair.through.query("select 1").status, b'I');
}

#[test]
fn a_full_page_locks_few_partitions_and_a_short_one_learns() {
    let mut pair = Pair::new("reach_locks");
    for (page, most) in [
        ("select id, at from p order by at desc limit 10", 8),
        ("select id from p where tenant = 3 order by at limit 10 offset 5", 8),
        ("select id from p x where x.at < '2024-02-10' order by x.at desc, x.id limit 3", 60),
        ("select * from p join u on u.tenant = p.tenant where u.name > 'a' order by p.at desc limit 7", 8),
        ("select id from d order by day desc limit 10", 8),
        ("select id from q order by at desc nulls last limit 10", 9),
    ] {
        let locks = pair.locks(page);
        assert!(locks <= most, "{page}: {locks}");
    }
    for whole in [
        // Rows without a time come first.
        "select id from q order by at desc limit 10",
        "select id, -id as at from p order by at limit 10",
        "select id from p order by at desc limit 1001",
        "select id from p order by at desc limit 10 for share",
        "select id, seen from w order by at desc limit 10",
        "select id, nextval('s') from p order by at desc limit 10",
    ] {
        assert!(pair.locks(whole) >= 60, "{whole}");
    }
    // A rare tenant's page is found by itself, and the next one is looked for further back.
    let rare = "select id from p where tenant = 101 order by at desc limit 3";
    let before = pair.widened();
    let reached: Vec<u32> = (0..4).map(|_| pair.locks(rare)).collect();
    assert!(reached[0] >= 80 && reached[3] <= 40, "{reached:?}");
    assert!(pair.widened() > before);
}

#[test]
fn nothing_is_called_twice() {
    let mut pair = Pair::new("reach_calls");
    let calls =
        |pair: &mut Pair| pair.through.query("select last_value from s").value().parse::<u32>().unwrap();
    let before = calls(&mut pair);
    for text in [
        "select id, nextval('s') from p where tenant = 100 order by at desc limit 100",
        "select id, seen from w where tenant = 100 order by at desc limit 100",
    ] {
        pair.through.query(text);
        pair.through.send(&extended(text));
        pair.through.expect(b'Z');
    }
    let rows: u32 = pair.through.query("select count(*) from p where tenant = 100").value().parse().unwrap();
    assert_eq!(calls(&mut pair) - before + u32::from(before == 1), 4 * rows);
}

/// Prepared once, with the number of rows as a parameter, as text and as binary.
#[test]
fn prepared_pages_are_those_of_the_server() {
    let mut pair = Pair::new("reach_prepared");
    let text = "select id, at from p where tenant = $1 order by at desc, id limit $2 offset $3";
    let parse = framed(b'P', format!("page\0{text}\0\0\0").as_bytes());
    pair.same(&[&parse[..], &framed(b'D', b"Spage\0"), &framed(b'S', b"")].concat(), 1, "prepare");
    let bind = |values: [i64; 3], binary: bool, rows_max: u32, describe: bool| {
        let mut body = b"\0page\0".to_vec();
        body.extend_from_slice(if binary { b"\0\x01\0\x01\0\x03" } else { b"\0\0\0\x03" });
        for (at, value) in values.iter().enumerate() {
            let text = value.to_string().into_bytes();
            let bytes = match (binary, at) {
                (false, _) => text,
                (true, 0) => (*value as i32).to_be_bytes().to_vec(),
                (true, _) => value.to_be_bytes().to_vec(),
            };
            body.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
            body.extend_from_slice(&bytes);
        }
        body.extend_from_slice(b"\0\0");
        let mut bytes = framed(b'B', &body);
        if describe {
            bytes.extend(framed(b'D', b"P\0"));
        }
        bytes.extend(framed(b'E', &[&b"\0"[..], &rows_max.to_be_bytes()].concat()));
        bytes.extend(framed(b'S', b""));
        bytes
    };
    let mut dice = Dice(rand::random());
    for case in 0..300 {
        let values =
            [dice.pick(&[0, 3, 100, 101, 102]), dice.pick(&[0, 1, 5, 50]), dice.pick(&[0, 0, 7, 200])];
        let (binary, rows_max, describe) = (dice.one_in(2), dice.pick(&[0, 0, 0, 2]), dice.one_in(2));
        let inside = dice.one_in(4);
        let request = bind(values, binary, rows_max, describe);
        let all = match inside {
            true => [query("begin"), request, query("commit")].concat(),
            false => request,
        };
        pair.same(&all, if inside { 3 } else { 1 }, &format!("case {case}: {values:?} {binary} {rows_max}"));
    }
    // What is no number of rows is PostgreSQL's to refuse.
    let odd = "select id from p order by at desc limit $1";
    for value in ["-1", "x", "99999999999999999999", ""] {
        pair.same(&bound(odd, &[value]), 1, value);
    }
    assert!(pair.widened() > 0.0);
}

/// An answer that is too large to be held, and one that fails in the middle.
#[test]
fn large_and_failing_pages_are_those_of_the_server() {
    let mut pair = Pair::new("reach_large");
    let large = "select repeat('x', 9000 + v), at from p order by at desc, id limit 30";
    let short = "select repeat('x', 9000 + v), at from p where tenant = 100 order by at desc, id limit 30";
    let failing = "select 1 / (id - 7678), at from p order by at desc, id limit 30";
    let hidden = "select id, at from p where 1 / (id - 7678) < 5 and tenant = 100 order by at, id limit 3";
    for text in [large, short, failing, hidden] {
        for _ in 0..3 {
            pair.same(&query(text), 1, text);
            pair.same(&extended(text), 1, text);
            pair.same(&[query("begin"), query(text), query("rollback")].concat(), 3, text);
        }
    }
    // A cancelled page ends with the server's error, and the session goes on.
    pair.same(&query("set statement_timeout = 30"), 1, "set");
    let slow = "select id from p a where (select count(*) from p b, p c where b.id <> a.id) > 0 order by a.at desc limit 2";
    pair.same(&query(slow), 1, slow);
    pair.same(&query("set statement_timeout = 0"), 1, "set");
    pair.same(&query(large), 1, large);
    let name = pair.database.name().to_owned();
    drop((pair.direct, pair.through));
    pair.weir.settles(2, &shared().url("postgres"), &name);
}
