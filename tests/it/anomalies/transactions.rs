//! The workload of transactions: a few hot keys, many clients, one to four reads and writes each, at an isolation
//! level, while a nemesis ends backends. What comes out is the history. Knows nothing of what is allowed.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::client::{Answer, Client, Clock, Front, Outcome, STYLES, Statement, Style, Target};
use super::history::{Act, End, Held, Isolation, Kind, Step, Txn};
use super::nemesis;

pub struct Plan<'a> {
    pub target: &'a Target,
    /// Past everything that is tested, for the nemesis; `None`: nothing is ended.
    pub direct: Option<&'a Target>,
    pub kind: Kind,
    pub isolation: Isolation,
    pub clients: usize,
    pub lasts: Duration,
    pub front: Front,
    /// Keys of one run are not those of another.
    pub first_key: u64,
}

/// Hot keys at one time.
const KEYS: u64 = 5;

/// Writes per key, on average, until others become the hot ones: lists that grow for ever are slow to check.
const WRITES_PER_KEY: u64 = 24;

pub const TABLES: &str = "CREATE TABLE IF NOT EXISTS lists (k bigint PRIMARY KEY, v text NOT NULL); \
    CREATE TABLE IF NOT EXISTS regs (k bigint PRIMARY KEY, v bigint NOT NULL)";

const READ_LIST: &str = "SELECT v FROM lists WHERE k = $1";
const READ_REGISTER: &str = "SELECT v FROM regs WHERE k = $1";
const APPEND: &str = "INSERT INTO lists (k, v) VALUES ($1, 'e' || $2) \
    ON CONFLICT (k) DO UPDATE SET v = lists.v || ',' || EXCLUDED.v";
/// A register holds how many values it has had, and the last one in the lower half: so each read tells the order.
const WRITE: &str = "INSERT INTO regs (k, v) VALUES ($1, 4294967296 + $2) \
    ON CONFLICT (k) DO UPDATE SET v = (regs.v / 4294967296 + 1) * 4294967296 + $2 RETURNING v";

struct Shared<'a> {
    plan: &'a Plan<'a>,
    clock: Clock,
    /// The next value to be written, and so how many were.
    value: AtomicU64,
    process: AtomicI64,
    all_in: Barrier,
}

/// The history, and how many backends were ended meanwhile.
pub fn run(plan: &Plan<'_>) -> (Vec<Txn>, u64) {
    let shared = Shared {
        plan,
        clock: Clock::start(),
        value: AtomicU64::new(1),
        process: AtomicI64::new(0),
        all_in: Barrier::new(plan.clients),
    };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let nemesis = plan.direct.map(|direct| scope.spawn(|| nemesis::run(direct, &stop)));
        let clients: Vec<_> = (0..plan.clients)
            .map(|at| {
                let shared = &shared;
                scope.spawn(move || one_client(shared, at as u64))
            })
            .collect();
        let histories: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        stop.store(true, Relaxed);
        let ended = nemesis.map_or(0, |nemesis| nemesis.join().unwrap());
        (histories.into_iter().flat_map(|history| history.unwrap()).collect(), ended)
    })
}

/// Each client does at least so much, however slow the machine is.
const TXNS_MIN: usize = 15;

fn one_client(shared: &Shared<'_>, at: u64) -> Vec<Txn> {
    let mut dice = StdRng::seed_from_u64(at + shared.plan.first_key);
    let new_process = || shared.process.fetch_add(1, Relaxed);
    let plan = shared.plan;
    let mut client = Client::new(plan.target, shared.clock, Style::Simple, plan.front.clone());
    client.connect();
    shared.all_in.wait();
    let end = Instant::now() + plan.lasts;
    let (mut process, mut history) = (new_process(), Vec::new());
    while Instant::now() < end || history.len() < TXNS_MIN {
        client.style = STYLES[dice.random_range(0..STYLES.len())];
        let acts = acts(shared, &mut dice);
        // A single statement in READ COMMITTED often stands by itself.
        let alone = acts.len() == 1 && plan.isolation == Isolation::ReadCommitted && dice.random_bool(0.7);
        let txn = match alone {
            true => autocommit(shared, &mut client, process, acts),
            false => block(shared, &mut client, &mut dice, process, acts),
        };
        if txn.end == End::Unknown {
            process = new_process();
        }
        history.push(txn);
    }
    history
}

/// What a transaction is to do; reads have no values yet.
fn acts(shared: &Shared<'_>, dice: &mut StdRng) -> Vec<(u64, Act)> {
    let count = dice.random_range(1..=4);
    let mut acts = Vec::new();
    while acts.len() < count {
        let written = shared.value.load(Relaxed);
        let key =
            shared.plan.first_key + written / (KEYS * WRITES_PER_KEY) * KEYS + dice.random_range(0..KEYS);
        let read = dice.random_bool(0.6);
        let new = || shared.value.fetch_add(1, Relaxed);
        acts.push(match (shared.plan.kind, read) {
            (Kind::Lists, true) => (key, Act::List(Vec::new())),
            (Kind::Lists, false) => (key, Act::Append(new())),
            (Kind::Registers, true) => (key, Act::Register(None)),
            (Kind::Registers, false) => (key, Act::Write(new(), None)),
        });
    }
    acts
}

