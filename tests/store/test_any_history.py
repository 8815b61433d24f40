"""Whatever happens in whatever order, an aggregate is what replaying every event makes of it."""

import copy
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from busredis import AggregateNotFound, EventStore, InMemoryEventStore, Repository, VersionConflict
from busredis.store.operations import Load
from tests.store.counter import Counter, CounterState

NAMES = st.sampled_from(["a", "b", "a:b"])


class Histories(RuleBasedStateMachine):
    """A model (all events of each counter, as plain numbers) beside a repository that must never differ from it."""

    def __init__(self):
        super().__init__()
        self.model = {}
        self.open = []

    def restart(self):
        """What a new process would have."""

    def spoil(self, name, way):
        """Damages a snapshot behind the repository's back."""

    @initialize()
    def begin(self):
        self.repository = Repository(self.make_store())

    def expected(self, name, version):
        counter = Counter(name)
        for kind, value in self.model[name][:version]:
            counter.label(**{value: 1}) if kind == "label" else counter.count(value)
        return counter.state

    @rule(
        name=NAMES,
        steps=st.lists(st.integers(0, 9), min_size=1, max_size=6),
        label=st.none() | st.sampled_from("xyz"),
    )
    def save(self, name, steps, label):
        with self.repository.edit(Counter, name, create=True) as counter:
            for by in steps:
                counter.count(by)
            if label:
                counter.label(**{label: 1})
        history = self.model.setdefault(name, [])
        history += [("count", by) for by in steps] + ([("label", label)] if label else [])

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def open_one(self, data):
        name = data.draw(st.sampled_from(sorted(self.model)))
        self.open.append((self.repository.load(Counter, name), len(self.model[name])))

    @precondition(lambda self: self.open)
    @rule(by=st.integers(1, 9), index=st.integers(0, 99), again=st.booleans())
    def save_one_that_was_open(self, by, index, again):
        counter, version = self.open.pop(index % len(self.open))
        counter.count(by)
        new = counter.get_uncommitted_events()
        if version == len(self.model[counter.id]):
            self.repository.save(counter)
            self.model[counter.id].append(("count", by))
            if again:
                # The same once more, as after an answer that was lost, stores nothing a second time.
                assert self.repository.store.append(counter.key, version, new).version == version + 1
        else:
            before = copy.deepcopy(counter.get_uncommitted_events())
            with pytest.raises(VersionConflict):
                self.repository.save(counter)
            assert counter.get_uncommitted_events() == before

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def snapshot_some_version(self, data):
        name = data.draw(st.sampled_from(sorted(self.model)))
        version = data.draw(st.integers(1, len(self.model[name])))
        self.repository.snapshot(self.repository.load(Counter, name, at_version=version))

    @precondition(lambda self: self.model)
    @rule(
        data=st.data(),
        way=st.sampled_from(["schema", "state", "type", "state_json", "version", "position", "gone", "half"]),
    )
    def spoil_a_snapshot(self, data, way):
        self.spoil(data.draw(st.sampled_from(sorted(self.model))), way)

    @rule()
    def start_anew(self):
        self.open = []
        self.restart()

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def load_some_version(self, data):
        name = data.draw(st.sampled_from(sorted(self.model)))
        version = data.draw(st.integers(1, len(self.model[name])))
        loaded = self.repository.load(Counter, name, at_version=version)
        assert (loaded.version, loaded.state) == (version, self.expected(name, version))

    @invariant()
    def every_aggregate_is_what_its_events_made_of_it(self):
        if not hasattr(self, "repository"):
            return
        for name, history in self.model.items():
            loaded = self.repository.load(Counter, name)
            assert (loaded.version, loaded.state) == (len(history), self.expected(name, len(history)))
            page = self.repository.store.perform(Load(loaded.key, schema=Counter.schema))
            assert page.found in ("missing", "used")
        for name in {"a", "b", "a:b"} - set(self.model):
            with pytest.raises(AggregateNotFound):
                self.repository.load(Counter, name)


class InMemory(Histories):
    def make_store(self):
        return InMemoryEventStore()

    def spoil(self, name, way):
        snapshots = self.repository.store.snapshots
        key = Counter(name).key
        if key not in snapshots:
            return
        changes = {
            "schema": {"schema": "x"},
            "state": {"state": b"{"},
            "state_json": {"state": b'{"steps": []}'},
            "version": {"version": 99},
            "position": {"position": "1-1"},
        }
        if way in changes:
            snapshots[key] = replace(snapshots[key], **changes[way])
        else:
            del snapshots[key]


def test_in_memory():
    run_state_machine_as_test(
        InMemory, settings=settings(max_examples=60, stateful_step_count=30, deadline=None)
    )


def spoil_hash(inspect, key, way):
    match way:
        case "schema" | "position":
            inspect.hset(key, way, "1-1")
        case "state":
            inspect.hset(key, "state", CounterState(total=1).model_dump_json()[:-1])
        case "state_json":
            inspect.hset(key, "state", '{"steps": []}')
        case "version":
            inspect.hincrby(key, "version", 99)
        case "type":
            inspect.set(key, "x")
        case "half":
            inspect.hdel(key, "state", "taken_at")
        case "gone":
            inspect.delete(key)


def test_on_a_server(server, namespace, inspect, keys):
    class OnServer(Histories):
        def make_store(self):
            return EventStore(server.url, namespace=namespace)

        def restart(self):
            self.repository.store.close()
            inspect.script_flush()
            self.repository = Repository(self.make_store())

        def spoil(self, name, way):
            key = keys.snapshot("Counter", name)
            if inspect.exists(key):
                spoil_hash(inspect, key, way)

        def teardown(self):
            for key in inspect.scan_iter(f"{keys.tag}*"):
                inspect.delete(key)
            self.repository.store.close()

    run_state_machine_as_test(
        OnServer,
        settings=settings(
            max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
