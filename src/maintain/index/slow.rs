//! Shapes from a file of the slow-query log, for advice without a running pgweir. Knows the lines and no
//! settings.

use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

use super::gather::{Shape, merge, sample};

/// Longer lines are none of ours.
const LINE_MAX: usize = 256 * 1024;

/// Lines that are read; a log is moved aside long before it has so many.
const LINES_MAX: usize = 1_000_000;

/// What is needed of a line.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(default)]
    database: String,
    shape: String,
    statement: String,
    #[serde(default)]
    server_ms: f64,
    #[serde(default)]
    rows: u64,
    #[serde(default)]
    suppressed: u64,
    #[serde(default)]
    sqlstate: Option<String>,
    #[serde(default)]
    parameters: Option<Vec<Option<String>>>,
}

/// The shapes of a file, of one database if it is named. Lines that are none are counted.
///
/// # Errors
/// The file cannot be read.
pub fn read(path: &Path, database: Option<&str>) -> Result<(Vec<Shape>, usize), String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = std::fs::File::open(path).map_err(wrong)?;
    let (mut shapes, mut other) = (Vec::new(), 0);
    for text in BufReader::new(file).lines().take(LINES_MAX) {
        let text = text.map_err(wrong)?;
        if text.trim().is_empty() || text.len() > LINE_MAX {
            continue;
        }
        match serde_json::from_str::<Line>(&text).ok().and_then(|line| shape(&line, database)) {
            Some(shape) => shapes.extend(shape),
            None => other += 1,
        }
        // A long log has few shapes.
        if shapes.len() > 10_000 {
            shapes = merge(shapes);
        }
    }
    Ok((merge(shapes), other))
}

/// The call, and those like it that have no line; `Some(None)`: it counts for nothing here.
fn shape(line: &Line, database: Option<&str>) -> Option<Option<Shape>> {
    let fingerprint = u64::from_str_radix(&line.shape, 16).ok()?;
    if database.is_some_and(|wanted| wanted != line.database) || line.sqlstate.is_some() {
        return Some(None);
    }
    let calls = 1 + line.suppressed;
    Some(Some(Shape {
        fingerprint,
        text: line.statement.clone(),
        calls,
        rows: line.rows * calls,
        total_ms: line.server_ms * calls as f64,
        samples: line
            .parameters
            .as_ref()
            .and_then(|values| sample(values, &line.statement))
            .into_iter()
            .collect(),
        whole: Vec::new(),
    }))
}
