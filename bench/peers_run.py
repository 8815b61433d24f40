"""Other packages beside busredis: the same event, the same server, interleaved; each in an environment of its own."""

import queue
import shutil
import statistics
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import orjson
import redis

from bench import consume
from bench.measure import note, show
from bench.peers.environment import NotMeasured, Peer, python_with
from bench.publish import event
from busredis import Publisher

_ROUNDS = 5
_PATIENCE_S = 60.0
#: Name here, what is installed, events a round, and how it is used: its best documented settings.
_PEERS = {
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
_NEEDS_313 = ("streaq", "ardiq")
BUSREDIS = "busredis"
_OURS = 20_000


def _python(name: str) -> Path:
    base = sys.executable
    if name in _NEEDS_313 and sys.version_info < (3, 13):
        # pyenv's own first: its shim of that name is there also where it leads nowhere.
        pyenv = map(str, Path.home().glob(".pyenv/versions/3.13*/bin/python"))
        found = next(pyenv, None) or shutil.which("python3.13")
        if found is None:
            raise NotMeasured("it needs Python 3.13, which is not here")
        base = found
    packages, *_ = _PEERS[name]
    return python_with(*packages, "redis", "hiredis", "orjson", "uvloop", base=base)


def _ask(peer: Peer, what: str, count: int) -> float:
    """The rate. Raises NotMeasured, also if there is no answer in time."""
    answers: queue.SimpleQueue[object] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(peer.ask(what, count))
        except (NotMeasured, ValueError) as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=_PATIENCE_S)
    except queue.Empty:
        raise NotMeasured(f"{what} of {count} did not end within {_PATIENCE_S:.0f} s") from None
    if not isinstance(answer, float) or answer <= 0:
        raise NotMeasured(f"{what}: {answer if isinstance(answer, Exception) else 'not all was handled'}")
    return count / answer


def _ours(url: str, rates: dict[str, dict[str, list[float]]]) -> None:
    import time  # noqa: PLC0415

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
    failed: dict[str, str] = {"chasquimq": "it needs Redis 8.6 or later, which is not among the servers here"}
    with ExitStack() as stack:
        peers = {}
        for name in _PEERS:
            try:
                arguments = (name, url, orjson.dumps(event(0).to_dict()).decode())
                peers[name] = stack.enter_context(Peer(_python(name), "buses.py", *arguments))
            except NotMeasured as error:
                failed[name] = str(error)
        for _ in range(_ROUNDS):
            client.flushall()
            _ours(url, rates)
            for name in [name for name in peers if name not in failed]:
                client.flushall()
                try:
                    for what in ("publish", "consume"):
                        rate = _ask(peers[name], what, _PEERS[name][1])
                        rates[what].setdefault(name, []).append(rate)
                except NotMeasured as error:
                    failed[name] = str(error)
                    peers[name].end()
    client.flushall()
    _show(rates, failed)


def _show(rates: dict[str, dict[str, list[float]]], failed: dict[str, str]) -> None:
    for what, title in (
        ("publish", "peers: publish in their best way"),
        ("consume", "peers: consume, one process, a handler that does nothing"),
    ):
        rows = {
            name if name == BUSREDIS else f"{name}: {_PEERS[name][2]}": statistics.median(found)
            for name, found in rates[what].items()
            if name not in failed
        }
        show(title, rows, BUSREDIS)
    for name, why in failed.items():
        note(f"NOT MEASURED: {name}: {why}", {})
