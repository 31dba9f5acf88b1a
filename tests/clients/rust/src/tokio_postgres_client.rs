//! tokio-postgres: the common conversation; everything is binary, pipelined by polling futures together.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{join_all, poll_fn};
use futures_util::{SinkExt, StreamExt, TryStreamExt, pin_mut};
use talk::{HAIRY, MEGABYTE, Outcome, PATIENCE, ROWS, Talk, big_text};
use tokio::sync::mpsc;
use tokio_postgres::types::{FromSqlOwned, ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, Error, IsolationLevel, NoTls, Row};

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// An open connection and the notifications and notices that arrive on it.
struct Open {
    client: Client,
    heard: mpsc::UnboundedReceiver<AsyncMessage>,
}

impl std::ops::Deref for Open {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl std::ops::DerefMut for Open {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

async fn open_as(t: &Talk, name: &str, options: &str) -> Result<Open, Error> {
    let mut config: Config = t.url.parse()?;
    config.application_name(name);
    if !options.is_empty() {
        config.options(options);
    }
    let (client, mut connection) = config.connect(NoTls).await?;
    let (sender, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            match message {
                Ok(message) => drop(sender.send(message)),
                Err(error) => return println!("note: connection lost: {error}"),
            }
        }
    });
    Ok(Open { client, heard })
}

async fn open(t: &Talk) -> Result<Open, Error> {
    open_as(t, "pgweir-clients", "").await
}

async fn ask(t: &Talk, client: &Client, sql: &str, params: Params<'_>) -> Result<Row, Box<dyn std::error::Error>> {
    let (id, text) = t.tagged(sql);
    let row = client.query_one(&text, params).await?;
    match row.get::<_, i32>(0) {
        seen if seen == id => Ok(row),
        seen => Err(format!("query {id} was given the answer of query {seen}").into()),
    }
}

async fn one<V: FromSqlOwned>(t: &Talk, client: &Client, sql: &str, params: Params<'_>) -> Result<V, Box<dyn std::error::Error>> {
    Ok(ask(t, client, sql, params).await?.try_get(1)?)
}

fn state<V>(outcome: Result<V, Error>) -> String {
    match outcome {
        Ok(_) => "no error".into(),
        Err(error) => error.code().map_or(error.to_string(), |code| code.code().to_string()),
    }
}

async fn types(t: &Talk) -> Outcome {
    let c = open(t).await?;
    macro_rules! same {
        ($($kind:literal => $type:ty: $value:expr),* $(,)?) => {$(
            let value: $type = $value;
            t.check(concat!("types.", $kind), one::<$type>(t, &c, concat!("select $1::", $kind, " as v"), &[&value]).await?, value);
            let none = None::<$type>;
            t.check(concat!("nulls.", $kind), one::<Option<$type>>(t, &c, concat!("select $1::", $kind, " as v"), &[&none]).await?, none);
        )*};
    }
    same! {
        "bool" => bool: true, "int2" => i16: i16::MIN, "int4" => i32: i32::MAX, "int8" => i64: i64::MIN, "float8" => f64: 1.5,
        "text" => String: HAIRY.into(), "bytea" => Vec<u8>: (0..=255).collect(), "int4[]" => Vec<Option<i32>>: vec![Some(1), None, Some(-3)],
        "text[]" => Vec<Option<String>>: vec![Some("a,b".into()), None, Some(String::new()), Some("NULL".into())],
        "uuid" => uuid::Uuid: "01234567-89ab-cdef-0123-456789abcdef".parse()?,
        "jsonb" => serde_json::Value: serde_json::json!({"a": [1, {"b": null}], "ü": "🐘"}),
    }
    for (kind, value) in [("numeric", "12345678901234567890.123456789"), ("timestamptz", "2024-02-29 12:34:56.789012+00")] {
        c.batch_execute("set TimeZone = 'UTC'").await?;
        let got: String = one(t, &c, &format!("select $1::text::{kind}::text as v"), &[&value]).await?;
        t.check(&format!("types.{kind}"), got, value);
    }
    c.batch_execute(&format!("create type {}.mood as enum ('calm', 'cross')", t.schema)).await?;
    // An unknown type makes tokio-postgres ask the catalog in the middle of preparing.
    let row = c.query_one(&format!("select 'cross'::{}.mood", t.schema), &[]).await?;
    t.check("types.enum", row.columns()[0].type_().name(), "mood");
    Ok(())
}

