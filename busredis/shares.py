"""What each partition holds: how a namespace is spread over its partitions and over the nodes of a cluster."""

from collections.abc import Sequence
from dataclasses import dataclass

from busredis.cluster import slot_of
from busredis.commands import Flow, Request, many, raw, scan, text
from busredis.errors import ServerError
from busredis.keys import Keys


@dataclass
class Share:
    """One partition. `rate`: events a second while it was looked at; `owner`: the node that has its slot, or ""."""

    partition: int
    slot: int
    owner: str = ""
    entries: int = 0
    bytes: int = 0
    groups: int = 0
    dead: int = 0
    rate: float = 0.0


def read_share(number: int, keys: Keys) -> Flow[Share]:
    """The sizes of one partition; bytes are MEMORY USAGE of its streams."""
    share = Share(number, slot_of(keys.tag))
    streams = yield from scan(keys.every_stream)
    groups: set[bytes] = set()
    for stream in streams:
        size, length, found = yield from many(
            [("MEMORY", "USAGE", stream), ("XLEN", stream), ("XINFO", "GROUPS", stream)]
        )
        for reply in (size, length, found):
            if isinstance(reply, ServerError):
                raise reply
        share.bytes += size or 0
        share.entries += length
        groups.update(row[1] for row in found)
    share.groups = len(groups)
    for key in (yield from scan(keys.every_dead)):
        share.dead += yield from raw("XLEN", key)
    return share


def count_entries(keys: Keys, streams: Sequence[str]) -> Flow[int]:
    """How many entries were added, or are there where the server does not count (before Redis 7)."""
    total = 0
    for reply in (yield from many([("XINFO", "STREAM", keys.stream(name)) for name in streams])):
        if isinstance(reply, ServerError):
            continue
        found = {reply[index]: reply[index + 1] for index in range(0, len(reply), 2)}
        total += found.get(b"entries-added", found[b"length"])
    return total


def event_types(keys: Keys) -> Flow[list[str]]:
    """The event types that have a stream in a partition."""
    return sorted(text(name) for name in (yield from raw("SMEMBERS", keys.types)))


def touch(keys: Keys) -> Request:
    """A request that goes where the partition is."""
    return Request((("EXISTS", keys.clock),))
