//! sqlx: the common conversation; every query is a named, cached statement unless it is `raw_sql`.
//!
//! sqlx has no cancel request: a dropped future leaves its answer to be read away before the next query.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use futures_util::future::join_all;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgListener, PgPoolOptions, PgRow};
use sqlx::postgres::types::Oid;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, SqlSafeStr, Column, ConnectOptions, Connection, Decode, Encode, Error, Executor, Postgres, Row, Statement, Type, TypeInfo};
use talk::{HAIRY, MEGABYTE, Outcome, PATIENCE, ROWS, Talk, big_text};

type Bound<'a> = Query<'a, Postgres, PgArguments>;

fn query<'a>(sql: &str) -> Bound<'a> {
    sqlx::query(AssertSqlSafe(sql.to_string()))
}

async fn open_as(t: &Talk, name: &str, options: &[(&str, &str)]) -> Result<PgConnection, Error> {
    let wanted: PgConnectOptions = t.url.parse()?;
    wanted.application_name(name).options(options.iter().copied()).connect().await
}

async fn open(t: &Talk) -> Result<PgConnection, Error> {
    open_as(t, "pgweir-clients", &[]).await
}

async fn ask<'a>(t: &Talk, c: &mut PgConnection, sql: &str, bind: impl FnOnce(Bound<'a>) -> Bound<'a>) -> Result<PgRow, Error> {
    let (id, text) = t.tagged(sql);
    let row = bind(query(&text)).fetch_one(c).await?;
    match row.get::<i32, _>(0) {
        seen if seen == id => Ok(row),
        seen => Err(Error::Protocol(format!("query {id} was given the answer of query {seen}"))),
    }
}

async fn one<V>(t: &Talk, c: &mut PgConnection, sql: &str) -> Result<V, Error>
where
    V: for<'r> Decode<'r, Postgres> + Type<Postgres>,
{
    ask(t, c, sql, |q| q).await?.try_get(1)
}

async fn one_of<V>(t: &Talk, c: &mut PgConnection, sql: &str, value: V) -> Result<V, Error>
where
    V: for<'r> Decode<'r, Postgres> + for<'q> Encode<'q, Postgres> + Type<Postgres> + Send + 'static,
{
    ask(t, c, sql, |q| q.bind(value)).await?.try_get(1)
}

async fn run(c: &mut PgConnection, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_string())).execute(c).await.map(drop)
}

fn state<V>(outcome: Result<V, Error>) -> String {
    match outcome {
        Ok(_) => "no error".into(),
        Err(Error::Database(error)) => error.code().unwrap_or_default().to_string(),
        Err(error) => error.to_string(),
    }
}

async fn types(t: &Talk) -> Outcome {
    let mut c = open(t).await?;
    macro_rules! same {
        ($($kind:literal => $type:ty: $value:expr),* $(,)?) => {$(
            let value: $type = $value;
            t.check(concat!("types.", $kind), one_of(t, &mut c, concat!("select $1::", $kind, " as v"), value.clone()).await?, value);
            t.check(concat!("nulls.", $kind), one_of(t, &mut c, concat!("select $1::", $kind, " as v"), None::<$type>).await?, None::<$type>);
        )*};
    }
    same! {
        "bool" => bool: true, "int2" => i16: i16::MIN, "int4" => i32: i32::MAX, "int8" => i64: i64::MIN, "float8" => f64: 1.5,
        "text" => String: HAIRY.into(), "bytea" => Vec<u8>: (0..=255).collect(), "int4[]" => Vec<Option<i32>>: vec![Some(1), None, Some(-3)],
        "text[]" => Vec<Option<String>>: vec![Some("a,b".into()), None, Some(String::new()), Some("NULL".into())],
        "uuid" => uuid::Uuid: "01234567-89ab-cdef-0123-456789abcdef".parse()?,
        "jsonb" => serde_json::Value: serde_json::json!({"a": [1, {"b": null}], "ü": "🐘"}),
        "oid" => Oid: Oid(4_000_000_000),
    }
    run(&mut c, "set TimeZone = 'UTC'").await?;
    for (kind, value) in [("numeric", "12345678901234567890.123456789"), ("timestamptz", "2024-02-29 12:34:56.789012+00")] {
        let got = one_of(t, &mut c, &format!("select $1::text::{kind}::text as v"), value.to_string()).await?;
        t.check(&format!("types.{kind}"), got, value);
    }
    run(&mut c, &format!("create type {}.mood as enum ('calm', 'cross')", t.schema)).await?;
    // An unknown type makes sqlx ask the catalog in the middle of preparing.
    let row = query(&format!("select 'cross'::{}.mood", t.schema)).fetch_one(&mut c).await?;
    t.check("types.enum", row.columns()[0].type_info().name().ends_with("mood"), true);
    Ok(c.close().await?)
}

