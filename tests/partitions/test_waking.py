"""Idle daemons with many partitions rest, and wake up when there is something: what is counted are commands."""

import logging
from datetime import timedelta

import pytest
import redis

from busredis import DomainEvent, Publisher, Router
from busredis.client import Client
from busredis.daemon.tidings import Tidings
from busredis.dead_letters import DeadLetters
from busredis.partitions import all_keys, partition_of
from busredis.replay import move
from tests.partitions.conftest import COUNT
from tests.partitions.resting import LONG, calls, running, told, tracked, wait_for_rest
from tests.waiting import wait_until

FAST = {"sweep": timedelta(seconds=0.1), "block": timedelta(seconds=0.1), "lease": timedelta(seconds=30)}


class Waking(DomainEvent):
    number: int = 0


class WakingToo(DomainEvent):
    number: int = 0


@pytest.fixture
def publisher(server, namespace, look):
    with Publisher(server.url, namespace=namespace, partitions=COUNT) as publisher:
        yield publisher


def numbered(router, seen, *, ordered=False, name="all"):
    router.on(Waking, name=name, ordered=ordered)(lambda event: seen.append(event.number))


def foreign(look, keys, number):
    look.xadd(keys.stream("Waking"), {"event": f'{{"aggregate_id": "a", "payload": {{"number": {number}}}}}'})


def test_an_idle_daemon_asks_for_nothing_again_and_again(server, namespace, look, publisher_of_eight):
    router, seen = Router(), []
    for n in range(16):
        router.on((Waking, WakingToo)[n % 2], name=f"h{n}")(lambda event: seen.append(event.number))
    before = tracked(look)
    with running(router, server.url, namespace, partitions=8, **FAST):
        publisher_of_eight.publish_many([Waking(number=n, aggregate_id=f"a-{n}") for n in range(100)])
        wait_until(lambda: len(seen) == 800, "all is handled")
        # Two streams a partition, the dead letters and the replay of each group, and the schedule.
        wait_for_rest(look, 8 * (2 + 2 * 16 + 1), before)
        wait_until(lambda: looks(look, 8) >= 2, "the daemon looks all the same")
        asked = calls(look, "xreadgroup", "xread", "exists", "hgetall", "xpending")
        scripts, since = calls(look, "evalsha", "eval"), looks(look, 8)
        wait_until(lambda: looks(look, 8) >= since + 3, "thirty times `block` are over")

        assert calls(look, "xreadgroup", "xread", "exists", "hgetall", "xpending") == asked
        # A look at each partition in ten sweeps, and, within the time, two at each schedule.
        assert calls(look, "evalsha", "eval") - scripts <= 8 * (4 + 2)


@pytest.fixture
def publisher_of_eight(server, namespace):
    with Publisher(server.url, namespace=namespace, partitions=8) as publisher:
        yield publisher
    # `look` knows of four.
    with redis.Redis(port=server.port) as client:
        for keys in all_keys(namespace, 8)[4:]:
            for key in client.scan_iter(f"{keys.tag}:*", count=1000):
                assert keys.known(key.decode())
                client.delete(key)


def looks(client, partitions: int) -> float:
    """How often the daemon has looked at what nobody tells, by the streams that it looked at."""
    return calls(client, "xrevrange") / (partitions * 2)