async fn big(t: &Talk) -> Outcome {
    let c = open(t).await?;
    for size in [MEGABYTE, 20 * MEGABYTE] {
        let text = big_text(size);
        let row = ask(t, &c, "select v, length(v) from (select $1::text as v) w", &[&text]).await?;
        t.check(&format!("big.text.{size}"), (row.get::<_, &str>(1) == text, row.get::<_, i32>(2) as usize), (true, size));
    }
    let rows = c.query("select g, md5(g::text) from generate_series(1, 100000) g", &[]).await?;
    t.check("big.rows", (rows.len(), rows.iter().map(|r| i64::from(r.get::<_, i32>(0))).sum()), (100_000, 5_000_050_000_i64));
    Ok(())
}

async fn errors(t: &Talk) -> Outcome {
    let (mut c, s) = (open(t).await?, &t.schema);
    c.batch_execute(&format!("create table {s}.strict (id int primary key, n int not null check (n > 0)); insert into {s}.strict values (1, 1)")).await?;
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
        t.check(&format!("errors.{name}"), state(c.query(&sql, &[]).await), want);
        t.check(&format!("errors.{name}.simple"), state(c.batch_execute(&sql).await), want);
        t.check(&format!("errors.{name}.after"), one::<i32>(t, &c, "select $1::int as v", &[&(n as i32)]).await?, n as i32);
    }
    if let Err(error) = c.execute(&format!("insert into {s}.strict values (1, 1)"), &[]).await {
        let fields = error.as_db_error().map(|e| (e.constraint().map(str::to_string), e.detail().map(str::to_string)));
        t.check("errors.fields", fields, Some((Some("strict_pkey".to_string()), Some("Key (id)=(1) already exists.".to_string()))));
    }
    let tx = c.transaction().await?;
    t.check("errors.in_transaction", (state(tx.query("select 1/0", &[]).await), state(tx.query("select 1", &[]).await)), ("22012".to_string(), "25P02".to_string()));
    tx.rollback().await?;
    c.batch_execute("do $$ begin raise notice 'hello %', 42; end $$").await?;
    let notice = match tokio::time::timeout(PATIENCE, c.heard.recv()).await? {
        Some(AsyncMessage::Notice(notice)) => notice.message().to_string(),
        other => format!("{other:?}"),
    };
    t.check("errors.notice", notice, "hello 42");
    Ok(())
}

async fn transactions(t: &Talk) -> Outcome {
    let (mut c, other, s) = (open(t).await?, open(t).await?, &t.schema);
    c.batch_execute(&format!("create table {s}.tx (n int)")).await?;
    let (insert, count) = (format!("insert into {s}.tx values ($1)"), format!("select count(*) as v from {s}.tx"));
    let tx = c.transaction().await?;
    tx.execute(&insert, &[&1]).await?;
    t.check("tx.own_write", (tx.query_one(&count, &[]).await?.get(0), one(t, &other, &count, &[]).await?), (1_i64, 0_i64));
    tx.commit().await?;
    t.check("tx.commit", one::<i64>(t, &other, &count, &[]).await?, 1);
    let tx = c.transaction().await?;
    tx.execute(&insert, &[&2]).await?;
    drop(tx); // Dropping sends ROLLBACK without waiting for it.
    t.check("tx.dropped", one::<i64>(t, &c, &count, &[]).await?, 1);
    let mut tx = c.transaction().await?;
    tx.execute(&insert, &[&3]).await?;
    let point = tx.savepoint("a").await?;
    point.execute(&insert, &[&4]).await?;
    t.check("tx.error", state(point.query("select 1/0", &[]).await), "22012");
    point.rollback().await?;
    tx.execute(&insert, &[&5]).await?;
    tx.commit().await?;
    t.check("tx.savepoint", one::<Vec<i32>>(t, &other, &format!("select array_agg(n order by n) as v from {s}.tx"), &[]).await?, vec![1, 3, 5]);
    let tx = c.build_transaction().isolation_level(IsolationLevel::Serializable).read_only(true).start().await?;
    let isolation: String = tx.query_one("select current_setting('transaction_isolation')", &[]).await?.get(0);
    t.check("tx.serializable_read_only", (isolation, state(tx.execute(&insert, &[&6]).await)), ("serializable".to_string(), "25006".to_string()));
    tx.rollback().await?;
    Ok(())
}

