"""Bytes that somebody made to do harm: an event or a decode error comes of them, and nothing costs more than its size allows."""

import re
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busredis.catalog import KnowledgeConsolidatedEvent, MemoryPurgedEvent, TaskCompletedEvent
from busredis.cli.lines import bounded_lines
from busredis.cli.publish import BadLine, parse
from busredis.codec import Codec
from busredis.errors import DecodeError
from busredis.events import DomainEvent
from tests.unit.strategies import CLASSES, events

LIMIT = 1_048_576
CODEC = Codec(LIMIT)
#: What a parser may stumble over, to be put anywhere.
TOKENS = [
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b"\\",
        b"\\u",
        b"\\ud800",
        b"\\u0000",
        b"\0",
        b"\xff",
        b"\xc3",
    ),
    *(b"\xef\xbb\xbf", b"\xed\xa0\x80", b"NaN", b"-Infinity", b"1e400", b"-0", b"1e-400", b"null", b"true"),
    *(
        b"[" * 2_000,
        b'{"a":' * 2_000,
        b"9" * 4_400,
        b"9" * 25,
        b"-9223372036854775809",
        b"18446744073709551616",
    ),
    *(
        b'"payload":',
        b'"payload":{}',
        b'"event_version":',
        b'"event_type":',
        b'"event_id":',
        b'"occurred_at":',
    ),
    *(b"\x80\x04", b"!!python/object", b'"__class__":', b" " * 100, b"\n", b"\r\n", b"//", b"/*"),
]


@st.composite
def damaged(draw) -> tuple[type[DomainEvent], bytes]:
    """An entry that was fine, and what became of it in a few steps."""
    event = draw(events)
    raw = event.to_json()
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(raw)))
        length = draw(st.integers(0, 12))
        raw = raw[:start] + draw(st.sampled_from(TOKENS) | st.binary(max_size=6)) + raw[start + length :]
    cls = type(event) if draw(st.booleans()) else draw(st.sampled_from(CLASSES))
    return cls, raw


@given(damaged())
@settings(max_examples=300, deadline=None)
def test_a_damaged_entry_is_an_event_or_a_decode_error(given_entry):
    cls, raw = given_entry
    with suppress(DecodeError):
        event = CODEC.decode(cls, "1767225600000-7", [b"event", raw])
        assert CODEC.decode(cls, "1767225600000-7", [b"event", CODEC.encode(event)]) == event


@given(damaged(), st.sampled_from([None, "UserLoggedInEvent", "Nope", "\udcff"]))
@settings(max_examples=200, deadline=None)
def test_a_damaged_line_is_an_event_or_a_bad_line_that_is_named(given_entry, event_type):
    _, raw = given_entry
    said = ""
    try:
        event = parse(raw, "line 7", LIMIT, event_type)
    except BadLine as error:
        said = str(error)

    assert said.startswith("line 7 is no event: ") or type(event) in CLASSES


@given(st.lists(st.binary(max_size=30)), st.integers(1, 12))
def test_no_line_takes_more_memory_than_is_allowed_and_no_byte_is_lost(lines, longest):
    given_bytes = b"\n".join(lines)
    found: list[bytes] = []

    class Stream:
        """A stream that tells how much it was asked for at once."""

        def __init__(self) -> None:
            self.rest = given_bytes

        def readline(self, most: int) -> bytes:
            assert 0 < most <= longest + 1
            end = self.rest.find(b"\n") + 1 or len(self.rest)
            line, self.rest = self.rest[: min(end, most)], self.rest[min(end, most) :]
            return line

    yielded = []
    for line in bounded_lines(Stream(), longest, found.append):
        yielded.append(line)
        found.append(line)

    assert b"".join(found) == given_bytes
    assert yielded == [line[: longest + 1] for line in re.findall(rb"[^\n]*\n|[^\n]+", given_bytes)]


N = 100_000
COSTLY = {
    "brackets": b"[" * N,
    "braces": b'{"a":' * (N // 5),
    "brackets in a field": b'{"payload":{"result":' + b"[" * N,
    "empty lists": b'{"payload":{"result":[' + b"[]," * (N // 3) + b"[]]}}",
    "empty objects": b'{"payload":{"result":[' + b"{}," * (N // 3) + b"{}]}}",
    "small integers": b'{"payload":{"result":[' + b"1," * (N // 2) + b"1]}}",
    "many names": b'{"payload":{"result":{' + b",".join(b'"%x":0' % i for i in range(N // 9)) + b"}}}",
    "one name often": b'{"payload":{"result":{' + b",".join([b'"a":0'] * (N // 6)) + b"}}}",
    "many payloads": b"{" + b",".join([b'"payload":{}'] * (N // 13)) + b"}",
    "digits": b'{"payload":{"result":' + b"9" * N + b"}}",
    "digits behind a point": b'{"payload":{"result":0.' + b"1" * N + b"}}",
    "an exponent": b'{"payload":{"result":1e' + b"9" * N + b"}}",
    "digits in a version": b'{"event_version":' + b"9" * N + b',"payload":{}}',
    "escapes": b'{"payload":{"task_id":"' + b"\\u0061" * (N // 6) + b'"}}',
    "half pairs": b'{"payload":{"task_id":"' + b"\\ud800" * (N // 6) + b'"}}',
    "white space": b" " * N,
    "lists as deep as allowed": b'{"payload":{"result":['
    + b",".join([b"[" * 62 + b"]" * 62] * (N // 125))
    + b"]}}",
    "an id": b'{"event_id":"' + b"a" * N + b'","payload":{}}',
    "a time": b'{"occurred_at":"' + b"1" * N + b'","payload":{}}',
    "a type": b'{"event_type":"' + b"a" * N + b'","payload":{}}',
    "a text where a number belongs": b'{"payload":{"purged_count":"' + b"1" * N + b'"}}',
    "numbers where texts belong": b'{"payload":{"source_entries":[' + b"1," * (N // 2) + b"1]}}",
}
#: Bytes of memory for a byte of JSON, at most: an error is kept for each of 50,000 numbers where texts belong.
FACTOR = 400


@pytest.mark.parametrize("name", COSTLY)
def test_what_is_made_to_be_costly_takes_memory_in_proportion_to_its_size(name):
    raw = COSTLY[name]
    classes = {"a text where": MemoryPurgedEvent, "numbers wher": KnowledgeConsolidatedEvent}
    cls = classes.get(name[:12], TaskCompletedEvent)
    answer = b""
    tracemalloc.start()
    try:
        try:
            answer = CODEC.encode(CODEC.decode(cls, "1-1", [b"event", raw]))
        except DecodeError as error:
            answer = str(error).encode()
            assert len(answer) < 1_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert answer
    assert peak < FACTOR * N
