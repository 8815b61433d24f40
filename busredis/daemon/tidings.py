"""Says when keys have changed, so that who waits for something need not ask again and again.

A server names a key that was read on a tracked connection once, when anybody has modified it, and forgets that it was
read (https://redis.io/docs/latest/develop/reference/client-side-caching/). So to wait for a key is one EXISTS, however
long it takes, and what changes all the time costs no more than what is asked for.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from busredis.client import AsyncClient
from busredis.commands import Request, raw
from busredis.errors import CommandRefused, ServerError, ServerUnavailable
from busredis.exchange import Wire

log = logging.getLogger("busredis.daemon")

#: How often a connection that is quiet is looked at, in seconds: one that is broken would be as quiet.
_PING_S = 5.0
#: Pauses between attempts to open one grow from this up to that, in seconds; after a refusal it is a minute.
_PAUSES = 0.1, 2.0
#: For so long who asks waits for a connection to be opened, in seconds.
_OPEN_S = 1.0
_REFUSED_S = 60.0
#: Most keys asked for in one round trip.
_BATCH = 1_000


class Tidings:
    """Of any number of keys on all nodes, whether they have changed since they were asked for.

    Nothing is promised but that a change is told, or the end of what could tell it, or that ask() says no: who is told
    nothing for long has to look all the same.
    """

    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self._lines: dict[str, _Line] = {}
        self._since: dict[str, int] = {}
        self._number = 0
        self._calls: dict[str, list[Callable[[str], None]]] = {}
        self._is_refused = False

    def listen(self, keys: Iterable[str], call: Callable[[str], None]) -> None:
        """From now on `call` is called with each of these keys that was asked for and has changed, or may have."""
        for key in keys:
            self._calls.setdefault(key, []).append(call)

    async def ask(self, keys: Iterable[str]) -> None:
        """Asks to be told when these keys change, if that is possible now: see since()."""
        by_node: dict[str, set[str]] = {}
        for key in keys:
            if key not in self._since:
                node = self.client.node_of(Request((("EXISTS", key),)))
                by_node.setdefault(node, set()).add(key)
        for node, wanted in by_node.items():
            if node not in self._lines:
                self._lines[node] = _Line(node, self)
            await self._lines[node].ask(wanted)

    def since(self, keys: Iterable[str]) -> int | None:
        """A number that is the same as long as none of the keys has changed; None if one is not asked for.

        What is looked at after it was given, and found as it was when it is still the same, needs no further look.
        """
        try:
            return max(self._since[key] for key in keys)
        except KeyError:
            return None

    def asked(self, key: str) -> None:
        """A server will tell of this key."""
        self._number += 1
        self._since[key] = self._number

    def tell(self, key: str) -> None:
        """A key has changed, or may have; it is no longer asked for."""
        self._since.pop(key, None)
        for call in self._calls.get(key, ()):
            call(key)

    def refuse(self, error: ServerError) -> None:
        """A server cannot tell. Said once, for all of them."""
        level = logging.DEBUG if self._is_refused else logging.WARNING
        self._is_refused = True
        log.log(level, "the server does not tell what changes, so idle handlers ask all the time: %s", error)

    async def close(self) -> None:
        """Ends all connections; nothing is told any more."""
        for line in self._lines.values():
            await line.close()


class _Line:
    """The connection to one node. It is opened when something is asked for, again if need be."""

    def __init__(self, node: str, tidings: Tidings) -> None:
        self._node, self._tidings = node, tidings
        self._wire: Wire | None = None
        self._task: asyncio.Task[None] | None = None
        self._tried, self._ended = asyncio.Event(), asyncio.Event()
        self._lock = asyncio.Lock()
        self._asked: set[str] = set()
        self._wanted: set[str] = set()
        self._sent: set[str] = set()
        self._pause, self._not_before = _PAUSES[0], 0.0

    async def ask(self, keys: set[str]) -> None:
        wire = self._wire or await self._open()
        if wire is None:
            return
        self._wanted |= keys
        async with self._lock:
            # Whoever has its turn asks for what others want, too.
            while self._wanted and wire.is_open:
                batch = [self._wanted.pop() for _ in range(min(len(self._wanted), _BATCH))]
                await self._send(wire, batch)

    async def _open(self) -> Wire | None:
        """Opens the connection if it may be tried now, and waits a moment for it."""
        if self._task is not None and self._task.done():
            self._task.result()  # a fault of our own is raised
            self._task = None
        if self._task is None and time.monotonic() >= self._not_before:
            self._tried.clear()
            self._task = asyncio.create_task(self._run(), name=f"busredis tidings {self._node}")
        with suppress(TimeoutError):
            async with asyncio.timeout(_OPEN_S):
                await self._tried.wait()
        return self._wire

    async def _send(self, wire: Wire, keys: list[str]) -> None:
        self._sent = set(keys)
        try:
            replies = await wire.exchange(Request(tuple(("EXISTS", key) for key in keys), together=True))
        except ServerError as error:
            log.debug("not asked what changes: %s", error)
            return
        except BaseException:
            # Cancelled: replies are left behind, so that nothing may be sent here any more.
            wire.is_open = False
            self._lost()
            raise
        refused: tuple[str, ServerError] | None = None
        for key, reply in zip(keys, replies, strict=True):
            if isinstance(reply, ServerError):
                refused = key, reply
            elif key in self._sent:  # what has changed already, between its reply and now, is not
                self._asked.add(key)
                self._tidings.asked(key)
        self._sent.clear()
        if refused:
            await self._look_why(*refused)

    async def _look_why(self, key: str, error: ServerError) -> None:
        if str(error).startswith(("MOVED", "ASK")):
            with suppress(ServerError):  # the client learns from it who has the slot now
                await self._tidings.client.run(raw("EXISTS", key).__iter__())
        elif isinstance(error, CommandRefused):
            self._tidings.refuse(error)

    async def _run(self) -> None:
        """Opens the connection, and sees whether it is there as long as it is."""
        try:
            wire = await self._tidings.client.listen(self._node, self._told)
        except ServerError as error:
            self._failed(error)
            return
        finally:
            self._tried.set()
        self._wire, self._pause = wire, _PAUSES[0]
        try:
            while wire.is_open:
                self._ended.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_PING_S):
                        await self._ended.wait()
                        break
                async with self._lock:
                    with suppress(CommandRefused, ServerUnavailable):  # a reply all the same
                        await wire.exchange(Request((("PING",),)))
        except ServerError as error:
            log.debug("the connection that tells what changes is lost: %s", error)
        finally:
            await self._tidings.client.hang_up(self._node, wire)
            self._lost()

    def _failed(self, error: ServerError) -> None:
        if isinstance(error, CommandRefused):
            self._not_before = time.monotonic() + _REFUSED_S
            self._tidings.refuse(error)
            return
        self._not_before = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, _PAUSES[1])
        log.debug("nobody tells what changes: %s", error)

    def _told(self, push: list[Any] | None) -> None:
        if push is None:
            self._lost()
        elif push[0] == b"invalidate":
            if push[1] is None:  # all of them, after a flush
                self._forget()
            else:
                self._tell([key.decode("utf-8", "replace") for key in push[1]])

    def _lost(self) -> None:
        self._wire = None
        self._ended.set()
        self._forget()

    def _forget(self) -> None:
        # Also what was sent: its replies may be here, and not looked at yet.
        self._tell([*self._asked, *self._sent])

    def _tell(self, keys: list[str]) -> None:
        for key in keys:
            self._asked.discard(key)
            self._sent.discard(key)
            self._tidings.tell(key)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
