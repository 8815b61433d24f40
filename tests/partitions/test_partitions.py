"""Partitions on one server: where events go, who is refused, and that daemons and stores find all of them."""

import asyncio
from collections import Counter, defaultdict
from datetime import timedelta
from zlib import crc32

import pytest
from pydantic import BaseModel

from busredis import (
    AsyncEventStore,
    AsyncPublisher,
    Daemon,
    DomainEvent,
    EventSourcedAggregate,
    EventStore,
    Publisher,
    PublishRefused,
    Reject,
    Repository,
    Router,
    applies,
)
from busredis.client import Client
from busredis.commands import raw
from busredis.daemon.daemon import MOST_CONNECTIONS
from busredis.dead_letters import DeadLetters, NoSuchLetter
from busredis.errors import AlreadyTracked, SettingsError, StoreError
from busredis.keys import Keys, parse_id
from busredis.partitions import partition_of
from busredis.shares import read_shares
from busredis.status import read_status
from busredis.store import NEW, AggregateId, Commit, Tracking
from tests.counts import Counts
from tests.partitions.conftest import COUNT

FAST = {"sweep": timedelta(seconds=0.1), "block": timedelta(seconds=0.1), "lease": timedelta(seconds=2)}


class PartPaid(DomainEvent):
    number: int = 0


class PartRefunded(DomainEvent):
    number: int = 0


class PartState(BaseModel):
    total: int = 0


class PartTally(EventSourcedAggregate[PartState]):
    @applies(PartPaid)
    def _paid(self, event):
        self.state.total += event.number


@pytest.fixture
def publisher(server, namespace, look):
    with Publisher(server.url, namespace=namespace, partitions=COUNT) as publisher:
        yield publisher


def entries(look, parts, event_type="PartPaid"):
    return {keys.partition: look.xrange(keys.stream(event_type)) for keys in parts}


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
        Daemon(_router(PartPaid), url=server.url, namespace=namespace, partitions=8).run()
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


def _router(*subjects):
    router = Router()
    router.on(*subjects, name="nothing")(_nothing)
    return router


async def _nothing(event):
    pass


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_a_daemon_handles_all_partitions_once_in_order_of_each_aggregate(
    server, namespace, look, parts, publisher, colour
):
    router, seen, running = Router(), defaultdict(list), Counter()

    def sync_handler(event, ctx):
        running["now"] += 1
        running["most"] = max(running["most"], running["now"])
        seen[event.aggregate_id].append(event.number)
        ctx.effects.add("HINCRBY", ctx.view("sums"), "all", event.number)
        running["now"] -= 1

    async def async_handler(event, ctx):
        sync_handler(event, ctx)

    router.on(PartPaid, PartRefunded, name="ledger")(sync_handler if colour == "sync" else async_handler)
    router.on(PartPaid, name="other")(_nothing)
    publisher.publish_many([PartPaid(number=n, aggregate_id=f"o-{n % 20}") for n in range(1_000)])

    Daemon(router, url=server.url, namespace=namespace, burst=True, **FAST).run()

    assert seen == {f"o-{k}": list(range(k, 1_000, 20)) for k in range(20)}
    assert running["most"] == 1  # concurrency is that of the handler, not of each partition
    sums = [int(look.hget(keys.view("sums"), "all") or 0) for keys in parts]
    assert sum(sums) == sum(range(1_000))
    assert all(sums)
    for keys in parts:
        assert look.xpending(keys.stream("PartPaid"), "ledger")["pending"] == 0


def test_many_partitions_and_handlers_need_few_connections(server, namespace, look, parts, publisher):
    router, most = Router(), []
    publisher.publish_many([PartPaid(number=n) for n in range(50)])

    async def count(event):
        most.append(look.info("clients")["connected_clients"])

    before = look.info("clients")["connected_clients"]
    router.on(PartPaid, name="count")(count)
    for n in range(10):
        router.on(PartPaid, PartRefunded, name=f"idle-{n}")(_nothing)

    Daemon(router, url=server.url, namespace=namespace, burst=True, **FAST).run()

    assert len(most) == 50
    # One reads, one renews leases, one publishes; the others settle and sweep, as many as may at a time.
    assert max(most) - before <= 3 + MOST_CONNECTIONS < 11 * COUNT


def test_what_fails_is_tried_again_and_dies_in_its_partition(server, namespace, look, parts, publisher):
    router, attempts = Router(), Counter()

    @router.on(PartPaid, name="fussy", max_attempts=3, backoff=0.01)
    async def fussy(event):
        attempts[event.number] += 1
        if event.number % 10 == 0:
            raise ValueError("never")
        if event.number % 10 == 1 and attempts[event.number] == 1:
            raise ValueError("not yet")

    publisher.publish_many([PartPaid(number=n) for n in range(100)])
    Daemon(router, url=server.url, namespace=namespace, burst=True, **FAST).run()

    assert dict.fromkeys(range(0, 100, 10), 3) | dict.fromkeys(range(1, 100, 10), 2) == {
        n: count for n, count in attempts.items() if count > 1
    }
    with_client = Client(server.url)
    letters = DeadLetters(parts)
    found = with_client.run(letters.list("fussy"))
    assert len(found) == 10
    assert with_client.run(letters.groups()) == ["fussy"]
    assert {letter.id.split("/")[0] for letter in found} <= {"0", "1", "2", "3"}
    assert with_client.run(letters.get("fussy", found[0].id)) == found[0]
    with pytest.raises(NoSuchLetter, match="PARTITION/ID"):
        with_client.run(letters.get("fussy", found[0].id.split("/")[1]))
    with_client.run(letters.retry(found[0]))
    assert with_client.run(letters.discard(found[1]))
    assert len(with_client.run(letters.list("fussy"))) == 8
    status = with_client.run(read_status(parts))
    assert [(s.event_type, s.length) for s in status.streams] == [("PartPaid", 100)]
    [group] = status.groups
    assert (group.lag, group.waiting, group.dead, group.event_types) == (0, 1, 8, ["PartPaid"])
    assert group.times.outcomes == {"ack": 90, "retry": 30, "dead letter": 10}
    with_client.close()


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