async fn big(t: &Talk) -> Outcome {
    let mut c = open(t).await?;
    for size in [MEGABYTE, 20 * MEGABYTE] {
        let text = big_text(size);
        let row = ask(t, &mut c, "select v, length(v) from (select $1::text as v) w", |q| q.bind(text.clone())).await?;
        t.check(&format!("big.text.{size}"), (row.get::<&str, _>(1) == text, row.get::<i32, _>(2) as usize), (true, size));
    }
    let rows = query("select g, md5(g::text) from generate_series(1, 100000) g").fetch_all(&mut c).await?;
    t.check("big.rows", (rows.len(), rows.iter().map(|r| i64::from(r.get::<i32, _>(0))).sum()), (100_000, 5_000_050_000_i64));
    Ok(c.close().await?)
}

async fn errors(t: &Talk) -> Outcome {
    let (mut c, s) = (open(t).await?, &t.schema);
    run(&mut c, &format!("create table {s}.strict (id int primary key, n int not null check (n > 0)); insert into {s}.strict values (1, 1)")).await?;
    let cases = [
        ("syntax", "selec 1".into(), "42601"),
        ("table", "select * from no_such_table".into(), "42P01"),
        ("division", "select 1/0".into(), "22012"),
        ("unique", format!("insert into {s}.strict values (1, 1)"), "23505"),
        ("not_null", format!("insert into {s}.strict values (2, null)"), "23502"),
        ("check", format!("insert into {s}.strict values (3, -1)"), "23514"),
        ("mid_result", "select 1 / (5000 - g) from generate_series(1, 9999) g".into(), "22012"),
    ];
    for (n, (name, sql, want)) in cases.into_iter().enumerate() {
        t.check(&format!("errors.{name}"), state(query(&sql).fetch_all(&mut c).await), want);
        t.check(&format!("errors.{name}.simple"), state(run(&mut c, &sql).await), want);
        t.check(&format!("errors.{name}.after"), one_of(t, &mut c, "select $1::int as v", n as i32).await?, n as i32);
    }
    if let Err(Error::Database(error)) = run(&mut c, &format!("insert into {s}.strict values (1, 1)")).await {
        t.check("errors.fields", (error.constraint(), error.is_unique_violation()), (Some("strict_pkey"), true));
    }
    let mut tx = c.begin().await?;
    let got = (state(run(&mut tx, "select 1/0").await), state(query("select 1").fetch_one(&mut *tx).await));
    t.check("errors.in_transaction", got, ("22012".to_string(), "25P02".to_string()));
    tx.rollback().await?;
    t.check("errors.aborted.after", one::<i32>(t, &mut c, "select 5 as v").await?, 5);
    Ok(c.close().await?)
}

