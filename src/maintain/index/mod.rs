//! Index advice for a database that can be asked: statements from a ledger or a log, the catalog, PostgreSQL's
//! planner, and what comes of them. Its parts build what is advised (`apply`, `parted`), say what may be built by
//! itself and when (`auto`, `guard`, `settings`), and whether it was worth it (`history`, `verify`).

pub mod apply;
pub mod auto;
pub mod gather;
pub mod guard;
pub mod history;
mod parted;
pub mod settings;
pub mod slow;
pub mod verify;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::advise::drops::{self, DropSettings, Existing};
use crate::advise::{
    Advice, AdviseSettings, ColumnValues, Index, Node, Planned, Planner, Question, Statement, Surroundings,
    Workload, advise,
};
use crate::catalog::Oid;
use crate::probe::trial::{Circumstances, Trial, Tries};
use crate::probe::{Probe, ProbeError};

/// The search ends after this with what it has: 1,000 shapes are to take no longer than a minute.
pub const TIME_MAX: Duration = Duration::from_secs(22);

/// What is told of the outcome takes questions too, for which there is so much time more.
const CLOSING: Duration = Duration::from_secs(4);

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    #[serde(flatten)]
    pub advice: Advice,
    pub existing: Vec<Existing>,
    /// What would make the advice better, as sentences.
    pub hints: Vec<String>,
    pub took_ms: u64,
    /// Questions to the planner.
    pub questions: u64,
}

impl Outcome {
    /// Puts in what came of another user's statements in the same database. What both advise is said once.
    pub fn add(&mut self, other: Outcome) {
        for suggestion in other.advice.suggestions {
            match self.advice.suggestions.iter_mut().find(|known| known.id == suggestion.id) {
                Some(known) => {
                    known.gain_ms += suggestion.gain_ms;
                    known.shapes.extend(suggestion.shapes);
                }
                None => {
                    self.advice.size_bytes += suggestion.size_bytes;
                    self.advice.suggestions.push(suggestion);
                }
            }
        }
        self.advice.suggestions.sort_by(|one, other| other.gain_ms.total_cmp(&one.gain_ms));
        self.advice.notes.extend(other.advice.notes);
        self.advice.before_ms += other.advice.before_ms;
        self.advice.after_ms += other.advice.after_ms;
        self.advice.shapes += other.advice.shapes;
        self.advice.candidates += other.advice.candidates;
        self.hints
            .extend(other.hints.into_iter().filter(|hint| !self.hints.contains(hint)).collect::<Vec<_>>());
        self.took_ms += other.took_ms;
        self.questions += other.questions;
    }

    /// Says of each entry which database it is of.
    pub fn belongs_to(&mut self, database: &str) {
        self.advice.suggestions.iter_mut().for_each(|one| one.database = database.to_owned());
        self.existing.iter_mut().for_each(|one| one.database = database.to_owned());
    }
}

/// Advises one database.
///
/// # Errors
/// There is no connection, or it was lost on the way.
pub fn run(
    runtime: &Runtime,
    probe: &Probe,
    statements: &[Statement],
    settings: &AdviseSettings,
) -> Result<Outcome, ProbeError> {
    let begun = Instant::now();
    let catalog = runtime.block_on(probe.catalog())?;
    let trial = runtime.block_on(probe.trial())?;
    let tables: Vec<Oid> = catalog.tables.iter().map(|table| table.oid).collect();
    let known = runtime.block_on(trial.circumstances(&tables))?;
    let surroundings = surroundings(&known);
    let tries = trial.tries;
    let mut asker =
        Asker { runtime, trial, until: begun + TIME_MAX, asked: 0, asking: Duration::ZERO, lost: None };
    let workload = Workload { catalog: &catalog, surroundings: &surroundings, statements, settings };
    let advice = advise(&workload, &mut asker);
    if let Some(error) = asker.lost {
        return Err(error);
    }
    let mut hints = catalog.facts.notes.clone();
    match tries {
        Tries::Yes => {}
        Tries::Available => hints.push(
            "gains are estimates: with CREATE EXTENSION hypopg in this database PostgreSQL's planner would judge them"
                .to_owned(),
        ),
        Tries::No => hints.push(
            "gains are estimates: the extension hypopg (Debian: postgresql-NN-hypopg) would let PostgreSQL's planner \
             judge them"
                .to_owned(),
        ),
    }
    let drop_settings = DropSettings {
        unused_after_s: f64::from(settings.unused_after_days) * 86_400.0,
        ..DropSettings::default()
    };
    Ok(Outcome {
        advice,
        existing: drops::existing(&catalog, known.counted_s, &known.building, drop_settings),
        hints,
        took_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        questions: asker.asked,
    })
}

