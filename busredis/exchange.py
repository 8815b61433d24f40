"""Requests on one connection that redis-py has opened: packed bytes out, raw replies in.

Below the layers of redis-py, which cost more than the server does. It opens the connections (URLs, TLS,
authentication), and closes them; nothing else may read from one that is used here.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import hiredis
from hiredis import PushNotification

from busredis.commands import Arg, Request
from busredis.errors import CommandRefused, ConnectionLost, GroupMissing, ServerError, ServerUnavailable

#: How error replies start when the server cannot do it now, with nothing done.
LATER = (
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
_NO_ACCESS = ("NOAUTH", "WRONGPASS")
_CHUNK = 65_536
#: A connection that rested for longer is looked at before it is used: the server may have closed it.
_RESTED_S = 0.05
#: A deadline that passes while the loop was blocked is no fault of the server: what has arrived is read first.
_LAST_LOOK_S = 0.05


def refusal(message: str) -> ServerError:
    """What an error reply means; its text stays."""
    message = message.removeprefix("ERR ")
    if message.startswith(_NO_GROUP):
        return GroupMissing(message)
    if message.startswith(LATER):
        return ServerUnavailable(message)
    if message.startswith(_NO_ACCESS):
        return CommandRefused(f"the server refused the credentials: {message}")
    return CommandRefused(message)


#: Its annotation knows no tuples of mixed lengths.
_pack: Callable[[tuple[Arg, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]


def _packed(request: Request) -> bytes:
    commands = request.commands
    try:
        if len(commands) == 1:
            return _pack(commands[0])
        return b"".join([_pack(command) for command in commands])
    except (TypeError, UnicodeEncodeError) as error:
        raise CommandRefused(f"{commands[0][0]!r} cannot be sent: {error}") from error


def _reader() -> Any:
    return hiredis.Reader(replyError=refusal)


def _result(request: Request, replies: list[Any]) -> Any:
    if request.together:
        return replies
    if isinstance(replies[0], ServerError):
        raise replies[0]
    return replies[0]


class Link:
    """A connection of redis-py's blocking kind, used by one thread at a time."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._socket = connection._sock  # noqa: SLF001 - see the top of this module
        self._reader = _reader()
        self._used_at = time.monotonic()

    def is_usable(self) -> bool:
        """Whether nothing has come in since it was used last, not even its end."""
        if time.monotonic() - self._used_at < _RESTED_S:
            return True
        try:
            return not self.connection.can_read(timeout=0)
        except Exception:  # noqa: BLE001 - whatever redis-py makes of a broken socket: it is not to be used
            return False

    def exchange(self, request: Request) -> Any:
        """The reply, or all replies. Raises ServerError; OSError if the connection is broken."""
        self._socket.sendall(_packed(request))
        replies: list[Any] = []
        gets, wanted = self._reader.gets, len(request.commands)
        while len(replies) < wanted:
            data = self._socket.recv(_CHUNK)
            if not data:
                raise ConnectionLost("the server closed the connection")
            self._reader.feed(data)
            while (reply := gets()) is not False:
                replies.append(reply)
        self._used_at = time.monotonic()
        return _result(request, replies)


class Wire(asyncio.Protocol):
    """A connection of redis-py's asyncio kind, used by one task at a time."""

    def __init__(self, connection: Any, timeout: float) -> None:
        self.connection = connection
        self.is_open = True
        self._timeout = timeout
        self._transport = connection._writer.transport  # noqa: SLF001 - see the top of this module
        # redis-py waits for the protocol that was there first when it closes the connection.
        self._first = self._transport.get_protocol()
        self._transport.set_protocol(self)
        self._loop = asyncio.get_running_loop()
        self._reader = _reader()
        self._done: asyncio.Future[None] | None = None
        self._replies: list[Any] = []
        self._wanted = 0

    async def exchange(self, request: Request) -> Any:
        """The reply, or all replies. Raises ServerError. Cancelled, it leaves replies behind: then close it."""
        packed = _packed(request)
        if not self.is_open:
            raise ConnectionLost("the server closed the connection")
        replies: list[Any] = []
        self._replies, self._wanted = replies, len(request.commands)
        done = self._done = self._loop.create_future()
        self._transport.write(packed)
        timer = self._loop.call_later(self._timeout, self._look, done)
        try:
            await done
        finally:
            timer.cancel()
        return _result(request, replies)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            gets, replies = self._reader.gets, self._replies
            while (reply := gets()) is not False:
                replies.append(reply)
        except hiredis.ProtocolError as error:
            self._fail(f"no reply of Redis: {error}")
            return
        if self._done is None:
            self._fail("a reply that nobody asked for")
        elif len(replies) >= self._wanted:
            if not self._done.done():
                self._done.set_result(None)
            self._done = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(str(exc) if exc else "the server closed the connection")
        self._first.connection_lost(exc)

    def eof_received(self) -> bool | None:
        return None  # the transport closes itself

    def pause_writing(self) -> None:
        self._first.pause_writing()

    def resume_writing(self) -> None:
        self._first.resume_writing()

    def _look(self, done: "asyncio.Future[None]") -> None:
        self._loop.call_later(_LAST_LOOK_S, self._expire, done)

    def _expire(self, done: "asyncio.Future[None]") -> None:
        if not done.done():
            self._fail(f"no reply within {self._timeout} s")

    def _fail(self, message: str) -> None:
        self.is_open = False
        if self._done is not None and not self._done.done():
            self._done.set_exception(ConnectionLost(message))
        self._done = None


#: Takes what the server says unasked; None when the connection has ended.
Told = Callable[[list[Any] | None], None]


class ToldWire(Wire):
    """A connection on which the server also says something unasked (RESP3 pushes).

    See https://redis.io/docs/latest/develop/reference/protocol-spec/#pushes.
    """

    def __init__(self, connection: Any, timeout: float, told: Told) -> None:
        super().__init__(connection, timeout)
        self._told = told

    def data_received(self, data: bytes) -> None:
        found: list[Any] = []
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                found.append(reply)
        except hiredis.ProtocolError as error:
            self._fail(f"no reply of Redis: {error}")
            return
        for reply in found:
            # In the order in which they came: a change that is told behind a reply came after it.
            if isinstance(reply, PushNotification):
                self._told(reply)
            else:
                self._replies.append(reply)
                self._notice()

    def _notice(self) -> None:
        if self._done is None:
            self._fail("a reply that nobody asked for")
        elif len(self._replies) >= self._wanted:
            if not self._done.done():
                self._done.set_result(None)
            self._done = None

    def _fail(self, message: str) -> None:
        was_open = self.is_open
        super()._fail(message)
        if was_open:
            self._told(None)
