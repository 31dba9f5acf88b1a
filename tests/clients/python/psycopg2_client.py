"""psycopg2: the common conversation with client-side parameters, its own transactions, COPY and named cursors.

psycopg2 speaks only the simple protocol and knows no pipeline; prepared statements are SQL's own.
"""

import datetime
import decimal
import select
import threading
import time

import psycopg2
import psycopg2.extensions
import psycopg2.extras

from io import BytesIO, StringIO

from talk import ALL_BYTES, CLIENTS, HAIRY, LOOKUPS, MEGABYTE, PATIENCE, ROWS, Talk, big_text, md5, outcome_after_ddl

t = Talk("psycopg2")
S = t.schema
psycopg2.extras.register_uuid()


def connect(autocommit=True, **more):
    more.setdefault("application_name", "pgweir-clients")
    conn = psycopg2.connect(t.url, **more)
    conn.autocommit = autocommit
    return conn


class Open:
    """A connection for a block; psycopg2's own `with` ends only the transaction."""

    def __init__(self, **how):
        self.conn = connect(**how)

    def __enter__(self):
        return self.conn

    def __exit__(self, *_):
        self.conn.close()


def run(conn, sql, params=None):
    with conn.cursor() as cur:
        cur.execute(sql, params)
        return cur.fetchall() if cur.description else None


def ask(conn, sql, params=None):
    number, text = t.tagged(sql)
    return t.mine(number, run(conn, text, params)[0])


def one(conn, sql, params=None):
    return ask(conn, sql, params)[0]


def state_of(conn, sql, params=None):
    try:
        run(conn, sql, params)
    except psycopg2.Error as error:
        return error.pgcode
    return "no error"