fn surroundings(known: &Circumstances) -> Surroundings {
    let values = known.values.iter().map(|of| {
        let values = ColumnValues { common: of.common.clone(), bounds: of.bounds.clone() };
        ((of.table, of.column), values)
    });
    Surroundings {
        bytewise: known.bytewise,
        values: values.collect(),
        all_visible: known.all_visible.iter().copied().collect(),
        random_page_cost: known.random_page_cost,
    }
}

/// The planner of one database, asked from a thread that may wait.
struct Asker<'a> {
    runtime: &'a Runtime,
    trial: Trial,
    until: Instant,
    asked: u64,
    /// Time that the questions took.
    asking: Duration,
    lost: Option<ProbeError>,
}

impl Asker<'_> {
    fn kept<T: Default>(&mut self, answer: Result<T, ProbeError>) -> T {
        answer.unwrap_or_else(|error| {
            self.lost.get_or_insert(error);
            T::default()
        })
    }
}

impl Planner for Asker<'_> {
    fn can_try(&self) -> bool {
        self.trial.tries == Tries::Yes
    }

    fn offer(&mut self, candidates: &[Index], ddl: &[String]) -> Vec<Result<u64, String>> {
        let answer = self.runtime.block_on(self.trial.offer(ddl));
        let sizes = self.kept(answer);
        (0..candidates.len()).map(|at| sizes.get(at).cloned().unwrap_or_else(|| Err(String::new()))).collect()
    }

    fn prepare(&mut self, questions: &[Question]) {
        let questions: Vec<(String, bool)> =
            questions.iter().map(|question| (question.text.clone(), question.generic)).collect();
        let answer = self.runtime.block_on(self.trial.prepare(&questions));
        self.kept(answer);
    }

    fn plan(&mut self, candidates: &[usize], questions: &[usize]) -> Vec<Option<Planned>> {
        if self.lost.is_some() {
            return vec![None; questions.len()];
        }
        self.asked += questions.len() as u64;
        let begun = Instant::now();
        let answer = self.runtime.block_on(self.trial.plan(candidates, questions));
        self.asking += begun.elapsed();
        let plans = self.kept(answer);
        let plan = |plan: crate::probe::trial::Plan| Planned {
            cost: plan.cost,
            nodes: plan
                .reads
                .into_iter()
                .map(|read| Node {
                    kind: read.kind,
                    table: read.table,
                    candidate: read.tried,
                    index: read.index,
                    rows: read.rows,
                    cost: read.cost,
                })
                .collect(),
        };
        let mut plans: Vec<Option<Planned>> = plans.into_iter().map(|one| one.map(plan)).collect();
        plans.resize(questions.len(), None);
        plans
    }

    fn exhausted(&self) -> bool {
        self.lost.is_some() || Instant::now() > self.until
    }

    fn spent(&self) -> bool {
        self.lost.is_some() || Instant::now() > self.until + CLOSING
    }

    fn is_long(&self, questions: usize) -> bool {
        let each = self.asking / u32::try_from(self.asked.max(1)).unwrap_or(u32::MAX);
        let left = self.until.saturating_duration_since(Instant::now());
        each.saturating_mul(u32::try_from(questions).unwrap_or(u32::MAX)) > left / 2
    }
}
