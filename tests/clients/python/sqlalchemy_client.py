"""SQLAlchemy: the common conversation as an ORM user holds it, over psycopg and over asyncpg.

What SQLAlchemy has no word for (COPY, cancel, LISTEN) it reaches through the driver's own connection.
"""

import asyncio
import datetime
import decimal
import threading
import time
import uuid

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from talk import ALL_BYTES, CLIENTS, HAIRY, LOOKUPS, MEGABYTE, PATIENCE, ROWS, Talk, big_text, md5

t = Talk("sqlalchemy")
S = t.schema
TAIL = t.url.split("://", 1)[1]
DOC = {"a": [1, {"b": None}], "ü": "🐘"}
STAMP = datetime.datetime(2024, 2, 29, 12, 34, 56, 789012, datetime.timezone.utc)
IDENT = uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")


class Base(orm.DeclarativeBase):
    metadata = sa.MetaData(schema=S)


class Owner(Base):
    __tablename__ = "owner"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(unique=True)
    things: orm.Mapped[list["Thing"]] = orm.relationship(back_populates="owner", order_by="Thing.id")


class Thing(Base):
    __tablename__ = "thing"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    owner_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey(Owner.id))
    owner: orm.Mapped[Owner] = orm.relationship(back_populates="things")
    small: orm.Mapped[int | None] = orm.mapped_column(sa.SmallInteger)
    number: orm.Mapped[decimal.Decimal | None] = orm.mapped_column(sa.Numeric(40, 9))
    stamp: orm.Mapped[datetime.datetime | None] = orm.mapped_column(sa.DateTime(timezone=True))
    ident: orm.Mapped[uuid.UUID | None] = orm.mapped_column(sa.Uuid)
    doc: orm.Mapped[dict | None] = orm.mapped_column(pg.JSONB)
    words: orm.Mapped[list[str] | None] = orm.mapped_column(pg.ARRAY(sa.Text))
    raw: orm.Mapped[bytes | None] = orm.mapped_column(sa.LargeBinary)
    text: orm.Mapped[str | None] = orm.mapped_column(sa.Text)


def thing(**more):
    return Thing(small=-7, number=decimal.Decimal("12345678901234567890.123456789"), stamp=STAMP, ident=IDENT, doc=DOC,
                 words=["a,b", 'q"uote', "", "NULL"], raw=ALL_BYTES, **{"text": HAIRY, **more})


def state_of(connection, sql, params=None):
    try:
        connection.execute(sa.text(sql), params or {})
    except sa.exc.DBAPIError as error:
        return error.orig.sqlstate
    return "no error"


def one(connection, sql, params=None):
    number, text = t.tagged(sql)
    return t.mine(number, connection.execute(sa.text(text), params or {}).one())[0]


def engine_of(**more):
    return sa.create_engine(f"postgresql+psycopg://{TAIL}", connect_args={"application_name": "pgweir-clients", "prepare_threshold": 2}, **more)


def fresh_rows(p, session):
    session.expire_all()
    got = session.scalars(sa.select(Thing).order_by(Thing.id)).all()
    first, empty = got[0], got[1]
    t.check(f"{p}.types", (first.small, first.number, first.stamp.astimezone(datetime.timezone.utc), str(first.ident), first.doc, first.words, first.raw, first.text),
            (-7, decimal.Decimal("12345678901234567890.123456789"), STAMP, str(IDENT), DOC, ["a,b", 'q"uote', "", "NULL"], ALL_BYTES, HAIRY))
    t.check(f"{p}.nulls", (empty.small, empty.number, empty.stamp, empty.ident, empty.doc, empty.words, empty.raw, empty.text), (None,) * 8)


