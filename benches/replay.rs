//! What a batch costs on the data path: nanoseconds per member to take its values in and to write them, and per row of
//! the answer to hand it on. Printed is the median of many rounds. Knows nothing of the network.

use std::hint::black_box;
use std::time::Instant;

use pgweir::coalesce::replay::{Batch, Member, Replay, Slot, SlotKind};
use pgweir::coalesce::split::Split;
use pgweir::sql::shape::Shaper;
use pgweir::wire::client::Bind;

const ROUNDS: usize = 2_001;

/// Members of a batch, as 32 clients with the same look-up make them.
const MEMBERS: usize = 32;

/// Name, text, type of its values, the first value in text or binary form; without a value, literals.
type Case = (&'static str, &'static str, u32, Option<(&'static [u8], bool)>);

const CASES: [Case; 6] = [
    ("int4 as text", "SELECT abalance FROM pgbench_accounts WHERE aid = $1;", 23, Some((b"4711815", false))),
    (
        "int4 as binary",
        "SELECT abalance FROM pgbench_accounts WHERE aid = $1;",
        23,
        Some((b"\0\x47\xe5\x07", true)),
    ),
    ("int4 as literal", "SELECT abalance FROM pgbench_accounts WHERE aid = 4711815;", 23, None),
    (
        "uuid as text",
        "select * from t where id = $1",
        2950,
        Some((b"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", false)),
    ),
    (
        "text of 30 bytes",
        "select * from t where name = $1",
        25,
        Some((b"O'Brien \"the\" quoted \\ person", false)),
    ),
    (
        "Django, literal",
        r#"SELECT "author"."id", "author"."name" FROM "author" WHERE "author"."id" = 2 LIMIT 21"#,
        23,
        None,
    ),
];

fn bind(value: &[u8], binary: bool) -> Vec<u8> {
    let mut body = vec![0, b's', 0, 0, 1, 0, u8::from(binary), 0, 1];
    body.extend_from_slice(&(value.len() as u32).to_be_bytes());
    body.extend_from_slice(value);
    body.extend_from_slice(&[0, 0]);
    body
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    println!("{:<20} {:>10} {:>10}  (ns per member)", "values", "take in", "write");
    for (name, text, oid, value) in CASES {
        let mut slots: Vec<Slot> = Vec::new();
        Shaper::default().shapes(text.as_bytes(), true, |shape| {
            slots.extend(shape.holes.iter().map(|hole| Slot { oid, ..Slot::of_hole(hole) }));
        });
        let varying: Vec<bool> = (0..slots.len()).map(|at| at == 0).collect();
        let replay = Replay::build(text.as_bytes(), &slots, &varying, &|_| None).expect("can be replayed");
        let body = value.map(|(value, binary)| bind(value, binary));
        assert_eq!(value.is_some(), matches!(slots[0].kind, SlotKind::Parameter(_)));
        let (mut batch, mut out) = (Batch::default(), Vec::new());
        let (mut adds, mut writes) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            batch.clear(&replay);
            for _ in 0..MEMBERS {
                let bind = body.as_deref().and_then(Bind::read);
                let member = Member { text: black_box(text).as_bytes(), slots: &slots, bind };
                batch.add(&replay, black_box(&member)).expect("it is of the shape");
            }
            adds.push(begun.elapsed().as_nanos() as f64 / MEMBERS as f64);
            let begun = Instant::now();
            out.clear();
            batch.write_bind(&replay, b"", b"pgw_1", black_box(&mut out));
            writes.push(begun.elapsed().as_nanos() as f64 / MEMBERS as f64);
        }
        println!("{name:<20} {:>10.0} {:>10.0}", median(adds), median(writes));
    }
    // A row of 100 bytes in five fields, for each member one.
    let row = |set: usize| {
        let set = set.to_string();
        let mut row = vec![0, 6];
        row.extend_from_slice(&(set.len() as u32).to_be_bytes());
        row.extend_from_slice(set.as_bytes());
        for _ in 0..5 {
            row.extend_from_slice(&[0, 0, 0, 16]);
            row.extend_from_slice(&[b'x'; 16]);
        }
        row
    };
    let rows: Vec<Vec<u8>> = (1..=MEMBERS).map(row).collect();
    let (mut out, mut figures) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        out.clear();
        let mut split = Split::new(MEMBERS);
        for row in black_box(&rows) {
            let (member, row) = split.row(row).expect("in order");
            black_box(member);
            row.write(&mut out);
        }
        figures.push(begun.elapsed().as_nanos() as f64 / MEMBERS as f64);
    }
    println!("{:<20} {:>10.0}  (ns per row of 100 bytes)", "split", median(figures));
}
