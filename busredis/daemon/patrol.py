"""Looks now and then whether something lies there that nobody was told of: what rests must not depend on being told."""

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress

from busredis.commands import Arg, Flow, Request, many, script
from busredis.daemon.consumer import Consumer
from busredis.daemon.reclaimer import Reclaimer
from busredis.daemon.scheduler import Scheduler
from busredis.daemon.tidings import Tidings
from busredis.delivery.pending import Pending
from busredis.errors import ServerError
from busredis.keys import Keys
from busredis.lua import load
from busredis.settings import Settings

log = logging.getLogger("busredis.daemon")

#: A look for so many sweeps: it is one command for each partition.
_SWEEPS = 10
#: Most partitions in one round trip: others want the server, too.
_AT_ONCE = 64


class Patrol:
    """The looks of one daemon, at the streams of which it has asked to be told."""

    def __init__(self, tidings: Tidings, pending: Iterable[Pending], settings: Settings) -> None:
        self._client, self._tidings = tidings.client, tidings
        self._stopping = asyncio.Event()
        self._every = settings.sweep.total_seconds() * _SWEEPS
        #: By partition and stream, the groups.
        self._groups: dict[Keys, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for one in pending:
            for stream in one.streams:
                self._groups[one.keys][stream].append(one.group)

    async def run(self) -> None:
        """Looks until stopped; survives whatever the server does."""
        while not self._stopping.is_set():
            try:
                await asyncio.wait_for(
                    self._stopping.wait(),
                    self._every * random.uniform(0.9, 1.0),  # noqa: S311 - jitter
                )
            except TimeoutError:
                await self.look()

    def stop(self) -> None:
        self._stopping.set()

    async def look(self) -> None:
        """One look at all nodes, at each on its own; what has something to do is told."""
        by_node: dict[str, list[Keys]] = defaultdict(list)
        for keys in self._groups:
            by_node[self._client.node_of(Request((("EXISTS", keys.clock),)))].append(keys)
        await asyncio.gather(*map(self._look, by_node.values()))

    async def _look(self, partitions: list[Keys]) -> None:
        calls = [found for keys in partitions if (found := self._call(keys))]
        with suppress(ServerError):
            for first in range(0, len(calls), _AT_ONCE):
                for stream in await self._client.run(_ask(calls[first : first + _AT_ONCE])):
                    log.debug("something is there: %s", stream)
                    self._tidings.tell(stream)

    def _call(self, keys: Keys) -> "_Call | None":
        streams = [stream for stream in self._groups[keys] if self._tidings.since([stream]) is not None]
        args: list[Arg] = []
        for stream in streams:
            args += (len(self._groups[keys][stream]), *self._groups[keys][stream])
        return (streams, args) if streams else None


_Call = tuple[list[str], list[Arg]]


def _ask(calls: list[_Call]) -> Flow[list[str]]:
    """The streams of which a group has something to do."""
    source = load("look")
    commands = [("EVALSHA", source.sha, len(streams), *streams, *args) for streams, args in calls]
    found = []
    for (streams, args), reply in zip(calls, (yield from many(commands)), strict=True):
        if isinstance(reply, ServerError):
            if not str(reply).startswith("NOSCRIPT"):
                continue  # who asks there is told by the connection itself
            reply = yield from script(source, streams, args)  # noqa: PLW2901
        found += [streams[place - 1] for place in reply]
    return found


def let_rest(
    tidings: Tidings,
    consumers: Sequence[Consumer],
    reclaimers: Sequence[Reclaimer],
    schedulers: Sequence[Scheduler],
    settings: Settings,
) -> Patrol:
    """Has sweeps and schedulers wait until they are told; returns who looks after what is not told."""
    resting: list[Reclaimer | Scheduler] = [*reclaimers, *schedulers]
    for one in resting:
        one.use_tidings(tidings)
    return Patrol(tidings, [consumer.pending for consumer in consumers], settings)
