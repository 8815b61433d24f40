"""The codec: what is written, and that malformed entries end in a DecodeError that names the field."""

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import busredis.events
from busredis.catalog import (
    ActionEvaluatedEvent,
    AgentCreatedEvent,
    ConversationStartedEvent,
    CouncilDecisionMadeEvent,
    KnowledgeConsolidatedEvent,
    MemoryPurgedEvent,
    OverrideActivatedEvent,
    TaskAssignedEvent,
    TaskCompletedEvent,
    UserLoggedInEvent,
)
from busredis.codec import Codec
from busredis.errors import DecodeError, EncodeError
from busredis.events import DomainEvent, Registry
from tests.unit.strategies import CLASSES, json_values

CODEC = Codec(max_bytes=1_000_000)
ENTRY = "1767225600000-7"
PAYLOAD = b'{"payload":{"username":"ada"}}'


@pytest.fixture
def registry(monkeypatch) -> Iterator[Registry]:
    """A registry of its own, so that the classes of a test end with it."""
    monkeypatch.setattr(busredis.events.event, "registry", Registry())
    return busredis.events.registry


def decode(raw, cls=UserLoggedInEvent, codec=CODEC):
    return codec.decode(cls, ENTRY, [b"event", raw])


def refused(raw, cls=UserLoggedInEvent, codec=CODEC):
    with pytest.raises(DecodeError) as error:
        decode(raw, cls, codec)
    return error.value


def whole(cls=UserLoggedInEvent, **changes):
    """An entry with all of its metadata, which takes the fast path, with some of it replaced."""
    return orjson.dumps({**cls().to_dict(), **changes})


def with_payload(cls, field, raw):
    """Two entries with this JSON as a field of the payload: only that, and with all metadata."""
    alone = b'{"payload":{"%s":%s}}' % (field.encode(), raw)
    return alone, orjson.dumps(cls().to_dict())[:-1] + b"," + alone[1:]


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


# Entries of other programs


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


# Malformed entries


@pytest.mark.parametrize("fields", [[], [b"other", b"x"], [b"payload", PAYLOAD, b"Event", PAYLOAD]])
def test_an_entry_without_the_field_is_refused_with_the_names_it_has(fields):
    with pytest.raises(DecodeError, match="no field 'event'") as error:
        CODEC.decode(UserLoggedInEvent, ENTRY, fields)

    assert error.value.reason == "envelope"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "zero-length"),
        (b"{", "unexpected end"),
        (b"not json", "invalid literal"),
        (PAYLOAD + b" x", "after document"),
        (b"\xef\xbb\xbf" + PAYLOAD, "BOM"),
        (PAYLOAD.decode().encode("utf-16"), "event"),
        (b"[]", "not list"),
        (b"null", "not NoneType"),
        (b'"text"', "not str"),
        (b'{"payload":{"username":"\xff"}}', "UTF-8"),
        (b'{"payload":{"username":"\\ud800"}}', "surrogate"),
        (b"[" * 500_000, "depth|recursion"),
        (b'{"payload":{"username":' + b"[" * 500_000, "depth|recursion"),
    ],
)
def test_broken_json_is_refused(raw, message):
    error = refused(raw)

    assert error.reason == "json"
    assert re.search(message, error.detail), error.detail


def test_a_million_brackets_are_refused_without_harm():
    roomy = Codec(max_bytes=10_000_000)
    for raw in (b"[" * 1_000_000, b'{"a":' * 1_000_000, b'{"payload":{"result":' + b"[" * 1_000_000):
        assert refused(raw, TaskCompletedEvent, roomy).reason == "json"


@pytest.mark.parametrize(
    "payload", [b"", b',"payload":null', b',"payload":[]', b',"payload":"x"', b',"payload":1']
)
def test_a_payload_that_is_missing_or_no_object_is_refused(payload):
    head = orjson.dumps(
        {name: value for name, value in UserLoggedInEvent().to_dict().items() if name != "payload"}
    )
    for raw in (b'{"user_id":"a"' + payload + b"}", head[:-1] + payload + b"}"):
        error = refused(raw)
        assert (error.reason, error.detail[:11]) == ("validation", "payload: is")


