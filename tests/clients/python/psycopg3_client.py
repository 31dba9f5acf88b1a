"""psycopg 3: the common conversation, with its binary mode, pipeline mode, COPY and server-side cursors."""

import datetime
import decimal
import threading
import time
import uuid

import psycopg
from psycopg.types.json import Jsonb

from talk import ALL_BYTES, CLIENTS, HAIRY, LOOKUPS, MEGABYTE, PATIENCE, ROWS, Talk, big_text, md5, outcome_after_ddl

t = Talk("psycopg3")
S = t.schema


def connect(**more):
    more.setdefault("application_name", "pgweir-clients")
    return psycopg.connect(t.url, autocommit=True, **more)


def ask(conn, sql, params=None, **how):
    number, text = t.tagged(sql)
    return t.mine(number, conn.execute(text, params, **how).fetchone())


def one(conn, sql, params=None, **how):
    return ask(conn, sql, params, **how)[0]


def state_of(conn, sql, params=None):
    try:
        conn.execute(sql, params)
    except psycopg.Error as error:
        return error.sqlstate
    return "no error"


def until_asleep(marker):
    """Returns when a query that carries the marker sleeps in the server."""
    with connect() as watcher:
        end = time.monotonic() + PATIENCE
        while not one(watcher, "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and query like %s", (f"%{marker}%",)):
            if time.monotonic() > end:
                raise TimeoutError("the query to be cancelled never started")
            time.sleep(0.02)


def types():
    stamp = datetime.datetime(2024, 2, 29, 12, 34, 56, 789012, datetime.timezone.utc)
    number = decimal.Decimal("12345678901234567890.123456789")
    ident = uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")
    cases = [
        ("int2", -32768), ("int4", 2147483647), ("int8", -9223372036854775808), ("float8", 1.5), ("bool", True),
        ("numeric", number), ("text", HAIRY), ("uuid", ident), ("timestamptz", stamp), ("bytea", ALL_BYTES),
        ("int4[]", [1, None, -3]), ("text[]", ["a,b", 'q"uote', None, "", "NULL"]), ("date", datetime.date(1, 1, 1)),
    ]
    with connect() as conn:
        for binary in (False, True):
            mark = "%b" if binary else "%t"
            for kind, value in cases:
                got = one(conn, f"select {mark}::{kind}", (value,), binary=binary)
                same = got.astimezone(datetime.timezone.utc) if kind == "timestamptz" else got
                t.check(f"types.{kind}.{'binary' if binary else 'text'}", same, value)
        doc = {"a": [1, {"b": None}], "ü": "🐘"}
        t.check("types.jsonb", one(conn, "select %s::jsonb", (Jsonb(doc),)), doc)
        t.check("types.nan", str(one(conn, "select 'NaN'::float8")), "nan")


def nulls():
    with connect() as conn:
        for kind in ("int4", "text", "numeric", "timestamptz", "uuid", "jsonb", "bytea", "int4[]"):
            got = ask(conn, f"select %(v)s::{kind} as v, %(v)s::{kind} is null as n, 7 as seven", {"v": None}, prepare=True)
            t.check(f"nulls.{kind}", got, (None, True, 7))
        t.check("nulls.empty_text", ask(conn, "select %s::text as v, %s::text is null as n", ("", "")), ("", False))


def big():
    with connect() as conn:
        for size, name in ((MEGABYTE, "1MB"), (20 * MEGABYTE, "20MB")):
            text = big_text(size)
            back, digest = ask(conn, "select v, md5(v) from (select %s::text as v) w", (text,))
            t.check(f"big.text.{name}", (len(back), md5(back), digest), (size, md5(text), md5(text)))
            raw = one(conn, "select repeat('x', %s)", (size,), binary=True)
            t.check(f"big.result.{name}", (len(raw), set(raw)), (size, {"x"}))
        blob = ALL_BYTES * 4096
        back = one(conn, "select %b::bytea", (blob,), binary=True)
        t.check("big.bytea.1MB", md5(back), md5(blob))
        rows = conn.execute("select g, md5(g::text) from generate_series(1, 100000) g").fetchall()
        t.check("big.rows", (len(rows), sum(r[0] for r in rows), rows[-1][1]), (100000, 5000050000, md5("100000")))


