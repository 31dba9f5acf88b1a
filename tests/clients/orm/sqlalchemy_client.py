"""SQLAlchemy over psycopg2, psycopg 3 and asyncpg (stacks `sqlalchemy_…`). The same code for all three: with
asyncpg it runs under `AsyncSession.run_sync`, which is how lazy loads reach an async engine."""
import asyncio
import sys
import threading

import sqlalchemy as sa
from sqlalchemy import ForeignKey, func, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, joinedload, mapped_column, relationship, selectinload
import datetime
import decimal
import uuid

import scenarios


class Base(DeclarativeBase):
    pass


class Organization(Base):
    __tablename__ = "organizations"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    region: Mapped[str]
    facilities: Mapped[list["Facility"]] = relationship(back_populates="organization")
    conversations: Mapped[list["Conversation"]] = relationship(back_populates="organization")


class Facility(Base):
    __tablename__ = "facilities"
    id: Mapped[int] = mapped_column(primary_key=True)
    organization_id: Mapped[int | None] = mapped_column(ForeignKey("organizations.id"))
    name: Mapped[str]
    city: Mapped[str]
    organization: Mapped[Organization | None] = relationship(back_populates="facilities")
    sources: Mapped[list["EmissionSource"]] = relationship(back_populates="facility")


class EmissionSource(Base):
    __tablename__ = "emission_sources"
    id: Mapped[int] = mapped_column(primary_key=True)
    facility_id: Mapped[int] = mapped_column(ForeignKey("facilities.id"))
    name: Mapped[str]
    kind: Mapped[str]
    facility: Mapped[Facility] = relationship(back_populates="sources")
    data: Mapped[list["EmissionsData"]] = relationship(back_populates="source")


class EmissionsData(Base):
    __tablename__ = "emissions_data"
    id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    emission_source_id: Mapped[int] = mapped_column(ForeignKey("emission_sources.id"))
    year: Mapped[int]
    amount: Mapped[float]
    note: Mapped[str]
    source: Mapped[EmissionSource] = relationship(back_populates="data")


class Conversation(Base):
    __tablename__ = "conversations"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    title: Mapped[str]
    organization: Mapped[Organization] = relationship(back_populates="conversations")
    messages: Mapped[list["Message"]] = relationship(back_populates="conversation")


class Message(Base):
    __tablename__ = "messages"
    id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    conversation_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("conversations.id"))
    author: Mapped[str]
    body: Mapped[str]
    sent_at: Mapped[datetime.datetime] = mapped_column(sa.DateTime(timezone=True))
    conversation: Mapped[Conversation] = relationship(back_populates="messages")


class Plant(Base):
    __tablename__ = "plants"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Meter(Base):
    __tablename__ = "meters"
    id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    kind: Mapped[str]
    factor: Mapped[float]


class Person(Base):
    __tablename__ = "people"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    email: Mapped[str]
    since: Mapped[datetime.datetime] = mapped_column(sa.DateTime(timezone=True))


class Reading(Base):
    __tablename__ = "readings"
    id: Mapped[int] = mapped_column(primary_key=True)
    plant_id: Mapped[int] = mapped_column(ForeignKey("plants.id"))
    meter_id: Mapped[int] = mapped_column(ForeignKey("meters.id"))
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    quantity: Mapped[decimal.Decimal]
    plant: Mapped[Plant] = relationship()
    meter: Mapped[Meter] = relationship()
    person: Mapped[Person] = relationship()


S = {}


def scenario(function):
    S[function.__name__] = function
    return function


# --- loops ---

@scenario
def belongs_to(session):
    for facility in session.scalars(select(Facility).order_by(Facility.name).limit(30)):
        facility.organization and facility.organization.name


@scenario
def has_many(session):
    for organization in session.scalars(select(Organization).order_by(Organization.name)).all():
        len(organization.facilities)


@scenario
def count(session):
    for organization in session.scalars(select(Organization).order_by(Organization.name)).all():
        session.scalar(select(func.count()).where(Facility.organization_id == organization.id))


@scenario
def exists(session):
    chosen = select(Organization).where(Organization.region.in_(["north", "south"])).order_by(Organization.name)
    for organization in session.scalars(chosen).all():
        session.scalar(select(sa.exists().where(Conversation.organization_id == organization.id)))


