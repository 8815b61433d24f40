"""Names that other programs gave, which are no UTF-8: nothing stops for them, and nothing that they hold is lost."""

from datetime import timedelta

import orjson
import pytest

from busredis import Daemon, DomainEvent, Publisher, Router
from busredis.client import Client
from busredis.errors import ReplayRefused
from busredis.groups import find_groups_everywhere, prune_everywhere
from busredis.histories import find_all
from busredis.replay import move
from busredis.retention import Limits, Trimmed, trim
from busredis.status import read_status
from busredis.store.model import AggregateId
from tests.waiting import wait_until


class Borrowed(DomainEvent):
    number: int = 0


@pytest.fixture
def publisher(server, namespace, inspect):
    with Publisher(server.url, namespace=namespace) as publisher:
        yield publisher


@pytest.mark.parametrize("by_hand", [b"\xff\xfe by hand", b"waiting-" + 20 * b"9", b"waiting-" + 19 * b"9"])
@pytest.mark.parametrize("max_attempts", [1, 3])
@pytest.mark.parametrize("ordered", [False, True])
def test_what_a_consumer_with_any_name_left_behind_is_taken_over(  # noqa: PLR0917
    server, namespace, publisher, inspect, keys, ordered, max_attempts, by_hand
):
    router, seen = Router(), []

    @router.on(Borrowed, name="g", ordered=ordered, max_attempts=max_attempts)
    async def handle(event: Borrowed) -> None:
        seen.append(event.number)

    publisher.publish_many([Borrowed(number=n, aggregate_type="B", aggregate_id="b") for n in range(4)])
    stream = keys.stream("Borrowed")
    inspect.xgroup_create(stream, "g", "0-0")
    inspect.xgroup_create(stream, b"other \xff", "0-0")
    [[_, entries]] = inspect.xreadgroup("g", by_hand, {stream: ">"}, count=2)
    inspect.xdel(stream, entries[1][0])
    Daemon(router, url=server.url, namespace=namespace, burst=True, sweep=0.1, lease=0.5).run()

    assert seen in ([0, 2, 3], [2, 3, 0])
    assert [f[b"reason"] for _, f in inspect.xrange(keys.dead("g"))] == [b"trimmed"]
    wait_until(lambda: inspect.xpending(stream, "g")["pending"] == 0, "nothing is left")


def test_groups_and_consumers_with_any_name_are_shown_and_removed_like_others(
    client, publisher, inspect, keys
):
    publisher.publish_many([Borrowed(number=n) for n in range(3)])
    stream, name = keys.stream("Borrowed"), b"theirs \xff"
    inspect.xgroup_create(stream, name, "0-0")
    inspect.xreadgroup(name, b"\xfe", {stream: ">"}, count=2)
    shown = "theirs \\xff"

    [group] = client.run(read_status([keys])).groups
    assert (group.group, group.lag, group.pending, group.consumers) == (shown, 1, 2, 1)

    trimmed = client.run(trim(keys, "Borrowed", Limits(keep=0)))
    assert trimmed == Trimmed(0, f"group {shown}")
    with pytest.raises(ReplayRefused, match="no stream has a group 'mine'"):
        client.run(move(keys, "mine", "0-1"))

    [group] = client.run(find_groups_everywhere([keys]))
    assert (group.name, group.open, group.silent is None) == (shown, 2, False)
    assert orjson.loads(orjson.dumps(group))["name"] == shown
    assert client.run(prune_everywhere([keys], group, timedelta(0)))
    assert inspect.xinfo_groups(stream) == []


def test_a_key_with_any_name_does_not_stop_the_search_for_aggregates(server, inspect, keys):
    inspect.rpush(keys.aggregate("Borrowing", "a"), "Borrowed 1-0")
    inspect.rpush(keys.aggregate("Borrowing", "").encode() + b"\xff", "Borrowed 1-0")
    client = Client(server.url)

    found = client.run(find_all(keys))

    client.close()
    inspect.delete(keys.aggregate("Borrowing", "").encode() + b"\xff")
    assert found == [AggregateId("Borrowing", "\\xff"), AggregateId("Borrowing", "a")]
