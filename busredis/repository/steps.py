"""What a repository does, as steps on a store: written once for sync, async and in memory."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from busredis.aggregate import EventSourcedAggregate
from busredis.errors import AggregateNotFound, BusError, StoreError
from busredis.events.wire import describe
from busredis.store.model import Commit, Page, Snapshot
from busredis.store.operations import Append, Load, Steps, WriteSnapshot

log = logging.getLogger("busredis.repository")

Aggregate = TypeVar("Aggregate", bound=EventSourcedAggregate[Any])


def load(
    cls: type[Aggregate],
    aggregate_id: str,
    at_version: int | None = None,
    at: datetime | None = None,
    *,
    from_snapshot: bool = True,
) -> Steps[Aggregate]:
    """An aggregate as it is, or was. Raises AggregateNotFound."""
    if at_version is not None and at_version < 1:
        raise StoreError(f"at_version={at_version}: versions count from 1")
    if at is not None and at.tzinfo is None:
        raise StoreError("at: the time has no zone; use datetime.now(UTC)")
    aggregate = cls(aggregate_id)
    page: Page = yield Load(aggregate.key, upto=at_version, at=at, schema=cls.schema if from_snapshot else "")
    aggregate._erasures = page.erasures
    useless: str = page.found if page.found in ("schema", "ahead", "foreign") else ""
    if page.state is not None and not _restore(aggregate, page):
        useless = "unparsable"
        page = yield Load(aggregate.key, upto=page.upto)
    _check_found(aggregate, page, at_version, at)
    aggregate.load_from_history(page.events)
    while aggregate.version < page.upto:
        following: Page = yield Load(aggregate.key, aggregate.version, page.upto)
        if not following.events:
            raise StoreError(
                f"{aggregate!r}: its history ends before version {page.upto}; was it deleted just now?"
            )
        aggregate.load_from_history(following.events)
    if useless:
        log.warning("the snapshot of %s %r is of no use (%s)", *aggregate.key, useless)
        if at_version is None and at is None:
            yield from snapshot(aggregate, replace=True)
    return aggregate


def _restore(aggregate: EventSourcedAggregate[Any], page: Page) -> bool:
    assert page.state is not None
    try:
        state = type(aggregate.state).model_validate_json(page.state)
        taken_at = datetime.fromisoformat(page.taken_at)
    except (ValidationError, ValueError):
        return False
    if taken_at.tzinfo is None:
        return False
    aggregate.state = state
    aggregate._position = page.position  # noqa: SLF001
    aggregate._version = aggregate._snapshot_version = page.after  # noqa: SLF001 - a repository makes aggregates
    aggregate._snapshot_at = taken_at  # noqa: SLF001
    return True


def _check_found(
    aggregate: EventSourcedAggregate[Any], page: Page, at_version: int | None, at: datetime | None
) -> None:
    if page.version == 0:
        raise AggregateNotFound(aggregate.key)
    if at is not None and page.upto == 0:
        raise AggregateNotFound(aggregate.key, f"it did not exist at {at.isoformat()}")
    if at_version is not None and at_version > page.version:
        raise AggregateNotFound(
            aggregate.key, f"it is at version {page.version} and has no version {at_version} yet"
        )


def save(aggregates: Sequence[EventSourcedAggregate[Any]]) -> Steps[None]:
    """Appends what is not saved, of all or of none; then the snapshots that are due."""
    for aggregate in aggregates:
        if aggregate._broken:  # noqa: SLF001 - a repository keeps aggregates
            raise StoreError(f"{aggregate!r} cannot be saved: an apply method failed; load it again")
    changed = [aggregate for aggregate in aggregates if aggregate.get_uncommitted_events()]
    commits = [Commit(one.key, one.saved_version, one.get_uncommitted_events()) for one in changed]
    if not commits:
        return
    appended = yield Append(commits)
    for aggregate, commit, result in zip(changed, commits, appended, strict=True):
        aggregate._committed(len(commit.events), result.positions[-1])  # noqa: SLF001
    for aggregate in changed:
        tail = aggregate.version - aggregate._snapshot_version  # noqa: SLF001
        if aggregate.snapshots.is_due(tail, aggregate._snapshot_at, datetime.now(UTC)):  # noqa: SLF001
            yield from snapshot(aggregate)


def snapshot(aggregate: EventSourcedAggregate[Any], *, replace: bool = False) -> Steps[bool]:
    """Writes a snapshot of a saved aggregate; whether it is there now. Never raises: a snapshot only saves time."""
    if not aggregate._position or aggregate.get_uncommitted_events():  # noqa: SLF001
        return False
    taken = take(aggregate)
    if taken is None:
        return False
    try:
        answer = yield WriteSnapshot(aggregate.key, taken, replace)
    except BusError as error:
        log.warning("the snapshot of %s %r was not written: %s", *aggregate.key, error)
        return False
    if answer == "forgotten":
        log.info("no snapshot of %s %r: a subject was forgotten since it was loaded", *aggregate.key)
        return False
    if answer == "foreign":
        log.warning("the snapshot of %s %r was not written: its history has changed", *aggregate.key)
        return False
    aggregate._snapshot_version, aggregate._snapshot_at = aggregate.version, taken.taken_at  # noqa: SLF001
    return True


def take(aggregate: EventSourcedAggregate[Any]) -> Snapshot | None:
    """The snapshot of an aggregate; None if its state would not come back from JSON as it is, which is logged."""
    state = aggregate.state
    try:
        raw = state.model_dump_json().encode()
        same = type(state).model_validate_json(raw) == state
    except ValueError as error:
        # Fields, and not what they hold: a log is no place for that.
        why = describe(error).detail if isinstance(error, ValidationError) else error
        log.error("%s %r cannot be snapshotted: its state is no JSON: %s", *aggregate.key, why)  # noqa: TRY400
        return None
    if not same:
        log.error(
            "%s %r cannot be snapshotted: its state comes back changed from JSON; type its fields",
            *aggregate.key,
        )
        return None
    position, erasures = aggregate._position, aggregate._erasures  # noqa: SLF001
    return Snapshot(aggregate.version, raw, aggregate.schema, position, datetime.now(UTC), erasures)
