"""Other packages beside busredis: the same event, the same server, interleaved; each in an environment of its own."""

import queue
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import orjson
import redis

from bench import consume
from bench.measure import note, show
from bench.peers.environment import NotMeasured, Peer, python_with
from bench.publish import event
from busredis import Publisher

ROUNDS = 5
_PATIENCE_S = 60.0
#: Name here, what is installed, events a round, and how it is used: its best documented settings.
PEERS = {
    "faststream": (["faststream[redis]"], 1_000, "one call and one XACK a message, its default"),
    "faststream-batch": (
        ["faststream[redis]"],
        10_000,
        "batch=True, max_records=512: the handler is given a list",
    ),
    "taskiq": (
        ["taskiq==0.12.4", "taskiq-redis"],
        1_000,
        "RedisStreamBroker, xread_count=512, 100 tasks, orjson",
    ),
    "streaq": (["streaq"], 500, "concurrency 256, prefetch 512, orjson, no results"),
    "arq": (["arq"], 500, "100 jobs, poll_delay 10 ms, orjson, no results"),
    "dramatiq": (["dramatiq[redis]"], 1_000, "2 threads, no middleware, orjson"),
    "docket": (["pydocket"], 500, "concurrency 50, add_many, no results kept"),
    "ardiq": (["ardiq"], 5_000, "concurrency 64, prefetch 1024, enqueue_many; Python 3.13"),
}
#: Those that no server here can run.
ABSENT = {"chasquimq": "it needs Redis 8.6 or later, which is not among the servers here"}
_NEEDS_313 = ("streaq", "ardiq")
BUSREDIS = "busredis"
_OURS = 20_000


def start(name: str, url: str, stack: ExitStack) -> Peer:
    """A process of that peer. Raises NotMeasured."""
    arguments = (name, url, orjson.dumps(event(0).to_dict()).decode())
    return stack.enter_context(Peer(_python(name), "buses.py", *arguments))


def _python(name: str) -> Path:
    base = sys.executable
    if name in _NEEDS_313 and sys.version_info < (3, 13):
        # pyenv's own first: its shim of that name is there also where it leads nowhere.
        pyenv = map(str, Path.home().glob(".pyenv/versions/3.13*/bin/python"))
        found = next(pyenv, None) or shutil.which("python3.13")
        if found is None:
            raise NotMeasured("it needs Python 3.13, which is not here")
        base = found
    packages, *_ = PEERS[name]
    return python_with(*packages, "redis", "hiredis", "orjson", "uvloop", base=base)


def in_time(peer: Peer, question: Callable[[], object], what: str) -> object:
    """The answer of a peer. Raises NotMeasured, also if there is none in time; then the peer is ended."""
    answers: queue.SimpleQueue[object] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(question())
        except (NotMeasured, ValueError) as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=_PATIENCE_S)
    except queue.Empty:
        peer.end()
        raise NotMeasured(f"{what} did not end within {_PATIENCE_S:.0f} s") from None
    if isinstance(answer, Exception):
        peer.end()
        raise NotMeasured(f"{what}: {answer}")
    return answer


def _ask(peer: Peer, what: str, count: int) -> float:
    """The rate. Raises NotMeasured."""
    answer = in_time(peer, lambda: peer.ask(what, count), f"{what} of {count}")
    if not isinstance(answer, float) or answer <= 0:
        raise NotMeasured(f"{what}: not all was handled")
    return count / answer


def _ours(url: str, rates: dict[str, dict[str, list[float]]]) -> None:
    events = [event(number) for number in range(_OURS)]
    with Publisher(url, namespace="bench") as publisher:
        started = time.perf_counter()
        publisher.publish_many(events)
        rates["publish"].setdefault(BUSREDIS, []).append(_OURS / (time.perf_counter() - started))
    bench = consume.Bench(url, [type(events[0])])
    rates["consume"].setdefault(BUSREDIS, []).append(_OURS / bench.daemon("ours", consume.asynchronous))


def run(url: str) -> None:
    client = redis.Redis.from_url(url)
    rates: dict[str, dict[str, list[float]]] = {"publish": {}, "consume": {}}
    failed = dict(ABSENT)
    with ExitStack() as stack:
        peers = {}
        for name in PEERS:
            try:
                peers[name] = start(name, url, stack)
            except NotMeasured as error:
                failed[name] = str(error)
        for _ in range(ROUNDS):
            client.flushall()
            _ours(url, rates)
            for name in [name for name in peers if name not in failed]:
                client.flushall()
                try:
                    for what in ("publish", "consume"):
                        rate = _ask(peers[name], what, PEERS[name][1])
                        rates[what].setdefault(name, []).append(rate)
                except NotMeasured as error:
                    failed[name] = str(error)
    client.flushall()
    _show(rates, failed)


def _show(rates: dict[str, dict[str, list[float]]], failed: dict[str, str]) -> None:
    for what, title in (
        ("publish", "peers: publish in their best way"),
        ("consume", "peers: consume, one process, a handler that does nothing"),
    ):
        rows = {
            name if name == BUSREDIS else f"{name}: {PEERS[name][2]}": statistics.median(found)
            for name, found in rates[what].items()
            if name not in failed
        }
        show(title, rows, BUSREDIS)
    for name, why in failed.items():
        note(f"NOT MEASURED: {name}: {why}", {})
