"""Appends what falls due in the schedule. Every daemon may; one of them looks often, the others when they must."""

import asyncio
import logging
import random
import time
from contextlib import suppress
from dataclasses import dataclass

from busredis.client import AsyncClient
from busredis.codec import FIELD
from busredis.commands import Arg, Flow, script
from busredis.daemon.tidings import Tidings
from busredis.errors import ServerError
from busredis.keys import Keys
from busredis.settings import Settings

log = logging.getLogger("busredis.daemon")

#: Most events in one script call.
_PAGE = 500
#: Seconds between two looks of the daemon that looks often, if nothing is due sooner.
_OFTEN = 0.8
#: For so long a daemon is the one that looks often; the others look as seldom, and a little after something is due.
_LEASE = 5.0
_BEHIND = 0.2, 0.6
#: Least pause between two looks, however soon something is due.
_LEAST_PAUSE = 0.01
#: Longest pause of who is told when the schedule changes, and how soon it looks then.
_REST, _SOON = 10.0, 0.3
#: What a stream refused is tried again after a minute.
_LATER_MS = 60_000


@dataclass(frozen=True, slots=True)
class Due:
    """What one look did: how many were appended, seconds to the next one (None: there is none), who is to look often."""

    appended: int
    seconds: float | None
    looks_often: bool
    refused: list[str]


def append_due(keys: Keys, settings: Settings, who: str, lease: float = _LEASE) -> Flow[Due]:
    """Appends a page of what is due, each event exactly once whoever calls this and however often.

    For `lease` seconds `who` is the one to look often, if nobody else is; with 0 it is so no more.
    """
    window = int(settings.once_window.total_seconds() * 1000)
    args: list[Arg] = [FIELD, keys.stream_prefix, keys.once_prefix, window, _PAGE, _LATER_MS, who]
    names = [keys.clock, keys.types, keys.schedule, keys.scheduled, keys.lease("schedule")]
    appended, left, often, *refused = yield from script("due", names, [*args, int(lease * 1000)])
    seconds = None if left < 0 else left / 1000
    return Due(appended, seconds, often == 1, [line.decode("utf-8", "replace") for line in refused])


class Scheduler:
    """The looks of one daemon at the schedule."""

    def __init__(self, keys: Keys, client: AsyncClient, settings: Settings, name: str) -> None:
        self._keys, self._client, self._settings, self._name = keys, client, settings, name
        self._stopping = asyncio.Event()
        self._tidings: Tidings | None = None
        self._stirred = asyncio.Event()
        #: When something was appended last, for who waits until nothing is left to do.
        self.appended_at = 0.0

    def use_tidings(self, tidings: Tidings) -> None:
        """From now on it looks when something is due or the schedule was changed, and seldom besides."""
        self._tidings = tidings
        tidings.listen([self._keys.schedule], lambda _: self._stirred.set())

    async def run(self) -> None:
        """Looks until stopped; survives whatever the server does."""
        trouble = 0
        while not self._stopping.is_set():
            is_told = False
            try:
                is_told = await self._ask()
                pause = _pause(await self.look(), _REST if is_told else None)
            except ServerError as error:
                trouble += 1
                level = logging.WARNING if trouble == 1 else logging.DEBUG
                log.log(level, "the schedule waits for the server: %s", error)
                pause = random.uniform(0.1, min(1.0, 0.1 * 2**trouble))  # noqa: S311 - jitter
            else:
                trouble = 0
            if is_told:
                began = time.monotonic()
                await self._wait(self._stirred, pause)
                pause = min(_SOON, pause - (time.monotonic() - began))
            await self._wait(self._stopping, pause)
        with suppress(ServerError):
            await self.look(lease=0)

    async def _ask(self) -> bool:
        """Whether it will be told of changes."""
        self._stirred.clear()
        if self._tidings is None:
            return False
        await self._tidings.ask([self._keys.schedule])
        return self._tidings.since([self._keys.schedule]) is not None

    async def _wait(self, until: asyncio.Event, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(until.wait(), max(0.0, seconds))

    async def look(self, lease: float = _LEASE) -> Due:
        """Appends what is due, at most a page of it. Raises ServerError."""
        found = await self._client.run(append_due(self._keys, self._settings, self._name, lease))
        if found.appended:
            self.appended_at = time.monotonic()
        for line in found.refused:
            log.error("a scheduled event could not be appended, it is tried again in a minute: %s", line)
        return found

    def stop(self) -> None:
        self._stopping.set()
        self._stirred.set()


def _pause(found: Due, rest: float | None = None) -> float:
    if found.seconds == 0:
        return _LEAST_PAUSE  # there is more, or it is due within this millisecond
    # Jitter, so that the looks of many daemons do not meet.
    pause = (rest or (_OFTEN if found.looks_often else _LEASE)) * random.uniform(0.9, 1.0)  # noqa: S311
    if found.seconds is None:
        return pause
    # If it was not appended a little later, who looks often is gone.
    behind = 0.0 if found.looks_often else random.uniform(*_BEHIND)  # noqa: S311
    return max(_LEAST_PAUSE, min(pause, found.seconds + behind))
