"""Pauses between attempts that no clock can hold."""

import threading
from datetime import timedelta

import pytest

from busredis import Daemon, DomainEvent, Publisher, Retry, Router
from busredis.delivery.model import Outcome, Verdict
from busredis.delivery.waiting import asked_pause_ms, is_waiting, waiting_name
from tests.waiting import wait_until


class Postponed(DomainEvent):
    number: int = 0


def looks(inspect) -> int:
    return inspect.info("commandstats")["cmdstat_xpending"]["calls"]


def waiting(inspect, keys) -> bool:
    rows = inspect.xpending_range(keys.stream("Postponed"), "g", "-", "+", 1)
    return bool(rows) and rows[0]["consumer"].startswith(b"waiting-")


@pytest.mark.parametrize("ordered", [False, True])
def test_an_event_that_is_put_off_for_ever_stops_nothing_else(server, namespace, inspect, keys, ordered):
    router, seen, put_off = Router(), [], []

    @router.on(Postponed, name="g", ordered=ordered)
    async def handle(event: Postponed) -> None:
        if event.number == 0:
            put_off.append(0)
            raise Retry(after=timedelta.max)
        seen.append(event.number)

    daemon = Daemon(router, url=server.url, namespace=namespace, sweep=0.05, block=0.1)
    thread = threading.Thread(target=daemon.run)
    thread.start()
    try:
        with Publisher(server.url, namespace=namespace) as publisher:
            publisher.publish(Postponed(number=0))
            wait_until(lambda: put_off, "it is put off")
            wait_until(lambda: waiting(inspect, keys), "it waits")
            for number in range(1, 6):
                before = looks(inspect)
                publisher.publish(Postponed(number=number))
                wait_until(lambda number=number: number in seen, f"event {number} is handled")
                wait_until(lambda before=before: looks(inspect) > before + 4, "the sweeps go on")
    finally:
        daemon.stop()
        thread.join(timeout=20)

    assert seen == [1, 2, 3, 4, 5]
    assert put_off == [0]
    assert waiting(inspect, keys)


@pytest.mark.parametrize("after", [timedelta.max, timedelta(days=365_000), timedelta(milliseconds=1)])
def test_every_pause_can_be_read_from_the_name_that_says_it(after):
    name = waiting_name(Outcome(Verdict.RETRY, after=after))
    pause = asked_pause_ms(name)
    assert pause is not None
    assert timedelta(milliseconds=pause) >= min(after, timedelta(days=36_500))


def test_a_name_that_only_looks_like_a_pause_is_none():
    assert asked_pause_ms("waiting-\N{SUPERSCRIPT TWO}") is None
    assert not is_waiting("waiting-\N{SUPERSCRIPT TWO}")
    assert timedelta(milliseconds=asked_pause_ms("waiting-" + "9" * 18) or 0)
