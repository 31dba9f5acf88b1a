"""Writes and reads a table `t (id, at)` by prepared statements of psycopg 3 and asyncpg until its input ends, and says
how often. Any error ends it. Used while the table is converted: `conversion_client.py URL`."""

import asyncio
import sys
import threading

import asyncpg
import psycopg

stop = threading.Event()
counts = {"psycopg": 0, "asyncpg": 0}
failures = []


def with_psycopg(url):
    with psycopg.connect(url, autocommit=True, prepare_threshold=0) as connection:
        while not stop.is_set():
            row = connection.execute("INSERT INTO t (at) VALUES (now()) RETURNING id", prepare=True).fetchone()
            found = connection.execute("SELECT id, at FROM t WHERE id = %s", row, prepare=True).fetchall()
            assert len(found) == 1, found
            with connection.transaction():
                connection.execute("UPDATE t SET at = at - interval '1 day' WHERE id = %s", row, prepare=True)
            counts["psycopg"] += 1


async def with_asyncpg(url):
    connection = await asyncpg.connect(url)
    insert = await connection.prepare("INSERT INTO t (at) VALUES (now()) RETURNING id")
    select = await connection.prepare("SELECT id, at FROM t WHERE id = $1")
    while not stop.is_set():
        number = await insert.fetchval()
        assert len(await select.fetch(number)) == 1
        async with connection.transaction():
            await connection.execute("UPDATE t SET at = at - interval '1 day' WHERE id = $1", number)
        counts["asyncpg"] += 1
    await connection.close()


def guarded(work, url):
    try:
        work(url)
    except Exception as error:  # noqa: BLE001, whatever it is, it is the result
        failures.append(f"{type(error).__name__}: {error}")


url = sys.argv[1]
threads = [
    threading.Thread(target=guarded, args=(with_psycopg, url)),
    threading.Thread(target=guarded, args=(lambda url: asyncio.run(with_asyncpg(url)), url)),
]
for thread in threads:
    thread.start()
sys.stdin.read()
stop.set()
for thread in threads:
    thread.join()
print(counts["psycopg"], counts["asyncpg"], *failures)
sys.exit(1 if failures else 0)
