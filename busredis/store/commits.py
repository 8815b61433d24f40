"""Appending to aggregates: commits as one append, and what a conflict means."""

from collections.abc import Callable, Generator, Sequence
from typing import Any

from busredis.append import ANY, Appender, Guard, Record
from busredis.commands import Flow
from busredis.errors import (
    AlreadyTracked,
    CodecError,
    CommandRefused,
    EncodeError,
    HistoryDamaged,
    RegistrationError,
    ServerError,
    StoreError,
    VersionConflict,
)
from busredis.keys import Keys
from busredis.partitions import partition_of
from busredis.store.model import Appended, Commit, Page, Tracking, owned
from busredis.store.operations import Append, Load

#: Loads a page of a history, in Redis alone or in the archive too.
Loader = Callable[[Load], Generator[Any, Any, Page]]


class Commits:
    """One append of events to aggregates, which is tried until it has an outcome."""

    def __init__(self, appender: Appender, commits: Sequence[Commit], tracking: Tracking | None) -> None:
        check(commits)
        self._appender = appender
        self._commits = commits
        self._tracking = tracking
        self._guards = [Guard(appender.keys.aggregate(*c.aggregate), c.expected_version) for c in commits]
        if tracking is not None:
            guard = f">{tracking.checked().position} {tracking.source}"
            self._guards.append(Guard(appender.keys.tracking, guard))
        self._batch = [
            record for number, commit in enumerate(commits) for record in self._records(number, commit)
        ]
        self._check_size()
        self._attempt = appender.begin()

    def _records(self, number: int, commit: Commit) -> list[Record]:
        records = []
        for offset, event in enumerate(commit.events, 1):
            version = None if commit.expected_version == ANY else commit.expected_version + offset
            record = self._appender.record(owned(event, commit.aggregate, version))
            record.guard = number
            records.append(record)
        return records

    def _check_size(self) -> None:
        settings, size = self._appender.settings, sum(len(record.json) for record in self._batch)
        if len(self._batch) > settings.batch_events or size > settings.batch_bytes:
            raise EncodeError(
                f"{len(self._batch):,} events with {size:,} bytes are too much for one append, which is all or "
                f"nothing: at most {settings.batch_events:,} (BUSREDIS_BATCH_EVENTS) and {settings.batch_bytes:,} "
                "bytes (BUSREDIS_BATCH_BYTES)"
            )

    def flow(self, load: Loader) -> Flow[list[Appended]]:
        """One try. Raises VersionConflict, AlreadyTracked."""
        if not self._batch and self._tracking is None:
            return [Appended(max(commit.expected_version, 0), []) for commit in self._commits]
        try:
            reply = yield from self._appender.flow(self._batch, self._attempt, self._guards)
        except CommandRefused as error:
            return (yield from self._refused(load, error))
        found, start = [], 0
        for commit, version in zip(self._commits, reply.versions, strict=False):
            end = start + len(commit.events)
            found.append(Appended(version, reply.ids[start:end]))
            start = end
        return found

    def _refused(self, load: Loader, error: CommandRefused) -> Flow[list[Appended]]:
        word, _, rest = str(error).partition(" ")
        if word == "CONFLICT":
            number, actual = map(int, rest.split())
            return (yield from self._conflict(load, self._commits[number - 1], actual))
        if word == "TRACKED" and self._tracking is not None:
            raise AlreadyTracked(self._tracking.source, self._tracking.position, rest) from None
        raise error

    def _conflict(self, load: Loader, commit: Commit, actual: int) -> Flow[list[Appended]]:
        """Success if all of these very events are stored already, as after an append whose answer was lost."""
        found = yield from self._all_stored(load, commit, actual)
        if self._appender.settings.durability != "memory":
            yield from self._appender.make_durable(self._attempt)
            # A failover in between may have lost them.
            found = yield from self._all_stored(load, commit, actual)
        return found

    def _all_stored(self, load: Loader, commit: Commit, actual: int) -> Flow[list[Appended]]:
        found = []
        for one in self._commits:
            positions = yield from stored(load, one)
            if positions is None:
                raise VersionConflict(commit.aggregate, commit.expected_version, actual)
            found.append(Appended(one.expected_version + len(positions), positions))
        return found

    def after(self, error: ServerError) -> float:
        """Seconds to wait before the next try. Raises PublishRefused, PublishIndeterminate when there is none."""
        return self._appender.after(error, self._attempt, self._batch)


def stored(load: Loader, commit: Commit) -> Generator[Any, Any, list[str] | None]:
    """The positions of the events of a commit if they are all stored, at the versions that it is for; else None."""
    if commit.expected_version == ANY or not commit.events:
        return None if commit.events else []
    positions: list[str] = []
    wanted = [event.event_id for event in commit.events]
    upto = commit.expected_version + len(wanted)
    while len(positions) < len(wanted):
        try:
            page = yield from load(Load(commit.aggregate, commit.expected_version + len(positions), upto))
        except (CodecError, RegistrationError, HistoryDamaged):
            return (
                None  # an event that this program cannot read is none of its own, nor one that was archived
            )
        found = [one.event.event_id for one in page.events]
        if not found or found != wanted[len(positions) : len(positions) + len(found)]:
            return None
        positions += [one.position for one in page.events]
    return positions


def one_partition(append: Append, partitions: Sequence[Keys]) -> Keys:
    """The partition of an append. Raises StoreError if its aggregates are not in one: a script reaches no further."""
    count = len(partitions)
    places = [commit.aggregate.checked().id for commit in append.commits]
    if append.tracking is not None and not places:
        places = [append.tracking.source]
    found = {partition_of(place, count): place for place in places}
    if len(found) > 1:
        where = ", ".join(f"{place!r} in {number}" for number, place in sorted(found.items()))
        raise StoreError(
            f"these aggregates are in different partitions ({where}), and one append is in one partition; nothing was "
            "written: append to each on its own, or give what must change together one id"
        )
    return partitions[next(iter(found), 0)]


def check(commits: Sequence[Commit]) -> None:
    """Raises for names, versions and pairs of commits that cannot be."""
    seen = set()
    for commit in commits:
        commit.aggregate.checked()
        expected = commit.expected_version
        if not isinstance(expected, int) or isinstance(expected, bool) or expected < ANY:
            raise StoreError(
                f"expected_version is the version of the aggregate, NEW (0) or ANY, not {expected!r}"
            )
        if commit.aggregate in seen:
            raise StoreError(
                f"{commit.aggregate.type} {commit.aggregate.id!r} is twice in one append: join its events"
            )
        seen.add(commit.aggregate)
