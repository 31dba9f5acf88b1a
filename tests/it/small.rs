//! One query over all keys of a small table: what is taken from it is what PostgreSQL answers to each key alone, to
//! those that do not exist and to NULL.

use pgweir::catalog::Catalog;
use pgweir::coalesce::prefetch::keys::Key;
use pgweir::coalesce::prefetch::small::{Answers, Small, Whole};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::catalog::probe;
use crate::cluster::{TestDatabase, batch, connect};

const SCHEMA: [&str; 7] = [
    "CREATE TABLE owner (id int PRIMARY KEY, name text)",
    "INSERT INTO owner SELECT n, 'owner ' || n FROM generate_series(1, 9) n",
    "CREATE TABLE facility (id int PRIMARY KEY, wide bigint UNIQUE, uid uuid UNIQUE, code text UNIQUE, \
     short varchar(12) UNIQUE, price numeric UNIQUE, sort text COLLATE \"C\" UNIQUE, name text, owner int, active bool)",
    "INSERT INTO facility SELECT n, n * 10000000000, md5(n::text)::uuid, CASE n WHEN 7 THEN '' WHEN 8 THEN 'it''s' \
     WHEN 9 THEN 'naïve' WHEN 10 THEN NULL ELSE 'code ' || n END, 'short ' || n, n, n, 'name ' || n % 5, \
     NULLIF(n % 11, 10), n % 3 > 0 FROM generate_series(-5, 40) n",
    // As many keys again, so that no index is chosen by chance alone.
    "INSERT INTO facility (id, name, active) SELECT n, 'more', true FROM generate_series(100, 400) n",
    "CREATE VIEW faced AS SELECT * FROM facility",
    "ANALYZE",
];

/// Statements with the key for `{}`, and whether they say by themselves that they are limited.
const SHAPES: [(&str, bool); 9] = [
    ("select * from facility where {} = key", false),
    ("select name from facility where key = {} and active", false),
    ("select count(*) from facility where key = {}", true),
    ("select count(*), max(name) from facility where key = {} having count(*) = 0", true),
    ("select name from facility where key = {} order by name desc limit 1", true),
    ("select f.name, o.name from facility f left join owner o on o.id = f.owner where f.key = {}", false),
    (
        "select o.name from facility f join owner o on o.id = f.owner where f.key in ({}) and o.name <> 'x'",
        false,
    ),
    ("select 1 from facility where key = {} limit 1", true),
    ("select name, count(*) from facility where key = {} group by name", false),
];

/// Columns that are keys, and values to look for: some exist, some do not, some are odd.
const KEYS: [(&str, &[&str]); 5] = [
    ("id", &["-5", "0", "1", "7", "40", "41", "250", "2147483647"]),
    ("wide", &["10000000000", "10000000001", "-50000000000", "9223372036854775807"]),
    ("uid", &["'c4ca4238-a0b9-2382-0dcc-509a6f75849b'", "'c4ca4238-a0b9-2382-0dcc-509a6f75849c'"]),
    ("code", &["'code 1'", "'code 99'", "''", "'it''s'", "'naïve'", "'NAÏVE'", "'code 1 '"]),
    ("short", &["'short 1'", "'short'", "'longer than the column is'"]),
];

async fn rows(client: &Client, query: &str) -> Vec<Vec<Option<String>>> {
    let messages = client.simple_query(query).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
        }
        _ => None,
    };
    messages.iter().filter_map(row).collect()
}

/// The body of a DataRow.
fn body(row: &[Option<String>]) -> Vec<u8> {
    let mut body = (row.len() as i16).to_be_bytes().to_vec();
    for cell in row {
        let length = cell.as_ref().map_or(-1, |cell| cell.len() as i32);
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(cell.as_deref().unwrap_or_default().as_bytes());
    }
    body
}

fn frames(rows: &[Vec<Option<String>>]) -> Vec<u8> {
    let mut frames = Vec::new();
    for body in rows.iter().map(|row| body(row)) {
        frames.push(b'D');
        frames.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        frames.extend_from_slice(&body);
    }
    frames
}

