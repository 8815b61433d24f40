"""Checks a server's URL before anything connects, and shows it without its secrets."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, parse_qs, urlsplit

from busredis.errors import SettingsError

_SCHEMES = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"}
_OPTIONS = frozenset(
    {
        "db",
        "username",
        "password",
        "sentinel_username",
        "sentinel_password",
        "client_name",
        "health_check_interval",
        "socket_keepalive",
    }
    | {
        "ssl_cert_reqs",
        "ssl_ca_certs",
        "ssl_certfile",
        "ssl_keyfile",
        "ssl_check_hostname",
        "ssl_min_version",
    }
)


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
    scheme, _, rest = url.partition("://")
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
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SettingsError(
            f"the server's URL cannot be read: {error}; percent-encode '@ : / %' in passwords"
        ) from None
    if parts.scheme not in _SCHEMES or "://" not in url:
        raise SettingsError(
            f"{shown_url(url)!r}: no scheme that is known; use redis://, rediss://, valkey:// or unix://, "
            "redis+cluster:// or redis+sentinel://"
        )
    if parts.scheme == "unix":
        if not parts.path:
            raise SettingsError("a unix:// URL names a socket: unix:///run/redis.sock?db=0")
    elif not parts.hostname:
        raise SettingsError(f"{shown_url(url)!r}: no host; write redis://HOST:PORT/DB")
    elif port == 0:
        raise SettingsError(f"{shown_url(url)!r}: port 0 cannot be connected to")
    if parts.scheme != "unix" and parts.path.strip("/") and not parts.path.strip("/").isdigit():
        raise SettingsError(f"{shown_url(url)!r}: the database is a number, not {parts.path.strip('/')!r}")
    unknown = sorted(set(parse_qs(parts.query)) - _OPTIONS)
    if unknown:
        raise SettingsError(
            f"{shown_url(url)!r}: unknown option {unknown[0]!r}; known: {', '.join(sorted(_OPTIONS))}"
        )
    return _SCHEMES[parts.scheme] + url[len(parts.scheme) :]


def shown_url(url: str) -> str:
    """`url` without user, password and options, for messages and logs."""
    try:
        parts: SplitResult = urlsplit(url)
        if "@" in parts.path or not parts.scheme:
            return "<the given URL>" if "@" in url else url[:80]
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "<the given URL>"
    return f"{parts.scheme}://{host}{parts.path}"[:120]