@pytest.mark.parametrize(
    ("cls", "field", "raw"),
    [
        (UserLoggedInEvent, "username", b"1"),
        (UserLoggedInEvent, "username", b"null"),
        (UserLoggedInEvent, "username", b'["ada"]'),
        (ActionEvaluatedEvent, "decision", b'"MAYBE"'),
        (ActionEvaluatedEvent, "decision", b"null"),
        (ActionEvaluatedEvent, "violated_law", b"5"),
        (ActionEvaluatedEvent, "context", b"[]"),
        (ActionEvaluatedEvent, "context", b"null"),
        (OverrideActivatedEvent, "expires_at", b'"tomorrow"'),
        (OverrideActivatedEvent, "expires_at", b'"2026-01-01T00:00:00"'),
        (MemoryPurgedEvent, "purged_count", b"1.5"),
        (MemoryPurgedEvent, "purged_count", b'"1"'),
        (MemoryPurgedEvent, "purged_count", b"true"),
        (MemoryPurgedEvent, "purged_count", b"18446744073709551616"),
        (KnowledgeConsolidatedEvent, "confidence", b'"0.5"'),
        (KnowledgeConsolidatedEvent, "source_entries", b'"m-1"'),
        (KnowledgeConsolidatedEvent, "source_entries", b"[1]"),
        (AgentCreatedEvent, "capabilities", b"{}"),
        (TaskAssignedEvent, "priority", b"1.5"),
        (TaskAssignedEvent, "priority", b"true"),
        (TaskAssignedEvent, "priority", b"18446744073709551616"),
        (CouncilDecisionMadeEvent, "consensus_reached", b"1"),
        (CouncilDecisionMadeEvent, "consensus_reached", b'"true"'),
        (ConversationStartedEvent, "user_id", b"null"),
        (TaskCompletedEvent, "result", b"18446744073709551616"),
        (TaskCompletedEvent, "result", b'{"deep":[-9223372036854775809]}'),
        (TaskCompletedEvent, "result", b"[" * 100 + b"]" * 100),
        (TaskCompletedEvent, "result", b'{"a":' * 100 + b"1" + b"}" * 100),
    ],
)
def test_a_field_of_the_wrong_type_is_refused_and_named(cls, field, raw):
    for entry in with_payload(cls, field, raw):
        error = refused(entry, cls)
        assert error.reason == "validation"
        assert f"payload.{field}" in error.detail


@pytest.mark.parametrize(
    "number", [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"01", b"+1", b".5"]
)
@pytest.mark.parametrize(
    ("cls", "field"), [(TaskCompletedEvent, "result"), (TaskCompletedEvent, "execution_time_ms")]
)
def test_what_is_no_json_number_is_refused(cls, field, number):
    for entry in with_payload(cls, field, number):
        assert refused(entry, cls).reason == "json"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("event_id", "not-a-uuid"),
        ("event_id", 5),
        ("event_id", None),
        ("event_type", 5),
        ("event_type", None),
        ("occurred_at", "2026-01-01T00:00:00"),
        ("occurred_at", "yesterday"),
        ("occurred_at", "2026-13-01T00:00:00Z"),
        ("occurred_at", "0001-01-01T00:00:00+14:00"),
        ("occurred_at", None),
        ("aggregate_id", 5),
        ("aggregate_version", "1"),
        ("aggregate_version", -1),
        ("aggregate_version", 2**63),
        ("user_id", {}),
        ("correlation_id", 1),
        ("causation_id", []),
        ("traceparent", 1),
    ],
)
def test_metadata_of_the_wrong_type_is_refused_and_named(name, value):
    for entry in (whole(**{name: value}), orjson.dumps({name: value, "payload": {}})):
        error = refused(entry)
        assert name in error.detail
        assert error.reason in ("validation", "unknown-type")


@pytest.mark.parametrize("version", [0, -1, "x", "1", 1.0, 1.5, True, None, [], 2**64])
def test_a_version_that_is_no_whole_number_from_1_is_refused(version):
    raw = whole().replace(b'"event_version":1', b'"event_version":' + json.dumps(version).encode())

    error = refused(raw)

    assert "event_version" in error.detail
    assert error.reason in ("validation", "version")


def test_a_newer_version_is_refused_as_such_even_if_its_payload_is_another():
    for payload in ({"username": "ada"}, {"username": {"first": "ada"}}):
        assert refused(whole(event_version=2, payload=payload)).reason == "newer-version"


@pytest.mark.parametrize("event_type", ["TaskCompletedEvent", "Nope", ""])
def test_an_event_of_another_type_is_refused(event_type):
    for raw in (whole(event_type=event_type), orjson.dumps({"event_type": event_type, "payload": {}})):
        error = refused(raw)
        assert error.reason == "unknown-type"
        assert "'UserLoggedInEvent'" in error.detail


def test_an_entry_that_is_too_large_is_refused_before_it_is_parsed():
    error = refused(b"x" * 101, codec=Codec(max_bytes=100))

    assert (error.reason, "101 bytes" in error.detail) == ("too-large", True)


@given(st.sampled_from(CLASSES), st.binary(max_size=200))
def test_no_bytes_at_all_end_in_anything_but_an_event_or_a_decode_error(cls, raw):
    with suppress(DecodeError):
        decode(raw, cls)


@given(st.sampled_from(CLASSES), st.data())
def test_no_json_at_all_ends_in_anything_but_an_event_or_a_decode_error(cls, data):
    names = [*cls().metadata, "traceparent"]
    document = data.draw(st.dictionaries(st.sampled_from(names), json_values, max_size=3))
    document["payload"] = data.draw(
        st.dictionaries(st.sampled_from(list(cls().payload)), json_values) | json_values
    )

    with suppress(DecodeError):
        event = decode(orjson.dumps(document), cls)
        assert decode(CODEC.encode(event), cls) == event


# Versions


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


# Encoding


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
