"""Publishing: in bulk, one by one, 100 in flight."""

import asyncio

import orjson
import redis
import redis.asyncio

from bench.measure import rates, show
from busredis import AsyncPublisher, Publisher
from busredis.catalog import ActionEvaluatedEvent

_BULK, _SINGLE, _FLIGHT = 20_000, 2_000, 10_000


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
    publisher = Publisher(url, namespace="bench")

    def raw_bulk() -> int:
        for start in range(0, _BULK, 500):
            pipeline = client.pipeline(transaction=False)
            for one in dicts[start : start + 500]:
                pipeline.xadd("raw", {"event": orjson.dumps(one)})
            pipeline.execute()
        client.delete("raw")
        return _BULK

    def bulk() -> int:
        publisher.publish_many(events)
        client.delete("{bench}:stream:ActionEvaluatedEvent")
        return _BULK

    cases = {"redis-py, pipelines of 500 XADDs": raw_bulk, "publish_many": bulk}
    show("publish in bulk", rates(cases), "redis-py, pipelines of 500 XADDs")

    def raw_single() -> int:
        for one in dicts[:_SINGLE]:
            client.evalsha(sha, 1, "raw", orjson.dumps(one))
        return _SINGLE

    def single() -> int:
        for one in events[:_SINGLE]:
            publisher.publish(one)
        return _SINGLE

    sha = client.script_load("return redis.call('XADD', KEYS[1], '*', 'event', ARGV[1])")
    cases = {"redis-py, one EVALSHA each": raw_single, "publish": single}
    show("publish one by one", rates(cases), "redis-py, one EVALSHA each")
    asyncio.run(_in_flight(url, events, dicts))
    client.flushall()


async def _in_flight(url: str, events: list[ActionEvaluatedEvent], dicts: list[dict]) -> None:
    import time  # noqa: PLC0415

    client = redis.asyncio.Redis.from_url(url)
    found: dict[str, list[float]] = {"redis-py, 100 gathered XADDs": [], "AsyncPublisher, 100 in flight": []}
    async with AsyncPublisher(url, namespace="bench") as publisher:
        for _ in range(5):
            started = time.perf_counter()
            for start in range(0, 2_000, 100):
                calls = [
                    client.xadd("raw", {"event": orjson.dumps(one)}) for one in dicts[start : start + 100]
                ]
                await asyncio.gather(*calls)
            found["redis-py, 100 gathered XADDs"].append(2_000 / (time.perf_counter() - started))
            started = time.perf_counter()
            for start in range(0, _FLIGHT, 100):
                await asyncio.gather(*(publisher.publish(one) for one in events[start : start + 100]))
            found["AsyncPublisher, 100 in flight"].append(_FLIGHT / (time.perf_counter() - started))
    await client.aclose()
    medians = {name: sorted(values)[2] for name, values in found.items()}
    show("100 in flight", medians, "redis-py, 100 gathered XADDs")
