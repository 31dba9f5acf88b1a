//! What the clients do: each statement is sent when the one before it is answered, values in the text.

use std::future::Future;
use std::pin::Pin;

use tokio_postgres::{Client, SimpleQueryMessage};

/// Rows of a page, records of an upload.
const ROWS: u64 = 50;

type Run = for<'a> fn(&'a Client, u64) -> Pin<Box<dyn Future<Output = Vec<String>> + 'a>>;

pub struct Program {
    pub name: &'static str,
    /// Its INSERTs may wait for the COMMIT, if it is asked for.
    pub deferred: bool,
    pub run: Run,
}

pub const PROGRAMS: [Program; 3] = [
    Program {
        name: "a page: 50 records, 3 look-ups each (151)",
        deferred: false,
        run: |client, round| Box::pin(page(client, round)),
    },
    Program {
        name: "nested: 50 records, their 500 notes (551)",
        deferred: false,
        run: |client, round| Box::pin(nested(client, round)),
    },
    Program {
        name: "an upload: 50 times 3 look-ups and an INSERT (200)",
        deferred: true,
        run: |client, round| Box::pin(upload(client, round)),
    },
];

async fn page(client: &Client, round: u64) -> Vec<String> {
    let records = format!(
        "SELECT id, facility_id, source_id, user_id FROM records WHERE id > {} ORDER BY id LIMIT {ROWS}",
        round * ROWS
    );
    let mut all = Vec::new();
    for row in rows(client, &records).await {
        all.extend(flat(client, &format!("SELECT id, name FROM facilities WHERE id = {}", row[1])).await);
        all.extend(flat(client, &format!("SELECT kind FROM sources WHERE id = {}", row[2])).await);
        all.extend(flat(client, &format!("SELECT email FROM users WHERE id = {}", row[3])).await);
    }
    all
}

async fn nested(client: &Client, round: u64) -> Vec<String> {
    let records = format!("SELECT id FROM records WHERE id > {} ORDER BY id LIMIT {ROWS}", round * ROWS);
    let mut all = Vec::new();
    for record in rows(client, &records).await {
        let notes = format!("SELECT id, record_id FROM notes WHERE record_id = {} ORDER BY id", record[0]);
        for note in rows(client, &notes).await {
            let lines = format!("SELECT id, text FROM lines WHERE note_id = {} ORDER BY id", note[0]);
            all.extend(flat(client, &lines).await);
        }
    }
    all
}

async fn upload(client: &Client, round: u64) -> Vec<String> {
    let mut all = Vec::new();
    client.batch_execute("BEGIN").await.unwrap();
    for at in 0..ROWS {
        let n = round * ROWS + at;
        let id = async |table: &str, id: u64| {
            rows(client, &format!("SELECT id FROM {table} WHERE id = {id}")).await[0][0].clone()
        };
        let facility = id("facilities", n * 11 % 800 + 1).await;
        let source = id("sources", n * 13 % 900 + 1).await;
        let user = id("users", n * 17 % 700 + 1).await;
        let insert = format!(
            "INSERT INTO readings (name, facility_id, source_id, user_id, quantity) \
             VALUES ('reading {n}', {facility}, {source}, {user}, {n}.5)"
        );
        client.batch_execute(&insert).await.unwrap();
        all.extend([facility, source, user]);
    }
    client.batch_execute("COMMIT").await.unwrap();
    all
}

async fn flat(client: &Client, query: &str) -> Vec<String> {
    rows(client, query).await.concat()
}

async fn rows(client: &Client, query: &str) -> Vec<Vec<String>> {
    let messages = client.simple_query(query).await.unwrap();
    let texts = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned()).collect())
        }
        _ => None,
    });
    texts.collect()
}
