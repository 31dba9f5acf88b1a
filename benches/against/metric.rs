//! What is measured, its unit, and the goals that issue 2 set. Must not know how it is measured.

/// One figure of a run. The order is the order of print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Queries, logins or bytes per second; see `Scenario`.
    Rate,
    P50,
    P99,
    /// CPU time of the proxy, user and system, per query, login or gigabyte.
    Cpu,
    /// CPU time of PostgreSQL's processes per query; not where they come and go with the clients.
    ServerCpu,
    /// CPU time of the load generator per query: how much of the machine the measuring itself took.
    LoadCpu,
    Resident,
    Proportional,
    /// Memory per idle client: after login, after each has asked a few at a time, and after all
    /// have asked at the same moment.
    PerClientFresh,
    PerClientUsed,
    PerClientBurst,
    /// CPU time while nobody asks anything.
    IdleCpu,
}

/// The unit of work that rates and CPU time are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Query,
    Login,
    Bytes,
    Nothing,
}

/// A bound that a figure should keep.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// Subject / peer at least this.
    AtLeast(f64),
    /// Subject / peer at most this.
    AtMost(f64),
    /// The subject's own figure at most this.
    Within(f64),
}

impl Metric {
    /// Name and unit as printed.
    pub fn title(self, unit: Unit) -> &'static str {
        match (self, unit) {
            (Metric::Rate, Unit::Query) => "queries/s",
            (Metric::Rate, Unit::Login) => "logins/s",
            (Metric::Rate, _) => "MB/s",
            (Metric::P50, _) => "p50 µs",
            (Metric::P99, _) => "p99 µs",
            (Metric::Cpu, Unit::Query) => "proxy CPU µs/query",
            (Metric::Cpu, Unit::Login) => "proxy CPU µs/login",
            (Metric::Cpu, _) => "proxy CPU s/GB",
            (Metric::ServerCpu, _) => "PostgreSQL CPU µs/query",
            (Metric::LoadCpu, Unit::Login) => "load generator CPU µs/login",
            (Metric::LoadCpu, _) => "load generator CPU µs/query",
            (Metric::Resident, _) => "proxy RSS MB",
            (Metric::Proportional, _) => "proxy PSS MB",
            (Metric::PerClientFresh, _) => "RSS KB/client, after login",
            (Metric::PerClientUsed, _) => "RSS KB/client, after a query",
            (Metric::PerClientBurst, _) => "RSS KB/client, after all at once",
            (Metric::IdleCpu, _) => "proxy CPU ms in 5 s idle",
        }
    }

    /// The key in the JSON file.
    pub fn key(self) -> &'static str {
        match self {
            Metric::Rate => "rate",
            Metric::P50 => "p50_us",
            Metric::P99 => "p99_us",
            Metric::Cpu => "proxy_cpu",
            Metric::ServerCpu => "server_cpu",
            Metric::LoadCpu => "load_cpu",
            Metric::Resident => "rss_mb",
            Metric::Proportional => "pss_mb",
            Metric::PerClientFresh => "rss_kb_per_client_fresh",
            Metric::PerClientUsed => "rss_kb_per_client_used",
            Metric::PerClientBurst => "rss_kb_per_client_burst",
            Metric::IdleCpu => "idle_cpu_ms",
        }
    }
}

impl Goal {
    /// Whether subject and peer (where there is one) keep it; `None` when it cannot be told.
    pub fn kept(self, subject: f64, peer: Option<f64>) -> Option<bool> {
        match self {
            Goal::Within(bound) => Some(subject <= bound),
            Goal::AtLeast(bound) => Some(subject / peer? >= bound),
            Goal::AtMost(bound) => Some(subject / peer? <= bound),
        }
    }

    pub fn text(self) -> String {
        match self {
            Goal::AtLeast(bound) => format!("≥ {bound}×"),
            Goal::AtMost(bound) => format!("≤ {bound}×"),
            Goal::Within(bound) => format!("≤ {bound}"),
        }
    }
}

/// The figures of one run.
#[derive(Debug, Clone, Default)]
pub struct Sample(pub Vec<(Metric, f64)>);

impl Sample {
    pub fn add(&mut self, metric: Metric, value: f64) {
        self.0.push((metric, value));
    }

    pub fn get(&self, metric: Metric) -> Option<f64> {
        self.0.iter().find(|(m, _)| *m == metric).map(|(_, v)| *v)
    }
}

/// The middle of some figures; of an even number, the mean of the two in the middle.
pub fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}
