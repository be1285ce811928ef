"""driver.py COMMAND TASKS [PRODUCERS]: pgqueuer; one step of a workload on the
database DATABASE_URL; its figures are one line of JSON.

setup | fill N | drain N | bulk N P | single N P | latency N

Settings: uvloop, batches of 1,000, asyncpg; for latency batches of one.
"""

import asyncio
import json
import os
import resource
import sys
import time
from datetime import timedelta

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

URL = os.environ["DATABASE_URL"]
BULK = 1000


def percentiles(waits):
    waits.sort()
    at = lambda share: waits[round((len(waits) - 1) * share)] * 1000
    return {"p50_ms": at(0.5), "p99_ms": at(0.99)}


async def queries():
    return Queries(AsyncpgDriver(await asyncpg.connect(URL)))


async def setup(_tasks, _producers):
    await (await queries()).install()
    return {}


async def bulk(tasks, producers, size=BULK):
    each = tasks // producers
    connections = [await queries() for _ in range(producers)]

    async def produce(connection):
        left = each
        while left > 0:
            count = min(left, size)
            await connection.enqueue(["noop"] * count, [None] * count, [0] * count)
            left -= count

    began = time.perf_counter()
    await asyncio.gather(*(produce(connection) for connection in connections))
    return {"tasks_per_second": each * producers / (time.perf_counter() - began)}


async def fill(tasks, _producers):
    await bulk(tasks, 1)
    return {}


async def single(tasks, producers):
    each = tasks // producers
    connections = [await queries() for _ in range(producers)]
    waits = []

    async def produce(connection):
        for _ in range(each):
            sent = time.perf_counter()
            await connection.enqueue(["noop"], [None], [0])
            waits.append(time.perf_counter() - sent)

    began = time.perf_counter()
    await asyncio.gather(*(produce(connection) for connection in connections))
    rate = len(waits) / (time.perf_counter() - began)
    return {"tasks_per_second": rate, **percentiles(waits)}


async def consume(batch, on_job):
    queuer = PgQueuer(AsyncpgDriver(await asyncpg.connect(URL)))

    @queuer.entrypoint("noop")
    async def noop(_job):
        on_job()

    return asyncio.create_task(queuer.run(batch_size=batch, dequeue_timeout=timedelta(seconds=5)))


async def drain(tasks, _producers):
    looking = await asyncpg.connect(URL)
    done = 0
    ended = asyncio.Event()

    def on_job():
        nonlocal done
        done += 1
        if done == tasks:
            ended.set()

    began = time.perf_counter()
    worker = await consume(BULK, on_job)
    waiting = asyncio.create_task(ended.wait())
    await asyncio.wait([worker, waiting], return_when=asyncio.FIRST_COMPLETED)
    if worker.done():
        worker.result()
    while await looking.fetchval("SELECT EXISTS (SELECT FROM pgqueuer)"):
        await asyncio.sleep(0.005)
    rate = tasks / (time.perf_counter() - began)
    return {"tasks_per_second": rate, "rss_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


async def latency(tasks, _producers):
    producing = await queries()
    begins = asyncio.Queue()
    _worker = await consume(1, lambda: begins.put_nowait(time.perf_counter()))
    await asyncio.sleep(1)
    waits = []
    for number in range(tasks + 10):
        await asyncio.sleep(0.02)
        sent = time.perf_counter()
        await producing.enqueue(["noop"], [None], [0])
        at = await begins.get()
        if number >= 10:
            waits.append(at - sent)
    return percentiles(waits)


async def main():
    command = {"setup": setup, "fill": fill, "bulk": bulk, "single": single, "drain": drain, "latency": latency}
    numbers = [int(text) for text in sys.argv[2:]] + [0, 1][len(sys.argv) - 2 :]
    print(json.dumps(await command[sys.argv[1]](*numbers[:2])), flush=True)
    # Workers are not made to be stopped in order; nothing is left to lose.
    os._exit(0)


uvloop.run(main())
