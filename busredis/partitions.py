"""How many partitions a namespace has, and which of them an event belongs to.

The number is recorded once, in a key that belongs to no partition. An event goes to the partition of its
`aggregate_id`, else of its idempotency key, else of its `event_id`: the CRC-32 of that text in UTF-8, modulo the number.
"""

from collections.abc import Sequence
from typing import TypeVar
from zlib import crc32

from busredis.commands import Flow, raw, script
from busredis.errors import SettingsError
from busredis.events import DomainEvent
from busredis.keys import Keys

Part = TypeVar("Part")


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


def choose(parts: Sequence[Part], event: DomainEvent, key: str | None = None) -> Part:
    """The one of `parts`, one a partition, that an event belongs to."""
    return parts[0] if len(parts) == 1 else parts[partition_of(place_of(event, key), len(parts))]