def orm_talk(p, connection):
    """Unit of work, lazy loads, eager loads, savepoints and errors: the same for both drivers."""
    Base.metadata.drop_all(connection)
    Base.metadata.create_all(connection)
    connection.commit()
    session = orm.Session(connection)
    owner = Owner(id=1, name="first", things=[thing(id=1), Thing(id=2)])
    session.add_all([owner, Owner(id=2, name="second")])
    session.commit()
    fresh_rows(p, session)
    session.add_all([Thing(id=n, owner_id=2, text=f"thing {n}") for n in range(100, 1100)])
    session.commit()
    t.check(f"{p}.bulk", session.scalar(sa.select(sa.func.count()).select_from(Thing)), 1002)
    session.add_all([Owner(name=f"generated {n}", id=n) for n in range(10, 60)])
    session.flush()
    t.check(f"{p}.lazy", [len(o.things) for o in session.scalars(sa.select(Owner).where(Owner.id < 13).order_by(Owner.id))], [2, 1000, 0, 0, 0])
    session.rollback()
    t.check(f"{p}.rollback", session.scalar(sa.select(sa.func.count()).select_from(Owner)), 2)
    eager = session.scalars(sa.select(Owner).options(orm.selectinload(Owner.things)).order_by(Owner.id)).all()
    t.check(f"{p}.selectin", [(o.name, len(o.things)) for o in eager], [("first", 2), ("second", 1000)])
    try:
        with session.begin_nested():
            session.add(Owner(id=3, name="first"))
        got = "no error"
    except sa.exc.IntegrityError as error:
        got = error.orig.sqlstate
    session.add(Owner(id=4, name="fourth"))
    session.commit()
    t.check(f"{p}.savepoint", (got, session.scalars(sa.select(Owner.name).order_by(Owner.id)).all()), ("23505", ["first", "second", "fourth"]))
    size = 20 * MEGABYTE
    text = big_text(size)
    session.add(Thing(id=5000, owner_id=4, text=text))
    session.commit()
    back, digest = session.execute(sa.select(Thing.text, sa.func.md5(Thing.text)).where(Thing.id == 5000)).one()
    t.check(f"{p}.big.20MB", (len(back), md5(back), digest), (size, md5(text), md5(text)))
    upsert = pg.insert(Owner).values([{"id": n, "name": f"upsert {n}"} for n in range(4, 8)])
    upsert = upsert.on_conflict_do_update(index_elements=[Owner.id], set_={"name": upsert.excluded.name}).returning(Owner.id, Owner.name)
    t.check(f"{p}.upsert", sorted(map(tuple, session.execute(upsert))), [(n, f"upsert {n}") for n in range(4, 8)])
    session.commit()
    for n in range(30):  # Beyond every driver's threshold for preparing.
        if session.execute(sa.select(sa.bindparam("n", n, sa.Integer), Owner.name).where(Owner.id == 1)).one() != (n, "first"):
            raise AssertionError(f"query {n} was given another's answer")
    session.rollback()
    session.connection().execute(sa.text(f"alter table {S}.owner add column extra int default 9"))
    session.commit()
    t.check(f"{p}.after_ddl", session.execute(sa.text(f"select * from {S}.owner where id = 1")).one(), (1, "first", 9))
    t.check(f"{p}.stream", sum(1 for _ in session.execute(sa.select(Thing.id), execution_options={"yield_per": 100})), 1003)
    session.close()
    for name, sql, want in (("syntax", "selec 1", "42601"), ("table", "select * from no_such_table", "42P01"), ("division", "select 1/0", "22012"),
                            ("not_null", f"insert into {S}.owner (id) values (9)", "23502")):
        got = state_of(connection, sql)
        aborted = state_of(connection, "select 1")
        connection.rollback()
        t.check(f"{p}.errors.{name}", (got, aborted, one(connection, "select 5")), (want, "25P02", 5))
        connection.rollback()


def session_talk(p, connection, other):
    """What belongs to a session: settings, locks, temporary tables, cursors over the transaction's end."""
    noon, show = "select timestamptz '2024-01-01 00:00:00Z'::text as v", "select current_setting('application_name') as v"
    connection.execute(sa.text("set TimeZone = 'Asia/Tokyo'"))
    connection.commit()
    connection.execute(sa.text("set application_name = 'rolled back'"))
    connection.rollback()
    connection.execute(sa.text("set local TimeZone = 'UTC'"))
    inside = one(connection, noon)
    connection.commit()
    t.check(f"{p}.settings", (inside, one(connection, noon), one(connection, show), one(other, show)),
            ("2024-01-01 00:00:00+00", "2024-01-01 09:00:00+09", "pgweir-clients", "pgweir-clients"))
    connection.execute(sa.text("reset all"))
    connection.commit()
    other.rollback()
    attempt = f"select pg_try_advisory_lock({t.lock_key}) as v"
    held = one(connection, attempt)
    connection.commit()
    refused = one(other, attempt)
    other.rollback()
    one(connection, f"select pg_advisory_unlock({t.lock_key}) as v")
    connection.commit()
    t.check(f"{p}.advisory", (held, refused, one(other, attempt), one(other, f"select pg_advisory_unlock({t.lock_key}) as v")), (True, False, True, True))
    other.rollback()
    connection.execute(sa.text("create temp table scratch (n int)"))
    connection.commit()
    connection.execute(sa.text("insert into scratch values (:n)"), [{"n": n} for n in range(10)])
    connection.commit()
    seen = one(other, "select to_regclass('pg_temp.scratch') is not null as v")
    other.rollback()
    t.check(f"{p}.temp", (one(connection, "select count(*) as v from scratch"), seen), (10, False))
    connection.execute(sa.text("drop table scratch"))
    connection.commit()
    connection.execute(sa.text("declare held cursor with hold for select generate_series(1, 10)"))
    connection.commit()
    t.check(f"{p}.with_hold", [r[0] for r in connection.execute(sa.text("fetch 3 from held"))], [1, 2, 3])
    connection.commit()
    connection.execute(sa.text("close held"))
    connection.commit()


