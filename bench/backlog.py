"""Backlogs: reading, sweeping, status and memory beside 10,000, 100,000 and 1,000,000 entries. Takes minutes: run by name."""

import time
from collections.abc import Callable
from functools import partial

import redis

from bench.measure import FOUND, Row
from bench.publish import event
from bench.shift import rate, started, worked
from bench.usage import server_seconds
from busredis import Publisher
from busredis.client import Client
from busredis.delivery.pending import Pending
from busredis.keys import Keys
from busredis.status import read_status

_SIZES = (10_000, 100_000, 1_000_000)
_PENDING = (1_000, 10_000, 100_000)
_HANDLED, _WAITING, _HOLDS = 100_000, 10_000, 500
_LEASE_MS, _SWEEPS, _IDLE_S = 30_000, 100, 8
_KEYS = Keys("bench")
_STREAM = _KEYS.stream("ActionEvaluatedEvent")
_HOLD = """
local left = tonumber(ARGV[2])
while left > 0 do
  redis.call('XREADGROUP', 'GROUP', ARGV[3], ARGV[1], 'COUNT', math.min(left, 1000), 'STREAMS', KEYS[1], '>')
  left = left - 1000
end
"""


def run(url: str, sizes: tuple[int, ...] = _SIZES) -> None:
    client = redis.Redis.from_url(url)
    client.flushall()
    handled: dict[str, dict[str, tuple[float, str]]] = {}
    looked: dict[str, dict[str, tuple[float, str]]] = {}
    with Publisher(url, namespace="bench") as publisher:
        for size in sizes:
            _fill(publisher, client, size)
            handled[f"{size:,}"] = _handled(client, url, min(size, _HANDLED))
            handled[f"{size:,}"] |= _retried(client, url)
            looked[f"{size:,}"] = _status(client, url)
    _table("a backlog of", handled)
    _table("status of a stream of", looked)
    _table("sweeps of a group with 10,000 waiting, and pending", _sweeps(client, url))
    _table("a daemon beside", {f"{sizes[-1]:,} waiting": _beside_waiting(client, url, sizes[-1])})
    client.flushall()


def _fill(publisher: Publisher, client: redis.Redis, size: int) -> None:
    events = [event(number) for number in range(10_000)]
    while (length := client.xlen(_STREAM)) < size:
        publisher.publish_many([one.model_copy() for one in events[: size - length]])
    while client.info("persistence")["aof_rewrite_in_progress"]:
        time.sleep(0.2)  # the copying of pages while it runs would be taken for the work's


def _handled(client: redis.Redis, url: str, count: int) -> dict[str, tuple[float, str]]:
    """What a new group's daemon does with the first `count` entries, and what its memory comes to."""
    rows: dict[str, tuple[float, str]] = {}
    for name, kind in (("handled", "plain"), ("handled in order", "ordered")):
        with started("handle", url, "bench", kind, count, kind) as crew:
            server = server_seconds(client)
            [shift] = worked(crew)
            used = server_seconds(client) - server
        rows[f"{name} a second"] = (rate([shift]), "")
        rows[f"{name}, CPU of the daemon"] = (shift.cpu / count * 1e6, "us")
        rows[f"{name}, CPU of the server"] = (used / count * 1e6, "us")
        rows[f"{name}, peak memory of the daemon"] = (shift.peak_mib, "MiB")
        _forget(client, kind)
    return rows


def _retried(client: redis.Redis, url: str) -> dict[str, tuple[float, str]]:
    """What a daemon does with 10,000 entries that wait and are due, when nothing new is there."""
    client.xgroup_create(_STREAM, "plain", id="0")
    hold = client.register_script(_HOLD)
    hold([_STREAM], ["waiting-0", _WAITING, "plain"])
    client.xgroup_setid(_STREAM, "plain", "$")
    with started("handle", url, "bench", "plain", _WAITING, "plain") as crew:
        server = server_seconds(client)
        [shift] = worked(crew)
        used = server_seconds(client) - server
    _forget(client, "plain")
    return {
        "tried again a second": (rate([shift]), ""),
        "tried again, CPU of the daemon": (shift.cpu / _WAITING * 1e6, "us"),
        "tried again, CPU of the server": (used / _WAITING * 1e6, "us"),
    }


