//! The slow-query log's thread: asks the sampler, writes lines, notes what is worth an EXPLAIN.

use std::io::Write;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use super::explain::{Call, ExplainWanted, Explains};
use super::line::Line;
use super::rotate::Rotating;
use super::sample::Sampler;
use super::settings::{ExplainMode, SlowLogSettings};
use super::{Counts, Item, Slow};
use crate::sql::plannable;

pub struct Writer {
    wanted: Arc<Mutex<Arc<SlowLogSettings>>>,
    settings: Arc<SlowLogSettings>,
    sampler: Sampler,
    file: Option<Rotating>,
    /// What was last said of a file that cannot be written, so that it is said once.
    trouble: Option<String>,
    counts: Arc<Counts>,
    explains: Arc<Explains>,
    started: Instant,
}

impl Writer {
    /// Obeys what `wanted` holds at each line.
    pub fn new(
        wanted: Arc<Mutex<Arc<SlowLogSettings>>>,
        counts: Arc<Counts>,
        explains: Arc<Explains>,
    ) -> Self {
        let settings = wanted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let sampler = Sampler::new(settings.lines_per_minute, 0);
        let file = settings.file.clone().map(Rotating::new);
        Writer { wanted, settings, sampler, file, trouble: None, counts, explains, started: Instant::now() }
    }

    /// Works until it is told to end, or nobody is left who could tell.
    pub fn run(mut self, items: &Receiver<Item>) {
        while let Ok(item) = items.recv() {
            match item {
                Item::Slow(slow) => self.take(&slow),
                Item::End(done) => {
                    let _ = done.try_send(());
                    return;
                }
            }
        }
    }

    fn look_at_settings(&mut self) {
        let settings = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if Arc::ptr_eq(&settings, &self.settings) {
            return;
        }
        self.sampler.set_limits(settings.lines_per_minute, self.now_ms());
        if settings.file != self.settings.file {
            self.file = settings.file.clone().map(Rotating::new);
            self.trouble = None;
        }
        self.settings = settings;
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn take(&mut self, slow: &Slow) {
        self.look_at_settings();
        let entry = &slow.entry;
        self.want_plan(slow, self.settings.explain_mode(slow.verdict.rule));
        let Some(suppressed) = self.sampler.admit(&entry.key, self.now_ms()) else {
            self.counts.suppressed.fetch_add(1, Relaxed);
            return;
        };
        let settings = self.settings.clone();
        let line = Line::new(slow, SystemTime::now(), suppressed, settings.parameters);
        if self.file.is_none() && !settings.stdout {
            line.tell();
            self.counts.written.fetch_add(1, Relaxed);
            return;
        }
        let bytes = line.bytes();
        let mut written = false;
        if settings.stdout {
            let mut out = std::io::stdout().lock();
            let outcome = out.write_all(&bytes).and_then(|()| out.flush());
            written |= self.judge_outcome("standard output", outcome.map(|()| false));
        }
        if let Some(file) = &mut self.file {
            let outcome = file.write(&bytes);
            let path = settings.file.as_ref().map(|file| file.path.display().to_string());
            written |= self.judge_outcome(&path.unwrap_or_default(), outcome);
        }
        self.counts.written.fetch_add(u64::from(written), Relaxed);
    }

    /// Counts what writing came to; says what is wrong once, until it changes.
    fn judge_outcome(&mut self, place: &str, outcome: std::io::Result<bool>) -> bool {
        match outcome {
            Ok(moved) => {
                self.counts.rotations.fetch_add(u64::from(moved), Relaxed);
                if self.trouble.take().is_some() {
                    tracing::info!("the slow-query log can be written again");
                }
                true
            }
            Err(error) => {
                self.counts.write_errors.fetch_add(1, Relaxed);
                let trouble = format!("{place}: {error}");
                if self.trouble.as_ref() != Some(&trouble) {
                    tracing::error!(
                        "the slow-query log cannot be written: {trouble}; its lines are lost until that is \
                         put right (slow_log.file in the rules)"
                    );
                    self.trouble = Some(trouble);
                }
                false
            }
        }
    }

    fn want_plan(&self, slow: &Slow, mode: ExplainMode) {
        let has_plan = || plannable::is_planned(&slow.entry.text).is_ok();
        if mode == ExplainMode::Off || slow.sqlstate.is_some() || !has_plan() {
            return;
        }
        let explain = &self.settings.explain;
        let wanted = || ExplainWanted {
            key: slow.entry.key.clone(),
            statement: slow.entry.text.clone(),
            analyze: mode == ExplainMode::Analyze,
            timeout: explain.timeout,
            search_path: slow.search_path.clone(),
            call: self.settings.parameters.then(|| call(slow)).flatten(),
        };
        self.explains.want(&slow.entry.key, explain.every, Instant::now(), wanted);
    }
}

/// The statement with its values.
fn call(slow: &Slow) -> Option<Call> {
    let ((text, literals), values) = (slow.original.clone()?, slow.parameters.as_deref()?);
    Some(Call { text, parameters: values.get(literals..)?.into() })
}
