"""How many partitions a namespace has, which of them an event belongs to, and doing something in all of them.

The number is recorded once, in a key that belongs to no partition. An event goes to the partition of its
`aggregate_id`, else of its idempotency key, else of its `event_id`: the CRC-32 of that text in UTF-8, modulo the number.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar
from zlib import crc32

from busredis.commands import Flow, raw, script
from busredis.errors import BusError, ConnectionLost, PartlyDone, SettingsError
from busredis.events import DomainEvent
from busredis.keys import Keys

Part = TypeVar("Part")
Result = TypeVar("Result")
#: After so many partitions in a row whose server did not answer the others are not tried: each takes a while.
_ENOUGH = 3


def partition_of(place: str, count: int) -> int:
    """The partition of a text, one of `count`; any program can compute it: CRC-32 of the UTF-8 bytes modulo count."""
    return crc32(place.encode()) % count if count > 1 else 0


def place_of(event: DomainEvent, key: str | None = None) -> str:
    """The text that decides about the partition of an event."""
    return event.__dict__[event.attribute_of("aggregate_id")] or key or str(event.event_id)


def all_keys(namespace: str, count: int) -> list[Keys]:
    """The keys of each partition; one partition has no number in its keys."""
    return [Keys(namespace)] if count == 1 else [Keys(namespace, number) for number in range(count)]


def learn(namespace: str, wanted: int | None) -> Flow[list[Keys]]:
    """The keys of each partition. Records the number at first use: `wanted`, or 1. Raises SettingsError if it differs."""
    keys = Keys(namespace)
    reply = yield from script("partitions", [keys.partitions, keys.clock], [wanted or ""])
    return _agreed(namespace, wanted, int(reply))


def look_up(namespace: str, wanted: int | None = None) -> Flow[list[Keys]]:
    """As learn(), and records nothing: for who only looks."""
    keys = Keys(namespace)
    reply = yield from raw("GET", keys.partitions)
    return _agreed(namespace, wanted, int(reply)) if reply else all_keys(namespace, wanted or 1)


def _agreed(namespace: str, wanted: int | None, count: int) -> list[Keys]:
    if wanted not in (None, count):
        raise SettingsError(
            f"namespace {namespace!r} has {count} partition(s), and partitions={wanted} was asked for "
            "(BUSREDIS_PARTITIONS): leave it out to take what is recorded, or choose another namespace; "
            "docs/scaling.md says how to copy into one with more partitions"
        )
    return all_keys(namespace, count)


class Tries(Generic[Result]):
    """Something that is done in one partition after the other, and goes on past one where it fails.

    `results` has what it led to. With a single partition an error is raised as it is.
    """

    def __init__(self, partitions: Sequence[Keys]) -> None:
        self._partitions = partitions
        self._problems: dict[int, BusError] = {}
        self._unanswered = 0
        self.results: dict[int, Result] = {}

    def left(self) -> Iterator[Keys]:
        """The partitions, until servers that do not answer have taken time enough."""
        for keys in self._partitions:
            if self._unanswered < _ENOUGH:
                yield keys

    @contextmanager
    def at(self, keys: Keys) -> Iterator[None]:
        """What is done in one partition; of several, its error is kept for later."""
        try:
            yield
        except BusError as error:
            if len(self._partitions) == 1:
                raise
            self._problems[keys.partition or 0] = error
            self._unanswered = self._unanswered + 1 if isinstance(error, ConnectionLost) else 0
        else:
            self._unanswered = 0

    def done(self, keys: Keys, result: Result) -> None:
        self.results[keys.partition or 0] = result

    def end(self) -> list[Result]:
        """The results, in the order of the partitions. Raises PartlyDone unless it was done in all of them."""
        if self._problems:
            numbers = [keys.partition or 0 for keys in self._partitions]
            untried = [n for n in numbers if n not in self.results and n not in self._problems]
            raise PartlyDone(self._problems, self.results, untried)
        return list(self.results.values())


def in_each(partitions: Sequence[Keys], work: Callable[[Keys], Flow[Result]]) -> Flow[list[Result]]:
    """The results of `work` in every partition. Raises PartlyDone; of a single partition the error as it is."""
    tries = Tries[Result](partitions)
    for keys in tries.left():
        with tries.at(keys):
            tries.done(keys, (yield from work(keys)))
    return tries.end()


def choose(parts: Sequence[Part], event: DomainEvent, key: str | None = None) -> Part:
    """The one of `parts`, one a partition, that an event belongs to."""
    return parts[0] if len(parts) == 1 else parts[partition_of(place_of(event, key), len(parts))]
