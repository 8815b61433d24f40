"""Names that other programs gave, which are no UTF-8: nothing stops for them, and nothing that they hold is lost."""

import pytest

from busredis import Daemon, DomainEvent, Publisher, Router
from busredis.client import Client
from busredis.histories import find_all
from busredis.store.model import AggregateId
from tests.waiting import wait_until


class Borrowed(DomainEvent):
    number: int = 0


@pytest.fixture
def publisher(server, namespace, inspect):
    with Publisher(server.url, namespace=namespace) as publisher:
        yield publisher


@pytest.mark.parametrize("max_attempts", [1, 3])
@pytest.mark.parametrize("ordered", [False, True])
def test_what_a_consumer_with_any_name_left_behind_is_taken_over(  # noqa: PLR0917
    server, namespace, publisher, inspect, keys, ordered, max_attempts
):
    router, seen = Router(), []

    @router.on(Borrowed, name="g", ordered=ordered, max_attempts=max_attempts)
    async def handle(event: Borrowed) -> None:
        seen.append(event.number)

    publisher.publish_many([Borrowed(number=n, aggregate_type="B", aggregate_id="b") for n in range(4)])
    stream = keys.stream("Borrowed")
    inspect.xgroup_create(stream, "g", "0-0")
    inspect.xgroup_create(stream, b"other \xff", "0-0")
    [[_, entries]] = inspect.xreadgroup("g", b"\xff\xfe by hand", {stream: ">"}, count=2)
    inspect.xdel(stream, entries[1][0])
    Daemon(router, url=server.url, namespace=namespace, burst=True, sweep=0.1, lease=0.5).run()

    assert seen in ([0, 2, 3], [2, 3, 0])
    assert [f[b"reason"] for _, f in inspect.xrange(keys.dead("g"))] == [b"trimmed"]
    wait_until(lambda: inspect.xpending(stream, "g")["pending"] == 0, "nothing is left")


def test_a_key_with_any_name_does_not_stop_the_search_for_aggregates(server, inspect, keys):
    inspect.rpush(keys.aggregate("Borrowing", "a"), "Borrowed 1-0")
    inspect.rpush(keys.aggregate("Borrowing", "").encode() + b"\xff", "Borrowed 1-0")
    client = Client(server.url)

    found = client.run(find_all(keys))

    client.close()
    inspect.delete(keys.aggregate("Borrowing", "").encode() + b"\xff")
    assert found == [AggregateId("Borrowing", "\\xff"), AggregateId("Borrowing", "a")]
