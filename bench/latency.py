"""End to end: from the call of publish to the handler, at a steady rate, in two processes."""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import redis

from bench.floor import Floor
from bench.measure import note
from bench.publish import event
from busredis import AsyncPublisher
from busredis.catalog import ActionEvaluatedEvent

_STREAM = "{bench}:stream:ActionEvaluatedEvent"
_SECONDS, _ROUNDS = {500: 3, 5_000: 1}, 5

Send = Callable[[ActionEvaluatedEvent], Awaitable[object]]


async def _paced(send: Send, rate: int, count: int) -> None:
    started, tasks = time.monotonic() + 0.05, set()
    for number in range(count):
        left = started + number / rate - time.monotonic()
        if left > 0:
            await asyncio.sleep(left)
        made = event(number).model_copy(update={"context": {"t": time.monotonic()}})
        task = asyncio.ensure_future(send(made))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    while tasks:
        await asyncio.wait(set(tasks))


async def _run(kind: str, url: str, rate: int, worker: "subprocess.Popen[str]") -> None:
    ready = event(0).model_copy(update={"context": {"t": 0}})
    count = rate * _SECONDS[rate]
    assert worker.stdout
    if kind == "floor":
        connection = await Floor.connect(urlsplit(url).port or 6379)

        async def send(one: ActionEvaluatedEvent) -> object:
            return await connection.call("XADD", _STREAM, "*", "event", one.to_json())

        await send(ready)
        await asyncio.to_thread(worker.stdout.readline)
        await _paced(send, rate, count)
        connection.transport.close()
        return
    async with AsyncPublisher(url, namespace="bench") as publisher:
        await publisher.publish(ready)
        await asyncio.to_thread(worker.stdout.readline)
        await _paced(publisher.publish, rate, count)


def once(kind: str, url: str, rate: int) -> list[float]:
    """p50, p95, p99 in ms."""
    client = redis.Redis.from_url(url)
    client.flushall()
    client.xgroup_create(_STREAM, kind, id="0", mkstream=True)
    command = [sys.executable, "-m", "bench.worker", kind, url, str(rate * _SECONDS[rate])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        asyncio.run(_run(kind, url, rate, worker))
        assert worker.stdout
        found: list[float] = json.loads(worker.stdout.readline())
    return found


def run(url: str) -> None:
    for rate in _SECONDS:
        rounds: dict[str, list[list[float]]] = {"floor": [], "daemon": []}
        for _ in range(_ROUNDS):
            for kind, found in rounds.items():
                found.append(once(kind, url, rate))
        rows = {}
        for kind, found in rounds.items():
            medians = [statistics.median(column) for column in zip(*found, strict=True)]
            for name, value in zip(("p50", "p95", "p99"), medians, strict=True):
                rows[f"{kind}, {name}"] = (value, "ms")
        rows["p50, daemon to floor"] = (rows["daemon, p50"][0] / rows["floor, p50"][0], "times")
        note(f"end to end at {rate:,} events/s", rows)
    redis.Redis.from_url(url).flushall()
