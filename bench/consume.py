"""Consuming: one process, a handler that does nothing."""

import statistics
import time

import orjson
import redis

from bench.measure import show
from bench.publish import event
from busredis import Daemon, Publisher, Router
from busredis.catalog import ActionEvaluatedEvent

_COUNT = 40_000
_STREAM = "{bench}:stream:ActionEvaluatedEvent"


def _daemon(url: str, client: redis.Redis, *, is_async: bool) -> float:
    """Seconds from the first call of the handler to the last; starting and draining are not the rate."""
    router, calls = Router(), []
    name = "awaited" if is_async else "called"

    def called(_event: ActionEvaluatedEvent) -> None:
        calls.append(time.perf_counter())

    async def awaited(_event: ActionEvaluatedEvent) -> None:
        calls.append(time.perf_counter())

    router.on(ActionEvaluatedEvent, name=name)(awaited if is_async else called)
    Daemon(router, url=url, namespace="bench", burst=True).run()
    client.xgroup_destroy(_STREAM, name)
    client.delete(f"{{bench}}:checkpoint:{name}")
    assert len(calls) == _COUNT
    return calls[-1] - calls[0]


base = "redis-py, XREADGROUP COUNT 512, orjson, one XACK"


def run(url: str) -> None:
    client = redis.Redis.from_url(url)
    with Publisher(url, namespace="bench") as publisher:
        publisher.publish_many([event(number) for number in range(_COUNT)])

    def raw() -> int:
        client.xgroup_create(_STREAM, "raw", id="0")
        while True:
            reply = client.xreadgroup("raw", "c", {_STREAM: ">"}, count=512)
            if not reply:
                break
            entries = reply[0][1]
            for _, fields in entries:
                orjson.loads(fields[b"event"])
            client.xack(_STREAM, "raw", *[entry_id for entry_id, _ in entries])
        client.xgroup_destroy(_STREAM, "raw")
        return _COUNT

    def timed() -> float:
        started = time.perf_counter()
        raw()
        return time.perf_counter() - started

    cases = {
        base: timed,
        "daemon, async handler, validated events": lambda: _daemon(url, client, is_async=True),
        "daemon, sync handler, validated events": lambda: _daemon(url, client, is_async=False),
    }
    took: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(5):
        for name, work in cases.items():
            took[name].append(work())
    medians = {name: _COUNT / statistics.median(times) for name, times in took.items()}
    show("consume and acknowledge", medians, base)
    client.flushall()
