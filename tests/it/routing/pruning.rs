//! What PostgreSQL leaves of the partitions: of every form no more than it needs, and the slack.

use pgweir::route::RouteSettings;
use pgweir::route::narrow::Work;
use pgweir::route::table::Router;
use pgweir::sql::edit;
use tokio_postgres::SimpleQueryMessage;

use super::judge::{catalog, now};
use super::traffic::fill;
use crate::cluster::{TestDatabase, connect};

/// Conditions, and how many of the 120 partitions of a day their rows are in.
const FORMS: [(&str, usize); 17] = [
    ("date_trunc('day', at) = '2024-02-10'", 1),
    ("date_trunc('month', at) = '2024-02-01'", 29),
    ("date_trunc('week', at) = '2024-02-05'", 7),
    ("at::date between '2024-02-10' and '2024-02-12'", 3),
    ("extract(year from at) = 2024 and extract(month from at) = 2 and extract(day from at) = 10", 1),
    ("to_char(at, 'YYYY-MM-DD') = '2024-02-10'", 1),
    ("at AT TIME ZONE 'UTC' >= '2024-02-10' and at AT TIME ZONE 'UTC' < '2024-02-11'", 1),
    ("at + interval '1 hour' > '2024-04-28 01:00+00'", 2),
    ("at + interval '1 day' > '2024-04-29 00:00+00'", 2),
    ("at >= date '2024-02-10' and at < date '2024-02-11'", 1),
    ("(at, id) > ('2024-04-28 00:00+00', 5)", 2),
    ("tstzrange('2024-02-10 00:00+00', '2024-02-11 00:00+00') @> at", 1),
    ("(at::date = '2024-02-10' and tenant = 1) or (at::date = '2024-02-11' and tenant = 2)", 2),
    ("at::date in ('2024-02-10', '2024-02-11')", 2),
    ("extract(epoch from at) >= 1714262400", 2),
    ("at >= make_timestamptz(2024, 4, 28, 0, 0, 0)", 2),
    ("at >= date_trunc('day', timestamptz '2024-04-28 10:00+00')", 2),
];

#[tokio::test]
async fn only_what_is_needed_is_planned() {
    let database = TestDatabase::new("pruning");
    std::thread::scope(|scope| scope.spawn(|| fill(&database)).join().unwrap());
    let client = connect(&database.url()).await;
    // What a zone's clocks did since 1972 is the slack: none, one hour, three, and a day.
    for (zone, neighbours) in [("UTC", 0), ("Europe/Paris", 1), ("America/Havana", 1), ("Pacific/Apia", 3)] {
        let set = format!("alter role current_user set timezone = '{zone}'; set timezone = '{zone}'");
        client.batch_execute(&set).await.unwrap();
        let router = Router::new(catalog(&database.url()).await, &RouteSettings::default());
        let moment = router.moment(router.zone(zone).unwrap(), now(), None);
        for (condition, needed) in FORMS {
            let text = format!("select id from m where {condition}");
            let narrowed =
                router.narrow(&text, &moment, &mut Work::default()).unwrap_or_else(|| panic!("{text}"));
            let new = edit::apply(&text, &narrowed).unwrap();
            let plan = client.simple_query(&format!("explain (costs off) {new}")).await.unwrap();
            let scans = |message: &&SimpleQueryMessage| match message {
                SimpleQueryMessage::Row(row) => row.get(0).is_some_and(|line| line.contains(" on m_")),
                _ => false,
            };
            let planned = plan.iter().filter(scans).count();
            // A partition of UTC is in two days of another zone; the ends widen into their neighbours.
            let most = if zone == "UTC" { needed } else { needed + 1 + 2 * neighbours };
            assert!((1..=most).contains(&planned), "{zone}: {planned} of at most {most} partitions: {new}");
        }
    }
    client.batch_execute("alter role current_user reset timezone").await.unwrap();
}
