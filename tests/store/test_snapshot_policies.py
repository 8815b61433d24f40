"""When a snapshot is due, and which state it is of: no store is asked."""

import types
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel

from busredis import EventSourcedAggregate, SnapshotPolicy
from busredis.errors import RegistrationError
from tests.store.counter import Counter


def test_a_policy_by_time_looks_at_the_age_of_the_snapshot_that_is_behind():
    now, hour = datetime.now(UTC), timedelta(hours=1)
    policy = SnapshotPolicy(every=100, older_than=hour)

    assert policy.is_due(100, None, now)
    assert not policy.is_due(99, None, now)
    assert policy.is_due(1, now - hour, now)
    assert not policy.is_due(0, now - hour, now)
    assert not policy.is_due(1, now - hour / 2, now)
    assert not SnapshotPolicy(every=None).is_due(1_000_000, now - hour, now)
    assert SnapshotPolicy(every=None, older_than=hour).is_due(1, None, now)
    assert not policy.is_due(99, None, now)
    with pytest.raises(RegistrationError):
        SnapshotPolicy(every=0)


def test_the_fingerprint_changes_with_the_model_and_by_request():
    class A(BaseModel):
        x: int = 0

    class B(BaseModel):
        x: int = 1

    def make(model, **options):
        return types.new_class(
            "Fingered", (EventSourcedAggregate[model],), options, lambda body: body.update(__module__="m")
        ).schema

    assert len({make(A), make(B), make(A, state_version=2), Counter.schema}) == 4
    assert make(A) == make(A)
