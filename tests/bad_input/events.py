"""Events: defining them, making them, publishing them, reading them."""

import math
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import orjson
from pydantic import ValidationError

import busredis.events.event
from busredis.append import Appender
from busredis.catalog import TaskCompletedEvent, UserLoggedInEvent
from busredis.codec import Codec
from busredis.context import current_event
from busredis.errors import DecodeError, DuplicateEventType, EncodeError, RegistrationError
from busredis.events import DomainEvent, Registry
from busredis.settings import Settings
from tests.bad_input.model import SECRET, Accepted, Case

CODEC = Codec(1_000_000)


@contextmanager
def own_registry():
    """The classes that are defined within end with it."""
    with mock.patch.object(busredis.events.event, "registry", Registry()):
        yield


def define(fields: dict[str, Any] | None = None, **options: object) -> Callable[[], object]:
    """Defines an event class with these annotations and defaults."""
    given = fields or {}
    body = {"__annotations__": dict.fromkeys(given, str), "__module__": __name__, **given}

    def attempt() -> object:
        with own_registry():
            return type(DomainEvent)("Defined", (DomainEvent,), body, **options)

    return attempt


def define_twice() -> object:
    with own_registry():
        for name in ("One", "Other"):
            type(DomainEvent)(name, (DomainEvent,), {"__module__": __name__}, event_type="taken")


def publish(event: object, key: object = None) -> Callable[[], object]:
    appender = Appender(Settings.load(url="redis://localhost", max_event_bytes=10_000))
    return lambda: appender.record(event, key)


def publish_in_handler(event: object) -> Callable[[], object]:
    def attempt() -> object:
        token = current_event.set(UserLoggedInEvent())
        try:
            return publish(event)()
        finally:
            current_event.reset(token)

    return attempt


def result(value: object) -> Callable[[], object]:
    return lambda: TaskCompletedEvent(result=value)


def read(raw: bytes, cls: type[DomainEvent] = TaskCompletedEvent) -> Callable[[], object]:
    return lambda: CODEC.decode(cls, "1767225600000-7", [b"event", raw])


def upcast(
    function: Callable[[dict[str, Any]], Any], payload: bytes = b'{"value":1}'
) -> Callable[[], object]:
    """Reads an entry of version 1 by a class of version 2."""

    def attempt() -> object:
        with own_registry():
            body = {"__annotations__": {"value": object}, "value": None, "__module__": __name__}
            cls = type(DomainEvent)("Raised", (DomainEvent,), body, event_version=2)
            cls.upcaster(1)(function)
            return read(b'{"event_version":1,"payload":' + payload + b"}", cls)()

    return attempt


_TYPE = "is not a name: letters, digits"
_VERSION = "is a whole number from 1"

CLASSES = [
    *(
        Case(f"`event_type={name!r}`", define(event_type=name), RegistrationError, _TYPE)
        for name in (".", "..", "/x", "..\\x", "a b", "a:b", "{a}", "a*", "a?", "a[", "1a", "a\0", "a\n", 5)
    ),
    Case("`event_type` of 129 letters", define(event_type="x" * 129), RegistrationError, _TYPE),
    Case("`event_version=0`", define(event_version=0), RegistrationError, _VERSION),
    Case("`event_version=-1`", define(event_version=-1), RegistrationError, _VERSION),
    Case('`event_version="2"`', define(event_version="2"), RegistrationError, _VERSION),
    Case("`event_version=True`", define(event_version=True), RegistrationError, _VERSION),
    Case("a payload field `event_id`", define({"event_id": ""}), RegistrationError, "cannot be named like"),
    Case("two classes of one type", define_twice, DuplicateEventType, "is already taken by"),
]

