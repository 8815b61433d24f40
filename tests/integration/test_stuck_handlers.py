"""Handlers that no timeout can end: what their daemon holds is not held for ever."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from busredis import Context, Daemon, DomainEvent, Publisher, Router
from busredis.delivery.lanes import MAX_STUCK_THREADS
from tests.waiting import wait_until


class Stuck(DomainEvent):
    number: int = 0


FAST = {"sweep": timedelta(seconds=0.1), "block": timedelta(seconds=0.1), "lease": timedelta(seconds=0.6)}


@pytest.fixture
def publisher(server, namespace, inspect):
    with Publisher(server.url, namespace=namespace) as publisher:
        yield publisher


@pytest.fixture
def released():
    """What stuck handlers wait for; set at the end, so that none outlives its test."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def running(server, namespace, released):
    """Runs a daemon for as long as the context lasts; at its end what is stuck goes on, unless it is to stay so."""

    @contextmanager
    def run(router: Router, *, release: bool = True) -> Iterator[None]:
        daemon = Daemon(router, url=server.url, namespace=namespace, **FAST)
        thread = threading.Thread(target=daemon.run)
        thread.start()
        try:
            yield
        finally:
            if release:
                released.set()
            daemon.stop()
            thread.join(timeout=20)

    return run


def test_a_handler_that_blocks_the_loop_beyond_its_timeout_loses_its_entry_to_another_daemon(
    running, publisher, inspect, keys, released, caplog
):
    router, attempts = Router(), []

    @router.on(Stuck, name="g", timeout=0.2)
    async def handle(event: Stuck, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        if len(attempts) == 1:
            released.wait()  # the fault

    publisher.publish(Stuck())
    with running(router):
        wait_until(lambda: attempts, "it blocks the loop of the first daemon")
        with running(router, release=False):
            wait_until(lambda: len(attempts) == 2, "another daemon has taken it over")
            wait_until(
                lambda: inspect.xpending(keys.stream("Stuck"), "g")["pending"] == 0, "it is acknowledged"
            )

    assert attempts == [1, 2]
    assert caplog.text.count("blocks the event loop beyond its timeout") == 1


def test_threads_that_hung_beyond_their_timeout_go_on_when_they_return(
    running, publisher, inspect, keys, released
):
    router, seen = Router(), []

    @router.on(Stuck, name="g", timeout=0.1, max_attempts=1)
    def handle(event: Stuck) -> None:
        if event.number < MAX_STUCK_THREADS:
            released.wait()
        seen.append(event.number)

    publisher.publish_many([Stuck(number=n) for n in range(MAX_STUCK_THREADS + 5)])
    with running(router):
        wait_until(lambda: inspect.xlen(keys.dead("g")) == MAX_STUCK_THREADS, "as many hang as may")
        released.set()
        wait_until(lambda: len(seen) == MAX_STUCK_THREADS + 5, "all the others are handled")

    later = [number for number in seen if number >= MAX_STUCK_THREADS]
    assert later == list(range(MAX_STUCK_THREADS, MAX_STUCK_THREADS + 5))


def test_a_daemon_whose_threads_all_hang_leaves_what_it_has_to_others(
    running, publisher, inspect, keys, released, caplog
):
    router, seen = Router(), []
    hangs = MAX_STUCK_THREADS

    @router.on(Stuck, name="g", timeout=0.1, max_attempts=1)
    def handle(event: Stuck) -> None:
        if event.number < hangs:
            released.wait()
        else:
            seen.append(event.number)

    publisher.publish_many([Stuck(number=n) for n in range(hangs + 5)])
    with running(router):
        wait_until(lambda: inspect.xlen(keys.dead("g")) == hangs, "all of its threads hang")
        with running(router, release=False):
            wait_until(lambda: len(seen) == 5, "another daemon handles what it had in hand")
            publisher.publish_many([Stuck(number=n) for n in range(100, 150)])
            wait_until(lambda: len(seen) == 55, "and what comes later")
            assert not released.is_set()

    assert len(set(seen)) == 55
    assert caplog.text.count("hang beyond their timeout") == 1
