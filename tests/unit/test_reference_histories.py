"""The reference aggregates after any commands and any events, against what the whole history gives."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busredis import InMemoryEventStore, Repository
from snapshots import Agent, Conversation, Override, User
from snapshots.errors import Refused
from tests.unit.references import AGGREGATES, at
from tests.unit.strategies import events_of

# Random commands over few names and times, so that they often succeed and often meet.
names = st.sampled_from(["a", "b", "c"])
moments = st.integers(0, 20).map(at)
later = st.none() | moments


def commands(**arguments):
    return st.sampled_from(sorted(arguments)).flatmap(
        lambda name: st.tuples(st.just(name), st.fixed_dictionaries(arguments[name] | {"now": moments}))
    )


COMMANDS = {
    Override: commands(
        activate={"override_type": names, "justification": names, "by": names, "expires_at": later},
        evaluate={"action": names, "by": names, "violated_law": names},
    ),
    User: commands(
        register={"username": names, "email": st.just("a@b"), "role": names},
        log_in={"session_id": names, "ip_address": st.integers(0, 20).map(str)},
        change_password={"by": names},
        grant={"resource": names, "action": names, "by": names},
    ),
    Agent: commands(
        create={"name": names, "kind": names, "capabilities": st.lists(names)},
        assign={"task_id": names, "description": names, "priority": st.integers(-5, 5) | st.just("high")},
        complete={"task_id": names, "execution_time_ms": st.floats(0, 1e308)},
        start_workflow={"workflow_id": names, "workflow_type": names},
    ),
    Conversation: commands(
        start={"user": names},
        add_entry={"entry_id": names, "user_message": names, "ai_response": names},
        consolidate={
            "knowledge_id": names,
            "category": names,
            "content": names,
            "sources": st.lists(names, min_size=1, max_size=2),
            "confidence": st.floats(0, 1),
        },
        purge={"by": names, "before": later},
    ),
}


def round_trip(state):
    return type(state).model_validate_json(state.model_dump_json())


def replayed(cls, events):
    aggregate = cls("x")
    aggregate.load_from_history(events)
    return aggregate


@pytest.mark.parametrize("cls", AGGREGATES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_after_any_commands_every_snapshot_and_its_tail_give_what_the_whole_history_gives(cls, data):
    store = InMemoryEventStore()
    repository = Repository(store)
    key = cls("x").key
    states = [cls("x").state]
    for name, arguments in data.draw(st.lists(COMMANDS[cls], max_size=30)):
        aggregate = repository.load(cls, "x") if len(states) > 1 else cls("x")
        before = aggregate.state.model_copy(deep=True)
        try:
            getattr(aggregate, name)(**arguments)
        except Refused:
            assert aggregate.state == before
            continue
        repository.save(aggregate)
        if aggregate.version == len(states):
            states.append(aggregate.state)
        assert repository.snapshot(aggregate) is (aggregate.version > 0)

    history = [stored.event for stored in store.read(key)]
    for version, state in enumerate(states):
        assert round_trip(state) == state
        assert replayed(cls, history[:version]).state == state
        tail = replayed(cls, history[:version])
        tail.state = round_trip(state)
        tail.load_from_history(history[version:])
        assert tail.state == states[-1]
        if version:
            assert repository.load(cls, "x", at_version=version).state == state
    assert (key in store.snapshots) is (len(history) > 0)


@pytest.mark.parametrize("cls", AGGREGATES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_no_history_however_odd_makes_an_apply_method_fail_or_a_state_that_is_no_json(cls, data):
    kinds = sorted(cls._appliers, key=lambda kind: kind.__name__)
    events = data.draw(st.lists(st.sampled_from(kinds).flatmap(events_of), max_size=8))

    aggregate = cls("x")
    for event in events:
        aggregate._apply(event)

    assert round_trip(aggregate.state) == aggregate.state