async fn transactions(t: &Talk) -> Outcome {
    let (mut c, mut other, s) = (open(t).await?, open(t).await?, &t.schema);
    run(&mut c, &format!("create table {s}.tx (n int)")).await?;
    let (insert, count) = (format!("insert into {s}.tx values ($1)"), format!("select count(*) as v from {s}.tx"));
    let mut tx = c.begin().await?;
    query(&insert).bind(1).execute(&mut *tx).await?;
    t.check("tx.own_write", (one(t, &mut tx, &count).await?, one(t, &mut other, &count).await?), (1_i64, 0_i64));
    tx.commit().await?;
    t.check("tx.commit", one::<i64>(t, &mut other, &count).await?, 1);
    let mut tx = c.begin().await?;
    query(&insert).bind(2).execute(&mut *tx).await?;
    drop(tx); // ROLLBACK goes out with the next thing that is asked.
    t.check("tx.dropped", one::<i64>(t, &mut c, &count).await?, 1);
    let mut tx = c.begin().await?;
    query(&insert).bind(3).execute(&mut *tx).await?;
    let mut point = tx.begin().await?;
    query(&insert).bind(4).execute(&mut *point).await?;
    t.check("tx.error", state(query("select 1/0").execute(&mut *point).await), "22012");
    point.rollback().await?;
    query(&insert).bind(5).execute(&mut *tx).await?;
    tx.commit().await?;
    t.check("tx.savepoint", one::<Vec<i32>>(t, &mut other, &format!("select array_agg(n order by n) as v from {s}.tx")).await?, vec![1, 3, 5]);
    let mut tx = c.begin_with("begin isolation level serializable read only").await?;
    let isolation: String = one(t, &mut tx, "select current_setting('transaction_isolation') as v").await?;
    t.check("tx.serializable_read_only", (isolation, state(query(&insert).bind(6).execute(&mut *tx).await)), ("serializable".to_string(), "25006".to_string()));
    tx.rollback().await?;
    c.close().await?;
    Ok(other.close().await?)
}

async fn prepared(t: &Talk) -> Outcome {
    let (mut c, mut other, s) = (open(t).await?, open(t).await?, &t.schema);
    let mut right = true;
    for n in 0..40_i32 {
        let row = query("select $1::int4, $1::int4 * 2").bind(n).fetch_one(&mut c).await?;
        right &= (row.get::<i32, _>(0), row.get::<i32, _>(1)) == (n, 2 * n);
        right &= query("select upper($1)").bind(format!("w{n}")).fetch_one(&mut c).await?.get::<String, _>(0) == format!("W{n}");
        right &= query("select lower($1)").bind(format!("O{n}")).fetch_one(&mut other).await?.get::<String, _>(0) == format!("o{n}");
        right &= query("select $1::int + 1").bind(n).persistent(false).fetch_one(&mut c).await?.get::<i32, _>(0) == n + 1;
    }
    t.check("prepared.reused", right, true);
    // More statements than sqlx keeps (100) make it send Close for the oldest.
    for n in 0..150_i32 {
        right &= query(&format!("select $1::int + {n}")).bind(1).fetch_one(&mut c).await?.get::<i32, _>(0) == n + 1;
    }
    t.check("prepared.evicted", right, true);
    c.clear_cached_statements().await?;
    let described = (&mut c).prepare("select $1::int4 as a, $2::text as b".into_sql_str()).await?;
    t.check("prepared.described", described.columns().iter().map(|column| column.name().to_string()).collect::<Vec<_>>(), ["a", "b"]);
    run(&mut c, &format!("create table {s}.ddl (a int4); insert into {s}.ddl values (42)")).await?;
    let reader = format!("select a from {s}.ddl");
    t.check("prepared.before_ddl", query(&reader).fetch_one(&mut c).await?.get::<i32, _>(0), 42);
    run(&mut other, &format!("alter table {s}.ddl add column b int")).await?;
    t.check("prepared.added_column", query(&reader).fetch_one(&mut c).await?.get::<i32, _>(0), 42);
    run(&mut other, &format!("alter table {s}.ddl alter column a type text using 'n0' || a")).await?;
    // The driver keeps the old description and reads by it: an answer of the new type would be taken for a number.
    let got = match query(&reader).fetch_one(&mut c).await {
        Ok(row) => format!("{:?}", row.try_get::<i32, _>(0)),
        Err(error) => state::<()>(Err(error)),
    };
    t.after_ddl("prepared.changed_type", &got, "0A000");
    t.check("prepared.anew", query(&format!("{reader} where true")).fetch_one(&mut c).await?.get::<String, _>(0), "n042");
    t.check("prepared.bad", state(query("selec $1").bind(1).fetch_one(&mut c).await), "42601");
    run(&mut c, "prepare mine(int) as select $1 + 1").await?;
    t.check("prepared.sql", query("execute mine(1)").fetch_one(&mut c).await?.get::<i32, _>(0), 2);
    t.check("prepared.sql.other_client", state(run(&mut other, "execute mine(1)").await), "26000");
    run(&mut c, "deallocate mine").await?;
    t.check("prepared.sql.gone", state(run(&mut c, "execute mine(1)").await), "26000");
    c.close().await?;
    Ok(other.close().await?)
}

