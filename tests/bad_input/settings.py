"""URLs, settings and the options of handlers."""

from collections.abc import Callable
from datetime import UTC, datetime

from busredis.client import Client
from busredis.errors import RegistrationError, SettingsError
from busredis.events import DomainEvent
from busredis.keys import check_name
from busredis.router import Router
from busredis.settings import Settings
from tests.bad_input.model import SECRET, Case


class Misused(DomainEvent):
    number: int = 0


def url(text: object) -> Callable[[], object]:
    return lambda: Client(text)


def setting(**given: object) -> Callable[[], object]:
    return lambda: Settings.load(**given)


def handler(**options: object) -> Callable[[], object]:
    return lambda: Router().on(Misused, **({"name": "x"} | options))(lambda event: None)


def _url(text: object, says: str) -> Case:
    return Case(f"`{text}`", url(text), SettingsError, says)


_PERCENT = "percent-encode"

URLS = [
    _url("localhost:6379", "no scheme"),
    Case("nothing", url(""), SettingsError, "no scheme"),
    _url("http://host", "no scheme"),
    _url("redis:///0", "no host"),
    _url("unix://", "names a socket"),
    _url("redis://host:0/0", "port 0"),
    _url(f"redis://:{SECRET}@host:99999/0", "port is a number from 1 to 65535"),
    _url(f"redis://:{SECRET}@host:six/0", "port is a number from 1 to 65535"),
    _url("redis://[::1/0", "cannot be read"),
    _url("redis://ho st/0", "white space or a control character"),
    Case(
        "`redis://host` and a line break", url("redis://host\n/0"), SettingsError, "white space or a control"
    ),
    _url("redis://host/abc", "the database is a number"),
    _url("redis://host/-1", "the database is a number"),
    _url("redis://host/\u00b2", "the database is a number"),
    _url("redis://host?db=abc", "'db' is a whole number"),
    _url("redis://host?health_check_interval=soon", "'health_check_interval' is a whole number"),
    _url("redis://host/0?zzz=1", "unknown option 'zzz'"),
    _url("redis://host?ssl_cert_reqs=none", "'ssl_cert_reqs' is for rediss:// only"),
    _url("rediss://host?ssl_cert_reqs=perhaps", "'ssl_cert_reqs' is none, optional or required"),
    _url("unix:///run/redis.sock?socket_keepalive=yes", "'socket_keepalive' is not for unix://"),
    _url(f"redis://:p@{SECRET}:{SECRET}/{SECRET}@host/0", _PERCENT),
    _url(f"redis://:p@ss:{SECRET}/x@host/0", _PERCENT),
    _url(f"redis://user:12/{SECRET}@host/0", _PERCENT),
    _url(f"redis://user:12#{SECRET}@host/0", _PERCENT),
    _url(f"redis://user:12?{SECRET}@host/0", _PERCENT),
    _url(f"redis://user:{SECRET}?x@host/0", _PERCENT),
    Case("no text: `None`", url(None), SettingsError, "is a text, not NoneType"),
    Case("no text: `b'redis://host'`", url(b"redis://host"), SettingsError, "is a text, not bytes"),
]

SETTINGS = [
    Case("`namespace` empty", setting(namespace=""), SettingsError, "namespace"),
    Case("`namespace` with `{`", setting(namespace="{x}"), SettingsError, "namespace"),
    Case("`namespace` with a line break", setting(namespace="a\n"), SettingsError, "namespace"),
    Case("`namespace` of 65 letters", setting(namespace="a" * 65), SettingsError, "namespace"),
    Case('`lease="soon"`', setting(lease="soon"), SettingsError, "lease"),
    Case("`lease` empty", setting(lease=""), SettingsError, "lease"),
    Case("`lease=0`", setting(lease=0), SettingsError, "lease must be longer"),
    Case('`lease="99999999999d"`', setting(lease="99999999999d"), SettingsError, "lease"),
    Case("`once_window` of two years", setting(once_window="731d"), SettingsError, "at most 366 days"),
    Case("`publish_timeout=inf`", setting(publish_timeout=float("inf")), SettingsError, "publish_timeout"),
    Case("`grace=-1`", setting(grace=-1), SettingsError, "grace must not be negative"),
    Case("`sweep` longer than `lease`", setting(sweep="5m"), SettingsError, "not be longer than lease"),
    Case("`prefetch=0`", setting(prefetch=0), SettingsError, "greater than or equal to 1"),
    Case("`prefetch=1000000000`", setting(prefetch=10**9), SettingsError, "less than or equal to 10000"),
    Case("`prefetch=1.5`", setting(prefetch=1.5), SettingsError, "prefetch"),
    Case("`max_event_bytes=0`", setting(max_event_bytes=0), SettingsError, "greater than or equal to 256"),
    Case('`durability="maybe"`', setting(durability="maybe"), SettingsError, "'memory', 'fsync' or"),
    Case("a setting that there is not", setting(leese=1), SettingsError, "leese"),
]


