//! The defaults of the rule files, taken from the rooms that obey them.

use super::indexes::Auto;
use super::mirror::{
    Explain, ExplainMode, Indexes, LinesPerMinute, NPlusOne, Observe, Probe, SlowLog, State,
};
use crate::advise::AdviseSettings;
use crate::coalesce::Thresholds;
use crate::config::defaults::count;
use crate::config::human::{Human, Size};
use crate::observe::slow_log::settings::{self as slow_log, FILE_SIZE, FILES_KEPT, SlowLogSettings};
use crate::observe::{ObserveSettings, StateSettings};
use crate::probe::ProbeSettings;

/// The schema of tables in PostgreSQL unless the rules say otherwise.
pub fn pgweir_schema() -> String {
    "pgweir".to_owned()
}

pub fn file_size() -> Size {
    Size(FILE_SIZE)
}

pub fn files_kept() -> u32 {
    FILES_KEPT
}

impl Default for Observe {
    fn default() -> Self {
        let room = ObserveSettings::default();
        Observe {
            enabled: room.enabled,
            shapes: count(room.shapes),
            parameters: room.parameters,
            state: State::default(),
            probe: Probe::default(),
        }
    }
}

impl Default for State {
    fn default() -> Self {
        State { file: None, postgres: None, every: Human(StateSettings::default().every) }
    }
}

impl Default for Probe {
    fn default() -> Self {
        let room = ProbeSettings::default();
        Probe {
            enabled: room.enabled,
            user: room.user,
            refresh: Human(room.refresh),
            statement_timeout: Human(room.statement_timeout),
        }
    }
}

impl Default for SlowLog {
    fn default() -> Self {
        let room = SlowLogSettings::default();
        SlowLog {
            enabled: room.enabled,
            over: Human(room.over),
            rules: Vec::new(),
            lines_per_minute: LinesPerMinute::default(),
            parameters: room.parameters,
            explain: Explain::default(),
            file: None,
            stdout: room.stdout,
        }
    }
}

impl Default for LinesPerMinute {
    fn default() -> Self {
        let room = slow_log::LinesPerMinute::default();
        LinesPerMinute { per_shape: room.per_shape, all: room.all }
    }
}

impl Default for Explain {
    fn default() -> Self {
        let room = slow_log::ExplainSettings::default();
        Explain { mode: ExplainMode::Off, every: Human(room.every), timeout: Human(room.timeout) }
    }
}

impl Default for NPlusOne {
    fn default() -> Self {
        let room = Thresholds::default();
        NPlusOne {
            enabled: true,
            minimum: room.minimum,
            distinct: room.distinct,
            counted: room.counted,
            total: Human(std::time::Duration::from_micros(room.total_us)),
            gap: Human(std::time::Duration::from_micros(room.gap_us)),
            silence: Vec::new(),
        }
    }
}

impl Default for Indexes {
    fn default() -> Self {
        let room = AdviseSettings::default();
        Indexes {
            enabled: room.enabled,
            budget_mb: room.budget_bytes >> 20,
            ignore: room.ignore,
            dismiss: Vec::new(),
            min_table: Size(room.min_table_bytes),
            min_rows: room.min_rows,
            min_gain_percent: room.min_gain_percent,
            max_per_table: count(room.max_per_table),
            name: room.name,
            every: Human(std::time::Duration::from_secs(room.every_s)),
            unused_after_days: room.unused_after_days,
            auto: Auto::default(),
        }
    }
}