async fn prepared(t: &Talk) -> Outcome {
    let (c, other, s) = (open(t).await?, open(t).await?, &t.schema);
    let square = c.prepare("select $1::int4, $1::int4 * 2").await?;
    let (word, others) = (c.prepare_typed("select upper($1)", &[Type::TEXT]).await?, other.prepare("select lower($1)").await?);
    let mut right = true;
    for n in 0..40_i32 {
        let row = c.query_one(&square, &[&n]).await?;
        right &= (row.get::<_, i32>(0), row.get::<_, i32>(1)) == (n, 2 * n);
        right &= c.query_one(&word, &[&format!("w{n}")]).await?.get::<_, String>(0) == format!("W{n}");
        right &= other.query_one(&others, &[&format!("O{n}")]).await?.get::<_, String>(0) == format!("o{n}");
        right &= c.query_typed("select $1 + 1", &[(&n, Type::INT4)]).await?[0].get::<_, i32>(0) == n + 1;
    }
    t.check("prepared.reused", right, true);
    // Dropping a statement sends Close by itself, in the background.
    for n in 0..100_i32 {
        right &= c.query_one(&c.prepare(&format!("select $1::int + {n}")).await?, &[&1]).await?.get::<_, i32>(0) == n + 1;
    }
    t.check("prepared.dropped", right, true);
    c.batch_execute(&format!("create table {s}.ddl (a int4); insert into {s}.ddl values (42)")).await?;
    let reader = c.prepare(&format!("select a from {s}.ddl")).await?;
    t.check("prepared.before_ddl", c.query_one(&reader, &[]).await?.get::<_, i32>(0), 42);
    other.batch_execute(&format!("alter table {s}.ddl add column b int")).await?;
    t.check("prepared.added_column", c.query_one(&reader, &[]).await?.get::<_, i32>(0), 42);
    other.batch_execute(&format!("alter table {s}.ddl alter column a type text using 'n0' || a")).await?;
    // The driver keeps the old description and reads by it: an answer of the new type would be taken for a number.
    let got = match c.query_one(&reader, &[]).await {
        Ok(row) => format!("{:?}", row.try_get::<_, i32>(0)),
        Err(error) => state::<()>(Err(error)),
    };
    t.after_ddl("prepared.changed_type", &got, "0A000");
    t.check("prepared.anew", c.query_one(&c.prepare(&format!("select a from {s}.ddl")).await?, &[]).await?.get::<_, String>(0), "n042");
    t.check("prepared.bad", state(c.prepare("selec $1").await), "42601");
    c.batch_execute("prepare mine(int) as select $1 + 1").await?;
    t.check("prepared.sql", c.query_one("execute mine(1)", &[]).await?.get::<_, i32>(0), 2);
    t.check("prepared.sql.other_client", state(other.batch_execute("execute mine(1)").await), "26000");
    c.batch_execute("deallocate mine").await?;
    t.check("prepared.sql.gone", state(c.batch_execute("execute mine(1)").await), "26000");
    Ok(())
}

async fn pipeline(t: &Talk) -> Outcome {
    let (c, s) = (open(t).await?, &t.schema);
    let named = c.prepare("select $1::int, 'p' || $1").await?;
    let numbers: Vec<i32> = (0..300).collect();
    let got = join_all(numbers.iter().map(|n| async { c.query_one(&named, &[n]).await.map(|row| (row.get::<_, i32>(0), row.get::<_, String>(1))) })).await;
    let right = got.into_iter().enumerate().all(|(n, row)| row.is_ok_and(|row| row == (n as i32, format!("p{n}"))));
    t.check("pipeline.order", right, true);
    c.batch_execute(&format!("create table {s}.pipe (n int primary key)")).await?;
    let insert = c.prepare(&format!("insert into {s}.pipe values ($1)")).await?;
    let numbers = [1, 2, 1, 3, 4];
    let states: Vec<_> = join_all(numbers.iter().map(|n| async { state(c.execute(&insert, &[n]).await) })).await;
    t.check("pipeline.error", states, ["no error", "no error", "23505", "no error", "no error"]);
    t.check("pipeline.error.after", one::<Vec<i32>>(t, &c, &format!("select array_agg(n order by n) as v from {s}.pipe"), &[]).await?, vec![1, 2, 3, 4]);
    Ok(())
}

