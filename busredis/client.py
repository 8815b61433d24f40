"""The one module that talks to redis-py: connections, and what can go wrong on them.

It uses redis-py's connections (URLs, TLS, authentication) below its client: bytes in, raw replies out, RESP2
on every server, and no retries, since a command that is sent again may run twice.
"""

import asyncio
import os
from collections import deque
from datetime import timedelta
from typing import Any, TypeVar, cast

import hiredis
import redis
import redis.asyncio
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

from busredis.commands import Flow, Request
from busredis.errors import (
    CommandRefused,
    ConnectionLost,
    GroupMissing,
    NotSent,
    ServerError,
    ServerUnavailable,
)
from busredis.exchange import LATER, Link, Wire, refusal
from busredis.url import checked_url, shown_url

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
        self._pool = redis.ConnectionPool.from_url(checked_url(url), **options)
        #: Connections at rest, the one used last in front. They stay out of the pool, whose ways cost more than a command.
        self._free: deque[Link] = deque()
        self._pid = os.getpid()

    def run(self, flow: Flow[Result]) -> Result:
        """Raises ConnectionLost (NotSent if no connection was made), ServerUnavailable, GroupMissing, CommandRefused."""
        try:
            request = next(flow)
            while True:
                try:
                    reply = self._exchange(request)
                except ServerError as error:
                    request = flow.throw(error)
                else:
                    request = flow.send(reply)
        except StopIteration as stop:
            return cast("Result", stop.value)

    def _exchange(self, request: Request) -> Any:
        link = self._link()
        try:
            reply = link.exchange(request)
        except (ServerUnavailable, GroupMissing, CommandRefused):
            self._free.append(link)
            raise
        except BaseException as error:
            self._drop(link)
            if isinstance(error, OSError | hiredis.ProtocolError):
                raise ConnectionLost(str(error) or type(error).__name__) from error
            raise
        self._free.append(link)
        return reply

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

    def close(self) -> None:
        """Closes every connection; a later run opens new ones."""
        while self._free:
            self._drop(self._free.pop())
        self._pool.disconnect()


class AsyncClient:
    """Runs flows with awaits, on one event loop."""

    def __init__(self, url: str, *, timeout: timedelta = timedelta(seconds=5)) -> None:
        self.shown = shown_url(url)
        options = _options(timeout.total_seconds(), AsyncRetry(NoBackoff(), 0))
        self._pool = redis.asyncio.ConnectionPool.from_url(checked_url(url), **options)
        self._timeout = timeout.total_seconds()
        self._free: deque[Wire] = deque()

    async def run(self, flow: Flow[Result]) -> Result:
        """Raises what Client.run raises. Cancelled, it closes its connection: a reply is never left to the next."""
        try:
            request = next(flow)
            while True:
                try:
                    reply = await self._exchange(request)
                except ServerError as error:
                    request = flow.throw(error)
                else:
                    request = flow.send(reply)
        except StopIteration as stop:
            return cast("Result", stop.value)

    async def _exchange(self, request: Request) -> Any:
        wire = await self._wire()
        try:
            reply = await wire.exchange(request)
        except (ServerUnavailable, GroupMissing, CommandRefused):
            self._free.append(wire)
            raise
        except BaseException:
            await self._drop(wire)
            raise
        self._free.append(wire)
        return reply

    async def _wire(self) -> Wire:
        while self._free:
            wire = self._free.pop()
            if wire.is_open:
                return wire
            await self._drop(wire)
        try:
            connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        except (RedisError, OSError) as error:
            raise _not_sent(error, self.shown) from error
        return Wire(connection, self._timeout)

    async def _drop(self, wire: Wire) -> None:
        wire.is_open = False
        await asyncio.shield(self._released(wire.connection))

    async def _released(self, connection: Any) -> None:
        await connection.disconnect(nowait=True)
        await self._pool.release(connection)

    async def close(self) -> None:
        """Closes every connection; a later run opens new ones."""
        while self._free:
            # To the end, unlike _drop(): with TLS a transport that is not waited for outlives the loop.
            await self._pool.release(self._free.pop().connection)
        await self._pool.disconnect()


def _options(timeout: float, retry: object) -> dict[str, Any]:
    # RESP2 since the shapes of its replies are the same on all servers; no retries: see the top of this module.
    return {"protocol": 2, "retry": retry, "socket_timeout": timeout, "socket_connect_timeout": timeout}


def _not_sent(error: BaseException, shown: str) -> ServerError:
    found = classify(error)
    if isinstance(error, MaxConnectionsError) or isinstance(found, ConnectionLost):
        return NotSent(f"no connection to {shown}: {error}")
    return found
