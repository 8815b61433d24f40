"""What waits to be appended to one partition, and the task that does it: what waits together goes together."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from busredis.append import Appender, Record
from busredis.client import AsyncClient
from busredis.errors import PublishError, PublishRefused, ServerError


@dataclass(slots=True)
class _Item:
    """What one caller waits for: written whole or not at all."""

    records: Sequence[Record]
    size: int
    done: asyncio.Future[list[str]]


class Queue:
    """Appends of one partition, one at a time, in the order of the calls; `share` of the buffer is its own."""

    def __init__(self, appender: Appender, client: AsyncClient, share: int) -> None:
        self.appender, self._client = appender, client
        self._settings = appender.settings
        self._most_events = max(1, self._settings.buffer_events // share)
        self._most_bytes = max(1, self._settings.buffer_bytes // share)
        #: Seconds of the first append's time that are spent already.
        self.spent = 0.0
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Item] = deque()
        self._events = self._bytes = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._writer: asyncio.Task[None] | None = None
        self._closed = False

    async def add(self, records: Sequence[Record]) -> list[str]:
        """The entry ids, once the records are written; waits for room first. Raises PublishError."""
        self.check_use()
        while self.is_full():
            self._room.clear()
            await self._room.wait()
            self.check_use()
        return await self.put(records)

    def is_full(self) -> bool:
        return self._events >= self._most_events or self._bytes >= self._most_bytes

    def put(self, records: Sequence[Record]) -> asyncio.Future[list[str]]:
        """What add() waits for; to be called after check_use(), and if there is room."""
        size = 0
        for record in records:
            size += len(record.json)
        item = _Item(records, size, self._loop.create_future())
        self._waiting.append(item)
        self._events += len(records)
        self._bytes += size
        self._wake.set()
        return item.done

    def check_use(self) -> None:
        """Raises PublishRefused if it is closed."""
        if self._closed:
            raise PublishRefused("this publisher is closed; nothing was written")
        if self._writer is None or self._writer.done():
            # Done only if it was cancelled from outside or broke: then nobody may wait for ever.
            self._writer = self._loop.create_task(self._write(), name="busredis publisher")

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
        attempt = self.appender.begin(self.spent)
        self.spent = 0.0
        while True:
            try:
                return (await self._client.run(self.appender.flow(batch, attempt))).ids
            except ServerError as error:
                await asyncio.sleep(self.appender.after(error, attempt, batch))

    async def close(self) -> None:
        """Writes what waits, then ends."""
        self._closed = True
        self._wake.set()
        self._room.set()
        if self._writer is not None:
            await self._writer


def _settle(item: _Item, error: PublishError) -> None:
    if not item.done.done():
        # An exception of its own for each caller: a traceback is written into it.
        outcome = type(error)(str(error))
        outcome.__cause__ = error.__cause__
        item.done.set_exception(outcome)
