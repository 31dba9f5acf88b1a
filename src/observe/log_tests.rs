//! Tests of the log: what a level may be, that lines arrive whole and in order, that a stuck reader costs
//! lines and not time.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex};

use super::*;

#[test]
fn a_level_is_a_level_or_a_list_of_directives() {
    for good in ["info", "off", "TRACE", "pgweir=debug", "info,pgweir::pool=trace"] {
        check_level(good).unwrap_or_else(|error| panic!("{good}: {error}"));
    }
    for bad in ["wran", "", "info,pgweir", "pgweir=loud"] {
        let error = check_level(bad).expect_err(bad);
        assert!(error.contains("is not a log"), "{bad}: {error}");
    }
}

#[test]
fn audit_lines_pass_every_level() {
    for (level, passes) in [("info", true), ("error", true), ("off", true), ("info,pgweir::audit=off", false)]
    {
        let base = tracing_subscriber::registry().with(filter(level).unwrap());
        tracing::subscriber::with_default(base, || {
            let shown = tracing::enabled!(target: AUDIT_TARGET, tracing::Level::INFO);
            assert_eq!(shown, passes, "{level}");
        });
    }
}

/// Hands on what the log's thread writes.
struct Pipe(Sender<Vec<u8>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(bytes.to_vec());
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn events(format: LogFormat) -> String {
    let (sender, receiver) = std::sync::mpsc::channel();
    let sink = Sink::start(format, Pipe(sender)).unwrap();
    let lines = fmt::layer().with_writer(sink.clone()).with_ansi(false);
    let base = tracing_subscriber::registry().with(filter("info").unwrap());
    let log = || {
        tracing::info!(client = 7, "client connected");
        tracing::debug!("not shown");
        tracing::warn!("{}", "x".repeat(3 * LINE_MAX));
    };
    match format {
        LogFormat::Text => tracing::subscriber::with_default(base.with(lines), log),
        LogFormat::Json => {
            let json = lines.json().flatten_event(true);
            tracing::subscriber::with_default(base.with(json), log);
        }
    }
    sink.flush(Duration::from_secs(10));
    let bytes: Vec<u8> = receiver.try_iter().flatten().collect();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn text_lines_arrive_whole_in_order_and_bounded() {
    let text = events(LogFormat::Text);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].contains(" INFO ") && lines[0].ends_with("client connected client=7"));
    assert!(lines[1].contains(" WARN "));
    assert_eq!(lines[1].len() + 1, LINE_MAX);
}

#[test]
fn json_lines_are_json() {
    let text = events(LogFormat::Json);
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first["level"], "INFO");
    assert_eq!(first["message"], "client connected");
    assert_eq!(first["client"], 7);
    assert!(first["timestamp"].as_str().unwrap().ends_with('Z'));
    let note: serde_json::Value =
        serde_json::from_str(&dropped_note(LogFormat::Json, 3)).expect("the note is JSON too");
    assert_eq!(note["dropped"], 3);
}

/// A stderr that nobody reads until the gate opens.
#[derive(Clone, Default)]
struct Stuck(Arc<Gate>);

#[derive(Default)]
struct Gate {
    /// Whether it is open, and what went through.
    state: Mutex<(bool, Vec<u8>)>,
    opened: Condvar,
}

impl Stuck {
    fn open(&self) {
        self.0.state.lock().unwrap().0 = true;
        self.0.opened.notify_all();
    }
}

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let state = self.0.state.lock().unwrap();
        let mut state = self.0.opened.wait_while(state, |(open, _)| !*open).unwrap();
        state.1.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_is_stuck_costs_lines_and_says_so() {
    let stderr = Stuck::default();
    let sink = Sink::start(LogFormat::Text, stderr.clone()).unwrap();
    let too_many = QUEUE_LINES + 100;
    for number in 0..too_many {
        writeln!(sink.make_writer(), "line {number}").unwrap();
    }
    // One line may be in the thread's hands, the rest of the queue's room is taken.
    let dropped = sink.dropped.load(Relaxed);
    assert!((99..=100).contains(&dropped), "{dropped}");
    sink.flush(Duration::from_millis(20));
    stderr.open();
    sink.flush(Duration::from_secs(10));
    let written = String::from_utf8(stderr.0.state.lock().unwrap().1.clone()).unwrap();
    let lines = written.lines().filter(|line| line.starts_with("line ")).count();
    assert_eq!(lines as u64 + dropped, too_many as u64);
    assert!(written.contains(&format!("{dropped} log lines were dropped here")));
}
