"""The codec: what is written, what is read of entries of other programs and old versions, and what is not written."""

import uuid
from datetime import UTC, datetime

import orjson
import pytest

from busredis.catalog import TaskCompletedEvent, UserLoggedInEvent
from busredis.codec import Codec
from busredis.errors import EncodeError
from busredis.events import DomainEvent
from tests.unit.entries import CODEC, ENTRY, PAYLOAD, decode, refused, whole, with_payload


def test_what_is_written_is_readable_json_with_metadata_and_payload():
    event = UserLoggedInEvent(username="ada", aggregate_id="u-1")

    document = orjson.loads(CODEC.encode(event))

    assert list(document) == [
        "event_id",
        "event_type",
        "event_version",
        "occurred_at",
        "aggregate_id",
        "payload",
    ]
    assert document["payload"] == {"username": "ada", "session_id": "", "ip_address": ""}


def test_an_entry_with_only_a_payload_gets_the_same_id_each_time_and_the_time_of_its_entry():
    first, second = decode(PAYLOAD), decode(PAYLOAD)

    assert first == second
    assert first.event_id.version == 5
    assert first.occurred_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert (first.username, first.event_type, first.event_version) == ("ada", "UserLoggedInEvent", 1)
    other = CODEC.decode(UserLoggedInEvent, "1767225600000-8", [b"event", PAYLOAD])
    assert other.event_id != first.event_id


@pytest.mark.parametrize("entry_id", ["0-1", f"{2**64 - 1}-{2**64 - 1}"])
def test_any_entry_id_has_a_time(entry_id):
    assert CODEC.decode(UserLoggedInEvent, entry_id, [b"event", PAYLOAD]).occurred_at.tzinfo is UTC


def test_what_an_entry_says_of_itself_is_kept():
    event_id = str(uuid.uuid4())

    event = decode(orjson.dumps({"event_id": event_id, "user_id": "admin", "payload": {"username": "ada"}}))

    assert (str(event.event_id), event.user_id) == (event_id, "admin")


def test_other_fields_of_an_entry_and_unknown_names_are_ignored():
    raw = b'{"new":{"a":1},"payload":{"username":"ada","new":[1]}}'

    assert CODEC.decode(UserLoggedInEvent, ENTRY, [b"trace", b"x", b"event", raw]).username == "ada"


def test_an_empty_payload_is_a_fact_with_defaults():
    assert decode(b'{"payload":{}}').username == ""


def test_of_duplicate_keys_the_last_one_counts_on_both_paths():
    # RFC 8259 leaves it open; what matters is that every reader here sees the same fact.
    for raw in with_payload(TaskCompletedEvent, "result", b'1,"result":{"a":1,"a":2}'):
        assert decode(raw, TaskCompletedEvent).result == {"a": 2}
    for raw in (
        b'{"payload":{"username":"eve"},"payload":{"username":"ada"}}',
        whole()[:-1] + b',"payload":{"username":"eve"},"payload":{"username":"ada"}}',
    ):
        assert decode(raw).username == "ada"


def test_an_old_entry_is_brought_up_and_keeps_its_metadata(registry):
    class Order(DomainEvent, event_version=3):
        cents: int = 0
        currency: str = ""

    Order.upcaster(1)(lambda payload: {"cents": payload["euros"] * 100})
    Order.upcaster(2)(lambda payload: {**payload, "currency": "EUR"})
    event_id = uuid.uuid4()
    old = {"event_id": str(event_id), "event_type": "Order", "event_version": 1, "user_id": "ada"}

    event = decode(
        orjson.dumps({**old, "occurred_at": "2020-01-01T00:00:00Z", "payload": {"euros": 5}}), Order
    )

    assert event == Order(
        event_id=event_id, user_id="ada", occurred_at="2020-01-01T00:00:00Z", cents=500, currency="EUR"
    )
    assert decode(b'{"payload":{"euros":5}}', Order).cents == 500
    assert decode(b'{"event_version":3,"payload":{"cents":5}}', Order).cents == 5
    assert refused(b'{"event_version":4,"payload":{"cents":5}}', Order).reason == "newer-version"
    assert refused(b'{"event_version":1,"payload":{}}', Order).reason == "upcast"
    for payload in (b"null", b"[]", b'""', b"0"):
        assert "payload: is" in refused(b'{"event_version":1,"payload":' + payload + b"}", Order).detail


def test_only_events_are_encoded():
    with pytest.raises(EncodeError, match="dict is no DomainEvent"):
        CODEC.encode({"username": "ada"})


def test_an_event_that_claims_another_type_or_version_is_refused():
    for event in (UserLoggedInEvent(event_type="Other"), UserLoggedInEvent(event_version=2)):
        with pytest.raises(EncodeError, match="this event says"):
            CODEC.encode(event)


def test_an_event_that_is_too_large_is_refused_with_both_sizes():
    with pytest.raises(EncodeError, match=r"UserLoggedInEvent is 1,\d{3} bytes of JSON, the limit is 500"):
        Codec(max_bytes=500).encode(UserLoggedInEvent(username="x" * 1_000))


def test_a_lone_surrogate_is_refused_and_its_field_named():
    with pytest.raises(EncodeError, match=r"payload\.username: .*surrogates"):
        CODEC.encode(UserLoggedInEvent(username="\udc80"))
