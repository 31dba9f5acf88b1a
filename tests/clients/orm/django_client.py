"""Django, with client-side binding (stack `django`) and with `server_side_binding` (stack `django_server_side`)."""
import sys
import threading
from urllib.parse import urlsplit

import django
from django.conf import settings

import scenarios

parts = urlsplit(sys.argv[1])
settings.configure(
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": parts.hostname,
        "PORT": parts.port,
        "USER": parts.username,
        "PASSWORD": parts.password,
        "NAME": "postgres",
        "CONN_MAX_AGE": None,
        "OPTIONS": {"server_side_binding": True} if sys.argv[2].endswith("server_side") else {},
    }},
    USE_TZ=True,
)
django.setup()

from django.db import connection, connections, models, transaction  # noqa: E402


def meta(table):
    return type("Meta", (), {"app_label": "sample", "managed": False, "db_table": table})


class Organization(models.Model):
    Meta = meta("organizations")
    id = models.IntegerField(primary_key=True)
    name = models.TextField()
    region = models.TextField()


class Facility(models.Model):
    Meta = meta("facilities")
    id = models.IntegerField(primary_key=True)
    organization = models.ForeignKey(Organization, models.CASCADE, null=True, related_name="facilities")
    name = models.TextField()
    city = models.TextField()


class EmissionSource(models.Model):
    Meta = meta("emission_sources")
    id = models.IntegerField(primary_key=True)
    facility = models.ForeignKey(Facility, models.CASCADE, related_name="sources")
    name = models.TextField()
    kind = models.TextField()


class EmissionsData(models.Model):
    Meta = meta("emissions_data")
    id = models.BigAutoField(primary_key=True)
    emission_source = models.ForeignKey(EmissionSource, models.CASCADE, related_name="data")
    year = models.IntegerField()
    amount = models.FloatField()
    note = models.TextField()


class Conversation(models.Model):
    Meta = meta("conversations")
    id = models.UUIDField(primary_key=True)
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="conversations")
    title = models.TextField()


class Message(models.Model):
    Meta = meta("messages")
    id = models.BigIntegerField(primary_key=True)
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="messages")
    author = models.TextField()
    body = models.TextField()
    sent_at = models.DateTimeField()


class Plant(models.Model):
    Meta = meta("plants")
    id = models.IntegerField(primary_key=True)
    name = models.TextField()


class Meter(models.Model):
    Meta = meta("meters")
    id = models.BigIntegerField(primary_key=True)
    kind = models.TextField()
    factor = models.FloatField()


class Person(models.Model):
    Meta = meta("people")
    id = models.UUIDField(primary_key=True)
    email = models.TextField()
    since = models.DateTimeField()


class Reading(models.Model):
    Meta = meta("readings")
    id = models.IntegerField(primary_key=True)
    plant = models.ForeignKey(Plant, models.CASCADE)
    meter = models.ForeignKey(Meter, models.CASCADE)
    person = models.ForeignKey(Person, models.CASCADE)
    quantity = models.DecimalField(max_digits=12, decimal_places=3)


S = {}


def scenario(function):
    S[function.__name__] = function
    return function


# --- loops ---

@scenario
def belongs_to():
    for facility in Facility.objects.order_by("name")[:30]:
        facility.organization and facility.organization.name


@scenario
def has_many():
    for organization in Organization.objects.order_by("name"):
        list(organization.facilities.all())


@scenario
def count():
    for organization in Organization.objects.order_by("name"):
        organization.facilities.count()


@scenario
def exists():
    for organization in Organization.objects.filter(region__in=["north", "south"]).order_by("name"):
        organization.conversations.exists()


@scenario
def latest():
    for conversation in Conversation.objects.order_by("title")[:25]:
        conversation.messages.order_by("-sent_at").first()


@scenario
def nested():
    for organization in Organization.objects.order_by("name")[:8]:
        for facility in organization.facilities.all():
            for source in facility.sources.all():
                list(source.data.all())


@scenario
def interleaved():
    for facility in Facility.objects.exclude(organization=None).order_by("name")[:15]:
        facility.organization.name
        facility.sources.count()
        facility.sources.order_by("-name").first()


@scenario
def concurrent():
    ids = list(Organization.objects.values_list("id", flat=True))[:16]
    barrier = threading.Barrier(len(ids))

    def look_up(key):
        connection.ensure_connection()
        barrier.wait()
        Conversation.objects.filter(organization_id=key).order_by("title").first()
        connection.close()

    threads = [threading.Thread(target=look_up, args=(key,)) for key in ids]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]


