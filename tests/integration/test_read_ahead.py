"""What is read together with acknowledgements: in order, bounded, and not lost with its reply."""

import pytest

from busredis import Daemon, DomainEvent, Publisher, Router
from busredis.delivery.pending import Pending
from busredis.errors import ConnectionLost

COUNT = 3_000


class ReadAhead(DomainEvent):
    number: int = 0


@pytest.fixture
def calls(monkeypatch):
    """How many entries each round trip acknowledged and asked for."""
    made = []
    original = Pending.acknowledge_and_read

    def noted(self, deliveries, count):
        made.append((len(deliveries), count))
        return original(self, deliveries, count)

    monkeypatch.setattr(Pending, "acknowledge_and_read", noted)
    return made


@pytest.fixture(autouse=True)
def published(server, namespace):
    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish_many([ReadAhead(number=n) for n in range(COUNT)])


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_a_daemon_never_holds_more_than_its_prefetch_and_keeps_the_order(
    server, namespace, keys, inspect, calls, colour
):
    router, seen, held = Router(), [], []

    def work(event):
        seen.append(event.number)
        if event.number % 20 == 0:
            held.append(inspect.xpending(keys.stream("ReadAhead"), "bounded")["pending"])

    async def work_async(event):
        work(event)

    router.on(ReadAhead, name="bounded")(work if colour == "sync" else work_async)
    Daemon(router, url=server.url, namespace=namespace, burst=True, prefetch=64).run()

    assert seen == list(range(COUNT))
    assert max(held) <= 64
    assert calls, "nothing was read together with acknowledgements"


def test_what_came_with_a_lost_reply_to_acknowledgements_is_taken_up_at_once(server, namespace, monkeypatch):
    router, seen, lost = Router(), [], []
    original = Pending.acknowledge_and_read

    def lose_one(self, deliveries, count):
        others, found = yield from original(self, deliveries, count)
        if not lost and found:
            lost.append(found)
            raise ConnectionLost("the reply is lost")
        return others, found

    monkeypatch.setattr(Pending, "acknowledge_and_read", lose_one)

    @router.on(ReadAhead, name="taken-up")
    async def taken_up(event):
        seen.append(event.number)

    # With such a lease nobody but its own look at what it holds can have found the entries.
    Daemon(router, url=server.url, namespace=namespace, burst=True, lease=600).run()

    assert lost
    assert sorted(seen) == list(range(COUNT))