async fn copy(t: &Talk) -> Outcome {
    let (c, s) = (open(t).await?, &t.schema);
    c.batch_execute(&format!("create table {s}.copied (n int, s text)")).await?;
    let lines: String = (0..ROWS).map(|n| if n % 10 == 0 { format!("{n}\t\\N\n") } else { format!("{n}\trow {n}\n") }).collect();
    let load = |data: Bytes| {
        let (c, sql) = (&c, format!("copy {s}.copied from stdin"));
        async move {
            let sink = c.copy_in(&sql).await?;
            pin_mut!(sink);
            sink.send(data).await?;
            sink.finish().await
        }
    };
    t.check("copy.in", load(Bytes::from(lines.clone())).await?, ROWS as u64);
    let out: Vec<Bytes> = c.copy_out(&format!("copy (select * from {s}.copied order by n) to stdout")).await?.try_collect().await?;
    t.check("copy.out", out.concat() == lines.as_bytes(), true);
    t.check("copy.bad", state(load(Bytes::from_static(b"x\ty\n")).await), "22P02");
    t.check("copy.short", state(load(Bytes::from_static(b"1\n")).await), "22P04");
    {
        let sink = c.copy_in::<_, Bytes>(&format!("copy {s}.copied from stdin")).await?;
        pin_mut!(sink);
        sink.send(Bytes::from_static(b"1\tx\n")).await?; // Dropped unfinished: the driver sends CopyFail.
    }
    t.check("copy.aborted", one::<i64>(t, &c, &format!("select count(*) as v from {s}.copied"), &[]).await?, ROWS as i64);
    Ok(())
}