@scenario
def latest(session):
    for conversation in session.scalars(select(Conversation).order_by(Conversation.title).limit(25)).all():
        last = select(Message).where(Message.conversation_id == conversation.id)
        session.scalars(last.order_by(Message.sent_at.desc()).limit(1)).first()


@scenario
def nested(session):
    for organization in session.scalars(select(Organization).order_by(Organization.name).limit(8)).all():
        for facility in organization.facilities:
            for source in facility.sources:
                len(source.data)


@scenario
def interleaved(session):
    chosen = select(Facility).where(Facility.organization_id.is_not(None)).order_by(Facility.name).limit(15)
    for facility in session.scalars(chosen).all():
        facility.organization.name
        session.scalar(select(func.count()).where(EmissionSource.facility_id == facility.id))
        last = select(EmissionSource).where(EmissionSource.facility_id == facility.id)
        session.scalars(last.order_by(EmissionSource.name.desc()).limit(1)).first()


def look_up(key):
    return select(Conversation).where(Conversation.organization_id == key).order_by(Conversation.title).limit(1)


@scenario
def concurrent(engine):
    keys = ORGANIZATIONS[:16]
    barrier = threading.Barrier(len(keys))

    def work(key):
        with Session(engine) as session:
            session.connection()
            barrier.wait()
            session.scalars(look_up(key)).first()

    threads = [threading.Thread(target=work, args=(key,)) for key in keys]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]


async def concurrent_async(engine):
    keys = ORGANIZATIONS[:16]
    barrier = asyncio.Barrier(len(keys))

    async def work(key):
        async with AsyncSession(engine) as session:
            await session.connection()
            await barrier.wait()
            (await session.scalars(look_up(key))).first()

    await asyncio.gather(*(work(key) for key in keys))


@scenario
def redundant(session):
    for _ in range(12):
        session.get(Organization, ORGANIZATIONS[5])
        session.expire_all()


@scenario
def expired(session):
    """A commit makes every object forget what it knows; each is read again when it is looked at."""
    facilities = session.scalars(select(Facility).order_by(Facility.name).limit(20)).all()
    session.commit()
    for facility in facilities:
        facility.city


def new(at, note=""):
    source = SOURCES[at % len(SOURCES)]
    return EmissionsData(emission_source_id=source, year=2020 + at, amount=at * 0.5, note=f"{STACK} {note}{at}")


@scenario
def write_autocommit(session):
    for at in range(12):
        session.add(new(at))
        session.commit()


@scenario
def write_transaction(session):
    for at in range(12):
        session.add(new(at))
        session.flush()
    session.commit()


@scenario
def update_loop(session):
    chosen = select(EmissionsData).where(EmissionsData.year == 2016).order_by(EmissionsData.id).limit(15)
    for data in session.scalars(chosen).all():
        data.amount += 1
        session.flush()
    session.commit()


@scenario
def unique_check(session):
    for at in range(12):
        if not session.scalar(select(sa.exists().where(EmissionsData.note == f"{STACK} unique {at}"))):
            session.add(new(at, "unique "))
            session.flush()
    session.commit()


# --- answers that are compared ---

@scenario
def page(session):
    for reading in session.scalars(select(Reading).order_by(Reading.id).limit(50)).all():
        meter, person = reading.meter, reading.person
        print("row", reading.id, reading.plant.name, meter.kind, meter.factor, person.email, person.since, reading.quantity)


# --- look-alikes ---

@scenario
def ping(session):
    for _ in range(30):
        session.execute(sa.text("SELECT 1"))


@scenario
def poller(session):
    for _ in range(12):
        session.scalar(select(func.count()).where(Message.author == "ann"))
        session.rollback()
        scenarios.pause(scenarios.POLL)


@scenario
def create_requests(session):
    for at in range(8):
        if not session.scalar(select(sa.exists().where(EmissionsData.note == f"{STACK} request {at}"))):
            session.add(new(at, "request "))
        session.commit()
        scenarios.pause()


@scenario
def keyset(session):
    last = 0
    for _ in range(14):
        page = select(Message).where(Message.id > last).order_by(Message.id).limit(10)
        last = session.scalars(page).all()[-1].id


