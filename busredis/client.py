"""The one module that talks to redis-py: connections, and what can go wrong on them.

It uses redis-py's connections (URLs, TLS, authentication) below its client: bytes in, raw replies out, RESP2
on every server, and no retries, since a command that is sent again may run twice.
"""

import asyncio
import os
from collections import deque
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

import hiredis
import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MaxConnectionsError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from busredis.cluster import Nodes, address_of
from busredis.commands import Flow, Request, drive, drive_async
from busredis.errors import (
    CommandRefused,
    ConnectionLost,
    GroupMissing,
    NotSent,
    ServerError,
    ServerUnavailable,
)
from busredis.exchange import LATER, Link, Told, ToldWire, Wire, refusal
from busredis.pools import pool_of
from busredis.url import parse_servers, shown_url

Result = TypeVar("Result")


def classify(error: BaseException) -> ServerError:
    """The busredis error for one of redis-py or of the socket; the text of the server stays."""
    message = str(error) or type(error).__name__
    if isinstance(error, ServerError):
        return error
    if isinstance(error, BusyLoadingError):
        return ServerUnavailable(message if message.startswith("LOADING") else f"LOADING {message}")
    if isinstance(error, AuthenticationError):
        return CommandRefused(f"the server refused the credentials: {message}")
    if isinstance(error, ResponseError) or message.startswith(LATER):
        return refusal(_with_prefix(error, message))
    return ConnectionLost(message)


def _with_prefix(error: BaseException, message: str) -> str:
    # redis-py strips the first word of the replies that it has a class for.
    prefix = {
        "ReadOnlyError": "READONLY",
        "NoScriptError": "NOSCRIPT",
        "OutOfMemoryError": "OOM",
        "NoPermissionError": "NOPERM",
    }
    word = prefix.get(type(error).__name__, "")
    return message if not word or message.startswith(word) else f"{word} {message}"


class Client:
    """Runs flows with blocking calls; safe to use from several threads."""

    def __init__(self, url: str, *, timeout: timedelta = timedelta(seconds=5)) -> None:
        self.shown = shown_url(url)
        options = _options(timeout.total_seconds(), Retry(NoBackoff(), 0))
        servers = parse_servers(url)
        self._pool = pool_of(servers, options, redis)
        #: Connections at rest, the one used last in front. They stay out of the pool, whose ways cost more than a command.
        self._free: deque[Link] = deque()
        self._pid = os.getpid()
        self._nodes: Nodes[Any] | None = None
        if servers.kind == "cluster":
            self._nodes = Nodes(servers, lambda node: Client(node, timeout=timeout))
            self._exchange = self._nodes.exchange  # type: ignore[method-assign]

    def run(self, flow: Flow[Result]) -> Result:
        """Raises ConnectionLost (NotSent if no connection was made), ServerUnavailable, GroupMissing, CommandRefused."""
        return drive(flow, self._exchange)

    def _exchange(self, request: Request) -> Any:
        link = self._link()
        try:
            reply = link.exchange(request)
        except (ServerUnavailable, GroupMissing, CommandRefused) as error:
            self._rest(link, error)
            raise
        except BaseException as error:
            self._drop(link)
            if isinstance(error, OSError | hiredis.ProtocolError):
                raise ConnectionLost(str(error) or type(error).__name__) from error
            raise
        self._rest(link, *(reply if request.together else ()))
        return reply

    def _rest(self, link: Link, *replies: Any) -> None:
        if any(map(_is_demoted, replies)):
            self._drop(link)
        else:
            self._free.append(link)

    def _link(self) -> Link:
        if self._pid != os.getpid():
            # After a fork these are the parent's; redis-py's pool looks after its own.
            self._pid, self._free = os.getpid(), deque()
        while True:
            try:
                link = self._free.pop()
            except IndexError:
                break
            if link.is_usable():
                return link
            self._drop(link)
        try:
            return Link(self._pool.get_connection())
        except (RedisError, OSError) as error:
            raise _not_sent(error, self.shown) from error

    def _drop(self, link: Link) -> None:
        link.connection.disconnect()
        self._pool.release(link.connection)

    def node_of(self, request: Request) -> str:
        """The node of a cluster that a request would go to; "" if there is but one, or it is not known yet."""
        return self._nodes.cluster.owner(request) if self._nodes is not None else ""

    def masters(self) -> dict[str, "Client"]:
        """By address a client of each master, as far as they are known: of a cluster several, else this one."""
        if self._nodes is None:
            return {self._peer(): self}
        return {address: self._nodes.node(address) for address in self._nodes.cluster.masters()}

    def _peer(self) -> str:
        """Who is at the other end of the connection that was used last; with sentinels that is whom they named."""
        if not self._free:
            return self.shown
        connection = self._free[-1].connection
        path = getattr(connection, "path", None)
        return str(path) if path else address_of(str(connection.host), int(connection.port))

    def close(self) -> None:
        """Closes every connection; a later run opens new ones."""
        if self._nodes is not None:
            self._nodes.close()
        while self._free:
            self._drop(self._free.pop())
        self._pool.disconnect()


