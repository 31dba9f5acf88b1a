//! The workload of single statements on single rows, each a transaction of its own: whatever order they are seen
//! in, each register has to be linearizable. Knows nothing of who is between the clients and the server.

use std::collections::HashMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::client::{Client, Clock, Front, Outcome, STYLES, Statement, Style, Target};
use super::nemesis;
use super::registers::{self, Act, Op};

pub const TABLE: &str = "CREATE TABLE IF NOT EXISTS reg (k bigint PRIMARY KEY, v bigint NOT NULL)";
pub const READ: &str = "SELECT v FROM reg WHERE k = $1";
pub const WRITE: &str = "UPDATE reg SET v = $2 WHERE k = $1";

/// Registers that all clients use at once.
const KEYS: u64 = 6;

pub struct Plan<'a> {
    pub target: &'a Target,
    pub direct: Option<&'a Target>,
    pub clients: u64,
    pub lasts: Duration,
    /// Writers rest for a random while below this, so that there is time between writes.
    pub pause: Duration,
    /// So many of a thousand writes are sent by a client that is gone before they can be answered.
    pub abandons: u32,
    pub front: Front,
    /// Keys of one run are not those of another.
    pub first_key: u64,
}

/// Registers with their initial value.
pub fn prepare(target: &Target, first_key: u64, keys: u64) {
    let text = "INSERT INTO reg SELECT k, 0 FROM generate_series($1::bigint, $2::bigint) k \
        ON CONFLICT (k) DO UPDATE SET v = 0";
    let insert = Statement::new(text, &[&first_key, &(first_key + keys - 1)]);
    let answer = Client::new(target, Clock::start(), Style::Simple, Front::Nothing).run(&[insert]).remove(0);
    assert!(matches!(answer.outcome, Outcome::Rows(_)), "{answer:?}");
}

/// How many operations there were, and what is wrong with them.
pub fn run(plan: &Plan<'_>) -> (usize, Vec<String>) {
    prepare(plan.direct.unwrap_or(plan.target), plan.first_key, KEYS);
    let (clock, value, stop) = (Clock::start(), AtomicU64::new(1), AtomicBool::new(false));
    let all_in = Barrier::new(plan.clients as usize);
    let ops: Vec<(u64, Op)> = std::thread::scope(|scope| {
        let nemesis = plan.direct.map(|direct| scope.spawn(|| nemesis::run(direct, &stop)));
        let client = |at| {
            let (value, all_in) = (&value, &all_in);
            scope.spawn(move || {
                let mut client = Client::new(plan.target, clock, Style::Simple, plan.front.clone());
                client.connect();
                all_in.wait();
                one_client(plan, client, value, at)
            })
        };
        let clients: Vec<_> = (0..plan.clients).map(client).collect();
        let ops: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        stop.store(true, Relaxed);
        nemesis.map(|nemesis| nemesis.join().unwrap());
        ops.into_iter().flat_map(|ops| ops.unwrap()).collect()
    });
    let count = ops.len();
    let mut by_key: HashMap<u64, Vec<Op>> = HashMap::new();
    ops.into_iter().for_each(|(key, op)| by_key.entry(key).or_default().push(op));
    let fault = |(key, ops): (&u64, &Vec<Op>)| {
        let fault = registers::check(ops).err()?;
        Some(format!("register {key} is not linearizable: {fault}"))
    };
    (count, by_key.iter().filter_map(fault).collect())
}

/// Each client does at least so much, however slow the machine is.
const OPS_MIN: usize = 20;

fn one_client(plan: &Plan<'_>, mut client: Client, value: &AtomicU64, at: u64) -> Vec<(u64, Op)> {
    let mut dice = StdRng::seed_from_u64(plan.first_key + at);
    let mut ops = Vec::new();
    let end = Instant::now() + plan.lasts;
    while Instant::now() < end || ops.len() < OPS_MIN {
        client.style = STYLES[dice.random_range(0..STYLES.len())];
        let mut key = || plan.first_key + dice.random_range(0..KEYS);
        if at.is_multiple_of(4) {
            let (key, value) = (key(), value.fetch_add(1, Relaxed));
            let write = Statement::new(WRITE, &[&key, &value]);
            let answer = match dice.random_ratio(plan.abandons, 1_000) {
                true => client.abandon(&write),
                false => client.run(&[write]).remove(0),
            };
            let (act, to) = match answer.outcome {
                Outcome::Rows(_) => (Act::Write(value), Some(answer.to)),
                Outcome::Refused(_) => (Act::Refused(value), Some(answer.to)),
                Outcome::Unknown => (Act::Write(value), None),
            };
            ops.push((key, Op { act, from: answer.from, to }));
            std::thread::sleep(plan.pause.mul_f64(dice.random_range(0.0..1.0)));
            continue;
        }
        let keys: Vec<u64> = (0..4).map(|_| key()).collect();
        let statements: Vec<Statement> = keys.iter().map(|key| Statement::new(READ, &[key])).collect();
        for (key, answer) in keys.iter().zip(client.look_up(&statements)) {
            if let Outcome::Rows(rows) = answer.outcome {
                let value = rows[0].parse().expect("a register holds a number");
                ops.push((*key, Op { act: Act::Read(value), from: answer.from, to: Some(answer.to) }));
            }
        }
    }
    ops
}
