//! Ledger and findings over restarts: what is kept, and a small file of JSON lines, one shape or finding each,
//! written whole and put in place at once. Holds shapes and totals, no value of any statement.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use serde::{Deserialize, Serialize};

use super::findings::{Finding, Findings};
use super::latency::Distribution;
use super::ledger::{Key, Ledger, Row, Totals};

/// The first line says what the file is.
#[derive(Debug, Serialize, Deserialize)]
struct Heading {
    pgweir_state: u32,
}

/// Another version is refused, so a change of the lines needs another number.
const VERSION: u32 = 2;

/// Longer lines are none of ours; of texts 4 KiB are kept, and a finding has two.
const LINE_MAX: usize = 256 * 1024;

/// A line behind the first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Kept {
    Shape(Line),
    Finding(Box<Finding>),
}

/// One shape as it is kept, in a file or in a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub database: String,
    pub user: String,
    /// 16 hexadecimal digits.
    pub shape: String,
    pub text: String,
    pub calls: u64,
    pub errors: u64,
    pub rows: u64,
    pub bytes: u64,
    pub queue_us: u64,
    pub server_us: u64,
    pub client_us: u64,
    pub max_us: u64,
    pub first_s: u64,
    pub last_s: u64,
    /// Bucket and count.
    pub latency: Vec<(u16, u64)>,
}

/// All that is kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Saved {
    pub shapes: Vec<Line>,
    pub findings: Vec<Finding>,
}

impl Saved {
    /// What there is at this moment.
    pub fn of(ledger: &Ledger, findings: &Findings) -> Saved {
        Saved { shapes: ledger.rows().iter().map(line).collect(), findings: findings.every() }
    }

    /// Adds it to what this process has. Returns how many shapes.
    pub fn remember(self, ledger: &Ledger, findings: &Findings) -> usize {
        let rows: Vec<Row> = self.shapes.into_iter().filter_map(row).collect();
        let count = rows.len();
        ledger.remember(rows);
        findings.remember(self.findings);
        count
    }
}

/// How keeping them goes.
#[derive(Debug, Default)]
pub struct Counts {
    pub saves: AtomicU64,
    /// Attempts to load or save that failed.
    pub errors: AtomicU64,
}

/// Writes ledger and findings to `path`, by way of a file beside it. Returns how many shapes.
///
/// # Errors
/// The folder or the file cannot be written; what was there before stays.
pub fn save(ledger: &Ledger, findings: &Findings, path: &Path) -> io::Result<usize> {
    let saved = Saved::of(ledger, findings);
    let count = saved.shapes.len();
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    // Statements are nobody else's business.
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    let mut file = BufWriter::new(file);
    serde_json::to_writer(&mut file, &Heading { pgweir_state: VERSION })?;
    let shapes = saved.shapes.into_iter().map(Kept::Shape);
    let found = saved.findings.into_iter().map(|finding| Kept::Finding(Box::new(finding)));
    for line in shapes.chain(found) {
        file.write_all(b"\n")?;
        serde_json::to_writer(&mut file, &line)?;
    }
    file.write_all(b"\n")?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&beside, path)?;
    Ok(count)
}

/// Puts what an earlier process saved into ledger and findings. Returns how many shapes; none if there is no
/// file.
///
/// # Errors
/// The file cannot be read or is not one of ours. Nothing is remembered then.
pub fn load(ledger: &Ledger, findings: &Findings, path: &Path) -> io::Result<usize> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut lines = BufReader::new(file).lines();
    let heading: Heading = serde_json::from_str(&lines.next().unwrap_or_else(|| Ok(String::new()))?)?;
    if heading.pgweir_state != VERSION {
        let what = format!("version {} of a state file is not known", heading.pgweir_state);
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    let mut saved = Saved::default();
    for text in lines {
        let text = text?;
        if text.len() > LINE_MAX {
            continue;
        }
        match serde_json::from_str(&text)? {
            Kept::Shape(shape) => saved.shapes.push(shape),
            Kept::Finding(finding) => saved.findings.push(*finding),
        }
    }
    Ok(saved.remember(ledger, findings))
}

/// The ledger's row as it is kept.
fn line(row: &Row) -> Line {
    let totals = &row.totals;
    Line {
        database: row.key.database.to_string(),
        user: row.key.user.to_string(),
        shape: format!("{:016x}", row.key.fingerprint),
        text: row.text.to_string(),
        calls: totals.calls,
        errors: totals.errors,
        rows: totals.rows,
        bytes: totals.bytes,
        queue_us: totals.queue_us,
        server_us: totals.server_us,
        client_us: totals.client_us,
        max_us: totals.max_us,
        first_s: totals.first_s,
        last_s: totals.last_s,
        latency: totals.latency.sparse(),
    }
}

/// The row that a line holds; `None` when its shape is none.
fn row(line: Line) -> Option<Row> {
    let fingerprint = u64::from_str_radix(&line.shape, 16).ok()?;
    Some(Row {
        key: Key { database: line.database.into(), user: line.user.into(), fingerprint },
        text: line.text.into(),
        sample: None,
        totals: Totals {
            calls: line.calls,
            errors: line.errors,
            rows: line.rows,
            bytes: line.bytes,
            queue_us: line.queue_us,
            server_us: line.server_us,
            client_us: line.client_us,
            max_us: line.max_us,
            first_s: line.first_s,
            last_s: line.last_s,
            latency: Distribution::from_sparse(&line.latency),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::findings::Met;
    use super::super::ledger::Outcome;
    use super::*;

    #[test]
    fn what_is_saved_is_loaded() {
        let (folder, ledger, findings) =
            (tempfile::tempdir().unwrap(), Ledger::default(), Findings::default());
        let path = folder.path().join("pgweir.state");
        assert_eq!(load(&ledger, &findings, &path).unwrap(), 0);
        let key = Key { database: "app".into(), user: "me".into(), fingerprint: u64::MAX };
        let entry = ledger.enter(key, "select \"a\nb\" from t where x = $1");
        entry.record(&Outcome { call: true, rows: 3, server_us: 1234, ..Outcome::default() }, 77);
        findings.note(Met { class: "nested", proved: true, n: 12, time_us: 77, ..Met::default() });
        assert_eq!(save(&ledger, &findings, &path).unwrap(), 1);
        let (later, again) = (Ledger::default(), Findings::default());
        assert_eq!(load(&later, &again, &path).unwrap(), 1);
        assert_eq!(later.rows(), ledger.rows());
        assert_eq!(again.list(), findings.list());
        assert_eq!(again.list().len(), 1);
    }

    #[test]
    fn a_foreign_file_is_refused_and_nothing_remembered() {
        let (folder, ledger, findings) =
            (tempfile::tempdir().unwrap(), Ledger::default(), Findings::default());
        let path = folder.path().join("x");
        for text in ["", "hello", "{\"pgweir_state\":1}\n", "{\"pgweir_state\":2}\n{\"kind\":\"shape\"}\n"] {
            fs::write(&path, text).unwrap();
            assert!(load(&ledger, &findings, &path).is_err(), "{text}");
        }
        assert_eq!(ledger.shapes(), 0);
    }
}
