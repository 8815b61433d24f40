"""Snapshots only save time: whatever becomes of them, an aggregate is what its events make of it."""

import logging
from datetime import datetime

import pytest
from pydantic import BaseModel, Field

from busredis import (
    DomainEvent,
    EventSourcedAggregate,
    EventStore,
    InMemoryEventStore,
    Repository,
    SnapshotPolicy,
    applies,
)
from busredis.errors import ConnectionLost
from busredis.repository.steps import take
from busredis.store.operations import Load, WriteSnapshot
from tests.store.counter import Counter, CounterMade, CounterState, Stepped


class Ticker(EventSourcedAggregate[CounterState], events=(Stepped,), snapshots=SnapshotPolicy(every=10)):
    def count(self) -> None:
        self.raise_event(Stepped())

    @applies(Stepped)
    def _counted(self, event: Stepped) -> None:
        self.state.total += event.by


@pytest.fixture
def redis_store(server, namespace, inspect):
    with EventStore(server.url, namespace=namespace) as store:
        yield store


def filled(store, steps=30):
    repository, counter = Repository(store), Counter("c")
    counter.make("first")
    for number in range(steps):
        counter.count(number)
    repository.save(counter)
    return repository, counter


def found(store):
    return store.perform(Load(Counter("c").key, schema=Counter.schema)).found


def test_a_snapshot_is_a_hash_that_can_be_read(redis_store, inspect, keys):
    repository, counter = filled(redis_store)

    assert repository.snapshot(counter)

    raw = inspect.hgetall(keys.snapshot("Counter", "c"))
    assert {name.decode() for name in raw} == {"version", "state", "schema", "position", "taken_at"}
    assert raw[b"version"] == b"31"
    assert CounterState.model_validate_json(raw[b"state"]) == counter.state
    assert datetime.fromisoformat(raw[b"taken_at"].decode()).tzinfo
    assert found(redis_store) == "used"


def test_a_snapshot_and_its_tail_come_in_one_round_trip(redis_store):
    repository, counter = filled(redis_store, 400)
    repository.snapshot(counter)
    for _ in range(400):
        counter.count(1)
    repository.save(counter)
    operations = []
    perform = redis_store.perform
    redis_store.perform = lambda operation: operations.append(operation) or perform(operation)

    loaded = repository.load(Counter, "c")

    assert (loaded.version, loaded.state) == (counter.version, counter.state)
    assert len(operations) == 1


SPOILED = {
    "another schema": ({"schema": "0123456789abcdef"}, "schema"),
    "no schema": ({"schema": None}, "schema"),
    "no JSON": ({"state": "{"}, "unparsable"),
    "no text": ({"state": b"\xff\x00"}, "unparsable"),
    "no state": ({"state": None}, "unparsable"),
    "JSON of something else": ({"state": '{"total": "many"}'}, "unparsable"),
    "no time": ({"taken_at": "soon"}, "unparsable"),
    "time without a zone": ({"taken_at": "2026-01-01T00:00:00"}, "unparsable"),
    "ahead of the log": ({"version": "32"}, "ahead"),
    "far ahead of the log": ({"version": "9" * 400}, "ahead"),
    "no version": ({"version": None}, "ahead"),
    "version that is none": ({"version": "nan"}, "ahead"),
    "version zero": ({"version": "0"}, "foreign"),
    "negative version": ({"version": "-1"}, "ahead"),
    "of another history": ({"position": "1-1"}, "foreign"),
    "older under this position": ({"version": "5"}, "foreign"),
    "half written": ({"state": None, "position": None, "taken_at": None}, "foreign"),
}


@pytest.mark.parametrize("case", SPOILED, ids=lambda case: case.replace(" ", "-"))
def test_a_useless_snapshot_is_ignored_logged_and_rewritten(redis_store, inspect, keys, caplog, case):
    changes, reason = SPOILED[case]
    repository, counter = filled(redis_store)
    repository.snapshot(counter)
    key = keys.snapshot("Counter", "c")
    for name, value in changes.items():
        inspect.hdel(key, name) if value is None else inspect.hset(key, name, value)

    with caplog.at_level(logging.WARNING):
        loaded = repository.load(Counter, "c")

    assert (loaded.version, loaded.state) == (counter.version, counter.state)
    assert [record.getMessage() for record in caplog.records] == [
        f"the snapshot of Counter 'c' is of no use ({reason})"
    ]
    assert found(redis_store) == "used"
    caplog.clear()
    assert repository.load(Counter, "c").state == counter.state
    assert caplog.records == []


def test_a_key_of_another_type_in_its_place_is_replaced(redis_store, inspect, keys):
    repository, counter = filled(redis_store)
    inspect.set(keys.snapshot("Counter", "c"), "x")

    assert repository.load(Counter, "c").state == counter.state
    assert found(redis_store) == "used"


