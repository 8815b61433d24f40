"""Checks a server's URL before anything connects, and shows it without its secrets."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, parse_qs, urlsplit

from busredis.errors import SettingsError

_SCHEMES = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"}
_NUMBERS = frozenset({"db", "health_check_interval"})
_OPTIONS = (
    _NUMBERS
    | {"username", "password", "sentinel_username", "sentinel_password", "client_name", "socket_keepalive"}
    | {
        "ssl_cert_reqs",
        "ssl_ca_certs",
        "ssl_certfile",
        "ssl_keyfile",
        "ssl_check_hostname",
        "ssl_min_version",
    }
)
_PERCENT = "percent-encode '@ : / ? # %' in user and password"


@dataclass(frozen=True)
class Servers:
    """What a URL names: one server, nodes of a cluster, or sentinels that know the master called `service`.

    `addresses` are HOST:PORT; `url(address)` is how redis-py connects to one.
    """

    kind: Literal["one", "cluster", "sentinel"]
    addresses: tuple[str, ...]
    service: str = ""
    _before: str = ""
    _after: str = ""

    def url(self, address: str) -> str:
        return f"{self._before}{address}{self._after}"


def parse_servers(url: str) -> Servers:
    """The servers of a URL. Raises SettingsError that says what to write."""
    scheme, _, rest = url.partition("://") if isinstance(url, str) else ("", "", "")
    base, _, kind = scheme.partition("+")
    if kind not in ("cluster", "sentinel"):
        return Servers("one", (), _before=checked_url(url))
    where, mark, query = rest.partition("?")
    netloc, _, path = where.partition("/")
    user, at, hosts = netloc.rpartition("@")
    example = f"{scheme}://HOST:PORT,HOST:PORT" + ("/NAME/0" if kind == "sentinel" else "")
    service, _, db = path.partition("/") if kind == "sentinel" else ("", "", path)
    if kind == "sentinel" and (not service or "/" in db):
        raise SettingsError(f"{shown_url(url)!r}: sentinels are asked for a master by its name: {example}")
    if kind == "cluster" and db.strip("/") not in ("", "0"):
        raise SettingsError(f"{shown_url(url)!r}: a cluster has no database but 0: {example}")
    port = "26379" if kind == "sentinel" else "6379"
    addresses = tuple(
        host if host.rpartition(":")[2].isdigit() else f"{host}:{port}" for host in hosts.split(",") if host
    )
    if not addresses:
        raise SettingsError(f"{shown_url(url)!r}: no host; write {example}")
    for address in addresses:
        checked_url(f"{base}://{user}{at}{address}/{db}{mark}{query}")
    before = f"{_SCHEMES[base]}://{user}{at}"
    return Servers(kind, addresses, service, before, f"/{db}{mark}{query}")  # type: ignore[arg-type]  # checked above


def checked_url(url: str) -> str:
    """`url` as redis-py understands it. Raises SettingsError that says what to write; never shows a password."""
    if not isinstance(url, str):
        raise SettingsError(f"the server's URL is a text, not {type(url).__name__}")
    if any(sign.isspace() or not sign.isprintable() for sign in url):
        raise SettingsError("the server's URL has white space or a control character in it")
    parts = _split(url)
    if parts.scheme not in _SCHEMES or "://" not in url:
        raise SettingsError(
            f"{shown_url(url)!r}: no scheme that is known; use redis://, rediss://, valkey:// or unix://, "
            "redis+cluster:// or redis+sentinel://"
        )
    if parts.scheme == "unix":
        if not parts.path:
            raise SettingsError("a unix:// URL names a socket: unix:///run/redis.sock?db=0")
    else:
        _check_place(url, parts)
    _check_options(url, parts)
    return _SCHEMES[parts.scheme] + url[len(parts.scheme) :]


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        # The error of the parser is not repeated here or below: it may quote a piece of the password.
        raise SettingsError(f"the server's URL cannot be read; {_PERCENT}") from None


def _check_place(url: str, parts: SplitResult) -> None:
    query_is_odd = "=" not in parts.query or set(parse_qs(parts.query)) - _OPTIONS
    if "@" in parts.path or "@" in parts.fragment or ("@" in parts.query and query_is_odd):
        raise SettingsError(f"the server's URL has an '@' behind its host; {_PERCENT}")
    if parts.fragment:
        raise SettingsError(f"the server's URL ends in a '#' part, which means nothing; {_PERCENT}")
    try:
        port = parts.port
    except ValueError:
        raise SettingsError(
            f"the server's URL cannot be read: a port is a number from 1 to 65535; {_PERCENT}"
        ) from None
    if not parts.hostname:
        raise SettingsError(f"{shown_url(url)!r}: no host; write redis://HOST:PORT/DB")
    if port == 0:
        raise SettingsError(f"{shown_url(url)!r}: port 0 cannot be connected to")
    database = parts.path.strip("/")
    if database and not _is_number(database):
        raise SettingsError(f"{shown_url(url)!r}: the database is a number, not {database[:80]!r}")


def _check_options(url: str, parts: SplitResult) -> None:
    for option, values in parse_qs(parts.query).items():
        problem = None
        if option not in _OPTIONS:
            problem = f"unknown option {option[:80]!r}; known: {', '.join(sorted(_OPTIONS))}"
        elif option in _NUMBERS and not _is_number(values[0]):
            problem = f"{option!r} is a whole number"
        elif option.startswith("ssl_") and _SCHEMES[parts.scheme] != "rediss":
            problem = f"{option!r} is for rediss:// only"
        elif option == "ssl_cert_reqs" and values[0] not in ("none", "optional", "required"):
            problem = f"{option!r} is none, optional or required"
        elif option == "socket_keepalive" and parts.scheme == "unix":
            problem = f"{option!r} is not for unix://"
        if problem:
            raise SettingsError(f"{shown_url(url)!r}: {problem}")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def shown_url(url: str) -> str:
    """`url` without user, password and options, for messages and logs."""
    if not isinstance(url, str):
        return "<no URL>"
    try:
        parts: SplitResult = urlsplit(url)
        if "@" in parts.path or not parts.scheme:
            return "<the given URL>" if "@" in url else url[:80]
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "<the given URL>"
    return f"{parts.scheme}://{host}{parts.path}"[:120]
