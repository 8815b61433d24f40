"""DomainEvent: immutable, aware of zones, told apart into metadata and payload; its type belongs to one class."""

import copy
import pickle
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from pydantic import Field, ValidationError

from busredis.catalog import (
    ActionEvaluatedEvent,
    ConversationStartedEvent,
    TaskCompletedEvent,
    UserLoggedInEvent,
)
from busredis.context import current_event, inherit
from busredis.errors import DecodeError, DuplicateEventType, EncodeError, RegistrationError
from busredis.events import DomainEvent, new_event_id
from tests.unit.strategies import times

pytestmark = pytest.mark.usefixtures("registry")

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_no_attribute_of_an_event_can_be_set_or_deleted():
    event = UserLoggedInEvent(username="ada")

    for change in (
        lambda: setattr(event, "username", "eve"),
        lambda: setattr(event, "occurred_at", NOW),
        lambda: setattr(event, "other", 1),
        lambda: delattr(event, "username"),
    ):
        with pytest.raises((ValidationError, AttributeError)):
            change()
    assert event.username == "ada"


def test_nothing_in_a_payload_can_be_changed_however_deep_and_defaults_neither():
    votes = {"ada": [1]}
    event = ActionEvaluatedEvent(context={"votes": votes})
    votes["ada"].append(2)

    for change in (
        lambda: event.context.update(a=1),
        lambda: event.context["votes"]["ada"].append(1),
        event.payload["context"].clear,
        lambda: ActionEvaluatedEvent().context.update(a=1),
        DomainEvent.from_dict(event.to_dict()).context["votes"].clear,
    ):
        with pytest.raises(TypeError, match="cannot be changed"):
            change()
    assert event.context == {"votes": {"ada": [1]}}


def test_what_to_dict_and_payload_give_is_the_callers_own():
    event = ActionEvaluatedEvent(action="read", context={"a": [1]})

    event.to_dict()["payload"]["context"]["a"].append(2)
    event.payload["action"] = "write"

    assert event.context == {"a": [1]}
    assert event.action == "read"


def test_events_are_equal_by_value_hashable_and_survive_copy_and_pickle():
    event = TaskCompletedEvent(result={"a": [1]}, occurred_at=NOW)

    assert copy.deepcopy(event) == copy.copy(event) == pickle.loads(pickle.dumps(event)) == event
    assert len({event, copy.deepcopy(event)}) == 1
    assert event != TaskCompletedEvent(result={"a": [1]}, occurred_at=NOW)


def test_ids_are_uuids_of_version_7_that_rise():
    ids = [new_event_id() for _ in range(2_000)]

    assert ids == sorted(set(ids))
    assert {(one.version, one.variant) for one in ids} == {(7, "specified in RFC 4122")}
    assert abs(ids[0].int >> 80) // 1000 == pytest.approx(datetime.now(UTC).timestamp(), abs=60)


def test_times_are_aware_and_in_utc():
    event = UserLoggedInEvent(occurred_at=datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))))

    assert event.occurred_at == NOW
    assert event.occurred_at.utcoffset() == timedelta(0)
    assert UserLoggedInEvent().occurred_at.utcoffset() == timedelta(0)
    with pytest.raises(ValidationError, match="occurred_at"):
        UserLoggedInEvent(occurred_at=datetime(2026, 1, 1))


@given(times)
def test_a_time_is_the_same_in_utc_whether_it_is_given_or_read(time):
    made = UserLoggedInEvent(occurred_at=time)
    raw = made.to_json().replace(
        made.occurred_at.isoformat().encode(), time.isoformat(timespec="microseconds").encode()
    )
    for found in (made, UserLoggedInEvent.from_json(raw), UserLoggedInEvent.from_json(made.to_json())):
        assert found.occurred_at == time
        assert found.occurred_at.tzinfo is UTC
        assert found.occurred_at.isoformat() == time.astimezone(UTC).isoformat()


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_a_time_that_utc_cannot_hold_is_refused_and_breaks_nothing(time):
    with pytest.raises(DecodeError, match="occurred_at"):
        UserLoggedInEvent.from_dict({"occurred_at": time, "payload": {}})


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"usrname": "ada"}, "usrname"),
        ({"username": 5}, "username"),
        ({"username": None}, "username"),
        ({"aggregate_id": 5}, "aggregate_id"),
        ({"aggregate_version": -1}, "aggregate_version"),
        ({"aggregate_version": 2**63}, "aggregate_version"),
        ({"event_version": 0}, "event_version"),
        ({"event_id": "x"}, "event_id"),
    ],
)
def test_a_wrong_or_unknown_field_is_refused_at_creation_and_named(fields, named):
    with pytest.raises(ValidationError, match=named):
        UserLoggedInEvent(**fields)


