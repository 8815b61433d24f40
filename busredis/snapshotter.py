"""Snapshots aggregates whose history has grown past their snapshot: as events come, and by passes over all of them."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import Any

from busredis import histories
from busredis.aggregate import EventSourcedAggregate
from busredis.client import AsyncClient
from busredis.errors import AggregateNotFound, BusError, RegistrationError, ServerError
from busredis.events import DomainEvent
from busredis.keys import Keys
from busredis.repository import AsyncRepository
from busredis.router import Router
from busredis.store.model import AggregateId, Page
from busredis.store.operations import Load

log = logging.getLogger("busredis.snapshotter")

#: So many aggregates are looked at together.
_TOGETHER = 50

AggregateClass = type[EventSourcedAggregate[Any]]


@dataclass
class Pass:
    """How far a pass over all aggregates is."""

    looked_at: int = 0
    written: int = 0
    failed: int = 0


class Snapshotter:
    """Keeps the snapshots of `classes` as their policies want them. `router` has its handler, the group `snapshots`."""

    def __init__(self, classes: Sequence[AggregateClass], repository: AsyncRepository) -> None:
        self._classes = {cls.aggregate_type: cls for cls in classes}
        self._repository = repository
        self.router = Router()
        events = {event for cls in classes for event in cls.event_classes()}
        if not events:
            raise RegistrationError("there is no aggregate to snapshot: no class applies any event")
        by_name = sorted(events, key=lambda event: event.type_name)
        self.router.on(*by_name, name="snapshots", concurrency=8)(self.handle)

    async def handle(self, event: DomainEvent) -> None:
        """Snapshots the aggregate of an event that completes its policy's number of events."""
        known = event.metadata
        cls = self._classes.get(known["aggregate_type"] or "")
        version = known["aggregate_version"]
        if cls is None or version is None or cls.snapshots.every is None or version % cls.snapshots.every:
            return
        await self.refresh(AggregateId(cls.aggregate_type, known["aggregate_id"]))

    async def refresh(self, aggregate: AggregateId) -> bool:
        """Snapshots one aggregate if that is due; whether it did."""
        cls = self._classes[aggregate.type]
        page: Page = await self._repository.store.perform(Load(aggregate, schema=cls.schema, count=1))
        # What is of no use is replaced while the aggregate is loaded.
        is_useless = page.found not in ("used", "missing")
        taken_at = datetime.fromisoformat(page.taken_at) if page.found == "used" else None
        if not is_useless and not cls.snapshots.is_due(
            page.version - page.after, taken_at, datetime.now(UTC)
        ):
            return False
        try:
            loaded = await self._repository.load(cls, aggregate.id)
        except AggregateNotFound:
            return False
        return await self._repository.snapshot(loaded)

    async def pass_over_all(
        self, partitions: Sequence[Keys], client: AsyncClient, tell: Callable[[Pass], None]
    ) -> Pass:
        """Looks at every aggregate once and snapshots what is due; `tell` is called as it gets on.

        One that cannot be loaded is logged, and the others go on.
        """
        done = Pass()
        for keys, aggregate_type in product(partitions, self._classes):
            cursor = 0
            while True:
                cursor, found = await client.run(histories.find(keys, cursor, aggregate_type))
                for start in range(0, len(found), _TOGETHER):
                    some = found[start : start + _TOGETHER]
                    results = await asyncio.gather(*map(self._try, some))
                    done.looked_at += len(some)
                    done.written += results.count(True)
                    done.failed += results.count(None)
                    tell(done)
                if cursor == 0:
                    break
        return done

    async def _try(self, aggregate: AggregateId) -> bool | None:
        try:
            return await self.refresh(aggregate)
        except ServerError:
            raise
        except BusError as error:
            log.error("%s %r cannot be snapshotted: %s", *aggregate, error)  # noqa: TRY400 - it has its sentence
        except Exception:
            # An apply method of the user's: its bug is not to end the passes over all the others.
            log.exception("%s %r cannot be snapshotted", *aggregate)
        return None
