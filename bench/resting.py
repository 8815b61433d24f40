"""python -m bench.resting: the table of idle daemons in docs/scaling.md, on servers of its own.

A daemon with 16 handlers that has nothing to do, about 25 s a row.
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
from tests.clusters import TestCluster
from tests.servers import TestServer, chosen_server

HANDLERS, NAMESPACE = 16, "bench"
_IDLE_S, _SINGLES = 10.0, 40
#: What a daemon sends, and no script of those that run while it is idle.
_SENT = ("evalsha", "eval", "xreadgroup", "xread", "ping", "hlen", "hgetall")


class Measured(DomainEvent):
    sent: float = 0.0


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
    command = [sys.executable, "-m", "bench.resting", "daemon", url, str(handlers)]
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


def main() -> None:
    print(f"{chosen_server()[0]}, Python {sys.version.split()[0]}")
    for masters, partitions in ((1, 1), (1, 8), (1, 32), (3, 12), (3, 32)):
        where = "one" if masters == 1 else f"cluster of {masters}"
        print(f"| {where} | {partitions} | {idle(masters, partitions)} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["daemon"]:
        daemon(*sys.argv[2:])
    else:
        main()
