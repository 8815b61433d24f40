"""Copies a namespace into one with more partitions: python examples/repartition.py old new 32 --import shop.events.

Run it as often as you like: it goes on where it was, and writes each event once. See docs/scaling.md for the order of
steps. Histories keep their versions and events their ids and times of occurrence; entry ids, and so the times of
recording, are new.
"""

import argparse
from collections.abc import Sequence
from datetime import timedelta
from importlib import import_module

from busredis import AggregateId, EventStore, Publisher, StoredEvent
from busredis.client import Client
from busredis.commands import Flow, many, pairs, raw, scan
from busredis.keys import Keys
from busredis.partitions import all_keys
from busredis.store import BEGINNING, Tracking

#: For so long a copy that was broken off can be taken up again without storing events without a history twice.
WINDOW = timedelta(days=7)


def copy(old: EventStore, new: EventStore, publisher: Publisher, partition: int | None = None) -> int:
    """Copies what `new` does not have yet of a partition of `old`, or of its only one; how many events that was."""
    source = f"copy-of-{partition or 0}"
    count = 0
    for stored in old.feed(new.tracked(source) or BEGINNING, partition=partition):
        if stored.version is None:
            publisher.publish(stored.event, key=f"copy-{stored.event.event_id}")
        else:
            new.append(*_place(stored), [stored.event], tracking=Tracking(source, stored.position))
        count += 1
    return count


def _place(stored: StoredEvent) -> tuple[AggregateId, int]:
    known = stored.event.metadata
    assert stored.version is not None
    return AggregateId(known["aggregate_type"], known["aggregate_id"]), stored.version - 1


def begin_groups(old: tuple[Client, Sequence[Keys]], new: tuple[Client, Sequence[Keys]]) -> int:
    """Creates the groups of `old` in `new`, at the end of its streams: what was copied was handled. How many there are."""
    groups: set[tuple[str, str]] = set()
    client, partitions = old
    for keys in partitions:
        for stream in client.run(scan(keys.every_stream)):
            groups.update((keys.event_type(stream), group) for group in client.run(groups_of(stream)))
    client, partitions = new
    for event_type, group in groups:
        for keys in partitions:
            client.run(many([("XGROUP", "CREATE", keys.stream(event_type), group, "$", "MKSTREAM")]))
    return len({group for _, group in groups})


def groups_of(stream: str) -> Flow[list[str]]:
    rows = yield from raw("XINFO", "GROUPS", stream)
    return [pairs(row)["name"].decode() for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("partitions", type=int)
    parser.add_argument("--url", required=True)
    parser.add_argument("--into", help="The URL of the new server or cluster; default the same.")
    parser.add_argument(
        "--groups", action="store_true", help="After the last copy: begin the groups behind it."
    )
    parser.add_argument("--import", dest="modules", action="append", default=[])
    options = parser.parse_args()
    for module in options.modules or ["busredis.catalog"]:
        import_module(module)
    into = {"url": options.into or options.url, "namespace": options.new, "partitions": options.partitions}
    with (
        EventStore(options.url, namespace=options.old) as old,
        EventStore(**into) as new,
        Publisher(**into, once_window=WINDOW) as publisher,
    ):
        numbers: list[int | None] = [*range(old.partitions)] if old.partitions > 1 else [None]
        for number in numbers:
            print(f"partition {number or 0}: {copy(old, new, publisher, number):,} events copied")
        if options.groups:
            before = Client(options.url), all_keys(options.old, old.partitions)
            after = Client(options.into or options.url), all_keys(options.new, new.partitions)
            print(f"{begin_groups(before, after)} groups begin behind what was copied")


if __name__ == "__main__":
    main()
