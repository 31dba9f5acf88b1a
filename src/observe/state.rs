//! The ledger over restarts: a small file of JSON lines, one shape each, written whole and put in place at
//! once. Holds shapes and totals, no value of any statement.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::latency::Distribution;
use super::ledger::{Key, Ledger, Row, Totals};

/// The first line says what the file is.
#[derive(Debug, Serialize, Deserialize)]
struct Heading {
    pgweir_state: u32,
}

const VERSION: u32 = 1;

/// Longer lines are no shape of ours; texts are kept to 4 KiB.
const LINE_MAX: usize = 64 * 1024;

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

/// Writes the ledger to `path`, by way of a file beside it. Returns how many shapes.
///
/// # Errors
/// The folder or the file cannot be written; what was there before stays.
pub fn save(ledger: &Ledger, path: &Path) -> io::Result<usize> {
    let rows = ledger.rows();
    let beside = path.with_extension("new");
    let mut file = BufWriter::new(File::create(&beside)?);
    serde_json::to_writer(&mut file, &Heading { pgweir_state: VERSION })?;
    for row in &rows {
        file.write_all(b"\n")?;
        serde_json::to_writer(&mut file, &line(row))?;
    }
    file.write_all(b"\n")?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&beside, path)?;
    Ok(rows.len())
}

/// Puts what an earlier process saved into the ledger. Returns how many shapes; none if there is no file.
///
/// # Errors
/// The file cannot be read or is not one of ours. Nothing is remembered then.
pub fn load(ledger: &Ledger, path: &Path) -> io::Result<usize> {
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
    let mut rows = Vec::new();
    for text in lines {
        let text = text?;
        if text.len() <= LINE_MAX {
            rows.extend(row(serde_json::from_str(&text)?));
        }
    }
    let count = rows.len();
    ledger.remember(rows);
    Ok(count)
}

/// The ledger's row as it is kept.
pub fn line(row: &Row) -> Line {
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
pub fn row(line: Line) -> Option<Row> {
    let fingerprint = u64::from_str_radix(&line.shape, 16).ok()?;
    Some(Row {
        key: Key { database: line.database.into(), user: line.user.into(), fingerprint },
        text: line.text.into(),
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
    use super::super::ledger::Outcome;
    use super::*;

    #[test]
    fn what_is_saved_is_loaded() {
        let (folder, ledger) = (tempfile::tempdir().unwrap(), Ledger::default());
        let path = folder.path().join("pgweir.state");
        assert_eq!(load(&ledger, &path).unwrap(), 0);
        let key = Key { database: "app".into(), user: "me".into(), fingerprint: u64::MAX };
        let entry = ledger.enter(key, "select \"a\nb\" from t where x = $1");
        entry.record(&Outcome { call: true, rows: 3, server_us: 1234, ..Outcome::default() }, 77);
        assert_eq!(save(&ledger, &path).unwrap(), 1);
        let later = Ledger::default();
        assert_eq!(load(&later, &path).unwrap(), 1);
        assert_eq!(later.rows(), ledger.rows());
    }

    #[test]
    fn a_foreign_file_is_refused_and_nothing_remembered() {
        let (folder, ledger) = (tempfile::tempdir().unwrap(), Ledger::default());
        let path = folder.path().join("x");
        for text in ["", "hello", "{\"pgweir_state\":9}\n", "{\"pgweir_state\":1}\n{\"database\":1}\n"] {
            fs::write(&path, text).unwrap();
            assert!(load(&ledger, &path).is_err(), "{text}");
        }
        assert_eq!(ledger.shapes(), 0);
    }
}
