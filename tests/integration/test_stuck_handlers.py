"""Handlers that no timeout can end: what their daemon holds is not held for ever."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from busredis import Context, Daemon, DomainEvent, Publisher, Router
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


@contextmanager
def running(server, namespace, router, released) -> Iterator[None]:
    daemon = Daemon(router, url=server.url, namespace=namespace, **FAST)
    thread = threading.Thread(target=daemon.run)
    thread.start()
    try:
        yield
    finally:
        released.set()
        daemon.stop()
        thread.join(timeout=20)


def test_a_handler_that_blocks_the_loop_beyond_its_timeout_loses_its_entry_to_another_daemon(
    server, namespace, publisher, inspect, keys, released, caplog
):
    router, attempts = Router(), []

    @router.on(Stuck, name="g", timeout=0.2)
    async def handle(event: Stuck, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        if len(attempts) == 1:
            released.wait()  # the fault

    publisher.publish(Stuck())
    with running(server, namespace, router, released):
        wait_until(lambda: attempts, "it blocks the loop of the first daemon")
        with running(server, namespace, router, threading.Event()):
            wait_until(lambda: len(attempts) == 2, "another daemon has taken it over")
            wait_until(
                lambda: inspect.xpending(keys.stream("Stuck"), "g")["pending"] == 0, "it is acknowledged"
            )

    assert attempts == [1, 2]
    assert caplog.text.count("blocks the event loop beyond its timeout") == 1
