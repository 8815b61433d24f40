"""What is fed with bytes, and the only errors that may come of it."""

from collections.abc import Callable, Sequence

from busredis import catalog
from busredis.catalog import TaskCompletedEvent, UserLoggedInEvent
from busredis.cli.publish import BadLine, parse
from busredis.codec import Codec
from busredis.errors import DecodeError, RegistrationError, SettingsError
from busredis.events import DomainEvent
from busredis.events.fields import valid_type_name
from busredis.keys import check_name
from busredis.settings import Settings
from busredis.url import checked_url

LIMIT = 1_048_576
_CODEC = Codec(LIMIT)
_CLASSES: Sequence[type[DomainEvent]] = [getattr(catalog, name) for name in catalog.__all__]


def entry(data: bytes) -> None:
    """An entry of a stream: an event, which survives being written and read, or a DecodeError."""
    cls = _CLASSES[data[0] % len(_CLASSES)]
    try:
        event = _CODEC.decode(cls, "1767225600000-7", [b"event", data[1:]])
    except DecodeError:
        return
    again = _CODEC.decode(cls, "1767225600000-7", [b"event", _CODEC.encode(event)])
    assert again == event, (event, again)


def line(data: bytes) -> None:
    """A line of 'publish --jsonl', or the JSON of a command."""
    try:
        parse(data[1:], "line 1", LIMIT, None if data[0] % 2 else "UserLoggedInEvent")
    except BadLine:
        return


def names(data: bytes) -> None:
    """What stands in settings and keys."""
    text = data[1:].decode("utf-8", "surrogateescape")
    checks: list[tuple[Callable[[str], object], type[Exception]]] = [
        (checked_url, SettingsError),
        (lambda name: check_name("group", name), SettingsError),
        (valid_type_name, RegistrationError),
        (lambda value: Settings.load(lease=value), SettingsError),
        (lambda value: Settings.load(namespace=value), SettingsError),
        (lambda value: Settings.load(prefetch=value), SettingsError),
    ]
    check, allowed = checks[data[0] % len(checks)]
    try:
        check(text)
    except allowed:
        return


TARGETS = (entry, entry, line, names)
#: Where to start from; the first byte chooses the target, the second the class or check.
SEEDS = [
    *(bytes([0, number]) + cls().to_json() for number, cls in enumerate(_CLASSES)),
    bytes([1, _CLASSES.index(TaskCompletedEvent)])
    + b'{"payload":{"result":[1.5,{"a":[null,true,"\\ud83d\\ude00"]}]}}',
    bytes([2, 1]) + UserLoggedInEvent(username="ada").to_json(),
    bytes([2, 0]) + b'{"username":"ada"}',
    bytes([3, 0]) + b"rediss://user:pass@host:6379/0?ssl_cert_reqs=none",
    bytes([3, 0]) + b"unix:///run/redis.sock?db=0",
    bytes([3, 3]) + b"1.5 ms",
    bytes([3, 3]) + b"P1DT2H3.4S",
]


def feed(data: bytes) -> None:
    """One input. Raises whatever should not have been raised."""
    if len(data) >= 2:
        TARGETS[data[0] % len(TARGETS)](data[1:])
