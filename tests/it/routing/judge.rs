//! A real PostgreSQL judges the routing: statements as they are and as they are narrowed must bring the same rows,
//! in every time zone that the server knows, around the days on which its clocks were changed.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pgweir::auth::Secret;
use pgweir::auth::credential::ServerLogin;
use pgweir::catalog::Catalog;
use pgweir::pool::connector::Connector;
use pgweir::pool::settings::ServerAddress;
use pgweir::probe::{Probe, ProbeSettings, Target};
use pgweir::route::calendar::Micros;
use pgweir::route::literal::Value;
use pgweir::route::narrow::Work;
use pgweir::route::table::Router;
use pgweir::route::zone::Zone;
use pgweir::route::{Kind, Moment, RouteSettings};
use pgweir::sql::edit;
use pgweir::tls::ServerTls;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::dice::{Dice, FORMS, Parameter, Time, Writer};

/// The catalog of a database as the probe reads it, by its connection string.
pub async fn catalog(url: &str) -> Arc<Catalog> {
    let config: tokio_postgres::Config = url.parse().unwrap();
    let password = String::from_utf8(config.get_password().unwrap_or_default().to_vec()).unwrap();
    let target = Target {
        database: config.get_dbname().unwrap().to_owned(),
        servers: vec![ServerAddress::Tcp { host: "127.0.0.1".into(), port: config.get_ports()[0] }],
        login: ServerLogin {
            user: config.get_user().unwrap().to_owned(),
            secret: Some(Secret::Plain(password)),
            learned: Default::default(),
        },
        tls: Arc::new(Connector::new(&ServerTls::default()).unwrap()),
        connect: Duration::from_secs(20),
    };
    let settings = ProbeSettings { statement_timeout: Duration::from_secs(60), ..ProbeSettings::default() };
    Arc::new(Probe::new(target, &settings).unwrap().catalog().await.unwrap())
}

pub fn now() -> Micros {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as Micros
}

/// A value in the binary form that it already has.
#[derive(Debug)]
struct Raw(Vec<u8>);

impl ToSql for Raw {
    fn to_sql(&self, _: &Type, out: &mut bytes::BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Binary
    }

    to_sql_checked!();
}

const KINDS: [(&str, Kind, &str); 3] = [
    ("tz", Kind::Timestamptz, "timestamptz"),
    ("ts", Kind::Timestamp, "timestamp"),
    ("d", Kind::Date, "date"),
];

/// What came of the statements so far.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub cases: usize,
    /// Compared: narrowed, and the original brought rows or none, but no error.
    pub compared: usize,
    pub unchanged: usize,
    pub refused: usize,
    /// Of the compared, those with rows.
    pub with_rows: usize,
}

pub struct Judge {
    client: Client,
    router: Router,
    pub zones: Vec<String>,
    /// Of the zone at hand.
    zone: (String, Zone),
    times: Vec<Time>,
    work: Work,
    pub tally: Tally,
}

impl Judge {
    /// Makes tables in the database, which is the judge's own.
    pub async fn new(url: &str) -> Judge {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        for (name, _, column) in KINDS {
            let make = |prefix: &str, more: &str| {
                format!(
                    "create table {prefix}_{name} (id bigint, ts {column}, tenant int) partition by range (ts); {more}; \
                     create table {prefix}_{name}_1 partition of {prefix}_{name} for values from ('1990-01-01') to ('2010-01-01'); \
                     create table {prefix}_{name}_2 partition of {prefix}_{name} for values from ('2010-01-01') to ('2024-01-01'); \
                     create table {prefix}_{name}_3 partition of {prefix}_{name} for values from ('2024-01-01') to ('9999-12-31')"
                )
            };
            let open = format!(
                "create table e_{name}_0 partition of e_{name} for values from (minvalue) to ('1990-01-01'); \
                 create table e_{name}_default partition of e_{name} default"
            );
            let closed = format!(
                "create table c_{name}_0 partition of c_{name} for values from ('0001-01-03') to ('1990-01-01')"
            );
            client.batch_execute(&make("e", &open)).await.unwrap();
            client.batch_execute(&make("c", &closed)).await.unwrap();
        }
        let router = Router::new(catalog(url).await, &RouteSettings::default());
        assert_eq!(router.tables().count(), 6, "the tables are routed");
        let zones = client.query("select name from pg_timezone_names order by name", &[]).await.unwrap();
        let zones: Vec<String> = zones.iter().map(|row| row.get(0)).collect();
        let zone = (String::new(), Zone::UTC);
        Judge {
            client,
            router,
            zones,
            zone,
            times: Vec::new(),
            work: Work::default(),
            tally: Tally::default(),
        }
    }