@scenario
def redundant():
    key = Organization.objects.order_by("name").first().id
    for _ in range(12):
        Organization.objects.get(pk=key)


def create(at):
    source = SOURCES[at % len(SOURCES)]
    return EmissionsData(emission_source_id=source, year=2020 + at, amount=at * 0.5, note=f"{STACK} {at}")


@scenario
def write_autocommit():
    for at in range(12):
        create(at).save()


@scenario
def write_transaction():
    with transaction.atomic():
        for at in range(12):
            create(at).save()


@scenario
def update_loop():
    with transaction.atomic():
        for data in EmissionsData.objects.filter(year=2016).order_by("id")[:15]:
            data.amount += 1
            data.save()


@scenario
def unique_check():
    for at in range(12):
        if not EmissionsData.objects.filter(note=f"{STACK} unique {at}").exists():
            EmissionsData.objects.create(
                emission_source_id=SOURCES[at], year=2030, amount=1, note=f"{STACK} unique {at}")


# --- answers that are compared ---

@scenario
def page():
    for reading in Reading.objects.order_by("id")[:50]:
        meter, person = reading.meter, reading.person
        print("row", reading.id, reading.plant.name, meter.kind, meter.factor, person.email, person.since, reading.quantity)


# --- look-alikes ---

@scenario
def ping():
    for _ in range(30):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")


@scenario
def poller():
    for _ in range(12):
        Message.objects.filter(author="ann").count()
        scenarios.pause(scenarios.POLL)


@scenario
def create_requests():
    for at in range(8):
        if not EmissionsData.objects.filter(note=f"{STACK} request {at}").exists():
            EmissionsData.objects.create(
                emission_source_id=SOURCES[at], year=2031, amount=1, note=f"{STACK} request {at}")
        scenarios.pause()


@scenario
def keyset():
    last = 0
    for _ in range(14):
        last = list(Message.objects.filter(id__gt=last).order_by("id")[:10])[-1].id


@scenario
def offset():
    for page in range(14):
        list(Message.objects.order_by("id")[page * 10:page * 10 + 10])


@scenario
def prefetch():
    for organization in Organization.objects.prefetch_related("facilities__sources").order_by("name"):
        for facility in organization.facilities.all():
            list(facility.sources.all())


@scenario
def chunks():
    ids = list(Message.objects.values_list("id", flat=True).order_by("sent_at"))
    for at in range(0, len(ids), 25):
        list(Message.objects.filter(id__in=ids[at:at + 25]))


@scenario
def bulk():
    EmissionsData.objects.bulk_create([create(at) for at in range(100)], batch_size=10)


@scenario
def executemany():
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO emissions_data (emission_source_id, year, amount, note) VALUES (%s, %s, %s, %s)",
            [(SOURCES[at], 2032, 1.5, f"{STACK} many {at}") for at in range(40)])


@scenario
def few():
    for facility in Facility.objects.exclude(organization=None).order_by("name")[:3]:
        facility.organization.name


@scenario
def constants():
    for year in range(2015, 2019):
        EmissionsData.objects.filter(year=year).count()


@scenario
def independent():
    for organization in ORGANIZATIONS[:12]:
        Organization.objects.get(pk=organization)
        Conversation.objects.filter(organization_id=organization).count()
        scenarios.pause()


@scenario
def joins():
    for facility in Facility.objects.select_related("organization").order_by("name"):
        facility.organization and facility.organization.name


@scenario
def handful():
    with transaction.atomic():
        organization = Organization.objects.get(pk=ORGANIZATIONS[3])
        Facility.objects.filter(organization=organization).count()
        list(Conversation.objects.filter(organization=organization)[:5])
        data = create(3)
        data.save()
        EmissionsData.objects.filter(pk=data.pk).update(note=f"{STACK} changed")
        Message.objects.filter(author="bob").exists()


URL, STACK, chosen = scenarios.choose(S)
ORGANIZATIONS = [100 + n * 389 % 997 for n in range(1, 21)]
SOURCES = [10000 + n * 1009 % 9973 for n in range(1, 101)]


def one(name, function):
    connections["default"].close()
    database = connections["default"].settings_dict
    database["NAME"] = f"{STACK}__{name}"
    database["OPTIONS"]["application_name"] = f"orm/{STACK}/{name}"
    # Threads make connections of their own.
    connections.databases["default"].update(database)
    function()
    connections["default"].close()


scenarios.run(chosen, one)