def types():
    import uuid

    stamp = datetime.datetime(2024, 2, 29, 12, 34, 56, 789012, datetime.timezone.utc)
    cases = [
        ("int2", -32768), ("int4", 2147483647), ("int8", -9223372036854775808), ("float8", 1.5), ("bool", True),
        ("numeric", decimal.Decimal("12345678901234567890.123456789")), ("text", HAIRY),
        ("uuid", uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")), ("timestamptz", stamp),
        ("int4[]", [1, None, -3]), ("text[]", ["a,b", 'q"uote', None, "", "NULL"]), ("date", datetime.date(1, 1, 1)),
    ]
    with Open() as conn:
        for kind, value in cases:
            got = one(conn, f"select (%s)::{kind}", (value,))
            t.check(f"types.{kind}", got.astimezone(datetime.timezone.utc) if kind == "timestamptz" else got, value)
        t.check("types.bytea", bytes(one(conn, "select %s::bytea", (psycopg2.Binary(ALL_BYTES),))), ALL_BYTES)
        doc = {"a": [1, {"b": None}], "ü": "🐘"}
        t.check("types.jsonb", one(conn, "select %s::jsonb", (psycopg2.extras.Json(doc),)), doc)


def nulls():
    with Open() as conn:
        for kind in ("int4", "text", "numeric", "timestamptz", "uuid", "jsonb", "bytea", "int4[]"):
            got = ask(conn, f"select %(v)s::{kind} as v, %(v)s::{kind} is null as n, 7 as seven", {"v": None})
            t.check(f"nulls.{kind}", got, (None, True, 7))
        t.check("nulls.empty_text", ask(conn, "select %s::text as v, %s::text is null as n", ("", "")), ("", False))


def big():
    with Open() as conn:
        for size, name in ((MEGABYTE, "1MB"), (20 * MEGABYTE, "20MB")):
            text = big_text(size)
            back, digest = ask(conn, "select v, md5(v) from (select %s::text as v) w", (text,))
            t.check(f"big.text.{name}", (len(back), md5(back), digest), (size, md5(text), md5(text)))
        blob = ALL_BYTES * 4096
        t.check("big.bytea.1MB", md5(one(conn, "select %s::bytea", (psycopg2.Binary(blob),))), md5(blob))
        rows = run(conn, "select g, md5(g::text) from generate_series(1, 100000) g")
        t.check("big.rows", (len(rows), sum(r[0] for r in rows), rows[-1][1]), (100000, 5000050000, md5("100000")))


def errors():
    with Open() as conn:
        run(conn, f"create table {S}.strict (id int primary key, n int not null check (n > 0))")
        run(conn, f"insert into {S}.strict values (1, 1)")
        cases = [
            ("syntax", "selec 1", "42601"), ("table", "select * from no_such_table", "42P01"),
            ("division", "select 1 / 0", "22012"), ("unique", f"insert into {S}.strict values (1, 1)", "23505"),
            ("not_null", f"insert into {S}.strict values (2, null)", "23502"),
            ("check", f"insert into {S}.strict values (3, -1)", "23514"),
            ("mid_result", "select 1 / (5000 - g) from generate_series(1, 9999) g", "22012"),
            ("multi", f"insert into {S}.strict values (9, 9); select 1/0; select 1", "22012"),
        ]
        for number, (name, sql, want) in enumerate(cases):
            t.check(f"errors.{name}", state_of(conn, sql), want)
            t.check(f"errors.{name}.after", one(conn, "select %s::int", (number,)), number)
        t.check("errors.multi.undone", one(conn, f"select count(*) from {S}.strict"), 1)
        run(conn, "do $$ begin raise notice 'hello %', 42; end $$")
        t.check("errors.notice", conn.notices[-1:], ["NOTICE:  hello 42\n"])
    with Open(autocommit=False) as conn:
        t.check("errors.in_transaction", state_of(conn, "select 1/0"), "22012")
        t.check("errors.aborted", state_of(conn, "select 1"), "25P02")
        conn.rollback()
        t.check("errors.aborted.after", one(conn, "select 5"), 5)


def transactions():
    with Open(autocommit=False) as conn, Open() as other:
        run(other, f"create table {S}.tx (n int)")
        count = f"select count(*) from {S}.tx"
        run(conn, f"insert into {S}.tx values (1)")
        t.check("tx.own_write", one(conn, count), 1)
        t.check("tx.isolated", one(other, count), 0)
        conn.commit()
        t.check("tx.commit", one(other, count), 1)
        run(conn, f"insert into {S}.tx values (2)")
        conn.rollback()
        t.check("tx.rollback", one(other, count), 1)
        for sql in (f"insert into {S}.tx values (3)", "savepoint a", f"insert into {S}.tx values (4)"):
            run(conn, sql)
        t.check("tx.error", state_of(conn, "select 1/0"), "22012")
        run(conn, "rollback to savepoint a")
        run(conn, f"insert into {S}.tx values (5)")
        conn.commit()
        t.check("tx.savepoint", one(other, f"select array_agg(n order by n) from {S}.tx"), [1, 3, 5])
        conn.set_session(isolation_level="SERIALIZABLE", readonly=True)
        t.check("tx.serializable", one(conn, "select current_setting('transaction_isolation')"), "serializable")
        t.check("tx.read_only", state_of(conn, f"insert into {S}.tx values (6)"), "25006")
        conn.rollback()
        # In autocommit mode psycopg2 sends these as SET default_transaction_…, that is as settings of the session.
        other.set_session(isolation_level="REPEATABLE READ", readonly=True)
        t.check("tx.default_read_only", state_of(other, f"insert into {S}.tx values (7)"), "25006")
        t.check("tx.default_isolation", one(other, "select current_setting('transaction_isolation')"), "repeatable read")
        conn.set_session(isolation_level="DEFAULT", readonly=False)
        run(conn, f"insert into {S}.tx values (8)")
        conn.commit()
        t.check("tx.no_leak", one(other, f"select max(n) from {S}.tx"), 8)
        xid = conn.xid(1, f"{S}-global", "branch")
        try:
            conn.tpc_begin(xid)
            run(conn, f"insert into {S}.tx values (9)")
            conn.tpc_prepare()
            got = "prepared"
            conn.tpc_rollback()
        except psycopg2.Error as error:
            got = error.pgcode
        allowed = one(other, "select current_setting('max_prepared_transactions')::int > 0")
        t.check("tx.two_phase", got, "prepared" if allowed else "55000")


def prepared():
    with Open() as conn, Open() as other:
        run(conn, "prepare square(int) as select $1 as n, $1 * $1 as s")
        run(other, "prepare square(int) as select $1 as n, -$1 * $1 as s")
        right = all(
            run(conn, f"execute square({n})") == [(n, n * n)] and run(other, f"execute square({n})") == [(n, -n * n)]
            for n in range(40)
        )
        t.check("prepared.reused", right, True)
        t.check("prepared.twice", state_of(conn, "prepare square as select 1"), "42P05")
        run(conn, f"create table {S}.ddl (a int4)")
        run(conn, f"insert into {S}.ddl values (42)")
        run(conn, f"prepare reader as select a from {S}.ddl")
        t.check("prepared.before_ddl", [run(conn, "execute reader") for _ in range(3)], [[(42,)]] * 3)
        run(other, f"alter table {S}.ddl add column b int")
        t.check("prepared.added_column", run(conn, "execute reader"), [(42,)])
        run(other, f"alter table {S}.ddl alter column a type text using 'n0' || a")
        try:
            got = run(conn, "execute reader")[0][0]
        except psycopg2.Error as error:
            got = error.pgcode
        outcome_after_ddl(t, "prepared.changed_type", got, "0A000", "n042")
        run(conn, "deallocate reader")
        t.check("prepared.gone", state_of(conn, "execute reader"), "26000")
        t.check("prepared.others_stay", run(conn, "execute square(3)"), [(3, 9)])
        run(conn, "discard all")
        t.check("prepared.discard_all", state_of(conn, "execute square(3)"), "26000")
        t.check("prepared.other_client", run(other, "execute square(3)"), [(3, -9)])


def pipeline():
    with Open() as conn:
        run(conn, f"create table {S}.pipe (n int primary key, s text)")
        with conn.cursor() as cur:
            rows = [(n, f"row {n}") for n in range(1000)]
            psycopg2.extras.execute_values(cur, f"insert into {S}.pipe values %s", rows, page_size=100)
            psycopg2.extras.execute_batch(cur, f"update {S}.pipe set s = %s where n = %s", [(f"new {n}", n) for n in range(300)])
        got = ask(conn, f"select count(*) as c, count(*) filter (where s like 'new%%') as n from {S}.pipe")
        t.check("pipeline.batch", got, (1000, 300))
        t.check("pipeline.multi_statement", run(conn, "select 1; select 2; select 3"), [(3,)])


def copy():
    with Open() as conn, conn.cursor() as cur:
        run(conn, f"create table {S}.copied (n int, s text)")
        lines = "".join(f"{n}\t" + ("\\N" if n % 10 == 0 else f"row {n}") + "\n" for n in range(ROWS))
        cur.copy_expert(f"copy {S}.copied from stdin", StringIO(lines))
        t.check("copy.in", ask(conn, f"select count(*) as c, count(s) as s, sum(n) as n from {S}.copied"),
                (ROWS, ROWS * 9 // 10, ROWS * (ROWS - 1) // 2))
        out = BytesIO()
        cur.copy_expert(f"copy (select * from {S}.copied order by n) to stdout", out)
        t.check("copy.out", md5(out.getvalue()), md5(lines))
        t.check("copy.after", one(conn, "select 4"), 4)
        for name, data, want in (("bad", "x\ty\n", "22P02"), ("short", "1\n", "22P04")):
            try:
                cur.copy_expert(f"copy {S}.copied from stdin", StringIO(data))
                got = "no error"
            except psycopg2.Error as error:
                got = error.pgcode
            t.check(f"copy.{name}", got, want)

        class Broken:
            def read(self, _size):
                raise OSError("the file is gone")

        try:
            cur.copy_expert(f"copy {S}.copied from stdin", Broken())
            got = "no error"
        except (psycopg2.Error, OSError) as error:
            got = getattr(error, "pgcode", None)
        t.check("copy.aborted", (got, one(conn, f"select count(*) from {S}.copied")), ("57014", ROWS))


def until_asleep(marker):
    with Open() as watcher:
        end = time.monotonic() + PATIENCE
        while not one(watcher, "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and query like %s", (f"%{marker}%",)):
            if time.monotonic() > end:
                raise TimeoutError("the query to be cancelled never started")
            time.sleep(0.02)


def cancel():
    with Open() as conn:
        for round_ in range(3):
            marker = f"{S}_sleep_{round_}"
            waker = threading.Thread(target=lambda m=marker: (until_asleep(m), conn.cancel()))
            waker.start()
            got = state_of(conn, f"select pg_sleep(60) /* {marker} */")
            waker.join()
            t.check(f"cancel.{round_}", got, "57014")
            t.check(f"cancel.{round_}.after", one(conn, "select %s::int", (round_,)), round_)
        conn.cancel()
        t.check("cancel.idle", [one(conn, "select %s::int", (n,)) for n in range(5)], [0, 1, 2, 3, 4])


def heard(conn, count, patience):
    end = time.monotonic() + patience
    while len(conn.notifies) < count and time.monotonic() < end:
        if select.select([conn], [], [], 0.1)[0]:
            conn.poll()
    got, conn.notifies[:] = [n.payload for n in conn.notifies], []
    return got


def listen():
    with Open() as conn, Open() as other:
        channel = f"{S}_news"
        run(conn, f"listen {channel}")
        for n in range(3):
            run(other, "select pg_notify(%s, %s)", (channel, f"message {n} ü"))
        t.check("listen.from_other", heard(conn, 3, PATIENCE), ["message 0 ü", "message 1 ü", "message 2 ü"])
        t.check("listen.still_usable", one(conn, "select 3"), 3)
        run(conn, f"notify {channel}, 'from myself'")
        t.check("listen.from_self", heard(conn, 1, PATIENCE), ["from myself"])
        run(conn, "unlisten *")
        run(other, f"notify {channel}, 'nobody listens'")
        t.check("listen.unlisten", heard(conn, 1, 0.3), [])


def settings():
    noon = "select timestamptz '2024-01-01 00:00:00Z'::text"
    show = "select current_setting('application_name')"
    with Open(options="-c statement_timeout=54321") as conn, Open(application_name="other") as other:
        zone = one(other, "select current_setting('TimeZone')")
        run(conn, f"set TimeZone = 'Asia/Tokyo'; set search_path = {S}")
        for n in range(3):
            got = (one(conn, noon), one(conn, "select current_setting('search_path')") == S, one(other, "select current_setting('TimeZone')") == zone)
            t.check(f"settings.kept.{n}", got, ("2024-01-01 09:00:00+09", True, True))
        t.check("settings.status", conn.get_parameter_status("TimeZone"), "Asia/Tokyo")
        run(conn, "begin; set application_name = 'rolled back'; set local TimeZone = 'UTC'")
        t.check("settings.inside", (one(conn, show), one(conn, noon)), ("rolled back", "2024-01-01 00:00:00+00"))
        run(conn, "rollback")
        t.check("settings.rolled_back", (one(conn, show), one(conn, noon)), ("pgweir-clients", "2024-01-01 09:00:00+09"))
        one(conn, "select set_config('application_name', 'by function', false)")
        t.check("settings.set_config", (one(conn, show), one(other, show)), ("by function", "other"))
        conn.set_client_encoding("LATIN1")
        t.check("settings.encoding", (one(conn, "select 'ü'::text"), one(conn, "select octet_length(convert_to('ü', 'LATIN1'))"), conn.encoding), ("ü", 1, "LATIN1"))
        conn.reset()
        got = (one(conn, show), one(conn, "select current_setting('statement_timeout')"), one(conn, "select current_setting('TimeZone')") == zone)
        t.check("settings.reset", got, ("pgweir-clients", "54321ms", True))
    with Open() as conn:
        t.check("settings.no_leak", (one(conn, show), one(conn, "select current_setting('TimeZone')") == zone), ("pgweir-clients", True))


def advisory():
    key = t.lock_key
    attempt = f"select pg_try_advisory_lock({key})"
    with Open() as other:
        with Open() as conn:
            run(conn, f"select pg_advisory_lock({key})")
            t.check("advisory.held", [one(other, attempt) for _ in range(3)], [False] * 3)
            t.check("advisory.unlock", one(conn, f"select pg_advisory_unlock({key})"), True)
            t.check("advisory.free", (one(other, attempt), one(other, f"select pg_advisory_unlock({key})")), (True, True))
            run(conn, f"select pg_advisory_lock({key})")
        end = time.monotonic() + PATIENCE
        while not (free := one(other, attempt)) and time.monotonic() < end:
            time.sleep(0.02)
        t.check("advisory.released_by_close", free, True)


def temp():
    exists = "select to_regclass('pg_temp.scratch') is not null"
    with Open() as other:
        with Open() as conn:
            run(conn, "create temp table scratch (n int)")
            for n in range(5):
                run(conn, "insert into scratch values (%s)", (n,))
                t.check(f"temp.kept.{n}", (one(conn, "select count(*) from scratch"), one(other, exists)), (n + 1, False))
        with Open() as again:
            t.check("temp.gone", (one(again, exists), one(other, exists)), (False, False))


def cursors():
    with Open(autocommit=False) as conn, Open() as other:
        with conn.cursor(name="server_side") as cur:
            cur.itersize = 100
            cur.execute("select g, md5(g::text) from generate_series(1, 1000) g")
            t.check("cursors.server_side", sum(d == md5(str(g)) for g, d in cur), 1000)
        with conn.cursor(name="held", withhold=True, scrollable=True) as cur:
            cur.execute("select generate_series(1, 20)")
            conn.commit()
            first = [r[0] for r in cur.fetchmany(5)]
            one(other, "select 1")
            cur.scroll(10, mode="absolute")
            t.check("cursors.with_hold", (first, cur.fetchone()[0]), ([1, 2, 3, 4, 5], 11))
        conn.commit()
        t.check("cursors.closed", state_of(conn, "fetch 1 from held"), "34000")


def large_objects():
    with Open(autocommit=False) as conn:
        lob = conn.lobject(0, "wb")
        oid = lob.oid
        lob.write(ALL_BYTES * 1000)
        lob.close()
        conn.commit()
        lob = conn.lobject(oid, "rb")
        t.check("large_objects", md5(lob.read()), md5(ALL_BYTES * 1000))
        lob.close()
        conn.lobject(oid, "n").unlink()
        conn.commit()


def many():
    wrong, done = [], []

    def client(me):
        with Open(application_name=f"client {me}") as conn:
            for n in range(LOOKUPS):
                row = run(conn, f"select %s, %s, current_setting('application_name'), owner from {S}.lookup where id = %s", (me, n, me * 1000 + n))
                if row != [(me, n, f"client {me}", f"owner {me}/{n}")]:
                    wrong.append(row)
                done.append(1)

    with Open() as conn:
        run(conn, f"create table {S}.lookup as select c * 1000 + n as id, format('owner %%s/%%s', c, n) as owner from generate_series(0, %s) c, generate_series(0, %s) n", (CLIENTS - 1, LOOKUPS - 1))
    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    t.check("many.lookups", (len(done), wrong), (CLIENTS * LOOKUPS, []))


def main():
    with Open() as conn:
        run(conn, f"create schema {S}")
    for section in (types, nulls, big, errors, transactions, prepared, pipeline, copy, cancel, listen, settings, advisory, temp, cursors, large_objects, many):
        try:
            section()
        except Exception as error:  # a section that breaks must not hide the others
            t.lost(section.__name__, error)
    with Open() as conn:
        run(conn, f"drop schema {S} cascade")
    t.finish()


main()
