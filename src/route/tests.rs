//! What is added to statements, over a catalog made by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::calendar::{self, DAY, HOUR, Micros};
use super::literal::Value;
use super::narrow::Work;
use super::prepared::Prepared;
use super::table::Router;
use super::zone::Zone;
use super::*;
use crate::catalog::{
    Catalog, Column, Facts, Function, PartitionOf, Partitioning, Strategy, Table, TableKind, Volatility,
};
use crate::sql::edit;

fn column(number: i16, name: &str, type_oid: u32) -> Column {
    Column { number, name: name.into(), type_oid, ..Column::default() }
}

fn parent(oid: u32, name: &str, type_oid: u32) -> Table {
    let partitioning =
        Partitioning { strategy: Strategy::Range, columns: vec![Some(2)], key: "RANGE (ts)".into() };
    Table {
        oid,
        schema: "public".into(),
        name: name.into(),
        kind: TableKind::Partitioned,
        columns: vec![column(1, "id", 20), column(2, "ts", type_oid), column(3, "tenant", 23)],
        partitioning: Some(partitioning),
        ..Table::default()
    }
}

fn partition(oid: u32, parent: u32, bound: &str) -> Table {
    let of = PartitionOf { parent, bound: bound.into() };
    let name = format!("p{oid}");
    Table { oid, schema: "public".into(), name, partition_of: Some(of), ..Table::default() }
}

fn tables() -> Vec<Table> {
    let mut tables =
        vec![parent(1, "e", 1184), parent(2, "k", 1184), parent(3, "local", 1114), parent(4, "days", 1082)];
    let bounds = [
        "FOR VALUES FROM ('2023-01-01') TO ('2024-01-01')",
        "FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
    ];
    for (at, bound) in bounds.iter().enumerate() {
        tables.extend((1..=4).map(|parent| partition(10 * parent + at as u32, parent, bound)));
    }
    tables.push(Table { oid: 90, schema: "public".into(), name: "plain".into(), ..Table::default() });
    tables
}

fn catalog(tables: Vec<Table>, functions: Vec<Function>) -> Arc<Catalog> {
    let builtins = [
        ("date_trunc", Volatility::Stable),
        ("now", Volatility::Stable),
        ("random", Volatility::Volatile),
        ("lower", Volatility::Immutable),
        ("to_char", Volatility::Stable),
    ];
    let builtins = builtins.map(|(name, volatility)| (name.to_owned(), volatility));
    let facts = Facts {
        search_path: vec!["public".into()],
        schemas: vec!["public".into()],
        zones: BTreeMap::from([("Europe/Paris".to_owned(), (3_600, 7_200))]),
        ..Facts::default()
    };
    Arc::new(Catalog::new(facts, tables, functions, BTreeMap::from(builtins), BTreeMap::new()))
}

pub(super) fn router() -> Router {
    Router::new(catalog(tables(), Vec::new()), &RouteSettings::default())
}

fn at(text: &str) -> Micros {
    calendar::read(text).unwrap().at
}

/// The text as it is sent in this zone at noon of 15 June 2024, with an unchanged one as an empty text.
fn sent_in(router: &Router, zone: &str, text: &str) -> String {
    let mut moment = router.moment(router.zone(zone).unwrap(), at("2024-06-15 12:10"), None);
    moment.now.lo = at("2024-06-15 12:00");
    let narrowed = router.narrow(text, &moment, &mut Work::default());
    narrowed.map(|splices| edit::apply(text, &splices).unwrap()).unwrap_or_default()
}

/// The condition behind `where`, and what is added behind it, in UTC.
fn check(condition: &str, added: &str) {
    let before = format!("select * from e where {condition}");
    let expected = if added.is_empty() { String::new() } else { format!("{before} AND {added}") };
    assert_eq!(sent_in(&router(), "UTC", &before), expected.replace("timestamptz:", ""), "{condition}");
}

/// `from` and `to` of the key `ts`, as literals.
fn between(from: &str, to: &str) -> String {
    let literal = |at: &str| format!("'{at}+00'::timestamptz");
    match (from, to) {
        ("", to) => format!("ts < {}", literal(to)),
        (from, "") => format!("ts >= {}", literal(from)),
        (from, to) => format!("ts >= {} AND ts < {}", literal(from), literal(to)),
    }
}

