//! What it costs to know a statement: nanoseconds per text for its shape, for its traits, for all that is done with a
//! text that is new, and for a text that was read before. Batches of all cases take turns, so that a busy machine disturbs all of them alike; printed
//! is the median. Knows nothing of the network.

use std::hint::black_box;
use std::time::Instant;

use pgweir::pool::shape::Reader;
use pgweir::sql;
use pgweir::sql::shape::Shaper;

/// Statements as their clients send them; the first is the typical one that the goals are for.
const TEXTS: [(&str, &str); 9] = [
    (
        "Django, 200 bytes",
        r#"SELECT "book"."id", "book"."title", "book"."author_id", "book"."published_at" FROM "book" WHERE ("book"."author_id" = 1042 AND "book"."state" = 'published') ORDER BY "book"."published_at" DESC LIMIT 21"#,
    ),
    (
        "Django, by key",
        r#"SELECT "author"."id", "author"."name" FROM "author" WHERE "author"."id" = 2 LIMIT 21"#,
    ),
    ("SQLAlchemy", "SELECT book.id, book.title, book.author_id \nFROM book \nWHERE 1 = book.author_id"),
    ("Rails", r#"SELECT "author".* FROM "author" WHERE "author"."id" = $1 LIMIT $2"#),
    (
        "Prisma",
        r#"SELECT "public"."author"."id", "public"."author"."name" FROM "public"."author" WHERE ("public"."author"."id" = $1 AND 1=1) LIMIT $2 OFFSET $3"#,
    ),
    ("Sequelize", r#"SELECT "id", "name" FROM "author" AS "Author" WHERE "Author"."id" = 2;"#),
    (
        "TypeORM",
        r#"SELECT "Book"."id" AS "Book_id", "Book"."title" AS "Book_title", "Book"."authorId" AS "Book_authorId" FROM "book" "Book" LEFT JOIN "author" "Book__Book_author" ON "Book__Book_author"."id"="Book"."authorId" WHERE (((("Book__Book_author"."id" = $1))))"#,
    ),
    ("IN with 100 values", ""),
    ("INSERT of 100 rows", ""),
];

const ROUNDS: usize = 801;
/// Short, so that most batches are not interrupted on a busy machine.
const BATCH: usize = 50;

fn texts() -> Vec<(&'static str, String)> {
    let list = |one: &dyn Fn(usize) -> String| (1..=100).map(one).collect::<Vec<_>>().join(", ");
    TEXTS
        .iter()
        .map(|&(name, text)| {
            let text = match name {
                "IN with 100 values" => {
                    format!("SELECT * FROM book WHERE id IN ({})", list(&|n| n.to_string()))
                }
                "INSERT of 100 rows" => {
                    let rows = list(&|n| format!("({n}, 'title {n}', NULL)"));
                    format!("INSERT INTO book (author_id, title, note) VALUES {rows}")
                }
                _ => text.to_owned(),
            };
            (name, text)
        })
        .collect()
}

/// White space that is another for each number below 65,536: a text with it is a new text of the same shape.
fn blanks(mut number: usize) -> [u8; 8] {
    std::array::from_fn(|_| {
        let blank = b" \t\n\r"[number % 4];
        number /= 4;
        blank
    })
}

/// Nanoseconds per call.
fn time(mut work: impl FnMut()) -> f64 {
    let begun = Instant::now();
    (0..BATCH).for_each(|_| work());
    begun.elapsed().as_nanos() as f64 / BATCH as f64
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    let texts = texts();
    let (mut shaper, mut reader) = (Shaper::default(), Reader::default());
    for (_, text) in &texts {
        // Twice, so that it is kept.
        (0..2).for_each(|_| drop(reader.read(text.as_bytes(), true)));
    }
    let mut figures = vec![[const { Vec::new() }; 4]; texts.len()];
    let mut number = 0;
    for _ in 0..ROUNDS {
        for ((_, text), [shape, new, again, traits]) in texts.iter().zip(&mut figures) {
            let text = text.as_bytes();
            let mut other = [text, &blanks(0)].concat();
            let from = number;
            new.push(time(|| {
                number += 1;
                other[text.len()..].copy_from_slice(&blanks(number));
                drop(black_box(reader.read(black_box(&other), true)));
            }));
            // Each text has the same numbers, each once.
            number = from;
            shape.push(time(|| {
                shaper.shapes(black_box(text), true, |shape| {
                    black_box(shape.fingerprint);
                });
            }));
            again.push(time(|| drop(black_box(reader.read(black_box(text), true)))));
            traits.push(time(|| {
                black_box(sql::traits(black_box(text)));
            }));
        }
        number += BATCH;
    }
    println!(
        "{:<20} {:>6} {:>10} {:>10} {:>10} {:>10}  (ns)",
        "text", "bytes", "shape", "traits", "read new", "read again"
    );
    for ((name, text), figures) in texts.iter().zip(figures) {
        let [shape, new, again, traits] = figures.map(median);
        println!("{name:<20} {:>6} {shape:>10.0} {traits:>10.0} {new:>10.0} {again:>10.0}", text.len());
    }
}
