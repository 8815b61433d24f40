"""A process that works a while and says what that took: python -m bench.shift handle|publish ... .

It prints `ready`, begins with the first line of its input, and prints what it found as JSON. Bounds are from the first event to
the last, on the clock that all processes of a machine share.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.publish import event
from bench.usage import peak_mib
from busredis import Daemon, Publisher, Router
from busredis.catalog import ActionEvaluatedEvent

_BULK = 500


@dataclass(frozen=True)
class Shift:
    """What one process did. `began` and `ended` are times of the machine's clock; `peak_mib` is its largest resident size."""

    events: int
    began: float
    ended: float
    cpu: float
    peak_mib: float


def rate(shifts: Sequence[Shift]) -> float:
    """Events a second of processes that worked at the same time."""
    took = max(one.ended for one in shifts) - min(one.began for one in shifts if one.events)
    return sum(one.events for one in shifts) / took


@contextmanager
def started(*arguments: object, processes: int = 1) -> Iterator["list[subprocess.Popen[str]]"]:
    """Processes that are ready to begin, ended in any case."""
    command = [sys.executable, "-m", "bench.shift", *map(str, arguments)]
    crew = [
        subprocess.Popen([*command, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in range(processes)
    ]
    try:
        for one in crew:
            assert one.stdout
            if one.stdout.readline() != "ready\n":
                raise RuntimeError(f"{' '.join(command)} does not start")
        yield crew
    finally:
        for one in crew:
            one.kill()
            one.communicate()


def worked(crew: "Sequence[subprocess.Popen[str]]") -> list[Shift]:
    """Lets them begin, and waits for what they found."""
    for one in crew:
        assert one.stdin
        one.stdin.write("go\n")
        one.stdin.flush()
    found = []
    for one in crew:
        assert one.stdout
        found.append(Shift(**json.loads(one.stdout.readline())))
    return found


def _begin() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def _tell(events: int, began: float, ended: float, cpu: float) -> None:
    print(json.dumps(Shift(events, began, ended, cpu, peak_mib()).__dict__), flush=True)


def handle(url: str, namespace: str, group: str, count: int, ordered: bool) -> None:
    """Handles `count` events and stops; 0: all there are."""
    router, calls, cpu = Router(), [], []
    daemon: list[Daemon] = []

    @router.on(ActionEvaluatedEvent, name=group, ordered=ordered)
    async def note(_event: ActionEvaluatedEvent) -> None:
        calls.append(time.monotonic())
        if len(calls) == 1 or len(calls) == count:
            cpu.append(time.process_time())
        if len(calls) == count:
            daemon[0].stop()

    daemon.append(Daemon(router, url=url, namespace=namespace, burst=not count))
    _begin()
    daemon[0].run()
    cpu.append(time.process_time())
    if not calls:
        _tell(0, 0.0, 0.0, 0.0)
        return
    handled = count or len(calls)
    _tell(handled, calls[0], calls[handled - 1], cpu[1] - cpu[0])


def publish(url: str, namespace: str, count: int, partitions: int, number: int) -> None:
    """Publishes `count` events in bulk."""
    events = [
        event(n).model_copy(update={"aggregate_id": f"agent-{number}-{n % 1024}"}) for n in range(_BULK * 8)
    ]
    with Publisher(url, namespace=namespace, partitions=partitions) as publisher:
        publisher.publish(events[0])
        # Each is an event of its own: the same one again would be encoded already.
        copies = [events[n % len(events)].model_copy() for n in range(count)]
        _begin()
        began, cpu = time.monotonic(), time.process_time()
        for start in range(0, count, _BULK):
            publisher.publish_many(copies[start : start + _BULK])
        _tell(count, began, time.monotonic(), time.process_time() - cpu)


def idle(url: str, namespace: str, group: str, seconds: float) -> None:
    """Runs a daemon for so long, whatever it finds to do."""
    router, calls = Router(), []

    @router.on(ActionEvaluatedEvent, name=group, max_attempts=10, backoff=3_600)
    async def note(_event: ActionEvaluatedEvent) -> None:
        calls.append(time.monotonic())

    daemon = Daemon(router, url=url, namespace=namespace)
    _begin()
    began = time.monotonic()

    async def serve() -> None:
        asyncio.get_running_loop().call_later(seconds, daemon.stop)
        await daemon.serve()

    asyncio.run(serve())
    _tell(len(calls), began, time.monotonic(), time.process_time())


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["handle", url, namespace, group, count, ordered, _]:
            handle(url, namespace, group, int(count), ordered == "ordered")
        case ["publish", url, namespace, count, partitions, number]:
            publish(url, namespace, int(count), int(partitions), int(number))
        case ["idle", url, namespace, group, seconds, _]:
            idle(url, namespace, group, float(seconds))
        case unknown:
            sys.exit(f"bench.shift does not know {unknown}")
