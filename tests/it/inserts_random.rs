//! Random tables, statements and pipelines of INSERTs, direct and merged: the same frames, and the same rows in the
//! same order. `PGWEIR_INSERT_ROUNDS` makes more of them, `PGWEIR_INSERT_SEED` others.

use crate::inserts::{House, Pair, SYNC, bind, describe, execute, parse, query, text};

/// A generator of numbers that is the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// A type, its number (0: not PostgreSQL's own), and values of it as text, the last of them wrong.
type Kind = (&'static str, u32, &'static [&'static str]);

const KINDS: [Kind; 18] = [
    ("int2", 21, &["0", "7", "-32768", "32767", "40000"]),
    ("int4", 23, &["1", "-5", "2147483647", " 8 ", "x"]),
    ("int8", 20, &["1", "9223372036854775807", "-1", "00012", "1.5"]),
    ("numeric(8,3)", 1700, &["1.5", "NaN", "-99999.9994", "0.0005", "1e9"]),
    ("text", 25, &["", "a", "it's \"{,}\"", "\\", "NULL", "null", "é\u{1F600}", "\n\t", "a\u{1}b"]),
    ("varchar(5)", 1043, &["", "abc", "abcde", "ab       ", "abcdefg"]),
    ("char(4)", 1042, &["", "ab", "abcd", "a       ", "abcde"]),
    ("bool", 16, &["t", "false", "on", "0", "maybe"]),
    ("date", 1082, &["2026-01-31", "infinity", "0001-01-01 BC", "2026-02-29"]),
    ("timestamptz(2)", 1184, &["2026-01-01 10:00:00.999+02", "epoch", "-infinity", "yesterday?"]),
    ("uuid", 2950, &["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "{A0EEBC999C0B4EF8BB6D6BB9BD380A12}", "a0"]),
    ("jsonb", 3802, &["{}", "[1, \"\\u00e9\"]", "\"\\\\\"", "null", "{\"a\":"]),
    ("float8", 701, &["1.5", "-0", "NaN", "1e308", "1e309"]),
    ("bytea", 17, &["\\x00ff", "abc", "\\\\", "\\x0"]),
    ("interval day to second", 1186, &["1 day", "-1:00", "PT5S", "one"]),
    ("inet", 869, &["10.0.0.1", "::1/64", "10.0.0.256"]),
    ("mood", 0, &["sad", "it's \"fine\"", "happy"]),
    ("bit varying(5)", 1562, &["101", "", "11111", "111111"]),
];

/// A table's INSERT: which kind each parameter is of, and with which number it is declared.
struct Statement {
    table: String,
    text: String,
    parameters: Vec<Kind>,
    declared: Vec<u32>,
}

fn statement(random: &mut Random, number: usize) -> (String, Statement) {
    let columns: Vec<Kind> = (0..1 + random.below(6)).map(|_| random.pick(&KINDS)).collect();
    let mut create = Vec::new();
    for (at, (kind, ..)) in columns.iter().enumerate() {
        let more = match random.below(8) {
            0 => " NOT NULL",
            1 if *kind != "jsonb" => " UNIQUE",
            2 if kind.starts_with("int") => " CHECK (true)",
            3 if kind.starts_with("text") => " DEFAULT 'dé'",
            4 if kind.starts_with("int4") => " CHECK (\"c 2\" > 0)",
            _ => "",
        };
        create.push(format!("\"c {at}\" {kind}{}", more.replace("c 2", &format!("c {at}"))));
    }
    let table = if random.one_in(2) { format!("t{number}") } else { format!("\"T {number}\"") };
    let create = format!("CREATE TABLE {table} ({})", create.join(", "));
    let (mut names, mut values, mut parameters, mut declared) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut order: Vec<usize> = (0..columns.len()).collect();
    for at in 0..order.len() {
        order.swap(at, random.below(columns.len()));
    }
    for (place, &at) in order.iter().enumerate() {
        let kind = columns[at];
        names.push(format!("\"c {at}\""));
        let last = place + 1 == order.len() && parameters.is_empty();
        values.push(match random.below(if last { 1 } else { 9 }) {
            7 => "DEFAULT".to_owned(),
            8 if !kind.2[0].is_empty() => format!("'{}'", kind.2[0].replace('\'', "''")),
            how => {
                parameters.push(kind);
                declared.push(if random.one_in(2) { kind.1 } else { 0 });
                match how {
                    6 => format!("(${})::{}", parameters.len(), kind.0),
                    5 => format!("CAST(${} AS {})", parameters.len(), kind.0),
                    _ => format!("${}", parameters.len()),
                }
            }
        });
    }
    let text = format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), values.join(", "));
    (create, Statement { table, text, parameters, declared })
}

impl Statement {
    /// A pipeline of random rows, of which few or none are wrong.
    fn pipeline(&self, random: &mut Random, name: &str, n: usize, syncs: bool, wrong: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Some types have the same form in text and in binary.
        let binary: Vec<u16> = self
            .parameters
            .iter()
            .map(|kind| u16::from(random.one_in(2) && matches!(kind.1, 25 | 1043 | 23)))
            .collect();
        let forms = if binary.contains(&1) { &binary[..] } else { &[] };
        for _ in 0..n {
            let mut values = Vec::new();
            for (kind, binary) in self.parameters.iter().zip(&binary) {
                let good = kind.2.len() - usize::from(!wrong || !random.one_in(40));
                let value = random.below(good);
                values.push(match (random.below(12), kind.1, binary) {
                    (0, ..) => None,
                    (_, 23, 1) => Some((random.below(1 << 31) as i32).to_be_bytes().to_vec()),
                    // Different ones, so that those which have to be are.
                    (1..=8, 23 | 20, _) => text(random.below(1 << 30)),
                    (1..=8, 25 | 17, _) => text(format!("{} {}", random.below(1 << 30), kind.2[value])),
                    _ => text(kind.2[value]),
                });
            }
            bytes.extend(bind(name, forms, &values));
            if random.one_in(2) {
                bytes.extend(describe("P"));
            }
            bytes.extend(execute(random.below(3) as u32));
            if syncs {
                bytes.extend(SYNC);
            }
        }
        if !syncs {
            bytes.extend(SYNC);
        }
        bytes
    }

    fn round(&self, random: &mut Random, pair: &mut Pair, name: &str) {
        let n = random.pick(&[3, 4, 10, 40]);
        let wrong = random.one_in(2);
        match random.below(4) {
            0 => drop(pair.both(&self.pipeline(random, name, n, false, wrong))),
            1 => {
                let begin = [parse("", "BEGIN", &[]), bind("", &[], &[]), execute(0)].concat();
                pair.both(&[begin, self.pipeline(random, name, n, false, wrong)].concat());
                pair.query("COMMIT");
            }
            syncs => {
                pair.query("BEGIN");
                pair.query("SAVEPOINT s");
                pair.both(&self.pipeline(random, name, n, syncs == 2, wrong));
                if random.one_in(2) {
                    pair.query("ROLLBACK TO s");
                }
                pair.both(&[self.pipeline(random, name, n, syncs == 3, wrong), query("COMMIT")].concat());
            }
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[test]
fn random_pipelines_leave_the_same_rows() {
    let house = House::new(&["CREATE TYPE mood AS ENUM ('sad', 'it''s \"fine\"', 'happy?')"]);
    let seed = setting("PGWEIR_INSERT_SEED", 1);
    let mut random = Random(seed);
    let (mut all_merged, rounds) = (0, setting("PGWEIR_INSERT_ROUNDS", 30));
    for round in 0..rounds {
        let (create, statement) = statement(&mut random, round as usize);
        house.run(&[&create, &format!("GRANT ALL ON {} TO app", statement.table)]);
        let mut pair = house.pair();
        pair.both(
            &[parse("s", &statement.text, &statement.declared), describe("Ss"), SYNC.to_vec()].concat(),
        );
        for _ in 0..12 {
            statement.round(&mut random, &mut pair, "s");
        }
        crate::support::until(&format!("it is known whether to merge {create}: {}", statement.text), || {
            let known = house.weir.log();
            let shown = statement.text.replace('\\', "\\\\").replace('"', "\\\"");
            let known = known.lines().filter(|line| line.contains(&shown));
            (known.filter(|line| line.contains("pipelined INSERTs")).count() > 0).then_some(())
        });
        for _ in 0..12 {
            statement.round(&mut random, &mut pair, "s");
        }
        let [direct, merged] = house.ask(&format!(
            "SELECT count(*) || coalesce(md5(string_agg(t::text, '|' ORDER BY ctid)), '') FROM {} t",
            statement.table
        ));
        assert_eq!(direct, merged, "seed {seed}, round {round}: {create}: {}", statement.text);
        all_merged += house.counted().0;
    }
    assert!(all_merged > rounds, "of {rounds} statements only {all_merged} pipelines were merged");
}
