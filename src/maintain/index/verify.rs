//! Whether an index kept its promise: measured times of the shapes that it was to help, and of those that it may
//! have slowed down, before and after. Decides by tallies; knows neither ledger nor connection.

use std::time::Duration;

use super::settings::Verify;
use crate::observe::indexes::{Act, Role, Shape, State, Tally};

/// Of the promised gain, what has to come.
const KEPT: f64 = 0.5;

/// Shapes with this part of the time that was to be saved have to be called often enough.
const COVERED: f64 = 0.8;

/// What is slower by less than this, in milliseconds, is not worth a word.
const FLOOR_MS: f64 = 0.2;

/// Calls before, from which on a shape's time is known.
const BEFORE_MIN: u64 = 10;

/// Standard errors by which the mean of the logarithms has to be apart (Welch). One of a thousand that are not
/// slower is by chance.
const APART: f64 = 3.3;

/// A bucket of the ledger's histogram is up to 0.22 wide in logarithms, so that a time in it is known to this
/// variance.
const BUCKET: f64 = 0.22 * 0.22 / 12.0;

/// A server that is busier than before excuses so many times the time.
const DRIFT_MAX: f64 = 4.0;

/// What is known of an index.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub state: State,
    pub gain_percent: Option<f64>,
    pub message: String,
}

/// `true`: the state is another than before. After the time to verify it stays as it is.
pub fn look(act: &mut Act, settings: &Verify, now_s: u64, now: impl Fn(&str) -> Option<Tally>) -> bool {
    let over = now_s > act.built_s + settings.within.as_secs();
    if !act.state.stands() || over && act.state != State::Verifying {
        return false;
    }
    for shape in act.shapes.iter_mut().chain(&mut act.others) {
        if let Some(tally) = now(&shape.shape) {
            shape.look(tally);
        }
    }
    let verdict = verdict(act, settings, now_s);
    let changed = act.state != verdict.state;
    (act.state, act.gain_percent, act.message) = (verdict.state, verdict.gain_percent, verdict.message);
    changed
}

/// Judges by what is counted.
pub fn verdict(act: &Act, settings: &Verify, now_s: u64) -> Verdict {
    let drift = drift(act, settings);
    let over = now_s > act.built_s + settings.within.as_secs();
    let slower: Vec<String> =
        act.shapes.iter().chain(&act.others).filter_map(|shape| slower(shape, drift, settings)).collect();
    let known: Vec<&Shape> = act.shapes.iter().filter(|shape| shape.after.calls >= settings.calls).collect();
    let gain = gain(&known, drift);
    let (gain_percent, measured) = match gain {
        Some((before, after)) => {
            let percent = 100.0 * (before - after) / f64::max(before, 1e-9);
            let promised = act.promised_percent;
            let text = format!(
                "measured: {before:.3} ms → {after:.3} ms in the mean ({percent:.0} % less, {promised:.0} % promised){}",
                drifted(drift)
            );
            (Some(percent), text)
        }
        None => (None, String::new()),
    };
    if !slower.is_empty() {
        let slower = slower.join(", ");
        let message = match measured.is_empty() {
            true => format!("slower than before: {slower}{}", drifted(drift)),
            false => format!("{measured}; slower than before: {slower}"),
        };
        return Verdict { state: State::Disappointing, gain_percent, message };
    }
    let wanted: f64 = act.shapes.iter().map(|shape| shape.before.ms.max(f64::MIN_POSITIVE)).sum();
    let have: f64 = known.iter().map(|shape| shape.before.ms.max(f64::MIN_POSITIVE)).sum();
    let covered = !act.shapes.is_empty() && have >= wanted * COVERED;
    match gain_percent {
        Some(gain) if covered || over => {
            let kept = gain >= act.promised_percent * KEPT;
            let state = if kept { State::Proved } else { State::Disappointing };
            Verdict { state, gain_percent, message: measured }
        }
        None if over && act.shapes.is_empty() => {
            let message = "nothing that is observed was to gain, and nothing got slower".to_owned();
            Verdict { state: State::Proved, gain_percent, message }
        }
        None if over => {
            let (calls, days) = (settings.calls, span(settings.within));
            let message = format!("no statement that it was to help was called {calls} times in {days}");
            Verdict { state: State::Disappointing, gain_percent, message }
        }
        _ => {
            let calls = settings.calls;
            let message = format!("waiting for {calls} calls of each shape");
            Verdict { state: State::Verifying, gain_percent, message }
        }
    }
}

fn span(span: Duration) -> String {
    match span.as_secs() {
        s if s >= 3600 => format!("{} h", s / 3600),
        s => format!("{s} s"),
    }
}

fn drifted(drift: f64) -> String {
    match (drift - 1.0) * 100.0 {
        percent if percent >= 5.0 => format!(", while other statements took {percent:.0} % longer"),
        _ => String::new(),
    }
}

/// By how much the server is slower than before, by statements that have nothing to do with the index: the
/// median of their ratios. At least 1, so that a quiet night proves nothing.
fn drift(act: &Act, settings: &Verify) -> f64 {
    let controls = act.others.iter().filter(|shape| shape.role == Role::Control);
    let known =
        controls.filter(|shape| shape.before.timed >= settings.calls && shape.after.timed >= settings.calls);
    let mut ratios: Vec<f64> =
        known.map(|shape| shape.after.logarithms().0 - shape.before.logarithms().0).collect();
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).map_or(1.0, |ratio| ratio.exp().clamp(1.0, DRIFT_MAX))
}

/// Mean milliseconds before and after, each shape counting as often as it was called before.
fn gain(known: &[&Shape], drift: f64) -> Option<(f64, f64)> {
    let calls: f64 = known.iter().map(|shape| shape.before.calls.max(1) as f64).sum();
    let sum = |of: fn(&Shape) -> f64| {
        known.iter().map(|shape| of(shape) * shape.before.calls.max(1) as f64).sum::<f64>()
    };
    (!known.is_empty()).then(|| {
        let before = sum(|shape| shape.before.mean_ms()) * drift / calls;
        (before, sum(|shape| shape.after.mean_ms()) / calls)
    })
}

/// A shape that is slower than it may be, for people: by its mean, which is what users pay, and by the mean of its
/// logarithms, which one slow call in a hundred does not move.
fn slower(shape: &Shape, drift: f64, settings: &Verify) -> Option<String> {
    let (before, after) = (&shape.before, &shape.after);
    if shape.role == Role::Control || before.calls < BEFORE_MIN || after.calls < settings.calls {
        return None;
    }
    let percent = match shape.role {
        Role::Writes => settings.slower_writes_percent,
        _ => settings.slower_percent,
    };
    let most = before.mean_ms() * drift * (1.0 + f64::from(percent) / 100.0) + FLOOR_MS;
    let ((then, then_variance), (now, now_variance)) = (before.logarithms(), after.logarithms());
    let of = |variance: f64, count: u64| (variance + BUCKET) / count.max(1) as f64;
    let error = (of(then_variance, before.timed) + of(now_variance, after.timed)).sqrt();
    let apart = (now - then - drift.ln()) / error;
    (after.mean_ms() > most && apart > APART).then(|| {
        let what = match shape.role {
            Role::Writes => "a write",
            _ => "a read",
        };
        format!("{} ({what}) {:.3} → {:.3} ms", shape.shape, before.mean_ms(), after.mean_ms())
    })
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