    /// Makes the session's zone this one, and fills the tables with rows around its changes.
    pub async fn enter(&mut self, zone: &str, seed: u64) {
        let set = format!("set timezone = '{zone}'; select setseed({})", seed as f64 / u64::MAX as f64);
        self.client.batch_execute(&set).await.unwrap();
        self.client.batch_execute(FILL).await.unwrap();
        let range = "select min(o)::int4, max(o)::int4 from changes where t > '1972-01-02+00'";
        let row = self.client.query_one(range, &[]).await.unwrap();
        self.zone = (zone.to_owned(), Zone::between(row.get(0), row.get(1)).unwrap());
        let times = "select (extract(epoch from ts) * 1000000)::int8, \
            (extract(epoch from ts::timestamp) * 1000000)::int8 from e_tz \
            where isfinite(ts) and ts between '1900-01-01' and '2040-01-01'";
        let rows = self.client.query(times, &[]).await.unwrap();
        self.times = rows.iter().map(|row| Time { moment: row.get(0), shown: row.get(1) }).collect();
    }

    fn moment(&self, dice: &mut Dice) -> Moment<'_> {
        // Half of the sessions are in a zone of which only the name is known.
        let named = Zone::named(&self.zone.0).filter(|_| dice.one_in(2));
        let latest = dice.one_in(2).then(now);
        self.router.moment(named.unwrap_or(self.zone.1), now(), latest)
    }

    /// One statement of this form; `Err` says what differs.
    pub async fn case(&mut self, form: usize, seed: u64) -> Result<(), String> {
        let mut dice = Dice(seed);
        let (name, kind, _) = dice.pick(&KINDS);
        // to_char is understood only where nothing is before Christ.
        let prefix = if form == 7 || dice.one_in(3) { "c" } else { "e" };
        let (shape, extended) = (dice.below(10), dice.one_in(3));
        let column = if shape < 4 { dice.pick(&["ts", "e.ts", "\"e\".\"ts\""]) } else { "e.ts" };
        let (times, zones, parameters) = (&self.times[..], &self.zones[..], Vec::new());
        let mut writer = Writer { dice, kind, column, times, zones, extended, parameters };
        let condition = condition(&mut writer, form);
        let Writer { dice, parameters, .. } = &mut writer;
        let text = statement(shape, &format!("{prefix}_{name}"), &condition);
        let (mut dice, parameters) = (dice.clone(), std::mem::take(parameters));
        self.tally.cases += 1;
        let zone = self.zone.0.clone();
        let told = match parameters.is_empty() {
            true => self.simple(&text, &mut dice).await,
            false => self.extended(&text, &parameters, &mut dice).await,
        };
        told.map_err(|told| format!("{zone}, form {form}, seed {seed}: {told}"))
    }

    async fn simple(&mut self, text: &str, dice: &mut Dice) -> Result<(), String> {
        let mut work = std::mem::take(&mut self.work);
        let narrowed = self.router.narrow(text, &self.moment(dice), &mut work);
        self.work = work;
        let Some(narrowed) = narrowed else {
            self.tally.unchanged += 1;
            return Ok(());
        };
        let new = edit::apply(text, &narrowed).unwrap();
        // One message, so that both are of one transaction.
        let answer = self.client.simple_query(&format!("{text};{new}")).await;
        let rows: Vec<String> = match answer {
            Ok(messages) => messages.iter().filter_map(first).collect(),
            Err(_) => {
                self.client
                    .simple_query(text)
                    .await
                    .map_or(Ok(()), |_| Err(format!("only narrowed fails: {new}")))?;
                self.tally.refused += 1;
                return Ok(());
            }
        };
        self.compare(&rows[0], &rows[1], || new.clone())
    }

    fn compare(&mut self, original: &str, narrowed: &str, new: impl Fn() -> String) -> Result<(), String> {
        self.tally.compared += 1;
        self.tally.with_rows += usize::from(!original.is_empty());
        match original == narrowed {
            true => Ok(()),
            false => {
                let kept: std::collections::HashSet<&str> = narrowed.split(',').collect();
                let lost: Vec<&str> = original.split(',').filter(|id| !kept.contains(id)).take(10).collect();
                Err(format!(
                    "{}\nof {} ids {} are left; lost: {lost:?}",
                    new(),
                    original.split(',').count(),
                    kept.len()
                ))
            }
        }
    }

    async fn extended(
        &mut self,
        text: &str,
        parameters: &[Parameter],
        dice: &mut Dice,
    ) -> Result<(), String> {
        let declared = dice.one_in(2);
        let oids: Vec<u32> = parameters.iter().map(|parameter| parameter.oid).collect();
        let types: &[u32] = if declared { &oids } else { &[] };
        let as_text = dice.one_in(2);
        let moment = self.moment(dice);
        let Some(prepared) = self.router.prepare(text, types, &moment) else {
            self.tally.unchanged += 1;
            return Ok(());
        };
        let value = |parameter: &'static Parameter| match as_text {
            true => Value::Text(&parameter.text),
            false => Value::Binary(&parameter.binary),
        };
        // Each value outlives the statement; there are few.
        let values: Vec<Value<'_>> =
            parameters.iter().map(|p| value(Box::leak(Box::new(p.clone())))).collect();
        let bounds = prepared.bounds(&self.router, &values, &moment);
        let own = || parameters.iter().map(|parameter| Raw(parameter.binary.clone()));
        let all = own().chain(bounds.iter().map(|bound| Raw(bound.binary())));
        let (own, all): (Vec<Raw>, Vec<Raw>) = (own().collect(), all.collect());
        self.client.batch_execute("begin").await.unwrap();
        let one = self.run(text, declared, &oids, &own).await;
        let other = match &one {
            Ok(_) => self.run(prepared.text(), declared, &oids, &all).await,
            Err(_) => Err(String::new()),
        };
        self.client.batch_execute("rollback").await.unwrap();
        match (one, other) {
            (Err(_), _) => {
                self.tally.refused += 1;
                Ok(())
            }
            (Ok(_), Err(error)) => Err(format!("only narrowed fails: {error}: {}", prepared.text())),
            (Ok(one), Ok(other)) => self.compare(&one, &other, || {
                format!("{} {parameters:?} {bounds:?} {declared} {as_text}", prepared.text())
            }),
        }
    }

    /// `Err`: the server refuses it, or takes a parameter for another type than was meant.
    async fn run(&self, text: &str, declared: bool, oids: &[u32], values: &[Raw]) -> Result<String, String> {
        let types: Vec<Type> = oids.iter().filter_map(|oid| Type::from_oid(*oid)).collect();
        let types = if declared { &types[..] } else { &[] };
        let statement = self.client.prepare_typed(text, types).await.map_err(|e| e.to_string())?;
        let inferred = statement.params().iter().map(Type::oid);
        if !inferred.zip(oids).all(|(inferred, meant)| inferred == *meant) {
            return Err("another type".to_owned());
        }
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
        let row = self.client.query_one(&statement, &values).await.map_err(|e| e.to_string())?;
        Ok(row.get(0))
    }
}

