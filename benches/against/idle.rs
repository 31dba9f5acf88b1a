//! Measures what many clients cost that do nothing: resident memory for each, after login, after
//! each has asked once, after all have asked at the same moment; and CPU time while nobody asks.

use std::time::Duration;

use crate::load::{Load, Protocol};
use crate::metric::{Metric, Sample};
use crate::process::{cpu_time, memory};
use crate::queries::open;
use crate::scram::Keys;
use crate::target::Running;
use crate::{Bench, Fail};

/// How long CPU time is watched; the metric's name says it too.
const WATCH: Duration = Duration::from_secs(5);
/// After this, whatever a program does at the end of its work is done.
const SETTLE: Duration = Duration::from_secs(3);

/// How many ask at the same moment in the calm pass: fewer than there are servers.
const FEW: usize = 8;

pub fn measure(_bench: &Bench, running: &Running, clients: usize, seed: u64) -> Result<Sample, Fail> {
    let Some(pid) = running.pid() else {
        return Ok(Sample::default());
    };
    let mut keys = Keys::default();
    // One client before the count begins: pages that are touched once are not a cost per client.
    let mut first = Load::new(open(running.port, 1, &mut keys)?, Protocol::Extended, seed)?;
    first.once(1)?;
    std::thread::sleep(SETTLE);
    let empty = memory(pid)?.resident;
    let mut load = Load::new(open(running.port, clients, &mut keys)?, Protocol::Extended, seed)?;
    std::thread::sleep(SETTLE);
    let fresh = memory(pid)?;
    load.once(FEW)?;
    std::thread::sleep(SETTLE);
    let before = cpu_time(pid)?;
    std::thread::sleep(WATCH);
    let idle = cpu_time(pid)? - before;
    // Idle is who has rested for a while; what a session remembers of its last work is gone by then.
    let used = memory(pid)?;
    // All are still there and still answered rightly, now all at the same moment.
    load.once(clients)?;
    std::thread::sleep(SETTLE);
    let burst = memory(pid)?;
    let mut sample = Sample::default();
    sample.add(Metric::PerClientFresh, (fresh.resident - empty) / clients as f64);
    sample.add(Metric::PerClientUsed, (used.resident - empty) / clients as f64);
    sample.add(Metric::PerClientBurst, (burst.resident - empty) / clients as f64);
    sample.add(Metric::IdleCpu, idle.as_secs_f64() * 1e3);
    sample.add(Metric::Resident, used.resident / 1024.0);
    if let Some(proportional) = used.proportional {
        sample.add(Metric::Proportional, proportional / 1024.0);
    }
    Ok(sample)
}