def _forget(client: redis.Redis, group: str) -> None:
    client.xgroup_destroy(_STREAM, group)
    client.srem(_KEYS.groups, group)
    client.delete(_KEYS.checkpoint(group), _KEYS.stats(group), _KEYS.owner(group), _KEYS.free(group))


def _status(client: redis.Redis, url: str) -> dict[str, tuple[float, str]]:
    """Two groups, one of which the server does not know the lag of."""
    first = client.xrange(_STREAM, count=6)
    client.xgroup_create(_STREAM, "known", id="0")
    client.xreadgroup("known", "c", {_STREAM: ">"}, count=1)
    client.xgroup_create(_STREAM, "moved", id=first[-1][0])
    own, rows = Client(url), {}
    own.run(read_status([_KEYS]))
    took, used = _each(client, 10, lambda: own.run(read_status([_KEYS])))
    rows["status"] = (took, "ms")
    rows["status, CPU of the server"] = (used, "ms")
    own.close()
    for group in ("known", "moved"):
        _forget(client, group)
    return rows


def _sweeps(client: redis.Redis, url: str) -> dict[str, dict[str, tuple[float, str]]]:
    """Pages, and a pass over all that waits; pending entries are held by consumers of 500 each, all of them alive."""
    hold, own = client.register_script(_HOLD), Client(url)
    found: dict[str, dict[str, tuple[float, str]]] = {}
    client.xgroup_create(_STREAM, "swept", id="0")
    hold([_STREAM], ["waiting", _WAITING, "swept"])
    held = 0
    for wanted in _PENDING:
        while held < wanted:
            hold([_STREAM], [f"daemon-{held}", _HOLDS, "swept"])
            held += _HOLDS
        pending = Pending(_KEYS, "swept", "me", [_STREAM])
        own.run(pending.sweep(_LEASE_MS))
        took, used = _each(client, _SWEEPS, partial(_page, own, pending))
        rows = {"a page": (took, "ms"), "a page, CPU of the server": (used, "ms")}
        pending, looks, more = Pending(_KEYS, "swept", "me", [_STREAM]), 0, True
        began = time.perf_counter()
        while more:
            # As a daemon does it: who fell silent is looked for once a second.
            more, looks = own.run(pending.sweep(_LEASE_MS, others=looks == 0)).more, looks + 1
        rows["a pass over all that waits"] = ((time.perf_counter() - began) * 1000, "ms")
        rows["a pass, pages"] = (looks, "")
        found[f"{wanted:,}"] = rows
    own.close()
    _forget(client, "swept")
    return found


def _page(own: Client, pending: Pending) -> None:
    own.run(pending.sweep(_LEASE_MS))


def _each(client: redis.Redis, times: int, work: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds that it takes, and of the server's processor."""
    server, began = server_seconds(client), time.perf_counter()
    for _ in range(times):
        work()
    took = time.perf_counter() - began
    return took / times * 1000, (server_seconds(client) - server) / times * 1000


def _beside_waiting(client: redis.Redis, url: str, count: int) -> dict[str, tuple[float, str]]:
    client.xgroup_create(_STREAM, "swept", id="0")
    hold = client.register_script(_HOLD)
    for _ in range(count // 10_000):
        hold([_STREAM], ["waiting", 10_000, "swept"])
    with started("idle", url, "bench", "swept", _IDLE_S) as crew:
        server = server_seconds(client)
        [shift] = worked(crew)
        used = server_seconds(client) - server
    took = shift.ended - shift.began
    return {
        "peak memory of the daemon": (shift.peak_mib, "MiB"),
        "CPU of the daemon, start included": (shift.cpu / took * 100, "% of a core"),
        "CPU of the server": (used / took * 100, "% of a core"),
    }


def _table(title: str, found: dict[str, dict[str, tuple[float, str]]]) -> None:
    """A column for each size: what to compare stands in a row."""
    print(f"{title:46}" + "".join(f"{name:>16}" for name in found))
    for name in next(iter(found.values())):
        cells = [rows[name] for rows in found.values()]
        for size, (value, unit) in zip(found, cells, strict=True):
            FOUND.append(Row(f"{title} {size}", name, value, unit))
        shown = "".join(f"{value:16,.0f}" if value >= 100 else f"{value:16,.2f}" for value, _ in cells)
        print(f"  {name + (' (' + cells[0][1] + ')' if cells[0][1] else ''):44}{shown}", flush=True)
    print()
