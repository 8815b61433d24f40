"""How long a handler takes and how its deliveries end, counted in Redis so that any program can show it."""

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from busredis.commands import Arg, Flow, many, pairs, raw
from busredis.delivery.model import ACK, Delivery, Outcome, Verdict
from busredis.keys import Keys

log = logging.getLogger("busredis.daemon")

#: Execution times are counted in buckets whose bounds grow by this factor: a percentile is exact to 20%.
_GROWTH = 1.2
_BASE_US = 1.0
_LOG_GROWTH = math.log(_GROWTH)
_MOST_BUCKETS = 300
_MOST_DIGITS = 19


class Stats:
    """Counts of one handler, flushed by and by."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._counts: Counter[str] = Counter()
        self._acknowledged = 0
        #: How often so many microseconds; few numbers come often, and are sorted into buckets when they are flushed.
        self._took: Counter[int] = Counter()
        self._slowest_us = 0

    def count(self, ended: Sequence[tuple[Delivery, Outcome]]) -> None:
        took = [int((d.ended_at - d.started_at) * 1e6) for d, o in ended if o is ACK]
        self._acknowledged += len(took)
        if len(took) < len(ended):
            for delivery, outcome in ended:
                if outcome is ACK or outcome.verdict is Verdict.RELEASE:
                    continue
                took.append(int((delivery.ended_at - delivery.started_at) * 1e6))
                is_dropped = delivery.lost and outcome.effects
                self._counts[f"outcome:{'lost' if is_dropped else outcome.verdict.value}"] += 1
        self._took.update(took)

    def _sort_in(self) -> None:
        took, self._took = self._took, Counter()
        for took_us, count in took.items():
            self._counts[f"us:{_bucket(max(1, took_us))}"] += count
        self._slowest_us = max(self._slowest_us, *took, 1) if took else self._slowest_us
        if self._acknowledged:
            self._counts[f"outcome:{Verdict.ACK.value}"] += self._acknowledged
            self._acknowledged = 0

    def flush(self, keys: Keys) -> Flow[None]:
        """Adds the counts to the hash of the group."""
        self._sort_in()
        counts, self._counts = self._counts, Counter()
        if not counts:
            return
        key = keys.stats(self._group)
        commands: list[tuple[Arg, ...]] = [("HINCRBY", key, name, count) for name, count in counts.items()]
        known = yield from raw("HGET", key, "slowest_us")
        if self._slowest_us > _number(key, "slowest_us", known or b"0"):
            commands.append(("HSET", key, "slowest_us", self._slowest_us))
        yield from many(commands)


@dataclass(frozen=True)
class Times:
    """Execution times of a handler, in seconds; `p50` and `p95` are exact to 20%."""

    count: int
    p50: float
    p95: float
    slowest: float
    outcomes: dict[str, int]


def read_times(partitions: Sequence[Keys], group: str) -> Flow[Times]:
    """What all daemons of the group have counted, in all partitions."""
    counts: Counter[str] = Counter()
    slowest = 0.0
    for keys in partitions:
        found = pairs((yield from raw("HGETALL", keys.stats(group))))
        numbers = {name: _number(keys.stats(group), name, value) for name, value in found.items()}
        slowest = max(slowest, numbers.pop("slowest_us", 0) / 1e6)
        counts.update(numbers)
    # A bucket beyond that is of no time that anything could have taken: somebody made it up.
    buckets = sorted(
        (int(name[3:]), value)
        for name, value in counts.items()
        if name.startswith("us:") and name[3:].isdecimal() and int(name[3:]) < _MOST_BUCKETS
    )
    outcomes = {name[8:]: value for name, value in counts.items() if name.startswith("outcome:")}
    total = sum(count for _, count in buckets)
    return Times(total, _percentile(buckets, 0.5), _percentile(buckets, 0.95), slowest, outcomes)


def _number(key: str, name: str, value: bytes) -> int:
    """0, and a line in the log, for what somebody put there that is no number."""
    if value.isdigit() and len(value) < _MOST_DIGITS:
        return int(value)
    log.warning("%s has %r for %s, which is no number: it is left out", key, value[:80], name)
    return 0


def _bucket(took_us: int) -> int:
    return math.ceil(math.log(took_us / _BASE_US) / _LOG_GROWTH)


def _percentile(buckets: list[tuple[int, int]], share: float) -> float:
    total, seen = sum(count for _, count in buckets), 0
    for index, count in buckets:
        seen += count
        if seen >= total * share:
            return float(_BASE_US * _GROWTH**index / 1e6)
    return 0.0