#[test]
fn forms_over_one_column() {
    let march = between("2024-03-01 00:00:00", "2024-04-01 00:00:00");
    let first = between("2024-03-01 00:00:00", "2024-03-02 00:00:00");
    for (condition, added) in [
        ("date_trunc('day', ts) = '2024-03-01'", first.as_str()),
        ("date_trunc('month', ts) = timestamptz '2024-03-01'", &march),
        ("'2024-03-01' = date_trunc('month', ts)", &march),
        ("date_trunc('month', ts) in ('2024-03-01', '2024-03-01 00:00+00')", &march),
        ("date_trunc('hour', ts) = '2024-03-01'", &between("2024-03-01 00:00:00", "2024-03-01 01:00:00")),
        ("date_trunc('day', ts) > '2024-03-01'", &between("2024-03-02 00:00:00", "")),
        ("date_trunc('day', ts) <= '2024-03-01'", &between("", "2024-03-02 00:00:00")),
        ("date_trunc('day', ts) < '2024-03-01'", &between("", "2024-03-01 00:00:00")),
        ("ts::date = '2024-03-01'", &first),
        ("date(ts) = date '2024-03-01'", &first),
        ("cast(ts as date) between '2024-03-01' and '2024-03-31'", &march),
        ("ts AT TIME ZONE 'UTC' >= '2024-03-01'", &between("2024-03-01 00:00:00", "")),
        ("(ts)::timestamp < '2024-03-01'", &between("", "2024-03-01 00:00:00")),
        ("extract(year from ts) = 2024", &between("2024-01-01 00:00:00", "2025-01-01 00:00:00")),
        ("extract(year from ts) = 2024 and extract(month from ts) = 3", &march),
        ("date_part('year', ts) = 2024 and date_part('month', ts) between 3 and 3", &march),
        (
            "extract(year from ts) = 2024 and extract(month from ts) = 3 and extract('day' from ts) = 1",
            &first,
        ),
        ("extract(month from ts) = 3", ""),
        ("to_char(ts, 'YYYY-MM') = '2024-03'", &march),
        ("to_char(ts, 'YYYYMMDD') = '20240301'", &first),
        ("to_char(ts, 'Mon') = 'Mar'", ""),
        ("ts + interval '1 day' > '2024-03-02'", &between("2024-03-01 00:00:00", "")),
        ("ts - interval '2 hours' >= '2024-03-01'", &between("2024-03-01 02:00:00", "")),
        ("now() - ts < interval '2 days'", &between("2024-06-13 11:59:59", "")),
        ("ts > now() - interval '2 days'", &between("2024-06-13 11:59:59", "")),
        ("ts > now() - '2 days'::interval", &between("2024-06-13 11:59:59", "")),
        ("ts > current_date - 7", &between("2024-06-08 00:00:00", "")),
        ("ts >= date_trunc('month', now())", &between("2024-06-01 00:00:00", "")),
        ("ts > now() - interval '1 day' * 3", &between("2024-06-12 11:59:59", "")),
        ("ts < now()", ""),
        ("extract(epoch from now() - ts) / 3600 < 48", &between("2024-06-13 11:59:58", "")),
        ("ts >= date '2024-03-01' and ts < '2024-04-01'::date", &march),
        ("ts >= '2024-03-01'::timestamp", &between("2024-03-01 00:00:00", "")),
        (
            "ts >= '2024-03-01' and ts < '2024-03-01'::timestamptz + interval '1 month'",
            &between("", "2024-04-01 00:00:00"),
        ),
        ("(ts, id) > ('2024-03-01', 7)", &between("2024-03-01 00:00:00", "")),
        ("(ts, id) <= row('2024-03-01', 7)", &between("", "2024-03-01 00:00:01")),
        ("(id, ts) > (7, '2024-03-01')", ""),
        ("tstzrange('2024-03-01', '2024-04-01') @> ts", &march),
        (
            "tstzrange('2024-03-01', '2024-04-01', '[]') @> ts",
            &between("2024-03-01 00:00:00", "2024-04-01 00:00:01"),
        ),
        ("ts <@ '[2024-03-01,)'::tstzrange", &between("2024-03-01 00:00:00", "")),
        ("tstzrange(null, '2024-03-01') @> ts", &between("", "2024-03-01 00:00:00")),
    ] {
        check(condition, added);
    }
}

