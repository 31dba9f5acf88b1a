//! Statements one by one and as a batch, compared frame by frame: shapes × types × formats × values, by chance from
//! a seed. PostgreSQL answers both; nothing of pgweir's proxy runs.

#[path = "case.rs"]
mod case;
#[path = "compare.rs"]
mod compare;
#[path = "refuse.rs"]
pub mod refuse;
#[path = "schema.rs"]
mod schema;
#[path = "shapes.rs"]
mod shapes;
#[path = "values.rs"]
mod values;
#[path = "wire.rs"]
pub mod wire;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use pgweir::catalog::{Catalog, Oid};
use pgweir::coalesce::replay::Batch;
use pgweir::demo::cluster::Cluster;
use pgweir::sql::shape::Shaper;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use schema::Pool;
use wire::Wire;

/// What came of it.
#[derive(Debug, Default)]
pub struct Figures {
    /// Members whose answer from the batch was compared with their own.
    pub comparisons: u64,
    pub batches: u64,
    pub differences: u64,
    /// The first of them, for people.
    pub shown: Vec<String>,
    /// Answers that are not those of the plan for these values, but of the one that PostgreSQL makes without them.
    pub by_plan: u64,
    pub plans: BTreeMap<String, u64>,
    /// RowDescriptions that differ in a type's modifier, which PostgreSQL itself makes depend on the plan.
    pub other_modifier: u64,
    /// Members that the batch did not take, as they are not of its shape.
    pub unfit: u64,
    /// Batches that failed where one of the statements fails alone, too.
    pub errors: u64,
    /// Batches that failed although every statement works alone. They would be done one by one.
    pub failed_alone: BTreeMap<String, u64>,
    /// Shapes that were not replayed, and why.
    pub refused: BTreeMap<String, u64>,
    /// Statements that PostgreSQL does not accept for the type: no such operator, no binary form.
    pub impossible: u64,
    /// Shapes, types, and pairs of them that were compared.
    pub shapes: std::collections::BTreeSet<usize>,
    pub types: std::collections::BTreeSet<&'static str>,
    pub pairs: std::collections::BTreeSet<(usize, &'static str)>,
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} comparisons in {} batches: {} differences, {} as of a plan without values, \
             {} with a modifier that depends on the plan\n\
             {} shapes, {} types, {} pairs of them; {} statements that PostgreSQL does not accept\n\
             {} batches failed where a statement fails alone; {} members were not of the batch's shape",
            self.comparisons,
            self.batches,
            self.differences,
            self.by_plan,
            self.other_modifier,
            self.shapes.len(),
            self.types.len(),
            self.pairs.len(),
            self.impossible,
            self.errors,
            self.unfit,
        )?;
        for (what, list) in
            [("failed alone", &self.failed_alone), ("refused", &self.refused), ("by plan", &self.plans)]
        {
            for (why, count) in list {
                writeln!(out, "  {what}: {count} × {why}")?;
            }
        }
        self.shown.iter().try_for_each(|shown| writeln!(out, "{shown}"))
    }
}

/// Differences that are kept for people.
const SHOWN_MAX: usize = 10;
const SHOWN_CHARS: usize = 1_000;

impl Figures {
    pub fn difference(&mut self, text: String) {
        self.differences += 1;
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(text.chars().take(SHOWN_CHARS).collect());
        }
    }
}

/// What one run needs.
pub struct Fuzz {
    wire: Wire,
    random: StdRng,
    kinds: Vec<(&'static values::Kind, Oid)>,
    pools: HashMap<Oid, Pool>,
    catalog: Catalog,
    shaper: Shaper,
    batch: Batch,
    figures: Figures,
    plan_mode: &'static str,
    sabotage: bool,
}

/// Settings of the planner that are changed now and then, so that plans differ.
const PLANS: [&str; 8] = [
    "enable_seqscan",
    "enable_indexscan",
    "enable_bitmapscan",
    "enable_hashjoin",
    "enable_mergejoin",
    "enable_nestloop",
    "enable_hashagg",
    "enable_memoize",
];

/// Cases between such changes.
const CASES_PER_PLAN: u64 = 25;

impl Fuzz {
    /// Makes the tables. The database is empty and belongs to the superuser.
    pub fn new(cluster: &Cluster, database: &str, seed: u64) -> Fuzz {
        let mut wire = Wire::connect(cluster, database);
        let kinds = schema::create(&mut wire);
        let pools = schema::pools(&mut wire, &kinds);
        Fuzz {
            wire,
            random: StdRng::seed_from_u64(seed),
            kinds,
            pools,
            catalog: refuse::catalog(cluster, database),
            shaper: Shaper::default(),
            batch: Batch::default(),
            figures: Figures::default(),
            plan_mode: "auto",
            sabotage: false,
        }
    }

    /// Compares until so many comparisons are done; `progress` is told the figures after each case.
    pub fn run(&mut self, comparisons: u64, mut progress: impl FnMut(&Figures)) -> Figures {
        self.figures = Figures::default();
        let mut cases = 0_u64;
        while self.figures.comparisons < comparisons {
            if cases.is_multiple_of(CASES_PER_PLAN) {
                self.change_plans();
            }
            cases += 1;
            self.case();
            progress(&self.figures);
        }
        std::mem::take(&mut self.figures)
    }

    /// The same with answers that are handed to the wrong members, which must be seen.
    pub fn sabotaged(&mut self, comparisons: u64) -> Figures {
        self.sabotage = true;
        let figures = self.run(comparisons, |_| {});
        self.sabotage = false;
        figures
    }

    fn change_plans(&mut self) {
        // A plan that has to do what is switched off seems so dear that it would be compiled each time, and divided
        // among workers, whose rows come in any order.
        let mut text =
            String::from("set jit = off; set max_parallel_workers_per_gather = 0; set plan_cache_mode = ");
        self.plan_mode = ["auto", "force_generic_plan", "force_custom_plan"][self.random.random_range(0..3)];
        text.push_str(self.plan_mode);
        for setting in PLANS {
            let value = if self.random.random_bool(0.8) { "on" } else { "off" };
            text.push_str(&format!("; set {setting} = {value}"));
        }
        self.wire.must(&text);
    }
}
