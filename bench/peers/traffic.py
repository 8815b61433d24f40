"""What is sent through other packages, and what their handlers note. Beside buses.py, which imports it as a script."""

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

#: Events a second, one by one.
RATE = 500
calls: list[float] = []
#: Milliseconds, while it listens.
waits: list[float] = []
listening = False


def hit(event: dict) -> None:
    calls.append(time.perf_counter())
    waits.append((time.monotonic() - event["payload"]["context"]["t"]) * 1000)
    if len(calls) == 1 and listening:
        print(json.dumps("ready"), flush=True)


def timed(event: dict) -> dict:
    return event | {"payload": event["payload"] | {"context": {"t": time.monotonic()}}}


async def until(count: int, task: "asyncio.Task[Any]") -> None:
    while len(calls) < count and not task.done():
        await asyncio.sleep(0.02)
    task.cancel()
    with contextlib.suppress(BaseException):
        await task


async def paced(event: dict, send: Callable[[dict], Awaitable[Any]], count: int) -> None:
    started, tasks = time.monotonic() + 0.05, set()
    for number in range(count):
        left = started + number / RATE - time.monotonic()
        if left > 0:
            await asyncio.sleep(left)
        task = asyncio.ensure_future(send(timed(event)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    while tasks:
        await asyncio.wait(set(tasks))


async def gathered(send: Callable[[], Awaitable[Any]], count: int) -> None:
    """For peers without a bulk form: 100 at a time."""
    for start in range(0, count, 100):
        await asyncio.gather(*(send() for _ in range(min(100, count - start))))