#[test]
fn what_postgresql_sees_itself_or_is_in_doubt_stays() {
    for condition in [
        "ts >= '2024-03-01' and ts < '2024-04-01'",
        "ts between '2024-03-01' and timestamptz '2024-04-01'",
        "ts in ('2024-03-01', '2024-04-01')",
        "ts = any(array['2024-03-01'::timestamptz])",
        "ts is null",
        "not (ts::date = '2024-03-01')",
        "ts::date = '2024-03-01' or tenant = 5",
        "ts::date <> '2024-03-01'",
        "coalesce(ts, now()) > now() - interval '1 day'",
        "ts::date = (select max(ts)::date from k)",
        "other.ts::date = '2024-03-01'",
        "date_trunc(tenant::text, ts) = '2024-03-01'",
        "my.date_trunc('day', ts) = '2024-03-01'",
        "date_trunc('day', ts) = '03/01/2024'",
        "date_trunc('day', ts) = '2024-03-01' and random() < 0.5",
        "date_trunc('day', ts) = '2024-03-01' and unknown(id)",
        "ts::date = '2024-03-01' is true",
        "ts::date = '2024-02-30'",
        "case when tenant = 1 then ts::date = '2024-03-01' else true end",
        "ts > now() + '1 day'",
        "e.ts::date = '2024-03-01' ) or ( true",
        "current of c",
    ] {
        check(condition, "");
    }
    for text in [
        "insert into e select * from e where ts::date = '2024-03-01'",
        "with x as (insert into k select 1) select * from e where ts::date = '2024-03-01'",
        "explain select * from e where ts::date = '2024-03-01'",
        "select * from e where ts::date = '2024-03-01'; select 1",
        "select * from plain where ts::date = '2024-03-01'",
        "select * from other.e where ts::date = '2024-03-01'",
        "with e as (select now() as ts) select * from e where ts::date = '2024-03-01'",
        "select * into x from e where ts::date = '2024-03-01'",
        "select * from e tablesample system (10) where ts::date = '2024-03-01'",
        "select * from f(1) as e where ts::date = '2024-03-01'",
        "select * from e as x (ts, id) where ts::date = '2024-03-01'",
        "select * from e join k using (id) where ts::date = '2024-03-01'",
        "select * from e, k where ts::date = '2024-03-01'",
        "select * from e where ts::date = $1",
        "set x = 1",
        "",
    ] {
        assert_eq!(sent_in(&router(), "UTC", text), "", "{text}");
    }
}

#[test]
fn bounds_stand_where_the_condition_stands() {
    let bounds = |name: &str| {
        between("2024-03-01 00:00:00", "2024-03-02 00:00:00").replace("ts ", &format!("{name} "))
    };
    for (text, column) in [
        ("select * from e where ts::date = '2024-03-01'§ order by 1", "ts"),
        ("select * from e where ts::date = '2024-03-01'§-- the end", "ts"),
        ("SELECT * FROM \"e\" AS \"E\" WHERE \"E\".\"ts\"::date = '2024-03-01'§;", "\"E\".\"ts\""),
        ("select * from public.e where public.e.ts::date = '2024-03-01'§ limit 1 for update", "public.e.ts"),
        ("update only e * set tenant = 2 where ts::date = '2024-03-01'§ returning *", "ts"),
        ("delete from e x using plain p where p.id = x.id and x.ts::date = '2024-03-01'§", "x.ts"),
        ("select count(*) filter (where id > 1) from e where ts::date = '2024-03-01'§ group by 1", "ts"),
        (
            "select 1 from plain p where exists (select from e where e.id = p.id and ts::date = '2024-03-01'§)",
            "ts",
        ),
        ("with x as materialized (select * from e where ts::date = '2024-03-01'§) select * from x", "ts"),
        ("select 1 union all (select 2 from e where ts::date = '2024-03-01'§ order by 1)", "ts"),
        (
            "select * from plain p left join e on e.id = p.id and e.ts::date = '2024-03-01'§ where p.id = 1",
            "e.ts",
        ),
        ("select * from plain p left join e on e.id = p.id where e.ts::date = '2024-03-01'§", "e.ts"),
        ("select * from e join plain p on e.id = p.id and e.ts::date = '2024-03-01'§", "e.ts"),
        ("select a is distinct from b from e where ts::date = '2024-03-01'§", "ts"),
        (
            "select * from e where tenant = 5 and (lower('x') = 'x' or id = 2) and ts::date = '2024-03-01'§",
            "ts",
        ),
    ] {
        let before = text.replace('§', "");
        let joint = if column == "e.ts" && !text.contains("where") { " WHERE " } else { " AND " };
        let expected = text.replace('§', &format!("{joint}{}", bounds(column)));
        assert_eq!(sent_in(&router(), "UTC", &before), expected);
    }
    let text = "select * from e where ts::date = '2024-03-01' and id = 1 or date(ts) = '2024-03-01'";
    let expected =
        "select * from e where (ts::date = '2024-03-01' and id = 1 or date(ts) = '2024-03-01') AND ";
    let bounds = between("2024-03-01 00:00:00", "2024-03-02 00:00:00");
    assert_eq!(sent_in(&router(), "UTC", text), format!("{expected}{bounds}"));
}

#[test]
fn equal_keys_share_their_range() {
    let text = "select * from e join k on e.ts = k.ts and e.id = k.id where k.ts >= '2024-03-01' and k.ts < '2024-04-01'";
    let march = between("2024-03-01 00:00:00", "2024-04-01 00:00:00").replace("ts ", "e.ts ");
    assert_eq!(sent_in(&router(), "UTC", text), format!("{text} AND {march}"));
    let outer = text.replace("join", "left join");
    assert_eq!(sent_in(&router(), "UTC", &outer), "");
}

