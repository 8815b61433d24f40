"""The one module that talks to redis-py: connections, and what can go wrong on them.

It uses redis-py's connection pools (URLs, TLS, authentication) below its client: bytes in, raw replies out, RESP2
on every server, and no retries, since a command that is sent again may run twice.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar, cast

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
from busredis.url import checked_url, shown_url

Result = TypeVar("Result")

#: How error replies start when the server cannot do it now, with nothing done.
_LATER = (
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "BUSY ",
    "OOM",
    "MISCONF",
    "NOREPLICAS",
    "UNBLOCKED force",
    "UNBLOCKED instance",
    "max number of clients",
)
_NO_GROUP = ("NOGROUP", "UNBLOCKED the stream key")


def classify(error: BaseException) -> ServerError:
    """The busredis error for one of redis-py or of the socket; the text of the server stays."""
    message = str(error) or type(error).__name__
    if isinstance(error, ServerError):
        return error
    if isinstance(error, BusyLoadingError):
        return ServerUnavailable(message if message.startswith("LOADING") else f"LOADING {message}")
    if isinstance(error, AuthenticationError):
        return CommandRefused(f"the server refused the credentials: {message}")
    if isinstance(error, ResponseError) or message.startswith(_LATER):
        full = _with_prefix(error, message)
        if full.startswith(_NO_GROUP):
            return GroupMissing(full)
        return ServerUnavailable(full) if full.startswith(_LATER) else CommandRefused(full)
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
        with self._connection() as connection:
            try:
                connection.send_packed_command(connection.pack_commands(request.commands), check_health=False)
                if not request.together:
                    return connection.read_response(disable_decoding=True)
                return [_reply(connection) for _ in request.commands]
            except (RedisError, OSError) as error:
                raise classify(error) from error

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        try:
            connection = self._pool.get_connection()
        except (RedisError, OSError) as error:
            raise _not_sent(error, self.shown) from error
        try:
            yield connection
        except BaseException as error:
            if not isinstance(error, ServerUnavailable | GroupMissing | CommandRefused):
                connection.disconnect()  # type: ignore[no-untyped-call]
            raise
        finally:
            self._pool.release(connection)

    def close(self) -> None:
        """Closes every connection; a later run opens new ones."""
        self._pool.disconnect()


class AsyncClient:
    """Runs flows with awaits, on one event loop; with `most`, through at most so many connections at a time."""

    def __init__(
        self, url: str, *, timeout: timedelta = timedelta(seconds=5), most: int | None = None
    ) -> None:
        self.shown = shown_url(url)
        self._turns = asyncio.Semaphore(most) if most else nullcontext()
        options = _options(timeout.total_seconds(), AsyncRetry(NoBackoff(), 0))
        self._pool = redis.asyncio.ConnectionPool.from_url(checked_url(url), **options)

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
        async with self._turns, self._connection() as connection:
            try:
                packed = connection.pack_commands(request.commands)
                await connection.send_packed_command(packed, check_health=False)
                if not request.together:
                    return await connection.read_response(disable_decoding=True)
                return [await _reply_async(connection) for _ in request.commands]
            except (RedisError, OSError) as error:
                raise classify(error) from error

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        try:
            connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        except (RedisError, OSError) as error:
            raise _not_sent(error, self.shown) from error
        try:
            yield connection
        except BaseException as error:
            if not isinstance(error, ServerUnavailable | GroupMissing | CommandRefused):
                await connection.disconnect(nowait=True)
            raise
        finally:
            await asyncio.shield(self._pool.release(connection))

    def node_of(self, _request: Request) -> str:
        """The node that a request would go to."""
        return ""

    async def close(self) -> None:
        """Closes every connection; a later run opens new ones."""
        await self._pool.disconnect()


def _options(timeout: float, retry: object) -> dict[str, Any]:
    # RESP2 since the shapes of its replies are the same on all servers; no retries: see the top of this module.
    return {"protocol": 2, "retry": retry, "socket_timeout": timeout, "socket_connect_timeout": timeout}


def _not_sent(error: BaseException, shown: str) -> ServerError:
    found = classify(error)
    if isinstance(error, MaxConnectionsError) or isinstance(found, ConnectionLost):
        return NotSent(f"no connection to {shown}: {error}")
    return found


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response(disable_decoding=True)
    except ResponseError as error:
        return classify(error)


async def _reply_async(connection: Any) -> Any:
    try:
        return await connection.read_response(disable_decoding=True)
    except ResponseError as error:
        return classify(error)