def test_an_older_snapshot_never_replaces_a_newer_one(store):
    repository, counter = filled(store)
    old = repository.load(Counter, "c", at_version=10)
    assert repository.snapshot(counter)

    assert repository.snapshot(old)
    assert repository.snapshot(old, replace=True)

    page = store.perform(Load(counter.key, schema=Counter.schema))
    assert (page.found, page.after) == ("used", 31)


def test_a_snapshot_of_a_history_that_is_no_more_is_not_written(store, caplog):
    repository, _ = filled(store)
    _, stranger = filled(InMemoryEventStore(), 40)

    assert not repository.snapshot(stranger)

    assert "its history has changed" in caplog.text
    assert found(store) == "missing"


def test_a_restored_backup_with_another_history_does_not_use_the_snapshot(redis_store, inspect, keys):
    repository, counter = filled(redis_store)
    repository.snapshot(counter)
    inspect.delete(keys.aggregate("Counter", "c"))
    other = Counter("c")
    for _ in range(50):
        other.count(7)
    repository.save(other)

    assert repository.load(Counter, "c").state == other.state


def test_every_so_many_events_a_save_takes_a_snapshot(store):
    repository, ticker = Repository(store), Ticker("t")
    versions = []
    for _ in range(35):
        ticker.count()
        repository.save(ticker)
        versions.append(store.perform(Load(ticker.key, schema=Ticker.schema)).after)

    assert versions == [0] * 9 + [10] * 10 + [20] * 10 + [30] * 6
    loaded = repository.load(Ticker, "t")
    for _ in range(5):
        loaded.count()
    repository.save(loaded)
    assert store.perform(Load(ticker.key, schema=Ticker.schema)).after == 40


class SnapshotsFail(InMemoryEventStore):
    def perform(self, operation):
        if isinstance(operation, WriteSnapshot):
            raise ConnectionLost("gone")
        return super().perform(operation)


def test_that_a_snapshot_cannot_be_written_fails_no_save(caplog):
    repository, ticker = Repository(SnapshotsFail()), Ticker("t")
    for _ in range(10):
        ticker.count()

    repository.save(ticker)

    assert repository.load(Ticker, "t").version == 10
    assert "the snapshot of Ticker 't' was not written: gone" in caplog.text


class Loose(BaseModel):
    anything: object = None


class LooseCounter(EventSourcedAggregate[Loose]):
    @applies(CounterMade)
    def _made(self, event: CounterMade) -> None:
        self.state.anything = event.occurred_at


def test_a_state_that_json_would_change_is_not_snapshotted(store, caplog):
    repository, loose = Repository(store), LooseCounter("l")
    loose.raise_event(CounterMade())
    repository.save(loose)

    assert not repository.snapshot(loose)

    assert "cannot be snapshotted: its state comes back changed from JSON" in caplog.text


class Strict(BaseModel):
    email: str = Field("", max_length=5)


class StrictCounter(EventSourcedAggregate[Strict]):
    @applies(CounterMade)
    def _made(self, event: CounterMade) -> None:
        self.state.email = "ada@example.org"  # pydantic checks no assignments


def test_a_log_says_which_field_of_a_state_is_wrong_and_not_what_is_in_it(store, caplog):
    repository, strict = Repository(store), StrictCounter("s")
    strict.raise_event(CounterMade())
    repository.save(strict)

    assert not repository.snapshot(strict)

    assert "cannot be snapshotted: its state is no JSON: email: " in caplog.text
    assert "ada@" not in caplog.text


def test_what_is_not_saved_is_not_snapshotted(store):
    repository, counter = filled(store)
    counter.count(1)
    assert not repository.snapshot(counter)
    assert not repository.snapshot(Counter("new"))
    assert found(store) == "missing"


def test_take_keeps_version_state_and_position(store):
    _, counter = filled(store)
    snapshot = take(counter)
    [last] = store.read(counter.key, backward=True, limit=1)
    assert (snapshot.version, snapshot.position, snapshot.schema) == (31, last.position, Counter.schema)


class Upped(DomainEvent, event_version=2):
    cents: int = 0


@Upped.upcaster(1)
def _to_cents(payload):
    return {"cents": payload["euros"] * 100}


class Purse(EventSourcedAggregate[CounterState]):
    @applies(Upped)
    def _upped(self, event: Upped) -> None:
        self.state.total += event.cents


def test_events_of_older_versions_are_upcast_on_load_and_stay_as_they_are(redis_store, inspect, keys):
    repository, purse = Repository(redis_store), Purse("p")
    purse.raise_event(Upped(cents=5))
    repository.save(purse)
    old = b'{"event_version":1,"payload":{"euros":3}}'
    inspect.xadd(keys.stream("Upped"), {"event": old}, id="9999999999999-0")
    inspect.rpush(keys.aggregate("Purse", "p"), "Upped 9999999999999-0")

    assert repository.load(Purse, "p").state.total == 305
    assert inspect.xrange(keys.stream("Upped"), "9999999999999-0")[0][1][b"event"] == old
