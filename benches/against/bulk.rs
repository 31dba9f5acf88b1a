//! Measures bulk: one client reads a result of a million rows, or brings in a million by COPY.
//! Rates and CPU time count the bytes that cross the client's socket.

use std::io::Write;
use std::time::Instant;

use crate::connection::{Blocking, Reader};
use crate::frames::{self, error_text, number};
use crate::load::balance;
use crate::login::DATABASE;
use crate::metric::{Metric, Sample};
use crate::queries::{Attached, Clocks, add_memory};
use crate::scenario::WARM_UP;
use crate::scram::Keys;
use crate::target::Running;
use crate::{Bench, Fail, fail};

/// libpq hands its buffer to the kernel in pieces of this size.
const PIECE: usize = 8 * 1024;
/// Rows that are made once and sent again and again.
const BLOCK: u64 = 10_000;

/// `SELECT * FROM rows_out`, every row's number and the sum of another column checked.
pub fn rows_out(bench: &Bench, running: &Running) -> Result<Sample, Fail> {
    let rows = bench.options.bulk_rows();
    let mut client = Blocking::open(running.port, None, &mut Keys::default())?;
    client.ask("SELECT 1")?;
    let attached = Attached::start(bench, running)?;
    if attached.is_active() {
        std::thread::sleep(WARM_UP);
    }
    let before = Clocks::read(bench, running)?;
    let start = Instant::now();
    let bytes = read_all(&mut client, rows)?;
    let seconds = start.elapsed().as_secs_f64();
    let after = Clocks::read(bench, running)?;
    attached.finish(bytes as usize, "bytes");
    sample(running, bytes, seconds, after.proxy_seconds(&before))
}

/// `COPY rows_in FROM STDIN`, one CopyData per row as psql's `\copy` sends them.
pub fn copy_in(bench: &Bench, running: &Running) -> Result<Sample, Fail> {
    let rows = bench.options.bulk_rows();
    bench.cluster.sql(DATABASE, "TRUNCATE rows_in;")?;
    let block = block();
    let mut client = Blocking::open(running.port, None, &mut Keys::default())?;
    client.ask("SELECT 1")?;
    let attached = Attached::start(bench, running)?;
    if attached.is_active() {
        std::thread::sleep(WARM_UP);
    }
    let before = Clocks::read(bench, running)?;
    let start = Instant::now();
    let bytes = write_all(&mut client, &block, rows)?;
    let seconds = start.elapsed().as_secs_f64();
    let after = Clocks::read(bench, running)?;
    attached.finish(bytes as usize, "bytes");
    let found = client.ask("SELECT count(*), sum(abalance) FROM rows_in")?;
    let wanted = [rows.to_string(), (sum(BLOCK) * (rows / BLOCK) as i64).to_string()];
    if found != wanted {
        return fail(format!("WRONG ANSWER: COPY brought (count, sum) {found:?} in place of {wanted:?}"));
    }
    sample(running, bytes, seconds, after.proxy_seconds(&before))
}

fn sample(running: &Running, bytes: u64, seconds: f64, proxy: Option<f64>) -> Result<Sample, Fail> {
    let mut sample = Sample::default();
    sample.add(Metric::Rate, bytes as f64 / 1e6 / seconds);
    if let Some(proxy) = proxy {
        sample.add(Metric::Cpu, proxy / (bytes as f64 / 1e9));
    }
    add_memory(&mut sample, running)?;
    Ok(sample)
}

/// Returns the bytes received.
fn read_all(client: &mut Blocking, rows: u64) -> Result<u64, Fail> {
    let mut out = Vec::new();
    frames::put_query(&mut out, "SELECT * FROM rows_out");
    client.write_all(&out)?;
    let mut reader = Reader::default();
    let (mut seen, mut total, mut tag_text) = (0u64, 0i64, Vec::new());
    loop {
        match reader.frame(client)? {
            (b'D', body) => {
                seen += 1;
                if number(body, 0) != Some(seen as i64) {
                    return fail(format!(
                        "WRONG ANSWER: row {seen} of the result is not row {seen} of the table"
                    ));
                }
                total += number(body, 2).unwrap_or(0);
            }
            (b'C', body) => tag_text = body.to_vec(),
            (b'E', body) => return fail(error_text(body)),
            (b'Z', _) => break,
            _ => {}
        }
    }
    let expected = format!("SELECT {rows}\0");
    if seen != rows || total != sum(rows) || tag_text != expected.as_bytes() {
        return fail(format!("WRONG ANSWER: {seen} rows of {rows}, sum {total} of {}", sum(rows)));
    }
    Ok(reader.received)
}

/// Returns the bytes sent.
fn write_all(client: &mut Blocking, block: &[u8], rows: u64) -> Result<u64, Fail> {
    let mut out = Vec::new();
    frames::put_query(&mut out, "COPY rows_in FROM STDIN");
    client.write_all(&out)?;
    let mut reader = Reader::default();
    match reader.frame(client)? {
        (b'G', _) => {}
        (_, body) => return fail(format!("COPY was not accepted: {}", error_text(body))),
    }
    let blocks = rows / BLOCK;
    for _ in 0..blocks {
        block.chunks(PIECE).try_for_each(|piece| client.write_all(piece))?;
    }
    out.clear();
    frames::put(&mut out, b'c', |_| {});
    client.write_all(&out)?;
    loop {
        match reader.frame(client)? {
            (b'E', body) => return fail(error_text(body)),
            (b'Z', _) => return Ok(blocks * block.len() as u64),
            _ => {}
        }
    }
}

/// Rows 1 to `BLOCK`, each a CopyData of about 110 bytes.
fn block() -> Vec<u8> {
    let mut block = Vec::new();
    for id in 1..=BLOCK {
        let line = format!("{id}\t{}\t{}\t{:84}\n", id % 100 + 1, balance(id as u32), "");
        frames::put(&mut block, b'd', |b| b.extend_from_slice(line.as_bytes()));
    }
    block
}

/// The sum of the balances of rows 1 to `rows`.
fn sum(rows: u64) -> i64 {
    (1..=rows).map(|id| balance(id as u32)).sum()
}
