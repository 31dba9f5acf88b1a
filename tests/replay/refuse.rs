//! What must not be shared is refused, however deep it is hidden: something poisonous (a volatile function, a row lock,
//! a sample) behind views, functions, policies, operators, casts and domains, in any place of a statement. The same
//! hiding places around something harmless show that not everything is refused. PostgreSQL makes all of it, and the
//! catalog is read from it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pgweir::auth::Secret;
use pgweir::auth::credential::ServerLogin;
use pgweir::catalog::Catalog;
use pgweir::coalesce::eligible::{self, Level, Reason, Session, Sharing, Statement};
use pgweir::demo::cluster::Cluster;
use pgweir::pool::connector::Connector;
use pgweir::pool::settings::ServerAddress;
use pgweir::probe::{Probe, ProbeSettings, Target};
use pgweir::sql::guard;
use pgweir::tls::ServerTls;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::wire::Wire;

/// What came of it.
#[derive(Debug, Default)]
pub struct Figures {
    pub poisonous: u64,
    /// Of these, the ones that were not refused.
    pub accepted: Vec<String>,
    pub harmless: u64,
    /// Of these, the ones that were refused, and why.
    pub refused: BTreeMap<String, u64>,
    pub reasons: BTreeMap<&'static str, u64>,
    /// Made by the generator and not accepted by PostgreSQL or not read by the parser.
    pub impossible: u64,
}

impl Figures {
    pub fn harmless_refused(&self) -> u64 {
        self.refused.values().sum()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} poisonous statements: {} accepted; {} harmless ones: {} refused; {} that PostgreSQL does not accept",
            self.poisonous,
            self.accepted.len(),
            self.harmless,
            self.harmless_refused(),
            self.impossible,
        )?;
        writeln!(out, "  reasons: {:?}", self.reasons)?;
        self.refused
            .iter()
            .try_for_each(|(why, count)| writeln!(out, "  refused though harmless: {count} × {why}"))?;
        self.accepted.iter().take(20).try_for_each(|text| writeln!(out, "  ACCEPTED: {text}"))
    }
}

/// What the world needs before anything is hidden in it.
const SETUP: &[&str] = &[
    "create extension if not exists tablefunc",
    "create sequence seq",
    "create function vol_sql(int) returns int volatile language sql as 'select $1'",
    "create function vol_plpgsql(int) returns int volatile language plpgsql as 'begin return $1; end'",
    "create function liar(int) returns int stable language sql as 'select $1 + (random() * 2)::int'",
    "create function liar2(int) returns int immutable language sql as 'select liar($1)'",
    "create function opaque(int) returns int immutable language plpgsql as 'begin perform random(); return 1; end'",
    "create function setter(int) returns int stable language sql as \
        'select length(set_config(''a.b'', ''c'', false)) + $1'",
    "create function own_path(int) returns int stable language sql set search_path = public as 'select $1'",
    "create function near(int, int) returns bool volatile language plpgsql as 'begin return true; end'",
    "create operator <~~> (leftarg = int, rightarg = int, function = near)",
    "create type label as (a text)",
    "create function to_label(text) returns label volatile language plpgsql as 'begin return row($1); end'",
    "create cast (text as label) with function to_label(text)",
    "create domain guarded as int check (vol_plpgsql(value) > 0)",
    "create domain rolled as int check (value > random() - 2)",
    "create function summing(int, int) returns int volatile language plpgsql as 'begin return $1; end'",
    "create type holder as (a guarded)",
    "create table held (a guarded)",
    "create aggregate vol_sum(int) (sfunc = summing, stype = int, initcond = '0')",
    "create function calm_sql(int) returns int stable language sql as 'select abs($1)'",
    "create function calm_deep(int) returns int immutable language sql as 'select calm_sql($1) + 1'",
];

