"""Other packages end to end: from the call that publishes to the handler, at a steady rate, in two processes."""

import statistics
from contextlib import ExitStack

import redis

from bench.latency import once
from bench.measure import note
from bench.peers.environment import NotMeasured, Peer
from bench.peers_run import ABSENT, BUSREDIS, PEERS, ROUNDS, in_time, start

_RATE, _SECONDS = 500, 2
_NAMES = ("p50", "p95", "p99")


def _peer(client: redis.Redis, sender: Peer, listener: Peer) -> list[float]:
    client.flushall()
    count = _RATE * _SECONDS
    listener.tell("listen", count)
    # Most listeners begin with what is there already; the first event says that it is up and is not counted.
    in_time(sender, lambda: sender.ask("pace", 1), "the first event")
    in_time(listener, listener.answer, "listening")
    in_time(sender, lambda: sender.ask("pace", count), f"{count} events at {_RATE}/s")
    found = in_time(listener, listener.answer, f"handling {count} events at {_RATE}/s")
    if not isinstance(found, list) or min(found) < 0:
        raise NotMeasured(f"not all of {count} events at {_RATE}/s were handled")
    return found


def run(url: str) -> None:
    client = redis.Redis.from_url(url)
    rounds: dict[str, list[list[float]]] = {}
    failed = dict(ABSENT)
    with ExitStack() as stack:
        pairs: dict[str, tuple[Peer, Peer]] = {}
        for name in PEERS:
            try:
                pairs[name] = start(name, url, stack), start(name, url, stack)
            except NotMeasured as error:
                failed[name] = str(error)
        for _ in range(ROUNDS):
            rounds.setdefault(BUSREDIS, []).append(once("daemon", url, _RATE))
            for name in [name for name in pairs if name not in failed]:
                try:
                    rounds.setdefault(name, []).append(_peer(client, *pairs[name]))
                except NotMeasured as error:
                    failed[name] = str(error)
    client.flushall()
    _show({name: found for name, found in rounds.items() if name not in failed}, failed)


def _show(rounds: dict[str, list[list[float]]], failed: dict[str, str]) -> None:
    rows = {}
    for name, found in rounds.items():
        for percentile, column in zip(_NAMES, zip(*found, strict=True), strict=True):
            rows[f"{name}, {percentile}"] = (statistics.median(column), "ms")
    note(f"peers: end to end at {_RATE} events/s", rows)
    for name, why in failed.items():
        note(f"NOT MEASURED end to end: {name}: {why}", {})
