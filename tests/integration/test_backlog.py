"""What work costs does not grow with what lies there already: counted in commands and rows, not in seconds."""

import asyncio
from datetime import timedelta

import pytest

from busredis import Daemon, DomainEvent, Router
from busredis.client import AsyncClient, Client
from busredis.codec import Codec
from busredis.daemon.consumer import Consumer
from busredis.daemon.reclaimer import Reclaimer
from busredis.delivery.lanes import Gate
from busredis.delivery.looks import MOST_ROWS, PAGE, PAGE_OF_OTHERS
from busredis.delivery.ordered_pending import OrderedPending
from busredis.delivery.pending import Pending
from busredis.delivery.process import Process
from busredis.settings import Settings
from tests.counts import Counts

ENTRIES, LEASE_MS = 20_000, 30_000


class Heaped(DomainEvent):
    number: int = 0


@pytest.fixture
def client(server):
    client = Client(server.url)
    yield client
    client.close()


@pytest.fixture
def stream(inspect, keys) -> str:
    """A stream of many entries, of which nobody has read any."""
    name = keys.stream("Heaped")
    pipeline = inspect.pipeline(transaction=False)
    for number in range(ENTRIES):
        pipeline.xadd(
            name, {"event": f'{{"payload": {{"number": {number}}}}}'}, id=f"1700000000000-{number + 1}"
        )
    pipeline.execute()
    inspect.xgroup_create(name, "g", id="0")
    return name


@pytest.fixture
def pending(keys, stream) -> Pending:
    return Pending(keys, "g", "me", [stream])


def hold(inspect, stream: str, holder: str, count: int, idle_ms: int = 0) -> list[bytes]:
    """Lets a consumer have the next entries of the stream."""
    [[_, entries]] = inspect.xreadgroup("g", holder, {stream: ">"}, count=count)
    ids = [entry_id for entry_id, _ in entries]
    if idle_ms:
        inspect.xclaim(stream, "g", holder, 0, ids, idle=idle_ms, justid=True)
    return ids


def test_a_sweep_costs_the_same_wherever_it_is_and_sees_each_entry_once_in_a_pass(
    client, inspect, stream, pending
):
    waiting = hold(inspect, stream, "waiting", 4_000)
    hold(inspect, stream, "busy", 1_000)
    client.run(pending.sweep(LEASE_MS))  # the script is known to the server from now on
    pending = Pending(pending.keys, "g", "me", [stream])
    counts, seen, costs, sizes = Counts(inspect), [], [], []

    more = True
    while more:
        found = client.run(pending.sweep(LEASE_MS))
        cost = counts.since()
        sizes.append(cost.pop("bytes"))
        costs.append(cost)
        seen += [row.id for row in found.rows]
        more = found.more

    assert seen == waiting
    assert len(costs) == len(waiting) // PAGE + 1
    # The summary, and a page of each of the two consumers.
    assert all(cost == costs[1] for cost in costs[1:])
    assert costs[1]["xpending"] == 3
    # INFO is in it too: it says as much each time, give or take some digits.
    assert max(sizes) - min(sizes) < 30_000
    assert [row.id for row in client.run(pending.sweep(LEASE_MS)).rows] == waiting[:PAGE]


def test_a_busy_consumer_of_many_entries_is_looked_at_a_page_at_a_time(client, inspect, stream, pending):
    held = hold(inspect, stream, "busy", 5_000)
    stale = held[3_141]
    inspect.xclaim(stream, "g", "busy", 0, [stale], idle=2 * LEASE_MS, justid=True)
    counts = Counts(inspect)

    looks, found = 0, client.run(pending.sweep(LEASE_MS))
    while not found.rows:
        looks, found = looks + 1, client.run(pending.sweep(LEASE_MS))

    assert [row.id for row in found.rows] == [stale]
    assert looks == 3_141 // PAGE_OF_OTHERS
    assert counts.since()["xpending"] == 2 * (looks + 1)


def test_what_a_silent_consumer_held_is_seen_once_each_in_the_order_of_the_stream(
    client, inspect, stream, pending
):
    hold(inspect, stream, "busy", 1_000)
    held = hold(inspect, stream, "silent", 1_000, 2 * LEASE_MS)

    seen, more = [], True
    while more:
        found = client.run(pending.sweep(LEASE_MS))
        seen, more = seen + [row.id for row in found.rows], found.more

    assert seen == held