def errors():
    with connect() as conn:
        conn.execute(f"create table {S}.strict (id int primary key, n int not null check (n > 0), s varchar(3))")
        conn.execute(f"insert into {S}.strict values (1, 1, 'a')")
        cases = [
            ("syntax", "selec 1", None, "42601"), ("table", "select * from no_such_table", None, "42P01"),
            ("column", "select no_such_column", None, "42703"), ("division", "select 1 / %s::int", (0,), "22012"),
            ("unique", f"insert into {S}.strict values (1, 1, 'a')", None, "23505"),
            ("not_null", f"insert into {S}.strict values (2, null, 'a')", None, "23502"),
            ("check", f"insert into {S}.strict values (%s, %s, 'a')", (3, -1), "23514"),
            ("too_long", f"insert into {S}.strict values (4, 1, 'abcd')", None, "22001"),
            ("input", "select %s::text::int", ("x",), "22P02"),
            ("mid_result", "select 1 / (5000 - g) from generate_series(1, 9999) g", None, "22012"),
            ("raise", "do $$ begin raise exception 'mine' using errcode = 'PW001'; end $$", None, "PW001"),
        ]
        for number, (name, sql, params, want) in enumerate(cases):
            t.check(f"errors.{name}", state_of(conn, sql, params), want)
            t.check(f"errors.{name}.after", one(conn, "select %s::int", (number,)), number)
        try:
            conn.execute(f"insert into {S}.strict values (1, 1, 'a')")
        except psycopg.Error as error:
            d = error.diag
            t.check("errors.fields", (d.constraint_name, d.table_name, d.message_detail, d.severity_nonlocalized),
                    ("strict_pkey", "strict", "Key (id)=(1) already exists.", "ERROR"))
        conn.execute("begin")
        t.check("errors.in_transaction", state_of(conn, "select 1/0"), "22012")
        t.check("errors.aborted", state_of(conn, "select 1"), "25P02")
        conn.execute("rollback")
        t.check("errors.aborted.after", one(conn, "select 5"), 5)
        seen = []
        conn.add_notice_handler(lambda d: seen.append((d.sqlstate, d.message_primary)))
        conn.execute("do $$ begin raise notice 'hello %', 42; end $$")
        t.check("errors.notice", seen, [("00000", "hello 42")])


def transactions():
    with connect() as conn, connect() as other:
        conn.execute(f"create table {S}.tx (n int)")
        count = f"select count(*) from {S}.tx"
        with conn.transaction():
            conn.execute(f"insert into {S}.tx values (1)")
            t.check("tx.own_write", one(conn, count), 1)
            t.check("tx.isolated", one(other, count), 0)
        t.check("tx.commit", one(other, count), 1)
        with conn.transaction(force_rollback=True):
            conn.execute(f"insert into {S}.tx values (2)")
        t.check("tx.rollback", one(other, count), 1)
        with conn.transaction():
            conn.execute(f"insert into {S}.tx values (3)")
            try:
                with conn.transaction():
                    conn.execute(f"insert into {S}.tx values (4)")
                    conn.execute("select 1/0")
            except psycopg.errors.DivisionByZero:
                pass
            conn.execute(f"insert into {S}.tx values (5)")
        t.check("tx.savepoint", one(other, f"select array_agg(n order by n) from {S}.tx"), [1, 3, 5])
        conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        conn.read_only = True
        with conn.transaction():
            t.check("tx.serializable", one(conn, "select current_setting('transaction_isolation')"), "serializable")
        with conn.transaction(force_rollback=True):
            t.check("tx.read_only", state_of(conn, f"insert into {S}.tx values (6)"), "25006")
        conn.isolation_level = conn.read_only = None
        t.check("tx.after", one(conn, "select current_setting('transaction_read_only')"), "off")
        t.check("tx.status", conn.info.transaction_status.name, "IDLE")