class AsyncClient:
    """Runs flows with awaits, on one event loop; with `most`, through at most so many connections at a time."""

    def __init__(
        self, url: str, *, timeout: timedelta = timedelta(seconds=5), most: int | None = None
    ) -> None:
        self.shown = shown_url(url)
        self._turns = asyncio.Semaphore(most) if most else None
        options = _options(timeout.total_seconds(), AsyncRetry(NoBackoff(), 0))
        servers = parse_servers(url)
        self._pool = pool_of(servers, options, redis.asyncio)
        self._timeout = timeout.total_seconds()
        self._free: deque[Wire] = deque()
        self._nodes: Nodes[Any] | None = None
        if servers.kind == "cluster":
            self._nodes = Nodes(servers, lambda node: AsyncClient(node, timeout=timeout, most=most))
            self._exchange = self._nodes.exchange_async  # type: ignore[method-assign]

    def run(self, flow: Flow[Result]) -> Coroutine[Any, Any, Result]:
        """Raises what Client.run raises. Cancelled, it closes its connection: a reply is never left to the next."""
        return drive_async(flow, self._exchange)

    async def _exchange(self, request: Request) -> Any:
        if self._turns is not None:
            async with self._turns:
                return await self._exchange_now(request)
        return await self._exchange_now(request)

    async def _exchange_now(self, request: Request) -> Any:
        wire = await self._wire()
        try:
            reply = await wire.exchange(request)
        except (ServerUnavailable, GroupMissing, CommandRefused) as error:
            if _is_demoted(error):
                await self._drop(wire)
            else:
                self._free.append(wire)
            raise
        except BaseException:
            await self._drop(wire)
            raise
        if request.together and any(map(_is_demoted, reply)):
            await self._drop(wire)
        else:
            self._free.append(wire)
        return reply

    async def _wire(self) -> Wire:
        while self._free:
            wire = self._free.pop()
            if wire.is_open:
                return wire
            await self._drop(wire)
        return Wire(await self._connection(), self._timeout)

    async def _connection(self) -> Any:
        try:
            return await self._pool.get_connection()
        except (RedisError, OSError) as error:
            raise _not_sent(error, self.shown) from error

    async def listen(self, node: str, told: Told) -> Wire:
        """A connection of its own to a node ("": the one server) that says once of each key read on it that it has changed.

        `told` is called with `["invalidate", keys]`, with None for the keys when it may be any, and with None when the
        connection has ended. End it with hang_up(). Raises ServerError; CommandRefused if this server cannot.
        """
        if self._nodes is not None:
            if not node:
                raise NotSent("it is not known which node of the cluster has the slot")
            there: AsyncClient = self._nodes.node(node)
            return await there.listen("", told)
        wire = ToldWire(await self._connection(), self._timeout, told)
        try:
            # RESP3 for this connection alone, since only there the server may say something unasked.
            for command in (("HELLO", 3), ("CLIENT", "TRACKING", "ON")):
                await wire.exchange(Request((command,)))
        except BaseException:
            await self._drop(wire)
            raise
        return wire

    async def hang_up(self, node: str, wire: Wire) -> None:
        """Closes a connection of listen()."""
        there = self if self._nodes is None else self._nodes.node(node)
        await there._drop(wire)  # noqa: SLF001 - of the same class

    async def _drop(self, wire: Wire) -> None:
        wire.is_open = False
        await asyncio.shield(self._released(wire.connection))

    async def _released(self, connection: Any) -> None:
        await connection.disconnect(nowait=True)
        await self._pool.release(connection)

    def node_of(self, request: Request) -> str:
        """As Client.node_of."""
        return self._nodes.cluster.owner(request) if self._nodes is not None else ""

    async def close(self) -> None:
        """Closes every connection; a later run opens new ones."""
        if self._nodes is not None:
            await self._nodes.close_async()
        while self._free:
            # To the end, unlike _drop(): with TLS a transport that is not waited for outlives the loop.
            await self._pool.release(self._free.pop().connection)
        await self._pool.disconnect()


def _options(timeout: float, retry: object) -> dict[str, Any]:
    # RESP2 since the shapes of its replies are the same on all servers; no retries: see the top of this module.
    return {"protocol": 2, "retry": retry, "socket_timeout": timeout, "socket_connect_timeout": timeout}


def _is_demoted(reply: Any) -> bool:
    """Whether the server is no master any more, so that another connection has to find who is."""
    return isinstance(reply, ServerUnavailable) and str(reply).startswith("READONLY")


def _not_sent(error: BaseException, shown: str) -> ServerError:
    found = classify(error)
    if isinstance(error, MaxConnectionsError) or isinstance(found, ConnectionLost):
        # After " : <" stand the sentinels that were asked, each as a page of redis-py's own settings.
        return NotSent(f"no connection to {shown}: {str(error).partition(' : <')[0]}")
    return found
