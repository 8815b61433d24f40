"""A group is moved back: what it is given again, what it knows of it, and what stays to be done."""

import asyncio

import pytest

from busredis import Daemon, DomainEvent, Router
from busredis.errors import ReplayRefused
from busredis.keys import just_after
from busredis.replay import left, move
from busredis.retention import trim_before


class ReplayedPaid(DomainEvent):
    order: str = ""


class ReplayedShipped(DomainEvent):
    order: str = ""


@pytest.fixture
def publish(publisher):
    return lambda cls, *names: publisher.publish_many([cls(order=name) for name in names])


class Seen:
    """A handler and what it was given: (order, replaying)."""

    def __init__(self, server, namespace, fail=(), **options):
        self.calls, self.fail, self.router = [], set(fail), Router()
        self._server, self._namespace = server, namespace
        self.router.on(ReplayedPaid, ReplayedShipped, name="seen", backoff=0.0, **options)(self.handle)

    async def handle(self, event, ctx):
        self.calls.append((event.order, ctx.replaying))
        if event.order in self.fail:
            self.fail.discard(event.order)
            raise ValueError("this time")

    def run(self):
        self.calls.clear()
        asyncio.run(
            Daemon(
                self.router, url=self._server.url, namespace=self._namespace, burst=True, sweep=0.05, lease=2
            ).serve()
        )
        return self.calls


def test_a_group_is_given_again_what_it_had_and_knows_where_that_ends(
    server, namespace, keys, client, publish, inspect
):
    seen = Seen(server, namespace)
    ids = publish(ReplayedPaid, "a", "b", "c") + publish(ReplayedShipped, "d")
    assert seen.run() == [("a", False), ("b", False), ("c", False), ("d", False)]

    moved = client.run(move(keys, "seen", ids[1]))
    publish(ReplayedPaid, "new")

    assert {one.event_type: one.was_at for one in moved} == {
        "ReplayedPaid": ids[2],
        "ReplayedShipped": ids[3],
    }
    assert client.run(left(keys, "seen")) == 3
    assert sorted(seen.run()) == [("b", True), ("c", True), ("d", True), ("new", False)]
    assert client.run(left(keys, "seen")) == 0
    assert inspect.exists(keys.replay("seen")) == 0


def test_a_failure_in_a_replay_is_tried_again_as_a_replay(server, namespace, keys, client, publish):
    seen = Seen(server, namespace)
    [first, _] = publish(ReplayedPaid, "a", "b")
    seen.run()
    seen.fail = {"a"}

    client.run(move(keys, "seen", first))

    assert sorted(seen.run()) == [("a", True), ("a", True), ("b", True)]


@pytest.mark.parametrize("asked", [False, True])
def test_handlers_with_side_effects_are_left_out_unless_asked(  # noqa: PLR0917
    server, namespace, keys, client, publish, inspect, asked
):
    seen = Seen(server, namespace, side_effects=True)
    [first, *_] = publish(ReplayedPaid, "a", "b")
    assert seen.run() == [("a", False), ("b", False)]

    client.run(move(keys, "seen", first, with_side_effects=asked))
    publish(ReplayedPaid, "new")

    assert seen.run() == ([("a", True), ("b", True)] if asked else []) + [("new", False)]
    assert inspect.xpending(keys.stream("ReplayedPaid"), "seen")["pending"] == 0


def test_what_is_pending_is_not_taken_for_handled(server, namespace, keys, client, publish, inspect):
    seen = Seen(server, namespace)
    ids = publish(ReplayedPaid, "a", "b", "c")
    publish(ReplayedShipped, "d")
    stream = keys.stream("ReplayedPaid")
    seen.run()
    inspect.xgroup_setid(stream, "seen", ids[0])
    inspect.xreadgroup("seen", "waiting-0", {stream: ">"}, count=1)
    before = inspect.xinfo_groups(stream)

    with pytest.raises(ReplayRefused, match="1 pending or waiting entries"):
        client.run(move(keys, "seen", ids[0]))
    assert inspect.xinfo_groups(stream) == before

    client.run(move(keys, "seen", ids[2]))  # what is pending lies before it, and stays
    assert inspect.xpending(stream, "seen")["pending"] == 1

    client.run(move(keys, "seen", ids[0], on_pending="again"))
    assert inspect.xpending(stream, "seen")["pending"] == 0
    assert sorted(seen.run())[:2] == [("a", True), ("b", True)]


def test_a_group_that_gets_lost_during_a_replay_is_restored_in_it(
    server, namespace, keys, client, publish, inspect
):
    seen = Seen(server, namespace)
    ids = publish(ReplayedPaid, "a", "b", "c")
    seen.run()
    client.run(move(keys, "seen", ids[1]))
    inspect.xgroup_destroy(keys.stream("ReplayedPaid"), "seen")

    assert [order for order, _ in seen.run()] == ["b", "c"]


def test_what_was_trimmed_cannot_be_given_again_and_nothing_is_moved(
    server, namespace, keys, client, publish, inspect
):
    seen = Seen(server, namespace)
    ids = publish(ReplayedPaid, "a", "b", "c")
    seen.run()
    client.run(trim_before(keys, "ReplayedPaid", just_after(ids[0])))

    with pytest.raises(ReplayRefused, match="--shadow NAME"):
        client.run(move(keys, "seen", ids[0]))

    assert seen.run() == []
    client.run(move(keys, "seen", ids[1]))
    assert seen.run() == [("b", True), ("c", True)]


def test_a_group_that_is_not_there_is_said_to_be_missing(keys, client, publish):
    publish(ReplayedPaid, "a")

    with pytest.raises(ReplayRefused, match="no stream has a group 'nobody'"):
        client.run(move(keys, "nobody", "0-1"))


def test_in_a_replay_only_handlers_with_side_effects_publish(
    server, namespace, keys, client, publish, inspect
):
    router = Router()

    @router.on(ReplayedPaid, name="seen", max_attempts=1)
    async def chain(event: ReplayedPaid, ctx) -> None:
        await ctx.publish(ReplayedShipped(order=event.order))

    daemon = lambda: Daemon(router, url=server.url, namespace=namespace, burst=True)  # noqa: E731
    [first] = publish(ReplayedPaid, "a")
    asyncio.run(daemon().serve())
    client.run(move(keys, "seen", first))

    asyncio.run(daemon().serve())

    assert inspect.xlen(keys.stream("ReplayedShipped")) == 1
    [(_, letter)] = inspect.xrange(keys.dead("seen"))
    assert b"publishes in a replay" in letter[b"error"]
