"""What a consumer may do with an entry: only what it holds, in the attempt in which it holds it."""

import asyncio
import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from busredis import Context, Daemon, DomainEvent, Router
from busredis.dead_letters import DeadLetters
from busredis.delivery.model import Delivery, Outcome, Verdict
from busredis.delivery.pending import Pending
from busredis.errors import CommandRefused
from tests.integration.conftest import BRIEF, FAST
from tests.integration.running import Running, leave_with_a_ghost, released
from tests.waiting import wait_until


class Guarded(DomainEvent):
    number: int = 0


class Crowd(DomainEvent):
    number: int = 0


#: So many are on their way as long as one more is published for each that is handled.
CROWD = 12


@pytest.fixture
def reader(client, keys, publisher):
    """Makes the consumers of group g; the group is there."""

    def make(name: str) -> Pending:
        return Pending(keys, "g", name, [keys.stream("Guarded")])

    client.run(make("first").ensure("0-0", restore=False))
    return make


def read(client, pending: Pending, count: int = 100) -> list[Delivery]:
    [stream] = pending.streams
    reply = client.run(pending.read([stream], count, None))
    entries = reply[0][1] if reply else []
    return [Delivery(stream, Guarded, id_, fields, 1, pending.consumer, 0.0) for id_, fields in entries]


@pytest.mark.parametrize("changed", ["holder", "idle", "count"])
def test_a_claim_takes_only_what_is_still_as_it_was_seen(client, publisher, reader, inspect, keys, changed):
    publisher.publish(Guarded())
    read(client, reader("first"))
    [row] = client.run(reader("first").own())
    seen = {"holder": replace(row, holder="other"), "idle": row, "count": replace(row, count=2)}[changed]
    least_idle_ms = 60_000 if changed == "idle" else 0

    assert client.run(reader("rival").claim(seen, least_idle_ms, 3)) is None

    [entry] = inspect.xpending_range(keys.stream("Guarded"), "g", "-", "+", 10)
    assert (entry["consumer"], entry["times_delivered"]) == (b"first", 1)


def test_a_lease_is_for_one_attempt_also_in_the_hands_of_one_consumer(
    client, publisher, reader, inspect, keys
):
    publisher.publish(Guarded())
    first = reader("first")
    [held] = read(client, first)
    [row] = client.run(first.own())
    client.run(first.claim(row, 0, 2))

    assert client.run(first.renew([held])) == {held.id}
    assert client.run(first.acknowledge([held])) == {held.id}
    assert inspect.xpending(keys.stream("Guarded"), "g")["pending"] == 1
    assert client.run(first.acknowledge([replace(held, attempt=2)])) == set()


def test_a_renewal_counts_no_attempt_and_resets_the_idle_time(client, publisher, reader):
    publisher.publish_many([Guarded(number=n) for n in range(2)])
    first = reader("first")
    held, _ = read(client, first)
    wait_until(lambda: client.run(first.own())[0].idle_ms >= 200, "both entries are idle")

    assert client.run(first.renew([held])) == set()

    # Both were read together, and one look tells of both: what lies between them is the renewal.
    renewed, left_alone = client.run(first.own())
    assert (renewed.count, left_alone.count) == (1, 1)
    assert left_alone.idle_ms - renewed.idle_ms >= 200


def test_many_acknowledgements_at_once_are_fenced_like_one(client, publisher, reader, inspect, keys):
    publisher.publish_many([Guarded(number=n) for n in range(40)])
    held = read(client, reader("first"))
    for row in client.run(reader("first").own())[20:]:
        client.run(reader("rival").claim(row, 0, row.count))

    assert client.run(reader("first").acknowledge(held)) == {delivery.id for delivery in held[20:]}
    assert inspect.xpending(keys.stream("Guarded"), "g")["pending"] == 20


def test_a_lost_group_is_restored_before_what_was_open(client, publisher, reader, inspect, keys):
    publisher.publish_many([Guarded(number=n) for n in range(4)])
    first = reader("first")
    held = read(client, first, 3)
    client.run(first.acknowledge(held[:1]))
    client.run(first.sweep(1_000))
    inspect.xgroup_destroy(keys.stream("Guarded"), "g")

    assert client.run(first.ensure("$", restore=True)) == first.streams

    assert [delivery.id for delivery in read(client, first)][:2] == [held[1].id, held[2].id]
    assert inspect.xpending(keys.stream("Guarded"), "g")["pending"] == 3


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_dead_letter_and_its_acknowledgement_are_both_done_or_neither(
    client, publisher, reader, inspect, keys, *, is_refused
):
    publisher.publish(Guarded())
    [held] = read(client, reader("first"))
    outcome = Outcome(Verdict.DEAD_LETTER, "failed", "ValueError")
    if is_refused:
        inspect.set(keys.dead("g"), "no stream")
        with pytest.raises(CommandRefused):
            client.run(reader("first").dead_letter(held, outcome))
    else:
        assert client.run(reader("first").dead_letter(held, outcome)) is True
        assert inspect.xlen(keys.dead("g")) == 1

    assert inspect.xpending(keys.stream("Guarded"), "g")["pending"] == (1 if is_refused else 0)