async fn copy(t: &Talk) -> Outcome {
    let (mut c, s) = (open(t).await?, &t.schema);
    run(&mut c, &format!("create table {s}.copied (n int, s text)")).await?;
    let sql = format!("copy {s}.copied from stdin");
    let lines: String = (0..ROWS).map(|n| if n % 10 == 0 { format!("{n}\t\\N\n") } else { format!("{n}\trow {n}\n") }).collect();
    let mut sink = c.copy_in_raw(&sql).await?;
    for piece in lines.as_bytes().chunks(10_000) {
        sink.send(piece).await?;
    }
    t.check("copy.in", sink.finish().await?, ROWS as u64);
    let out: Vec<_> = c.copy_out_raw(&format!("copy (select * from {s}.copied order by n) to stdout")).await?.try_collect().await?;
    t.check("copy.out", out.concat() == lines.as_bytes(), true);
    for (name, data, want) in [("bad", "x\ty\n", "22P02"), ("short", "1\n", "22P04")] {
        let mut sink = c.copy_in_raw(&sql).await?;
        sink.send(data.as_bytes()).await?;
        t.check(&format!("copy.{name}"), state(sink.finish().await), want);
    }
    let mut sink = c.copy_in_raw(&sql).await?;
    sink.send(&b"1\tx\n"[..]).await?;
    sink.abort("changed my mind").await?;
    t.check("copy.aborted", one::<i64>(t, &mut c, &format!("select count(*) as v from {s}.copied")).await?, ROWS as i64);
    Ok(c.close().await?)
}

async fn dropped(t: &Talk) -> Outcome {
    let mut c = open(t).await?;
    for round in 0..3 {
        let slow = async { query("select $1, pg_sleep(0.3)").bind(1000).fetch_one(&mut c).await };
        let late = tokio::time::timeout(Duration::from_millis(50), slow).await;
        t.check(&format!("dropped.{round}"), (late.is_err(), one_of(t, &mut c, "select $1::int as v", round).await?), (true, round));
    }
    let mut rows = query("select generate_series(1, 100000)").fetch(&mut c);
    let first: i32 = rows.try_next().await?.map_or(0, |row| row.get(0));
    drop(rows);
    t.check("dropped.rows", (first, one::<i32>(t, &mut c, "select 8 as v").await?), (1, 8));
    Ok(c.close().await?)
}

async fn listen(t: &Talk) -> Outcome {
    let (mut other, channel) = (open(t).await?, format!("{}_news", t.schema));
    let mut listener = PgListener::connect(&t.url).await?;
    listener.listen(&channel).await?;
    for n in 0..3 {
        query("select pg_notify($1, $2)").bind(channel.clone()).bind(format!("message {n} ü")).execute(&mut other).await?;
    }
    for n in 0..3 {
        let news = tokio::time::timeout(PATIENCE, listener.recv()).await??;
        t.check(&format!("listen.from_other.{n}"), (news.channel() == channel, news.payload()), (true, format!("message {n} ü").as_str()));
    }
    query("select pg_notify($1, 'from myself')").bind(channel.clone()).execute(&mut listener).await?;
    t.check("listen.from_self", tokio::time::timeout(PATIENCE, listener.recv()).await??.payload(), "from myself");
    listener.unlisten(&channel).await?;
    run(&mut other, &format!("notify {channel}, 'nobody listens'")).await?;
    t.check("listen.unlisten", tokio::time::timeout(Duration::from_millis(300), listener.recv()).await.is_err(), true);
    Ok(other.close().await?)
}

