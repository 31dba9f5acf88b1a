//! Clients that write all the time, each on rows of its own, and know what every row should be. Every write
//! carries a serial number; at the end each row is compared.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::cluster::connect;

/// What a row should be: the serial number of its last write, and its moment in microseconds.
type Rows = BTreeMap<i64, (i64, i64)>;

/// When each write began, and how long it took.
type Times = Arc<Mutex<Vec<(Instant, Duration)>>>;

/// Writers at work on a table `t (id, owner int, serial bigint, at timestamptz)`.
pub struct Writers {
    stop: Arc<AtomicBool>,
    writes: Arc<AtomicU64>,
    times: Times,
    threads: Vec<JoinHandle<(i32, Rows, Duration)>>,
}

impl Writers {
    /// One writer per connection string; the second one and every other one after it writes in transactions of
    /// isolation REPEATABLE READ.
    pub fn start(urls: &[String]) -> Writers {
        let (stop, writes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let times = Times::default();
        let spawn = |(at, url): (usize, &String)| {
            let (stop, writes, url) = (stop.clone(), writes.clone(), url.clone());
            let times = times.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(write(at as i32 + 1, &url, &stop, &writes, &times))
            })
        };
        let threads = urls.iter().enumerate().map(spawn).collect();
        Writers { stop, writes, times, threads }
    }

    /// Waits until so many more writes are done.
    pub fn more(&self, count: u64) {
        let from = self.writes.load(Ordering::Relaxed);
        crate::support::wait_for("writes go on", || self.writes.load(Ordering::Relaxed) >= from + count);
    }

    /// The 99th percentile and the longest of the writes that began in this time.
    pub fn p99(&self, from: Instant, until: Instant) -> (Duration, Duration) {
        let times = self.times.lock().unwrap();
        let within = times.iter().filter(|(begun, _)| (from..until).contains(begun));
        let mut took: Vec<Duration> = within.map(|(_, took)| *took).collect();
        took.sort_unstable();
        let at = |part: usize| took.get(took.len() * part / 100).copied().unwrap_or_default();
        (at(99), took.last().copied().unwrap_or_default())
    }

    /// Ends them; what each one's rows should be, and the longest time that a statement took.
    pub fn end(self) -> (Vec<(i32, Rows)>, Duration, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let ended: Vec<_> = self.threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let longest = ended.iter().map(|(_, _, longest)| *longest).max().unwrap_or_default();
        let writes = self.writes.load(Ordering::Relaxed);
        (ended.into_iter().map(|(owner, rows, _)| (owner, rows)).collect(), longest, writes)
    }
}

/// Compares what the writers know with what the table holds.
pub fn compare(url: &str, known: &[(i32, Rows)]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = connect(url).await;
        for (owner, rows) in known {
            let query = "SELECT id, serial, (extract(epoch FROM at) * 1000000)::int8 FROM t WHERE owner = $1";
            let found = client.query(query, &[owner]).await.unwrap();
            let count = found.len();
            let found: Rows = found.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
            assert_eq!(found.len(), count, "a row of writer {owner} is there twice");
            let odd = rows.iter().find(|(id, row)| found.get(id) != Some(row));
            assert!(odd.is_none(), "writer {owner}: {odd:?}, found {:?}", odd.map(|(id, _)| found.get(id)));
            assert_eq!(found.len(), rows.len(), "writer {owner} has rows that were deleted");
        }
    });
}

async fn write(
    owner: i32,
    url: &str,
    stop: &AtomicBool,
    writes: &AtomicU64,
    times: &Times,
) -> (i32, Rows, Duration) {
    let client = connect(url).await;
    let insert = client
        .prepare(
            "INSERT INTO t (owner, serial, at) VALUES ($1, $2, to_timestamp($3::float8)) RETURNING id, \
            (extract(epoch FROM at) * 1000000)::int8",
        )
        .await
        .unwrap();
    let change = client.prepare("UPDATE t SET serial = $2 WHERE id = $1").await.unwrap();
    let shift = client
        .prepare(
            "UPDATE t SET serial = $2, at = to_timestamp($3::float8) WHERE id = $1 RETURNING \
            (extract(epoch FROM at) * 1000000)::int8",
        )
        .await
        .unwrap();
    let delete = client.prepare("DELETE FROM t WHERE id = $1").await.unwrap();
    let (mut rows, mut longest, mut serial) = (Rows::new(), Duration::ZERO, 0i64);
    let mut chance = u64::from(owner.unsigned_abs()).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |below: u64| {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        chance % below
    };
    let snapshot = owner % 2 == 0;
    while !stop.load(Ordering::Relaxed) {
        serial += 1;
        // Within the hundred days before now.
        let at = 1_764_000_000.0 - next(100 * 86_400) as f64;
        let begun = Instant::now();
        begin(&client, snapshot).await;
        let chosen = rows.keys().nth(next(rows.len().max(1) as u64) as usize).copied();
        match (next(100), chosen) {
            (50..70, Some(id)) => {
                assert_eq!(client.execute(&change, &[&id, &serial]).await.unwrap(), 1, "row {id}");
                rows.get_mut(&id).unwrap().0 = serial;
            }
            (70..85, Some(id)) => {
                let row = client.query_one(&shift, &[&id, &serial, &at]).await.unwrap();
                rows.insert(id, (serial, row.get(0)));
            }
            (85.., Some(id)) => {
                assert_eq!(client.execute(&delete, &[&id]).await.unwrap(), 1, "row {id}");
                rows.remove(&id);
            }
            _ => {
                let row = client.query_one(&insert, &[&owner, &serial, &at]).await.unwrap();
                rows.insert(row.get(0), (serial, row.get(1)));
            }
        }
        if snapshot {
            client.batch_execute("COMMIT").await.unwrap();
        }
        let took = begun.elapsed();
        longest = longest.max(took);
        times.lock().unwrap().push((begun, took));
        writes.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (owner, rows, longest)
}

async fn begin(client: &Client, snapshot: bool) {
    if snapshot {
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    }
}
