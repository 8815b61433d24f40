"""Applies the retentions: one daemon at a time, a page at a time."""

import asyncio
import logging
import random
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

from busredis.client import AsyncClient
from busredis.commands import Flow, raw
from busredis.errors import ServerError
from busredis.keys import Keys
from busredis.retention import Retention, page_of, plan, propose_retention, trim_page

log = logging.getLogger("busredis.daemon")

#: Seconds between two pages: what is trimmed is no hurry, and others want the server.
_BREATH = 0.02


class Retainer:
    """The rounds of one daemon. In every period one daemon has its round; two at once would do no harm."""

    def __init__(
        self,
        keys: Keys,
        client: AsyncClient,
        name: str,
        every: timedelta,
        proposed: Mapping[str, Retention],
    ) -> None:
        self._keys, self._client, self._name = keys, client, name
        self._every, self._proposed = every.total_seconds(), dict(proposed)
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Rounds until stopped; survives whatever the server does."""
        pause = random.uniform(0, self._every)  # noqa: S311 - jitter
        while not self._stopping.is_set():
            try:
                await self._propose()
                if await self._client.run(self._is_my_turn()):
                    await self._round()
            except ServerError as error:
                log.debug("retention waits for the server: %s", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = self._every * random.uniform(0.9, 1.0)  # noqa: S311 - jitter

    async def _propose(self) -> None:
        """Sets what the program says, once, where nothing is set."""
        for event_type, retention in list(self._proposed.items()):
            found = await self._client.run(propose_retention(self._keys, event_type, retention))
            del self._proposed[event_type]
            if found != str(retention):
                log.warning(
                    "retention of %s is %r, this program says %r: busredis retention set decides",
                    event_type,
                    found,
                    str(retention),
                )

    def _is_my_turn(self) -> Flow[bool]:
        if not (yield from raw("HLEN", self._keys.retention)):
            return False
        period = max(1, int(self._every * 900))
        lease = self._keys.lease("retention")
        return (yield from raw("SET", lease, self._name, "NX", "PX", period)) is not None

    async def _round(self) -> None:
        for event_type, limits in (await self._client.run(plan(self._keys))).items():
            page, removed = await self._client.run(page_of(self._keys, event_type)), 0
            while not self._stopping.is_set():
                found = await self._client.run(trim_page(self._keys, event_type, limits, page))
                removed += found.removed
                if found.removed < page:
                    break
                await asyncio.sleep(_BREATH)
            if removed:
                log.info("%d entries of %s were trimmed", removed, event_type)

    def stop(self) -> None:
        self._stopping.set()
