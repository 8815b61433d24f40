"""Pending entries that were deleted, that wait in great number, or that a daemon did not come to before it stopped."""

import threading
from datetime import timedelta

import pytest

from busredis import Context, Daemon, DomainEvent, Router
from busredis.delivery.looks import PAGE
from busredis.delivery.model import Delivery, Outcome, Verdict
from busredis.delivery.pending import Pending
from tests.integration.conftest import BRIEF
from tests.waiting import wait_until


class Parked(DomainEvent):
    number: int = 0


def read(client, keys, name: str, count: int) -> tuple[Pending, list[Delivery]]:
    """What a consumer of group g holds after its first read."""
    stream = keys.stream("Parked")
    pending = Pending(keys, "g", name, [stream])
    client.run(pending.ensure("0-0", restore=False))
    [[_, entries]] = client.run(pending.read([stream], count, None))
    return pending, [Delivery(stream, Parked, id_, fields, 1, name, 0.0) for id_, fields in entries]


def test_a_renewal_does_not_drop_an_entry_that_was_deleted(client, publisher, inspect, keys):
    publisher.publish_many([Parked(), Parked()])
    first, held = read(client, keys, "first", 2)
    inspect.xdel(keys.stream("Parked"), held[0].id)

    assert client.run(first.renew(held)) == set()

    assert [row.id for row in client.run(first.own())] == [delivery.id for delivery in held]


def test_an_entry_that_was_deleted_in_the_hands_of_a_dead_daemon_is_a_dead_letter_that_says_so(
    server, namespace, client, publisher, inspect, keys
):
    publisher.publish_many([Parked(), Parked()])
    _, held = read(client, keys, "ghost", 2)
    inspect.xdel(keys.stream("Parked"), held[0].id)
    router, seen = Router(), []
    router.on(Parked, name="g")(seen.append)

    Daemon(router, url=server.url, namespace=namespace, burst=True, **BRIEF).run()

    [(_, letter)] = inspect.xrange(keys.dead("g"))
    assert (letter[b"reason"], letter[b"entry_id"]) == (b"trimmed", held[0].id)
    assert len(seen) == 1


def test_sweeps_see_all_that_waits_page_by_page(client, publisher, keys):
    count = 2 * PAGE + 50
    publisher.publish_many([Parked(number=n) for n in range(count)])
    first, held = read(client, keys, "first", count)
    for delivery in held:
        client.run(first.wait(delivery, Outcome(Verdict.RETRY, error="x")))

    seen = set()
    for _ in range(3):
        seen |= {row.id for row in client.run(first.sweep(1_000)).rows}

    assert seen == {delivery.id for delivery in held}


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_what_a_daemon_did_not_come_to_before_it_stopped_is_handed_back_at_once_and_counts_no_attempt(
    server, namespace, publisher, inspect, keys, colour
):
    router, started, release = Router(), threading.Event(), threading.Event()

    def work(event: Parked) -> None:
        started.set()
        release.wait(30)

    async def work_async(event: Parked, ctx: Context) -> None:
        started.set()
        await ctx.execute("BLPOP", ctx.view("release"), 30)

    def waiting() -> list[tuple[bytes, int]]:
        rows = inspect.xpending_range(keys.stream("Parked"), "g", "-", "+", 10)
        return [(row["consumer"], row["times_delivered"]) for row in rows if row["consumer"] != daemon_name]

    router.on(Parked, name="g")(work if colour == "sync" else work_async)
    publisher.publish_many([Parked(number=n) for n in range(5)])
    options = BRIEF | {"lease": timedelta(minutes=5), "grace": timedelta(seconds=10)}
    daemon = Daemon(router, url=server.url, namespace=namespace, **options)
    daemon_name = daemon.name.encode()
    thread = threading.Thread(target=daemon.run)
    thread.start()
    try:
        assert started.wait(20)
        daemon.stop()
        wait_until(lambda: waiting() == [(b"waiting-0", 0)] * 4, "they are handed back while one runs", 8)
    finally:
        release.set()
        inspect.rpush(keys.view("release"), "now")
        thread.join(timeout=20)

    assert len(waiting()) == 4
    assert inspect.xpending(keys.stream("Parked"), "g")["pending"] == 4
