"""A process of its own, started by other benchmarks: python -m bench.worker KIND URL COUNT.

`daemon` and `floor` handle COUNT events and print the latencies from publish call to handler in ms; `idle` runs a daemon until
it is stopped; `slow` the same with a handler that takes 10 ms; `first` ends with the first event.
"""

import asyncio
import json
import sys
import time
from typing import Any
from urllib.parse import urlsplit

from bench import floor
from busredis import Daemon, Router
from busredis.catalog import ActionEvaluatedEvent

_STREAM = "{bench}:stream:ActionEvaluatedEvent"


def percentiles(latencies: list[float]) -> list[float]:
    """p50, p95, p99 in ms."""
    ordered = sorted(latencies)
    return [ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 for share in (0.5, 0.95, 0.99)]


def measuring(url: str, kind: str, count: int) -> None:
    latencies: list[float] = []
    router = Router()

    async def handler(event: Any) -> None:
        sent = event.context["t"]
        if sent:
            latencies.append(time.monotonic() - sent)
        else:
            print("ready", flush=True)

    if kind == "floor":
        port = urlsplit(url).port or 6379
        asyncio.run(floor.consume(port, _STREAM, "floor", ActionEvaluatedEvent, handler, count + 1))
    else:
        daemon: list[Daemon] = []

        @router.on(ActionEvaluatedEvent, name="daemon")
        async def handle(event: ActionEvaluatedEvent) -> None:
            await handler(event)
            if len(latencies) == count:
                daemon[0].stop()

        daemon.append(Daemon(router, url=url, namespace="bench"))
        daemon[0].run()
    print(json.dumps(percentiles(latencies)), flush=True)


def running(url: str, kind: str) -> None:
    router = Router()
    daemon: list[Daemon] = []

    @router.on(ActionEvaluatedEvent, name=kind)
    async def handle(_event: ActionEvaluatedEvent) -> None:
        print("handled", flush=True)
        if kind == "slow":
            await asyncio.sleep(0.01)
        elif kind == "first":
            daemon[0].stop()

    daemon.append(Daemon(router, url=url, namespace="bench"))
    daemon[0].run()


if __name__ == "__main__":
    kind, url, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if kind in ("daemon", "floor"):
        measuring(url, kind, count)
    else:
        running(url, kind)
