"""executemany of 200 rows by psycopg 3 and asyncpg, target by target in turns: medians in milliseconds.

    python batches.py direct=postgres://… pgbouncer=postgres://… pgweir=postgres://…

The table is made by `batches.sql`. A name that contains "bouncer" gets no prepared statements of the driver's own."""

import asyncio
import datetime
import statistics
import sys
import time

import asyncpg
import psycopg

NOW = datetime.datetime.now(datetime.timezone.utc)
ROWS = [(i, f"name {i}", 1.5 * i, NOW) for i in range(200)]
# The first rounds teach pgweir the statement, and are not counted.
WARM, COUNTED, TURNS = 30, 100, 3


def by_psycopg(name, url):
    with psycopg.connect(url, prepare_threshold=None if "bouncer" in name else 5) as connection:
        cursor = connection.cursor()
        for round_ in range(WARM + COUNTED):
            begun = time.perf_counter()
            cursor.executemany("INSERT INTO batches (a, b, c, d) VALUES (%s, %s, %s, %s)", ROWS)
            connection.commit()
            if round_ >= WARM:
                yield 1000 * (time.perf_counter() - begun)
            elif round_ == WARM // 2:
                time.sleep(0.5)


async def by_asyncpg(name, url):
    options = {"statement_cache_size": 0} if "bouncer" in name else {}
    connection = await asyncpg.connect(url, **options)
    times = []
    for round_ in range(WARM + COUNTED):
        begun = time.perf_counter()
        await connection.executemany("INSERT INTO batches (a, b, c, d) VALUES ($1, $2, $3, $4)", ROWS)
        if round_ >= WARM:
            times.append(1000 * (time.perf_counter() - begun))
        elif round_ == WARM // 2:
            await asyncio.sleep(0.5)
    await connection.close()
    return times


def main():
    targets = [target.split("=", 1) for target in sys.argv[1:]]
    measures = {
        "psycopg 3": lambda name, url: list(by_psycopg(name, url)),
        "asyncpg": lambda name, url: asyncio.run(by_asyncpg(name, url)),
    }
    for driver, measure in measures.items():
        times = {name: [] for name, _ in targets}
        for _ in range(TURNS):
            for name, url in targets:
                times[name] += measure(name, url)
        for name, of in times.items():
            print(f"{driver:10} {name:10} {statistics.median(of):7.2f} ms")


main()
