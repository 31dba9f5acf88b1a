//! One slow statement as a JSON line. Knows no file.

use std::time::SystemTime;

use serde::Serialize;

use super::Slow;

/// A statement's text is cut to this length in a line; the shape finds the whole of it.
const STATEMENT_MAX: usize = 8 * 1024;

/// The order of the fields is that of the file. Times are milliseconds.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    /// When it ended, RFC 3339.
    time: String,
    database: &'a str,
    user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    application_name: &'a str,
    client: &'a str,
    pub shape: String,
    /// Without its values.
    statement: &'a str,
    pub total_ms: f64,
    queue_ms: f64,
    server_ms: f64,
    client_ms: f64,
    rows: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sqlstate: Option<String>,
    in_transaction: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    threshold_ms: f64,
    /// Where the threshold stands in the rules.
    rule: String,
    /// Slow ones of this shape since its last line that have no line.
    suppressed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a [Option<Box<str>>]>,
}

impl<'a> Line<'a> {
    /// `values`: whether parameters may be shown.
    pub fn new(slow: &'a Slow, now: SystemTime, suppressed: u64, values: bool) -> Self {
        let (key, outcome) = (&slow.entry.key, &slow.outcome);
        let rule = match slow.verdict.rule {
            Some(at) => format!("slow_log.rules.{at}"),
            None => "slow_log.over".to_owned(),
        };
        Line {
            time: humantime::format_rfc3339_millis(now).to_string(),
            database: &key.database,
            user: &key.user,
            application_name: &slow.application,
            client: &slow.client,
            shape: format!("{:016x}", key.fingerprint),
            statement: cut(&slow.entry.text),
            total_ms: ms(outcome.total_us()),
            queue_ms: ms(outcome.queue_us),
            server_ms: ms(outcome.server_us),
            client_ms: ms(outcome.client_us),
            rows: outcome.rows,
            bytes: outcome.bytes,
            sqlstate: slow.sqlstate.map(|code| String::from_utf8_lossy(&code).into_owned()),
            in_transaction: slow.in_transaction,
            route: slow.origin.route.as_deref(),
            action: slow.origin.action.as_deref(),
            traceparent: slow.origin.traceparent.as_deref(),
            threshold_ms: ms(slow.verdict.over_us),
            rule,
            suppressed,
            parameters: slow.parameters.as_deref().filter(|_| values),
        }
    }

    /// The line with its end.
    pub fn bytes(&self) -> Vec<u8> {
        // Plain data under text keys always has a JSON form.
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// A line in pgweir's own log, for whoever has not asked for a file.
    pub fn tell(&self) {
        tracing::info!(
            target: "pgweir::slow",
            shape = self.shape,
            database = self.database,
            user = self.user,
            total_ms = self.total_ms,
            queue_ms = self.queue_ms,
            server_ms = self.server_ms,
            client_ms = self.client_ms,
            rows = self.rows,
            suppressed = self.suppressed,
            statement = self.statement,
            "slow statement"
        );
    }
}

fn cut(text: &str) -> &str {
    let end = (0..=STATEMENT_MAX.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    &text[..end.unwrap_or(0)]
}

fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}
