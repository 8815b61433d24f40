"""The reference aggregates in a repository: edited, saved, and snapshotted by the policy of each."""

from datetime import timedelta

import pytest

from busredis import InMemoryEventStore, Repository, VersionConflict
from busredis.aggregate import SnapshotPolicy, aggregates
from busredis.errors import AggregateNotFound
from snapshots import Agent, Conversation, Override, User
from snapshots.errors import AlreadyDone
from tests.unit.references import (
    AGGREGATES,
    NOON,
    assigned,
    at,
    created,
    evaluate,
    overridden,
    register,
    registered,
)


def test_edit_creates_saves_and_saves_nothing_of_a_block_that_was_refused():
    repository = Repository(InMemoryEventStore())
    with pytest.raises(AggregateNotFound), repository.edit(User, "bob") as user:
        pass
    with repository.edit(User, "bob", create=True) as user:
        user.register("bob", "bob@example.org", now=NOON)
        user.grant("vault", "read", by="ada")

    def log_in_and_grant():
        with repository.edit(User, "bob") as user:
            user.log_in("s", "192.0.2.1")
            user.grant("vault", "read", by="ada")

    with pytest.raises(AlreadyDone):
        log_in_and_grant()

    user = repository.load(User, "bob")
    assert (user.version, user.state.logins) == (2, 0)


def test_edit_decides_anew_when_another_save_was_faster():
    repository = Repository(InMemoryEventStore())
    repository.store.append(("Agent", "x"), 0, [created(), assigned("t"), assigned("u")])

    with repository.edit(Agent, "x") as agent:
        agent.complete("u")
        with repository.edit(Agent, "x") as rival:
            rival.complete("t")
    assert repository.load(Agent, "x").state.finished == ["t", "u"]

    def complete_after_a_rival():
        with repository.edit(Agent, "x") as agent:
            agent.assign("v", "look")
            agent.complete("v")
            with repository.edit(Agent, "x") as rival:
                rival.assign("v", "look")
                rival.complete("v")

    with pytest.raises(AlreadyDone, match="v was completed before"):
        complete_after_a_rival()
    assert repository.load(Agent, "x").state.completed == 3


def test_edit_of_an_override_that_was_looked_at_is_not_repeated():
    repository = Repository(InMemoryEventStore())
    repository.store.append(("Override", "x"), 0, [overridden()])

    def look_and_evaluate():
        with repository.edit(Override, "x") as override:
            if override.is_active(at(1)):
                override.evaluate("open", by="bob", violated_law="L1", now=at(1))
            repository.update(Override, "x", evaluate(now=at(1)))

    with pytest.raises(VersionConflict):
        look_and_evaluate()

    assert repository.load(Override, "x").state.allowed == 1


def test_a_login_each_hour_for_months_leaves_a_snapshot_and_a_small_state():
    store = InMemoryEventStore()
    repository = Repository(store)
    repository.store.append(("User", "x"), 0, [registered()])
    for start in range(0, 1_000, 50):
        with repository.edit(User, "x") as user:
            for hours in range(start, start + 50):
                user.log_in(f"s{hours}", f"192.0.2.{hours % 200}", now=at(hours))

    snapshot = store.snapshots[User("x").key]
    assert 1_001 - snapshot.version < User.snapshots.every
    assert len(snapshot.state) < 1_000
    assert repository.load(User, "x").state.logins == 1_000
    assert repository.load(User, "x", at_version=11).state.logins == 10


def test_a_snapshot_that_is_there_is_there_when_it_is_asked_for_again():
    repository = Repository(InMemoryEventStore())
    user = repository.update(User, "x", register(), create=True)
    assert repository.snapshot(user)

    assert repository.snapshot(user)
    assert repository.snapshot(repository.load(User, "x"))


def test_each_has_its_own_policy_and_applies_only_what_it_declared():
    assert {cls.aggregate_type: aggregates[cls.aggregate_type] for cls in AGGREGATES} == {
        "Agent": Agent,
        "Conversation": Conversation,
        "Override": Override,
        "User": User,
    }
    assert len({cls.snapshots for cls in AGGREGATES} | {SnapshotPolicy()}) == 5
    assert (User.snapshots.every, User.snapshots.older_than) == (100, timedelta(hours=1))
