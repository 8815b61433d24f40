"""Events read from a dict: refused with the name of the field, or brought up from an old version step by step."""

import pytest

from busredis.catalog import TaskCompletedEvent, UserLoggedInEvent
from busredis.errors import DecodeError, RegistrationError, UnknownEventType
from busredis.events import DomainEvent

pytestmark = pytest.mark.usefixtures("registry")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "an event is a JSON object, not list"),
        (None, "not NoneType"),
        ({"payload": {}}, "event_type is missing"),
        ({"event_type": "", "payload": {}}, "event_type is missing"),
        ({"event_type": 5, "payload": {}}, "event_type"),
        ({"event_type": "UserLoggedInEvent"}, "payload: is missing"),
        ({"event_type": "UserLoggedInEvent", "payload": []}, "payload: is of type list"),
        ({"event_type": "UserLoggedInEvent", "payload": {"username": 1}}, "payload.username"),
        ({"event_type": "UserLoggedInEvent", "event_version": 2, "payload": {}}, "event_version is 2"),
        ({"event_type": "UserLoggedInEvent", "event_version": 0, "payload": {}}, "event_version"),
        ({"event_type": "UserLoggedInEvent", "event_version": True, "payload": {}}, "event_version"),
        ({"event_type": "TaskCompletedEvent", "payload": {"result": float("nan")}}, r"payload\.result"),
        ({"event_type": "TaskCompletedEvent", "payload": {"result": 2**64}}, r"payload\.result"),
        ({"event_type": "TaskCompletedEvent", "payload": {"result": {1: 2}}}, r"payload\.result"),
    ],
)
def test_from_dict_refuses_what_is_no_event_and_names_the_field(data, message):
    with pytest.raises(DecodeError, match=message):
        DomainEvent.from_dict(data)


def test_from_dict_ignores_fields_that_newer_producers_added():
    data = {"new": 1, "payload": {"username": "ada", "new": 1}}
    assert UserLoggedInEvent.from_dict(data).username == "ada"


def test_from_dict_of_a_class_refuses_the_events_of_another():
    with pytest.raises(DecodeError, match="expected 'UserLoggedInEvent'"):
        UserLoggedInEvent.from_dict(TaskCompletedEvent().to_dict())


def test_an_unknown_event_type_is_told_with_those_that_are_known_the_likeliest_first():
    with pytest.raises(
        UnknownEventType, match=r"'UserLogedInEvent' \(known: UserLoggedInEvent, .*import its module"
    ):
        DomainEvent.from_dict({"event_type": "UserLogedInEvent", "payload": {}})


def make_order(*steps):
    """An Order of version 3 with the upcasters of these versions."""

    class Order(DomainEvent, event_version=3):
        total_cents: int = 0
        currency: str = "EUR"

    if 1 in steps:
        Order.upcaster(1)(lambda payload: {"total_cents": payload["total"] * 100})
    if 2 in steps:
        Order.upcaster(2)(lambda payload: {**payload, "currency": "USD"})
    return Order


def test_old_versions_are_brought_up_step_by_step():
    order = make_order(1, 2)

    first = order.from_dict({"event_version": 1, "payload": {"total": 5}})
    second = order.from_dict({"event_version": 2, "payload": {"total_cents": 5}})
    third = order.from_dict({"event_version": 3, "payload": {"total_cents": 5}})

    assert (first.total_cents, first.currency, first.event_version) == (500, "USD", 3)
    assert (second.total_cents, second.currency) == (5, "USD")
    assert (third.total_cents, third.currency) == (5, "EUR")


def test_an_event_without_a_version_is_of_version_1():
    assert make_order(1, 2).from_dict({"payload": {"total": 5}}).total_cents == 500


def test_a_missing_upcaster_is_found_at_start_up(registry):
    make_order(1)
    with pytest.raises(RegistrationError, match=r"no upcaster from version 2: @Order\.upcaster\(2\)"):
        registry.check()

    make_order(1, 2)
    registry.check()


def test_an_upcaster_that_raises_and_one_that_is_missing_are_decode_errors():
    for order in (make_order(1, 2), make_order(2)):
        with pytest.raises(DecodeError, match="Order v1 to v2"):
            order.from_dict({"event_version": 1, "payload": {"no_total": 5}})


@pytest.mark.parametrize("payload", [None, [], "", 0, False])
def test_an_old_version_without_a_payload_is_refused_before_any_upcaster_runs(payload):
    data = {"event_version": 1, "payload": payload}
    with pytest.raises(DecodeError, match="payload: is"):
        make_order(1, 2).from_dict(data)


def test_an_upcaster_does_not_change_what_it_was_given():
    order = make_order(2)
    order.upcaster(1)(lambda payload: payload.pop("total") and {})
    data = {"event_version": 1, "payload": {"total": 5}}

    order.from_dict(data)

    assert data == {"event_version": 1, "payload": {"total": 5}}


@pytest.mark.parametrize("version", [0, -1, 3, 4])
def test_an_upcaster_must_start_below_the_version_of_its_class(version):
    with pytest.raises(RegistrationError, match="starts from 1 to 2"):
        make_order().upcaster(version)(dict)
