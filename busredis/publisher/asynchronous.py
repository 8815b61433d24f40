"""The publisher for asyncio: what is in flight together shares one append."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from busredis.append import Appender, Record
from busredis.client import AsyncClient
from busredis.errors import PublishError, PublishRefused, ServerError
from busredis.events import DomainEvent
from busredis.location import server_url
from busredis.partitions import choose, learn
from busredis.publisher.pieces import Pieces
from busredis.publisher.queue import Queue
from busredis.schedule import Change, Delay, Scheduled, Schedules, find_scheduled, soonest
from busredis.settings import Settings

#: What is told of when the server cannot be asked how the schedule is divided.
_SCHEDULE = Record("a change of the schedule", b"")


class AsyncPublisher:
    """Publishes events from one event loop, with the outcomes and the defaults of Publisher.

    Calls that are in flight at the same time share one append and one round trip, in the order of the calls; a
    single call is sent at once. When `buffer_events` or `buffer_bytes` wait, publish() waits. A call that is cancelled
    may still be written. Leaving the context, or close(), writes what waits.
    """

    def __init__(self, url: str | None = None, *, namespace: str | None = None, **options: Any) -> None:
        self._settings = Settings.load(url=url, namespace=namespace, **options)
        self._appender = Appender(self._settings)
        self._client = AsyncClient(server_url(self._settings), timeout=self._settings.publish_timeout)
        #: One a partition, once it is known how many there are.
        self._queues: list[Queue] = []
        self._schedule, self._schedules = Schedules(self._settings), list[Schedules]()
        self._learning: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def publish(self, event: DomainEvent, *, key: str | None = None) -> str:
        """Writes one event and returns its entry id; see Publisher.publish."""
        record = self._appender.record(event, key)
        queues = self._queues if self._is_ready() else await self._ready([record])
        queue = choose(queues, event, key)
        queue.check_use()
        # A coroutine less than add(), where there is room.
        ids = await queue.add([record]) if queue.is_full() else await queue.put([record])
        return ids[0]

    async def publish_many(self, events: Iterable[DomainEvent]) -> list[str]:
        """Writes events in order and returns their entry ids; see Publisher.publish_many."""
        events = list(events)
        records = self._appender.records(events)
        if not records:
            return []
        queues = self._queues if self._is_ready() else await self._ready(records)
        found = Pieces([queue.appender for queue in queues], events, records)
        results = await asyncio.gather(
            *[self._append(queue, found, number) for number, queue in enumerate(queues)],
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, PublishError):
                raise found.failed(result) from result.__cause__
            if isinstance(result, BaseException):
                raise result
        return found.ids

    async def _append(self, queue: Queue, found: Pieces, number: int) -> None:
        for piece in found.pieces:
            if piece.partition == number:
                found.confirm(piece, await queue.add(piece.batch))

    async def schedule(
        self,
        event: DomainEvent,
        *,
        at: datetime | None = None,
        delay: Delay | None = None,
        key: str | None = None,
    ) -> str:
        """Stores an event that a daemon will append when it is due; see Publisher.schedule."""
        change = self._schedule.add(event, at=at, delay=delay, key=key)
        await self._ready([_SCHEDULE])
        await self._change(change, [choose(self._schedules, event, key)])
        return change.id

    async def cancel(self, schedule_id: str) -> bool:
        """Takes an event out of the schedule; see Publisher.cancel."""
        return await self._change(self._schedule.cancel(schedule_id))

    async def reschedule(
        self, schedule_id: str, *, at: datetime | None = None, delay: Delay | None = None
    ) -> bool:
        """Gives an event of the schedule another time; see Publisher.reschedule."""
        return await self._change(self._schedule.move(schedule_id, at=at, delay=delay))

    async def scheduled(self, limit: int = 100) -> list[Scheduled]:
        """What waits in the schedule, the soonest first. Raises ServerError."""
        await self._ready([_SCHEDULE])
        found = [await self._client.run(find_scheduled(part.keys, limit)) for part in self._schedules]
        return soonest(found, limit)

    async def _change(self, change: Change, parts: Sequence[Schedules] = ()) -> bool:
        """Makes a change in these parts of the schedule, or in that which has the event."""
        await self._ready([_SCHEDULE])
        for part in parts or self._schedules:
            if await self._change_in(part, change):
                return True
        return False

    async def _change_in(self, part: Schedules, change: Change) -> bool:
        async with self._changing:
            attempt = part.begin()
            while True:
                try:
                    return await self._client.run(part.flow([change], attempt)) == ["yes"]
                except ServerError as error:
                    await asyncio.sleep(part.after(error, attempt, [change]))

    def _is_ready(self) -> bool:
        return bool(self._queues) and not self._closed and self._loop is asyncio.get_running_loop()

    async def _ready(self, batch: Sequence[Record]) -> list[Queue]:
        if self._closed:
            raise PublishRefused("this publisher is closed; nothing was written")
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            raise PublishRefused("this publisher belongs to another event loop; make one a loop")
        self._loop = loop
        if self._learning is None or (self._learning.done() and not self._queues):
            self._learning = loop.create_task(self._learn(batch), name="busredis publisher learns")
        try:
            await asyncio.shield(self._learning)
        except PublishError as error:
            # An exception of its own for each caller: a traceback is written into it.
            raise type(error)(str(error)) from error.__cause__
        return self._queues

    async def _learn(self, batch: Sequence[Record]) -> None:
        began, attempt = time.monotonic(), self._appender.begin()
        while not self._queues:
            try:
                found = await self._client.run(learn(self._settings.namespace, self._settings.partitions))
            except ServerError as error:
                await asyncio.sleep(self._appender.before(error, attempt, batch))
            else:
                self._schedules = [Schedules(self._settings, keys) for keys in found]
                appenders = [Appender(self._settings, partition=keys) for keys in found]
                self._queues = [Queue(appender, self._client, len(appenders)) for appender in appenders]
        for queue in self._queues:
            queue.spent = time.monotonic() - began

    async def close(self) -> None:
        """Writes what waits, then ends the publisher. Closing twice is fine."""
        self._closed = True
        if self._learning is not None:
            # Calls that wait for it are let go on, and fail if they are too late.
            await asyncio.wait([self._learning])
        await asyncio.gather(*[queue.close() for queue in self._queues])
        async with self._changing:
            pass  # a change under way ends with an answer
        await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
