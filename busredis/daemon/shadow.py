"""Runs one handler over the past, beside the group that it stands for: on copies of entries, from the archive and Redis."""

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from busredis.client import AsyncClient, Client
from busredis.codec import Codec
from busredis.commands import Arg, Flow, many, raw, scan
from busredis.daemon.assembly import Assembly, reclaimer_of
from busredis.daemon.consumer import Consumer
from busredis.daemon.lease import Lease
from busredis.daemon.ordered import OrderedConsumer
from busredis.daemon.ownership import Share
from busredis.daemon.reader import BLOCK_MARGIN
from busredis.delivery.context import Tools
from busredis.delivery.lanes import Gate
from busredis.errors import RegistrationError, ServerError
from busredis.keys import Keys, check_name, just_before, parse_id
from busredis.location import server_url
from busredis.publisher import AsyncPublisher
from busredis.router import Handler
from busredis.settings import Settings
from busredis.store import AsyncEventStore
from busredis.store.feed import Feed
from busredis.store.operations import Entry

log = logging.getLogger("busredis.replay")

_TIMEOUT = timedelta(seconds=5)
#: Most copies that wait to be handled.
_AHEAD = 4_000


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
class Progress:
    """How far a shadow is. `reached` has by event type the last id that was copied."""

    copied: int = 0
    handled: int = 0
    dead: int = 0
    reached: dict[str, str] = field(default_factory=dict)


