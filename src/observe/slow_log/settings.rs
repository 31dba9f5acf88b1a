//! What is slow, and where it is written, as the section `slow_log` of the rules says. Plain data.

use std::path::PathBuf;
use std::time::Duration;

/// The section `slow_log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowLogSettings {
    pub enabled: bool,
    /// What no rule matches is slow beyond this. A second is what a person notices as a wait.
    pub over: Duration,
    pub rules: Vec<Rule>,
    pub lines_per_minute: LinesPerMinute,
    /// Write the values of parameters and literals.
    pub parameters: bool,
    pub explain: ExplainSettings,
    /// JSON lines to a file. With neither this nor `stdout`, lines go to pgweir's own log.
    pub file: Option<FileSettings>,
    pub stdout: bool,
}

impl Default for SlowLogSettings {
    fn default() -> Self {
        SlowLogSettings {
            enabled: true,
            over: Duration::from_secs(1),
            rules: Vec::new(),
            lines_per_minute: LinesPerMinute::default(),
            parameters: false,
            explain: ExplainSettings::default(),
            file: None,
            stdout: false,
        }
    }
}

impl SlowLogSettings {
    /// Whether and how a statement may be explained whose threshold comes from this rule.
    pub fn explain_mode(&self, rule: Option<usize>) -> ExplainMode {
        let own = rule.and_then(|at| self.rules.get(at)?.explain);
        own.unwrap_or(self.explain.mode)
    }
}

/// A threshold for some statements. What is `None` matches everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub database: Option<String>,
    pub user: Option<String>,
    /// A table's name, with or without its schema.
    pub table: Option<String>,
    /// A fingerprint.
    pub shape: Option<u64>,
    pub limit: Limit,
    /// `None`: as `explain.mode` says.
    pub explain: Option<ExplainMode>,
}

/// When a statement is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Never,
    Over(Duration),
    /// Beyond so many times what 99 of 100 calls of its own shape stay within, and beyond `floor`.
    P99 {
        times: u32,
        floor: Option<Duration>,
    },
}

/// How many lines may be written. With 1 KB each, the default in all is at most 144 MB a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinesPerMinute {
    pub per_shape: u32,
    pub all: u32,
}

impl Default for LinesPerMinute {
    fn default() -> Self {
        LinesPerMinute { per_shape: 10, all: 100 }
    }
}

/// Asking PostgreSQL how it runs a slow statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainSettings {
    pub mode: ExplainMode,
    /// At most once per shape in this time.
    pub every: Duration,
    pub timeout: Duration,
}

impl Default for ExplainSettings {
    fn default() -> Self {
        let (every, timeout) = (Duration::from_secs(3600), Duration::from_secs(2));
        ExplainSettings { mode: ExplainMode::Off, every, timeout }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExplainMode {
    #[default]
    Off,
    /// EXPLAIN, which executes nothing.
    Plain,
    /// EXPLAIN ANALYZE of pure reads, which executes them again; EXPLAIN of all else.
    Analyze,
}

/// A file that is moved aside when it is full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    pub path: PathBuf,
    /// Bytes.
    pub max_size: u64,
    /// Files moved aside that are kept, as `path.1` (the latest), `path.2` and so on.
    pub keep: u32,
}

/// The default of `file.max_size` and `file.keep`: some weeks of a busy log.
pub const FILE_SIZE: u64 = 64 * 1024 * 1024;
pub const FILES_KEPT: u32 = 5;
