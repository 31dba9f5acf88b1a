//! The list of scenarios, the goals of each, and how one is run once against one target.
//! Must not know how results are shown.

use std::time::Duration;

use crate::bulk;
use crate::connect;
use crate::idle;
use crate::load::Protocol;
use crate::metric::{Goal, Metric, Sample, Unit};
use crate::options::Options;
use crate::queries;
use crate::target::{Auth, Program, Running, Target};
use crate::{Bench, Fail};

/// The numbers of clients that issue 2 names.
const CLIENTS: [usize; 4] = [1, 8, 32, 128];

#[derive(Debug, Clone, Copy)]
pub enum Work {
    Queries { protocol: Protocol, clients: usize, tls: bool },
    Connect { clients: usize, auth: Auth },
    RowsOut,
    CopyIn,
    Idle { clients: usize },
}

#[derive(Debug, Clone)]
pub struct Scenario {
    pub name: String,
    pub family: &'static str,
    pub work: Work,
    /// The peer is pgweir without observation, and the goals are those of issue 3.
    against_itself: bool,
}

/// Everything that can be run, in order of print.
pub fn all(options: &Options) -> Vec<Scenario> {
    let mut list = Vec::new();
    let mut add = |family, suffix: String, work| {
        let name = format!("{family}{suffix}");
        list.push(Scenario { name, family, work, against_itself: options.peer == "pgweir-unobserved" });
    };
    for protocol in [Protocol::Simple, Protocol::Extended, Protocol::Prepared] {
        for clients in CLIENTS {
            let work = Work::Queries { protocol, clients, tls: false };
            add(protocol.name(), format!("-{clients}"), work);
        }
    }
    for clients in [8, 32] {
        let protocol = Protocol::Extended;
        add("tls", format!("-{clients}"), Work::Queries { protocol, clients, tls: true });
    }
    let ways = [("", Auth::Password), ("-verifier", Auth::Verifier), ("-trust", Auth::Trust)];
    for (suffix, auth) in ways {
        add("connect", suffix.into(), Work::Connect { clients: 8, auth });
    }
    add("rows", String::new(), Work::RowsOut);
    add("copy", String::new(), Work::CopyIn);
    for clients in options.idle_clients() {
        add("idle", format!("-{clients}"), Work::Idle { clients });
    }
    list
}

impl Scenario {
    pub fn unit(&self) -> Unit {
        match self.work {
            Work::Queries { .. } => Unit::Query,
            Work::Connect { .. } => Unit::Login,
            Work::RowsOut | Work::CopyIn => Unit::Bytes,
            Work::Idle { .. } => Unit::Nothing,
        }
    }

    /// The goals of issue 2, and what observation may cost by issue 3.
    pub fn goal(&self, metric: Metric) -> Option<Goal> {
        if self.against_itself {
            return match (self.work, metric) {
                (Work::Queries { protocol: Protocol::Simple, .. }, Metric::Cpu) => Some(Goal::AtMost(1.1)),
                (Work::Queries { .. }, Metric::Cpu) => Some(Goal::AtMost(1.05)),
                _ => None,
            };
        }
        Some(match (self.work, metric) {
            (Work::Queries { protocol: Protocol::Extended, clients: 8 | 32, tls: false }, Metric::Rate) => {
                Goal::AtLeast(1.4)
            }
            (Work::Queries { .. } | Work::Connect { .. }, Metric::Rate) => Goal::AtLeast(1.0),
            (Work::Queries { clients: 1, .. }, Metric::Cpu) => Goal::AtMost(1.1),
            (Work::Queries { .. }, Metric::Cpu | Metric::P99) => Goal::AtMost(1.0),
            (Work::RowsOut | Work::CopyIn, Metric::Cpu) => Goal::AtMost(0.5),
            (Work::Idle { .. }, Metric::PerClientUsed) => Goal::Within(4.0),
            // A thousandth of a core, for the proxy's own clock.
            (Work::Idle { .. }, Metric::IdleCpu) => Goal::Within(5.0),
            _ => return None,
        })
    }

    /// Is there anything to learn from running it without a proxy?
    pub fn has_direct(&self) -> bool {
        // The private server asks for SCRAM always; it has no other ways to compare with.
        match self.work {
            Work::Connect { auth, .. } => auth == Auth::Password,
            Work::Idle { .. } => false,
            _ => true,
        }
    }

    /// What `target` runs instead, where it cannot do this; for the reader of the table.
    pub fn substitute(&self, target: &Target) -> Option<&'static str> {
        match self.work {
            Work::Queries { protocol: Protocol::Prepared, .. } if !target.prepares() => {
                Some("cannot do prepared statements in transaction mode: its extended protocol is shown")
            }
            _ => None,
        }
    }

    /// Starts the target, runs once, stops it.
    pub fn run(&self, bench: &Bench, target: &Target, seed: u64) -> Result<Sample, Fail> {
        let auth = match self.work {
            Work::Connect { auth, .. } => auth,
            _ => Auth::Password,
        };
        let mut running = target.start(&bench.site(), auth)?;
        let result = self.measure(bench, target, &mut running, seed);
        result.map_err(|error| match &running.process {
            Some(process) => format!("{error}; its log ends with: {}", process.last_words()).into(),
            None => error,
        })
    }

    fn measure(
        &self,
        bench: &Bench,
        target: &Target,
        running: &mut Running,
        seed: u64,
    ) -> Result<Sample, Fail> {
        match self.work {
            Work::Queries { protocol, clients, tls } => {
                let protocol = match self.substitute(target) {
                    Some(_) => Protocol::Extended,
                    None => protocol,
                };
                queries::measure(bench, running, &queries::Plan { protocol, clients, tls, seed })
            }
            Work::Connect { clients, .. } => connect::measure(bench, running, clients),
            Work::RowsOut => bulk::rows_out(bench, running),
            Work::CopyIn => bulk::copy_in(bench, running),
            Work::Idle { clients } => {
                debug_assert!(!matches!(target.program, Program::Direct));
                idle::measure(bench, running, clients, seed)
            }
        }
    }
}

/// How long a target works before it is measured: pools fill, caches warm.
pub const WARM_UP: Duration = Duration::from_millis(500);
