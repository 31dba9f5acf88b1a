"""asyncpg: the common conversation; everything is binary and every query a named, cached statement."""

import asyncio
import datetime
import decimal
import json
import time
import uuid

from io import BytesIO

import asyncpg

from talk import ALL_BYTES, CLIENTS, HAIRY, LOOKUPS, MEGABYTE, PATIENCE, ROWS, Talk, big_text, md5, outcome_after_ddl

t = Talk("asyncpg")
S = t.schema


class Open:
    """A connection for a block, with start-up parameters."""

    def __init__(self, name="pgweir-clients", **settings):
        self.settings = {"application_name": name, **settings}

    async def __aenter__(self):
        self.conn = await asyncpg.connect(t.url, server_settings=self.settings)
        return self.conn

    async def __aexit__(self, *_):
        await self.conn.close()


async def ask(conn, sql, *args):
    number, text = t.tagged(sql)
    return t.mine(number, await conn.fetchrow(text, *args))


async def one(conn, sql, *args):
    return (await ask(conn, sql, *args))[0]


async def state_of(awaitable):
    try:
        await awaitable
    except asyncpg.PostgresError as error:
        return error.sqlstate
    return "no error"


async def types():
    stamp = datetime.datetime(2024, 2, 29, 12, 34, 56, 789012, datetime.timezone.utc)
    cases = [
        ("int2", -32768), ("int4", 2147483647), ("int8", -9223372036854775808), ("float8", 1.5), ("bool", True),
        ("numeric", decimal.Decimal("12345678901234567890.123456789")), ("text", HAIRY),
        ("uuid", uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")), ("timestamptz", stamp), ("bytea", ALL_BYTES),
        ("int4[]", [1, None, -3]), ("text[]", ["a,b", 'q"uote', None, "", "NULL"]), ("date", datetime.date(1, 1, 1)),
        ("int4[][]", [[1, 2], [3, 4]]), ("interval", datetime.timedelta(days=3, seconds=4)),
    ]
    async with Open() as conn:
        for kind, value in cases:
            got = await one(conn, f"select $1::{kind} as v", value)
            t.check(f"types.{kind}", str(got) if kind == "uuid" else got, str(value) if kind == "uuid" else value)
        doc = {"a": [1, {"b": None}], "ü": "🐘"}
        t.check("types.jsonb", json.loads(await one(conn, "select $1::jsonb as v", json.dumps(doc))), doc)
        await conn.execute(f"create type {S}.mood as enum ('calm', 'cross')")
        await conn.execute(f"create type {S}.pair as (n int, m {S}.mood)")
        # Unknown types make asyncpg ask the catalog between Parse and Bind.
        t.check("types.enum", await one(conn, f"select $1::{S}.mood as v", "cross"), "cross")
        t.check("types.composite", tuple(await one(conn, f"select $1::{S}.pair as v", (5, "calm"))), (5, "calm"))


async def nulls():
    async with Open() as conn:
        for kind in ("int4", "text", "numeric", "timestamptz", "uuid", "jsonb", "bytea", "int4[]"):
            got = await ask(conn, f"select $1::{kind} as v, $1::{kind} is null as n, 7 as seven", None)
            t.check(f"nulls.{kind}", got, (None, True, 7))
        t.check("nulls.empty_text", await ask(conn, "select $1::text as v, $1::text is null as n", ""), ("", False))


async def big():
    async with Open() as conn:
        for size, name in ((MEGABYTE, "1MB"), (20 * MEGABYTE, "20MB")):
            text = big_text(size)
            back, digest = await ask(conn, "select v, md5(v) from (select $1::text as v) w", text)
            t.check(f"big.text.{name}", (len(back), md5(back), digest), (size, md5(text), md5(text)))
        blob = ALL_BYTES * 4096
        t.check("big.bytea.1MB", md5(await one(conn, "select $1::bytea as v", blob)), md5(blob))
        rows = await conn.fetch("select g, md5(g::text) from generate_series(1, 100000) g")
        t.check("big.rows", (len(rows), sum(r[0] for r in rows), rows[-1][1]), (100000, 5000050000, md5("100000")))


async def errors():
    async with Open() as conn:
        await conn.execute(f"create table {S}.strict (id int primary key, n int not null check (n > 0))")
        await conn.execute(f"insert into {S}.strict values (1, 1)")
        insert = f"insert into {S}.strict values ($1, $2)"
        cases = [
            ("syntax", ("selec $1", 1), "42601"), ("table", ("select * from no_such_table where n = $1", 1), "42P01"),
            ("division", ("select 1 / $1::int", 0), "22012"), ("unique", (insert, 1, 1), "23505"),
            ("not_null", (insert, 2, None), "23502"), ("check", (insert, 3, -1), "23514"),
            ("mid_result", ("select 1 / ($1 - g) from generate_series(1, 9999) g", 5000), "22012"),
            ("simple", ("select 1; select 1/0",), "22012"),
        ]
        for number, (name, call, want) in enumerate(cases):
            how = conn.execute if len(call) == 1 else conn.fetch
            t.check(f"errors.{name}", await state_of(how(*call)), want)
            t.check(f"errors.{name}.after", await one(conn, "select $1::int as v", number), number)
        try:
            await conn.execute(insert, 1, 1)
        except asyncpg.UniqueViolationError as error:
            t.check("errors.fields", (error.constraint_name, error.table_name, error.detail), ("strict_pkey", "strict", "Key (id)=(1) already exists."))
        transaction = conn.transaction()
        await transaction.start()
        t.check("errors.in_transaction", await state_of(conn.fetch("select 1/0")), "22012")
        t.check("errors.aborted", await state_of(conn.fetch("select 1")), "25P02")
        await transaction.rollback()
        t.check("errors.aborted.after", await one(conn, "select 5"), 5)


async def transactions():
    async with Open() as conn, Open() as other:
        await conn.execute(f"create table {S}.tx (n int)")
        insert, count = f"insert into {S}.tx values ($1)", f"select count(*) from {S}.tx"
        async with conn.transaction():
            await conn.execute(insert, 1)
            t.check("tx.own_write", await one(conn, count), 1)
            t.check("tx.isolated", await one(other, count), 0)
        t.check("tx.commit", await one(other, count), 1)
        transaction = conn.transaction()
        await transaction.start()
        await conn.execute(insert, 2)
        await transaction.rollback()
        t.check("tx.rollback", await one(other, count), 1)
        async with conn.transaction():
            await conn.execute(insert, 3)
            try:
                async with conn.transaction():
                    await conn.execute(insert, 4)
                    await conn.execute("select 1/0")
            except asyncpg.DivisionByZeroError:
                pass
            await conn.execute(insert, 5)
        t.check("tx.savepoint", await one(other, f"select array_agg(n order by n) from {S}.tx"), [1, 3, 5])
        async with conn.transaction(isolation="serializable", readonly=True, deferrable=True):
            t.check("tx.serializable", await one(conn, "select current_setting('transaction_isolation')"), "serializable")
        transaction = conn.transaction(readonly=True)
        await transaction.start()
        t.check("tx.read_only", await state_of(conn.execute(insert, 6)), "25006")
        await transaction.rollback()
        t.check("tx.after", await one(conn, "select current_setting('transaction_read_only')"), "off")


async def prepared():
    async with Open() as conn, Open() as other:
        square = await conn.prepare("select $1::int4, $1::int4 * 2")
        word, others = await conn.prepare("select upper($1)"), await other.prepare("select lower($1)")
        right = True
        for n in range(40):
            right &= tuple(await square.fetchrow(n)) == (n, 2 * n)
            right &= await word.fetchval(f"w{n}") == f"W{n}"
            right &= await others.fetchval(f"O{n}") == f"o{n}"
        t.check("prepared.reused", right, True)
        t.check("prepared.described", ([p.name for p in square.get_parameters()], [a.type.name for a in square.get_attributes()]), (["int4"], ["int4", "int4"]))
        # More statements than asyncpg keeps (100) make it send Close for the oldest.
        t.check("prepared.evicted", [await conn.fetchval(f"select $1::int + {n}", 1) for n in range(150)] == list(range(1, 151)), True)
        await conn.execute(f"create table {S}.ddl (a int4)")
        await conn.execute(f"insert into {S}.ddl values (42)")
        read = f"select a from {S}.ddl"
        kept = await conn.prepare(f"select a from {S}.ddl where 1 = 1")
        t.check("prepared.before_ddl", [(await conn.fetchval(read), await kept.fetchval()) for _ in range(3)], [(42, 42)] * 3)
        await other.execute(f"alter table {S}.ddl add column b int")
        t.check("prepared.added_column", (await conn.fetchval(read), await kept.fetchval()), (42, 42))
        await other.execute(f"alter table {S}.ddl alter column a type text using 'n0' || a")
        # asyncpg prepares again by itself here; the statement held by the program keeps the old description.
        t.check("prepared.changed_type.cached", await conn.fetchval(read), "n042")
        try:
            got = await kept.fetchval()
        except asyncpg.PostgresError as error:
            got = error.sqlstate
        outcome_after_ddl(t, "prepared.changed_type.held", got, "0A000", "n042")
        star = f"select * from {S}.ddl"
        await conn.fetchrow(star)
        await other.execute(f"alter table {S}.ddl add column c int default 3")
        t.check("prepared.star", tuple(await conn.fetchrow(star)), ("n042", None, 3))
        await conn.execute("prepare mine(int) as select $1 + 1")
        t.check("prepared.sql", await conn.fetchval("execute mine(1)"), 2)
        t.check("prepared.sql.other_client", await state_of(other.execute("execute mine(1)")), "26000")
        await conn.execute("deallocate mine")
        t.check("prepared.sql.gone", await state_of(conn.execute("execute mine(1)")), "26000")
        await conn.execute("discard all")
        await conn.reload_schema_state()
        t.check("prepared.after_discard_all", await conn.fetchval("select $1::int", 8), 8)


async def pipeline():
    async with Open() as conn:
        await conn.execute(f"create table {S}.pipe (n int primary key)")
        insert = f"insert into {S}.pipe values ($1)"
        await conn.executemany(insert, [(n,) for n in range(1000)])
        t.check("pipeline.executemany", await one(conn, f"select count(*) from {S}.pipe"), 1000)
        t.check("pipeline.error", await state_of(conn.executemany(insert, [(5000,), (5001,), (3,), (5002,)])), "23505")
        t.check("pipeline.atomic", await one(conn, f"select count(*) from {S}.pipe"), 1000)
        got = await conn.fetchmany(f"update {S}.pipe set n = -n where n = $1 returning n", [(n,) for n in range(1, 50)])
        t.check("pipeline.returning", [r[0] for r in got], [-n for n in range(1, 50)])


async def copy():
    async with Open() as conn:
        await conn.execute(f"create table {S}.copied (n int, s text)")
        records = [(n, None if n % 10 == 0 else f"row {n}") for n in range(ROWS)]
        t.check("copy.in.binary", await conn.copy_records_to_table("copied", schema_name=S, records=records), f"COPY {ROWS}")
        out = BytesIO()
        await conn.copy_from_query(f"select * from {S}.copied order by n", output=out, format="csv")
        t.check("copy.out.csv", (out.getvalue().count(b"\n"), out.getvalue()[:20]), (ROWS, b"0,\n1,row 1\n2,row 2\n3"))
        out.seek(0)
        t.check("copy.in.csv", await conn.copy_to_table("copied", schema_name=S, source=out, format="csv"), f"COPY {ROWS}")
        got = await ask(conn, f"select count(*) as c, count(s) as s, sum(n) as n from {S}.copied")
        t.check("copy.counted", got, (2 * ROWS, ROWS * 9 // 5, ROWS * (ROWS - 1)))
        for name, data, want in (("bad", b"x\ty\n", "22P02"), ("short", b"1\n", "22P04")):
            t.check(f"copy.{name}", await state_of(conn.copy_to_table("copied", schema_name=S, source=BytesIO(data))), want)

        async def broken():
            yield b"1\tx\n"
            raise OSError("the file is gone")

        try:
            await conn.copy_to_table("copied", schema_name=S, source=broken())
            got = "no error"
        except OSError as error:
            got = str(error)
        t.check("copy.aborted", (got, await one(conn, f"select count(*) from {S}.copied")), ("the file is gone", 2 * ROWS))


async def until_sleepers(marker, count):
    """Returns when exactly `count` queries that carry the marker sleep in the server."""
    async with Open() as watcher:
        end = time.monotonic() + PATIENCE
        sql = "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and query like $1"
        while await one(watcher, sql, f"%{marker}%") != count:
            if time.monotonic() > end:
                raise TimeoutError(f"never saw {count} queries asleep")
            await asyncio.sleep(0.02)


async def cancel():
    async with Open() as conn:
        for round_ in range(3):
            marker = f"{S}_sleep_{round_}"
            task = asyncio.ensure_future(conn.execute(f"select pg_sleep(60) /* {marker} */"))
            await until_sleepers(marker, 1)
            task.cancel()
            try:
                await task
                got = "no error"
            except asyncio.CancelledError:
                got = "cancelled"
            await until_sleepers(marker, 0)
            t.check(f"cancel.{round_}", got, "cancelled")
            t.check(f"cancel.{round_}.after", await one(conn, "select $1::int as v", round_), round_)
        try:
            await conn.fetch("select pg_sleep($1)", 60, timeout=0.2)
            got = "no error"
        except TimeoutError:
            got = "timeout"
        t.check("cancel.timeout", (got, await one(conn, "select 6")), ("timeout", 6))


async def listen():
    async with Open() as conn, Open() as other:
        channel, heard = f"{S}_news", asyncio.Queue()

        def hear(_conn, _pid, name, payload):
            heard.put_nowait((name == channel, payload))

        async def next_one(patience=PATIENCE):
            return await asyncio.wait_for(heard.get(), patience)

        await conn.add_listener(channel, hear)
        for n in range(3):
            await other.execute("select pg_notify($1, $2)", channel, f"message {n} ü")
        t.check("listen.from_other", [await next_one() for _ in range(3)], [(True, f"message {n} ü") for n in range(3)])
        t.check("listen.still_usable", await one(conn, "select 3"), 3)
        async with conn.transaction():
            await conn.execute(f"notify {channel}, 'from myself'")
        t.check("listen.from_self", await next_one(), (True, "from myself"))
        await conn.remove_listener(channel, hear)
        await other.execute(f"notify {channel}, 'nobody listens'")
        await conn.fetch("select 1")
        t.check("listen.unlisten", heard.empty(), True)


async def settings():
    noon = "select timestamptz '2024-01-01 00:00:00Z'::text as v"
    show = "select current_setting('application_name') as v"
    zone_of, limit_of = "select current_setting('TimeZone') as v", "select current_setting('statement_timeout') as v"
    async with Open(statement_timeout="54321") as conn, Open("other") as other:
        zone = await one(other, zone_of)
        await conn.execute("set TimeZone = 'Asia/Tokyo'")
        await conn.execute(f"set search_path = {S}")
        await conn.execute("create table found as select 9 as n")
        for n in range(5):
            got = (await one(conn, noon), await one(conn, "select n from found"), await one(other, zone_of) == zone)
            t.check(f"settings.kept.{n}", got, ("2024-01-01 09:00:00+09", 9, True))
        t.check("settings.search_path.other", await state_of(other.fetch("select n from found")), "42P01")
        t.check("settings.status", conn.get_settings().TimeZone, "Asia/Tokyo")
        async with conn.transaction():
            await conn.execute("set local TimeZone = 'America/New_York'")
            t.check("settings.local", await one(conn, noon), "2023-12-31 19:00:00-05")
        t.check("settings.local.after", await one(conn, noon), "2024-01-01 09:00:00+09")
        transaction = conn.transaction()
        await transaction.start()
        await conn.execute("set application_name = 'rolled back'")
        await transaction.rollback()
        t.check("settings.rolled_back", await one(conn, show), "pgweir-clients")
        await conn.fetch("select set_config($1, $2, false)", "application_name", "by function")
        t.check("settings.set_config", (await one(conn, show), await one(other, show)), ("by function", "other"))
        t.check("settings.startup", await one(conn, limit_of), "54321ms")
        await conn.execute("set statement_timeout = 0")
        await conn.reset()
        t.check("settings.reset", (await one(conn, show), await one(conn, limit_of), await one(conn, zone_of) == zone), ("pgweir-clients", "54321ms", True))
    async with Open() as conn:
        t.check("settings.no_leak", (await one(conn, show), await one(conn, zone_of) == zone), ("pgweir-clients", True))


async def advisory():
    key = t.lock_key
    attempt, unlock = "select pg_try_advisory_lock($1) as v", "select pg_advisory_unlock($1) as v"
    async with Open() as other:
        async with Open() as conn:
            await conn.fetch("select pg_advisory_lock($1)", key)
            t.check("advisory.held", [await one(other, attempt, key) for _ in range(3)], [False] * 3)
            t.check("advisory.unlock", await one(conn, unlock, key), True)
            t.check("advisory.free", (await one(other, attempt, key), await one(other, unlock, key)), (True, True))
            await conn.fetch("select pg_advisory_lock($1)", key)
            await conn.reset()
            t.check("advisory.reset", (await one(other, attempt, key), await one(other, unlock, key)), (True, True))
            await conn.fetch("select pg_advisory_lock($1)", key)
        end = time.monotonic() + PATIENCE
        while not (free := await one(other, attempt, key)) and time.monotonic() < end:
            await asyncio.sleep(0.02)
        t.check("advisory.released_by_close", free, True)


async def temp():
    exists = "select to_regclass('pg_temp.scratch') is not null as v"
    async with Open() as other:
        async with Open() as conn:
            await conn.execute("create temp table scratch (n int)")
            for n in range(5):
                await conn.execute("insert into scratch values ($1)", n)
                t.check(f"temp.kept.{n}", (await one(conn, "select count(*) from scratch"), await one(other, exists)), (n + 1, False))
        async with Open() as again:
            t.check("temp.gone", (await one(again, exists), await one(other, exists)), (False, False))


async def cursors():
    async with Open() as conn, Open() as other:
        async with conn.transaction():
            await conn.execute("declare held cursor with hold for select g from generate_series(1, 10) g")
        got = []
        for _ in range(3):
            got += [r[0] for r in await conn.fetch("fetch 4 from held")]
            await other.fetch("select 1")
        t.check("cursors.with_hold", got, list(range(1, 11)))
        async with conn.transaction():
            # Portals with a row limit: Execute, PortalSuspended, Execute; two of them at a time.
            total, second = 0, await conn.cursor("select generate_series(1, 30)")
            async for row in conn.cursor("select g, md5(g::text) from generate_series(1, 1000) g", prefetch=100):
                total += row[1] == md5(str(row[0]))
            await second.forward(10)
            t.check("cursors.portal", (total, [r[0] for r in await second.fetch(3)]), (1000, [11, 12, 13]))


async def many():
    wrong, done = [], []
    async with Open() as conn:
        await conn.execute(f"create table {S}.lookup as select c * 1000 + n as id, format('owner %s/%s', c, n) as owner from generate_series(0, {CLIENTS - 1}) c, generate_series(0, {LOOKUPS - 1}) n")

    async def client(me):
        async with Open(f"client {me}") as conn:
            for n in range(LOOKUPS):
                row = await conn.fetchrow(f"select $1::int, $2::int, current_setting('application_name'), owner from {S}.lookup where id = $1 * 1000 + $2", me, n)
                if tuple(row) != (me, n, f"client {me}", f"owner {me}/{n}"):
                    wrong.append(tuple(row))
                done.append(1)

    await asyncio.gather(*(client(n) for n in range(CLIENTS)))
    t.check("many.lookups", (len(done), wrong), (CLIENTS * LOOKUPS, []))

    async with asyncpg.create_pool(t.url, min_size=1, max_size=3) as pool:
        got = await asyncio.gather(*(pool.fetchval("select $1::int", n) for n in range(CLIENTS * 10)))
        t.check("many.pool", got == list(range(CLIENTS * 10)), True)


async def main():
    async with Open() as conn:
        await conn.execute(f"create schema {S}")
    for section in (types, nulls, big, errors, transactions, prepared, pipeline, copy, cancel, listen, settings, advisory, temp, cursors, many):
        try:
            await section()
        except Exception as error:  # a section that breaks must not hide the others
            t.lost(section.__name__, error)
    async with Open() as conn:
        await conn.execute(f"drop schema {S} cascade")
    t.finish()


asyncio.run(main())
