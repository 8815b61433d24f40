"""The entries of one partition, copied for a shadow group: from the archive and Redis, so many at a time."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from busredis.client import AsyncClient
from busredis.codec import Codec
from busredis.commands import Arg, Flow, many, pairs, raw, scan
from busredis.errors import ServerError
from busredis.keys import ShadowKeys, just_before, parse_id
from busredis.store import AsyncEventStore
from busredis.store.feed import Feed
from busredis.store.operations import Entry


@dataclass(frozen=True, slots=True)
class Copy:
    """An entry as it is stored."""

    event_type: str
    position: str
    fields: list[bytes]


class RawFeed(Feed):
    """A feed of entries as they are stored: what cannot be decoded is the handler's group's to give up."""

    def _event(self, name: str, entry: Entry) -> Any:
        return Copy(name, *entry)


@dataclass
class Pace:
    """How fast the copies of all partitions are made: `rate` in events a second, and who may read now."""

    rate: float | None
    turns: asyncio.Semaphore
    started: float = 0.0
    copied: int = 0

    def begin(self) -> None:
        self.started = asyncio.get_running_loop().time()

    async def keep(self, copied: int) -> None:
        """Waits until so many more are due."""
        self.copied += copied
        if self.rate:
            ahead = self.copied / self.rate - (asyncio.get_running_loop().time() - self.started)
            await asyncio.sleep(max(0.0, ahead))


@dataclass
class Copies:
    """The copies of one partition. `reached` has by event type the last id that was copied, or the one before the first.

    `horizon`: up to where everything was copied, once it was.
    """

    keys: ShadowKeys
    types: list[str]
    bounds: tuple[str, str]
    #: Most copies that wait to be handled.
    ahead: int
    reached: dict[str, str] = field(init=False)
    horizon: str = ""
    copied: int = 0
    open: int = 0

    def __post_init__(self) -> None:
        self.reached = dict.fromkeys(self.types, just_before(self.bounds[0]))

    @property
    def handled(self) -> int:
        return max(0, self.copied - self.open)

    @property
    def is_done(self) -> bool:
        return bool(self.horizon) and self.open == 0

    def begin(self) -> Flow[None]:
        """Goes on with a shadow that was interrupted, or begins with read models that have nothing."""
        name = self.keys.shadow_name
        if not (yield from scan(self.keys.stream("*"))):
            views = yield from scan(self.keys.every_view(f"*@{name}"))
            yield from raw("DEL", *views, self.keys.dead(name), self.keys.checkpoint(name))

    async def run(self, client: AsyncClient, store: AsyncEventStore, codec: Codec, pace: Pace) -> None:
        """Copies everything; waits while too many copies are open."""
        async with pace.turns:
            await client.run(self._resume())
            after = max(self.reached.values(), key=parse_id)
            number, upto = self.keys.partition or 0, self.bounds[1]
            feed = RawFeed(codec, after, upto=upto, types=self.types, limit=None, partition=number)
            await store.run(feed.begin())
            while copies := await store.run(feed.page()):
                await client.run(self._add(copies))
                self.copied += len(copies)
                while await client.run(self.look()) > self.ahead:
                    await asyncio.sleep(0.02)
                await pace.keep(len(copies))
            await client.run(self.look())
        self.horizon = feed.horizon

    def _resume(self) -> Flow[None]:
        for event_type in self.types:
            info = pairs((yield from raw("XINFO", "STREAM", self.keys.stream(event_type))))
            last = info["last-generated-id"].decode()
            self.reached[event_type] = max(last, self.reached[event_type], key=parse_id)

    def _add(self, copies: list[Any]) -> Flow[None]:
        commands: list[tuple[Arg, ...]] = [
            ("XADD", self.keys.stream(copy.event_type), copy.position, *copy.fields) for copy in copies
        ]
        for copy, reply in zip(copies, (yield from many(commands)), strict=True):
            # Sent again after a lost reply, an entry is there already.
            if isinstance(reply, ServerError) and "equal or smaller" not in str(reply):
                raise reply
            self.reached[copy.event_type] = copy.position

    def look(self) -> Flow[int]:
        """How many copies are not settled; those that are, are removed."""
        streams = [self.keys.stream(event_type) for event_type in self.types]
        asked: list[tuple[Arg, ...]] = []
        for stream in streams:
            asked += [("XINFO", "GROUPS", stream), ("XPENDING", stream, self.keys.shadow_name)]
        found = yield from _all(asked)
        trims: list[tuple[Arg, ...]] = []
        for stream, [row], summary in zip(streams, found[::2], found[1::2], strict=True):
            ms, seq = parse_id(pairs(row)["last-delivered-id"].decode())
            oldest = summary[1].decode() if summary[0] else f"{ms}-{seq + 1}"
            trims += [("XTRIM", stream, "MINID", oldest), ("XLEN", stream)]
        self.open = sum((yield from _all(trims))[1::2])
        return self.open


def _all(commands: list[tuple[Arg, ...]]) -> Flow[list[Any]]:
    replies = yield from many(commands)
    for reply in replies:
        if isinstance(reply, ServerError):
            raise reply
    return replies
