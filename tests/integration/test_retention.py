"""Each retention, on a real server: what goes, what stays, and who is named for it."""

import threading
from datetime import timedelta

import pytest

from busredis import Daemon, EventStore, Publisher, Retention, Router
from busredis.errors import SettingsError
from busredis.groups import Group, abandoned, find_groups, prune
from busredis.kept import find_kept
from busredis.retention import (
    Limits,
    Trimmed,
    find_policies,
    plan,
    propose_retention,
    set_retention,
    trim,
)
from busredis.status import read_status
from tests.integration.retained import Discarded, Stored
from tests.integration.running import Running
from tests.waiting import wait_until

FAST = {
    "sweep": timedelta(seconds=0.1),
    "block": timedelta(seconds=0.1),
    "trim_every": timedelta(seconds=0.1),
}
NOBODY_ELSE = timedelta(0)


@pytest.fixture
def stored(publisher):
    """The ids of ten entries."""
    return publisher.publish_many([Stored(number=number) for number in range(10)])


def apply(client, keys):
    return {name: client.run(trim(keys, name, limits)) for name, limits in client.run(plan(keys)).items()}


def numbers(inspect, keys, kind=Stored):
    return [
        kind.from_json(fields[b"event"]).number for _, fields in inspect.xrange(keys.stream(kind.type_name))
    ]


def acknowledge(inspect, keys, group: str, count: int) -> None:
    stream = keys.stream("Stored")
    [[_, entries]] = inspect.xreadgroup(group, "c", {stream: ">"}, count=count)
    inspect.xack(stream, group, *[entry_id for entry_id, _ in entries])


def test_without_a_retention_everything_is_kept(client, inspect, keys, stored):
    inspect.xgroup_create(keys.stream("Stored"), "g", id="$")

    assert apply(client, keys) == {}
    assert len(numbers(inspect, keys)) == 10


def test_keep_is_stronger_than_what_is_set_for_every_type(server, namespace, client, inspect, keys, stored):
    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish_many([Discarded(number=number) for number in range(5)])
    client.run(set_retention(keys, "*", Retention(max_length=2)))
    client.run(set_retention(keys, "Stored", Retention()))

    assert apply(client, keys) == {"Discarded": Trimmed(3)}
    assert len(numbers(inspect, keys)) == 10
    assert numbers(inspect, keys, Discarded) == [3, 4]


def test_by_age_goes_what_is_older(client, inspect, keys, stored):
    inspect.xadd(keys.stream("Discarded"), {"event": '{"payload": {}}'}, id="1000-0")
    inspect.xadd(keys.stream("Discarded"), {"event": '{"payload": {"number": 1}}'}, id="*")
    for name in ("Stored", "Discarded"):
        client.run(set_retention(keys, name, Retention(max_age=timedelta(days=1))))

    assert apply(client, keys) == {"Stored": Trimmed(0), "Discarded": Trimmed(1)}
    assert numbers(inspect, keys, Discarded) == [1]
    inspect.hset(keys.retention, "Stored", "max-age 1ms")
    wait_until(lambda: apply(client, keys)["Stored"].removed or not numbers(inspect, keys), "it is old")
    assert numbers(inspect, keys) == []


@pytest.mark.parametrize(
    ("length", "left"), [(0, []), (3, [7, 8, 9]), (10, list(range(10))), (99, list(range(10)))]
)
def test_by_length_the_newest_stay(client, inspect, keys, stored, length, left):
    client.run(set_retention(keys, "Stored", Retention(max_length=length)))

    assert apply(client, keys) == {"Stored": Trimmed(10 - len(left))}
    assert numbers(inspect, keys) == left


def test_once_acknowledged_by_every_group_it_goes(client, inspect, keys, stored):
    client.run(set_retention(keys, "Stored", Retention(acked=True)))
    assert apply(client, keys) == {"Stored": Trimmed(0, "nobody")}
    for group in ("slow", "fast"):
        inspect.xgroup_create(keys.stream("Stored"), group, id="0")
    acknowledge(inspect, keys, "fast", 8)
    acknowledge(inspect, keys, "slow", 3)

    assert apply(client, keys) == {"Stored": Trimmed(3, "group slow")}
    acknowledge(inspect, keys, "slow", 7)
    assert apply(client, keys) == {"Stored": Trimmed(5, "group fast")}
    assert numbers(inspect, keys) == [8, 9]


@pytest.mark.parametrize(
    "retention",
    [Retention(max_age=timedelta(milliseconds=1)), Retention(max_length=0), Retention(acked=True)],
)
def test_a_group_that_has_not_acknowledged_keeps_its_events_whatever_the_retention_says(
    client, inspect, keys, stored, retention
):
    stream = keys.stream("Stored")
    inspect.xgroup_create(stream, "idle", id="0")
    inspect.xreadgroup("idle", "c", {stream: ">"}, count=4)
    client.run(set_retention(keys, "Stored", retention))

    assert apply(client, keys) == {"Stored": Trimmed(0, "group idle")}
    inspect.xack(stream, "idle", stored[0], stored[2], stored[3])
    assert apply(client, keys) == {"Stored": Trimmed(1, "group idle")}
    assert numbers(inspect, keys) == list(range(1, 10))
    [row] = client.run(read_status([keys])).streams
    assert (row.retention, row.pinned_by) == (str(retention), "group idle")
    [kept] = client.run(find_kept([keys]))
    assert (kept.retention, kept.entries, kept.pinned_by) == (str(retention), 9, "group idle")


