"""How far a source was worked off is stored with what was made of it, or neither is: for every store."""

import random

import pytest

from busredis import AggregateId, Commit, DomainEvent, EventStore, VersionConflict
from busredis.errors import AlreadyTracked, SettingsError, StoreError
from busredis.store import ANY, NEW, Tracking
from tests.store.killed import FORK, run_and_kill

MADE = AggregateId("Made", "m")


class Taken(DomainEvent):
    number: int = 0


class Given(DomainEvent):
    number: int = 0


def test_nothing_is_tracked_of_an_unknown_source(store):
    assert store.tracked("orders") is None


def test_events_and_tracking_are_stored_together_and_each_position_once(store):
    store.append(MADE, NEW, [Taken(number=1)], tracking=Tracking("orders", "5-1"))
    assert store.tracked("orders") == "5-1"

    for position in ("5-1", "5-0", "4-99", "5"):
        with pytest.raises(AlreadyTracked, match="tracked up to 5-1"):
            store.append(MADE, ANY, [Taken(number=2)], tracking=Tracking("orders", position))
    assert (store.version(MADE), store.tracked("orders")) == (1, "5-1")

    store.append(MADE, 1, [Taken(number=3)], tracking=Tracking("orders", "5-2"))
    assert [one.event.number for one in store.read(MADE)] == [1, 3]
    assert store.tracked("orders") == "5-2"


def test_an_append_without_tracking_leaves_the_position(store):
    store.append(MADE, NEW, [Taken()], tracking=Tracking("orders", "7-0"))
    store.append(MADE, 1, [Taken()])
    assert store.tracked("orders") == "7-0"


def test_sources_are_independent(store):
    store.append(MADE, NEW, [Taken()], tracking=Tracking("orders", "7-0"))
    store.append(MADE, 1, [Taken()], tracking=Tracking("order", "3-0"))
    assert (store.tracked("orders"), store.tracked("order")) == ("7-0", "3-0")


def test_a_position_of_which_nothing_was_made_can_be_tracked(store):
    store.append(MADE, ANY, [], tracking=Tracking("orders", "7-0"))
    assert (store.tracked("orders"), store.version(MADE)) == ("7-0", 0)
    with pytest.raises(AlreadyTracked):
        store.append_all([], tracking=Tracking("orders", "7-0"))


def test_a_refused_append_tracks_nothing(store):
    store.append(MADE, NEW, [Taken()])
    with pytest.raises(VersionConflict):
        store.append_all([Commit(MADE, NEW, [Taken()])], tracking=Tracking("orders", "7-0"))
    assert store.tracked("orders") is None


@pytest.mark.parametrize(
    ("source", "position"), [("", "1-0"), ("a b", "1-0"), ("a", "x"), ("a", ""), ("a", None)]
)
def test_what_cannot_be_tracked_is_refused(store, source, position):
    with pytest.raises((SettingsError, StoreError)):
        store.append(MADE, NEW, [Taken()], tracking=Tracking(source, position))
    assert store.version(MADE) == 0


def make_until_killed(url, namespace, started):
    with EventStore(url, namespace=namespace) as store:
        position = store.tracked("given") or "0-0"
        for one in store.feed(position, types=["Given"]):
            made = [Taken(number=one.event.number)]
            store.append(MADE, ANY, made, tracking=Tracking("given", one.position))
            started.set()
        started.set()


def test_a_process_that_is_killed_a_hundred_times_makes_one_event_of_each(server, namespace, inspect):
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    with EventStore(server.url, namespace=namespace) as store:
        for start in range(0, 2_000, 500):
            store.append(("Source", "s"), start, [Given(number=start + number) for number in range(500)])
        for _ in range(100):
            run_and_kill(make_until_killed, (server.url, namespace), chance, within=0.02)
        done = store.version(MADE)
        make_until_killed(server.url, namespace, FORK.Event())

        assert done >= 100, f"seed {seed}"
        assert [one.event.number for one in store.read(MADE)] == list(range(2_000)), f"seed {seed}"
