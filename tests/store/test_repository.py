"""Loading, saving and time travel: the same promises for every store."""

from datetime import UTC, datetime, timedelta

import pytest

from busredis import (
    AggregateNotFound,
    EventStore,
    InMemoryEventStore,
    PublishRefused,
    Repository,
    VersionConflict,
)
from busredis.errors import AggregateBroken, HistoryDamaged, StoreError
from busredis.keys import parse_id
from busredis.store.operations import Append
from tests.store.counter import Counter, Stepped, made


def test_what_was_saved_is_loaded(repository):
    saved = made(repository)

    loaded = repository.load(Counter, "c")

    assert (saved.version, saved.saved_version, saved.get_uncommitted_events()) == (4, 4, [])
    assert (loaded.version, loaded.saved_version, loaded.state) == (4, 4, saved.state)
    assert loaded.state.total == 6


def test_an_aggregate_without_events_is_not_found(repository):
    with pytest.raises(AggregateNotFound, match="Counter 'nobody': it has no events"):
        repository.load(Counter, "nobody")
    assert not repository.exists(Counter, "nobody")
    made(repository)
    assert repository.exists(Counter, "c")


def test_saving_nothing_does_nothing(repository):
    repository.save(Counter("c"))
    repository.save()
    assert not repository.exists(Counter, "c")


def test_a_conflict_loses_no_new_event_and_writes_nothing(repository):
    made(repository)
    one, other = repository.load(Counter, "c"), repository.load(Counter, "c")
    one.count(10)
    other.count(20)
    repository.save(one)

    with pytest.raises(VersionConflict):
        repository.save(other)

    assert [event.by for event in other.get_uncommitted_events()] == [20]
    assert repository.load(Counter, "c").state.total == 16


def test_several_aggregates_are_saved_together_or_not_at_all(repository):
    made(repository, "a")
    made(repository, "b")
    a, b, rival = (repository.load(Counter, name) for name in ("a", "b", "b"))
    rival.count(1)
    repository.save(rival)
    a.count(-5)
    b.count(5)

    with pytest.raises(VersionConflict):
        repository.save(a, b)
    assert repository.load(Counter, "a").state.total == 6

    b = repository.load(Counter, "b")
    b.count(5)
    repository.save(a, b)
    assert [repository.load(Counter, name).state.total for name in ("a", "b")] == [1, 12]


def test_every_version_and_time_can_be_loaded_as_it_was(repository):
    states, counter = [], Counter("c")
    counter.make("first")
    for number in range(12):
        counter.count(number)
        repository.save(counter)
        states.append((counter.version, counter.state.model_copy(deep=True)))
    repository.snapshot(repository.load(Counter, "c", at_version=7))

    for version, state in states:
        loaded = repository.load(Counter, "c", at_version=version)
        assert (loaded.version, loaded.state) == (version, state)
    stored = list(repository.store.read(counter.key))
    for version, state in states:
        ms = parse_id(stored[version - 1].position)[0]
        newest = max(one.version for one in stored if parse_id(one.position)[0] <= ms)
        loaded = repository.load(Counter, "c", at=datetime.fromtimestamp(ms / 1000, UTC))
        assert loaded.version == newest
        if newest == version:
            assert loaded.state == state


def test_a_version_or_a_time_that_never_was_is_said_so(repository):
    counter = made(repository)
    with pytest.raises(AggregateNotFound, match="at version 4 and has no version 5 yet"):
        repository.load(Counter, "c", at_version=5)
    with pytest.raises(AggregateNotFound, match="did not exist at"):
        repository.load(Counter, "c", at=datetime.now(UTC) - timedelta(days=1))
    with pytest.raises(StoreError, match="versions count from 1"):
        repository.load(Counter, "c", at_version=0)
    with pytest.raises(StoreError, match="no zone"):
        repository.load(Counter, "c", at=datetime(2026, 1, 1))
    assert counter.version == 4


def test_an_old_state_cannot_be_saved_over_a_newer_one(repository):
    made(repository)
    old = repository.load(Counter, "c", at_version=2)
    old.count(1)
    with pytest.raises(VersionConflict):
        repository.save(old)


class Failing(InMemoryEventStore):
    def __init__(self):
        super().__init__()
        self.error = None

    def perform(self, operation):
        if self.error and isinstance(operation, Append):
            raise self.error
        return super().perform(operation)


def test_a_failed_save_keeps_the_new_events_for_the_next():
    repository = Repository(Failing())
    counter = made(repository)
    counter.count(5)
    repository.store.error = PublishRefused("away")

    with pytest.raises(PublishRefused):
        repository.save(counter)
    repository.store.error = None
    repository.save(counter)

    assert repository.load(Counter, "c").state == counter.state
    assert counter.version == 5


def test_an_aggregate_whose_apply_method_failed_is_of_no_more_use(repository):
    counter = made(repository)
    counter.state.total = None
    with pytest.raises(TypeError):
        counter.raise_event(Stepped(by=1))

    with pytest.raises(AggregateBroken):
        counter.raise_event(Stepped(by=1))
    with pytest.raises(StoreError, match="cannot be saved"):
        repository.save(counter)
    assert repository.load(Counter, "c").version == 4


def test_a_history_with_a_hole_is_an_error_and_never_a_shorter_history(server, namespace, inspect, keys):
    with EventStore(server.url, namespace=namespace) as store:
        repository = Repository(store)
        counter = made(repository, steps=9)
        positions = [one.position for one in store.read(counter.key)]
        history = keys.aggregate(*counter.key)

        inspect.xdel(keys.stream("Stepped"), positions[5])
        with pytest.raises(HistoryDamaged, match=r"version 6: its event .* is not in the stream of Stepped"):
            repository.load(Counter, "c")
        assert repository.load(Counter, "c", at_version=5).state.total == 10

        reference = inspect.lindex(history, 3)
        inspect.lrem(history, 1, reference)
        with pytest.raises(HistoryDamaged, match=r"version 4 refers to Stepped .*, which is its version 5"):
            repository.load(Counter, "c", at_version=4)
        with pytest.raises(HistoryDamaged, match=r"version 4 refers to"):
            list(store.read(counter.key, upto=4, backward=True))
        assert repository.load(Counter, "c", at_version=3).version == 3
