"""What silent daemons left behind, and what settling does when the server refuses it."""

import threading
from datetime import timedelta

import pytest

from busredis import Context, Daemon, DomainEvent, Retry, Router
from busredis.client import Client
from busredis.delivery.pending import Pending
from tests.integration.conftest import BRIEF
from tests.integration.running import Running
from tests.waiting import wait_until


class Held(DomainEvent):
    number: int = 0


class Other(DomainEvent):
    number: int = 0


def leave_behind(server, keys, count: int, *, delivered: int = 1) -> None:
    """Entries that a consumer read, were delivered so often, and that it never finished."""
    client = Client(server.url)
    ghost = Pending(keys, "g", "ghost", [keys.stream("Held")])
    client.run(ghost.ensure("0-0", restore=False))
    client.run(ghost.read([keys.stream("Held")], count, None))
    for row in client.run(ghost.own()):
        if delivered > 1:
            client.run(ghost.claim(row, 0, delivered))
    client.close()


@pytest.mark.parametrize(("max_attempts", "delivered"), [(1, 1), (3, 3)])
def test_what_a_dead_daemon_held_is_run_alone_before_it_can_be_found_guilty(
    server, namespace, publisher, inspect, keys, *, max_attempts, delivered
):
    publisher.publish_many([Held(number=n) for n in range(5)])
    leave_behind(server, keys, 5, delivered=delivered)
    router, seen = Router(), []

    @router.on(Held, name="g", max_attempts=max_attempts)
    async def handle(event: Held, ctx: Context) -> None:
        seen.append((event.number, ctx.attempt))

    Daemon(router, url=server.url, namespace=namespace, burst=True, **BRIEF).run()

    assert seen == [(n, delivered) for n in range(5)]
    assert inspect.xlen(keys.dead("g")) == 0
    assert inspect.hlen(keys.failures("g")) == 0


def test_a_retry_that_is_due_does_not_wait_behind_what_a_dead_daemon_left(
    server, namespace, publisher, inspect, keys
):
    suspects, [retried] = (
        publisher.publish_many([Held(number=n) for n in numbers]) for numbers in (range(10), [10])
    )
    leave_behind(server, keys, 10)
    inspect.xclaim(keys.stream("Held"), "g", "ghost", 0, suspects, idle=60_000, justid=True)
    router, seen, still_waits, at_work = Router(), [], [], threading.Event()

    def row() -> dict:
        """The one that failed, as the server sees it; nothing once it is settled."""
        found = inspect.xpending_range(keys.stream("Held"), "g", retried, retried, 1)
        return found[0] if found else {"consumer": b"settled", "time_since_delivered": 0}

    def waits(least_ms: int) -> bool:
        return row()["consumer"].startswith(b"waiting") and row()["time_since_delivered"] >= least_ms

    @router.on(Held, name="g", backoff=0.05)
    def handle(event: Held, ctx: Context) -> None:
        if event.number == 10 and ctx.attempt == 1:
            at_work.wait(20)
            raise ValueError
        if event.number == 0:
            at_work.set()
            # Until its pause is over, and also the time for which suspects are run before it is looked what is due.
            wait_until(lambda: waits(200), "the other one is due")
        elif event.number < 10:
            still_waits.append(waits(0))
        seen.append((event.number, ctx.attempt))

    Daemon(router, url=server.url, namespace=namespace, burst=True, **BRIEF).run()

    assert still_waits == [False] * 9
    assert sorted(seen) == [*((n, 2) for n in range(10)), (10, 2)]


def test_a_daemon_stops_within_grace_while_a_sync_suspect_hangs_and_hands_it_back(
    server, namespace, publisher, inspect, keys
):
    publisher.publish(Held())
    leave_behind(server, keys, 1)
    router, started, release = Router(), threading.Event(), threading.Event()

    @router.on(Held, name="g")
    def hangs(event: Held) -> None:
        started.set()
        release.wait(60)

    daemon = Daemon(router, url=server.url, namespace=namespace, grace=timedelta(seconds=0.2), **BRIEF)
    thread = threading.Thread(target=daemon.run, daemon=True)
    thread.start()
    assert started.wait(20)
    daemon.stop()
    thread.join(timeout=15)
    stopped = not thread.is_alive()
    release.set()

    assert stopped
    [entry] = inspect.xpending_range(keys.stream("Held"), "g", "-", "+", 10)
    assert entry["consumer"] == b"waiting-0"
    assert entry["times_delivered"] == 1


def test_a_failure_on_a_stream_that_is_gone_does_not_stop_the_settling_of_others(
    server, namespace, publisher, inspect, keys
):
    router, seen = Router(), []

    @router.on(Held, Other, name="g")
    async def handle(event: Held | Other) -> None:
        if event.event_type == "Held":
            inspect.delete(keys.stream("Held"))
            inspect.set(keys.stream("Held"), "no stream any more")
            raise RuntimeError
        seen.append(event.number)

    publisher.publish(Held())
    with Running(Daemon(router, url=server.url, namespace=namespace, **BRIEF)):
        wait_until(lambda: inspect.type(keys.stream("Held")) == b"string", "the stream is gone")
        inspect.delete(keys.stream("Held"))
        publisher.publish_many([Other(number=n) for n in range(3)])
        wait_until(lambda: seen == [0, 1, 2], "the others are handled")
        wait_until(lambda: inspect.xpending(keys.stream("Other"), "g")["pending"] == 0, "and acknowledged")


def test_a_retry_that_counts_no_attempt_leaves_no_note_behind(server, namespace, publisher, inspect, keys):
    router, runs = Router(), []

    @router.on(Held, name="g")
    async def handle(event: Held, ctx: Context) -> None:
        runs.append(ctx.attempt)
        if len(runs) == 1:
            raise Retry("not yet", after=0.01, counts=False)

    publisher.publish(Held())
    Daemon(router, url=server.url, namespace=namespace, burst=True, **BRIEF).run()

    assert runs == [1, 1]
    assert inspect.hlen(keys.failures("g")) == 0


def test_a_burst_ends_only_after_what_its_own_handlers_published(server, namespace, publisher):
    router, seen = Router(), []

    @router.on(Held, name="first")
    async def first(event: Held, ctx: Context) -> None:
        await ctx.publish(Other(number=event.number))

    @router.on(Other, name="second")
    async def second(event: Other) -> None:
        seen.append(event.number)

    for number in range(10):
        publisher.publish(Held(number=number))
        Daemon(router, url=server.url, namespace=namespace, burst=True, **BRIEF).run()

    assert seen == list(range(10))
