//! Forms of statements on a table with many partitions: time to plan and to execute, and locks, as they are and as
//! they are narrowed; and the extended protocol with bounds as parameters or as literals.

use std::time::Instant;

use pgweir::route::literal::Value;
use pgweir::route::narrow::Work;
use pgweir::route::table::Router;
use pgweir::route::{Moment, RouteSettings};
use pgweir::sql::edit;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::judge::{catalog, now};

/// Runs of each statement, as it is and narrowed in turn; printed are medians.
const RUNS: usize = 15;

/// In how many partitions pages are looked for; a tenant has four rows in each.
const REACH: usize = 8;

const FORMS: [(&str, &str); 16] = [
    ("literal range, for comparison", "ts >= '{day}' and ts < '{next}'"),
    ("date_trunc('day', ts) =", "date_trunc('day', ts) = '{day}'"),
    ("ts::date =", "ts::date = '{day}'"),
    ("extract year, month", "extract(year from ts) = {year} and extract(month from ts) = {month}"),
    ("to_char(ts, 'YYYY-MM-DD') =", "to_char(ts, 'YYYY-MM-DD') = '{day}'"),
    ("ts AT TIME ZONE", "ts AT TIME ZONE 'UTC' >= '{day}' and ts AT TIME ZONE 'UTC' < '{next}'"),
    ("ts + interval >", "ts + interval '1 hour' > '{last}'"),
    ("ts > now() - interval", "ts > now() - interval '2 days'"),
    ("now() - ts <", "now() - ts < interval '2 days'"),
    ("age(ts) <", "age(ts) < interval '2 days'"),
    ("date literals", "ts >= date '{day}' and ts < date '{next}'"),
    ("keyset (ts, id) >", "(ts, id) > ('{last}', 5) order by ts, id limit 10"),
    ("tstzrange @> ts", "tstzrange('{day}', '{next}') @> ts"),
    ("order by ts desc limit 10", "true order by ts desc limit 10"),
    ("tenant order by ts desc limit 10", "tenant = 5 order by ts desc limit 10"),
    ("id =, closed ones checked", "id = 20000"),
];

async fn build(client: &Client, partitions: usize) {
    client
        .batch_execute(
            "create table events (id bigint not null, ts timestamptz not null, tenant int, v text, primary key (id, ts)) \
                 partition by range (ts); \
             create index on events (ts); create index on events (tenant, ts); set timezone = 'UTC'",
        )
        .await
        .unwrap();
    let make = format!(
        "do $$ declare d date; begin for n in -2..{partitions} - 3 loop d := current_date - n; \
         execute format('create table events_%s partition of events for values from (%L) to (%L)', \
             {partitions} - n, d, d + 1); \
         end loop; end $$"
    );
    client.batch_execute(&make).await.unwrap();
    let fill = format!(
        "insert into events select n, now() - (n::float8 / 200) * interval '1 day', n % 50, md5(n::text) \
         from generate_series(1, ({partitions} - 4) * 200) n; analyze events"
    );
    client.batch_execute(&fill).await.unwrap();
    // As the rule `zone_maps` does, but for the last days.
    let check = format!(
        "do $$ declare a bigint; b bigint; begin for n in 3..{partitions} - 5 loop \
         execute format('select min(id), max(id) from events_%s', n) into a, b; \
         if a is not null then execute format('alter table events_%s add check (id >= %s and id <= %s)', n, a, b); \
         end if; end loop; end $$"
    );
    client.batch_execute(&check).await.unwrap();
}

/// Planning and execution in ms by PostgreSQL's own clock, partitions in the plan, and locks.
#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    planning: f64,
    execution: f64,
    partitions: usize,
    locks: usize,
}

async fn measure(client: &Client, text: &str) -> Figures {
    let answer = client
        .simple_query(&format!(
            "begin; explain (analyze, timing off, summary on) {text}; \
             select 'locks', count(*) from pg_locks where pid = pg_backend_pid() and relation::regclass::text ~ 'events'; rollback"
        ))
        .await
        .unwrap();
    let mut figures = Figures::default();
    for message in &answer {
        let SimpleQueryMessage::Row(row) = message else {
            continue;
        };
        let line = row.get(0).unwrap_or_default();
        let number =
            |line: &str| line.split(' ').rev().nth(1).and_then(|n| n.parse().ok()).unwrap_or_default();
        match line.trim() {
            line if line.starts_with("Planning Time") => figures.planning = number(line),
            line if line.starts_with("Execution Time") => figures.execution = number(line),
            "locks" => figures.locks = row.get(1).unwrap().parse().unwrap(),
            line if line.contains(" on events_") && !line.contains("Bitmap Index") => figures.partitions += 1,
            _ => {}
        }
    }
    figures
}

fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

pub async fn run(url: &str, partitions: usize) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    build(&client, partitions).await;
    let router = Router::new(catalog(url).await, &RouteSettings::default());
    let dates = "select to_char(now() - interval '30 days', 'YYYY-MM-DD'), to_char(now() - interval '29 days', 'YYYY-MM-DD'), \
        to_char(now() - interval '1 day', 'YYYY-MM-DD HH24:MI:SS'), extract(year from now() - interval '30 days')::text, \
        extract(month from now() - interval '30 days')::text";
    let row = client.query_one(dates, &[]).await.unwrap();
    let fill = |form: &str| {
        ["{day}", "{next}", "{last}", "{year}", "{month}"]
            .iter()
            .enumerate()
            .fold(form.to_owned(), |text, (at, name)| text.replace(name, row.get(at)))
    };
    println!(
        "{partitions} partitions, medians of {RUNS} runs in turn; ms to plan + execute, partitions, locks\n"
    );
    println!("{:<30} {:>28} {:>28}", "form", "as it is", "narrowed");
    let mut work = Work::default();
    for (name, form) in FORMS {
        let text = format!("select id, v from events where {}", fill(form));
        let moment = router.moment(router.zone("UTC").unwrap(), now(), None);
        let moment = Moment { reach: REACH, ..moment };
        let narrowed = router.narrow(&text, &moment, &mut work);
        let new = narrowed.map_or(text.clone(), |narrowed| edit::apply(&text, &narrowed).unwrap());
        let mut all = [Vec::new(), Vec::new()];
        for _ in 0..RUNS {
            all[0].push(measure(&client, &text).await);
            all[1].push(measure(&client, &new).await);
        }
        let shown = all.map(|figures| {
            let last = figures[figures.len() - 1];
            let planning = middle(figures.iter().map(|figures| figures.planning).collect());
            let execution = middle(figures.iter().map(|figures| figures.execution).collect());
            format!("{planning:.2} + {execution:.2}, {}, {}", last.partitions, last.locks)
        });
        println!("{name:<30} {:>28} {:>28}", shown[0], shown[1]);
    }
    extended(&client, &router, &fill("{day}")).await;
}

/// Round trips of one prepared statement executed again and again: as it is; with bounds as parameters; and with
/// literal bounds, which have to be parsed for each execution.
async fn extended(client: &Client, router: &Router, day: &str) {
    let text = "select id, v from events where date_trunc('day', ts) = $1::text::timestamptz";
    let moment = router.moment(router.zone("UTC").unwrap(), now(), None);
    let prepared = router.prepare(text, &[], &moment).unwrap();
    let bounds = prepared.bounds(router, &[Value::Text(day)], &moment);
    let bounds: Vec<String> = bounds.iter().map(|bound| bound.text()).collect();
    let literal = text.replace("$1::text::timestamptz", &format!("'{day}'"));
    let literal = edit::apply(&literal, &router.narrow(&literal, &moment, &mut Work::default()).unwrap());
    let (literal, mut times) = (literal.unwrap(), [const { Vec::new() }; 4]);
    // Beyond the five executions after which PostgreSQL may keep a plan.
    for mode in ["auto", "force_generic_plan"] {
        client.batch_execute(&format!("set plan_cache_mode = {mode}; deallocate all")).await.unwrap();
        let place = usize::from(mode != "auto") * 3;
        let as_parameters =
            format!("prepare narrowed(text, timestamptz, timestamptz) as {}", prepared.text());
        let as_it_is = format!("prepare original(text) as {text}");
        client.batch_execute(&format!("{as_parameters}; {as_it_is}")).await.unwrap();
        for _ in 0..RUNS {
            let mut run = async |place: usize, text: &str| {
                let begun = Instant::now();
                client.simple_query(text).await.unwrap();
                times[place].push(begun.elapsed().as_secs_f64() * 1e3);
            };
            let execute = format!("execute narrowed('{day}', '{}', '{}')", bounds[0], bounds[1]);
            match place {
                0 => {
                    run(0, &format!("execute original('{day}')")).await;
                    run(1, &execute).await;
                    run(2, &literal).await;
                }
                _ => run(3, &execute).await,
            }
        }
    }
    let [original, parameters, literals, generic] = times.map(middle);
    println!(
        "\nprepared once, executed {RUNS} times, ms per round trip: as it is {original:.2}, bounds as parameters \
         {parameters:.2} (with a generic plan {generic:.2}), literal bounds parsed each time {literals:.2}"
    );
}
