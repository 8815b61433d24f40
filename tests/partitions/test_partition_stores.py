"""Event stores over many partitions: histories, appends, tracking, and feeds of one and of all."""

import asyncio

import pytest

from busredis import AsyncEventStore, EventStore, Repository
from busredis.errors import AlreadyTracked, StoreError
from busredis.keys import parse_id
from busredis.partitions import partition_of
from busredis.store import NEW, AggregateId, Commit, Tracking
from tests.partitions.conftest import COUNT
from tests.partitions.parted import PartPaid, PartRefunded, PartTally


def test_histories_are_kept_in_the_partition_of_their_aggregate(server, namespace, look, parts):
    with EventStore(server.url, namespace=namespace, partitions=COUNT) as store:
        for k in range(30):
            store.append(("PartTally", f"t-{k}"), NEW, [PartPaid(number=n) for n in range(3)])
        assert all(store.version(("PartTally", f"t-{k}")) == 3 for k in range(30))
        repository = Repository(store)
        repository.snapshot(repository.load(PartTally, "t-7"))
        assert repository.load(PartTally, "t-7").version == 3
        own = parts[partition_of("t-7", COUNT)]
        assert look.exists(own.aggregate("PartTally", "t-7"), own.snapshot("PartTally", "t-7")) == 2


def test_one_append_is_in_one_partition(server, namespace, look, parts):
    first = AggregateId("PartTally", "a")
    far = next(
        AggregateId("PartTally", f"b-{n}")
        for n in range(100)
        if partition_of(f"b-{n}", COUNT) != partition_of("a", COUNT)
    )
    near = AggregateId("PartRefunds", "a")
    with EventStore(server.url, namespace=namespace, partitions=COUNT) as store:
        with pytest.raises(StoreError, match="different partitions"):
            store.append_all([Commit(first, NEW, [PartPaid()]), Commit(far, NEW, [PartPaid()])])
        assert store.version(first) == 0
        store.append_all([Commit(first, NEW, [PartPaid()]), Commit(near, NEW, [PartRefunded()])])
        assert store.version(near) == 1


def test_a_source_is_tracked_beside_what_was_made_of_it(server, namespace, look, parts):
    with EventStore(server.url, namespace=namespace, partitions=COUNT) as store:
        assert store.tracked("orders") is None
        for n in range(1, 20):
            store.append(("PartTally", f"t-{n}"), NEW, [PartPaid()], tracking=Tracking("orders", f"{n}-0"))
        assert store.tracked("orders") == "19-0"
        with pytest.raises(AlreadyTracked):
            store.append(("PartTally", "t-19"), 1, [PartPaid()], tracking=Tracking("orders", "19-0"))


def _fill(store, count=200):
    for n in range(count):
        store.append(("PartTally", f"t-{n % 11}"), n // 11, [PartPaid(number=n)])


def test_the_feed_of_a_partition_is_in_total_order_and_all_together_leave_nothing_out(
    server, namespace, look, parts
):
    with EventStore(server.url, namespace=namespace, partitions=COUNT) as store:
        _fill(store)
        each = [list(store.feed(partition=n)) for n in range(COUNT)]
        together = list(store.feed())
        with pytest.raises(StoreError, match="there are 4"):
            next(store.feed(partition=4))
        with pytest.raises(StoreError, match="4 entry ids"):
            next(store.feed("5-0"))

    assert sorted(one.event.number for found in each for one in found) == list(range(200))
    for found in each:
        assert [parse_id(one.position) for one in found] == sorted(parse_id(one.position) for one in found)
    ids = {one.event.number: parse_id(one.position) for found in each for one in found}
    assert sorted(ids) == sorted(one.event.number for one in together)
    in_order = [ids[one.event.number] for one in together]
    assert in_order == sorted(in_order)


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_feed_of_all_partitions_goes_on_where_any_position_says(server, namespace, look, parts, colour):
    with EventStore(server.url, namespace=namespace, partitions=COUNT) as store:
        _fill(store, 60)
        if colour == "sync":
            found = list(store.feed())
            for n in (0, 17, 58, 59):
                assert list(store.feed(found[n].position)) == found[n + 1 :]
            assert list(store.feed(upto=found[30].position)) == found[:31]
            assert list(store.feed(limit=13)) == found[:13]
            return

    async def read():
        async with AsyncEventStore(server.url, namespace=namespace) as store:
            found = [one async for one in store.feed()]
            assert [one async for one in store.feed(found[17].position)] == found[18:]
            following = store.feed(found[-1].position, follow=True)
            waiting = asyncio.ensure_future(anext(following))
            await store.append(("PartTally", "late"), NEW, [PartPaid(number=999)])
            assert (await waiting).event.number == 999
            await following.aclose()

    asyncio.run(read())