@pytest.mark.parametrize("ordered", [False, True], ids=["plain", "ordered"])
@pytest.mark.usefixtures("never_looks")
def test_an_event_of_anybody_wakes_who_rests(server, namespace, look, parts, publisher, ordered):
    router, seen, before = Router(), [], tracked(look)
    numbered(router, seen, ordered=ordered)

    with running(router, server.url, namespace, partitions=COUNT, **LONG):
        for n in range(0, 8, 2):
            wait_for_rest(look, COUNT, before)
            foreign(look, parts[n // 2], n)
            wait_until(lambda n=n: len(seen) == n + 1, "what a foreign program has added is handled")
            wait_for_rest(look, COUNT, before)
            publisher.publish(Waking(number=n + 1))
            wait_until(lambda n=n: len(seen) == n + 2, "what was published is handled")

    assert seen == list(range(8))


@pytest.mark.usefixtures("never_looks")
@pytest.mark.parametrize("ordered", [False, True], ids=["plain", "ordered"])
def test_what_is_added_just_before_it_is_asked_for_is_found(
    server, namespace, look, parts, monkeypatch, ordered
):
    ask, added = Tidings.ask, []

    async def add_and_ask(self, keys):
        keys = list(keys)
        for number, partition in enumerate(parts):
            if partition.stream("Waking") in keys and number not in added:
                added.append(number)
                foreign(look, partition, number)
        await ask(self, keys)

    monkeypatch.setattr(Tidings, "ask", add_and_ask)
    router, seen = Router(), []
    numbered(router, seen, ordered=ordered)

    with running(router, server.url, namespace, partitions=COUNT, **LONG):
        wait_until(lambda: sorted(seen) == list(range(COUNT)), "all is handled")


@pytest.mark.usefixtures("never_looks")
def test_who_rests_wakes_when_the_connection_that_tells_is_lost(server, namespace, look, parts):
    router, seen, before = Router(), [], tracked(look)
    numbered(router, seen)

    with running(router, server.url, namespace, partitions=COUNT, **LONG):
        wait_for_rest(look, COUNT, before)
        for number in range(3):
            [lost] = told(look)
            with look.pipeline(transaction=True) as both:
                # Nobody is there to be told of this.
                both.execute_command("CLIENT", "KILL", "ID", lost)
                both.xadd(parts[number].stream("Waking"), {"event": f'{{"payload": {{"number": {number}}}}}'})
                both.execute()
            wait_until(lambda n=number: len(seen) == n + 1, "what came meanwhile is handled")
            wait_until(lambda gone=lost: told(look) not in ([], [gone]), "another connection tells")
            wait_for_rest(look, COUNT, before)
        foreign(look, parts[3], 3)
        wait_until(lambda: len(seen) == 4, "what came afterwards is handled")

    assert seen == [0, 1, 2, 3]


def test_where_the_server_does_not_tell_it_is_asked(server, namespace, look, parts, publisher, caplog):
    try:
        look.execute_command(
            "ACL", "SETUSER", "untold", "on", ">secret", "~*", "&*", "+@all", "-client|tracking"
        )
    except redis.ResponseError:  # before Redis 7.0 it is all of CLIENT or nothing
        look.execute_command("ACL", "SETUSER", "untold", "on", ">secret", "~*", "&*", "+@all", "-client")
    router, seen = Router(), []
    numbered(router, seen)
    url = f"redis://untold:secret@127.0.0.1:{server.port}/0"
    try:
        with caplog.at_level(logging.WARNING), running(router, url, namespace, partitions=COUNT, **FAST):
            for n in range(8):
                foreign(look, parts[n % COUNT], n)
                wait_until(lambda n=n: len(seen) == n + 1, "it is handled")
        assert told(look) == []
        said = [record for record in caplog.records if "does not tell what changes" in record.message]
        assert len(said) == 1
    finally:
        look.execute_command("ACL", "DELUSER", "untold")


def test_what_nobody_tells_is_found_all_the_same(server, namespace, look, parts, publisher):
    router, seen, before = Router(), [], tracked(look)
    numbered(router, seen)

    with running(router, server.url, namespace, partitions=COUNT, **FAST):
        foreign(look, parts[2], 7)
        wait_until(lambda: seen == [7], "it is handled")
        wait_for_rest(look, COUNT * 4, before)
        look.xgroup_setid(parts[2].stream("Waking"), "all", "0")
        wait_until(lambda: seen == [7, 7], "what the group was moved back to is found")
        wait_for_rest(look, COUNT * 4, before)
        look.xgroup_destroy(parts[1].stream("Waking"), "all")
        wait_until(lambda: look.xinfo_groups(parts[1].stream("Waking")), "the group is restored")


@pytest.mark.usefixtures("never_looks")
def test_streams_that_vanish_wake_who_rests(server, namespace, look, parts):
    router, seen, before = Router(), [], tracked(look)
    numbered(router, seen)

    with running(router, server.url, namespace, partitions=COUNT, **LONG):
        wait_for_rest(look, COUNT, before)
        look.delete(*(keys.stream("Waking") for keys in parts))
        wait_until(lambda: look.exists(*(keys.stream("Waking") for keys in parts)) == COUNT, "they are back")
        foreign(look, parts[1], 5)
        wait_until(lambda: seen == [5], "what is added then is handled")


@pytest.mark.usefixtures("never_looks")
def test_what_a_silent_daemon_has_taken_is_taken_over_by_one_that_rested(server, namespace, look, parts):
    router, seen, before = Router(), [], tracked(look)
    numbered(router, seen)

    with running(router, server.url, namespace, partitions=COUNT, **(FAST | {"lease": timedelta(seconds=2)})):
        wait_for_rest(look, COUNT * 4, before)
        stream = parts[3].stream("Waking")
        with look.pipeline(transaction=True) as both:
            both.xadd(stream, {"event": '{"payload": {"number": 3}}'})
            both.xreadgroup("all", "silent", {stream: ">"})
            both.execute()
        wait_until(lambda: seen == [3], "it is taken over")
        wait_until(lambda: look.xpending(stream, "all")["pending"] == 0, "it is acknowledged")


@pytest.mark.parametrize("ordered", [False, True], ids=["plain", "ordered"])
@pytest.mark.usefixtures("never_looks")
def test_a_dead_letter_that_is_tried_again_wakes_who_rests(
    server, namespace, look, parts, publisher, ordered
):
    router, seen, before = Router(), [], tracked(look)

    @router.on(Waking, name="fails", ordered=ordered, max_attempts=1)
    def fails(event):
        seen.append(event.number)
        if len(seen) == 1:
            raise ValueError("once")

    with running(router, server.url, namespace, partitions=COUNT, **FAST):
        publisher.publish(Waking(number=1, aggregate_id="a"))
        own = parts[partition_of("a", COUNT)]
        wait_until(lambda: look.xlen(own.dead("fails")) == 1, "it is a dead letter")
        wait_for_rest(look, COUNT * 4, before)
        client = Client(server.url)
        [letter] = client.run(DeadLetters(parts).list("fails"))
        assert client.run(DeadLetters(parts).retry(letter))
        client.close()
        wait_until(lambda: seen == [1, 1], "it is tried again")


@pytest.mark.usefixtures("never_looks")
def test_a_retry_that_is_due_has_its_turn_though_a_read_rests_that_may_take_all_the_room(
    server, namespace, look, parts
):
    router, seen = Router(), []

    @router.on(Waking, name="fails", backoff=0.05)
    def fails(event):
        seen.append(event.number)
        if len(seen) < 3:
            raise ValueError("not yet")

    with running(router, server.url, namespace, partitions=COUNT, prefetch=COUNT, **FAST):
        foreign(look, parts[1], 1)
        wait_until(lambda: seen == [1, 1, 1], "it is tried until it succeeds")


@pytest.mark.usefixtures("never_looks")
@pytest.mark.parametrize("ordered", [False, True], ids=["plain", "ordered"])
def test_a_replay_wakes_who_rests(server, namespace, look, parts, publisher, ordered):
    router, seen, before = Router(), [], tracked(look)
    numbered(router, seen, ordered=ordered)

    with running(router, server.url, namespace, partitions=COUNT, **FAST):
        publisher.publish(Waking(number=1, aggregate_id="a"))
        wait_until(lambda: seen == [1], "it is handled")
        wait_for_rest(look, COUNT * 4, before)
        client = Client(server.url)
        client.run(move(parts[partition_of("a", COUNT)], "all", "0-1"))
        client.close()
        wait_until(lambda: seen == [1, 1], "it is handled again")


@pytest.mark.usefixtures("never_looks")
def test_a_schedule_that_is_changed_wakes_who_rests(server, namespace, look, parts, publisher):
    router, seen, before = Router(), [], tracked(look)
    numbered(router, seen)

    with running(router, server.url, namespace, partitions=COUNT, **LONG):
        wait_for_rest(look, COUNT * 2, before)
        publisher.schedule(Waking(number=1), delay=0.5)
        wait_until(lambda: seen == [1], "it is appended and handled")


@pytest.mark.usefixtures("never_looks")
def test_who_stands_by_is_woken_when_the_ownership_is_given_up(server, namespace, look, parts, publisher):
    first, second, seen = Router(), Router(), []
    numbered(first, seen, ordered=True)
    numbered(second, seen, ordered=True)
    long = LONG | {"lease": timedelta(hours=1)}

    with running(first, server.url, namespace, partitions=COUNT, **long) as owner:
        wait_until(lambda: owners(look, parts) == [owner.name] * COUNT, "the first owns all")
        before = tracked(look)
        with running(second, server.url, namespace, partitions=COUNT, **long) as successor:
            wait_for_rest(look, COUNT, before)
            owner.stop()
            wait_until(lambda: owners(look, parts) == [successor.name] * COUNT, "the second owns all")
            publisher.publish(Waking(number=1))
            wait_until(lambda: seen == [1], "it handles what comes")


def owners(look, parts) -> list[str]:
    return [(look.hget(keys.owner("all"), "owner") or b"").decode() for keys in parts]