/// Conditions on a column `id` that must not be shared.
const POISON: &[&str] = &[
    "random() < 2",
    "nextval('seq') > 0",
    "clock_timestamp() is not null",
    "pg_backend_pid() > id",
    "txid_current() > 0",
    "pg_current_xact_id() is not null",
    "pg_try_advisory_lock(id)",
    "pg_advisory_xact_lock(id) is not null",
    "set_config('a.b', 'c', false) = 'c'",
    "vol_sql(id) > 0",
    "vol_plpgsql(id) > 0",
    "public.vol_plpgsql(id) > 0",
    "liar(id) > 0",
    "liar2(id) > 0",
    "setter(id) > 0",
    "own_path(id) > 0",
    "opaque(id) > 0",
    "id <~~> 3",
    "id operator(public.<~~>) 3",
    "id::text::label is not null",
    "cast(id::text as label) is not null",
    "id::guarded > 0",
    "cast(id as rolled) > 0",
    "row(id)::holder is not null",
    "cast(row(id) as public.held) is not null",
    "(jsonb_populate_record(null::held, '{\"a\": 1}')).a > 0",
    "pg_sleep(0) is null",
    "gen_random_uuid() is not null",
    "pg_notify('a', 'b') is null",
    "lo_creat(-1) > 0",
    "query_to_xml('select 1', true, true, '') is not null",
    "table_to_xml('pg_class', true, true, '') is null",
    "inet_client_addr() is null",
    "pg_stat_get_numscans(1) > 0",
    "timeofday() <> ''",
    "exists (select from crosstab('select 1, 1, 1') as c(a int, b int))",
    "exists (select from pg_class)",
    "id in (select id from base tablesample system (50))",
    "exists (select 1 from base b for update)",
    "(select vol_sum(b.id) from base b) > 0",
];

const HARMLESS: &[&str] = &[
    "id > 0",
    "lower(name) = 'a'",
    "calm_sql(id) > 0",
    "calm_deep(id) > 0",
    "coalesce(n, 0) < length(name)",
    "id in (select b.id from base b where b.n > 0)",
    "exists (select 1 from base b where b.id = 3 limit 1)",
    "name like 'x%' and n between 1 and 5",
    "current_setting('app.tenant', true) is null",
    "extract(year from at) > 2000",
    "case when n > 0 then true else name is null end",
    "(select count(*) from base b where b.n = 3) >= 0",
];

/// Statements over a relation `{r}` with a condition `{c}` on its `id`.
const PLACES: &[&str] = &[
    "select * from {r} where {c}",
    "select id, name from {r} where id = $1 and ({c})",
    "select id, ({c}) as x from {r} where id = $1",
    "select id from {r} where id = $1 order by ({c}), id",
    "select count(*) from {r} group by ({c})",
    "select n, count(*) from {r} group by n having bool_or({c})",
    "with x as (select id from {r} where {c}) select id from x where id = $1",
    "select id from {r} where id in (select id from {r} where {c})",
    "select a.id from {r} a join lateral (select id from {r} where {c}) b on a.id = b.id where a.id = $1",
    "select id from base where id = $1 union all select id from {r} where {c}",
    "select id, row_number() over (partition by ({c}) order by id) from {r} where id = $1",
    "select distinct on (({c})) id from {r} where id = $1",
    "select case when {c} then 1 else 2 end from {r} where id = $1 limit 1",
    "select count(*) filter (where {c}) from {r} where id = $1",
    "select id from {r} where id = $1 limit (select count(*) from {r} where {c})",
    "select q.id from (select id, name from {r} where {c}) as q where q.id = $1",
    "values ((select max(id) from {r} where {c}), $1)",
];

/// Statements over a relation alone.
const PLAIN: &[&str] = &[
    "select * from {r} where id = $1",
    "select a.id from base a left join {r} b on a.id = b.id where a.id = $1",
    "with x as (select id from {r} where id = $1) select id from x",
    "select exists (select 1 from public.{r} where id = $1)",
    "select id from base where id = $1 and id in (select id from {r})",
    "select (select name from {r} where id = $1 order by id limit 1)",
];

