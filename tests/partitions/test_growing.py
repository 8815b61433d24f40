"""More partitions: a namespace is copied into a new one while it is in use, and the switch loses and doubles nothing."""

import sys
from collections import Counter

from busredis import Daemon, DomainEvent, EventStore, Publisher, Router
from busredis.archiver import Archiver
from busredis.cold import Archive
from busredis.partitions import all_keys
from busredis.store import ANY
from examples import repartition
from tests.partitions.conftest import FAST


class Grown(DomainEvent):
    number: int = 0


def _handle(server, namespace):
    router, seen = Router(), Counter()
    router.on(Grown, name="all")(lambda event: seen.update([event.number]))
    Daemon(router, url=server.url, namespace=namespace, burst=True, **FAST).run()
    return seen


def _publish(server, namespace, numbers):
    with EventStore(server.url, namespace=namespace) as store:
        with Publisher(server.url, namespace=namespace) as publisher:
            for n in numbers:
                if n % 3:
                    store.append(("Grower", f"g-{n % 7}"), ANY, [Grown(number=n)])
                else:
                    publisher.publish(Grown(number=n))


def _copy(server, namespace, monkeypatch, *more):
    arguments = ["repartition.py", namespace, f"{namespace}-new", "5", "--url", server.url, *more]
    monkeypatch.setattr(sys, "argv", [*arguments, "--import", __name__])
    repartition.main()


def test_a_namespace_is_copied_while_it_is_in_use_and_each_event_is_there_once(
    server, namespace, inspect, monkeypatch, capsys
):
    new = f"{namespace}-new"
    _publish(server, namespace, range(100))
    assert _handle(server, namespace) == Counter(range(100))
    _copy(server, namespace, monkeypatch)
    _publish(server, namespace, range(100, 150))
    assert _handle(server, namespace) == Counter(range(100, 150))

    _copy(server, namespace, monkeypatch)
    _copy(server, namespace, monkeypatch, "--groups")
    _publish(server, new, range(150, 180))

    assert "1 groups begin" in capsys.readouterr().out
    assert _handle(server, new) == Counter(range(150, 180))
    with EventStore(server.url, namespace=new) as store, EventStore(server.url, namespace=namespace) as old:
        assert store.partitions == 5
        copied = [one.event for one in store.feed() if one.event.number < 150]
        assert sorted(event.number for event in copied) == list(range(150))
        assert {event.event_id for event in copied} == {one.event.event_id for one in old.feed()}
        for k in range(7):
            before = [one.event for one in old.read(("Grower", f"g-{k}"))]
            assert [one.event for one in store.read(("Grower", f"g-{k}"))][: len(before)] == before
    keys = [key for part in all_keys(new, 5) for key in inspect.scan_iter(f"{part.tag}*")]
    inspect.delete(f"{{{new}}}:partitions", *keys)


def test_what_is_archived_of_the_old_namespace_is_copied_too(  # noqa: PLR0917
    server, namespace, inspect, keys, client, monkeypatch, tmp_path
):
    monkeypatch.setenv("BUSREDIS_ARCHIVE", str(tmp_path))
    _publish(server, namespace, range(60))
    Archiver(client, keys, Archive(str(tmp_path), namespace), "99999999999999-0").run()
    assert inspect.xlen(keys.stream("Grown")) == 0

    _copy(server, namespace, monkeypatch)

    new = f"{namespace}-new"
    with EventStore(server.url, namespace=new) as store:
        assert sorted(one.event.number for one in store.feed()) == list(range(60))
    found = [key for part in all_keys(new, 5) for key in inspect.scan_iter(f"{part.tag}*")]
    inspect.delete(f"{{{new}}}:partitions", *found)


def test_the_arithmetic_of_the_guide():
    from docs.scaling import Load, Node, plan

    node = Node(appends=80_000, deliveries=80_000, memory=32 * 2**30)
    small = plan(Load(rate=1_000, bytes=400, days=1, groups=3), node)
    large = plan(Load(rate=50_000, bytes=400, days=1, groups=3), node)

    assert (small.masters, small.partitions) == (2, 16)  # by memory: 36 GiB
    assert (large.masters, large.partitions) == (56, 512)
    assert plan(Load(1_000, 400, 0.5, 3), node).partitions == 1