/// All answers to a statement, by one query.
async fn whole(client: &Client, small: &Small, (shape, limited): (&str, bool)) -> Whole {
    let fence = if limited { "" } else { "offset 0" };
    let replay = format!(
        "select pgw_k.pgw_o, pgw_q.* from rows from (pg_catalog.unnest($1)) with ordinality as pgw_k(pgw_1, pgw_o) \
         cross join lateral ({}\n{fence}) as pgw_q",
        shape.replace("{}", " pgw_k.pgw_1 ")
    );
    let text = small.over_keys(replay.as_bytes()).unwrap();
    let mut answers = Answers::new(small, false);
    for row in rows(client, std::str::from_utf8(&text).unwrap()).await {
        assert_eq!(answers.row(&body(&row)), Ok(()), "{shape}");
    }
    answers.finish()
}

fn small(catalog: &Catalog, table: &str, column: &str) -> Result<Small, String> {
    let table = catalog.table(&["public"], None, table).unwrap();
    Small::of(catalog, table, column, 0).map_err(|not| not.label().to_owned())
}

#[tokio::test]
async fn every_key_gets_the_answer_that_it_would_get_alone() {
    let database = TestDatabase::new("small");
    batch(&database.url(), &SCHEMA);
    let catalog = probe(&database).catalog().await.unwrap();
    let client = connect(&database.url()).await;
    let (mut compared, mut unknown) = (0, 0);
    for (column, values) in KEYS {
        let small = small(&catalog, "facility", column).unwrap();
        let query = format!("select quote_literal({column}) from facility where {column} is not null");
        let existing = rows(&client, &query);
        let existing: Vec<String> = existing.await.into_iter().flatten().flatten().collect();
        let values =
            values.iter().map(|value| (*value).to_owned()).chain(existing).chain(["NULL".to_owned()]);
        let values: Vec<String> = values.collect();
        for (shape, limited) in SHAPES {
            let shape = shape.replace("key", column);
            let Whole { frames: all, keys, others_give_none } =
                whole(&client, &small, (&shape, limited)).await;
            for value in &values {
                let plain = value.trim_matches('\'').replace("''", "'");
                let key = match value.as_str() {
                    "NULL" => Key::Null,
                    _ => Key::read(small.type_oid, false, plain.as_bytes()),
                };
                let found = keys.iter().find(|(own, _)| *own == key);
                let answer = match found {
                    Some((_, (at, rows))) => Some((&all[at.clone()], *rows as usize)),
                    None => others_give_none.then_some((&[][..], 0)),
                };
                let Some((answer, count)) = answer else {
                    unknown += 1;
                    continue;
                };
                let alone = rows(&client, &shape.replace("{}", value)).await;
                assert_eq!((answer, count), (&*frames(&alone), alone.len()), "{shape} of {value}");
                compared += 1;
            }
        }
    }
    assert!(compared > 3_000 && unknown * 5 < compared, "{compared} compared, {unknown} not known");
}

#[tokio::test]
async fn tables_and_columns_that_do_not_qualify_say_why() {
    let database = TestDatabase::new("small_not");
    batch(&database.url(), &SCHEMA);
    batch(
        &database.url(),
        &["CREATE TABLE fresh (id int PRIMARY KEY)", "CREATE TABLE large (id int PRIMARY KEY)"],
    );
    batch(&database.url(), &["INSERT INTO large SELECT generate_series(1, 1001)", "ANALYZE large"]);
    let catalog = probe(&database).catalog().await.unwrap();
    for (table, column, why) in [
        ("facility", "price", "may be equal without looking equal"),
        ("facility", "sort", "may be equal without looking equal"),
        ("facility", "name", "no unique index"),
        ("facility", "none", "the column is not known"),
        ("faced", "id", "not a plain or partitioned table"),
        ("fresh", "id", "ANALYZE would tell"),
        ("large", "id", "larger than 1,000 rows"),
    ] {
        let not = small(&catalog, table, column).expect_err(table);
        assert!(not.contains(why), "{table}.{column}: {not}");
    }
}