def test_events_of_aggregates_stay_unless_it_is_said_of_their_type(server, namespace, client, inspect, keys):
    with EventStore(server.url, namespace=namespace) as store:
        for number in range(4):
            store.append(("Box", "b"), number, [Stored(number=number)])
        client.run(set_retention(keys, "Stored", Retention(max_length=1)))
        assert apply(client, keys) == {"Stored": Trimmed(0, "aggregates")}
        assert [one.event.number for one in store.read(("Box", "b"))] == [0, 1, 2, 3]

    client.run(set_retention(keys, "Stored", Retention(max_length=1, histories=True)))
    assert apply(client, keys) == {"Stored": Trimmed(3)}


def test_what_is_no_retention_is_shown_and_nothing_is_trimmed(client, inspect, keys, stored):
    inspect.hset(keys.retention, "Stored", "max-length ten")
    inspect.hset(keys.retention, "*", "max-length 1")

    assert apply(client, keys) == {}
    assert "max-length ten" in client.run(find_policies(keys)).unreadable["Stored"]
    assert "is no retention" in client.run(read_status([keys])).streams[0].retention


@pytest.mark.parametrize(
    "retention",
    [
        Retention(),
        Retention(max_age=timedelta(days=30)),
        Retention(max_age=timedelta(milliseconds=1), histories=True),
        Retention(max_age=timedelta(days=365_000, milliseconds=1)),
        Retention(max_length=0),
        Retention(max_length=10**15, histories=True),
        Retention(acked=True),
    ],
)
def test_a_retention_is_what_its_text_says(retention):
    assert Retention.parse(str(retention)) == retention


@pytest.mark.parametrize(
    "options",
    [
        {"max_age": timedelta(microseconds=999)},
        {"max_length": -1},
        {"acked": True, "max_length": 1},
        {"histories": True},
    ],
)
def test_a_retention_that_cannot_be_is_refused(options):
    with pytest.raises(SettingsError):
        Retention(**options)


def test_what_a_program_says_does_not_undo_what_was_decided(client, inspect, keys):
    assert client.run(propose_retention(keys, "Stored", Retention(acked=True))) == "acked"
    client.run(set_retention(keys, "Stored", Retention()))
    assert client.run(propose_retention(keys, "Stored", Retention(acked=True))) == "keep"


def test_daemons_trim_what_their_program_says_and_nothing_that_is_unhandled(
    server, namespace, inspect, keys, stored
):
    router, gate, seen = Router(), threading.Event(), []

    @router.on(Stored, name="gated")
    def gated(event: Stored) -> None:
        if event.number == 5:
            gate.wait(20)
        seen.append(event.number)

    one, other = (
        Daemon(router, url=server.url, namespace=namespace, retention={Stored: Retention(acked=True)}, **FAST)
        for _ in range(2)
    )
    with Running(one), Running(other):
        wait_until(lambda: inspect.hget(keys.retention, "Stored") == b"acked", "the retention is set")
        wait_until(lambda: inspect.xlen(keys.stream("Stored")) < 10, "something is trimmed")
        assert 5 in numbers(inspect, keys)
        gate.set()
        wait_until(lambda: inspect.xlen(keys.stream("Stored")) == 0, "all is handled and trimmed")

    assert sorted(seen) == list(range(10))


def test_groups_that_nobody_runs_are_found_and_removed_unless_somebody_comes_back(
    client, inspect, keys, stored
):
    stream = keys.stream("Stored")
    inspect.xgroup_create(stream, "left", id="0")
    inspect.xgroup_create(stream, "used", id="0")
    for group in ("left", "used"):
        inspect.xreadgroup(group, "c", {stream: ">"}, count=2)
    inspect.sadd(keys.groups, "lost")
    inspect.hset(keys.checkpoint("lost"), stream, "0-0")

    found = client.run(find_groups(keys))
    by_name = {group.name: group for group in found}
    assert [(g.name, g.event_types, g.open) for g in found] == [
        ("left", ["Stored"], 2),
        ("lost", [], 0),
        ("used", ["Stored"], 2),
    ]
    assert abandoned(found, timedelta(days=1)) == [by_name["lost"]]
    assert not client.run(prune(keys, by_name["used"], timedelta(days=1)))
    for name in ("left", "lost"):
        assert client.run(prune(keys, by_name[name], NOBODY_ELSE))
    assert [group.name for group in client.run(find_groups(keys))] == ["used"]
    assert not inspect.exists(keys.checkpoint("lost"), keys.groups)
    assert client.run(trim(keys, "Stored", Limits())) == Trimmed(0, "group used")
    assert Group("x").silent is None
