"""Consuming: from the first read until nothing is pending."""

import redis

from bench.measure import rates, show
from bench.publish import event
from busredis import Daemon, Publisher, Router
from busredis.catalog import ActionEvaluatedEvent

_COUNT = 20_000
_STREAM = "{bench}:stream:ActionEvaluatedEvent"


def run(url: str) -> None:
    import orjson  # noqa: PLC0415

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

    def of(router: Router, name: str) -> int:
        Daemon(router, url=url, namespace="bench", burst=True).run()
        client.xgroup_destroy(_STREAM, name)
        client.delete(f"{{bench}}:checkpoint:{name}")
        return _COUNT

    awaited, called = Router(), Router()

    @awaited.on(ActionEvaluatedEvent, name="awaited")
    async def handle(_event: ActionEvaluatedEvent) -> None:
        return

    @called.on(ActionEvaluatedEvent, name="called")
    def handle_in_thread(_event: ActionEvaluatedEvent) -> None:
        return

    base = "redis-py, XREADGROUP COUNT 512, orjson, one XACK"
    cases = {
        base: raw,
        "daemon, async handler, start and drain included": lambda: of(awaited, "awaited"),
        "daemon, sync handler, start and drain included": lambda: of(called, "called"),
    }
    show("consume and acknowledge", rates(cases, rounds=3), base)
    client.flushall()
