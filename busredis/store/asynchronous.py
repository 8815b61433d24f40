"""The event store for asyncio."""

import asyncio
from collections.abc import AsyncIterator, Generator, Iterable, Sequence
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from busredis.client import AsyncClient
from busredis.commands import drive_async
from busredis.errors import ServerError
from busredis.events import DomainEvent
from busredis.location import server_url
from busredis.settings import Settings
from busredis.store.feed import BEGINNING
from busredis.store.merged import feed_of, new_feed
from busredis.store.model import AggregateId, Appended, Commit, StoredEvent, Tracking
from busredis.store.operations import Append, Blocking, FindPartitions, FindTracked, Load, Operation
from busredis.store.reading import Reading
from busredis.store.recorder import Recorder, learning
from busredis.store.tiers import find_archives, through

Result = TypeVar("Result")


class AsyncEventStore:
    """Events by aggregate and in total order, in Redis, on one event loop; what EventStore promises.

    A call that is cancelled may still be written.
    """

    def __init__(self, url: str | None = None, *, namespace: str | None = None, **options: Any) -> None:
        self._settings = Settings.load(url=url, namespace=namespace, **options)
        self._recorder = Recorder(self._settings)
        self._codec = self._recorder.codec
        self._archives = find_archives(self._settings)
        self._client = AsyncClient(server_url(self._settings), timeout=self._settings.publish_timeout)

    async def perform(self, operation: Operation) -> Any:
        """The result of one operation; of what was trimmed, with what the archive has."""
        if self._recorder.lacks(operation):
            with learning(operation):
                await self._perform(FindPartitions())
        if self._archives is None:
            return await self._perform(operation)
        return await drive_async(through(self._archives, self._recorder, operation), self._perform)

    async def _perform(self, operation: Operation) -> Any:
        if isinstance(operation, Blocking):
            return await asyncio.to_thread(operation.call)
        with self._recorder.call(operation) as call:
            while True:
                try:
                    return await self._client.run(call.flow())
                except ServerError as error:
                    await asyncio.sleep(call.after(error))

    async def run(self, steps: Generator[Operation, Any, Result]) -> Result:
        """The result of steps, each of which is an operation."""
        return await drive_async(steps, self.perform)

    async def append(
        self,
        aggregate: AggregateId | tuple[str, str],
        expected_version: int,
        events: Iterable[DomainEvent],
        *,
        tracking: Tracking | None = None,
    ) -> Appended:
        """Adds events to an aggregate, all or none; see EventStore.append."""
        found = await self.append_all(
            [Commit(AggregateId(*aggregate), expected_version, tuple(events))], tracking=tracking
        )
        return found[0]

    async def append_all(
        self, commits: Sequence[Commit], *, tracking: Tracking | None = None
    ) -> list[Appended]:
        """Adds events to several aggregates, all of them or nothing; see EventStore.append."""
        found: list[Appended] = await self.perform(Append(commits, tracking))
        return found

    async def tracked(self, source: str) -> str | None:
        """The position up to which what was made of this source is stored; None if nothing is."""
        found: str | None = await self.perform(FindTracked(source))
        return found

    async def version(self, aggregate: AggregateId | tuple[str, str]) -> int:
        """How many events the aggregate has; 0 if it does not exist."""
        page = await self.perform(Load(AggregateId(*aggregate).checked(), count=1, upto=0))
        return int(page.version)

    async def read(
        self,
        aggregate: AggregateId | tuple[str, str],
        *,
        after: int = 0,
        upto: int | None = None,
        at: datetime | None = None,
        backward: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[StoredEvent]:
        """The events of an aggregate; see EventStore.read."""
        reading = Reading(AggregateId(*aggregate), (after, upto), at, backward=backward, limit=limit)
        while not reading.done:
            for event in await self.run(reading.page()):
                yield event

    async def feed(
        self,
        after: str = BEGINNING,
        *,
        upto: str | None = None,
        types: Iterable[str] | None = None,
        limit: int | None = None,
        follow: bool = False,
        partition: int | None = None,
    ) -> AsyncIterator[StoredEvent]:
        """All events in total order; see EventStore.feed."""
        make = partial(new_feed, self._codec, types=types, limit=limit)
        count = await self.perform(FindPartitions())
        feed = feed_of(count, partition, after, make, upto=upto, limit=limit)
        await self.run(feed.begin())
        while not feed.done:
            events = await self.run(feed.page())
            for event in events:
                yield event
            if not events:
                if not follow:
                    return
                await self.run(feed.follow())

    async def close(self) -> None:
        """Closes the connections. Closing twice is fine."""
        await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