/// One statement, and whether it must be refused.
struct Trial {
    text: String,
    poisonous: bool,
}

struct World {
    wire: Wire,
    random: StdRng,
    count: usize,
    figures: Figures,
}

/// Makes so many statements in a database that is empty and belongs to the superuser, and decides about each.
pub fn run(cluster: &Cluster, database: &str, statements: u64, seed: u64) -> Figures {
    let mut wire = Wire::connect(cluster, database);
    wire.must("create table base (id int primary key, name text, n int, at timestamptz)");
    for statement in SETUP {
        // What an extension lacks is missing from the statements, too, as PostgreSQL refuses them.
        let _ = wire.run(statement);
    }
    let random = StdRng::seed_from_u64(seed);
    let mut world = World { wire, random, count: 0, figures: Figures::default() };
    let trials: Vec<Trial> = (0..statements).filter_map(|_| world.trial()).collect();
    let catalog = catalog(cluster, database);
    let mut figures = world.figures;
    let decide = || decide(&catalog, &trials);
    let outcomes = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(guard::STACK);
        thread.spawn_scoped(scope, decide).expect("one more thread").join().expect("decisions do not panic")
    });
    for (trial, outcome) in trials.iter().zip(outcomes) {
        match (trial.poisonous, outcome) {
            (_, None) => figures.impossible += 1,
            (true, Some(Ok(()))) => {
                figures.poisonous += 1;
                figures.accepted.push(trial.text.clone());
            }
            (true, Some(Err(reason))) => {
                figures.poisonous += 1;
                *figures.reasons.entry(reason.label()).or_default() += 1;
            }
            (false, Some(Ok(()))) => figures.harmless += 1,
            (false, Some(Err(reason))) => {
                figures.harmless += 1;
                *figures.refused.entry(format!("{reason}: {}", trial.text)).or_default() += 1;
            }
        }
    }
    figures
}

/// As the proxy would, at all levels: accepted at one is accepted. `None`: the parser does not know it.
fn decide(catalog: &Catalog, trials: &[Trial]) -> Vec<Option<Result<(), Reason>>> {
    let path = ["public".to_owned()];
    let session = Session { search_path: &path, temporary: false };
    let one = |trial: &Trial| {
        let (canonical, facts) = eligible::read(&trial.text)?;
        let statement = Statement { facts: &facts, canonical: &canonical };
        let how = [
            (Level::Strict, Sharing::Together),
            (Level::Strict, Sharing::Transaction),
            (Level::Fenced, Sharing::Later),
            (Level::Bounded, Sharing::Later),
        ];
        let decided = |how| eligible::closure(statement, catalog, session, how, &eligible::read).map(drop);
        let mut outcomes = how.map(decided).into_iter();
        match trial.poisonous {
            true => outcomes.find(Result::is_ok).or_else(|| Some(decided(how[0]))),
            false => outcomes.next(),
        }
    };
    trials.iter().map(one).collect()
}