MADE = [
    Case("an unknown field", lambda: UserLoggedInEvent(usrname="x"), ValidationError, "usrname"),
    Case("`username=5`", lambda: UserLoggedInEvent(username=5), ValidationError, "username"),
    Case("`username=[password]`", lambda: UserLoggedInEvent(username=[SECRET]), ValidationError, "username"),
    Case(
        '`execution_time_ms="12"`', lambda: TaskCompletedEvent(execution_time_ms="12"), ValidationError, "ms"
    ),
    Case(
        "`execution_time_ms=nan`",
        lambda: TaskCompletedEvent(execution_time_ms=math.nan),
        ValidationError,
        "execution_time_ms",
    ),
    Case('`result={"a": [inf]}`', result({"a": [math.inf]}), ValidationError, "no JSON number at .a[0]"),
    Case('`result={"a": 2**64}`', result({"a": 2**64}), ValidationError, "64 bits at .a"),
    Case("`result={1: 2}`", result({1: 2}), ValidationError, "strings, not int"),
    Case("`result=object()`", result(object()), ValidationError, "result"),
    Case("`result=b'\\xff'`", result(b"\xff"), ValidationError, "result"),
    Case("`result` a time without a zone", result(datetime(2026, 1, 1)), ValidationError, "has no time zone"),
    Case("`result` of 100 levels", result(orjson.loads("[" * 100 + "]" * 100)), ValidationError, "64 levels"),
    Case("`event_version=0`", lambda: UserLoggedInEvent(event_version=0), ValidationError, "event_version"),
    Case(
        "`occurred_at` without a zone",
        lambda: UserLoggedInEvent(occurred_at=datetime(2026, 1, 1)),
        ValidationError,
        "occurred_at",
    ),
]

PUBLISHED = [
    *(
        Case(f"`publish({shown})`", publish(event), EncodeError, "is no DomainEvent")
        for shown, event in (
            ("None", None),
            ("{}", {}),
            ("'text'", "x"),
            ("UserLoggedInEvent", UserLoggedInEvent),
        )
    ),
    *(
        Case(
            f"`ctx.publish({shown})` in a handler",
            publish_in_handler(event),
            EncodeError,
            "is no DomainEvent",
        )
        for shown, event in (("None", None), ("{}", {}), ("UserLoggedInEvent", UserLoggedInEvent))
    ),
    Case(
        "an event of 20 kB, where 10 kB are allowed",
        publish(UserLoggedInEvent(username="x" * 20_000)),
        EncodeError,
        "the limit is 10,000",
    ),
    Case("a lone surrogate", publish(UserLoggedInEvent(username="\udc80")), EncodeError, "payload.username"),
    Case('`key=""`', publish(UserLoggedInEvent(), ""), EncodeError, "1 to 128 characters"),
    Case("`key` of 129 letters", publish(UserLoggedInEvent(), "x" * 129), EncodeError, "1 to 128 characters"),
]

UPCAST = [
    Case(
        "an upcaster that raises", upcast(lambda payload: payload["none"]), DecodeError, "upcast: Raised v1"
    ),
    Case("one that returns nothing", upcast(lambda payload: None), DecodeError, "payload: is missing"),
    Case("one that returns a list", upcast(lambda payload: [1]), DecodeError, "payload: is of type list"),
    Case("one that makes NaN", upcast(lambda payload: {"value": math.nan}), DecodeError, "no JSON number"),
    Case("one that makes 2**70", upcast(lambda payload: {"value": 2**70}), DecodeError, "64 bits"),
    Case("one that makes an object", upcast(lambda payload: {"value": object()}), DecodeError, "value"),
    Case("one that makes a key 1", upcast(lambda payload: {1: 2}), DecodeError, "strings, not int"),
    Case(
        "one that makes a lone surrogate", upcast(lambda payload: {"value": "\udc80"}), DecodeError, "payload"
    ),
    Case(
        "an old entry with an integer of 30 digits",
        upcast(lambda payload: payload, b'{"value":' + b"9" * 30 + b"}"),
        DecodeError,
        "64 bits",
    ),
]

ACCEPTED = [
    Accepted(
        "`__proto__`, `__class__`, `$ref`, `py/object` as names",
        lambda: read(b'{"payload":{"result":{"__proto__":1,"__class__":"os.system","$ref":"#"}}}')().result,
        {"__proto__": 1, "__class__": "os.system", "$ref": "#"},
        "plain data: nothing is looked up, imported or called",
    ),
    Accepted(
        "one name twice",
        lambda: read(b'{"payload":{"result":1,"result":2}}')().result,
        2,
        "the last one counts",
    ),
    Accepted(
        "an unknown name in an entry",
        lambda: read(b'{"payload":{"task_id":"t-1","new":1}}')().task_id,
        "t-1",
        "ignored: newer programs add fields",
    ),
    Accepted(
        "`occurred_at` as a number",
        lambda: read(b'{"occurred_at":1767225600,"payload":{}}')().occurred_at,
        datetime(2026, 1, 1, tzinfo=UTC),
        "seconds since 1970",
    ),
    Accepted(
        "a NUL character in a text",
        lambda: read(b'{"payload":{"task_id":"a\\u0000b"}}')().task_id,
        "a\0b",
        "kept",
    ),
    Accepted("`1e-400`", lambda: read(b'{"payload":{"result":1e-400}}')().result, 0.0, "read as zero"),
]
