"""Runs one handler over the past, beside the group that it stands for: on copies of entries, from the archive and Redis."""

import asyncio
import os
import socket
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from busredis.client import AsyncClient, Client
from busredis.codec import Codec
from busredis.commands import raw
from busredis.daemon.assembly import Assembly, reclaimer_of
from busredis.daemon.consumer import Consumer
from busredis.daemon.copies import Copies, Pace
from busredis.daemon.daemon import MOST_CONNECTIONS
from busredis.daemon.lease import Lease
from busredis.daemon.ordered import OrderedConsumer
from busredis.daemon.ownership import Share
from busredis.daemon.reader import BLOCK_MARGIN, reader_for
from busredis.daemon.reclaimer import Reclaimer
from busredis.delivery.context import Tools
from busredis.delivery.lanes import Gate
from busredis.errors import RegistrationError
from busredis.keys import Keys, check_name, parse_id
from busredis.location import server_url
from busredis.partitions import learn
from busredis.publisher import AsyncPublisher
from busredis.router import Handler
from busredis.settings import Settings
from busredis.store import AsyncEventStore
from busredis.store.operations import PAGE

_TIMEOUT = timedelta(seconds=5)
#: Most copies that wait to be handled, in all partitions together.
_AHEAD = 4_000
#: Of so many partitions entries are read at a time.
_AT_ONCE = 8


@dataclass
class Progress:
    """How far a shadow is, in all partitions."""

    copied: int = 0
    handled: int = 0
    dead: int = 0
    #: One for each partition.
    parts: list[Copies] = field(default_factory=list)

    @property
    def reached(self) -> dict[str, str]:
        """By event type the last id that was copied, of those of which any was; of a namespace that is not divided."""
        [part] = self.parts
        return {name: at for name, at in part.reached.items() if parse_id(at) >= parse_id(part.bounds[0])}


class Shadow:
    """The group `name`, which handles from position `first` up to `upto` what the group of `handler` has had.

    Each entry of every partition is delivered as by a daemon, with ctx.replaying, and ctx.view() names read models of the
    shadow's own. A shadow that was interrupted goes on where it was. Raises RegistrationError for a handler with side
    effects, unless asked.
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
        self.progress = Progress()
        self._bounds, self._settings, self._rate = bounds, settings, rate
        self._url = server_url(settings)
        self._types = [cls.type_name for cls in handler.event_classes()]

    async def run(self, tell: Callable[[Progress], None] = lambda _: None) -> Progress:
        """Copies and handles everything; returns when nothing is left. Dead letters of it are in dead:<name>."""
        client = AsyncClient(self._url, timeout=_TIMEOUT, most=MOST_CONNECTIONS)
        reading = AsyncClient(self._url, timeout=self._settings.block + BLOCK_MARGIN)
        publisher = AsyncPublisher(**self._settings.model_dump() | {"url": self._url})
        store = AsyncEventStore(**self._settings.model_dump() | {"url": self._url})
        try:
            partitions = await client.run(learn(self._settings.namespace, self._settings.partitions))
            self._begin(partitions)
            is_shared = len(partitions) > 1
            async with reader_for(reading, None, self._settings, is_shared=is_shared) as reader:
                consumers = self._consumers(client, publisher)
                for consumer in consumers:
                    consumer.use_reader(reader)
                await self._leased(consumers, store, tell)
        finally:
            for each in (publisher, store, reading, client):
                await each.close()
        return self.progress

    def _begin(self, partitions: Sequence[Keys]) -> None:
        ahead = max(PAGE, _AHEAD // len(partitions))
        self.progress.parts = [
            Copies(keys.shadow(self.handler.name), self._types, self._bounds, ahead) for keys in partitions
        ]

    def _consumers(self, client: AsyncClient, publisher: AsyncPublisher) -> list[Consumer]:
        """One for each partition; they share the lanes of the handler."""
        name = f"{socket.gethostname()[:40]}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        gate, share, parts = Gate(), Share(), self.progress.parts
        gate.shared = {} if len(parts) > 1 else None
        prefetch = max(1, self._settings.prefetch // len(parts))
        settings = self._settings.model_copy(update={"prefetch": prefetch})
        consumers = []
        for part in parts:
            assembly = Assembly(name, settings, Tools(part.keys, client, publisher), gate, share)
            consumers.append(assembly.consumer_of(self.handler, is_shadow=True))
        gate.lanes = list({id(consumer.lanes): consumer.lanes for consumer in consumers}.values())
        return consumers

    async def _leased(
        self, consumers: list[Consumer], store: AsyncEventStore, tell: Callable[[Progress], None]
    ) -> None:
        lease = Lease(Client(self._url, timeout=_TIMEOUT), consumers, self._settings)
        lease.start()
        try:
            await self._work(consumers, store, tell)
        finally:
            await asyncio.to_thread(lease.stop)
        lease.check()

    async def _work(
        self, consumers: list[Consumer], store: AsyncEventStore, tell: Callable[[Progress], None]
    ) -> None:
        parts, client = self.progress.parts, consumers[0].client
        for part, consumer in zip(parts, consumers, strict=True):
            await client.run(part.begin())
            await consumer.prepare()
        reclaimers = [reclaimer_of(consumer, Gate(), self._settings) for consumer in consumers]
        running = [asyncio.create_task(one.settler.run()) for one in consumers]
        readers: list[Consumer | Reclaimer] = [*consumers, *reclaimers]
        running += [asyncio.create_task(one.run()) for one in readers]
        copying = self._copy(client, store)
        try:
            await self._until_done([*running, *copying], client, tell)
        finally:
            for one in readers:
                one.stop()
            for task in [*copying, *running]:
                task.cancel()
            await asyncio.gather(*copying, *running, return_exceptions=True)
            for consumer in consumers:
                if isinstance(consumer, OrderedConsumer):
                    await consumer.hand_over()
        for part in parts:
            self.progress.dead += await client.run(raw("XLEN", part.keys.dead(self.handler.name)).__iter__())

    def _copy(self, client: AsyncClient, store: AsyncEventStore) -> list[asyncio.Task[None]]:
        # With a rate they take turns, since each reads a page before it waits.
        turns = asyncio.Semaphore(1 if self._rate else _AT_ONCE)
        pace, codec = Pace(self._rate, turns), Codec(self._settings.max_event_bytes)
        pace.begin()
        return [asyncio.create_task(part.run(client, store, codec, pace)) for part in self.progress.parts]

    async def _until_done(
        self, tasks: list[asyncio.Task[None]], client: AsyncClient, tell: Callable[[Progress], None]
    ) -> None:
        """Until every copy is made and settled; raises what a task raises."""
        progress = self.progress
        while not all(part.is_done for part in progress.parts):
            going = [task for task in tasks if not task.done() or task.exception() is not None]
            done, _ = await asyncio.wait(going, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            for part in progress.parts:
                if part.horizon and part.open:
                    await client.run(part.look())
            progress.copied = sum(part.copied for part in progress.parts)
            progress.handled = sum(part.handled for part in progress.parts)
            tell(progress)
