"""The repository for asyncio."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, cast

from busredis.aggregate import EventSourcedAggregate
from busredis.errors import AggregateNotFound, VersionConflict
from busredis.repository import steps
from busredis.repository.blocking import pause
from busredis.repository.edited import Edited, parts, repeat
from busredis.repository.steps import Aggregate
from busredis.store.asynchronous import AsyncEventStore


class AsyncRepository:
    """Loads and saves aggregates in a store, on one event loop; what Repository promises."""

    def __init__(self, store: AsyncEventStore, *, attempts: int = 30) -> None:
        self.store = store
        self._attempts = attempts

    async def load(
        self,
        cls: type[Aggregate],
        aggregate_id: str,
        at_version: int | None = None,
        at: datetime | None = None,
    ) -> Aggregate:
        """The aggregate as it is, or was; see Repository.load."""
        return await self.store.run(steps.load(cls, aggregate_id, at_version, at))

    async def save(self, *aggregates: EventSourcedAggregate[Any]) -> None:
        """Stores the new events of one aggregate or of several, all or none; see Repository.save."""
        await self.store.run(steps.save(aggregates))

    async def exists(self, cls: type[EventSourcedAggregate[Any]], aggregate_id: str) -> bool:
        """Whether it has any event."""
        return await self.store.version((cls.aggregate_type, aggregate_id)) > 0

    async def rebuild(self, cls: type[Aggregate], aggregate_id: str) -> Aggregate:
        """Replays every event, whatever the snapshot says, and replaces it. Raises AggregateNotFound."""
        aggregate = await self.store.run(steps.load(cls, aggregate_id, from_snapshot=False))
        await self.snapshot(aggregate, replace=True)
        return aggregate

    async def snapshot(self, aggregate: EventSourcedAggregate[Any], *, replace: bool = False) -> bool:
        """Writes a snapshot now; whether one of this version or a newer one is there."""
        return await self.store.run(steps.snapshot(aggregate, replace=replace))

    @asynccontextmanager
    async def edit(
        self, cls: type[Aggregate], aggregate_id: str, *, create: bool = False
    ) -> AsyncIterator[Aggregate]:
        """Loads an aggregate for a block that calls its commands, and saves it; see Repository.edit."""
        edited = Edited(await self._begin(cls, aggregate_id, create=create))
        yield cast("Aggregate", edited)
        aggregate, calls, has_looked = parts(edited)
        try:
            await self.save(aggregate)
        except VersionConflict:
            if has_looked or self._attempts < 2:
                raise
            change = partial(repeat, calls=calls)
            await self._retry(cls, aggregate_id, change, create=create, attempts=self._attempts - 1)

    async def update(
        self,
        cls: type[Aggregate],
        aggregate_id: str,
        change: Callable[[Aggregate], object],
        *,
        create: bool = False,
    ) -> Aggregate:
        """Loads an aggregate, calls `change` with it, and saves it; see Repository.update."""
        return await self._retry(cls, aggregate_id, change, create=create, attempts=self._attempts)

    async def _retry(
        self,
        cls: type[Aggregate],
        aggregate_id: str,
        change: Callable[[Aggregate], object],
        *,
        create: bool,
        attempts: int,
    ) -> Aggregate:
        for attempt in range(1, attempts + 1):
            aggregate = await self._begin(cls, aggregate_id, create=create)
            change(aggregate)
            try:
                await self.save(aggregate)
            except VersionConflict:
                if attempt == attempts:
                    raise
                await asyncio.sleep(pause(attempt))
            else:
                return aggregate
        raise AssertionError("attempts is at least 1")

    async def _begin(self, cls: type[Aggregate], aggregate_id: str, *, create: bool) -> Aggregate:
        try:
            return await self.load(cls, aggregate_id)
        except AggregateNotFound:
            if not create:
                raise
            return cls(aggregate_id)
