"""python -m bench.scaling [idle|busy]: the tables of docs/scaling.md, about 15 s a row, on servers of its own.

`idle` is about a daemon with 16 handlers that has nothing to do, `busy` about one publisher and one daemon process.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis

from bench.usage import process_seconds, server_seconds
from busredis import Daemon, DomainEvent, Publisher, Router
from tests.partitions.clusters import TestCluster
from tests.servers import TestServer, chosen_server

HANDLERS, NAMESPACE = 16, "bench"
_IDLE_S, _SINGLES, _BUSY_S, _BATCH = 10.0, 40, 8.0, 500
#: What a daemon sends, and no script of those that run while it is idle.
_SENT = ("evalsha", "eval", "xreadgroup", "xread", "ping", "hlen", "hgetall")


class Measured(DomainEvent):
    sent: float = 0.0
    filling: str = ""


TYPES = [type(f"Measured{n}", (Measured,), {}) for n in range(HANDLERS)]


def daemon(url: str, handlers: str) -> None:
    """A process of its own; a line for each event that says when it was sent, the wait in ms."""
    router, count = Router(), int(handlers)

    async def handle(event: Measured) -> None:
        if event.sent:
            print((time.monotonic() - event.sent) * 1000, flush=True)

    for cls in TYPES[:count]:
        router.on(cls, name=cls.__name__)(handle)
    Daemon(router, url=url, namespace=NAMESPACE).run()


@contextmanager
def _servers(masters: int) -> Iterator[tuple[str, list[TestServer]]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if masters > 1:
            cluster = stack.enter_context(TestCluster(folder, masters=masters, replicas=False))
            yield cluster.url, cluster.nodes
        else:
            server = stack.enter_context(TestServer(chosen_server()[1], folder))
            yield server.url, [server]


@contextmanager
def _daemon(url: str, handlers: int) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "bench.scaling", "daemon", url, str(handlers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def _sent(clients: list[redis.Redis]) -> int:
    rows = [row for client in clients for row in client.info("commandstats").items()]
    return sum(found["calls"] for name, found in rows if name.removeprefix("cmdstat_") in _SENT)


def idle(masters: int, partitions: int) -> str:
    with (
        _servers(masters) as (url, servers),
        Publisher(url, namespace=NAMESPACE, partitions=partitions) as publisher,
    ):
        clients = [redis.Redis(port=server.port) for server in servers]
        publisher.publish(TYPES[0]())
        with _daemon(url, HANDLERS) as process:
            time.sleep(8)
            used = process_seconds(process.pid), sum(map(server_seconds, clients)), _sent(clients)
            time.sleep(_IDLE_S)
            own = (process_seconds(process.pid) - used[0]) / _IDLE_S
            theirs = (sum(map(server_seconds, clients)) - used[1]) / _IDLE_S
            sent = (_sent(clients) - used[2]) / _IDLE_S
            connections = sum(client.info("clients")["connected_clients"] for client in clients)
            connections -= len(clients) * 2  # this program's
            waits = list(_waits(process, publisher))
    return f"{own:.1%} | {theirs:.1%} | {sent:,.0f} | {connections} | {statistics.median(waits):.1f} ms"


def _waits(process: "subprocess.Popen[str]", publisher: Publisher) -> Iterator[float]:
    assert process.stdout
    for n in range(_SINGLES):
        time.sleep(0.1)
        publisher.publish(TYPES[n % HANDLERS](sent=time.monotonic(), aggregate_id=str(n)))
        yield float(process.stdout.readline())


def busy(masters: int, partitions: int) -> str:
    with (
        _servers(masters) as (url, servers),
        Publisher(url, namespace=NAMESPACE, partitions=partitions) as publisher,
    ):
        clients = [redis.Redis(port=server.port) for server in servers]
        events = [TYPES[0](filling="x" * 200, aggregate_id=f"a-{n}") for n in range(_BATCH)]
        started, published = time.monotonic(), 0
        while time.monotonic() - started < _BUSY_S / 2:
            publisher.publish_many(
                [TYPES[0](filling=one.filling, aggregate_id=one.aggregate_id) for one in events]
            )
            published += _BATCH
        rate = published / (time.monotonic() - started)
        with _daemon(url, 1) as process:
            _wait_for(clients, 1_000)
            before, began = _acknowledged(clients), time.monotonic()
            used = process_seconds(process.pid), sum(map(server_seconds, clients))
            while time.monotonic() - began < _BUSY_S and _acknowledged(clients) < published:
                time.sleep(0.05)
            handled, took = _acknowledged(clients) - before, time.monotonic() - began
            own = (process_seconds(process.pid) - used[0]) / handled * 1e6
            theirs = (sum(map(server_seconds, clients)) - used[1]) / handled * 1e6
    return f"{rate:,.0f} | {handled / took:,.0f} | {own:.1f} us | {theirs:.1f} us"


def _wait_for(clients: list[redis.Redis], least: int) -> None:
    while _acknowledged(clients) < least:
        time.sleep(0.01)


def _acknowledged(clients: list[redis.Redis]) -> int:
    """How many entries the groups have read; what is pending is few."""
    total = 0
    for client in clients:
        for key in client.scan_iter("*:stream:*", count=1000):
            total += sum(group["entries-read"] or 0 for group in client.xinfo_groups(key))
    return total


def main(kinds: list[str]) -> None:
    print(f"{chosen_server()[0]}, Python {sys.version.split()[0]}")
    for kind in kinds or ["busy", "idle"]:
        for masters, partitions in ((1, 1), (1, 8), (1, 32), (3, 12), (3, 32)):
            row = (busy if kind == "busy" else idle)(masters, partitions)
            where = "one" if masters == 1 else f"cluster of {masters}"
            print(f"| {where} | {partitions} | {row} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["daemon"]:
        daemon(*sys.argv[2:])
    else:
        main(sys.argv[1:])
