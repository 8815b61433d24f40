"""Malformed entries end in a DecodeError that says why and names the field; no bytes end in anything else."""

import json
import re
from contextlib import suppress

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from busredis.errors import DecodeError
from tests.unit.entries import CODEC, ENTRY, PAYLOAD, decode, refused, whole, with_payload
from tests.unit.strategies import CLASSES, json_values


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