@scenario
def offset(session):
    for page in range(14):
        session.scalars(select(Message).order_by(Message.id).limit(10).offset(page * 10)).all()


@scenario
def prefetch(session):
    eager = selectinload(Organization.facilities).selectinload(Facility.sources)
    for organization in session.scalars(select(Organization).options(eager).order_by(Organization.name)):
        for facility in organization.facilities:
            len(facility.sources)


@scenario
def chunks(session):
    ids = session.scalars(select(Message.id).order_by(Message.sent_at)).all()
    for at in range(0, len(ids), 25):
        session.scalars(select(Message).where(Message.id.in_(ids[at:at + 25]))).all()


@scenario
def bulk(session):
    for batch in range(0, 100, 10):
        session.add_all([new(at) for at in range(batch, batch + 10)])
        session.flush()
    session.commit()


@scenario
def executemany(session):
    rows = [{"source": SOURCES[at], "note": f"{STACK} many {at}"} for at in range(40)]
    session.execute(sa.insert(EmissionsData).values(
        emission_source_id=sa.bindparam("source"), year=2032, amount=1.5, note=sa.bindparam("note")), rows)
    session.commit()


@scenario
def few(session):
    chosen = select(Facility).where(Facility.organization_id.is_not(None)).order_by(Facility.name).limit(3)
    for facility in session.scalars(chosen).all():
        facility.organization.name


@scenario
def constants(session):
    for year in range(2015, 2019):
        session.scalar(select(func.count()).where(EmissionsData.year == year))


@scenario
def independent(session):
    for organization in ORGANIZATIONS[:12]:
        session.get(Organization, organization)
        session.scalar(select(func.count()).where(Conversation.organization_id == organization))
        session.rollback()
        scenarios.pause()


@scenario
def checkouts(engine):
    """Requests without a pause, which the pool's own ping tells apart."""
    for organization in ORGANIZATIONS[:12]:
        with Session(engine) as session:
            session.get(Organization, organization)


async def checkouts_async(engine):
    for organization in ORGANIZATIONS[:12]:
        async with AsyncSession(engine) as session:
            await session.get(Organization, organization)


@scenario
def joins(session):
    chosen = select(Facility).options(joinedload(Facility.organization)).order_by(Facility.name)
    for facility in session.scalars(chosen):
        facility.organization and facility.organization.name


@scenario
def handful(session):
    organization = session.get(Organization, ORGANIZATIONS[3])
    session.scalar(select(func.count()).where(Facility.organization_id == organization.id))
    session.scalars(select(Conversation).where(Conversation.organization_id == organization.id).limit(5)).all()
    data = new(3)
    session.add(data)
    session.flush()
    data.note = f"{STACK} changed"
    session.flush()
    session.scalar(select(sa.exists().where(Message.author == "bob")))
    session.commit()


WITH_ENGINE = {"concurrent", "checkouts"}
URL, STACK, chosen = scenarios.choose(S)
ORGANIZATIONS = [100 + n * 389 % 997 for n in range(1, 21)]
SOURCES = [10000 + n * 1009 % 9973 for n in range(1, 101)]
DRIVER = STACK.split("_")[1].replace("psycopg3", "psycopg")


def one(name, function):
    url = URL.replace("postgres://", f"postgresql+{DRIVER}://") + f"/{STACK}__{name}"
    application = f"orm/{STACK}/{name}"
    options = {"pool_size": 16, "pool_pre_ping": name == "checkouts"}
    if DRIVER == "asyncpg":
        asyncio.run(one_async(name, function, create_async_engine(
            url, connect_args={"server_settings": {"application_name": application}}, **options)))
        return
    engine = sa.create_engine(url, connect_args={"application_name": application}, **options)
    if name in WITH_ENGINE:
        function(engine)
    else:
        with Session(engine) as session:
            function(session)
    engine.dispose()


async def one_async(name, function, engine):
    if name in WITH_ENGINE:
        await {"concurrent": concurrent_async, "checkouts": checkouts_async}[name](engine)
    else:
        async with AsyncSession(engine) as session:
            await session.run_sync(function)
    await engine.dispose()


scenarios.run(chosen, one)