class Shadow:
    """The group `name`, which handles from position `first` up to `upto` what the group of `handler` has had.

    Each entry is delivered as by a daemon, with ctx.replaying, and ctx.view() names read models of the shadow's own. A shadow
    that was interrupted goes on where it was. Raises RegistrationError for a handler with side effects, unless asked.
    """

    def __init__(
        self,
        handler: Handler,
        name: str,
        bounds: tuple[str, str],
        settings: Settings,
        *,
        rate: float | None = None,
        with_side_effects: bool = False,
    ) -> None:
        check_name("group", name)
        if handler.side_effects and not with_side_effects:
            raise RegistrationError(
                f"handler {handler.name!r} is declared with side_effects=True, and a replay leaves it out: "
                "--with-side-effects runs it all the same"
            )
        self.handler = replace(handler, name=name, start="beginning")
        self.keys = Keys(settings.namespace).shadow(name)
        self.progress = Progress()
        self._bounds, self._settings, self._rate = bounds, settings, rate
        self._url = server_url(settings)
        self._types = [cls.type_name for cls in handler.event_classes()]

    async def run(self, tell: Callable[[Progress], None] = lambda _: None) -> Progress:
        """Copies and handles everything; returns when nothing is left. Dead letters of it are in dead:<name>."""
        client = AsyncClient(self._url, timeout=_TIMEOUT)
        reader = AsyncClient(self._url, timeout=self._settings.block + BLOCK_MARGIN)
        publisher = AsyncPublisher(**self._settings.model_dump() | {"url": self._url})
        store = AsyncEventStore(**self._settings.model_dump() | {"url": self._url})
        consumer = self._consumer(Tools(self.keys, client, publisher))
        lease = Lease(Client(self._url, timeout=_TIMEOUT), [consumer], self._settings)
        lease.start()
        try:
            await self._work(consumer, store, reader, tell)
        finally:
            await asyncio.to_thread(lease.stop)
            for each in (publisher, store, reader, client):
                await each.close()
        return self.progress

    def _consumer(self, tools: Tools) -> Consumer:
        name = f"{socket.gethostname()[:40]}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        gate = Gate()
        consumer = Assembly(name, self._settings, tools, gate, Share()).consumer_of(
            self.handler, is_shadow=True
        )
        gate.lanes = [consumer.lanes]
        return consumer

    async def _work(
        self,
        consumer: Consumer,
        store: AsyncEventStore,
        reader: AsyncClient,
        tell: Callable[[Progress], None],
    ) -> None:
        await self._begin(consumer)
        consumer.use_reader(reader)
        reclaimer = reclaimer_of(consumer, Gate(), self._settings)
        running = [
            asyncio.create_task(one) for one in (consumer.settler.run(), consumer.run(), reclaimer.run())
        ]
        copying = asyncio.create_task(self._copy(consumer.client, store))
        try:
            while not copying.done() or await self._open(consumer.client):
                done, _ = await asyncio.wait(
                    [*running, *([] if copying.done() else [copying])],
                    timeout=0.1,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    task.result()
                tell(self.progress)
        finally:
            consumer.stop()
            reclaimer.stop()
            for task in (copying, *running):
                task.cancel()
            await asyncio.gather(copying, *running, return_exceptions=True)
            if isinstance(consumer, OrderedConsumer):
                await consumer.hand_over()
        self.progress.dead = await consumer.client.run(
            raw("XLEN", self.keys.dead(self.handler.name)).__iter__()
        )

    async def _begin(self, consumer: Consumer) -> None:
        """Goes on with a shadow that was interrupted, or begins with read models that have nothing."""
        streams = await consumer.client.run(scan(self.keys.stream("*")))
        if not streams:
            views = await consumer.client.run(scan(self.keys.every_view(f"*@{self.keys.shadow_name}")))
            left = [*views, self.keys.dead(self.handler.name), self.keys.checkpoint(self.handler.name)]
            await consumer.client.run(raw("DEL", *left).__iter__())
        await consumer.prepare()

    async def _copy(self, client: AsyncClient, store: AsyncEventStore) -> None:
        first, upto = self._bounds
        for event_type in self._types:
            info = await client.run(raw("XINFO", "STREAM", self.keys.stream(event_type)).__iter__())
            last = dict(zip(info[::2], info[1::2], strict=True))[b"last-generated-id"].decode()
            if parse_id(last) >= parse_id(first):
                self.progress.reached[event_type] = last
        after = max([just_before(first), *self.progress.reached.values()], key=parse_id)
        feed = RawFeed(Codec(self._settings.max_event_bytes), after, upto=upto, types=self._types, limit=None)
        await store.run(feed.begin())
        started = asyncio.get_running_loop().time()
        while copies := await store.run(feed.page()):
            await client.run(self._add(copies))
            self.progress.copied += len(copies)
            while await self._open(client) > _AHEAD:
                await asyncio.sleep(0.02)
            if self._rate:
                ahead = self.progress.copied / self._rate - (asyncio.get_running_loop().time() - started)
                await asyncio.sleep(max(0.0, ahead))

    def _add(self, copies: list[Any]) -> Flow[None]:
        commands: list[tuple[Arg, ...]] = [
            ("XADD", self.keys.stream(copy.event_type), copy.position, *copy.fields) for copy in copies
        ]
        for copy, reply in zip(copies, (yield from many(commands)), strict=True):
            # Sent again after a lost reply, an entry is there already.
            if isinstance(reply, ServerError) and "equal or smaller" not in str(reply):
                raise reply
            self.progress.reached[copy.event_type] = copy.position

    async def _open(self, client: AsyncClient) -> int:
        """How many copies are not settled; those that are, are removed."""
        return await client.run(self._trim())

    def _trim(self) -> Flow[int]:
        left = 0
        for event_type in self._types:
            stream = self.keys.stream(event_type)
            [row] = yield from raw("XINFO", "GROUPS", stream)
            reached = dict(zip(row[::2], row[1::2], strict=True))[b"last-delivered-id"].decode()
            summary = yield from raw("XPENDING", stream, self.handler.name)
            oldest = summary[1].decode() if summary[0] else None
            ms, seq = parse_id(reached)
            yield from raw("XTRIM", stream, "MINID", oldest or f"{ms}-{seq + 1}")
            left += yield from raw("XLEN", stream)
        self.progress.handled = max(0, self.progress.copied - left)
        return left