async fn settings(t: &Talk) -> Outcome {
    let (noon, show) = ("select timestamptz '2024-01-01 00:00:00Z'::text as v", "select current_setting('application_name') as v");
    let (zone, limit) = ("select current_setting('TimeZone') as v", "select current_setting('statement_timeout') as v");
    let (mut c, mut other) = (open_as(t, "pgweir-clients", &[("statement_timeout", "54321")]).await?, open_as(t, "other", &[]).await?);
    let initial: String = one(t, &mut other, zone).await?;
    query("set TimeZone = 'Asia/Tokyo'").execute(&mut c).await?;
    query(&format!("set search_path = {}", t.schema)).execute(&mut c).await?;
    run(&mut c, "create table found as select 9 as n").await?;
    for n in 0..5 {
        let got = (one::<String>(t, &mut c, noon).await?, one::<i32>(t, &mut c, "select n from found").await?, one::<String>(t, &mut other, zone).await? == initial);
        t.check(&format!("settings.kept.{n}"), got, ("2024-01-01 09:00:00+09".to_string(), 9, true));
    }
    t.check("settings.search_path.other", state(query("select n from found").fetch_all(&mut other).await), "42P01");
    let mut tx = c.begin().await?;
    run(&mut tx, "set local TimeZone = 'America/New_York'; set application_name = 'rolled back'").await?;
    t.check("settings.local", one::<String>(t, &mut tx, noon).await?, "2023-12-31 19:00:00-05");
    tx.rollback().await?;
    t.check("settings.rolled_back", (one::<String>(t, &mut c, noon).await?, one::<String>(t, &mut c, show).await?), ("2024-01-01 09:00:00+09".to_string(), "pgweir-clients".to_string()));
    query("select set_config('application_name', $1, false)").bind("by function").execute(&mut c).await?;
    t.check("settings.set_config", (one::<String>(t, &mut c, show).await?, one::<String>(t, &mut other, show).await?), ("by function".to_string(), "other".to_string()));
    t.check("settings.options", one::<String>(t, &mut c, limit).await?, "54321ms");
    run(&mut c, "set statement_timeout = 0; reset all").await?;
    let got = (one::<String>(t, &mut c, show).await?, one::<String>(t, &mut c, limit).await?, one::<String>(t, &mut c, zone).await? == initial);
    t.check("settings.reset_all", got, ("pgweir-clients".to_string(), "54321ms".to_string(), true));
    c.close().await?;
    other.close().await?;
    let mut c = open(t).await?;
    t.check("settings.no_leak", (one::<String>(t, &mut c, show).await?, one::<String>(t, &mut c, zone).await? == initial), ("pgweir-clients".to_string(), true));
    Ok(c.close().await?)
}