/// ANDs and ORs around a condition of this form.
fn condition(writer: &mut Writer<'_>, form: usize) -> String {
    let atom = writer.atom(form);
    let other = writer.dice.below(FORMS);
    match writer.dice.below(10) {
        0 => format!("{atom} and e.tenant = 2"),
        1 => format!("e.tenant < 3 and ({})", atom),
        2 => format!("({atom} and e.tenant = 1) or ({} and e.tenant = 2)", writer.atom(other)),
        3 => format!("{atom} or {}", writer.atom(other)),
        4 => format!("{atom} and {}", writer.atom(other)),
        5 => format!("not ({atom}) and {}", writer.atom(other)),
        6 => format!("case when e.tenant = 1 then {atom} else false end and {}", writer.atom(other)),
        _ => atom,
    }
}

fn statement(shape: usize, table: &str, condition: &str) -> String {
    let list = "coalesce(string_agg(e.id::text, ',' order by e.id), '')";
    match shape {
        0..=2 => format!("select {list} from {table} e where {condition}"),
        3 => format!("with x as (select * from {table} as e where {condition}) select {list} from x e"),
        4 => format!("select {list} from {table} e join e_tz k on e.id = k.id and {condition}"),
        5 => format!(
            "select {list} from {table} e join {table} k on e.ts = k.ts and e.id = k.id where {condition}"
        ),
        6 => format!(
            "select coalesce(string_agg(k.id::text || coalesce(e.id::text, 'x'), ',' order by k.id, e.id), '') \
             from c_tz k left join {table} e on e.id = k.id and ({condition})"
        ),
        7 => format!("select {list} from e_tz k left join {table} e on e.id = k.id where {condition}"),
        8 => format!(
            "select coalesce(string_agg(k.id::text, ',' order by k.id), '') from e_tz k \
             where exists (select from {table} e where e.id = k.id and ({condition}))"
        ),
        _ => format!(
            "with x as (update {table} e set tenant = tenant where {condition} returning e.id) \
             select coalesce(string_agg(id::text, ',' order by id), '') from x"
        ),
    }
}