async fn cancel(t: &Talk) -> Outcome {
    let (c, watcher) = (open(t).await?, open(t).await?);
    for round in 0..3 {
        let marker = format!("{}_sleep_{round}", t.schema);
        let asleep = format!("select count(*) as v from pg_stat_activity where wait_event = 'PgSleep' and query like '%{marker}%'");
        let sql = format!("select pg_sleep(60) /* {marker} */");
        let waker = async {
            let end = Instant::now() + PATIENCE;
            while one::<i64>(t, &watcher, &asleep, &[]).await? == 0 && Instant::now() < end {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok::<_, Box<dyn std::error::Error>>(c.cancel_token().cancel_query(NoTls).await?)
        };
        let (slept, woken) = tokio::join!(c.query(&sql, &[]), waker);
        woken?;
        t.check(&format!("cancel.{round}"), (state(slept), one(t, &c, "select $1::int as v", &[&round]).await?), ("57014".to_string(), round));
    }
    c.cancel_token().cancel_query(NoTls).await?;
    t.check("cancel.idle", one::<i32>(t, &c, "select 7 as v", &[]).await?, 7);
    // A future that is dropped half-way: its answer must not be taken for the next one's.
    let _ = tokio::time::timeout(Duration::from_millis(50), c.query("select 1, pg_sleep(0.3)", &[])).await;
    t.check("cancel.dropped", one::<i32>(t, &c, "select 8 as v", &[]).await?, 8);
    Ok(())
}

async fn heard(open: &mut Open, count: usize, patience: Duration) -> Vec<String> {
    let mut got = vec![];
    while got.len() < count {
        match tokio::time::timeout(patience, open.heard.recv()).await {
            Ok(Some(AsyncMessage::Notification(news))) => got.push(news.payload().to_string()),
            Ok(Some(_)) => {}
            _ => break,
        }
    }
    got
}

async fn listen(t: &Talk) -> Outcome {
    let (mut c, other, channel) = (open(t).await?, open(t).await?, format!("{}_news", t.schema));
    c.batch_execute(&format!("listen {channel}")).await?;
    for n in 0..3 {
        other.query("select pg_notify($1, $2)", &[&channel, &format!("message {n} ü")]).await?;
    }
    t.check("listen.from_other", heard(&mut c, 3, PATIENCE).await, ["message 0 ü", "message 1 ü", "message 2 ü"]);
    c.batch_execute(&format!("begin; notify {channel}, 'from myself'; commit")).await?;
    t.check("listen.from_self", heard(&mut c, 1, PATIENCE).await, ["from myself"]);
    t.check("listen.still_usable", one::<i32>(t, &c, "select 3 as v", &[]).await?, 3);
    c.batch_execute("unlisten *").await?;
    other.batch_execute(&format!("notify {channel}, 'nobody listens'")).await?;
    t.check("listen.unlisten", heard(&mut c, 1, Duration::from_millis(300)).await.len(), 0);
    Ok(())
}

async fn settings(t: &Talk) -> Outcome {
    let (noon, show) = ("select timestamptz '2024-01-01 00:00:00Z'::text as v", "select current_setting('application_name') as v");
    let (zone, limit) = ("select current_setting('TimeZone') as v", "select current_setting('statement_timeout') as v");
    let (mut c, other) = (open_as(t, "pgweir-clients", "-c statement_timeout=54321").await?, open_as(t, "other", "").await?);
    let initial: String = one(t, &other, zone, &[]).await?;
    c.batch_execute(&format!("set TimeZone = 'Asia/Tokyo'; set search_path = {}", t.schema)).await?;
    c.batch_execute("create table found as select 9 as n").await?;
    for n in 0..5 {
        let got = (one::<String>(t, &c, noon, &[]).await?, one::<i32>(t, &c, "select n from found", &[]).await?, one::<String>(t, &other, zone, &[]).await? == initial);
        t.check(&format!("settings.kept.{n}"), got, ("2024-01-01 09:00:00+09".to_string(), 9, true));
    }
    t.check("settings.search_path.other", state(other.query("select n from found", &[]).await), "42P01");
    let tx = c.transaction().await?;
    tx.batch_execute("set local TimeZone = 'America/New_York'; set application_name = 'rolled back'").await?;
    t.check("settings.local", tx.query_one(noon, &[]).await?.get::<_, String>(0), "2023-12-31 19:00:00-05");
    tx.rollback().await?;
    t.check("settings.rolled_back", (one::<String>(t, &c, noon, &[]).await?, one::<String>(t, &c, show, &[]).await?), ("2024-01-01 09:00:00+09".to_string(), "pgweir-clients".to_string()));
    c.query("select set_config('application_name', $1, false)", &[&"by function"]).await?;
    t.check("settings.set_config", (one::<String>(t, &c, show, &[]).await?, one::<String>(t, &other, show, &[]).await?), ("by function".to_string(), "other".to_string()));
    t.check("settings.options", one::<String>(t, &c, limit, &[]).await?, "54321ms");
    c.batch_execute("set statement_timeout = 0; reset all").await?;
    let got = (one::<String>(t, &c, show, &[]).await?, one::<String>(t, &c, limit, &[]).await?, one::<String>(t, &c, zone, &[]).await? == initial);
    t.check("settings.reset_all", got, ("pgweir-clients".to_string(), "54321ms".to_string(), true));
    let c = open(t).await?;
    t.check("settings.no_leak", (one::<String>(t, &c, show, &[]).await?, one::<String>(t, &c, zone, &[]).await? == initial), ("pgweir-clients".to_string(), true));
    Ok(())
}

async fn locks_and_temporary_things(t: &Talk) -> Outcome {
    let (attempt, unlock) = (format!("select pg_try_advisory_lock({}) as v", t.lock_key), format!("select pg_advisory_unlock({}) as v", t.lock_key));
    let (exists, count) = ("select to_regclass('pg_temp.scratch') is not null as v", "select count(*) as v from scratch");
    let (mut c, other) = (open(t).await?, open(t).await?);
    t.check("advisory.held", (one::<bool>(t, &c, &attempt, &[]).await?, one::<bool>(t, &other, &attempt, &[]).await?), (true, false));
    t.check("advisory.unlock", (one::<bool>(t, &c, &unlock, &[]).await?, one::<bool>(t, &other, &attempt, &[]).await?, one::<bool>(t, &other, &unlock, &[]).await?), (true, true, true));
    c.batch_execute("create temp table scratch (n int)").await?;
    for n in 0..5_i32 {
        c.execute("insert into scratch values ($1)", &[&n]).await?;
        t.check(&format!("temp.kept.{n}"), (one::<i64>(t, &c, count, &[]).await?, one::<bool>(t, &other, exists, &[]).await?), (i64::from(n) + 1, false));
    }
    c.batch_execute("begin; declare held cursor with hold for select g from generate_series(1, 10) g; commit").await?;
    let mut got = vec![];
    for _ in 0..3 {
        got.extend(c.query("fetch 4 from held", &[]).await?.iter().map(|row| row.get::<_, i32>(0)));
        one::<i32>(t, &other, "select 1 as v", &[]).await?;
    }
    t.check("cursors.with_hold", got, (1..=10).collect::<Vec<i32>>());
    let tx = c.transaction().await?;
    let (a, b) = (tx.bind("select g from generate_series(1, 100) g", &[]).await?, tx.bind("select -g from generate_series(1, 100) g", &[]).await?);
    let (mut sums, mut rounds) = ((0_i64, 0_i64), 0);
    loop {
        let (left, right) = (tx.query_portal(&a, 7).await?, tx.query_portal(&b, 7).await?);
        sums.0 += left.iter().map(|row| i64::from(row.get::<_, i32>(0))).sum::<i64>();
        sums.1 += right.iter().map(|row| i64::from(row.get::<_, i32>(0))).sum::<i64>();
        rounds += 1;
        if left.len() < 7 {
            break;
        }
    }
    t.check("cursors.portals", (sums, rounds), ((5050, -5050), 15));
    drop((a, b));
    tx.commit().await?;
    one::<bool>(t, &c, &attempt, &[]).await?;
    drop(c);
    let end = Instant::now() + PATIENCE;
    let mut free = false;
    while !free && Instant::now() < end {
        free = one(t, &other, &attempt, &[]).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    t.check("advisory.released_by_close", free, true);
    t.check("temp.gone", one::<bool>(t, &open(t).await?.client, exists, &[]).await?, false);
    Ok(())
}

async fn many(t: &Talk) -> Outcome {
    let s = &t.schema;
    open(t).await?.batch_execute(&format!("create table {s}.lookup as select c * 1000 + n as id, format('owner %s/%s', c, n) as owner from generate_series(0, {}) c, generate_series(0, {}) n", t.clients - 1, t.lookups - 1)).await?;
    let client = |me: usize| async move {
        let c = open_as(t, &format!("client {me}"), "").await?;
        let find = c.prepare(&format!("select id, current_setting('application_name'), owner from {s}.lookup where id = $1")).await?;
        let mut right = 0;
        for n in 0..t.lookups {
            let id = (me * 1000 + n) as i32;
            let rows = c.query_raw(&find, [id]).await?;
            pin_mut!(rows);
            while let Some(row) = rows.next().await.transpose()? {
                let got = (row.get::<_, i32>(0), row.get::<_, String>(1), row.get::<_, String>(2));
                right += usize::from(got == (id, format!("client {me}"), format!("owner {me}/{n}")));
            }
        }
        Ok::<usize, Error>(right)
    };
    let right: Result<Vec<usize>, Error> = join_all((0..t.clients).map(client)).await.into_iter().collect();
    t.check("many.lookups", right?.into_iter().sum::<usize>(), t.clients * t.lookups);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let t = &Talk::new("tokio_postgres");
    open(t).await?.batch_execute(&format!("create schema {}", t.schema)).await?;
    t.section("types", types(t).await);
    t.section("big", big(t).await);
    t.section("errors", errors(t).await);
    t.section("transactions", transactions(t).await);
    t.section("prepared", prepared(t).await);
    t.section("pipeline", pipeline(t).await);
    t.section("copy", copy(t).await);
    t.section("cancel", cancel(t).await);
    t.section("listen", listen(t).await);
    t.section("settings", settings(t).await);
    t.section("locks_and_temporary_things", locks_and_temporary_things(t).await);
    t.section("many", many(t).await);
    open(t).await?.batch_execute(&format!("drop schema {} cascade", t.schema)).await?;
    t.finish()
}
