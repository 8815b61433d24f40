"""Processes and servers: publishing and handling by 1, 2 and 4 processes, on one server and on a cluster of three masters.

Takes a minute or two: run by name. All share the cores of this machine, so that rates end where those do; the CPU of an event is
what to plan with.
"""

import os
import tempfile
from pathlib import Path

import redis

from bench.measure import FOUND, Row
from bench.shift import rate, started, worked
from bench.usage import server_seconds
from tests.clusters import TestCluster

_PROCESSES, _MASTERS, _PARTITIONS = (1, 2, 4), 3, 32
#: Events of one case, whatever the number of processes.
_EVENTS = 60_000


def run(url: str, events: int = _EVENTS) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        TestCluster(Path(folder), masters=_MASTERS, replicas=False) as cluster,
    ):
        nodes = [f"redis://127.0.0.1:{node.port}" for node in cluster.nodes]
        print(f"{os.cpu_count()} cores for all of it, load average {os.getloadavg()[0]:.1f} at the beginning")
        _layout("one server, 1 partition", url, [url], 1, events)
        _layout(f"one server, {_PARTITIONS} partitions", url, [url], _PARTITIONS, events)
        _layout(f"cluster of {_MASTERS}, {_PARTITIONS} partitions", cluster.url, nodes, _PARTITIONS, events)


def _layout(name: str, url: str, servers: list[str], partitions: int, events: int) -> None:
    """Each number of processes fills it, and as many work that off."""
    clients = [redis.Redis.from_url(server) for server in servers]
    published, handled = {}, {}
    for processes in _PROCESSES:
        for client in clients:
            client.flushall()
        each = events // processes
        published[processes] = _measure(clients, processes, "publish", url, "bench", each, partitions)
        handled[processes] = _measure(clients, processes, "handle", url, "bench", "all", 0, "plain")
    for client in clients:
        client.flushall()
        client.close()
    _show(f"published, {name}", published)
    _show(f"handled, {name}", handled)


def _measure(clients: list[redis.Redis], processes: int, *arguments: object) -> tuple[float, float, float]:
    """Events a second; CPU microseconds of an event, of the programs and of the servers."""
    with started(*arguments, processes=processes) as crew:
        before = sum(map(server_seconds, clients))
        shifts = worked(crew)
        servers = sum(map(server_seconds, clients)) - before
    events = sum(shift.events for shift in shifts)
    return rate(shifts), sum(shift.cpu for shift in shifts) / events * 1e6, servers / events * 1e6


def _show(case: str, found: dict[int, tuple[float, float, float]]) -> None:
    print(case, flush=True)
    base = found[_PROCESSES[0]][0]
    for processes, (events, programs, servers) in found.items():
        name = f"{processes} process{'es' if processes > 1 else ''}"
        FOUND.append(Row(case, name, events, "/s", events / base, "1 process"))
        FOUND.append(Row(case, f"{name}, CPU of programs", programs, "us"))
        FOUND.append(Row(case, f"{name}, CPU of servers", servers, "us"))
        print(
            f"  {events / base:6.2f}x  {events:10,.0f}/s  {name:12} CPU of an event: programs {programs:6.1f} us, "
            f"servers {servers:6.1f} us",
            flush=True,
        )
    print()
