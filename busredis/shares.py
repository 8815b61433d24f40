"""What each partition holds: how a namespace is spread over its partitions and over the nodes of a cluster."""

from collections.abc import Sequence
from dataclasses import dataclass

from busredis.cluster import slot_of
from busredis.commands import Flow, Request, all_of, many, raw
from busredis.errors import ServerError
from busredis.inventory import take_stock
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


def read_shares(partitions: Sequence[Keys]) -> Flow[list[Share]]:
    """The sizes of all partitions; bytes are MEMORY USAGE of their streams."""
    stock = yield from take_stock(partitions)
    shares = []
    for number, (keys, inventory) in enumerate(zip(partitions, stock, strict=True)):
        share = Share(number, slot_of(keys.tag))
        streams = sorted(inventory.streams)
        groups: set[bytes] = set()
        ways = (("MEMORY", "USAGE"), ("XLEN",), ("XINFO", "GROUPS"))
        replies = yield from many([(*way, stream) for stream in streams for way in ways])
        for at in range(0, len(replies), 3):
            size, length, found = replies[at : at + 3]
            if isinstance(found, ServerError) and "no such key" in str(found):
                continue  # it was there once
            for reply in (size, length, found):
                if isinstance(reply, ServerError):
                    raise reply
            share.bytes += size or 0
            share.entries += length
            groups.update(row[1] for row in found)
        share.groups = len(groups)
        share.dead = sum((yield from all_of([("XLEN", keys.dead(name)) for name in inventory.dead])))
        shares.append(share)
    return shares


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
    return sorted(name.decode() for name in (yield from raw("SMEMBERS", keys.types)))


def touch(keys: Keys) -> Request:
    """A request that goes where the partition is."""
    return Request((("EXISTS", keys.clock),))
