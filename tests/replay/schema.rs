//! The tables of a run, three for each type, and the values that parameters are filled with, in both forms.

use std::collections::HashMap;

use pgweir::catalog::Oid;
use pgweir::wire::{client, reply, server};

use super::values::{HUGE, KINDS, Kind, SETUP, takes_huge};
use super::wire::{Wire, execute};

/// Values of one type. The binary form is missing where the type has none.
#[derive(Debug, Default)]
pub struct Pool {
    pub values: Vec<Value>,
}

#[derive(Debug, Clone)]
pub struct Value {
    pub text: Vec<u8>,
    pub binary: Option<Vec<u8>>,
}

/// Each kind that this PostgreSQL has, with its oid.
pub fn create(wire: &mut Wire) -> Vec<(&'static Kind, Oid)> {
    for statement in SETUP {
        // An extension or library may be missing; then its type is.
        let _ = wire.run(statement);
    }
    KINDS.iter().filter_map(|kind| Some((kind, table(wire, kind).ok()?))).collect()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A table, a view on it, a partitioned copy. Half of the tables have an index.
fn table(wire: &mut Wire, kind: &Kind) -> Result<Oid, String> {
    let (name, sql) = (kind.name, kind.sql);
    let bare = sql.split(" collate ").next().unwrap_or(sql);
    let missing = |error| {
        println!("without {name}: {error}");
        error
    };
    wire.run(&format!("create table t_{name} (k {sql}, n int, v text)")).map_err(missing)?;
    // Every other value is absent from the table; present ones come one to three times.
    let mut rows: Vec<String> = Vec::new();
    for (at, value) in kind.values.iter().enumerate().filter(|(at, _)| at % 2 == 0 || kind.values.len() < 4) {
        rows.extend((0..=at % 3).map(|_| format!("{}::{bare}", quoted(value))));
    }
    if takes_huge(sql) {
        rows.push(format!("repeat('x', {HUGE})::{bare}"));
    }
    let not_null = wire.run(&format!("select null::{bare}")).is_err();
    rows.extend((0..2).filter(|_| !not_null).map(|_| format!("null::{bare}")));
    let rows: Vec<String> =
        rows.iter().enumerate().map(|(at, row)| format!("({row}, {at}, 'v{}')", at % 5)).collect();
    wire.run(&format!("insert into t_{name} values {}", rows.join(", "))).map_err(missing)?;
    if name.len() % 2 == 0 {
        let _ = wire.run(&format!("create index on t_{name} (k)"));
    }
    wire.must(&format!("create view v_{name} as select * from t_{name} where n >= 0"));
    wire.must(&format!("create table p_{name} (k {sql}, n int, v text) partition by hash (n)"));
    for part in 0..3 {
        let of = format!("for values with (modulus 3, remainder {part})");
        wire.must(&format!("create table p_{name}_{part} partition of p_{name} {of}"));
    }
    wire.must(&format!("insert into p_{name} select * from t_{name}"));
    wire.must(&format!("analyze t_{name}, p_{name}"));
    let oid = wire.must(&format!("select '{}'::regtype::oid", bare.replace('\'', "''")));
    oid[0][0].as_deref().and_then(|oid| oid.parse().ok()).ok_or_else(|| "no oid".to_owned())
}

/// Values of every type that has a table.
pub fn pools(wire: &mut Wire, kinds: &[(&'static Kind, Oid)]) -> HashMap<Oid, Pool> {
    let mut pools: HashMap<Oid, Pool> = HashMap::new();
    for &(kind, oid) in kinds {
        let mut values: Vec<Vec<u8>> = kind.values.iter().map(|value| value.as_bytes().to_vec()).collect();
        if takes_huge(kind.sql) {
            values.push(vec![b'x'; HUGE]);
            values.push(b"\"\\".repeat(HUGE / 2));
        }
        let pool = pools.entry(oid).or_default();
        for text in values {
            if let Some(binary) = binary(wire, oid, &text) {
                pool.values.push(Value { text, binary });
            }
        }
    }
    // Numbers of rows, limits and the like.
    for (oid, bytes) in [(20, 8), (21, 2), (23, 4)] {
        let pool = pools.entry(oid).or_default();
        for number in 0..6_i64 {
            let binary = Some(number.to_be_bytes()[8 - bytes..].to_vec());
            pool.values.push(Value { text: number.to_string().into_bytes(), binary });
        }
    }
    pools
}

/// The binary form, from PostgreSQL. The inner `None`: the type has none; the outer: it is no value of the type.
fn binary(wire: &mut Wire, oid: Oid, text: &[u8]) -> Option<Option<Vec<u8>>> {
    let ask = |format: u8| {
        let mut out = Vec::new();
        let types = [&[0, 1][..], &oid.to_be_bytes()].concat();
        reply::parse(&mut out, b"", b"select $1", &types);
        reply::frame(&mut out, client::tag::BIND, |out| {
            out.extend_from_slice(&[0, 0, 0, 0, 0, 1]);
            out.extend_from_slice(&(text.len() as u32).to_be_bytes());
            out.extend_from_slice(text);
            out.extend_from_slice(&[0, 1, 0, format]);
        });
        execute(&mut out, false);
        out
    };
    let mut found = [None, None];
    for (format, found) in found.iter_mut().enumerate() {
        wire.ask(&ask(format as u8), 1, |_, frames| {
            for frame in frames.iter().filter(|frame| frame.tag == b'D') {
                let columns = server::columns(frame.body()).expect("a whole row");
                *found = columns[0].map(<[u8]>::to_vec);
            }
        });
    }
    let [text, binary] = found;
    text.map(|_| binary)
}
