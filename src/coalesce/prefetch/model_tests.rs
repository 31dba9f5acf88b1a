//! Any session against any other writers: what is answered from the buffer is what the database could have
//! answered at a moment that the level allows, and no bound is passed.

use proptest::prelude::*;

use super::buffer::{BATCHES_MAX, BYTES_MAX};
use super::keys::Key;
use super::level::{Isolation, Level};
use super::play::{Play, TABLES};
use super::table;

#[derive(Debug, Clone)]
enum Op {
    /// A list of so many rows, from this key on, and loops over it that end early.
    Loop {
        rows: i64,
        from: i64,
        steps: usize,
        tables: Vec<u64>,
        meanwhile: Vec<(usize, Op)>,
    },
    /// A loop inside of a loop.
    Nested {
        rows: i64,
        from: i64,
        steps: usize,
    },
    Look {
        table: u64,
        key: i64,
    },
    Own {
        table: u64,
        key: i64,
    },
    Other {
        table: u64,
        key: i64,
        around: bool,
    },
    Begin(Isolation),
    End(bool),
    Pause(u64),
    Forget(u8),
}

fn isolation() -> impl Strategy<Value = Isolation> {
    prop_oneof![
        Just(Isolation::ReadCommitted),
        Just(Isolation::RepeatableRead),
        Just(Isolation::Serializable)
    ]
}

