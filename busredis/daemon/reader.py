"""Reads for the consumers of many partitions through one connection a node.

A blocking read waits on the keys of one hash slot at most, so a consumer of its own for each of them would need a
connection for every handler and partition. Here all that want entries ask together, again and again, without blocking:
sooner after there was something, more rarely while there is nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from busredis.client import AsyncClient
from busredis.commands import Arg, Flow, Request, drive_async, many
from busredis.errors import ServerError

Result = TypeVar("Result")

#: Pauses between rounds that found nothing grow from this, in seconds, up to this share of `block`.
_LEAST_PAUSE = 0.001
_SHARE = 1 / 20


@dataclass(slots=True, eq=False)
class _Wish:
    """One read that waits: until there is an entry, or until its time is over. The first command is the read itself."""

    commands: list[tuple[Arg, ...]]
    until: float
    reply: asyncio.Future[Any]


class SharedReader:
    """Runs reads of consumers, as a client would; their BLOCK is kept by waiting here."""

    def __init__(self, client: AsyncClient, block: timedelta) -> None:
        self._client = client
        self._block = block.total_seconds()
        self._wishes: dict[str, list[_Wish]] = {}
        self._wakes: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, flow: Flow[Result]) -> Coroutine[Any, Any, Result]:
        """The result of a read; raises what AsyncClient.run raises."""
        return drive_async(flow, self._wish)

    async def _wish(self, request: Request) -> Any:
        loop = asyncio.get_running_loop()
        commands = [_unblocked(command) for command in request.commands]
        wish = _Wish(commands, loop.time() + _block_s(request.commands[0]), loop.create_future())
        node = self._client.node_of(request)
        self._wishes.setdefault(node, []).append(wish)
        if node not in self._wakes:
            self._wakes[node] = asyncio.Event()
            task = asyncio.create_task(self._read(node), name=f"busredis reader {node}")
            self._tasks.add(task)
            task.add_done_callback(partial(self._ended, node))
        self._wakes[node].set()
        replies = await wish.reply
        return replies if request.together else replies[0]

    async def _read(self, node: str) -> None:
        """Asks one node for all that is wished of it."""
        wake, pause = self._wakes[node], _LEAST_PAUSE
        while True:
            wishes = self._wishes[node] = [wish for wish in self._wishes[node] if not wish.reply.done()]
            if not wishes:
                wake.clear()
                await wake.wait()
                continue
            # A copy, as others add theirs meanwhile.
            was_found = await self._round(list(wishes))
            pause = _LEAST_PAUSE if was_found else min(pause * 2, max(_LEAST_PAUSE, self._block * _SHARE))
            await asyncio.sleep(0 if was_found else pause)

    async def _round(self, wishes: list[_Wish]) -> bool:
        try:
            replies = await self._client.run(many([command for wish in wishes for command in wish.commands]))
        except ServerError as error:
            replies = [error for wish in wishes for _ in wish.commands]
        now, was_found, rest = asyncio.get_running_loop().time(), False, iter(replies)
        for wish in wishes:
            own = list(islice(rest, len(wish.commands)))
            reply = own[0]
            if wish.reply.done():
                # Cancelled: what was read for it is pending, and found there when its lease ends.
                continue
            if isinstance(reply, ServerError):
                # An exception of its own for each: a traceback is written into it.
                wish.reply.set_exception(type(reply)(str(reply)))
            elif reply or now >= wish.until:
                was_found = was_found or bool(reply)
                wish.reply.set_result(own)
        return was_found

    def _ended(self, node: str, task: asyncio.Task[None]) -> None:
        """A fault of our own is raised by who reads, and never waited for."""
        for wish in self._wishes[node]:
            if not wish.reply.done() and not task.cancelled() and (fault := task.exception()):
                wish.reply.set_exception(fault)

    async def close(self) -> None:
        for task in self._tasks:
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


@asynccontextmanager
async def reader_for(
    client: AsyncClient, block: timedelta, *, is_shared: bool
) -> AsyncIterator[AsyncClient | SharedReader]:
    """What consumers read with; closes it, and `client`, in the end."""
    reader = SharedReader(client, block) if is_shared else client
    try:
        yield reader
    finally:
        await reader.close()
