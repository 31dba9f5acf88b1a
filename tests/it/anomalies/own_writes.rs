//! Read your writes over two connections: A writes and is answered, then B reads, while others have the same read
//! under way all the time. A proxy that lets B join a read that has already left answers with what was.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::client::{Client, Clock, Front, Outcome, STYLES, Statement, Style, Target};
use super::linear::{READ, WRITE, prepare};

pub struct Plan<'a> {
    pub target: &'a Target,
    pub rounds: u64,
    /// Clients that read the same row without a pause.
    pub readers: usize,
    pub front: Front,
    pub key: u64,
    /// The first stale read ends it.
    pub stop_at_first: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub rounds: u64,
    /// Reads of the others meanwhile.
    pub beside: u64,
    /// Reads that were older than they may be; a sentence for the first.
    pub stale: u64,
    pub first: Option<String>,
}

pub fn run(plan: &Plan<'_>) -> Report {
    prepare(plan.target, plan.key, 1);
    // What was acknowledged; readers may see no less.
    let (clock, stop, written) = (Clock::start(), AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let reader = |at: usize| {
            let (stop, written) = (&stop, &written);
            scope.spawn(move || {
                let style = STYLES[at % STYLES.len()];
                let mut client = Client::new(plan.target, clock, style, plan.front.clone());
                let mut report = Report::default();
                while !stop.load(Relaxed) {
                    let floor = written.load(Relaxed);
                    let value = look(&mut client, plan.key);
                    report.beside += 1;
                    report.judge("one beside", floor, value);
                }
                report
            })
        };
        let readers: Vec<_> = (0..plan.readers).map(reader).collect();
        let mut report = Report::default();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            rounds(plan, clock, &written, &mut report);
        }));
        stop.store(true, Relaxed);
        for reader in readers {
            let beside = reader.join().unwrap();
            report.beside += beside.beside;
            report.stale += beside.stale;
            report.first = report.first.take().or(beside.first);
        }
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        report
    })
}

fn rounds(plan: &Plan<'_>, clock: Clock, written: &AtomicU64, report: &mut Report) {
    let mut a = Client::new(plan.target, clock, Style::Simple, plan.front.clone());
    let mut b = Client::new(plan.target, clock, Style::Simple, plan.front.clone());
    for round in 1..=plan.rounds {
        a.style = STYLES[round as usize % STYLES.len()];
        b.style = STYLES[round as usize / STYLES.len() % STYLES.len()];
        let answer = a.run(&[Statement::new(WRITE, &[&plan.key, &round])]).remove(0);
        assert!(matches!(answer.outcome, Outcome::Rows(_)), "{answer:?}");
        written.store(round, Relaxed);
        let value = look(&mut b, plan.key);
        report.judge("B", round, value);
        report.rounds = round;
        if report.stale > 0 && plan.stop_at_first {
            break;
        }
    }
}

fn look(client: &mut Client, key: u64) -> u64 {
    match client.look_up(&[Statement::new(READ, &[&key])]).remove(0).outcome {
        Outcome::Rows(rows) => rows[0].parse().expect("a register holds a number"),
        failure => panic!("nobody disturbs this one: {failure:?}"),
    }
}

impl Report {
    fn judge(&mut self, who: &str, floor: u64, value: u64) {
        if value < floor {
            self.stale += 1;
            self.first
                .get_or_insert_with(|| format!("{who} read {value} when {floor} had been acknowledged"));
        }
    }
}