def test_a_rejected_event_is_no_matter_of_other_partitions(server, namespace, look, parts, publisher):
    router, seen = Router(), []

    @router.on(PartPaid, name="one")
    def one(event):
        if event.number == 7:
            raise Reject("seven")
        seen.append(event.number)

    publisher.publish_many([PartPaid(number=n) for n in range(40)])
    Daemon(router, url=server.url, namespace=namespace, burst=True, **FAST).run()

    assert sorted(seen) == [n for n in range(40) if n != 7]


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


def test_any_program_publishes_to_the_partition_that_it_computes(server, namespace, look, parts, publisher):
    publisher.publish(PartPaid(number=1, aggregate_id="o"))
    client = Client(server.url)
    stream = f"{{{namespace}:{crc32(b'o') % COUNT}}}:stream:PartPaid"
    client.run(
        raw("XADD", stream, "*", "event", '{"aggregate_id": "o", "payload": {"number": 2}}').__iter__()
    )
    router, seen = Router(), []
    router.on(PartPaid, name="all")(lambda event: seen.append(event.number))

    Daemon(router, url=server.url, namespace=namespace, burst=True, **FAST).run()

    assert seen == [1, 2]
    client.close()


def test_the_schedule_is_divided_as_events_are_and_changed_wherever_an_event_is(
    server, namespace, look, parts, publisher
):
    soon = [
        publisher.schedule(PartPaid(number=n, aggregate_id=f"o-{n}"), delay=0, key=f"s-{n}")
        for n in range(20)
    ]
    far = [
        publisher.schedule(PartPaid(aggregate_id=f"o-{n}"), delay=3_600 + n, key=f"f-{n}") for n in range(5)
    ]
    assert publisher.cancel(far[0])
    assert not publisher.cancel(far[0])
    assert publisher.reschedule(far[1], delay=7_200)
    router, seen = Router(), []
    router.on(PartPaid, name="all")(lambda event: seen.append(event.number))

    Daemon(router, url=server.url, namespace=namespace, burst=True, **FAST).run()

    assert sorted(seen) == list(range(20))
    assert soon == [f"s-{n}" for n in range(20)]
    assert [one.id for one in publisher.scheduled()] == [*far[2:], far[1]]


async def test_an_async_schedule_is_divided_too(server, namespace, look, parts):
    async with AsyncPublisher(server.url, namespace=namespace, partitions=COUNT) as publisher:
        ids = [await publisher.schedule(PartPaid(aggregate_id=f"o-{n}"), delay=60 + n) for n in range(8)]
        assert [one.id for one in await publisher.scheduled()] == ids
        assert await publisher.cancel(ids[3])
        assert not await publisher.reschedule(ids[3], delay=5)
        assert len(await publisher.scheduled()) == 7
    assert sum(look.zcard(keys.schedule) for keys in parts) == 7


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_an_ordered_handler_keeps_the_order_of_each_aggregate_in_all_partitions(
    server, namespace, look, parts, publisher, colour
):
    router, seen, failed = Router(), defaultdict(list), []

    def note(event):
        if event.number == 50 and not failed:
            failed.append(event)
            raise ValueError("once")
        seen[event.aggregate_id].append(event.number)

    async def note_async(event):
        note(event)

    router.on(PartPaid, PartRefunded, name="kept", ordered=True, concurrency=3, backoff=0.05)(
        note_async if colour == "async" else note
    )
    publisher.publish_many(
        [(PartPaid, PartRefunded)[n // 20 % 2](number=n, aggregate_id=f"o-{n % 20}") for n in range(400)]
    )

    Daemon(router, url=server.url, namespace=namespace, burst=True, **FAST).run()

    assert failed
    assert seen == {f"o-{k}": list(range(k, 400, 20)) for k in range(20)}


def test_a_discarded_letter_leaves_no_note_of_its_key_in_any_partition(
    server, namespace, look, parts, publisher
):
    router = Router()

    @router.on(PartPaid, name="refuses", ordered=True)
    def refuses(event) -> None:
        raise Reject("never")

    publisher.publish_many([PartPaid(number=n, aggregate_id=f"o-{n}") for n in range(20)])
    Daemon(router, url=server.url, namespace=namespace, burst=True, **FAST).run()
    client = Client(server.url)
    found = client.run(DeadLetters(parts).list("refuses"))
    assert len(found) == 20

    for letter in found:
        assert client.run(DeadLetters(parts).discard(letter))

    assert not look.exists(*(keys.parked("refuses") for keys in parts))
    client.close()
