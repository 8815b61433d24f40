"""Reads for the consumers of many partitions through one connection a node.

A blocking read waits on the keys of one hash slot at most, so a consumer of its own for each of them would need a
connection for every handler and partition. Here all that want entries ask together, without blocking. Who has found
nothing a few times rests until it is told that one of its streams has changed; where nobody tells, it goes on asking.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from busredis.client import AsyncClient
from busredis.commands import Arg, Flow, Request, drive_async, many
from busredis.daemon.tidings import Tidings
from busredis.errors import ServerError
from busredis.settings import Settings

Result = TypeVar("Result")

#: Pauses of a read that found nothing grow from this, in seconds, up to this share of `block`.
_LEAST_PAUSE = 0.001
_SHARE = 1 / 20
#: The margin of the socket's timeout over BLOCK, so that a half-open connection is noticed and a quiet one is not.
BLOCK_MARGIN = timedelta(seconds=2)
#: After so many leases a read that rests is made all the same: a consumer that is not seen is forgotten after twenty.
_LEASES = 10
#: After so many reads in a row that found nothing it pays to ask to be told.
_ENOUGH = 2


@dataclass(slots=True, eq=False)
class _Wish:
    """One read that waits: until there is an entry, or until its time is over. The first command is the read itself."""

    request: Request
    commands: list[tuple[Arg, ...]]
    keys: Sequence[str]
    until: float
    reply: asyncio.Future[Any]
    at: float
    pause: float = _LEAST_PAUSE
    misses: int = 0
    timer: asyncio.TimerHandle | None = None

    def may_ask(self, now: float) -> bool:
        # With others, whose time it is, also somewhat before its own: so those who wait come to ask together.
        return self.at - self.pause / 4 <= now


@dataclass(slots=True, eq=False)
class _Node:
    """Who asks one node, but for those at rest."""

    task: asyncio.Task[None] | None = None
    wishes: dict[_Wish, None] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    asking: asyncio.Task[None] | None = None


class SharedReader:
    """Runs reads of consumers, as a client would; their BLOCK is kept by waiting here.

    Reads may rest for up to `patience`, if `tidings` tell when there is something.
    """

    def __init__(
        self, client: AsyncClient, block: timedelta, tidings: Tidings | None, patience: timedelta
    ) -> None:
        self.patience = patience if tidings else block
        self._client, self._tidings = client, tidings
        self._longest = max(_LEAST_PAUSE, block.total_seconds() * _SHARE)
        self._nodes: dict[str, _Node] = {}
        self._resting: dict[str, set[_Wish]] = {}
        self._heard: set[str] = set()

    def run(self, flow: Flow[Result]) -> Coroutine[Any, Any, Result]:
        """The result of a read; raises what AsyncClient.run raises."""
        return drive_async(flow, self._wish)

    def release(self, keys: Collection[str] | None = None) -> None:
        """Lets reads of these streams, or all of them, end as soon as they have asked once more."""
        for key in [*self._resting] if keys is None else keys:
            for wish in list(self._resting.get(key, ())):
                wish.until = 0.0
                self._rouse(wish)
        for node in self._nodes.values():
            for wish in node.wishes:
                if keys is None or not set(keys).isdisjoint(wish.keys):
                    wish.until = wish.at = 0.0
            node.wake.set()

    async def _wish(self, request: Request) -> Any:
        loop = asyncio.get_running_loop()
        read, now = request.commands[0], loop.time()
        # Spread, so that those who began together do not end together.
        until = now + _block_s(read) * (random.uniform(0.5, 1.0) if self._tidings else 1.0)  # noqa: S311
        commands = [_unblocked(command) for command in request.commands]
        wish = _Wish(request, commands, _streams(read), until, loop.create_future(), now)
        self._enter(wish)
        try:
            replies = await wish.reply
        finally:
            # Also when it is cancelled: nobody would take what is read for it.
            self._leave(wish)
            for node in self._nodes.values():
                node.wishes.pop(wish, None)
        return replies if request.together else replies[0]

    def _enter(self, wish: _Wish) -> None:
        """Asks with the others, from the next round on."""
        name = self._client.node_of(wish.request)
        node = self._nodes.get(name)
        if node is None:
            node = self._nodes[name] = _Node()
            node.task = asyncio.create_task(self._read(node), name=f"busredis reader {name}")
            node.task.add_done_callback(partial(self._ended, node))
        node.wishes[wish] = None
        node.wake.set()

    async def _read(self, node: _Node) -> None:
        """Asks one node for all that is wished of it."""
        loop = asyncio.get_running_loop()
        while True:
            now, first = loop.time(), min((wish.at for wish in node.wishes), default=None)
            if first is not None and first <= now:
                await self._round(node, [wish for wish in node.wishes if wish.may_ask(now)])
                await asyncio.sleep(0)
                continue
            node.wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(first):
                    await node.wake.wait()

    async def _round(self, node: _Node, wishes: list[_Wish]) -> None:
        tidings = self._tidings
        since = [tidings.since(wish.keys) for wish in wishes] if tidings else [None] * len(wishes)
        try:
            replies = await self._client.run(many([command for wish in wishes for command in wish.commands]))
        except ServerError as error:
            replies = [error for wish in wishes for _ in wish.commands]
        now, rest = asyncio.get_running_loop().time(), iter(replies)
        for wish, known in zip(wishes, since, strict=True):
            own = list(islice(rest, len(wish.commands)))
            if wish.reply.done():
                pass  # cancelled: what was read for it is pending, and found there when its lease ends
            elif isinstance(own[0], ServerError):
                # An exception of its own for each: a traceback is written into it.
                wish.reply.set_exception(type(own[0])(str(own[0])))
            elif own[0] or now >= wish.until:
                wish.reply.set_result(own)
            elif known is not None and tidings and known == tidings.since(wish.keys):
                self._rest(node, wish)
            else:
                wish.misses += 1
                wish.at, wish.pause = now + wish.pause, min(wish.pause * 2, self._longest)
            if wish.reply.done():
                node.wishes.pop(wish, None)
        if tidings and (node.asking is None or node.asking.done()):
            self._ask(node, tidings)

    def _ask(self, node: _Node, tidings: Tidings) -> None:
        if node.asking is not None:
            node.asking.result()  # a fault of our own is raised
        keys = {
            key
            for wish in node.wishes
            if wish.misses >= _ENOUGH and not wish.reply.done()
            for key in wish.keys
        }
        if keys:
            # Apart from the rounds: a connection that is broken must not hold them up.
            node.asking = asyncio.create_task(self._ask_for(node, tidings, keys))

    async def _ask_for(self, node: _Node, tidings: Tidings, keys: set[str]) -> None:
        await tidings.ask(keys)
        for wish in node.wishes:
            if wish.misses >= _ENOUGH and tidings.since(wish.keys) is not None:
                wish.at = 0.0  # once more, and then it may rest
        node.wake.set()

    def _rest(self, node: _Node, wish: _Wish) -> None:
        assert self._tidings
        node.wishes.pop(wish, None)
        loop = asyncio.get_running_loop()
        wish.timer = loop.call_at(wish.until, self._rouse, wish)
        for key in wish.keys:
            self._resting.setdefault(key, set()).add(wish)
            if key not in self._heard:
                self._heard.add(key)
                self._tidings.listen([key], self._changed)

    def _changed(self, key: str) -> None:
        for wish in list(self._resting.get(key, ())):
            self._rouse(wish)

    def _rouse(self, wish: _Wish) -> None:
        self._leave(wish)
        wish.at, wish.pause, wish.misses = 0.0, _LEAST_PAUSE, 0
        self._enter(wish)

    def _leave(self, wish: _Wish) -> None:
        """Rests no longer."""
        if wish.timer is None:
            return
        wish.timer.cancel()
        wish.timer = None
        for key in wish.keys:
            self._resting[key].discard(wish)

    def _ended(self, node: _Node, task: asyncio.Task[None]) -> None:
        """A fault of our own is raised by who reads, and never waited for."""
        for wish in node.wishes:
            if not wish.reply.done() and not task.cancelled() and (fault := task.exception()):
                wish.reply.set_exception(fault)

    async def close(self) -> None:
        for node in self._nodes.values():
            for task in (node.task, node.asking):
                if task is not None:
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task
        await self._client.close()


def _block_s(command: tuple[Arg, ...]) -> float:
    """For how long a read may wait."""
    return float(command[command.index("BLOCK") + 1]) / 1000 if "BLOCK" in command else 0.0


def _unblocked(command: tuple[Arg, ...]) -> tuple[Arg, ...]:
    if "BLOCK" not in command:
        return command
    at = command.index("BLOCK")
    return (*command[:at], *command[at + 2 :])


def _streams(command: tuple[Arg, ...]) -> list[str]:
    """The keys of a read: the first half of what stands behind STREAMS."""
    behind = command[command.index("STREAMS") + 1 :]
    return [str(key) for key in behind[: len(behind) // 2]]


@asynccontextmanager
async def reader_for(
    client: AsyncClient, tidings: Tidings | None, settings: Settings, *, is_shared: bool
) -> AsyncIterator[AsyncClient | SharedReader]:
    """What consumers read with; closes it, `client` and `tidings` in the end."""
    reader = SharedReader(client, settings.block, tidings, settings.lease * _LEASES) if is_shared else client
    try:
        yield reader
    finally:
        await reader.close()
        if tidings:
            await tidings.close()
