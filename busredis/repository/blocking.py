"""The repository for programs without an event loop."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any, cast

from busredis.aggregate import EventSourcedAggregate
from busredis.errors import AggregateNotFound, VersionConflict
from busredis.repository import steps
from busredis.repository.edited import Edited, parts, repeat
from busredis.repository.steps import Aggregate
from busredis.store.blocking import BlockingStore


class Repository:
    """Loads and saves aggregates in a store. `attempts`: how often edit() and update() try to win against others."""

    def __init__(self, store: BlockingStore, *, attempts: int = 30) -> None:
        self.store = store
        self._attempts = attempts

    def load(
        self,
        cls: type[Aggregate],
        aggregate_id: str,
        at_version: int | None = None,
        at: datetime | None = None,
    ) -> Aggregate:
        """The aggregate as it is, as it was at a version, or as what was recorded at a time made it.

        The same with and without a snapshot; one round trip for a snapshot and a tail of up to 500 events. Raises
        AggregateNotFound, HistoryDamaged, DecodeError.
        """
        return self.store.run(steps.load(cls, aggregate_id, at_version, at))

    def save(self, *aggregates: EventSourcedAggregate[Any]) -> None:
        """Stores the new events of one aggregate, or of several: all or none, each once.

        Raises VersionConflict if another save was faster, PublishRefused, PublishIndeterminate: then the aggregates
        keep their new events. Saving again after PublishIndeterminate is safe. Snapshots that are due are written
        afterwards; that they cannot be is logged and no failure.
        """
        self.store.run(steps.save(aggregates))

    def exists(self, cls: type[EventSourcedAggregate[Any]], aggregate_id: str) -> bool:
        """Whether it has any event."""
        return self.store.version((cls.aggregate_type, aggregate_id)) > 0

    def rebuild(self, cls: type[Aggregate], aggregate_id: str) -> Aggregate:
        """Replays every event, whatever the snapshot says, and replaces it. Raises AggregateNotFound."""
        aggregate = self.store.run(steps.load(cls, aggregate_id, from_snapshot=False))
        self.snapshot(aggregate, replace=True)
        return aggregate

    def snapshot(self, aggregate: EventSourcedAggregate[Any], *, replace: bool = False) -> bool:
        """Writes a snapshot now; whether one of this version or a newer one is there."""
        return self.store.run(steps.snapshot(aggregate, replace=replace))

    @contextmanager
    def edit(self, cls: type[Aggregate], aggregate_id: str, *, create: bool = False) -> Iterator[Aggregate]:
        """Loads an aggregate for a block that calls its commands, and saves it; nothing is saved if the block raises.

        If another save was faster, the block's calls are repeated on the aggregate as it is then, up to `attempts`
        times, and what a command refuses then is raised. A block that has read anything of the aggregate is not
        repeated but raises VersionConflict, for its calls may rest on what is no longer so: use update(). With
        `create` an aggregate without events is no error.
        """
        edited = Edited(self._begin(cls, aggregate_id, create=create))
        yield cast("Aggregate", edited)
        aggregate, calls, has_looked = parts(edited)
        try:
            self.save(aggregate)
        except VersionConflict:
            if has_looked or self._attempts < 2:
                raise
            change = partial(repeat, calls=calls)
            self._retry(cls, aggregate_id, change, create=create, attempts=self._attempts - 1)

    def update(
        self,
        cls: type[Aggregate],
        aggregate_id: str,
        change: Callable[[Aggregate], object],
        *,
        create: bool = False,
    ) -> Aggregate:
        """Loads an aggregate, calls `change` with it, and saves it; all of that again if another save was faster.

        `change` may read and decide whatever it likes, but should do nothing that must not be done twice. Raises
        VersionConflict after `attempts`, and what `change` raises: then nothing is saved.
        """
        return self._retry(cls, aggregate_id, change, create=create, attempts=self._attempts)

    def _retry(
        self,
        cls: type[Aggregate],
        aggregate_id: str,
        change: Callable[[Aggregate], object],
        *,
        create: bool,
        attempts: int,
    ) -> Aggregate:
        for attempt in range(1, attempts + 1):
            aggregate = self._begin(cls, aggregate_id, create=create)
            change(aggregate)
            try:
                self.save(aggregate)
            except VersionConflict:
                if attempt == attempts:
                    raise
                time.sleep(pause(attempt))
            else:
                return aggregate
        raise AssertionError("attempts is at least 1")

    def _begin(self, cls: type[Aggregate], aggregate_id: str, *, create: bool) -> Aggregate:
        try:
            return self.load(cls, aggregate_id)
        except AggregateNotFound:
            if not create:
                raise
            return cls(aggregate_id)


def pause(attempt: int) -> float:
    """Seconds before the next attempt: at random, so that rivals do not meet again."""
    return random.uniform(0, min(0.002 * 2**attempt, 0.1))  # noqa: S311 - jitter
