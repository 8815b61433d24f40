"""Other packages that carry messages over Redis, asked by bench/peers_run.py. Each runs in an environment of its own.

`python buses.py NAME URL EVENT` reads lines; each is answered in JSON:

    publish <n>   in bulk; the seconds that it took
    consume <n>   the seconds from the first call of the handler to the last, as for busredis
    pace <n>      one by one, at RATE a second; the seconds that it took
    listen <n>    "ready" after the first event, then after n more the p50, p95 and p99 of the milliseconds from the call
                  that publishes to that of the handler
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import redis
import traffic
from traffic import calls, gathered, hit, until, waits

NAME, URL, EVENT = sys.argv[1:4]
DICT = json.loads(EVENT)
paced = partial(traffic.paced, DICT)


async def faststream(what: str, count: int, *, batch: bool) -> None:
    from faststream import FastStream
    from faststream.redis import RedisBroker, StreamSub

    broker = RedisBroker(URL, logger=None)
    if what == "publish":
        await broker.connect()
        client = redis.asyncio.Redis.from_url(URL)
        for start in range(0, count, 500):
            pipeline = client.pipeline(transaction=False)
            for _ in range(min(500, count - start)):
                await broker.publish(DICT, stream="bench", pipeline=pipeline)
            await pipeline.execute()
        await broker.stop()
        return
    if what == "pace":
        await broker.connect()
        await paced(lambda event: broker.publish(event, stream="bench"), count)
        await broker.stop()
        return
    redis.Redis.from_url(URL).xgroup_create("bench", "g", id="0", mkstream=True)
    if batch:

        @broker.subscriber(stream=StreamSub("bench", group="g", consumer="c", batch=True, max_records=512))
        async def many(events: list[dict]) -> None:
            for event in events:
                hit(event)
    else:

        @broker.subscriber(stream=StreamSub("bench", group="g", consumer="c"))
        async def one(event: dict) -> None:
            hit(event)

    await until(count, asyncio.create_task(FastStream(broker, logger=None).run()))
    await broker.stop()


async def taskiq(what: str, count: int) -> None:
    from taskiq.api import run_receiver_task
    from taskiq.serializers import ORJSONSerializer
    from taskiq_redis import RedisStreamBroker

    broker = RedisStreamBroker(URL, xread_count=512).with_serializer(ORJSONSerializer())

    @broker.task(task_name="h")
    async def handler(event: dict) -> None:
        hit(event)

    await broker.startup()
    if what == "publish":
        await gathered(lambda: handler.kiq(DICT), count)
    elif what == "pace":
        await paced(handler.kiq, count)
    else:
        await until(
            count, asyncio.create_task(run_receiver_task(broker, max_async_tasks=100, max_prefetch=512))
        )
    await broker.shutdown()


async def arq(what: str, count: int) -> None:
    import orjson
    from arq import create_pool
    from arq.connections import RedisSettings
    from arq.worker import Worker, func

    settings = RedisSettings.from_dsn(URL)

    async def handler(_ctx: dict, event: dict) -> None:
        hit(event)

    if what in ("publish", "pace"):
        pool = await create_pool(settings, job_serializer=orjson.dumps, job_deserializer=orjson.loads)
        if what == "pace":
            await paced(lambda event: pool.enqueue_job("h", event), count)
        else:
            await gathered(lambda: pool.enqueue_job("h", DICT), count)
        await pool.aclose()
        return
    worker = Worker(
        [func(handler, name="h")],
        redis_settings=settings,
        job_serializer=orjson.dumps,
        job_deserializer=orjson.loads,
        handle_signals=False,
        max_jobs=100,
        queue_read_limit=200,
        poll_delay=0.01,
        keep_result=0,
    )
    await until(count, asyncio.create_task(worker.async_run()))
    await worker.close()


async def docket(what: str, count: int) -> None:
    from docket import Docket, Worker

    async def handler(event: dict) -> None:
        hit(event)

    async with Docket(name="d", url=URL, execution_ttl=timedelta(0)) as bus:
        bus.register(handler)
        if what == "publish":
            for start in range(0, count, 500):
                await bus.add_many([bus.call(handler)(DICT) for _ in range(min(500, count - start))])
            return
        if what == "pace":
            await paced(bus.add(handler), count)
            return
        async with Worker(bus, concurrency=50, minimum_check_interval=timedelta(milliseconds=1)) as worker:
            await until(count, asyncio.create_task(worker.run_forever()))


async def ardiq(what: str, count: int) -> None:
    from ardiq import Ardiq

    app = Ardiq(URL, concurrency=64, prefetch=1024, result_ttl_ms=1)

    @app.task(name="h")
    async def handler(event: dict) -> None:
        hit(event)

    if what == "publish":
        for start in range(0, count, 500):
            await app.enqueue_many([handler.prepare(DICT) for _ in range(min(500, count - start))])
    elif what == "pace":
        await paced(handler.enqueue, count)
    else:
        await until(count, asyncio.create_task(app.run()))


async def streaq(what: str, count: int) -> None:
    import orjson
    from streaq import Worker

    worker = Worker(
        redis_url=URL,
        concurrency=256,
        prefetch=512,
        serializer=lambda value: orjson.dumps(value).decode(),
        deserializer=orjson.loads,
    )

    @worker.task(silent=True, ttl=0, name="h")
    async def handler(event: dict) -> None:
        hit(event)

    if what == "publish":
        async with worker:
            for start in range(0, count, 500):
                await worker.enqueue_many([handler.enqueue(DICT) for _ in range(min(500, count - start))])
    elif what == "pace":

        async def send(event: dict) -> None:
            await handler.enqueue(event)

        async with worker:
            await paced(send, count)
    else:
        await until(count, asyncio.create_task(worker.run_async()))


def dramatiq(what: str, count: int) -> None:
    import dramatiq as package
    import orjson
    from dramatiq.brokers.redis import RedisBroker

    class Encoder(package.Encoder):
        def encode(self, data: Any) -> bytes:
            return orjson.dumps(data)

        def decode(self, data: bytes) -> Any:
            return orjson.loads(data)

    package.set_encoder(Encoder())
    broker = RedisBroker(url=URL, middleware=[])

    @package.actor(actor_name="h", broker=broker)
    def handler(event: dict) -> None:
        hit(event)

    if what == "publish":
        for _ in range(count):
            handler.send(DICT)
        return
    if what == "pace":

        async def send(event: dict) -> None:
            handler.send(event)

        asyncio.run(paced(send, count))
        return
    worker = package.Worker(broker, worker_threads=2)
    worker.start()
    until_s = time.monotonic() + 60
    while len(calls) < count and time.monotonic() < until_s:
        time.sleep(0.02)
    worker.stop()


RUNS: dict[str, Callable[[str, int], Any]] = {
    "faststream": lambda what, count: faststream(what, count, batch=False),
    "faststream-batch": lambda what, count: faststream(what, count, batch=True),
    "taskiq": taskiq,
    "arq": arq,
    "docket": docket,
    "ardiq": ardiq,
    "streaq": streaq,
    "dramatiq": dramatiq,
}

for line in sys.stdin:
    what, number = line.split()
    calls.clear()
    waits.clear()
    traffic.listening = what == "listen"
    wanted = int(number) + traffic.listening
    started = time.perf_counter()
    done = RUNS[NAME](what, wanted)
    if done is not None:
        try:
            import uvloop

            uvloop.run(done)
        except ImportError:
            asyncio.run(done)
    answer: object = time.perf_counter() - started
    # All must have been handled, or it is no measurement.
    if what == "consume":
        answer = calls[-1] - calls[0] if len(calls) >= wanted else -1.0
    if what == "listen":
        cuts = statistics.quantiles(waits[1:], n=100) if len(calls) >= wanted else [-1.0] * 99
        answer = [cuts[49], cuts[94], cuts[98]]
    print(json.dumps(answer), flush=True)
