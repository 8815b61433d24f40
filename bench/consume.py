"""Consuming in one process: handlers that do nothing, that wait, that have effects; one event type and sixteen."""

import asyncio
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import orjson
import redis

from bench import floor
from bench.measure import note, seconds, show
from bench.publish import event
from bench.usage import Usage, table
from busredis import Context, Daemon, DomainEvent, Publisher, Router, catalog
from busredis.catalog import ActionEvaluatedEvent

_COUNT, _WAITING, _EFFECTS = 40_000, 10_000, 10_000
BASE = "redis-py, XREADGROUP COUNT 512, orjson.loads, one XACK"
FLOOR = "floor, validated events"
TYPES = [getattr(catalog, name) for name in catalog.__all__]


class Bench:
    """A namespace full of events, and the ways to work it off; each returns the seconds from the first call to the last."""

    def __init__(self, url: str, classes: list[type[DomainEvent]]) -> None:
        self.url, self.client, self.classes = url, redis.Redis.from_url(url), classes
        self.streams = [f"{{bench}}:stream:{cls.type_name}" for cls in classes]
        self.count = self.client.xlen(self.streams[0]) * len(classes)
        self.used: dict[str, Usage] = {}

    def daemon(
        self, name: str, handler: Callable[[Callable[[], None]], object], concurrency: int = 1
    ) -> float:
        """`handler(called)` makes the handler, which calls `called` for each event."""
        router, calls = Router(), []
        router.on(*self.classes, name=name, concurrency=concurrency)(
            handler(lambda: calls.append(time.perf_counter()))
        )
        with self.used.setdefault(f"daemon, {name}", Usage(self.client)).counts(self.count):
            Daemon(router, url=self.url, namespace="bench", burst=True).run()
        for stream in self.streams:
            self.client.xgroup_destroy(stream, name)
        self.client.delete(f"{{bench}}:checkpoint:{name}", f"{{bench}}:view:{name}")
        assert len(calls) == self.count
        return calls[-1] - calls[0]

    def raw(self) -> float:
        for stream in self.streams:
            self.client.xgroup_create(stream, "raw", id="0")
        wanted, started = dict.fromkeys(self.streams, ">"), time.perf_counter()
        with self.used.setdefault(BASE, Usage(self.client)).counts(self.count):
            while reply := self.client.xreadgroup("raw", "c", wanted, count=512 // len(self.streams)):
                for stream, entries in reply:
                    for _, fields in entries:
                        orjson.loads(fields[b"event"])
                    self.client.xack(stream, "raw", *[entry_id for entry_id, _ in entries])
        took = time.perf_counter() - started
        for stream in self.streams:
            self.client.xgroup_destroy(stream, "raw")
        return took

    def floor(self) -> float:
        [stream], [cls] = self.streams, self.classes
        self.client.xgroup_create(stream, "floor", id="0")

        async def handler(_event: DomainEvent) -> None:
            pass

        started = time.perf_counter()
        with self.used.setdefault(FLOOR, Usage(self.client)).counts(self.count):
            port = urlsplit(self.url).port or 6379
            asyncio.run(floor.consume(port, stream, "floor", cls, handler, self.count))
        took = time.perf_counter() - started
        self.client.xgroup_destroy(stream, "floor")
        return took


def asynchronous(called: Callable[[], None]) -> object:
    async def handler(_event: DomainEvent) -> None:
        called()

    return handler


def blocking(called: Callable[[], None]) -> object:
    def handler(_event: DomainEvent) -> None:
        called()

    return handler


def waiting(called: Callable[[], None]) -> object:
    async def handler(_event: DomainEvent) -> None:
        await asyncio.sleep(0.001)
        called()

    return handler


def with_effects(called: Callable[[], None]) -> object:
    async def handler(_event: DomainEvent, ctx: Context) -> None:
        ctx.effects.add("HINCRBY", ctx.view("with-effects"), "count", 1)
        called()

    return handler


def run(url: str) -> None:
    client = redis.Redis.from_url(url)
    with Publisher(url, namespace="bench") as publisher:
        publisher.publish_many([event(number) for number in range(_COUNT)])
        bench = Bench(url, [ActionEvaluatedEvent])
        cases = {
            BASE: bench.raw,
            "daemon, async handler": lambda: bench.daemon("async-handler", asynchronous),
            "daemon, sync handler": lambda: bench.daemon("sync-handler", blocking),
            FLOOR: bench.floor,
        }
        _show("consume and acknowledge", bench, cases)
        note("what an event costs to consume", table(bench.used))
        client.flushall()
        publisher.publish_many([event(number) for number in range(_WAITING)])
        bench = Bench(url, [ActionEvaluatedEvent])
        cases = {
            BASE: bench.raw,
            "daemon, async handler that waits 1 ms, concurrency 100": lambda: bench.daemon(
                "waits", waiting, 100
            ),
            "daemon, async handler with an effect": lambda: bench.daemon("with-effects", with_effects),
        }
        _show("handlers that do something", bench, cases)
        client.flushall()
        publisher.publish_many([cls() for _ in range(_EFFECTS // 16) for cls in TYPES])
    bench = Bench(url, TYPES)
    cases = {
        BASE: bench.raw,
        "daemon, async handler": lambda: bench.daemon("async-handler", asynchronous),
        "daemon, sync handler": lambda: bench.daemon("sync-handler", blocking),
    }
    _show("consume 16 event types with one handler", bench, cases)
    client.flushall()


def _show(title: str, bench: Bench, cases: dict[str, Callable[[], float]]) -> None:
    took = seconds(cases)
    show(title, {name: bench.count / value for name, value in took.items()}, BASE)