fn simple() -> impl Strategy<Value = Op> {
    let (table, key) = (TABLES, 0..30_i64);
    prop_oneof![
        3 => (table.clone(), key.clone()).prop_map(|(table, key)| Op::Look { table, key }),
        2 => (table.clone(), key.clone()).prop_map(|(table, key)| Op::Own { table, key }),
        3 => (table, key, any::<bool>()).prop_map(|(table, key, around)| Op::Other { table, key, around }),
        2 => isolation().prop_map(Op::Begin),
        2 => any::<bool>().prop_map(Op::End),
        2 => (0..1_500_000_u64).prop_map(Op::Pause),
        1 => any::<u8>().prop_map(Op::Forget),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let meanwhile = proptest::collection::vec((0..40_usize, simple()), 0..4);
    let tables = proptest::sample::subsequence(TABLES.collect::<Vec<u64>>(), 1..=3);
    prop_oneof![
        3 => (2..40_i64, 0..30_i64, 0..45_usize, tables, meanwhile).prop_map(
            |(rows, from, steps, tables, meanwhile)| Op::Loop { rows, from, steps, tables, meanwhile }),
        1 => (2..9_i64, 0..3_i64, 0..9_usize).prop_map(|(rows, from, steps)| Op::Nested { rows, from, steps }),
        2 => simple(),
    ]
}

fn level() -> impl Strategy<Value = Level> {
    prop_oneof![
        Just(Level::Strict),
        Just(Level::Fenced),
        (1..900_u32).prop_map(|max_staleness_ms| Level::Bounded { max_staleness_ms }),
    ]
}

struct Run {
    play: Play,
    /// Writes around this process are not covered by a fence.
    around: bool,
    served: u32,
}

impl Run {
    fn new(level: Level) -> Self {
        let mut play = Play::new(level);
        play.small = Some(5);
        // Table 5 is small, and its rows are those that `Play` knows of.
        play.rows_per_key =
            |table, key| if table == 5 { u64::from(key < 30 && key % 4 > 0) } else { key as u64 % 3 };
        Run { play, around: matches!(level, Level::Bounded { .. }), served: 0 }
    }

    fn run(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Loop { rows, from, steps, tables, meanwhile } => {
                let rows: Vec<(i64, i64)> = (0..*rows).map(|at| (from + at * 7 % 41, at * 5 % 23)).collect();
                self.play.list(&rows);
                for (at, (a, b)) in rows.iter().enumerate().take(*steps) {
                    for table in tables {
                        self.look(*table, if table % 2 == 0 { *a } else { *b })?;
                    }
                    for (_, op) in meanwhile.iter().filter(|(when, _)| *when == at) {
                        self.run(op)?;
                    }
                }
            }
            Op::Nested { rows, from, steps } => {
                let rows: Vec<(i64, i64)> = (0..*rows).map(|at| (from + at * 3, at)).collect();
                self.play.list(&rows);
                for (a, _) in rows.iter().take(*steps) {
                    self.look(2, *a)?;
                    for row in 0..(self.play.rows_per_key)(2, *a) as i64 {
                        self.look(3, a * 10 + row)?;
                    }
                }
            }
            Op::Look { table, key } => self.look(*table, *key)?,
            Op::Own { table, key } => self.play.write(*table, *key),
            Op::Other { table, key, around } => self.play.other_writes(*table, *key, *around && self.around),
            Op::Begin(isolation) => self.play.begin(*isolation),
            Op::End(commits) => self.play.end(*commits),
            Op::Pause(us) => self.play.pause(*us),
            Op::Forget(how) => self.forget(*how),
        }
        Ok(())
    }

    fn forget(&mut self, how: u8) {
        let place = self.play.place();
        let session = &mut self.play.session;
        match how % 10 {
            0 => session.setting_changed(),
            1 => session.role_changed(),
            2 => session.rolled_back_to_savepoint(),
            3 => session.error(),
            4 => session.schema_changed(),
            5 => session.listened(),
            6 => session.discarded(),
            7 => session.own_write(None),
            8 => session.direct_read(None),
            _ => session.sweep(&place),
        }
        if how % 10 < 8 {
            assert!(self.play.session.is_empty());
        }
    }

    /// Looks a row up and says what was wrong with the answer.
    fn look(&mut self, table: u64, key: i64) -> Result<(), String> {
        let (frames, served) = self.play.look(table, key);
        self.check_bounds();
        let (wanted, now) = (Key::Integer(key), self.play.now_us);
        let legal = |play: &Play, state: &_| play.answer(state, table, &wanted).0 == frames;
        let visible = self.play.visible();
        let Some(served) = served else {
            let right = legal(&self.play, &visible);
            return if right {
                Ok(())
            } else {
                Err(format!("{table}/{key}: the server's own answer is not its own"))
            };
        };
        self.served += 1;
        let fixed = self.play.place().is_fixed();
        match self.play.level {
            Level::Strict if !fixed => Err(format!("{table}/{key}: strict serves in READ COMMITTED")),
            Level::Bounded { max_staleness_ms } if !fixed => {
                let taken = now - served.age_us;
                let oldest = self.play.seen_us.get(&table).copied().unwrap_or(0);
                let at = self.play.history.iter().rev().find(|(since, _)| *since <= taken);
                let state = self.play.over(&at.expect("it begins at 0").1);
                if served.age_us > u64::from(max_staleness_ms) * 1_000 {
                    Err(format!("{table}/{key}: {} µs old", served.age_us))
                } else if taken < oldest {
                    Err(format!("{table}/{key}: as of {taken}, after {oldest} was seen"))
                } else if !legal(&self.play, &state) {
                    Err(format!("{table}/{key}: not what it was at {taken}"))
                } else {
                    Ok(())
                }
            }
            // One snapshot, or nothing that anybody wrote meanwhile: as if the server had been asked.
            _ if legal(&self.play, &visible) => Ok(()),
            _ => Err(format!("{table}/{key}: stale by {} µs", served.age_us)),
        }
    }

    fn check_bounds(&self) {
        let (answers, keys) = self.play.session.weight();
        assert!(answers <= BYTES_MAX && keys <= table::BYTES_MAX + 2_048, "{answers} and {keys} bytes");
        assert_eq!(self.play.budget.used(), answers);
        assert!(self.play.session.buffer.len() <= BATCHES_MAX);
        assert!(self.play.session.loops.len() <= 32);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_those_of_a_legal_snapshot(level in level(), ops in proptest::collection::vec(op(), 1..40)) {
        let mut run = Run::new(level);
        for op in &ops {
            run.run(op).map_err(|what| TestCaseError::fail(format!("{level:?}: {what}")))?;
        }
        let budget = run.play.budget.clone();
        drop(run);
        prop_assert_eq!(budget.used(), 0);
    }
}

/// Ops at random, by a fixed seed, until the check fails. Returns after how many sessions, and how many
/// answers came from the buffer.
fn first_failure(level: Level, breaks: impl Fn(&mut Run)) -> (Option<usize>, u32) {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut served = 0;
    for session in 0..150 {
        let ops = proptest::collection::vec(op(), 1..40).new_tree(&mut runner).expect("nothing is filtered");
        let mut run = Run::new(level);
        breaks(&mut run);
        let failed = ops.current().iter().any(|op| run.run(op).is_err());
        served += run.served;
        if failed {
            return (Some(session), served);
        }
    }
    (None, served)
}

#[test]
fn the_check_sees_what_is_wrong() {
    for level in [Level::Fenced, Level::Bounded { max_staleness_ms: 500 }, Level::Strict] {
        let (failed, served) = first_failure(level, |_| {});
        assert_eq!(failed, None, "{level:?}");
        assert!(served > 500, "{served} answers from the buffer, {level:?}");
    }
    let (failed, _) = first_failure(Level::Fenced, |run| run.play.fence_works = false);
    assert!(failed.is_some(), "a fence that holds nothing");
    let (failed, _) = first_failure(Level::Fenced, |run| run.around = true);
    assert!(failed.is_some(), "writers who go around");
}