def test_a_look_for_what_waits_alone_leaves_others_where_they_were(client, inspect, stream, pending):
    held = hold(inspect, stream, "silent", 500, 2 * LEASE_MS)
    waiting = hold(inspect, stream, "waiting", 500)

    assert [row.id for row in client.run(pending.sweep(LEASE_MS)).rows] == held[:PAGE_OF_OTHERS] + waiting[
        :PAGE
    ]
    assert [row.id for row in client.run(pending.sweep(LEASE_MS, others=False)).rows] == waiting[
        PAGE : 2 * PAGE
    ]
    assert held[PAGE_OF_OTHERS] in [row.id for row in client.run(pending.sweep(LEASE_MS)).rows]


def test_a_sweep_is_bounded_however_many_consumers_hold_something(client, inspect, stream, pending):
    due, later = [], []
    for number in range(10, 40):
        due += hold(inspect, stream, f"waiting-{number}0", 150, 60_000)
        later += hold(inspect, stream, f"waiting-{number}00000", 150)
    counts, seen, more, looks = Counts(inspect), [], True, 0

    while more:
        found = client.run(pending.sweep(LEASE_MS))
        assert len(found.rows) <= MOST_ROWS + PAGE
        assert counts.since()["xpending"] <= 2 + MOST_ROWS // 150 + 1
        seen, more, looks = seen + [row.id for row in found.rows], found.more, looks + 1
        assert looks < 100

    assert set(seen) == set(due)
    assert not set(seen) & set(later)


def test_the_owner_of_an_ordered_handler_goes_through_all_that_is_pending_once_a_page_at_a_time(
    client, inspect, keys, stream
):
    held = hold(inspect, stream, "waiting", 3_000) + hold(inspect, stream, "me.1", 1_000)
    inspect.hset(keys.owner("g"), mapping={"owner": "me", "token": 1, "until": 2**41, "call": 0})
    pending = OrderedPending(keys, "g", "me", [stream])
    pending.begin("me.1", 1)
    client.run(pending.page(b"0-0", PAGE))
    counts, seen, costs, after = Counts(inspect), [], [], b"0-0"

    while after is not None:
        page = client.run(pending.page(after, PAGE))
        cost = counts.since()
        seen, after = seen + [row.id for row, _ in page.rows], page.after
        if page.rows:
            costs.append((len(page.rows), cost["xpending"], cost["xrange"]))

    assert seen == held
    assert set(costs) == {(PAGE, 1, PAGE)}


def test_what_a_consumer_holds_itself_is_told_in_pages(client, inspect, stream, pending):
    held = hold(inspect, stream, "me", 2_500)
    counts = Counts(inspect)

    assert [row.id for row in client.run(pending.own())] == held
    assert counts.since()["xpending"] == 3


async def test_a_daemon_without_room_goes_on_with_the_entry_that_it_had_no_room_for(
    server, namespace, inspect, stream, pending
):
    waiting = hold(inspect, stream, "waiting-0", 3_000, 1_000)
    router, started = Router(), []

    @router.on(Heaped, name="g", concurrency=4)
    async def handle(event: Heaped) -> None:
        started.append(event.number)
        await asyncio.Event().wait()

    client = AsyncClient(server.url)
    settings = Settings.load(
        url=server.url,
        namespace=namespace,
        prefetch=16,
        sweep=timedelta(seconds=1),
        lease=timedelta(seconds=30),
    )
    [handler] = list(router)
    process = Process(handler, Codec(10_000), None)
    consumer = Consumer(pending, process, client, Gate(), settings)
    reclaimer = Reclaimer(consumer, Gate(), settings)
    counts = Counts(inspect)

    pauses = [await reclaimer.sweep() for _ in range(5)]
    held = sorted(entry_id for _, entry_id in consumer.settler.held)
    claims = counts.since()["xclaim"]
    next_look = await client.run(pending.sweep(LEASE_MS))
    consumer.lanes.hand_back()
    await consumer.lanes.cancel()
    await client.close()

    assert min(pauses) > 0  # there is no room: not at once
    assert held == sorted(waiting[:16])
    assert claims == 16
    assert [row.id for row in next_look.rows] == waiting[16 : 16 + PAGE]


def test_a_daemon_works_off_all_that_waits_and_claims_each_entry_once(server, namespace, inspect, stream):
    waiting = hold(inspect, stream, "waiting-0", 5_000, 1_000)
    inspect.xgroup_setid(stream, "g", "$")
    router, handled, counts = Router(), [], Counts(inspect)

    @router.on(Heaped, name="g")
    async def handle(event: Heaped) -> None:
        handled.append(event.number)

    Daemon(router, url=server.url, namespace=namespace, burst=True).run()

    assert sorted(handled) == list(range(len(waiting)))
    assert counts.since()["xclaim"] == len(waiting)
    assert inspect.xpending(stream, "g")["pending"] == 0
