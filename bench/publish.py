"""Publishing: in bulk, one by one, 100 in flight."""

import asyncio
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

import orjson
import redis
import redis.asyncio

from bench.floor import Floor
from bench.measure import note, rates, rates_async, show
from bench.usage import Usage, table
from busredis import AsyncPublisher, Publisher
from busredis.catalog import ActionEvaluatedEvent

_BULK, _SINGLE, _FLIGHT = 20_000, 2_000, 10_000
_STREAM = "{bench}:stream:ActionEvaluatedEvent"
RAW_BULK, RAW_SINGLE = "redis-py, pipelines of 500 XADDs", "redis-py, one EVALSHA each"
RAW_BULK_ASYNC, RAW_FLIGHT = (
    "redis-py asyncio, pipelines of 500 XADDs",
    "redis-py asyncio, 100 gathered XADDs",
)


def event(number: int) -> ActionEvaluatedEvent:
    return ActionEvaluatedEvent(
        action="deploy",
        decision="DENY",
        violated_law="L2",
        rationale="over budget",
        context={"t": number},
        aggregate_id=f"agent-{number % 64}",
        aggregate_type="Gov",
        correlation_id=f"c-{number:06d}",
        user_id="u-17",
    )


def run(url: str) -> None:
    events = [event(number) for number in range(_BULK)]
    dicts = [e.to_dict() for e in events]
    client = redis.Redis.from_url(url)
    with Publisher(url, namespace="bench") as publisher:
        _blocking(client, publisher, events, dicts)
    asyncio.run(_asyncio(url, partial(client.delete, "raw", _STREAM), events, dicts))
    client.flushall()


def _blocking(
    client: redis.Redis, publisher: Publisher, events: list[ActionEvaluatedEvent], dicts: list[dict]
) -> None:
    emptied = partial(client.delete, "raw", _STREAM)
    used = {name: Usage(client) for name in (RAW_BULK, "publish_many", RAW_SINGLE, "publish")}

    def raw_bulk() -> int:
        with used[RAW_BULK].counts(_BULK):
            for start in range(0, _BULK, 500):
                pipeline = client.pipeline(transaction=False)
                for one in dicts[start : start + 500]:
                    pipeline.xadd("raw", {"event": orjson.dumps(one)})
                pipeline.execute()
        return _BULK

    def bulk() -> int:
        with used["publish_many"].counts(_BULK):
            publisher.publish_many(events)
        return _BULK

    bulks = rates({RAW_BULK: raw_bulk, "publish_many": bulk}, clean=emptied)
    show("publish in bulk", bulks, RAW_BULK)
    sha = client.script_load("return redis.call('XADD', KEYS[1], '*', 'event', ARGV[1])")

    def raw_single() -> int:
        with used[RAW_SINGLE].counts(_SINGLE):
            for one in dicts[:_SINGLE]:
                client.evalsha(sha, 1, "raw", orjson.dumps(one))
        return _SINGLE

    def single() -> int:
        with used["publish"].counts(_SINGLE):
            for one in events[:_SINGLE]:
                publisher.publish(one)
        return _SINGLE

    singles = rates({RAW_SINGLE: raw_single, "publish": single}, 9, clean=emptied)
    show("publish one by one", singles, RAW_SINGLE)
    note("what an event costs to publish", table(used))


async def _asyncio(
    url: str, emptied: Callable[[], object], events: list[ActionEvaluatedEvent], dicts: list[dict]
) -> None:
    client = redis.asyncio.Redis.from_url(url)
    floor = await Floor.connect(urlsplit(url).port or 6379)
    async with AsyncPublisher(url, namespace="bench") as publisher:
        await _in_flight(client, floor, publisher, events, dicts, emptied)
        await _in_bulk(client, publisher, events, dicts, emptied)
    await client.aclose()
    floor.transport.close()


async def _in_flight(
    client: redis.asyncio.Redis,
    floor: Floor,
    publisher: AsyncPublisher,
    events: list[ActionEvaluatedEvent],
    dicts: list[dict],
    emptied: Callable[[], object],
) -> None:
    def hundreds(items: list, count: int) -> list[list]:
        return [items[start : start + 100] for start in range(0, count, 100)]

    async def raw() -> int:
        for part in hundreds(dicts, 2_000):
            await asyncio.gather(*(client.xadd("raw", {"event": orjson.dumps(one)}) for one in part))
        return 2_000

    async def ours() -> int:
        for part in hundreds(events, _FLIGHT):
            await asyncio.gather(*(publisher.publish(one) for one in part))
        return _FLIGHT

    async def bare() -> int:
        for part in hundreds(dicts, _FLIGHT):
            await asyncio.gather(
                *(floor.call("XADD", "raw", "*", "event", orjson.dumps(one)) for one in part)
            )
        return _FLIGHT

    cases = {
        RAW_FLIGHT: raw,
        "AsyncPublisher.publish, 100 in flight": ours,
        "floor, 100 in flight": bare,
    }
    show("publish, 100 in flight", await rates_async(cases, clean=emptied), RAW_FLIGHT)


async def _in_bulk(
    client: redis.asyncio.Redis,
    publisher: AsyncPublisher,
    events: list[ActionEvaluatedEvent],
    dicts: list[dict],
    emptied: Callable[[], object],
) -> None:
    async def raw() -> int:
        for start in range(0, _BULK, 500):
            pipeline = client.pipeline(transaction=False)
            for one in dicts[start : start + 500]:
                pipeline.xadd("raw", {"event": orjson.dumps(one)})
            await pipeline.execute()
        return _BULK

    async def ours() -> int:
        await publisher.publish_many(events)
        return _BULK

    cases = {RAW_BULK_ASYNC: raw, "AsyncPublisher.publish_many": ours}
    show("publish in bulk, asyncio", await rates_async(cases, clean=emptied), RAW_BULK_ASYNC)
