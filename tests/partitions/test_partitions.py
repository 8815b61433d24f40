"""Partitions on one server: their number, who is refused for another, and where what is published goes."""

import asyncio
from collections import Counter, defaultdict
from zlib import crc32

import pytest

from busredis import AsyncPublisher, Daemon, EventStore, Publisher, PublishRefused
from busredis.client import Client
from busredis.errors import SettingsError
from busredis.keys import Keys, parse_id
from busredis.partitions import partition_of
from busredis.shares import read_shares
from busredis.status import read_status
from tests.counts import Counts
from tests.partitions.conftest import COUNT
from tests.partitions.parted import PartPaid, entries, idle


def test_a_partition_is_the_crc32_of_the_place_modulo_their_number():
    assert crc32(b"123456789") == 0xCBF43926
    assert partition_of("123456789", 32) == 0xCBF43926 % 32
    assert partition_of("Zoë", 7) == crc32("Zoë".encode()) % 7
    assert {partition_of(str(n), 1) for n in range(100)} == {0}
    spread = Counter(partition_of(f"order-{n}", 32) for n in range(32_000))
    assert len(spread) == 32
    assert min(spread.values()) > 800


def test_keys_know_their_partition():
    assert Keys.at("{shop:3}:stream:Paid") == Keys("shop", 3)
    assert Keys.at("{shop}:stream:Paid") == Keys("shop")


def test_the_number_is_recorded_once_and_who_disagrees_is_refused(server, namespace, look, publisher):
    publisher.publish(PartPaid())

    assert look.get(f"{{{namespace}}}:partitions") == b"4"
    with Publisher(server.url, namespace=namespace, partitions=8) as other:
        with pytest.raises(SettingsError, match=r"has 4 partition.*partitions=8"):
            other.publish(PartPaid())
    with EventStore(server.url, namespace=namespace, partitions=8) as store:
        with pytest.raises(SettingsError, match=r"has 4 partition.*partitions=8"):
            store.version(("PartTally", "a"))
    with pytest.raises(SettingsError, match=r"has 4 partition.*partitions=8"):
        Daemon(idle(PartPaid), url=server.url, namespace=namespace, partitions=8).run()
    with Publisher(server.url, namespace=namespace) as same:
        same.publish(PartPaid(aggregate_id="a"))
    assert sum(map(len, entries(look, [Keys(namespace, n) for n in range(4)]).values())) == 2


def test_one_partition_has_the_keys_that_it_always_had(server, namespace, inspect, keys):
    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish(PartPaid())
    found = {key.decode().split(":once:")[0] for key in inspect.scan_iter(f"*{namespace}*")}

    tag = f"{{{namespace}}}"
    assert found == {f"{tag}:{name}" for name in ("stream:PartPaid", "clock", "types", "partitions")} | {tag}
    with Publisher(server.url, namespace=namespace, partitions=2) as other:
        with pytest.raises(SettingsError, match=r"has 1 partition.*partitions=2"):
            other.publish(PartPaid())


def test_events_from_before_the_number_was_recorded_are_in_one_partition(server, namespace, inspect, keys):
    inspect.set(keys.clock, "1-0")

    with Publisher(server.url, namespace=namespace, partitions=2) as publisher:
        with pytest.raises(SettingsError, match=r"has 1 partition"):
            publisher.publish(PartPaid())


def test_an_event_goes_where_its_aggregate_key_or_id_says(look, parts, publisher):
    events = [PartPaid(number=n, aggregate_id=f"order-{n % 10}") for n in range(100)]
    loose = [PartPaid(number=n) for n in range(100, 150)]
    ids = publisher.publish_many(events + loose)
    keyed = [publisher.publish(PartPaid(number=n), key=f"key-{n}") for n in range(20)]

    found = entries(look, parts)
    for event, entry_id in zip(events + loose, ids, strict=True):
        number = partition_of(event.aggregate_id or str(event.event_id), COUNT)
        assert entry_id.encode() in [one for one, _ in found[number]]
    for n, entry_id in enumerate(keyed):
        assert entry_id.encode() in [one for one, _ in found[partition_of(f"key-{n}", COUNT)]]
    assert [publisher.publish(PartPaid(number=n), key=f"key-{n}") for n in range(20)] == keyed


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_publish_many_keeps_the_order_within_each_partition(server, namespace, look, parts, colour):
    events = [PartPaid(number=n, aggregate_id=f"order-{n % 50}") for n in range(3_000)]

    async def publish():
        async with AsyncPublisher(server.url, namespace=namespace, partitions=COUNT) as publisher:
            return await publisher.publish_many(events)

    if colour == "async":
        ids = asyncio.run(publish())
    else:
        with Publisher(server.url, namespace=namespace, partitions=COUNT) as publisher:
            ids = publisher.publish_many(events)

    by_partition = defaultdict(list)
    for event, entry_id in zip(events, ids, strict=True):
        by_partition[partition_of(event.aggregate_id, COUNT)].append(entry_id)
    assert {
        n: [one.decode() for one, _ in found] for n, found in entries(look, parts).items()
    } == by_partition
    for found in by_partition.values():
        assert found == sorted(found, key=parse_id)


async def test_calls_in_flight_share_the_appends_of_their_partition(server, namespace, look, parts):
    async with AsyncPublisher(server.url, namespace=namespace, partitions=COUNT) as publisher:
        await publisher.publish(PartPaid())
        before = look.info("commandstats")["cmdstat_evalsha"]["calls"]
        ids = await asyncio.gather(*(publisher.publish(PartPaid(number=n)) for n in range(400)))
        calls = look.info("commandstats")["cmdstat_evalsha"]["calls"] - before

    assert len(ids) == 400
    assert calls <= 2 * COUNT


def test_what_was_confirmed_before_a_failure_is_told_event_by_event(look, parts, publisher):
    events = [PartPaid(number=n, aggregate_id=f"order-{n}") for n in range(50)]
    bad = partition_of("order-49", COUNT)
    look.set(parts[bad].stream("PartPaid"), "no stream")

    with pytest.raises(PublishRefused) as caught:
        publisher.publish_many(events)

    written = [
        one.decode()
        for n, keys in enumerate(parts)
        if n != bad
        for one, _ in look.xrange(keys.stream("PartPaid"))
    ]
    assert len(caught.value.confirmed) == 50
    assert {one for one in caught.value.confirmed if one} == set(written)
    for event, entry_id in zip(events, caught.value.confirmed, strict=True):
        assert not (entry_id and partition_of(event.aggregate_id, COUNT) == bad)


def test_status_looks_through_the_keys_of_a_server_once_for_all_partitions(server, look, parts, publisher):
    publisher.publish_many([PartPaid(number=n, aggregate_id=f"o-{n}") for n in range(40)])
    client, counts = Client(server.url), Counts(look)
    client.run(read_status(parts[:1]))
    alone = counts.since()["scan"]

    assert client.run(read_status(parts)).streams[0].length == 40
    assert counts.since()["scan"] == alone
    assert sum(share.entries for share in client.run(read_shares(parts))) == 40
    assert counts.since()["scan"] == alone
    client.close()
