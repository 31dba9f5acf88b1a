//! From the mirror of the rules to the settings of the rooms, with the checks that span several keys.

use std::time::Duration;

use super::mirror::{self, RuleFile};
use super::{NPlusOneSettings, Rules, partitions};
use crate::coalesce::Thresholds;
use crate::config::human::Human;
use crate::config::resolve::{Context, size};
use crate::observe::findings;
use crate::observe::slow_log::settings::{
    ExplainMode, ExplainSettings, FileSettings, Limit, LinesPerMinute, Rule, SlowLogSettings,
};
use crate::observe::{ObserveSettings, StatePlace, StateSettings};
use crate::probe::ProbeSettings;

/// Builds the settings of the sections that `file` has. They are good only if no mistake was reported.
pub fn resolve(file: &RuleFile, context: &mut Context<'_>) -> Rules {
    Rules {
        observe: observe(context, &file.observe),
        probe: probe(context, &file.observe.probe),
        slow_log: slow_log(context, &file.slow_log),
        nplus1: nplus1(context, &file.nplus1),
        coalesce: super::coalesce::resolve(context, &file.coalesce),
        route: partitions::routes(&file.partitions),
        indexes: super::indexes::resolve(context, &file.indexes),
        auto: super::indexes::auto(context, &file.indexes.auto),
        partitions: partitions::tables(context, &file.partitions),
        maintenance: partitions::maintenance(context, &file.maintenance),
    }
}

/// Saving writes the whole state, so it is not done all the time.
const LEAST_EVERY: Duration = Duration::from_secs(1);

pub(super) fn not_zero(context: &mut Context<'_>, path: &[&str], Human(value): Human) {
    if value.is_zero() {
        context.wrong(path, "0 would mean without pause or without end; give a duration such as 5s");
    }
}

fn observe(context: &mut Context<'_>, observe: &mirror::Observe) -> ObserveSettings {
    let state = &observe.state;
    if state.every.0 < LEAST_EVERY {
        context.wrong(&["observe", "state", "every"], "give a duration of 1s or more");
    }
    let place = match (&state.file, &state.postgres) {
        (None, None) => StatePlace::Off,
        (Some(name), None) => {
            let path = ["observe", "state", "file"];
            if name.is_empty() {
                context.wrong(&path, "the name is empty; remove the key to keep nothing");
            }
            StatePlace::File(context.new_file(&path, name))
        }
        (None, Some(postgres)) => {
            let instance = postgres.instance.clone();
            let names = [
                ("database", Some(&postgres.database)),
                ("schema", Some(&postgres.schema)),
                ("instance", instance.as_ref()),
            ];
            for (key, _) in names.into_iter().filter(|(_, name)| name.is_some_and(|name| name.is_empty())) {
                context.wrong(&["observe", "state", "postgres", key], "the name is empty; give one");
            }
            let (database, schema) = (postgres.database.clone(), postgres.schema.clone());
            StatePlace::Postgres { database, schema, instance }
        }
        (Some(_), Some(_)) => {
            context.wrong(&["observe", "state"], "file and postgres are both set; keep one");
            StatePlace::Off
        }
    };
    ObserveSettings {
        enabled: observe.enabled,
        shapes: size(observe.shapes),
        parameters: observe.parameters,
        state: StateSettings { place, every: state.every.0 },
    }
}

fn probe(context: &mut Context<'_>, probe: &mirror::Probe) -> ProbeSettings {
    not_zero(context, &["observe", "probe", "refresh"], probe.refresh);
    not_zero(context, &["observe", "probe", "statement_timeout"], probe.statement_timeout);
    ProbeSettings {
        enabled: probe.enabled,
        user: probe.user.clone(),
        refresh: probe.refresh.0,
        statement_timeout: probe.statement_timeout.0,
    }
}

fn slow_log(context: &mut Context<'_>, slow_log: &mirror::SlowLog) -> SlowLogSettings {
    let ask = &slow_log.explain;
    not_zero(context, &["slow_log", "explain", "every"], ask.every);
    not_zero(context, &["slow_log", "explain", "timeout"], ask.timeout);
    let mode = mode(ask.mode);
    let rules = slow_log.rules.iter().enumerate().map(|(at, entry)| rule(context, at, entry)).collect();
    let file = slow_log.file.as_ref().map(|file| {
        // A line is cut to some KB; a file that holds none would be moved aside for each.
        const LEAST: u64 = 64 * 1024;
        if file.max_size.0 < LEAST {
            context.wrong(&["slow_log", "file", "max_size"], "too small for lines; give 64kB or more");
        }
        let path = context.new_file(&["slow_log", "file", "path"], &file.path);
        FileSettings { path, max_size: file.max_size.0, keep: file.keep }
    });
    let lines = &slow_log.lines_per_minute;
    SlowLogSettings {
        enabled: slow_log.enabled,
        over: slow_log.over.0,
        rules,
        lines_per_minute: LinesPerMinute { per_shape: lines.per_shape, all: lines.all },
        parameters: slow_log.parameters,
        explain: ExplainSettings { mode, every: ask.every.0, timeout: ask.timeout.0 },
        file,
        stdout: slow_log.stdout,
    }
}