fn first(message: &SimpleQueryMessage) -> Option<String> {
    match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }
}

/// Rows around the largest and some other changes of the session's clock, around now, at edges, and a few anywhere.
const FILL: &str = "truncate e_tz, e_ts, e_d, c_tz, c_ts, c_d;
drop table if exists changes;
create temp table changes as
    select t, o, o - lag(o) over (order by t) as by from (
        select t, extract(epoch from (t::timestamp - (t at time zone 'UTC'))) as o
        from generate_series(timestamptz '1930-01-01 12:00+00', '2037-06-01 12:00+00', '24 hours') t) x;
insert into e_tz (id, ts, tenant)
    select row_number() over (), ts, (random() * 4)::int from (
        select t - interval '60 hours' + n * interval '41 minutes' as ts
        from (select t from (
            (select t from changes where by <> 0 order by abs(by) desc, t limit 3) union
            (select t from changes where by <> 0 order by random() limit 4)) largest) days,
            generate_series(0, 130) n
        union all select now() - n * interval '17 hours' from generate_series(-3, 60) n
        union all select timestamptz '1900-01-01+00' + random() * 51000 * interval '24 hours'
            from generate_series(1, 40)
        union all select date_trunc('day', t) + n * interval '12 hours'
            from unnest('{2011-12-30,1993-08-21,2024-02-29,2000-12-31,1969-12-31,1970-01-01,2024-11-03}'::timestamptz[]) t,
                generate_series(-2, 3) n
        union all select unnest('{infinity,-infinity,null,0044-03-15 12:00 BC,2024-03-15 12:00 BC,9998-12-31 23:59}'
            ::timestamptz[])
    ) x;
insert into e_ts select id, ts::timestamp, tenant from e_tz;
insert into e_d select id, ts::date, tenant from e_tz;
insert into c_tz select * from e_tz where isfinite(ts) and ts > '0001-02-01';
insert into c_ts select * from e_ts where isfinite(ts) and ts > '0001-02-01';
insert into c_d select * from e_d where isfinite(ts) and ts > '0001-02-01';";