def over_psycopg():
    p, engine = "psycopg", engine_of()
    with engine.connect() as connection, engine.connect() as other:
        orm_talk(p, connection)
        session_talk(p, connection, other)
        raw = connection.connection.driver_connection
        with raw.cursor().copy(f"copy {S}.thing (id, owner_id) from stdin") as sink:
            for n in range(ROWS):
                sink.write_row((10_000 + n, 2))
        connection.commit()
        t.check(f"{p}.copy", one(connection, f"select count(*) as v from {S}.thing where id >= 10000"), ROWS)
        connection.rollback()
        marker = f"{S}_sleep"

        def waker():
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end and not one(other, "select count(*) as v from pg_stat_activity where wait_event = 'PgSleep' and query like :m", {"m": f"%{marker}%"}):
                other.rollback()
                time.sleep(0.02)
            raw.cancel_safe(timeout=PATIENCE)

        thread = threading.Thread(target=waker)
        thread.start()
        got = state_of(connection, f"select pg_sleep(60) /* {marker} */")
        thread.join()
        connection.rollback()
        t.check(f"{p}.cancel", (got, one(connection, "select 3 as v")), ("57014", 3))
    # AUTOCOMMIT keeps no transaction, so each statement may go to another server.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        raw = connection.connection.driver_connection
        connection.execute(sa.text(f"listen {S}_news"))
        connection.execute(sa.text(f"notify {S}_news, 'to myself'"))
        t.check(f"{p}.listen", [n.payload for n in raw.notifies(timeout=PATIENCE, stop_after=1)], ["to myself"])
        connection.execute(sa.text("unlisten *"))
        t.check(f"{p}.autocommit", [one(connection, "select :n as v", {"n": n}) for n in range(20)], list(range(20)))
    engine.dispose()


def many():
    """A small pool of SQLAlchemy's own, shared by more threads than it has connections."""
    engine, wrong, done = engine_of(pool_size=3, max_overflow=0, pool_timeout=PATIENCE, pool_pre_ping=True), [], []

    def client(me):
        for n in range(LOOKUPS):
            with engine.connect() as connection:
                row = connection.execute(sa.text("select cast(:c as int), cast(:n as int)"), {"c": me, "n": n}).one()
                if row != (me, n):
                    wrong.append(tuple(row))
                done.append(1)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.dispose()
    t.check("many.lookups", (len(done), wrong), (CLIENTS * LOOKUPS, []))


async def over_asyncpg():
    p = "asyncpg"
    engine = create_async_engine(f"postgresql+asyncpg://{TAIL}", connect_args={"server_settings": {"application_name": "pgweir-clients"}}, pool_size=4, max_overflow=0)
    async with engine.connect() as connection, engine.connect() as other:
        await connection.run_sync(lambda c: orm_talk(p, c))
        await connection.run_sync(lambda c: session_talk(p, c, other.sync_connection))
    wrong = []

    async def client(me):
        for n in range(LOOKUPS):
            async with AsyncSession(engine) as session:
                row = (await session.execute(sa.text("select cast(:c as int), cast(:n as int)"), {"c": me, "n": n})).one()
                if row != (me, n):
                    wrong.append(tuple(row))

    await asyncio.gather(*(client(n) for n in range(CLIENTS)))
    t.check(f"{p}.many", wrong, [])
    await engine.dispose()


def main():
    engine = engine_of()
    with engine.begin() as connection:
        connection.execute(sa.text(f"create schema {S}"))
    for section in (over_psycopg, many, lambda: asyncio.run(over_asyncpg())):
        try:
            section()
        except Exception as error:  # a section that breaks must not hide the others
            t.lost(section.__name__, error)
    with engine.begin() as connection:
        connection.execute(sa.text(f"drop schema {S} cascade"))
    engine.dispose()
    t.finish()


main()
