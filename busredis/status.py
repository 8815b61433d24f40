"""What is going on: streams, groups, what is read, pending, waiting, dead, and how long handlers take."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from busredis.commands import Flow, pairs, raw, scan
from busredis.daemon.stats import Times, read_times
from busredis.delivery.waiting import is_waiting
from busredis.errors import GroupMissing
from busredis.histories import AggregateStatus, weigh
from busredis.keys import Keys, parse_id
from busredis.retention import agreed, find_policies, pinned_by, server_ms


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
    """One group over all its streams. `lag`: entries not read yet. Ages are seconds, None if there is nothing."""

    group: str
    event_types: list[str] = field(default_factory=list)
    lag: int = 0
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
    """Everything of a namespace, by name."""

    streams: list[StreamStatus]
    groups: list[GroupStatus]
    aggregates: list[AggregateStatus]
    schedule: ScheduleStatus = ScheduleStatus()


def read_status(partitions: Sequence[Keys]) -> Flow[Status]:
    """The state of a namespace over all its partitions; not one instant, but each row is what the server said."""
    streams: list[StreamStatus] = []
    groups: dict[str, GroupStatus] = {}
    aggregates: list[AggregateStatus] = []
    schedules: list[ScheduleStatus] = []
    now_ms = yield from server_ms()
    for keys in partitions:
        streams += yield from _read_streams(keys, groups, now_ms)
        aggregates += yield from weigh(keys)
        schedules.append((yield from _schedule(keys, now_ms)))
    for name, group in groups.items():
        group.times = yield from read_times(partitions, name)
    if len(partitions) > 1:
        streams, aggregates = _join_streams(streams), _join_aggregates(aggregates)
    schedule = ScheduleStatus(sum(one.waiting for one in schedules), max(one.overdue for one in schedules))
    return Status(streams, [groups[name] for name in sorted(groups)], aggregates, schedule)


def _schedule(keys: Keys, now_ms: int) -> Flow[ScheduleStatus]:
    waiting = yield from raw("ZCARD", keys.schedule)
    first = yield from raw("ZRANGE", keys.schedule, 0, 0, "WITHSCORES")
    return ScheduleStatus(waiting, max(0.0, (now_ms - float(first[1])) / 1000) if first else 0.0)


def _read_streams(keys: Keys, groups: dict[str, GroupStatus], now_ms: int) -> Flow[list[StreamStatus]]:
    """The streams of one partition; adds what it has to `groups`."""
    streams, met = [], set()
    policies = yield from find_policies(keys)
    for key in (yield from scan(keys.every_stream)):
        event_type = keys.event_type(key)
        info = pairs((yield from raw("XINFO", "STREAM", key)))
        size = yield from raw("MEMORY", "USAGE", key)
        first, last = (
            info[name][0].decode() if info[name] else None for name in ("first-entry", "last-entry")
        )
        kept, pinned = policies.text(event_type), (yield from pinned_by(keys, policies, event_type, now_ms))
        streams.append(StreamStatus(event_type, info["length"], first, last, size or 0, kept, pinned))
        for row in (yield from raw("XINFO", "GROUPS", key)):
            found = pairs(row)
            name = found["name"].decode()
            group = groups.setdefault(name, GroupStatus(name))
            met.add(name)
            if event_type not in group.event_types:
                group.event_types.append(event_type)
            yield from _add_stream(group, key, found)
    for name in met:
        groups[name].dead += yield from raw("XLEN", keys.dead(name))
    return streams


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
    return [joined[name] for name in sorted(joined)]


def _mean(known: float | None, weight: int, found: float | None) -> float | None:
    """Partitions are alike, since a hash divides them: one counts as much as another."""
    if known is None or found is None or not weight:
        return found if known is None else known
    return (known + found) / 2


def _add_stream(group: GroupStatus, key: str, found: dict[str, object]) -> Flow[None]:
    reached = found["last-delivered-id"].decode()  # type: ignore[attr-defined]  # bytes
    unread = yield from raw("XRANGE", key, f"({reached}", "+", "COUNT", 1)
    if unread:
        lag = found.get("lag")
        if lag is None:
            # Before Redis 7, and when entries were deleted, the server does not know: count.
            lag = len((yield from raw("XRANGE", key, f"({reached}", "+", "COUNT", 100_000)))
        group.lag += int(lag)  # type: ignore[call-overload]
        group.oldest_unread_age = _older(group.oldest_unread_age, unread[0][0])
    try:
        summary = yield from raw("XPENDING", key, group.group)
    except GroupMissing:
        return
    for holder, count in summary[3] or []:
        if is_waiting(holder.decode()):
            group.waiting += int(count)
        else:
            group.pending += int(count)
            group.consumers += 1
    if summary[0]:
        group.oldest_pending_age = _older(group.oldest_pending_age, summary[1])


def _older(known: float | None, entry_id: bytes) -> float:
    age = max(0.0, time.time() - parse_id(entry_id.decode())[0] / 1000)
    return age if known is None else max(known, age)