def test_errors_never_show_values():
    secret = "s3cret"
    with pytest.raises(ValidationError) as created:
        UserLoggedInEvent(username=[secret])
    with pytest.raises(DecodeError) as decoded:
        UserLoggedInEvent.from_dict({"payload": {"username": [secret]}})

    assert secret not in str(created.value)
    assert secret not in str(decoded.value)


@pytest.mark.parametrize(
    ("event", "named"),
    [
        (UserLoggedInEvent(username="\ud800"), "payload.username"),
        (TaskCompletedEvent(result={"a": ["\ud800"]}), "payload.result"),
        (UserLoggedInEvent(user_id="\ud800"), "user_id"),
    ],
)
def test_a_lone_surrogate_cannot_be_written_and_its_field_is_named(event, named):
    for write in (event.to_json, event.to_dict):
        with pytest.raises(EncodeError, match=rf"^{named}: "):
            write()


def test_metadata_and_payload_are_told_apart():
    event = UserLoggedInEvent(username="ada", user_id="admin", aggregate_id="u-1", aggregate_version=3)

    assert event.payload == {"username": "ada", "session_id": "", "ip_address": ""}
    assert {
        "user_id": "admin",
        "aggregate_id": "u-1",
        "aggregate_version": 3,
    }.items() <= event.metadata.items()
    assert "traceparent" not in event.metadata
    assert event.to_dict()["event_type"] == "UserLoggedInEvent"


def test_a_payload_field_may_take_the_name_of_metadata_but_not_of_what_an_entry_is():
    event = ConversationStartedEvent(user_id="alice")
    assert event.metadata_user_id is None
    assert event.metadata["user_id"] is None

    with pytest.raises(RegistrationError, match="event_id"):

        class Bad(DomainEvent):
            event_id: str = ""


def test_what_is_published_while_an_event_is_handled_inherits_from_it_and_keeps_its_own():
    cause = UserLoggedInEvent(correlation_id="c-1", traceparent="00-a-b-01")
    token = current_event.set(cause)
    try:
        inherited = inherit(ConversationStartedEvent(user_id="alice"))
        own = inherit(UserLoggedInEvent(correlation_id="c-2"))
    finally:
        current_event.reset(token)

    assert inherited.correlation_id == "c-1"
    assert inherited.causation_id == str(cause.event_id)
    assert inherited.traceparent == "00-a-b-01"
    assert inherited.user_id == "alice"
    assert own.correlation_id == "c-2"
    outside = UserLoggedInEvent()
    assert inherit(outside) is outside


def test_an_event_type_belongs_to_one_class():
    class Paid(DomainEvent, event_type="billing.paid"):
        pass

    with pytest.raises(DuplicateEventType, match=r"billing\.paid"):

        class Settled(DomainEvent, event_type="billing.paid"):
            pass

    assert Paid().event_type == "billing.paid"


@pytest.mark.parametrize("name", ["", "a b", "1a", "a:b", "a/b", "x" * 129, "a\n"])
def test_an_event_type_must_be_usable_in_keys_and_file_names(name):
    def define():
        class Odd(DomainEvent, event_type=name):
            pass

        return Odd

    if name == "":
        assert define().type_name == "Odd"
    else:
        with pytest.raises(RegistrationError, match="is not a name"):
            define()


def test_a_subclass_of_an_event_is_an_event_with_the_fields_of_both():
    class Base(DomainEvent):
        tags: list[str] = Field(default_factory=list)

    class Tagged(Base):
        user_id: str = ""
        when: UUID | None = None

    event = Tagged(tags=["a"], user_id="ada", metadata_user_id="admin")

    found = DomainEvent.from_dict(event.to_dict())

    assert found == event
    assert isinstance(found, Base)
    with pytest.raises(TypeError):
        found.tags.append("b")
