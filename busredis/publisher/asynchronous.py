"""The publisher for asyncio: what is in flight together shares one append."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from busredis.append import Appender, Record
from busredis.client import AsyncClient
from busredis.errors import PublishError, PublishRefused, ServerError
from busredis.events import DomainEvent
from busredis.location import server_url
from busredis.schedule import Change, Delay, Scheduled, Schedules, find_scheduled
from busredis.settings import Settings


@dataclass(slots=True)
class _Item:
    """What one caller waits for: written whole or not at all."""

    records: Sequence[Record]
    size: int
    done: asyncio.Future[list[str]]


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
        self._schedules = Schedules(self._settings)
        self._changing = asyncio.Lock()
        self._waiting: deque[_Item] = deque()
        self._events = self._bytes = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._writer: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def publish(self, event: DomainEvent, *, key: str | None = None) -> str:
        """Writes one event and returns its entry id; see Publisher.publish."""
        ids = await self._add([self._appender.record(event, key)])
        return ids[0]

    async def publish_many(self, events: Iterable[DomainEvent]) -> list[str]:
        """Writes events in order and returns their entry ids; see Publisher.publish_many."""
        records = [self._appender.record(event) for event in events]
        ids: list[str] = []
        for piece in self._appender.pieces(records):
            try:
                ids += await self._add(piece)
            except PublishError as error:
                error.confirmed = ids
                raise
        return ids

    async def schedule(
        self,
        event: DomainEvent,
        *,
        at: datetime | None = None,
        delay: Delay | None = None,
        key: str | None = None,
    ) -> str:
        """Stores an event that a daemon will append when it is due; see Publisher.schedule."""
        change = self._schedules.add(event, at=at, delay=delay, key=key)
        await self._change(change)
        return change.id

    async def cancel(self, schedule_id: str) -> bool:
        """Takes an event out of the schedule; see Publisher.cancel."""
        return await self._change(self._schedules.cancel(schedule_id))

    async def reschedule(
        self, schedule_id: str, *, at: datetime | None = None, delay: Delay | None = None
    ) -> bool:
        """Gives an event of the schedule another time; see Publisher.reschedule."""
        return await self._change(self._schedules.move(schedule_id, at=at, delay=delay))

    async def scheduled(self, limit: int = 100) -> list[Scheduled]:
        """What waits in the schedule, the soonest first. Raises ServerError."""
        return await self._client.run(find_scheduled(self._schedules.keys, limit))

    async def _change(self, change: Change) -> bool:
        async with self._changing:
            self._check_use()
            attempt = self._schedules.begin()
            while True:
                try:
                    return await self._client.run(self._schedules.flow([change], attempt)) == ["yes"]
                except ServerError as error:
                    await asyncio.sleep(self._schedules.after(error, attempt, [change]))

    async def _add(self, records: Sequence[Record]) -> list[str]:
        self._check_use()
        while self._events >= self._settings.buffer_events or self._bytes >= self._settings.buffer_bytes:
            self._room.clear()
            await self._room.wait()
            self._check_use()
        size = sum(len(record.json) for record in records)
        assert self._loop is not None
        item = _Item(records, size, self._loop.create_future())
        self._waiting.append(item)
        self._events += len(records)
        self._bytes += size
        self._wake.set()
        return await item.done

    def _check_use(self) -> None:
        if self._closed:
            raise PublishRefused("this publisher is closed; nothing was written")
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            raise PublishRefused("this publisher belongs to another event loop; make one a loop")
        if self._writer is None or self._writer.done():
            # Done only if it was cancelled from outside or broke: then nobody may wait for ever.
            self._loop = loop
            self._writer = loop.create_task(self._write(), name="busredis publisher")

    async def _write(self) -> None:
        while not (self._closed and not self._waiting):
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            items = self._take()
            try:
                await self._append_items(items)
            finally:
                # Also when cancelled or broken: nobody waits for ever.
                for item in items:
                    if not item.done.done():
                        item.done.set_exception(PublishRefused("the publisher was stopped"))
                    self._events -= len(item.records)
                    self._bytes -= item.size
                self._room.set()

    def _take(self) -> list[_Item]:
        items, count, size = [self._waiting.popleft()], 0, 0
        count, size = len(items[0].records), items[0].size
        while self._waiting:
            following = self._waiting[0]
            count, size = count + len(following.records), size + following.size
            if count > self._settings.batch_events or size > self._settings.batch_bytes:
                break
            items.append(self._waiting.popleft())
        return items

    async def _append_items(self, items: list[_Item]) -> None:
        batch = [record for item in items for record in item.records]
        try:
            ids = await self._append(batch)
        except PublishRefused as error:
            if len(items) > 1:
                # One caller's event was refused with the others': each for itself, so that only its own fails.
                for item in items:
                    await self._append_items([item])
            else:
                _settle(items[0], error)
        except PublishError as error:
            for item in items:
                _settle(item, error)
        else:
            start = 0
            for item in items:
                if not item.done.done():
                    item.done.set_result(ids[start : start + len(item.records)])
                start += len(item.records)

    async def _append(self, batch: Sequence[Record]) -> list[str]:
        attempt = self._appender.begin()
        while True:
            try:
                return (await self._client.run(self._appender.flow(batch, attempt))).ids
            except ServerError as error:
                await asyncio.sleep(self._appender.after(error, attempt, batch))

    async def close(self) -> None:
        """Writes what waits, then ends the publisher. Closing twice is fine."""
        self._closed = True
        self._wake.set()
        self._room.set()
        if self._writer is not None:
            await self._writer
        async with self._changing:
            pass  # a change under way ends with an answer
        await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _settle(item: _Item, error: PublishError) -> None:
    if not item.done.done():
        # An exception of its own for each caller: a traceback is written into it.
        outcome = type(error)(str(error))
        outcome.__cause__ = error.__cause__
        item.done.set_exception(outcome)
