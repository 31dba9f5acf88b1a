//! Measures look-ups: so many clients, one protocol, with or without TLS.

use std::process::{Child, Command};

use crate::connection::{Blocking, Wire};
use crate::load::{Load, Protocol, Tally};
use crate::metric::{Metric, Sample};
use crate::process::{cpu_time, cpu_time_of_children, memory};
use crate::scenario::WARM_UP;
use crate::scram::Keys;
use crate::target::Running;
use crate::{Bench, Fail};

pub struct Plan {
    pub protocol: Protocol,
    pub clients: usize,
    pub tls: bool,
    pub seed: u64,
}

pub fn measure(bench: &Bench, running: &Running, plan: &Plan) -> Result<Sample, Fail> {
    let mut keys = Keys::default();
    let tls = plan.tls.then_some(&bench.tls.client);
    let wires: Result<Vec<_>, Fail> =
        (0..plan.clients).map(|_| Wire::open(running.port, tls, &mut keys)).collect();
    let mut load = Load::new(wires?, plan.protocol, plan.seed)?;
    load.begin()?;
    load.run(WARM_UP)?;
    let attached = Attached::start(bench, running)?;
    let mut seen = 0;
    if attached.is_active() {
        seen += load.run(WARM_UP)?.latencies.len();
    }
    let before = Clocks::read(bench, running)?;
    let tally = load.run(bench.options.stretch())?;
    let after = Clocks::read(bench, running)?;
    attached.finish(seen + tally.latencies.len(), "queries");
    let mut sample = Sample::default();
    add_speed(&mut sample, tally, &before, &after);
    add_memory(&mut sample, running)?;
    load.finish()?;
    Ok(sample)
}

/// CPU clocks of everybody who takes part, in nanoseconds.
pub struct Clocks {
    proxy: Option<f64>,
    server: f64,
    load: f64,
}

impl Clocks {
    pub fn read(bench: &Bench, running: &Running) -> Result<Clocks, Fail> {
        let proxy = running.pid().map(cpu_time).transpose()?;
        Ok(Clocks {
            proxy: proxy.map(|time| time.as_nanos() as f64),
            server: cpu_time_of_children(bench.cluster.pid()).as_nanos() as f64,
            load: cpu_time(std::process::id())?.as_nanos() as f64,
        })
    }

    /// Seconds that the proxy worked since `before`; `None` without a proxy.
    pub fn proxy_seconds(&self, before: &Clocks) -> Option<f64> {
        Some((self.proxy? - before.proxy?) / 1e9)
    }
}

/// Rate, latency and CPU time per unit.
pub fn add_speed(sample: &mut Sample, mut tally: Tally, before: &Clocks, after: &Clocks) {
    let count = tally.latencies.len() as f64;
    sample.add(Metric::Rate, count / tally.seconds);
    tally.latencies.sort_unstable();
    for (metric, quantile) in [(Metric::P50, 0.5), (Metric::P99, 0.99)] {
        let rank = (count * quantile) as usize;
        if let Some(nanos) = tally.latencies.get(rank) {
            sample.add(metric, f64::from(*nanos) / 1e3);
        }
    }
    if count == 0.0 {
        return;
    }
    if let Some(seconds) = after.proxy_seconds(before) {
        sample.add(Metric::Cpu, seconds * 1e6 / count);
    }
    sample.add(Metric::ServerCpu, (after.server - before.server) / 1e3 / count);
    sample.add(Metric::LoadCpu, (after.load - before.load) / 1e3 / count);
}

/// What the proxy holds now.
pub fn add_memory(sample: &mut Sample, running: &Running) -> Result<(), Fail> {
    if let Some(pid) = running.pid() {
        let memory = memory(pid)?;
        sample.add(Metric::Resident, memory.resident / 1024.0);
        if let Some(proportional) = memory.proportional {
            sample.add(Metric::Proportional, proportional / 1024.0);
        }
    }
    Ok(())
}

/// The command of `--attach`, running beside the measurement.
pub struct Attached(Option<Child>);

impl Attached {
    pub fn start(bench: &Bench, running: &Running) -> Result<Attached, Fail> {
        let (Some(line), Some(pid)) = (&bench.options.attach, running.pid()) else {
            return Ok(Attached(None));
        };
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let line = line.replace("{pid}", &pid.to_string()).replace("{name}", name.trim());
        let child = Command::new("sh").arg("-c").arg(format!("exec {line}")).spawn()?;
        Ok(Attached(Some(child)))
    }
}

impl Attached {
    /// While this is true the tool needs a moment (`WARM_UP`) to attach.
    pub fn is_active(&self) -> bool {
        self.0.is_some()
    }

    /// Ends the command and says what its counts have to be divided by.
    pub fn finish(self, count: usize, unit: &str) {
        if self.is_active() {
            drop(self);
            println!("while attached: {count} {unit}");
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // SAFETY: kill has no memory effects; the child has not been waited for.
            unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
            let _ = child.wait();
        }
    }
}

/// Opens `count` connections without TLS.
pub fn open(port: u16, count: usize, keys: &mut Keys) -> Result<Vec<Blocking>, Fail> {
    (0..count).map(|_| Wire::open(port, None, keys)).collect()
}