def prepared():
    with connect() as conn, connect() as other:
        square, word = "select %s::int4 as qid, %s::int4 * 2 as double", "select %s::int4 as qid, upper(%s::text) as word"
        right = True
        for n in range(40):
            right &= conn.execute(square, (n, n), prepare=True).fetchone() == (n, 2 * n)
            right &= conn.execute(word, (n, f"w{n}"), prepare=True).fetchone() == (n, f"W{n}")
            right &= other.execute(word, (-n, f"o{n}"), prepare=True).fetchone() == (-n, f"O{n}")
        t.check("prepared.reused", right, True)
        conn.execute(f"create table {S}.ddl (a int4)")
        conn.execute(f"insert into {S}.ddl values (42)")
        read = f"select a from {S}.ddl"
        t.check("prepared.before_ddl", [conn.execute(read, prepare=True).fetchone()[0] for _ in range(3)], [42] * 3)
        other.execute(f"alter table {S}.ddl add column b int")
        t.check("prepared.added_column", conn.execute(read, prepare=True).fetchone()[0], 42)
        other.execute(f"alter table {S}.ddl alter column a type text using 'n0' || a")
        try:
            got = conn.execute(read, prepare=True).fetchone()[0]
        except psycopg.Error as error:
            got = error.sqlstate
        outcome_after_ddl(t, "prepared.changed_type", got, "0A000", "n042")
        t.check("prepared.anew", conn.execute(read + " where true", prepare=True).fetchone()[0], "n042")
        conn.execute("prepare mine(int) as select $1 + 1")
        t.check("prepared.sql", [conn.execute(f"execute mine({n})").fetchone()[0] for n in range(3)], [1, 2, 3])
        t.check("prepared.sql.twice", state_of(conn, "prepare mine(int) as select $1 + 2"), "42P05")
        t.check("prepared.sql.other_client", state_of(other, "execute mine(1)"), "26000")
        conn.execute("deallocate mine")
        t.check("prepared.sql.gone", state_of(conn, "execute mine(1)"), "26000")
        conn.execute("deallocate all")
        conn._prepared.clear()
        t.check("prepared.after_deallocate_all", conn.execute(square, (5, 5), prepare=True).fetchone(), (5, 10))


def pipeline():
    with connect() as conn:
        conn.execute(f"create table {S}.pipe (n int primary key)")
        with conn.pipeline():
            cursors = [conn.execute("select %s::int, %s::text", (n, f"p{n}")) for n in range(200)]
        t.check("pipeline.order", [c.fetchone() for c in cursors] == [(n, f"p{n}") for n in range(200)], True)
        states = []
        try:
            with conn.pipeline() as p:
                conn.execute(f"insert into {S}.pipe values (1)")
                p.sync()
                conn.execute(f"insert into {S}.pipe values (2)")
                conn.execute(f"insert into {S}.pipe values (1)")
                conn.execute(f"insert into {S}.pipe values (3)")
                p.sync()
        except psycopg.Error as error:
            states.append(error.sqlstate)
        t.check("pipeline.error", (states, one(conn, f"select array_agg(n order by n) from {S}.pipe")), (["23505"], [1]))
        with conn.cursor() as cur:
            cur.executemany(f"insert into {S}.pipe values (%s)", [(n,) for n in range(100, 600)])
            t.check("pipeline.executemany", (cur.rowcount, one(conn, f"select count(*) from {S}.pipe")), (500, 501))
            cur.executemany("select %s::int", [(n,) for n in range(50)], returning=True)
            got = [cur.fetchone()[0]]
            while cur.nextset():
                got.append(cur.fetchone()[0])
        t.check("pipeline.returning", got, list(range(50)))


