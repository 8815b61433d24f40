"""A daemon: runs the handlers of its routers until it is told to stop, then drains."""

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from busredis.client import AsyncClient, Client
from busredis.daemon.assembly import Assembly, reclaimer_of
from busredis.daemon.chosen import chosen
from busredis.daemon.collector import few_collections
from busredis.daemon.consumer import Consumer
from busredis.daemon.lease import Lease
from busredis.daemon.ordered import OrderedConsumer
from busredis.daemon.ownership import Share
from busredis.daemon.patrol import Patrol, let_rest
from busredis.daemon.reader import BLOCK_MARGIN, SharedReader, reader_for
from busredis.daemon.reclaimer import Reclaimer
from busredis.daemon.retainer import Retainer
from busredis.daemon.scheduler import Scheduler
from busredis.daemon.signals import on_stop
from busredis.daemon.tidings import Tidings
from busredis.delivery.context import Tools
from busredis.delivery.lanes import Gate
from busredis.errors import CommandRefused, ServerError
from busredis.events import DomainEvent, registry
from busredis.keys import Keys
from busredis.location import server_url
from busredis.partitions import learn
from busredis.publisher import AsyncPublisher
from busredis.retention import Retention
from busredis.router import Router
from busredis.settings import Settings
from busredis.vault import check_installed

log = logging.getLogger("busredis.daemon")

_TIMEOUT = timedelta(seconds=5)
#: Most connections to a node for settling and sweeping: many handlers and partitions take turns.
MOST_CONNECTIONS = 16
#: With burst, that a stream is empty is the question, and to be answered soon.
_BURST_BLOCK = timedelta(seconds=0.1)

Chores = tuple[list[Scheduler], list[Retainer | Patrol]]


