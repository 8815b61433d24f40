"""Replies that get lost and a server that is away: what was asked for is neither forgotten nor done twice."""

import threading
from collections import Counter
from datetime import timedelta

import pytest

from busredis import Daemon, DomainEvent, Publisher, Router
from busredis.append import Appender
from busredis.client import Client
from busredis.errors import CommandRefused
from busredis.settings import Settings
from tests.integration.running import Running
from tests.waiting import wait_until


class Minted(DomainEvent):
    number: int = 0


#: A lease that no test outlives: nothing is put right just because it ends.
PATIENT = {"sweep": timedelta(seconds=0.1), "block": timedelta(seconds=0.1), "lease": timedelta(minutes=5)}


def test_what_came_in_a_lost_reply_is_taken_up_long_before_the_lease_ends(proxy, namespace, publisher):
    router, seen = Router(), Counter()

    @router.on(Minted, name="g")
    async def handle(event: Minted) -> None:
        seen[event.number] += 1

    # A read that blocks for long: the reply that is lost is one with entries, not one that came empty.
    daemon = Daemon(router, url=proxy.url, namespace=namespace, **PATIENT | {"block": timedelta(seconds=10)})
    thread = threading.Thread(target=daemon.run)
    thread.start()
    try:
        publisher.publish(Minted(number=0))
        wait_until(lambda: seen[0], "the daemon is at work")
        proxy.cut_before_reply(1, needle=b"XREADGROUP")
        publisher.publish(Minted(number=1))
        wait_until(lambda: proxy._replies_to_lose == 0, "the read that will lose its reply has begun")
        publisher.publish_many([Minted(number=n) for n in range(2, 20)])
        wait_until(lambda: len(seen) == 20, "all is handled", 10)
    finally:
        daemon.stop()
        publisher.publish(Minted(number=20))  # ends the read that blocks
        thread.join(timeout=20)

    assert proxy.lost_replies == 1
    assert set(seen.values()) == {1}


def test_an_acknowledgement_survives_a_server_that_is_away(
    proxy, namespace, publisher, inspect, keys, caplog
):
    router, runs, started, release = Router(), Counter(), threading.Event(), threading.Event()

    @router.on(Minted, name="g")
    def handle(event: Minted) -> None:
        runs[event.number] += 1
        started.set()
        release.wait(30)

    with Running(Daemon(router, url=proxy.url, namespace=namespace, **PATIENT)):
        publisher.publish(Minted(number=1))
        assert started.wait(20)
        proxy.refuse()
        release.set()
        wait_until(lambda: "settling of g waits for the server" in caplog.text, "it is away", 10)
        proxy.accept()
        wait_until(lambda: inspect.xpending(keys.stream("Minted"), "g")["pending"] == 0, "acknowledged", 10)

    assert runs == {1: 1}


def test_an_append_that_arrives_after_a_later_one_was_answered_writes_nothing(
    server, namespace, inspect, keys
):
    appender, client = Appender(Settings.load(url=server.url, namespace=namespace)), Client(server.url)
    late, later = appender.begin(), appender.begin()

    client.run(appender.flow([appender.record(Minted(number=2))], later))
    with pytest.raises(CommandRefused, match="STALE"):
        client.run(appender.flow([appender.record(Minted(number=1))], late))
    client.close()

    assert inspect.xlen(keys.stream("Minted")) == 1


def test_an_append_leaves_the_clock_at_its_last_id(publisher, inspect, keys):
    ids = publisher.publish_many([Minted(number=n) for n in range(3)])

    assert inspect.get(keys.clock).decode() == ids[-1]


def test_an_idempotency_key_is_forgotten_after_its_window(server, namespace, inspect, keys):
    with Publisher(server.url, namespace=namespace, once_window=timedelta(seconds=0.2)) as publisher:
        first = publisher.publish(Minted(), key="k-1")
        wait_until(lambda: not inspect.exists(keys.once("k-1")), "the key is forgotten", 5)
        assert publisher.publish(Minted(), key="k-1") != first


def test_nothing_that_a_publisher_leaves_behind_stays_for_ever_but_streams_types_clock_and_the_number_of_partitions(
    publisher, inspect, keys, namespace
):
    publisher.publish(Minted())
    publisher.publish(Minted(), key="k-1")

    kept = [key.decode() for key in inspect.scan_iter(f"*{namespace}*", count=1000) if inspect.pttl(key) < 0]
    assert sorted(kept) == sorted([keys.clock, keys.types, keys.partitions, keys.stream("Minted")])
