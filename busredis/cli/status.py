"""status: what is going on."""

from busredis.cli.options import Json, Namespace, Url, connect, console, print_json, print_table
from busredis.histories import AggregateStatus
from busredis.status import GroupStatus, read_status


def status(*, url: Url = None, namespace: Namespace = None, json: Json = False) -> None:
    """Show what is stored, and how far each group is.

    lag: not read yet; pending: in the hands of a daemon; waiting: failed, for another attempt; dead: given up.
    """
    client, partitions = connect(url, namespace)
    found = client.run(read_status(partitions))
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
    print_table(
        "Execution times of handlers (percentiles to 20%)",
        ["group", "count", "p50", "p95", "slowest", "acked", "retried", "dead"],
        [_times_row(group) for group in found.groups],
    )


def _aggregate_row(found: AggregateStatus) -> list[object]:
    sizes = [
        "-" if size is None else round(size) for size in (found.bytes_per_reference, found.bytes_per_snapshot)
    ]
    return [found.type, found.aggregates, sizes[0], found.snapshots, sizes[1]]


def _group_row(group: GroupStatus) -> list[object]:
    ages = [_age(group.oldest_unread_age), _age(group.oldest_pending_age)]
    return [group.group, len(group.event_types), group.lag, group.pending, group.waiting, group.dead, *ages]


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
