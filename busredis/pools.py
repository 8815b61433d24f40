"""The pool of redis-py that opens the connections to a server, to a node, or to whom sentinels name."""

from typing import Any

from busredis.url import Servers

#: Seconds for one sentinel to answer, before the next is asked.
_SENTINEL_S = 1.0


def pool_of(servers: Servers, options: dict[str, Any], kind: Any) -> Any:
    """A pool of redis-py's blocking (`redis`) or asyncio (`redis.asyncio`) kind."""
    if servers.kind == "one":
        return kind.ConnectionPool.from_url(servers.url(""), **options)
    if servers.kind == "cluster":
        return kind.ConnectionPool(**options)  # stays empty: each node has a client of its own
    given = kind.connection.parse_url(servers.url(servers.addresses[0]))
    given.pop("host"), given.pop("port", None)
    secured = {name: value for name, value in given.items() if name.startswith("ssl_")}
    if given.pop("connection_class", None) is not None:
        given["ssl"] = secured["ssl"] = True
    asked = options | secured | {"socket_timeout": _SENTINEL_S, "socket_connect_timeout": _SENTINEL_S}
    for name in ("username", "password"):
        if secret := given.pop(f"sentinel_{name}", None):
            asked[name] = secret
    hosts = [address.rsplit(":", 1) for address in servers.addresses]
    manager = kind.sentinel.Sentinel(
        [(host.strip("[]"), int(port)) for host, port in hosts], sentinel_kwargs=asked
    )
    # Each new connection asks the sentinels who the master is.
    return kind.sentinel.SentinelConnectionPool(servers.service, manager, **given, **options)
