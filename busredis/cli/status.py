"""status: what is going on."""

from typing import Annotated

import typer

from busredis.cli.options import Json, Namespace, Url, connect, console, print_json, print_table
from busredis.histories import AggregateStatus
from busredis.inventory import MOST_KEYS
from busredis.status import GroupStatus, read_status


def status(
    *,
    every: Annotated[
        bool, typer.Option("--all", help=f"Look through all keys, also beyond {MOST_KEYS:,}.")
    ] = False,
    url: Url = None,
    namespace: Namespace = None,
    json: Json = False,
) -> None:
    """Streams, aggregates, groups, lag, pending, waiting, dead letters, oldest ages, execution times."""
    client, partitions = connect(url, namespace)
    found = client.run(read_status(partitions, most_keys=None if every else MOST_KEYS))
    if json:
        print_json(found)
        return
    streams: list[list[object]] = [
        [
            *(s.event_type, s.length, s.bytes, round(s.bytes / s.length) if s.length else 0),
            *(s.last_id or "-", s.retention, s.pinned_by or "-"),
        ]
        for s in found.streams
    ]
    columns = ["event type", "entries", "bytes", "bytes/entry", "last id", "retention", "pinned by"]
    print_table("Streams", columns, streams)
    if found.aggregates:
        print_table(
            "Aggregates",
            ["type", "aggregates", "bytes/reference", "snapshots", "bytes/snapshot"],
            [_aggregate_row(aggregates) for aggregates in found.aggregates],
        )
    if found.schedule.waiting:
        overdue = (
            f", the first is overdue by {found.schedule.overdue:,.1f} s" if found.schedule.overdue else ""
        )
        console.print(f"Schedule: {found.schedule.waiting:,} event(s) wait{overdue}", highlight=False)
    print_table(
        "Groups",
        ["group", "types", "lag", "pending", "waiting", "dead", "oldest unread", "oldest pending"],
        [_group_row(group) for group in found.groups],
    )
    if not found.is_whole:
        console.print(
            f"Not all keys of the server were looked through, but {MOST_KEYS:,}: counts of aggregates are lower bounds, and "
            "streams that no daemon reads and only foreign programs write may be missing. --all looks through all.",
            highlight=False,
        )
    print_table(
        "Execution times of handlers (percentiles to 20%)",
        ["group", "count", "p50", "p95", "slowest", "acked", "retried", "dead"],
        [_times_row(group) for group in found.groups],
    )


def _aggregate_row(found: AggregateStatus) -> list[object]:
    sizes = [
        "-" if size is None else round(size) for size in (found.bytes_per_reference, found.bytes_per_snapshot)
    ]
    counts = [_count(number, found.is_exact) for number in (found.aggregates, found.snapshots)]
    return [found.type, counts[0], sizes[0], counts[1], sizes[1]]


def _group_row(group: GroupStatus) -> list[object]:
    ages = [_age(group.oldest_unread_age), _age(group.oldest_pending_age)]
    lag = _count(group.lag, group.lag_is_exact)
    return [group.group, len(group.event_types), lag, group.pending, group.waiting, group.dead, *ages]


def _count(number: int, is_exact: bool) -> object:
    """A count, which says so if it is a lower bound."""
    return number if is_exact else f">= {number:,}"


def _times_row(group: GroupStatus) -> list[object]:
    times = group.times
    if times is None or not times.count:
        return [group.group, 0, "-", "-", "-", 0, 0, 0]
    outcomes = [times.outcomes.get(name, 0) for name in ("ack", "retry", "dead letter")]
    return [group.group, times.count, *map(_duration, (times.p50, times.p95, times.slowest)), *outcomes]


def _age(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:,.1f} s"


def _duration(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} us" if seconds < 0.001 else f"{seconds * 1000:,.1f} ms"