fn rule(context: &mut Context<'_>, at: usize, rule: &mirror::SlowRule) -> Rule {
    let index = at.to_string();
    let place = ["slow_log", "rules", &index];
    let limit = match (rule.over, rule.p99, rule.never) {
        (None, None, true) => Limit::Never,
        (Some(Human(over)), None, false) => Limit::Over(over),
        (floor, Some(times), false) => Limit::P99 { times, floor: floor.map(|floor| floor.0) },
        (None, None, false) => {
            context.wrong(&place, "says of nothing when it is slow; add over, p99 or never: true");
            Limit::Never
        }
        (_, _, true) => {
            context.wrong(&place, "never goes with neither over nor p99; keep one");
            Limit::Never
        }
    };
    let explain = rule.explain.map(mode);
    for (key, name) in [("database", &rule.database), ("user", &rule.user), ("table", &rule.table)] {
        if name.as_deref() == Some("") {
            let path = ["slow_log", "rules", &index, key];
            context.wrong(&path, "the name is empty; remove the key to match every one");
        }
    }
    Rule {
        database: rule.database.clone(),
        user: rule.user.clone(),
        table: rule.table.clone(),
        shape: shape(context, &["slow_log", "rules", &index, "shape"], rule.shape.as_deref()),
        limit,
        explain,
    }
}

fn mode(mode: mirror::ExplainMode) -> ExplainMode {
    match mode {
        mirror::ExplainMode::Off => ExplainMode::Off,
        mirror::ExplainMode::Plain => ExplainMode::Plain,
        mirror::ExplainMode::Analyze => ExplainMode::Analyze,
    }
}

/// A fingerprint as reports print it.
pub(super) fn shape(context: &mut Context<'_>, path: &[&str], text: Option<&str>) -> Option<u64> {
    let text = text?;
    let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u64::from_str_radix(text, 16).ok().filter(|_| digits);
    if number.is_none() {
        context
            .wrong(path, "expected 16 hexadecimal digits in quotes, as `pgweir report queries` prints them");
    }
    number
}

fn nplus1(context: &mut Context<'_>, nplus1: &mirror::NPlusOne) -> NPlusOneSettings {
    not_zero(context, &["nplus1", "gap"], nplus1.gap);
    if nplus1.distinct > nplus1.minimum {
        let message = format!("distinct {} is larger than minimum {}", nplus1.distinct, nplus1.minimum);
        context.wrong(&["nplus1", "distinct"], message);
    }
    let us = |Human(value): Human| u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
    let silence = nplus1.silence.iter().enumerate();
    NPlusOneSettings {
        enabled: nplus1.enabled,
        thresholds: Thresholds {
            minimum: nplus1.minimum,
            distinct: nplus1.distinct,
            counted: nplus1.counted,
            total_us: us(nplus1.total),
            gap_us: us(nplus1.gap),
        },
        silence: silence.filter_map(|(at, entry)| silence_of(context, at, entry)).collect(),
    }
}

fn silence_of(context: &mut Context<'_>, at: usize, entry: &mirror::Silence) -> Option<findings::Silence> {
    let index = at.to_string();
    let place = ["nplus1", "silence", &index];
    match (&entry.finding, &entry.shape, &entry.table) {
        (Some(id), None, None) => {
            let digits = id.strip_prefix("np-").unwrap_or_default();
            if digits.len() != 8 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                let path = ["nplus1", "silence", &index, "finding"];
                context
                    .wrong(&path, "expected an id such as np-1234abcd, as `pgweir report nplus1` prints it");
            }
            Some(findings::Silence::Finding(id.clone()))
        }
        (None, Some(text), None) => {
            let path = ["nplus1", "silence", &index, "shape"];
            shape(context, &path, Some(text)).map(findings::Silence::Shape)
        }
        (None, None, Some(table)) if !table.is_empty() => Some(findings::Silence::Table(table.clone())),
        _ => {
            context.wrong(&place, "expected exactly one of finding, shape and table");
            None
        }
    }
}
