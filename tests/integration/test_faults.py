"""Faults on the way and in the server: nothing is lost, nobody acknowledges what another holds."""

import json
import signal
import threading
from collections import Counter
from datetime import timedelta

import pytest
import redis

from busredis import AsyncPublisher, Context, Daemon, DomainEvent, Publisher, Router
from busredis.client import Client
from busredis.delivery.model import Delivery, Outcome, Verdict
from busredis.delivery.pending import Pending
from busredis.keys import Keys
from tests.integration.conftest import FAST
from tests.integration.running import Repeating, Running, leave_with_a_ghost, released
from tests.servers import TestServer, chosen_server
from tests.waiting import wait_until


class Sent(DomainEvent):
    number: int = 0


class Counting(Running):
    """A daemon that counts what its handler was run for."""

    def __init__(self, url: str, namespace: str, **options) -> None:
        self.seen: Counter[int] = Counter()
        self.attempts: Counter[int] = Counter()
        router = Router()

        @router.on(Sent, name="counts", backoff=0.05)
        async def counts(event: Sent, ctx: Context) -> None:
            self.seen[event.number] += 1
            self.attempts[ctx.attempt] += 1

        super().__init__(Daemon(router, url=url, namespace=namespace, **(FAST | options)))


@pytest.mark.parametrize("command", [b"XREADGROUP", b"EVALSHA"])
def test_a_lost_reply_to_a_daemon_loses_no_event_and_counts_no_attempt(
    server, proxy, namespace, inspect, keys, command
):
    with Publisher(server.url, namespace=namespace) as publisher, Counting(proxy.url, namespace) as running:
        for round_ in range(5):
            proxy.cut_before_reply(1, needle=command)
            publisher.publish_many([Sent(number=round_ * 20 + n) for n in range(20)])
            wait_until(
                lambda r=round_: set(running.seen) >= set(range(r * 20 + 20)), f"round {round_} is handled"
            )
        wait_until(
            lambda: inspect.xpending(keys.stream("Sent"), "counts")["pending"] == 0, "all is acknowledged"
        )

    assert proxy.lost_replies >= 3
    assert set(running.seen) == set(range(100))
    assert set(running.attempts) == {1}


async def test_a_lost_reply_to_a_publisher_is_stored_once(server, proxy, namespace, inspect, keys):
    async with AsyncPublisher(proxy.url, namespace=namespace) as publisher:
        await publisher.publish(Sent(number=0))
        for number in range(1, 6):
            proxy.cut_before_reply(1, needle=b"EVALSHA")
            await publisher.publish(Sent(number=number))

    assert proxy.lost_replies == 5
    assert inspect.xlen(keys.stream("Sent")) == 6


def test_scripts_and_connections_that_the_server_drops_are_replaced(server, namespace, inspect, keys):
    with Publisher(server.url, namespace=namespace) as publisher, Counting(server.url, namespace) as running:
        for number in range(20):
            inspect.script_flush()
            if number % 5 == 0:
                inspect.client_kill_filter(_type="normal", skipme=True)
            publisher.publish(Sent(number=number))
        wait_until(lambda: set(running.seen) == set(range(20)), "all is handled")
        wait_until(
            lambda: inspect.xpending(keys.stream("Sent"), "counts")["pending"] == 0, "all is acknowledged"
        )

    assert inspect.xlen(keys.stream("Sent")) == 20


@pytest.mark.timeout(90)
def test_what_was_confirmed_survives_the_death_of_the_server(tmp_path):
    _, binary = chosen_server()
    with (
        TestServer(binary, tmp_path, appendfsync="always") as server,
        Counting(server.url, "busredis") as running,
        Publisher(server.url, namespace="busredis", publish_timeout=timedelta(seconds=20)) as publisher,
    ):
        with Repeating(lambda number: publisher.publish(Sent(number=number))) as publishing:
            for kill in range(3):
                wait_until(lambda k=kill: publishing.calls > 100 * (k + 1), "events are published")
                server.kill()
                server.restart()
        wait_until(lambda: set(running.seen) >= set(range(publishing.calls)), "all confirmed is handled", 30)

        with redis.Redis(port=server.port) as client:
            entries = client.xrange(Keys("busredis").stream("Sent"))

    assert publishing.calls > 300
    stored = [json.loads(fields[b"event"])["payload"]["number"] for _, fields in entries]
    assert stored == list(range(publishing.calls))


