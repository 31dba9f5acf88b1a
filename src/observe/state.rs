//! Ledger, findings, what was done to indexes and what was learned of loops over restarts: what is kept, and a small
//! file of JSON lines, one of them each, written whole and put in place at once. Holds shapes and totals, no value of
//! any statement.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use serde::{Deserialize, Serialize};

use super::findings::{Finding, Findings};
use super::indexes::{self, Acts};
use super::latency::Distribution;
use super::ledger::{Key, Ledger, Row, Totals};
use super::loops::{self, Loops};

/// The first line says what the file is.
#[derive(Debug, Serialize, Deserialize)]
struct Heading {
    pgweir_state: u32,
}

/// A later version is refused, so a change of the lines needs another number. The second had no indexes and loops.
const VERSION: u32 = 3;
const OLDEST: u32 = 2;

/// Longer lines are none of ours; of texts 4 KiB are kept, and a finding has two. An index on a table of a
/// thousand partitions takes two statements for each.
const LINE_MAX: usize = 1024 * 1024;

/// A line behind the first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Kept {
    Shape(Line),
    Finding(Box<Finding>),
    Index(indexes::Kept),
    Loop(loops::Kept),
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
    pub indexes: Vec<indexes::Kept>,
    pub loops: Vec<loops::Kept>,
}

/// Where it comes from, and goes.
#[derive(Debug, Clone, Copy)]
pub struct Books<'a> {
    pub ledger: &'a Ledger,
    pub findings: &'a Findings,
    pub indexes: &'a Acts,
    pub loops: &'a Loops,
}

impl Saved {
    /// What there is at this moment.
    pub fn of(books: Books<'_>) -> Saved {
        // The acts first: what they have counted is in the ledger that is saved with them.
        let indexes = books.indexes.every();
        Saved {
            shapes: books.ledger.rows().iter().map(line).collect(),
            findings: books.findings.every(),
            indexes,
            loops: books.loops.every(),
        }
    }

    /// Adds it to what this process has. Returns how many shapes.
    pub fn remember(self, books: Books<'_>) -> usize {
        let rows: Vec<Row> = self.shapes.into_iter().filter_map(row).collect();
        let count = rows.len();
        books.ledger.remember(rows);
        books.findings.remember(self.findings);
        books.indexes.remember(self.indexes);
        books.loops.remember(self.loops);
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

/// Writes the books to `path`, by way of a file beside it. Returns how many shapes.
///
/// # Errors
/// The folder or the file cannot be written; what was there before stays.
pub fn save(books: Books<'_>, path: &Path) -> io::Result<usize> {
    let saved = Saved::of(books);
    let count = saved.shapes.len();
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    // Statements are nobody else's business.
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    let mut file = BufWriter::new(file);
    serde_json::to_writer(&mut file, &Heading { pgweir_state: VERSION })?;
    let shapes = saved.shapes.into_iter().map(Kept::Shape);
    let found = saved.findings.into_iter().map(|finding| Kept::Finding(Box::new(finding)));
    let learned = saved.loops.into_iter().map(Kept::Loop);
    for line in shapes.chain(found).chain(saved.indexes.into_iter().map(Kept::Index)).chain(learned) {
        file.write_all(b"\n")?;
        serde_json::to_writer(&mut file, &line)?;
    }
    file.write_all(b"\n")?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&beside, path)?;
    Ok(count)
}

/// Puts what an earlier process saved into the books. Returns how many shapes; none if there is no
/// file.
///
/// # Errors
/// The file cannot be read or is not one of ours. Nothing is remembered then.
pub fn load(books: Books<'_>, path: &Path) -> io::Result<usize> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut lines = BufReader::new(file).lines();
    let heading: Heading = serde_json::from_str(&lines.next().unwrap_or_else(|| Ok(String::new()))?)?;
    if !(OLDEST..=VERSION).contains(&heading.pgweir_state) {
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
            Kept::Index(kept) => saved.indexes.push(kept),
            Kept::Loop(kept) => saved.loops.push(kept),
        }
    }
    Ok(saved.remember(books))
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
    use super::super::indexes::Dismissal;
    use super::super::ledger::Outcome;
    use super::*;

    #[derive(Default)]
    struct All(Ledger, Findings, Acts, Loops);

    impl All {
        fn books(&self) -> Books<'_> {
            Books { ledger: &self.0, findings: &self.1, indexes: &self.2, loops: &self.3 }
        }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let (folder, all) = (tempfile::tempdir().unwrap(), All::default());
        let path = folder.path().join("pgweir.state");
        assert_eq!(load(all.books(), &path).unwrap(), 0);
        let key = Key { database: "app".into(), user: "me".into(), fingerprint: u64::MAX };
        let entry = all.0.enter(key, "select \"a\nb\" from t where x = $1");
        entry.record(&Outcome { call: true, rows: 3, server_us: 1234, ..Outcome::default() }, 77);
        all.1.note(Met { class: "nested", proved: true, n: 12, time_us: 77, ..Met::default() });
        all.2.dismiss(Dismissal { id: "ix-01".to_owned(), reason: "no".to_owned(), at_s: 7 });
        let record = r#"{"template":"repeat","parent":null,"child":"01","sources":["same"],"fetched":1,"used":1,"episodes":1,"off":null}"#;
        all.3.of("app", "me").put(vec![serde_json::from_str(record).unwrap()]);
        assert_eq!(save(all.books(), &path).unwrap(), 1);
        let later = All::default();
        assert_eq!(load(later.books(), &path).unwrap(), 1);
        assert_eq!(later.0.rows(), all.0.rows());
        assert_eq!(later.1.list(), all.1.list());
        assert_eq!(later.1.list().len(), 1);
        assert_eq!(later.2.dismissals(), all.2.dismissals());
        assert_eq!(later.2.dismissals().len(), 1);
        assert_eq!(later.3.every(), all.3.every());
        assert_eq!(later.3.every().len(), 1);
    }

    #[test]
    fn the_version_before_is_read() {
        let (folder, all) = (tempfile::tempdir().unwrap(), All::default());
        let path = folder.path().join("x");
        fs::write(&path, "{\"pgweir_state\":2}\n").unwrap();
        assert_eq!(load(all.books(), &path).unwrap(), 0);
    }

    #[test]
    fn a_foreign_file_is_refused_and_nothing_remembered() {
        let (folder, all) = (tempfile::tempdir().unwrap(), All::default());
        let path = folder.path().join("x");
        for text in ["", "hello", "{\"pgweir_state\":1}\n", "{\"pgweir_state\":2}\n{\"kind\":\"shape\"}\n"] {
            fs::write(&path, text).unwrap();
            assert!(load(all.books(), &path).is_err(), "{text}");
        }
        assert_eq!(all.0.shapes(), 0);
    }
}
