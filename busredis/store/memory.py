"""The event store in memory, for unit tests of aggregates and of what is built on a store."""

import asyncio
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from busredis.append import ANY, Appender
from busredis.codec import FIELD, Codec
from busredis.errors import AlreadyTracked, EncodeError, VersionConflict
from busredis.events import registry
from busredis.keys import parse_id
from busredis.settings import Settings
from busredis.store.asynchronous import AsyncEventStore
from busredis.store.blocking import BlockingStore
from busredis.store.commits import check
from busredis.store.model import (
    AggregateId,
    Appended,
    Commit,
    Found,
    Page,
    Snapshot,
    StoredEvent,
    Tracking,
    owned,
)
from busredis.store.operations import (
    Append,
    AwaitEntries,
    Entry,
    FindHorizon,
    FindPartitions,
    FindTracked,
    FindTypes,
    Horizon,
    Load,
    Operation,
    ReadStreams,
    WriteSnapshot,
)
from busredis.vault import MemoryKeys, Vault


def _now() -> datetime:
    return datetime.now(UTC)


class InMemoryEventStore(BlockingStore):
    """Keeps what EventStore keeps, with the same contract, for as long as the object lives. `now` is its clock."""

    def __init__(self, *, now: Callable[[], datetime] = _now, **options: Any) -> None:
        self._settings = Settings.load(**options)
        self._codec = Codec(self._settings.max_event_bytes, Vault(MemoryKeys()))
        self._appender = Appender(self._settings)
        self._appender.codec = self._codec
        self._now = now
        self._last = (0, 0)
        self._streams: dict[str, list[Entry]] = {}
        self._histories: dict[AggregateId, list[tuple[str, Entry]]] = {}
        self._tracked: dict[str, str] = {}
        self.snapshots: dict[AggregateId, Snapshot] = {}
        self._changed = threading.Condition()

    def perform(self, operation: Operation) -> Any:
        with self._changed:
            return self._perform(operation)

    def _perform(self, operation: Operation) -> Any:
        result: Any = None
        match operation:
            case Load():
                result = self._load(operation)
            case Append():
                result = self._append(operation.commits, operation.tracking)
            case WriteSnapshot():
                result = self._write_snapshot(operation)
            case FindHorizon():
                horizon = "{}-{}".format(*self._last)
                result = Horizon(horizon, horizon, sorted(self._streams))
            case ReadStreams():
                result = self._read_streams(operation)
            case AwaitEntries():
                after = parse_id(operation.after)
                self._changed.wait_for(lambda: self._last > after, operation.seconds)
            case FindTracked():
                result = self._tracked.get(operation.source)
            case FindPartitions():
                result = 1
            case FindTypes():
                pass
        return result

    def _append(self, commits: Sequence[Commit], tracking: Tracking | None) -> list[Appended]:
        check(commits)
        if tracking is not None:
            reached = self._tracked.get(tracking.checked().source)
            if reached is not None and parse_id(reached) >= parse_id(tracking.position):
                raise AlreadyTracked(tracking.source, tracking.position, reached)
        prepared: list[tuple[Commit, list[tuple[str, bytes]]]] = []
        conflict: VersionConflict | None = None
        for commit in commits:
            version = len(self._histories.get(commit.aggregate, ()))
            if commit.events and commit.expected_version not in (ANY, version):
                conflict = conflict or VersionConflict(commit.aggregate, commit.expected_version, version)
            base = version if commit.expected_version == ANY else commit.expected_version
            events = [owned(event, commit.aggregate, base + n) for n, event in enumerate(commit.events, 1)]
            records = self._appender.records(events)
            prepared.append((commit, [(record.event_type, record.json) for record in records]))
        self._check_size([json for _, records in prepared for _, json in records])
        if conflict is not None:
            return self._repeated(commits, conflict)
        if tracking is not None:
            self._tracked[tracking.source] = tracking.position
        return [self._write(commit, records) for commit, records in prepared]

    def _check_size(self, batch: list[bytes]) -> None:
        if len(batch) > self._settings.batch_events or sum(map(len, batch)) > self._settings.batch_bytes:
            raise EncodeError(f"{len(batch):,} events are too much for one append, which is all or nothing")

    def _write(self, commit: Commit, records: list[tuple[str, bytes]]) -> Appended:
        history = self._histories.setdefault(commit.aggregate, []) if records else []
        positions = []
        for event_type, json in records:
            self._last = max((int(self._now().timestamp() * 1000), 0), (self._last[0], self._last[1] + 1))
            entry = ("{}-{}".format(*self._last), [FIELD, json])
            self._streams.setdefault(event_type, []).append(entry)
            history.append((event_type, entry))
            positions.append(entry[0])
        self._changed.notify_all()
        return Appended(len(history) if records else max(commit.expected_version, 0), positions)

    def _repeated(self, commits: Sequence[Commit], conflict: VersionConflict) -> list[Appended]:
        found = []
        for commit in commits:
            upto = commit.expected_version + len(commit.events)
            stored = self._events(commit.aggregate, max(commit.expected_version, 0), upto)
            same = [one.event.event_id for one in stored] == [event.event_id for event in commit.events]
            if commit.events and (not same or commit.expected_version == ANY):
                raise conflict
            found.append(Appended(upto, [one.position for one in stored]))
        return found

    def _events(self, aggregate: AggregateId, after: int, upto: int) -> list[StoredEvent]:
        rows = self._histories.get(aggregate, [])[after:upto]
        return [
            StoredEvent(self._codec.decode(registry.get(event_type), entry[0], entry[1]), entry[0], version)
            for version, (event_type, entry) in enumerate(rows, after + 1)
        ]

    def _load(self, load: Load) -> Page:
        history = self._histories.get(load.aggregate, [])
        version = len(history)
        upto = version if load.upto is None else max(0, min(load.upto, version))
        if load.at is not None:
            limit = (int(load.at.timestamp() * 1000), 2**64)
            upto = min(upto, bisect_right(history, limit, key=lambda row: parse_id(row[1][0])))
        page = Page(version, upto, load.after)
        if load.schema:
            page.found = self._usable(load, upto)
            if page.found == "used":
                snapshot = self.snapshots[load.aggregate]
                page.after, page.state = snapshot.version, snapshot.state
                page.taken_at, page.position = snapshot.taken_at.isoformat(), snapshot.position
        if load.backward:
            page.events = self._events(load.aggregate, max(page.after, upto - load.count), upto)[::-1]
        else:
            page.events = self._events(load.aggregate, page.after, min(upto, page.after + load.count))
        return page

    def _usable(self, load: Load, upto: int) -> Found:
        snapshot, history = self.snapshots.get(load.aggregate), self._histories.get(load.aggregate, [])
        if snapshot is None:
            return "missing"
        if snapshot.schema != load.schema:
            return "schema"
        if snapshot.version > len(history):
            return "ahead"
        if history[snapshot.version - 1][1][0] != snapshot.position:
            return "foreign"
        return "later" if snapshot.version > upto else "used"

    def _write_snapshot(self, write: WriteSnapshot) -> str:
        new, history = write.snapshot, self._histories.get(write.aggregate, [])
        if not 1 <= new.version <= len(history) or history[new.version - 1][1][0] != new.position:
            return "foreign"
        old = self.snapshots.get(write.aggregate)
        if old is not None and old.version <= len(history) and history[old.version - 1][1][0] == old.position:
            same = old.version == new.version and old.schema == new.schema and not write.replace
            if old.version > new.version or same:
                return "newer"
        self.snapshots[write.aggregate] = new
        return "written"

    def _read_streams(self, read: ReadStreams) -> dict[str, list[Entry]]:
        found = {}
        upto = parse_id(read.upto)
        for event_type, after in read.after.items():
            entries = self._streams.get(event_type, [])
            start = bisect_right(entries, parse_id(after), key=lambda entry: parse_id(entry[0]))
            page = entries[start : start + read.count]
            found[event_type] = [entry for entry in page if parse_id(entry[0]) <= upto]
        return found

    def close(self) -> None:
        """Does nothing: what is kept stays."""


class AsyncInMemoryEventStore(AsyncEventStore):
    """InMemoryEventStore for asyncio; `blocking` is the store that it shares its events with."""

    def __init__(self, blocking: InMemoryEventStore | None = None) -> None:
        self.blocking = blocking or InMemoryEventStore()
        self._settings = self.blocking._settings  # noqa: SLF001 - the same store in another colour
        self._codec = self.blocking._codec  # noqa: SLF001

    async def perform(self, operation: Operation) -> Any:
        """The result of one operation."""
        if isinstance(operation, AwaitEntries):
            return await asyncio.to_thread(self.blocking.perform, operation)
        return self.blocking.perform(operation)

    async def close(self) -> None:
        """Does nothing: what is kept stays."""