def test_a_lost_lease_is_fenced_neither_ack_nor_retry_nor_dead_letter_nor_renewal_touch_the_entry(
    server, namespace, inspect, keys
):
    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish(Sent())
    client = Client(server.url)
    stream = keys.stream("Sent")
    zombie, rival = (Pending(keys, "g", name, [stream]) for name in ("zombie", "rival"))
    client.run(zombie.ensure("0-0", restore=False))
    [[_, [[entry_id, fields]]]] = client.run(zombie.read([stream], 10, None))
    held = Delivery(stream, Sent, entry_id, fields, 1, "zombie", 0.0)
    [row] = client.run(zombie.own())
    assert client.run(rival.claim(row, 0, 2)) == fields
    assert client.run(rival.claim(row, 0, 2)) is None  # only one wins

    assert client.run(zombie.acknowledge([held])) == {entry_id}
    assert client.run(zombie.wait(held, Outcome(Verdict.RETRY, error="x"))) is False
    assert client.run(zombie.dead_letter(held, Outcome(Verdict.DEAD_LETTER))) is False
    assert client.run(zombie.renew([held])) == {entry_id}
    client.run(zombie.release([held], Outcome(Verdict.RELEASE)))

    [entry] = inspect.xpending_range(stream, "g", "-", "+", 10)
    assert (entry["consumer"], entry["times_delivered"]) == (b"rival", 2)
    assert inspect.xlen(keys.dead("g")) == 0
    regained = Delivery(stream, Sent, entry_id, fields, 2, "rival", 0.0)
    assert client.run(rival.acknowledge([regained])) == set()
    assert client.run(rival.acknowledge([regained])) == {entry_id}  # a second ack is seen as one
    client.close()


def test_a_slow_handler_keeps_its_lease_also_when_it_blocks_the_loop(server, namespace, inspect, keys):
    runs: list[tuple[str, int]] = []
    router, release, stream = Router(), threading.Event(), keys.stream("Sent")

    def handle(name: str, number: int) -> None:
        runs.append((name, number))
        if number == 1 and runs.count((name, 1)) == 1:
            release.wait(60)

    @router.on(Sent, name="blocks")
    async def blocks(event: Sent) -> None:
        handle("blocks", event.number)  # the fault

    @router.on(Sent, name="slow")
    def slow(event: Sent) -> None:
        handle("slow", event.number)

    with Publisher(server.url, namespace=namespace) as publisher:
        abandoned = publisher.publish(Sent(number=2)).encode()
        Daemon(router, url=server.url, namespace=namespace, burst=True, **FAST).run()
        assert sorted(runs) == [("blocks", 2), ("slow", 2)]
        runs.clear()
        blocked, rival = (Daemon(router, url=server.url, namespace=namespace, **FAST) for _ in range(2))
        with Running(blocked), Running(rival), released(release):
            publisher.publish(Sent(number=1))
            wait_until(lambda: ("blocks", 1) in runs, "a loop is blocked")
            for group in ("blocks", "slow"):
                wait_until(
                    lambda g=group: inspect.xpending(stream, g)["pending"] == 1, "the group has the event"
                )
                leave_with_a_ghost(inspect, stream, group, abandoned)
            wait_until(
                lambda: {("blocks", 2), ("slow", 2)} <= {*runs}, "what ghosts have held from then on is taken"
            )
            release.set()
            for group in ("blocks", "slow"):
                wait_until(lambda g=group: inspect.xpending(stream, g)["pending"] == 0, "it is done")

    assert sorted(runs) == [("blocks", 1), ("blocks", 2), ("slow", 1), ("slow", 2)]


def test_a_consumer_with_pending_entries_is_never_removed(server, namespace, inspect, keys):
    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish(Sent())
    stream = keys.stream("Sent")
    with_entry, empty, asks = (Pending(keys, "g", name, [stream]) for name in ("holds", "empty", "asks"))
    client = Client(server.url)
    client.run(with_entry.ensure("0-0", restore=False))
    client.run(with_entry.read([stream], 1, None))
    client.run(empty.read([stream], 1, None))
    inspect.xgroup_createconsumer(stream, "g", "empty")

    client.run(asks.forget_consumers(0))

    assert [consumer["name"] for consumer in inspect.xinfo_consumers(stream, "g")] == [b"holds"]
    client.close()


def test_a_dead_letter_that_cannot_be_written_keeps_its_entry_and_the_rest_goes_on(
    server, namespace, inspect, keys
):
    router, seen = Router(), []

    @router.on(Sent, name="rejects", max_attempts=1)
    async def rejects(event: Sent) -> None:
        if event.number == 0:
            raise ValueError("bad")
        seen.append(event.number)

    inspect.set(keys.dead("rejects"), "not a stream")
    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish_many([Sent(number=n) for n in range(3)])
    with Running(Daemon(router, url=server.url, namespace=namespace, **FAST)):
        wait_until(lambda: seen == [1, 2], "the rest is handled")
        pending = lambda: inspect.xpending(keys.stream("Sent"), "rejects")  # noqa: E731
        wait_until(lambda: [c["name"] for c in pending()["consumers"]] == [b"waiting-30000"], "it waits")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