class Daemon:
    """Runs every handler of `routers` as a consumer of its group, beside any number of other daemons.

    Each event is handled at least once by each group, in order per stream while nothing fails, or becomes a dead
    letter of that group. `run()` blocks until SIGTERM or SIGINT; `serve()` is the same on a running loop. With `burst`
    it ends once nothing is left to do. `groups` runs only these handlers. `retention` says how long the entries of event
    types are kept, for those of which nothing is said on the server yet. `options` are fields of Settings.

    Every daemon appends scheduled events that fall due, and one at a time trims what no group needs any more.
    """

    def __init__(
        self,
        *routers: Router,
        url: str | None = None,
        namespace: str | None = None,
        groups: list[str] | None = None,
        burst: bool = False,
        retention: Mapping[type[DomainEvent], Retention] | None = None,
        **options: Any,
    ) -> None:
        if burst:
            options.setdefault("block", _BURST_BLOCK)
        self.settings = Settings.load(url=url, namespace=namespace, **options)
        self.handlers = chosen(routers, groups)
        registry.check()
        check_installed(cls for handler in self.handlers for cls in handler.event_classes())
        self.name = f"{socket.gethostname()[:40]}-{os.getpid()}-{uuid.uuid4().hex[:6]}".replace(" ", "")
        self._url = server_url(self.settings)
        self._burst = burst
        self._retention = {cls.type_name: kept for cls, kept in (retention or {}).items()}
        self._stopping: asyncio.Event | None = None
        self._now: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, *, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> None:
        """Runs until SIGTERM or SIGINT: drains within `grace`; a second signal stops at once, and loses nothing."""
        with few_collections(), asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(self.serve())

    def stop(self) -> None:
        """Asks the daemon to drain; called again, to stop at once. May be called from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        assert self._stopping is not None
        assert self._now is not None
        if self._stopping.is_set():
            self._now.set()
        self._stopping.set()

    async def serve(self) -> None:
        """Runs until stop(), a signal, or, with `burst`, until nothing is left."""
        self._loop = asyncio.get_running_loop()
        self._stopping, self._now = asyncio.Event(), asyncio.Event()
        client = AsyncClient(self._url, timeout=_TIMEOUT, most=MOST_CONNECTIONS)
        with on_stop(self._stop):
            try:
                partitions = await self._learn(client)
                if partitions:
                    await self._serve(client, partitions)
            finally:
                await client.close()

    async def _learn(self, client: AsyncClient) -> list[Keys]:
        """The partitions; none if it was stopped before the server could say."""
        found: list[Keys] = []

        async def ask() -> None:
            found.extend(await client.run(learn(self.settings.namespace, self.settings.partitions)))

        await self._until_there(ask)
        return found

    async def _serve(self, client: AsyncClient, partitions: list[Keys]) -> None:
        publisher = AsyncPublisher(**self.settings.model_dump() | {"url": self._url})
        gate = Gate()
        is_shared = len(partitions) > 1
        gate.shared = {} if is_shared else None
        consumers = self._consumers([Tools(keys, client, publisher) for keys in partitions], gate)
        gate.lanes = list({id(consumer.lanes): consumer.lanes for consumer in consumers}.values())
        reclaimers = [reclaimer_of(consumer, gate, self.settings) for consumer in consumers]
        every = self.settings.trim_every
        chores: Chores = (
            [Scheduler(keys, client, self.settings, self.name) for keys in partitions],
            [Retainer(keys, client, self.name, every, self._retention) for keys in partitions],
        )
        lease = Lease(Client(self._url, timeout=_TIMEOUT), consumers, self.settings)
        lease.start()
        beat = asyncio.create_task(lease.beat(self._stop))
        try:
            reading = AsyncClient(self._url, timeout=self.settings.block + BLOCK_MARGIN)
            tidings = Tidings(client) if is_shared and not self._burst else None
            async with reader_for(reading, tidings, self.settings, is_shared=is_shared) as reader:
                if tidings:
                    chores[1].append(let_rest(tidings, consumers, reclaimers, chores[0], self.settings))
                await self._run(consumers, reclaimers, chores, reader)
        finally:
            beat.cancel()
            # Last, since what still runs must keep its lease until it is settled or handed back.
            await asyncio.to_thread(lease.stop)
            await publisher.close()
        lease.check()

    def _consumers(self, partitions: list[Tools], gate: Gate) -> list[Consumer]:
        prefetch = max(1, self.settings.prefetch // len(partitions))
        settings, share = self.settings.model_copy(update={"prefetch": prefetch}), Share()
        found = []
        for tools in partitions:
            assembly = Assembly(self.name, settings, tools, gate, share)
            found += [assembly.consumer_of(handler) for handler in self.handlers]
        for consumer in found:
            consumer.ends_when_empty = self._burst
        return found

    async def _run(
        self,
        consumers: list[Consumer],
        reclaimers: list[Reclaimer],
        chores: Chores,
        reader: AsyncClient | SharedReader,
    ) -> None:
        assert self._stopping is not None
        await self._prepare(consumers)
        settlers = [asyncio.create_task(consumer.settler.run()) for consumer in consumers]
        reading = []
        for consumer in consumers:
            consumer.use_reader(reader)
            reading.append(asyncio.create_task(consumer.run()))
        reading += [asyncio.create_task(reclaimer.run()) for reclaimer in reclaimers]
        reading += [asyncio.create_task(chore.run()) for chore in _both(chores)]
        log.info("daemon %s runs %s", self.name, ", ".join(handler.name for handler in self.handlers))
        stopped = asyncio.create_task(self._stopping.wait())
        watch: list[asyncio.Task[Any]] = [stopped]
        if self._burst:
            watch.append(asyncio.create_task(self._until_empty(consumers, reclaimers, chores[0])))
        done, _ = await asyncio.wait([*watch, *settlers, *reading], return_when=asyncio.FIRST_COMPLETED)
        for consumer, reclaimer in zip(consumers, reclaimers, strict=True):
            consumer.stop()
            reclaimer.stop()
        for chore in _both(chores):
            chore.stop()
        if isinstance(reader, SharedReader):
            reader.release()
        await self._drain(consumers, reading)
        for task in [*watch, *settlers, *reading]:
            task.cancel()
        await asyncio.gather(*watch, *settlers, *reading, return_exceptions=True)
        log.info("daemon %s has stopped", self.name)
        for task in done:
            if not task.cancelled() and task.exception() is not None:
                task.result()  # a fault of our own is raised, never hidden

    async def _prepare(self, consumers: list[Consumer]) -> None:
        """Creates the groups; waits for a server that is not there yet."""
        for consumer in consumers:
            await self._until_there(consumer.prepare)

    async def _until_there(self, ask: Callable[[], Awaitable[None]]) -> None:
        """Asks until the server answers, or until it is told to stop."""
        assert self._stopping is not None
        told = False
        while not self._stopping.is_set():
            try:
                await ask()
            except CommandRefused:
                raise
            except ServerError as error:
                if not told:
                    log.warning("waiting for the server: %s", error)
                    told = True
                await asyncio.sleep(0.2)
            else:
                return

    async def _drain(self, consumers: list[Consumer], reading: list[asyncio.Task[None]]) -> None:
        """Lets what runs finish within `grace`, hands the rest back, and settles all of it."""
        assert self._now is not None
        loop = asyncio.get_running_loop()
        until = loop.time() + self.settings.grace.total_seconds()
        for consumer in consumers:
            consumer.lanes.hand_back()
        # A read that still blocks may yet bring entries: closed lanes hand them back.
        await asyncio.wait(reading, timeout=self.settings.block.total_seconds() + 1)
        while (
            any(consumer.lanes.running() for consumer in consumers)
            and loop.time() < until
            and not self._now.is_set()
        ):
            await asyncio.sleep(0.01)
        for consumer in consumers:
            consumer.process.stopping = True
            if consumer.lanes.running():
                log.warning(
                    "handler %s did not finish within grace, its entry is handed back", consumer.pending.group
                )
            await consumer.lanes.cancel()
            consumer.lanes.hand_back()
        for task in reading:
            task.cancel()
        # A reclaimer hands its suspect back while it is cancelled; only then is it known what is left to settle.
        await asyncio.wait(reading, timeout=3)
        flushing = [asyncio.create_task(consumer.settler.flush()) for consumer in consumers]
        await asyncio.wait(flushing, timeout=3)
        for consumer in consumers:
            if isinstance(consumer, OrderedConsumer):
                await consumer.hand_over()
            try:
                await consumer.client.run(consumer.stats.flush(consumer.pending.keys))
            except ServerError as error:
                log.debug("stats not flushed: %s", error)
        for task in flushing:
            task.cancel()

    async def _until_empty(
        self, consumers: list[Consumer], reclaimers: list[Reclaimer], schedulers: list[Scheduler]
    ) -> None:
        """Returns when every group has read all, nothing is pending in it, whoever holds it, and nothing is due.

        What a handler publishes is there before its own entry is settled: a read that began after the last settlement
        and found nothing leaves nothing out.
        """
        while True:
            await asyncio.sleep(0.02)
            settled_at = _latest(consumers, schedulers)
            if any(c.settler.held or c.empty_since <= settled_at for c in consumers):
                continue
            try:
                for reclaimer in reclaimers:
                    await reclaimer.sweep()
                for scheduler in schedulers:
                    await scheduler.look()
            except ServerError:
                continue
            if (
                all(r.pending_in_group == 0 for r in reclaimers)
                and all(c.empty_since > settled_at and not c.settler.held for c in consumers)
                and settled_at == _latest(consumers, schedulers)
            ):
                return


def _both(chores: Chores) -> list[Scheduler | Retainer | Patrol]:
    return [*chores[0], *chores[1]]


def _latest(consumers: list[Consumer], schedulers: list[Scheduler]) -> float:
    """When something was settled or appended here last."""
    return max(*(one.appended_at for one in schedulers), *(one.settled_at for one in consumers))
