"""What keys there are: one bounded look through those of the server, for all that counts them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from busredis.commands import Arg, Flow, many, raw, text
from busredis.keys import Keys

#: Most keys of the server that one look goes through, unless it is to see all: a second or so.
MOST_KEYS = 500_000
#: Keys of each kind and type that are kept by name; the others are counted.
_NAMED = 200
_PAGE = 1_000


@dataclass(slots=True)
class Kind:
    """The keys of one kind and type: how many, and the first of them."""

    count: int = 0
    some: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Inventory:
    """The keys of one partition. Streams that an append or a daemon began are among them in any case, or were there once.

    `dead` has the groups that may have dead letters; `histories` and `snapshots` are by type of aggregate. Without `is_whole`
    the look ended before it had seen all keys: there may be more of everything. While the server's table of keys shrinks, a
    key may be counted twice (https://redis.io/docs/latest/commands/scan/).
    """

    streams: set[str] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)
    histories: dict[str, Kind] = field(default_factory=dict)
    snapshots: dict[str, Kind] = field(default_factory=dict)
    is_whole: bool = True

    def add(self, keys: Keys, key: str) -> None:
        kind, _, name = key.removeprefix(f"{keys.tag}:").partition(":")
        match kind:
            case "stream":
                self.streams.add(key)
            case "dead":
                self.dead.add(name)
            case "aggregate" | "snapshot":
                kinds = self.histories if kind == "aggregate" else self.snapshots
                found = kinds.setdefault(keys.named(key)[0], Kind())
                found.count += 1
                if len(found.some) < _NAMED:
                    found.some.append(key)


def take_stock(partitions: Sequence[Keys], *, most: int | None = MOST_KEYS) -> Flow[list[Inventory]]:
    """What each partition has; at most so many keys of the server are looked through, None: all."""
    found = []
    for keys in partitions:
        types = yield from raw("SMEMBERS", keys.types)
        groups = yield from raw("SMEMBERS", keys.groups)
        streams = {keys.stream(text(name)) for name in types}
        found.append(Inventory(streams, set(map(text, groups)), is_whole=False))
    is_cluster = b"cluster_enabled:1" in (yield from raw("INFO", "cluster"))
    if is_cluster:
        for keys, inventory in zip(partitions, found, strict=True):
            share = None if most is None else most // len(partitions)
            yield from _look_through(keys.everything, {keys.tag: (keys, inventory)}, share)
    else:
        # SCAN goes through all keys of the server, whatever it is to find: once for all partitions.
        by_tag = {keys.tag: (keys, inventory) for keys, inventory in zip(partitions, found, strict=True)}
        yield from _look_through(partitions[0].everything_beside, by_tag, most)
    return found


def _look_through(pattern: str, by_tag: Mapping[str, tuple[Keys, Inventory]], most: int | None) -> Flow[None]:
    cursor: Arg = 0
    looked_at = 0
    while most is None or looked_at < most:
        cursor, page = yield from raw("SCAN", cursor, "MATCH", pattern, "COUNT", _PAGE)
        looked_at += _PAGE
        for name in map(text, page):
            where = by_tag.get(name[: name.find("}") + 1])
            if where is not None:
                where[1].add(where[0], name)
        if int(cursor) == 0:
            for _, inventory in by_tag.values():
                inventory.is_whole = True
            return


def find_streams(partitions: Sequence[Keys]) -> Flow[list[list[str]]]:
    """The streams of each partition, by name; those that only foreign programs know, as far as a bounded look finds them."""
    streams = []
    for inventory in (yield from take_stock(partitions)):
        found = sorted(inventory.streams)
        there = yield from many([("EXISTS", key) for key in found])
        streams.append([key for key, reply in zip(found, there, strict=True) if reply == 1])
    return streams