async fn locks_and_temporary_things(t: &Talk) -> Outcome {
    let (attempt, unlock) = (format!("select pg_try_advisory_lock({}) as v", t.lock_key), format!("select pg_advisory_unlock({}) as v", t.lock_key));
    let exists = "select to_regclass('pg_temp.scratch') is not null as v";
    let (mut c, mut other) = (open(t).await?, open(t).await?);
    t.check("advisory.held", (one::<bool>(t, &mut c, &attempt).await?, one::<bool>(t, &mut other, &attempt).await?), (true, false));
    t.check("advisory.unlock", (one::<bool>(t, &mut c, &unlock).await?, one::<bool>(t, &mut other, &attempt).await?, one::<bool>(t, &mut other, &unlock).await?), (true, true, true));
    run(&mut c, "create temp table scratch (n int)").await?;
    for n in 0..5_i64 {
        query("insert into scratch values ($1)").bind(n).execute(&mut c).await?;
        t.check(&format!("temp.kept.{n}"), (one::<i64>(t, &mut c, "select count(*) as v from scratch").await?, one::<bool>(t, &mut other, exists).await?), (n + 1, false));
    }
    run(&mut c, "begin; declare held cursor with hold for select g from generate_series(1, 10) g; commit").await?;
    let mut got = vec![];
    for _ in 0..3 {
        got.extend(query("fetch 4 from held").fetch_all(&mut c).await?.iter().map(|row| row.get::<i32, _>(0)));
        one::<i32>(t, &mut other, "select 1 as v").await?;
    }
    t.check("cursors.with_hold", got, (1..=10).collect::<Vec<i32>>());
    // fetch_optional asks for one row: Execute with a row limit, PortalSuspended, Close.
    t.check("cursors.first_row", query("select generate_series(1, 100000)").fetch_optional(&mut c).await?.map(|row| row.get::<i32, _>(0)), Some(1));
    one::<bool>(t, &mut c, &attempt).await?;
    c.close().await?;
    let end = Instant::now() + PATIENCE;
    let mut free = false;
    while !free && Instant::now() < end {
        free = one(t, &mut other, &attempt).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    t.check("advisory.released_by_close", free, true);
    t.check("temp.gone", one::<bool>(t, &mut open(t).await?, exists).await?, false);
    Ok(other.close().await?)
}

async fn many(t: &Talk) -> Outcome {
    let s = &t.schema;
    run(&mut open(t).await?, &format!("create table {s}.lookup as select c * 1000 + n as id, format('owner %s/%s', c, n) as owner from generate_series(0, {}) c, generate_series(0, {}) n", t.clients - 1, t.lookups - 1)).await?;
    let client = |me: usize| async move {
        let mut c = open_as(t, &format!("client {me}"), &[]).await?;
        let find = format!("select id, current_setting('application_name'), owner from {s}.lookup where id = $1");
        let mut right = 0;
        for n in 0..t.lookups {
            let id = (me * 1000 + n) as i32;
            let row = query(&find).bind(id).persistent(n % 2 == 0).fetch_one(&mut c).await?;
            let got = (row.get::<i32, _>(0), row.get::<String, _>(1), row.get::<String, _>(2));
            right += usize::from(got == (id, format!("client {me}"), format!("owner {me}/{n}")));
        }
        c.close().await?;
        Ok::<usize, Error>(right)
    };
    let right: Result<Vec<usize>, Error> = join_all((0..t.clients).map(client)).await.into_iter().collect();
    t.check("many.lookups", right?.into_iter().sum::<usize>(), t.clients * t.lookups);
    let pool = PgPoolOptions::new().max_connections(3).connect(&t.url).await?;
    let all = join_all((0..t.clients as i32 * 10).map(|n| query("select $1::int").bind(n).fetch_one(&pool))).await;
    t.check("many.pool", all.into_iter().enumerate().all(|(n, row)| row.is_ok_and(|row| row.get::<i32, _>(0) == n as i32)), true);
    pool.close().await;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let t = &Talk::new("sqlx");
    run(&mut open(t).await?, &format!("create schema {}", t.schema)).await?;
    t.section("types", types(t).await);
    t.section("big", big(t).await);
    t.section("errors", errors(t).await);
    t.section("transactions", transactions(t).await);
    t.section("prepared", prepared(t).await);
    t.section("copy", copy(t).await);
    t.section("dropped", dropped(t).await);
    t.section("listen", listen(t).await);
    t.section("settings", settings(t).await);
    t.section("locks_and_temporary_things", locks_and_temporary_things(t).await);
    t.section("many", many(t).await);
    run(&mut open(t).await?, &format!("drop schema {} cascade", t.schema)).await?;
    t.finish()
}
