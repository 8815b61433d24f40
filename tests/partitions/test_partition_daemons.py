"""Daemons and schedules of a namespace with many partitions: all of them are handled, in order, by few connections."""

from collections import Counter, defaultdict
from zlib import crc32

import pytest

from busredis import AsyncPublisher, Daemon, Reject, Router
from busredis.client import Client
from busredis.commands import raw
from busredis.daemon.daemon import MOST_CONNECTIONS
from busredis.dead_letters import DeadLetters, NoSuchLetter
from busredis.status import read_status
from tests.partitions.conftest import COUNT, FAST
from tests.partitions.parted import PartPaid, PartRefunded, nothing


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
    router.on(PartPaid, name="other")(nothing)
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
        router.on(PartPaid, PartRefunded, name=f"idle-{n}")(nothing)

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