/// The catalog of a database, as the proxy reads it.
pub fn catalog(cluster: &Cluster, database: &str) -> Catalog {
    let target = Target {
        database: database.to_owned(),
        servers: vec![ServerAddress::Unix {
            directory: cluster.socket_dir().to_owned(),
            port: cluster.port(),
        }],
        login: ServerLogin {
            user: cluster.superuser().to_owned(),
            secret: Some(Secret::Plain(cluster.password().to_owned())),
            learned: Default::default(),
        },
        tls: Arc::new(Connector::new(&ServerTls::default()).expect("no files are read")),
        connect: Duration::from_secs(20),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let thread = std::thread::spawn(move || {
        runtime.block_on(async {
            let settings = ProbeSettings { statement_timeout: Duration::from_secs(60), ..Default::default() };
            Probe::new(target, &settings).expect("valid settings").catalog().await
        })
    });
    thread.join().expect("reading does not panic").expect("the catalog can be read")
}

impl World {
    /// Hides something and asks for it. `None`: PostgreSQL does not accept what was made.
    fn trial(&mut self) -> Option<Trial> {
        self.count += 1;
        let poisonous = self.random.random_bool(0.7);
        let from = if poisonous { POISON } else { HARMLESS };
        let mut condition = (*from.choose(&mut self.random)?).to_owned();
        for depth in 0..self.random.random_range(0..3) {
            condition = self.in_function(&condition, depth).unwrap_or(condition);
        }
        let text = match self.random.random_range(0..4) {
            // In the statement itself.
            0 => {
                let relation = self.wrapped("base".to_owned());
                PLACES.choose(&mut self.random)?.replace("{r}", &relation).replace("{c}", &condition)
            }
            // In a policy.
            1 => {
                let name = format!("g{}", self.count);
                let policy = format!("create policy p on {name} using ({condition})");
                let table =
                    format!("create table {name} (like base); alter table {name} enable row level security");
                self.asked(&name, &format!("{table}; {policy}"))?
            }
            // In a view.
            _ => {
                let name = format!("v{}", self.count);
                let query = match self.random.random_bool(0.5) {
                    true => format!("select * from base where {condition}"),
                    false => format!("select *, ({condition}) as p from base"),
                };
                self.asked(&name, &format!("create view {name} as {query}"))?
            }
        };
        match self.wire.run(&format!("prepare probe as {text}; deallocate probe")) {
            Ok(_) => Some(Trial { text, poisonous }),
            Err(_) => {
                self.figures.impossible += 1;
                None
            }
        }
    }

    /// A statement over what is made by this, with more around it.
    fn asked(&mut self, name: &str, make: &str) -> Option<String> {
        if self.wire.run(make).is_err() {
            self.figures.impossible += 1;
            return None;
        }
        let relation = self.wrapped(name.to_owned());
        Some(PLAIN.choose(&mut self.random)?.replace("{r}", &relation))
    }

    /// The relation behind views, or behind a function that returns its rows.
    fn wrapped(&mut self, mut relation: String) -> String {
        for depth in 0..self.random.random_range(0..4) {
            let name = format!("w{}_{depth}", self.count);
            let columns = "id, name, n, at";
            let (make, named) = match self.random.random_range(0..5) {
                0 => (
                    format!(
                        "create function {name}(int) returns setof base stable language sql as \
                         'select {columns} from {}'",
                        relation.replace('\'', "''")
                    ),
                    format!("{name}(1)"),
                ),
                1 => (
                    format!("create view {name} with (security_barrier) as select {columns} from {relation}"),
                    name,
                ),
                2 => (
                    format!(
                        "create view {name} as with x as (select {columns} from {relation}) select * from x \
                         where exists (select 1 from {relation} y where y.id = x.id)"
                    ),
                    name,
                ),
                _ => (format!("create view {name} as select {columns} from {relation} where n > 0"), name),
            };
            if self.wire.run(&make).is_ok() {
                relation = named;
            }
        }
        relation
    }

    /// The condition behind a function in SQL that is declared to be better than it is.
    fn in_function(&mut self, condition: &str, depth: usize) -> Option<String> {
        let name = format!("f{}_{depth}", self.count);
        let declared = ["stable", "immutable"].choose(&mut self.random)?;
        let body = match self.random.random_bool(0.5) {
            true => format!("select ({condition}) from base where id = $1"),
            false => format!("select bool_and({condition}) from base b0 where b0.id > $1"),
        };
        let body = body.replace('\'', "''");
        let make = format!("create function {name}(int) returns bool {declared} language sql as '{body}'");
        self.wire.run(&make).ok()?;
        Some(format!("{name}(id)"))
    }
}