def _handler(option: str, value: object, says: str) -> Case:
    return Case(f"`{option}={value!r}`", handler(**{option: value}), RegistrationError, says)


_WHOLE = "is a whole number from 1 to 10,000"
_START = "start is 'beginning', 'now', a datetime or an entry id"

HANDLERS = [
    _handler("name", "a b", "is not a name"),
    _handler("name", "waiting-5", "busredis' own"),
    _handler("name", 5, "is not a name"),
    _handler("max_attempts", 0, f"max_attempts {_WHOLE}"),
    _handler("max_attempts", "3", f"max_attempts {_WHOLE}"),
    _handler("max_attempts", 10**6, f"max_attempts {_WHOLE}"),
    _handler("concurrency", True, f"concurrency {_WHOLE}"),
    _handler("concurrency", 1.5, f"concurrency {_WHOLE}"),
    _handler("timeout", 0, "timeout is 0:00:00"),
    _handler("timeout", "5", "timeout is seconds or a timedelta"),
    _handler("timeout", float("nan"), "timeout is seconds or a timedelta"),
    _handler("timeout", 1e300, "timeout is seconds or a timedelta"),
    _handler("backoff", -1, "cannot be negative"),
    _handler("backoff", [], "empty list"),
    _handler("backoff", None, "backoff is"),
    _handler("backoff", "5", "backoff is"),
    _handler("backoff", [1, "x"], "backoff is"),
    _handler("backoff", float("nan"), "backoff is"),
    _handler("backoff", float("inf"), "backoff is"),
    _handler("start", "soon", _START),
    _handler("start", "1-", _START),
    _handler("start", "1--5", _START),
    _handler("start", " 1-0", _START),
    _handler("start", "1_0-0", _START),
    _handler("start", "\uff11-0", _START),
    _handler("start", "18446744073709551616-0", _START),
    _handler("start", None, _START),
    Case(
        "`start` a time without a zone",
        handler(start=datetime(2026, 1, 1)),
        RegistrationError,
        "has no time zone",
    ),
    Case(
        "`start` before 1970",
        handler(start=datetime(1960, 1, 1, tzinfo=UTC)),
        RegistrationError,
        "before 1970",
    ),
    Case("no event class", lambda: Router().on(name="x")(print), RegistrationError, "names no event"),
    Case(
        "the name of an event class",
        lambda: Router().on("Misused", name="x")(print),
        RegistrationError,
        "is no event class",
    ),
    Case(
        "a function without parameters",
        lambda: Router().on(Misused, name="x")(lambda: None),
        RegistrationError,
        "called with (event) or (event, ctx)",
    ),
    Case(
        "a function of three parameters",
        lambda: Router().on(Misused, name="x")(lambda a, b, c: None),
        RegistrationError,
        "called with (event) or (event, ctx)",
    ),
    Case("no function", lambda: Router().on(Misused, name="x")("text"), RegistrationError, "is no function"),
]


def _name(shown: str, name: str) -> Case:
    return Case(shown, lambda: check_name("group", name), SettingsError, "is not a name")


GROUPS = [
    _name("an empty name", ""),
    _name("`a:b`", "a:b"),
    _name("`a b`", "a b"),
    _name("a NUL character", "a\0"),
    _name("a line break at the end", "a\n"),
    _name("129 letters", "x" * 129),
    _name("`..`", ".."),
    _name("`{x}`", "{x}"),
]
