//! Ends and cancels backends at random while a workload runs, until it is told to stop.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::client::{Client, Clock, Front, Outcome, Statement, Style, Target};

/// Often enough that each second has several faults, and seldom enough that most transactions get through.
const PERIOD: Duration = Duration::from_millis(60);

const OTHERS: &str = "FROM (SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
    AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND application_name <> 'pgweir probe' \
    ORDER BY state <> 'active', random() LIMIT 1) o";

/// Returns how many backends it ended.
pub fn run(direct: &Target, stop: &AtomicBool) -> u64 {
    let mut client = Client::new(direct, Clock::start(), Style::Simple, Front::Nothing);
    let texts: [&'static str; 2] = ["pg_terminate_backend", "pg_cancel_backend"]
        .map(|function| &*format!("SELECT count(*) FILTER (WHERE {function}(pid)) {OTHERS}").leak());
    let mut ended = 0;
    for round in 0.. {
        if stop.load(Relaxed) {
            break;
        }
        let kills = round % 3 != 2;
        let answer = client.run(&[Statement::new(texts[usize::from(!kills)], &[])]).remove(0);
        if let Outcome::Rows(rows) = answer.outcome
            && kills
        {
            ended += rows.first().and_then(|row| row.parse::<u64>().ok()).unwrap_or_default();
        }
        std::thread::sleep(PERIOD);
    }
    ended
}