def copy():
    with connect() as conn:
        conn.execute(f"create table {S}.copied (n int, s text)")
        for form in ("text", "binary"):
            with conn.cursor().copy(f"copy {S}.copied from stdin (format {form})") as sink:
                sink.set_types(["int4", "text"])
                for n in range(ROWS):
                    sink.write_row((n, None if n % 10 == 0 else f"row {n}"))
            t.check(f"copy.in.{form}", ask(conn, f"select count(*) as c, count(s) as s, sum(n) as n from {S}.copied"),
                    (ROWS, ROWS * 9 // 10, ROWS * (ROWS - 1) // 2))
            with conn.cursor().copy(f"copy (select * from {S}.copied order by n) to stdout (format {form})") as source:
                source.set_types(["int4", "text"])
                rows = list(source.rows())
            t.check(f"copy.out.{form}", (len(rows), int(rows[-1][0]), rows[-1][1]), (ROWS, ROWS - 1, f"row {ROWS - 1}"))
            conn.execute(f"truncate {S}.copied")
        for name, data, want in (("bad", b"not a number\tx\n", "22P02"), ("short", b"1\n", "22P04")):
            try:
                with conn.cursor().copy(f"copy {S}.copied from stdin") as sink:
                    sink.write(data)
                got = "no error"
            except psycopg.Error as error:
                got = error.sqlstate
            t.check(f"copy.{name}", got, want)
        try:
            with conn.cursor().copy(f"copy {S}.copied from stdin") as sink:
                sink.write(b"1\tx\n")
                raise KeyError("changed my mind")
        except KeyError:
            pass
        t.check("copy.aborted", one(conn, f"select count(*) from {S}.copied"), 0)


def cancel():
    with connect() as conn:
        for round_ in range(3):
            marker = f"{S}_sleep_{round_}"
            waker = threading.Thread(target=lambda m=marker: (until_asleep(m), conn.cancel_safe(timeout=PATIENCE)))
            waker.start()
            begun = time.monotonic()
            got = state_of(conn, f"select pg_sleep(60) /* {marker} */")
            waker.join()
            t.check(f"cancel.{round_}", (got, time.monotonic() - begun < 50), ("57014", True))
            t.check(f"cancel.{round_}.after", one(conn, "select %s::int", (round_,)), round_)
        conn.cancel_safe(timeout=PATIENCE)
        t.check("cancel.idle", [one(conn, "select %s::int", (n,)) for n in range(5)], [0, 1, 2, 3, 4])


def listen():
    with connect() as conn, connect() as other:
        channel = f"{S}_news"
        conn.execute(f"listen {channel}")
        for n in range(3):
            other.execute("select pg_notify(%s, %s)", (channel, f"message {n} ü"))
        heard = [n.payload for n in conn.notifies(timeout=PATIENCE, stop_after=3)]
        t.check("listen.from_other", heard, ["message 0 ü", "message 1 ü", "message 2 ü"])
        t.check("listen.still_usable", one(conn, "select 3"), 3)
        with conn.transaction():
            conn.execute(f"notify {channel}, 'from myself'")
        t.check("listen.from_self", [n.payload for n in conn.notifies(timeout=PATIENCE, stop_after=1)], ["from myself"])
        with other.transaction(force_rollback=True):
            other.execute(f"notify {channel}, 'rolled back'")
        conn.execute(f"unlisten {channel}")
        other.execute(f"notify {channel}, 'nobody listens'")
        t.check("listen.unlisten", [n.payload for n in conn.notifies(timeout=0.3)], [])


def settings():
    noon = "select timestamptz '2024-01-01 00:00:00Z'::text"
    show = "select current_setting('application_name')"
    with connect(options="-c statement_timeout=54321") as conn, connect(application_name="other") as other:
        zone = one(other, "select current_setting('TimeZone')")
        conn.execute("set TimeZone = 'Asia/Tokyo'")
        conn.execute(f"set search_path = {S}")
        conn.execute("create table found (n int)")
        conn.execute("insert into found values (9)")
        for n in range(5):
            got = (one(conn, noon), one(conn, "select n from found"), one(other, "select current_setting('TimeZone')") == zone)
            t.check(f"settings.kept.{n}", got, ("2024-01-01 09:00:00+09", 9, True))
        t.check("settings.search_path.other", state_of(other, "select n from found"), "42P01")
        t.check("settings.status", conn.info.parameter_status("TimeZone"), "Asia/Tokyo")
        with conn.transaction():
            conn.execute("set local TimeZone = 'America/New_York'")
            t.check("settings.local", one(conn, noon), "2023-12-31 19:00:00-05")
        t.check("settings.local.after", one(conn, noon), "2024-01-01 09:00:00+09")
        with conn.transaction(force_rollback=True):
            conn.execute("set application_name = 'rolled back'")
        t.check("settings.rolled_back", one(conn, show), "pgweir-clients")
        with conn.transaction():
            conn.execute("set application_name = 'kept'")
            with conn.transaction(force_rollback=True):
                conn.execute("set application_name = 'lost'")
        t.check("settings.savepoint", one(conn, show), "kept")
        one(conn, "select set_config('application_name', 'by function', false)")
        t.check("settings.set_config", (one(conn, show), one(other, show)), ("by function", "other"))
        conn.execute("reset application_name")
        t.check("settings.reset", one(conn, show), "pgweir-clients")
        t.check("settings.options", one(conn, "select current_setting('statement_timeout')"), "54321ms")
        conn.execute("set statement_timeout = 0")
        conn.execute("reset all")
        t.check("settings.reset_all", (one(conn, "select current_setting('statement_timeout')"), one(conn, "select current_setting('TimeZone')") == zone), ("54321ms", True))
    with connect() as conn:
        t.check("settings.no_leak", (one(conn, show), one(conn, "select current_setting('TimeZone')") == zone), ("pgweir-clients", True))


def advisory():
    key = t.lock_key
    attempt = f"select pg_try_advisory_lock({key})"
    with connect() as other:
        with connect() as conn:
            conn.execute(f"select pg_advisory_lock({key})")
            t.check("advisory.held", [one(other, attempt) for _ in range(3)], [False] * 3)
            t.check("advisory.unlock", one(conn, f"select pg_advisory_unlock({key})"), True)
            t.check("advisory.free", (one(other, attempt), one(other, f"select pg_advisory_unlock({key})")), (True, True))
            with conn.transaction():
                conn.execute(f"select pg_advisory_xact_lock({key})")
                t.check("advisory.xact", one(other, attempt), False)
            t.check("advisory.xact.after", (one(other, attempt), one(other, f"select pg_advisory_unlock({key})")), (True, True))
            conn.execute(f"select pg_advisory_lock({key})")
        end = time.monotonic() + PATIENCE
        while not (free := one(other, attempt)) and time.monotonic() < end:
            time.sleep(0.02)
        t.check("advisory.released_by_close", free, True)


def temp():
    exists = "select to_regclass('pg_temp.scratch') is not null"
    with connect() as other:
        with connect() as conn:
            conn.execute("create temp table scratch (n int)")
            for n in range(5):
                conn.execute("insert into scratch values (%s)", (n,))
                t.check(f"temp.kept.{n}", (one(conn, "select count(*) from scratch"), one(other, exists)), (n + 1, False))
            conn.execute("drop table scratch")
            with conn.transaction():
                conn.execute("create temp table scratch on commit drop as select 1 as n")
                t.check("temp.in_transaction", one(conn, exists), True)
            t.check("temp.on_commit_drop", one(conn, exists), False)
            conn.execute("create temp table scratch (n int)")
        with connect() as again:
            t.check("temp.gone", (one(again, exists), one(other, exists)), (False, False))


def cursors():
    with connect() as conn, connect() as other:
        with conn.transaction():
            conn.execute("declare held cursor with hold for select g from generate_series(1, 10) g")
        got = []
        for _ in range(3):
            got += [r[0] for r in conn.execute("fetch 4 from held")]
            one(other, "select 1")
        t.check("cursors.with_hold", got, list(range(1, 11)))
        conn.execute("close held")
        t.check("cursors.closed", state_of(conn, "fetch 1 from held"), "34000")
        with conn.transaction(), conn.cursor(name="server_side") as cur:
            cur.itersize = 100
            cur.execute("select g, md5(g::text) from generate_series(1, 1000) g")
            t.check("cursors.server_side", all(d == md5(str(g)) for g, d in cur) and cur.rownumber, 1000)
        with conn.cursor(name="hold", withhold=True, scrollable=True) as cur:
            cur.execute("select generate_series(1, 20)")
            first = [r[0] for r in cur.fetchmany(5)]
            cur.scroll(10, mode="absolute")
            t.check("cursors.scroll", (first, cur.fetchone()[0]), ([1, 2, 3, 4, 5], 11))


def many():
    wrong, done = [], []

    def client(me):
        with connect(application_name=f"client {me}") as conn:
            for n in range(LOOKUPS):
                row = conn.execute("select %s::int, %s::int, current_setting('application_name'), owner from " + f"{S}.lookup where id = %s", (me, n, me * 1000 + n)).fetchone()
                if row != (me, n, f"client {me}", f"owner {me}/{n}"):
                    wrong.append(row)
                if n % 10 == 0:
                    with conn.transaction():
                        if one(conn, "select txid_current() = txid_current()") is not True:
                            wrong.append(n)
                done.append(1)

    with connect() as conn:
        conn.execute(f"create table {S}.lookup as select c * 1000 + n as id, format('owner %s/%s', c, n) as owner from generate_series(0, {CLIENTS - 1}) c, generate_series(0, {LOOKUPS - 1}) n")
        conn.execute(f"alter table {S}.lookup add primary key (id)")
    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    t.check("many.lookups", (len(done), wrong), (CLIENTS * LOOKUPS, []))


def main():
    with connect() as conn:
        conn.execute(f"create schema {S}")
    for section in (types, nulls, big, errors, transactions, prepared, pipeline, copy, cancel, listen, settings, advisory, temp, cursors, many):
        try:
            section()
        except Exception as error:  # a section that breaks must not hide the others
            t.lost(section.__name__, error)
    with connect() as conn:
        conn.execute(f"drop schema {S} cascade")
    t.finish()


main()