fn statement(key: u64, act: &Act) -> Statement {
    match act {
        Act::List(_) => Statement::new(READ_LIST, &[&key]),
        Act::Register(_) => Statement::new(READ_REGISTER, &[&key]),
        Act::Append(value) => Statement::new(APPEND, &[&key, value]),
        Act::Write(value, _) => Statement::new(WRITE, &[&key, value]),
    }
}

/// The act with what it saw; `Err`: it did not happen.
fn seen(act: Act, outcome: Outcome) -> Result<Act, Outcome> {
    let Outcome::Rows(rows) = outcome else {
        return Err(outcome);
    };
    let number = |text: &str| text.trim_start_matches('e').parse().expect("a value that was written");
    Ok(match act {
        Act::List(_) => {
            let all = rows.iter().flat_map(|row| row.split(','));
            Act::List(all.map(number).collect())
        }
        Act::Register(_) => Act::Register(rows.first().map(|row| held(number(row)))),
        Act::Write(value, _) => Act::Write(value, rows.first().map(|row| held(number(row)))),
        done => done,
    })
}

fn held(number: u64) -> Held {
    Held { version: number >> 32, value: number & u64::from(u32::MAX) }
}

fn is_read(act: &Act) -> bool {
    matches!(act, Act::List(_) | Act::Register(_))
}

/// Runs acts that are all reads or a single write.
fn ask(client: &mut Client, acts: &[(u64, Act)]) -> Vec<Answer> {
    let statements: Vec<Statement> = acts.iter().map(|(key, act)| statement(*key, act)).collect();
    match acts.first() {
        Some((_, act)) if is_read(act) => client.look_up(&statements),
        _ => client.run(&statements),
    }
}

fn autocommit(shared: &Shared<'_>, client: &mut Client, process: i64, acts: Vec<(u64, Act)>) -> Txn {
    let from = shared.clock.now();
    let answer = ask(client, &acts).remove(0);
    let fault = fault(&answer.outcome);
    let (key, act) = acts.into_iter().next().expect("there is one");
    let (end, act) = match seen(act.clone(), answer.outcome) {
        Ok(done) => (End::Committed, done),
        Err(Outcome::Unknown) if !is_read(&act) => (End::Unknown, act),
        Err(_) => (End::Aborted, act),
    };
    let steps = match (end, is_read(&act)) {
        // A read that failed saw nothing.
        (End::Aborted, true) => Vec::new(),
        _ => vec![Step { key, act, from: answer.from, to: answer.to }],
    };
    Txn { process, from, to: shared.clock.now(), end, steps, commit: from, fault }
}

fn block(
    shared: &Shared<'_>,
    client: &mut Client,
    dice: &mut StdRng,
    process: i64,
    acts: Vec<(u64, Act)>,
) -> Txn {
    let from = shared.clock.now();
    let (to, commit, steps) = (from, from, Vec::new());
    let mut txn = Txn { process, from, to, end: End::Aborted, steps, commit, fault: None };
    let mut opening = vec![shared.plan.isolation.begin()];
    if dice.random_bool(0.1) {
        // Waiting for a lock is what takes so long.
        opening.push("SET LOCAL statement_timeout = 25");
    }
    let opening: Vec<Statement> = opening.into_iter().map(|text| Statement::new(text, &[])).collect();
    note(&mut txn, &client.run(&opening));
    client.fixed_snapshot = shared.plan.isolation != Isolation::ReadCommitted;
    let mut rest = &acts[..];
    while txn.fault.is_none() && !rest.is_empty() {
        // Reads in a row may go together.
        let reads = rest.iter().take_while(|(_, act)| is_read(act)).count();
        let (now, later) = rest.split_at(reads.max(1));
        rest = later;
        let answers = ask(client, now);
        note(&mut txn, &answers);
        for ((key, act), answer) in now.iter().zip(answers) {
            if let Ok(act) = seen(act.clone(), answer.outcome) {
                txn.steps.push(Step { key: *key, act, from: answer.from, to: answer.to });
            }
        }
    }
    client.fixed_snapshot = false;
    let commits = txn.fault.is_none() && !dice.random_bool(0.05);
    txn.commit = shared.clock.now();
    let last = client.run(&[Statement::new(if commits { "COMMIT" } else { "ROLLBACK" }, &[])]);
    txn.end = match (&last[0].outcome, commits) {
        (Outcome::Rows(_), true) => End::Committed,
        (Outcome::Unknown, true) => End::Unknown,
        _ => End::Aborted,
    };
    if matches!(last[0].outcome, Outcome::Refused(_)) && !commits {
        client.reconnect();
    }
    note(&mut txn, &last);
    txn.to = shared.clock.now();
    txn
}

fn fault(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Rows(_) => None,
        Outcome::Refused(sqlstate) => Some(sqlstate.clone()),
        Outcome::Unknown => Some("lost".to_owned()),
    }
}

/// Keeps the first fault.
fn note(txn: &mut Txn, answers: &[Answer]) {
    let first = answers.iter().find_map(|answer| fault(&answer.outcome));
    txn.fault = txn.fault.take().or(first);
}
