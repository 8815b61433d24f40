"""What status says, and that it costs no more however much there is."""

import pytest
from typer.testing import CliRunner

from busredis import Daemon, DomainEvent, EventStore, Publisher, Router
from busredis.cli.app import app
from busredis.client import Client
from busredis.groups import find_groups
from busredis.inventory import take_stock
from busredis.status import read_status
from busredis.store import NEW
from tests.counts import Counts


class Weighed(DomainEvent):
    number: int = 0


class Unheard(DomainEvent):
    """Nobody publishes it."""


@pytest.fixture
def client(server):
    client = Client(server.url)
    yield client
    client.close()


@pytest.fixture
def shown(server, namespace, monkeypatch):
    """What `busredis status` prints."""
    monkeypatch.setenv("BUSREDIS_URL", server.url)
    monkeypatch.setenv("BUSREDIS_NAMESPACE", namespace)
    monkeypatch.setenv("COLUMNS", "250")
    return lambda *options: CliRunner().invoke(app, ["status", *options]).output


def fill(inspect, stream: str, first: int, last: int) -> None:
    pipeline = inspect.pipeline(transaction=False)
    for number in range(first, last):
        pipeline.xadd(stream, {"event": '{"payload": {}}' + " " * 200}, id=f"1700000000000-{number + 1}")
    pipeline.execute()


@pytest.fixture
def stream(inspect, keys) -> str:
    name = keys.stream("Weighed")
    fill(inspect, name, 0, 500)
    inspect.xgroup_create(name, "g", id="0")
    return name


def test_status_runs_as_many_commands_for_many_entries_as_for_few(client, inspect, keys, stream):
    inspect.xreadgroup("g", "waiting", {stream: ">"}, count=100)
    inspect.xreadgroup("g", "busy", {stream: ">"}, count=100)
    client.run(read_status([keys]))
    counts = Counts(inspect)
    before = client.run(read_status([keys])).groups[0]
    few = counts.since()

    fill(inspect, stream, 500, 20_000)
    inspect.xreadgroup("g", "waiting", {stream: ">"}, count=2_000)
    inspect.xreadgroup("g", "busy", {stream: ">"}, count=3_000)
    counts.since()
    after = client.run(read_status([keys])).groups[0]
    many = counts.since()

    assert (before.waiting, before.pending) == (100, 100)
    assert (after.waiting, after.pending) == (2_100, 3_100)
    assert abs(many.pop("bytes") - few.pop("bytes")) < 5_000
    # Before Redis 7 the server does not know the lag.
    counted = many.pop("evalsha", 0) - few.pop("evalsha", 0)
    assert 0 <= counted <= 10
    assert few.pop("xrange") <= many.pop("xrange") <= 12
    assert many == few


def lag_of(client, keys) -> tuple[int, bool]:
    [group] = client.run(read_status([keys])).groups
    return group.lag, group.lag_is_exact


def test_a_lag_that_the_server_does_not_know_is_counted_within_bounds_and_said_to_be_a_lower_one(
    client, inspect, keys, stream, shown
):
    fill(inspect, stream, 500, 12_000)
    assert lag_of(client, keys) == (12_000, True)  # nothing was read: all of it
    inspect.xreadgroup("g", "c", {stream: ">"}, count=100)
    inspect.xdel(stream, "1700000000000-5000")
    client.run(read_status([keys]))
    counts = Counts(inspect)

    assert lag_of(client, keys) == (10_000, False)

    cost = counts.since()
    assert cost["bytes"] < 50_000
    assert cost["evalsha"] == 10
    assert ">= 10,000" in shown()
    inspect.xreadgroup("g", "c", {stream: ">"}, count=3_000)
    assert lag_of(client, keys) == (12_000 - 1 - 3_100, True)


def test_a_look_that_ends_before_all_keys_were_seen_says_so_and_misses_no_stream_of_ours(
    namespace, client, inspect, keys, shown, monkeypatch
):
    with EventStore(client.shown, namespace=namespace) as store:
        store.append(("Heap", "h-0"), NEW, [Weighed()])
    router = Router()
    router.on(Unheard, name="listens")(lambda event: None)
    Daemon(router, url=client.shown, namespace=namespace, burst=True).run()
    pipeline = inspect.pipeline(transaction=False)
    for number in range(3_000):
        pipeline.hset(keys.snapshot("Heap", f"h-{number}"), "version", 1)
    pipeline.execute()

    [part] = client.run(take_stock([keys], most=1_000))
    some = client.run(read_status([keys], most_keys=1_000))
    every = client.run(read_status([keys], most_keys=None))

    assert not part.is_whole
    assert not some.is_whole
    assert [row.event_type for row in some.streams] == ["Unheard", "Weighed"]
    assert sum(row.snapshots for row in some.aggregates) < 3_000
    assert not any(row.is_exact for row in some.aggregates)
    assert every.is_whole
    [heap] = every.aggregates
    assert (heap.aggregates, heap.snapshots, heap.is_exact) == (1, 3_000, True)
    monkeypatch.setattr("busredis.cli.status.MOST_KEYS", 1_000)
    assert "Not all keys of the server were looked through" in shown()
    assert "3,000" in shown("--all")
    assert "Not all keys" not in shown("--all")


def test_streams_of_foreign_programs_and_their_groups_are_found(client, inspect, keys, stream):
    inspect.xadd(keys.stream("Foreign"), {"x": "y"})
    inspect.xgroup_create(keys.stream("Foreign"), "theirs", id="0")

    found = client.run(read_status([keys]))

    assert [row.event_type for row in found.streams] == ["Foreign", "Weighed"]
    assert [group.group for group in found.groups] == ["g", "theirs"]
    assert [group.name for group in client.run(find_groups(keys))] == ["g", "theirs"]


def test_a_stream_that_was_there_once_is_no_trouble(server, namespace, client, inspect, keys):
    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish(Weighed())
    inspect.delete(keys.stream("Weighed"))

    assert client.run(read_status([keys])).streams == []
    assert client.run(find_groups(keys)) == []