def test_a_dead_letter_that_is_handed_back_has_all_its_attempts(server, namespace, client, publisher, keys):
    router, attempts = Router(), []

    @router.on(Guarded, name="g", max_attempts=2, backoff=0.01)
    async def handle(event: Guarded, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        raise ValueError

    publisher.publish(Guarded())
    daemon = Daemon(router, url=server.url, namespace=namespace, burst=True, **BRIEF)
    daemon.run()
    [letter] = client.run(DeadLetters([keys]).list("g"))
    client.run(DeadLetters([keys]).retry(letter))
    daemon.run()

    assert attempts == [1, 2, 1, 2]


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_while_a_handler_runs_its_entry_is_pending(server, namespace, publisher, inspect, keys, colour):
    router, pending = Router(), []

    def look(event: Guarded) -> None:
        pending.append(inspect.xpending(keys.stream("Guarded"), "g")["pending"])

    async def look_async(event: Guarded) -> None:
        look(event)

    router.on(Guarded, name="g")(look if colour == "sync" else look_async)
    publisher.publish(Guarded())
    Daemon(router, url=server.url, namespace=namespace, burst=True, **BRIEF).run()

    assert pending == [1]


def test_attempts_are_counted(server, namespace, publisher):
    router, attempts = Router(), []

    @router.on(Guarded, name="g", backoff=0.01)
    async def handle(event: Guarded, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        if len(attempts) < 3:
            raise ValueError

    publisher.publish(Guarded())
    Daemon(router, url=server.url, namespace=namespace, burst=True, **BRIEF).run()

    assert attempts == [1, 2, 3]


def test_the_last_attempt_of_a_suspect_runs_with_nothing_beside_it(
    server, namespace, client, publisher, reader, *, inspect, keys
):
    router, crowd, beside, done = Router(), {"running": 0, "started": 0}, [], threading.Event()

    @router.on(Guarded, name="g", max_attempts=1)
    async def suspect(event: Guarded, ctx: Context) -> None:
        beside.append(crowd["running"])
        before, looks = crowd["started"], 0
        # All of the crowd are in this daemon's hands for so many round trips, and would have had their turn.
        while looks < 20 and crowd["started"] == before:
            [held, *_] = await ctx.execute("XPENDING", keys.stream("Crowd"), "crowd")
            looks += held == CROWD
        beside.append(crowd["started"] - before)
        done.set()

    @router.on(Crowd, name="crowd", concurrency=4)
    async def crowded(event: Crowd, ctx: Context) -> None:
        crowd["running"] += 1
        crowd["started"] += 1
        for _ in range(0 if done.is_set() else 20):
            await ctx.execute("PING")
        if not done.is_set():
            await ctx.publish(Crowd())  # it never grows less before the suspect has run
        crowd["running"] -= 1

    publisher.publish(Guarded())
    [held] = read(client, reader("ghost"))
    publisher.publish_many([Crowd(number=n) for n in range(CROWD)])
    lease = timedelta(seconds=5)  # for which the suspect waits until the crowd rests
    with Running(Daemon(router, url=server.url, namespace=namespace, **(FAST | {"lease": lease}))):
        wait_until(lambda: crowd["started"] > 100, "the crowd is at work")
        inspect.xclaim(held.stream, "g", "ghost", 0, [held.id], idle=60_000, justid=True)
        wait_until(done.is_set, "the suspect has run", 15)

    assert beside == [0, 0]


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_a_slow_handler_keeps_its_lease_while_the_loop_is_free(
    server, namespace, client, publisher, reader, *, inspect, keys, colour
):
    router, runs, release = Router(), [], threading.Event()

    def slow(event: Guarded) -> None:
        runs.append(event.number)
        if event.number == 1 and runs.count(1) == 1:
            release.wait(60)

    async def slow_async(event: Guarded) -> None:
        runs.append(event.number)
        while event.number == 1 and runs.count(1) == 1 and not release.is_set():
            await asyncio.sleep(0.01)

    router.on(Guarded, name="g")(slow if colour == "sync" else slow_async)
    publisher.publish(Guarded(number=2))
    [abandoned] = read(client, reader("ghost"))
    client.run(reader("ghost").acknowledge([abandoned]))
    one, rival = (Daemon(router, url=server.url, namespace=namespace, **BRIEF) for _ in range(2))
    with Running(one), Running(rival), released(release):
        publisher.publish(Guarded(number=1))
        wait_until(lambda: runs, "it runs")
        leave_with_a_ghost(inspect, abandoned.stream, "g", abandoned.id)
        wait_until(lambda: 2 in runs, "what a ghost has held from then on is taken from it")
        release.set()
        wait_until(lambda: inspect.xpending(keys.stream("Guarded"), "g")["pending"] == 0, "it is done")

    assert runs == [1, 2]


def test_what_a_daemon_holds_and_knows_nothing_of_is_run_once_its_lease_has_ended(
    server, namespace, client, publisher, reader
):
    router, seen = Router(), []

    @router.on(Guarded, name="g")
    async def handle(event: Guarded, ctx: Context) -> None:
        seen.append((event.number, ctx.attempt))

    daemon = Daemon(router, url=server.url, namespace=namespace, **BRIEF)
    publisher.publish(Guarded(number=7))
    read(client, reader(daemon.name))
    with Running(daemon):
        wait_until(lambda: seen, "the entry is run", 10)

    assert seen == [(7, 1)]
