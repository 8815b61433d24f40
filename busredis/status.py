"""What is going on: streams, groups, what is read, pending, waiting, dead, and how long handlers take."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from busredis.commands import Arg, Flow, all_of, given_name, many, pairs, raw, script
from busredis.daemon.stats import Times, read_times
from busredis.delivery.waiting import is_waiting
from busredis.errors import GroupMissing, ServerError
from busredis.histories import AggregateStatus, weigh
from busredis.inventory import MOST_KEYS, take_stock
from busredis.keys import Keys, parse_id
from busredis.retention import agreed, find_policies, pinned_by, server_ms

#: Entries that are counted where the server does not know how many there are: in one script call, and at most.
_COUNTED, _MOST_COUNTED = 1_000, 10_000


@dataclass(frozen=True)
class StreamStatus:
    """One type stream; `bytes` is MEMORY USAGE.

    `retention` is what is set for it; `pinned_by` why entries stay beyond it: `group <name>`, which has not acknowledged
    them, `aggregates`, whose histories refer to them, `nobody`, since no group has read them; "" if nothing does.
    """

    event_type: str
    length: int
    first_id: str | None
    last_id: str | None
    bytes: int
    retention: str
    pinned_by: str


@dataclass
class GroupStatus:
    """One group over all its streams. `lag`: entries not read yet. Ages are seconds, None if there is nothing.

    Without `lag_is_exact` there are more: where the server does not know (before Redis 7, and when entries were deleted or
    the group was moved), no more than 10,000 entries of a stream are counted.
    """

    group: str
    event_types: list[str] = field(default_factory=list)
    lag: int = 0
    lag_is_exact: bool = True
    pending: int = 0
    waiting: int = 0
    dead: int = 0
    consumers: int = 0
    oldest_unread_age: float | None = None
    oldest_pending_age: float | None = None
    times: Times | None = None


@dataclass(frozen=True)
class ScheduleStatus:
    """How many events wait for their time, and for how many seconds the first of them is overdue, 0 if it is not."""

    waiting: int = 0
    overdue: float = 0.0


@dataclass(frozen=True)
class Status:
    """Everything of a namespace, by name.

    Without `is_whole` not all keys of the server were looked through: there may be more aggregates, and streams that only
    foreign programs write and nobody reads.
    """

    streams: list[StreamStatus]
    groups: list[GroupStatus]
    aggregates: list[AggregateStatus]
    schedule: ScheduleStatus = ScheduleStatus()
    is_whole: bool = True


def read_status(partitions: Sequence[Keys], *, most_keys: int | None = MOST_KEYS) -> Flow[Status]:
    """The state of a namespace over all its partitions; not one instant, but each row is what the server said.

    What it costs does not grow with the entries: it looks through at most so many keys of the server, None: all.
    """
    streams: list[StreamStatus] = []
    groups: dict[str, GroupStatus] = {}
    aggregates: list[AggregateStatus] = []
    schedules: list[ScheduleStatus] = []
    now_ms = yield from server_ms()
    stock = yield from take_stock(partitions, most=most_keys)
    for keys, found in zip(partitions, stock, strict=True):
        streams += yield from _read_streams(keys, sorted(found.streams), groups, now_ms)
        aggregates += yield from weigh(found)
        schedules.append((yield from _schedule(keys, now_ms)))
    for name, group in groups.items():
        group.times = yield from read_times(partitions, name)
    if len(partitions) > 1:
        streams, aggregates = _join_streams(streams), _join_aggregates(aggregates)
    schedule = ScheduleStatus(sum(one.waiting for one in schedules), max(one.overdue for one in schedules))
    is_whole = all(found.is_whole for found in stock)
    return Status(streams, [groups[name] for name in sorted(groups)], aggregates, schedule, is_whole)


def _schedule(keys: Keys, now_ms: int) -> Flow[ScheduleStatus]:
    waiting = yield from raw("ZCARD", keys.schedule)
    first = yield from raw("ZRANGE", keys.schedule, 0, 0, "WITHSCORES")
    return ScheduleStatus(waiting, max(0.0, (now_ms - float(first[1])) / 1000) if first else 0.0)


def _read_streams(
    keys: Keys, found: Sequence[str], groups: dict[str, GroupStatus], now_ms: int
) -> Flow[list[StreamStatus]]:
    """Those streams of one partition that are there; adds what it has to `groups`."""
    streams, rows = [], []
    policies = yield from find_policies(keys)
    for key, info, size, members in (yield from _describe(found)):
        event_type = keys.event_type(key)
        first, last = (
            info[name][0].decode() if info[name] else None for name in ("first-entry", "last-entry")
        )
        kept, pinned = policies.text(event_type), (yield from pinned_by(keys, policies, event_type, now_ms))
        streams.append(StreamStatus(event_type, info["length"], first, last, size or 0, kept, pinned))
        for member in map(pairs, members):
            name = member["name"].decode()
            group = groups.setdefault(name, GroupStatus(name))
            if event_type not in group.event_types:
                group.event_types.append(event_type)
            rows.append(_Row(group, key, info, member))
    yield from _add_rows(rows)
    met = sorted({row.group.group for row in rows})
    for name, count in zip(
        met, (yield from all_of([("XLEN", keys.dead(name)) for name in met])), strict=True
    ):
        groups[name].dead += count
    return streams


def _describe(found: Sequence[str]) -> Flow[list[tuple[str, dict[str, Any], int, list[Any]]]]:
    """For each stream that is there: its key, XINFO STREAM, MEMORY USAGE, XINFO GROUPS."""
    ways = (("XINFO", "STREAM"), ("MEMORY", "USAGE"), ("XINFO", "GROUPS"))
    replies = yield from many([(*way, key) for key in found for way in ways])
    rows = []
    for at, key in enumerate(found):
        info, size, members = replies[3 * at : 3 * at + 3]
        for reply in (info, size, members):
            if isinstance(reply, ServerError) and "no such key" not in str(reply):
                raise reply
        if not isinstance(info, ServerError) and not isinstance(members, ServerError):
            rows.append((key, pairs(info), size, members))
    return rows


def _join_streams(streams: Sequence[StreamStatus]) -> list[StreamStatus]:
    """The streams of a type in all partitions as one."""
    by_type: dict[str, list[StreamStatus]] = {}
    for stream in streams:
        by_type.setdefault(stream.event_type, []).append(stream)
    return [
        StreamStatus(
            event_type,
            sum(stream.length for stream in found),
            min((stream.first_id for stream in found if stream.first_id), key=parse_id, default=None),
            max((stream.last_id for stream in found if stream.last_id), key=parse_id, default=None),
            sum(stream.bytes for stream in found),
            agreed(stream.retention for stream in found),
            next((stream.pinned_by for stream in found if stream.pinned_by), ""),
        )
        for event_type, found in sorted(by_type.items())
    ]


def _join_aggregates(aggregates: Sequence[AggregateStatus]) -> list[AggregateStatus]:
    joined: dict[str, AggregateStatus] = {}
    for found in aggregates:
        known = joined.setdefault(found.type, AggregateStatus(found.type))
        known.bytes_per_reference = _mean(
            known.bytes_per_reference, known.aggregates, found.bytes_per_reference
        )
        known.bytes_per_snapshot = _mean(known.bytes_per_snapshot, known.snapshots, found.bytes_per_snapshot)
        known.aggregates += found.aggregates
        known.snapshots += found.snapshots
        known.is_exact = known.is_exact and found.is_exact
    return [joined[name] for name in sorted(joined)]


def _mean(known: float | None, weight: int, found: float | None) -> float | None:
    """Partitions are alike, since a hash divides them: one counts as much as another."""
    if known is None or found is None or not weight:
        return found if known is None else known
    return (known + found) / 2


class _Row(NamedTuple):
    """A group in one stream; what XINFO says of both."""

    group: GroupStatus
    key: str
    stream: dict[str, Any]
    found: dict[str, Any]


def _add_rows(rows: Sequence[_Row]) -> Flow[None]:
    commands: list[tuple[Arg, ...]] = []
    for row in rows:
        commands.append(("XRANGE", row.key, b"(" + row.found["last-delivered-id"], "+", "COUNT", 1))
        commands.append(("XPENDING", row.key, row.group.group))
    replies = yield from many(commands)
    for at, row in enumerate(rows):
        unread, summary = replies[2 * at : 2 * at + 2]
        for reply in (unread, summary):
            if isinstance(reply, ServerError) and not isinstance(reply, GroupMissing):
                raise reply
        if unread:
            row.group.oldest_unread_age = _older(row.group.oldest_unread_age, unread[0][0])
            yield from _add_lag(row)
        if not isinstance(summary, ServerError):
            _add_pending(row.group, summary)


def _add_lag(row: _Row) -> Flow[None]:
    """There are unread entries: how many."""
    lag, group, reached = row.found.get("lag"), row.group, row.found["last-delivered-id"]
    if lag is None and _is_below(reached, row.stream["first-entry"]):
        lag = row.stream["length"]
    if lag is None:
        lag, is_all = yield from _count_after(row.key, reached)
        group.lag_is_exact = group.lag_is_exact and is_all
    group.lag += int(lag)


def _is_below(entry_id: bytes, first: list[Any] | None) -> bool:
    return first is not None and parse_id(entry_id.decode()) < parse_id(first[0].decode())


def _count_after(key: str, entry_id: bytes) -> Flow[tuple[int, bool]]:
    """How many entries there are behind this one, and whether that is all of them: a page at a time, within bounds."""
    total = 0
    while total < _MOST_COUNTED:
        count, entry_id = yield from script("count", [key], [entry_id, _COUNTED])
        total += count
        if count < _COUNTED:
            return total, True
    return total, False


def _add_pending(group: GroupStatus, summary: list[Any]) -> None:
    for holder, count in summary[3] or []:
        if is_waiting(given_name(holder)):
            group.waiting += int(count)
        else:
            group.pending += int(count)
            group.consumers += 1
    if summary[0]:
        group.oldest_pending_age = _older(group.oldest_pending_age, summary[1])


def _older(known: float | None, entry_id: bytes) -> float:
    age = max(0.0, time.time() - parse_id(entry_id.decode())[0] / 1000)
    return age if known is None else max(known, age)