#[test]
fn zones_widen_as_their_clocks_did() {
    let text = "select * from e where date_trunc('day', ts) = '2024-03-01'";
    let paris = between("2024-02-29 22:00:00", "2024-03-01 23:00:00");
    assert_eq!(sent_in(&router(), "Europe/Paris", text), format!("{text} AND {paris}"));
    let any = sent_in(&router(), "Asia/Tokyo", text);
    assert!(any.contains("ts >= '2024-02-2"), "{any}");
    assert_eq!(router().zone("<+03>-3"), None);
}

#[test]
fn kinds_of_keys() {
    for (text, added) in [
        (
            "select * from local where ts::date = '2024-03-01'",
            "ts >= '2024-03-01 00:00:00'::timestamp AND ts < '2024-03-02 00:00:00'::timestamp",
        ),
        (
            "select * from days where date_trunc('month', ts) = '2024-03-01'",
            "ts >= '2024-03-01'::date AND ts <= '2024-03-31'::date",
        ),
        (
            "select * from days where extract(year from ts) = 2024",
            "ts >= '2024-01-01'::date AND ts <= '2024-12-31'::date",
        ),
        ("select * from days where ts > '2024-03-01'::timestamptz", "ts >= '2024-03-02'::date"),
    ] {
        assert_eq!(sent_in(&router(), "UTC", text), format!("{text} AND {added}"));
    }
}

#[test]
fn own_functions_and_settings_turn_it_off() {
    let text = "select * from e where date_trunc('day', ts) = '2024-03-01'";
    let own = Function {
        schema: "public".into(),
        name: "date_trunc".into(),
        arguments: Vec::new(),
        volatility: Volatility::Immutable,
        procedure: false,
        returns_set: false,
        ..Function::default()
    };
    let shadowed = Router::new(catalog(tables(), vec![own]), &RouteSettings::default());
    assert_eq!(sent_in(&shadowed, "UTC", text), "");
    let off =
        RouteSettings { off: vec![TableName { schema: None, name: "e".into() }], ..RouteSettings::default() };
    assert_eq!(sent_in(&Router::new(catalog(tables(), Vec::new()), &off), "UTC", text), "");
    let none = RouteSettings { enabled: false, ..RouteSettings::default() };
    assert!(Router::new(catalog(tables(), Vec::new()), &none).is_empty());
}

fn prepare(router: &Router, text: &str, types: &[u32]) -> Option<Prepared> {
    router.prepare(text, types, &router.moment(Zone::UTC, 0, None))
}

#[test]
fn prepared_statements_get_their_bounds_with_each_bind() {
    let router = router();
    let text = "select * from e where date_trunc($1, ts) = $2 and tenant = $3";
    assert!(prepare(&router, text, &[]).is_none(), "the unit is not known");
    let text = "select * from e where ts::date = $1 and tenant = $2";
    let prepared = prepare(&router, text, &[]).unwrap();
    assert_eq!(prepared.text(), format!("{text} AND ts >= $3::timestamptz AND ts <= $4::timestamptz"));
    let bounds = |values: &[Value<'_>], zone| {
        let bounds = prepared.bounds(&router, values, &router.moment(zone, 0, None));
        bounds.iter().map(|bound| bound.text()).collect::<Vec<_>>()
    };
    let day = [Value::Text("2024-03-01"), Value::Text("5")];
    assert_eq!(bounds(&day, Zone::UTC), ["2024-03-01 00:00:00+00", "2024-03-01 23:59:59.999999+00"]);
    let paris = router.zone("Europe/Paris").unwrap();
    assert_eq!(bounds(&day, paris), ["2024-02-29 22:00:00+00", "2024-03-01 22:59:59.999999+00"]);
    let unknown = [Value::Text("tomorrow"), Value::Null];
    assert_eq!(bounds(&unknown, Zone::UTC), ["-infinity", "infinity"]);
    let binary = (((at("2024-03-01") - calendar::POSTGRES_EPOCH) / DAY) as i32).to_be_bytes();
    assert_eq!(bounds(&[Value::Binary(&binary), Value::Null], Zone::UTC)[0], "2024-03-01 00:00:00+00");
    let timed = prepare(&router, "select * from e where ts > now() - $1::interval", &[]).unwrap();
    let moment = router.moment(Zone::UTC, at("2024-06-15 12:10"), None);
    let bound = timed.bounds(&router, &[Value::Text("2 hours")], &moment)[0];
    assert_eq!(bound.text(), "2024-06-15 09:59:59.000001+00");
    assert_eq!(bound.binary(), literal::to_binary(at("2024-06-15") + 10 * HOUR - 999_999));
    assert!(prepare(&router, "select * from e where ts >= $1 and ts < $2", &[]).is_none());
    let cross = prepare(&router, "select * from e where ts >= $1", &[1082]).unwrap();
    assert_eq!((cross.added(), cross.own), (1, 1));
}
