"""Which aggregates and which snapshots there are, and what they weigh."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from busredis.commands import Arg, Flow, many, raw, text
from busredis.errors import ServerError
from busredis.inventory import Inventory
from busredis.keys import Keys
from busredis.partitions import partition_of
from busredis.store.model import AggregateId


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A snapshot as it lies there; `version` and `taken_at` are what it says of itself, "" if it does not."""

    type: str
    id: str
    version: str
    history_version: int
    schema: str
    taken_at: str
    bytes: int


@dataclass
class AggregateStatus:
    """All aggregates of a type. Bytes are MEMORY USAGE, the mean of up to 200 keys; None if there is nothing.

    Without `is_exact` there may be more aggregates and snapshots than were counted: see Inventory.
    """

    type: str
    aggregates: int = 0
    snapshots: int = 0
    is_exact: bool = True
    bytes_per_reference: float | None = None
    bytes_per_snapshot: float | None = None


def find(
    keys: Keys, cursor: Arg, aggregate_type: str | None = None, *, snapshots: bool = False
) -> Flow[tuple[int, list[AggregateId]]]:
    """The next aggregates (or those with a snapshot) after a SCAN cursor, and the next cursor; 0 begins and ends.

    See https://redis.io/docs/latest/commands/scan/: one may come twice, and what comes or goes meanwhile may be left out.
    """
    pattern = keys.every_snapshot(aggregate_type) if snapshots else keys.every_aggregate(aggregate_type)
    following, found = yield from raw("SCAN", cursor, "MATCH", pattern, "COUNT", 1_000)
    return int(following), [AggregateId(*keys.named(text(key))) for key in found]


def find_all(
    keys: Keys, aggregate_type: str | None = None, *, snapshots: bool = False
) -> Flow[list[AggregateId]]:
    """Every aggregate, or every one with a snapshot, sorted."""
    found: set[AggregateId] = set()
    cursor = 0
    while True:
        cursor, page = yield from find(keys, cursor, aggregate_type, snapshots=snapshots)
        found.update(page)
        if cursor == 0:
            return sorted(found)


def find_everywhere(
    partitions: Sequence[Keys], aggregate_type: str | None = None, *, snapshots: bool = False
) -> Flow[list[AggregateId]]:
    """As find_all(), in all partitions."""
    found = []
    for keys in partitions:
        found += yield from find_all(keys, aggregate_type, snapshots=snapshots)
    return sorted(found)


def describe_snapshots(
    partitions: Sequence[Keys], aggregates: Sequence[AggregateId]
) -> Flow[list[SnapshotInfo]]:
    """What lies in the snapshots of these aggregates; one that is gone meanwhile is left out."""
    commands: list[tuple[Arg, ...]] = []
    for aggregate in aggregates:
        keys = _keys_of(partitions, aggregate)
        key = keys.snapshot(*aggregate)
        commands.append(("HMGET", key, "version", "schema", "taken_at"))
        commands.append(("MEMORY", "USAGE", key))
        commands.append(("LLEN", keys.aggregate(*aggregate)))
    replies = yield from many(commands)
    found = []
    for index, aggregate in enumerate(aggregates):
        said, size, history = (_or_none(reply) for reply in replies[3 * index : 3 * index + 3])
        if size is None:
            continue
        version, schema, taken_at = (
            (value or b"").decode("utf-8", "replace") for value in said or [b"", b"", b""]
        )
        found.append(SnapshotInfo(*aggregate, version, history or 0, schema, taken_at, size))
    return found


def drop_snapshots(partitions: Sequence[Keys], aggregates: Sequence[AggregateId]) -> Flow[int]:
    """Deletes the snapshots of these aggregates; how many there were. No event is touched."""
    replies = yield from many([("DEL", _keys_of(partitions, one).snapshot(*one)) for one in aggregates])
    for reply in replies:
        if isinstance(reply, ServerError):
            raise reply
    return sum(replies)


def _keys_of(partitions: Sequence[Keys], aggregate: AggregateId) -> Keys:
    return partitions[partition_of(aggregate.id, len(partitions))]


def weigh(stock: Inventory) -> Flow[list[AggregateStatus]]:
    """Every type of aggregate of a partition, with what a reference and a snapshot of it cost in memory."""
    rows: dict[str, AggregateStatus] = {}
    for name, kind in stock.histories.items():
        row = rows[name] = AggregateStatus(name, kind.count, is_exact=stock.is_whole)
        row.bytes_per_reference = yield from _bytes_each(kind.some, "LLEN")
    for name, kind in stock.snapshots.items():
        row = rows.setdefault(name, AggregateStatus(name, is_exact=stock.is_whole))
        row.snapshots, row.bytes_per_snapshot = kind.count, (yield from _bytes_each(kind.some, None))
    return [rows[name] for name in sorted(rows)]


def _bytes_each(found: list[str], count: str | None) -> Flow[float | None]:
    """The mean of the keys, or of what `count` counts in them."""
    sizes = yield from many([("MEMORY", "USAGE", key, "SAMPLES", 0) for key in found])
    numbers = [1] * len(found) if count is None else (yield from many([(count, key) for key in found]))
    pairs = [
        (size, number)
        for size, number in zip(map(_or_none, sizes), map(_or_none, numbers), strict=True)
        if size is not None and number
    ]
    total = sum(number for _, number in pairs)
    return sum(size for size, _ in pairs) / total if total else None


def _or_none(reply: Any) -> Any:
    return None if isinstance(reply, ServerError) else reply
