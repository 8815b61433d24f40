"""The event store for programs without an event loop."""

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from busredis.client import Client
from busredis.codec import Codec
from busredis.commands import drive
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


class BlockingStore:
    """What an event store does, in blocking calls. What it is asked for, `perform` does."""

    _settings: Settings
    _codec: Codec

    def perform(self, operation: Operation) -> Any:
        """The result of one operation."""
        raise NotImplementedError

    def run(self, steps: Generator[Operation, Any, Result]) -> Result:
        """The result of steps, each of which is an operation."""
        return drive(steps, self.perform)

    @property
    def partitions(self) -> int:
        """How many partitions the namespace has; recorded now if it has none yet. Raises ServerError, SettingsError."""
        found: int = self.perform(FindPartitions())
        return found

    def append(
        self,
        aggregate: AggregateId | tuple[str, str],
        expected_version: int,
        events: Iterable[DomainEvent],
        *,
        tracking: Tracking | None = None,
    ) -> Appended:
        """Adds events to an aggregate that is at `expected_version` (NEW: does not exist; ANY: not checked).

        All are written, each once, or none. Raises VersionConflict if the aggregate is at another version; EncodeError,
        PublishRefused (nothing was written), PublishIndeterminate (no answer in time). After the last, the same append
        may be tried again: if these very events turn out to be stored, it succeeds, unless it is for ANY version.

        With `tracking`, the position of the source that they were made of is stored with them, or nothing is; raises
        AlreadyTracked if that source has come so far already. So events are made of each position once.
        """
        return self.append_all(
            [Commit(AggregateId(*aggregate), expected_version, tuple(events))], tracking=tracking
        )[0]

    def append_all(self, commits: Sequence[Commit], *, tracking: Tracking | None = None) -> list[Appended]:
        """Adds events to several aggregates, all of them or nothing; see append()."""
        found: list[Appended] = self.perform(Append(commits, tracking))
        return found

    def tracked(self, source: str) -> str | None:
        """The position up to which what was made of this source is stored; None if nothing is."""
        found: str | None = self.perform(FindTracked(source))
        return found

    def version(self, aggregate: AggregateId | tuple[str, str]) -> int:
        """How many events the aggregate has; 0 if it does not exist."""
        page = self.perform(Load(AggregateId(*aggregate).checked(), count=1, upto=0))
        return int(page.version)

    def read(
        self,
        aggregate: AggregateId | tuple[str, str],
        *,
        after: int = 0,
        upto: int | None = None,
        at: datetime | None = None,
        backward: bool = False,
        limit: int | None = None,
    ) -> Iterator[StoredEvent]:
        """The events of an aggregate, in pages, with versions above `after`, up to and including `upto`.

        `at`: only what was recorded at or before that time (by the server's clock). An unknown aggregate has none.
        Raises HistoryDamaged rather than leave out an event, DecodeError for one that cannot be read.
        """
        reading = Reading(AggregateId(*aggregate), (after, upto), at, backward=backward, limit=limit)
        while not reading.done:
            yield from self.run(reading.page())

    def feed(
        self,
        after: str = BEGINNING,
        *,
        upto: str | None = None,
        types: Iterable[str] | None = None,
        limit: int | None = None,
        follow: bool = False,
        partition: int | None = None,
    ) -> Iterator[StoredEvent]:
        """All events in total order, with positions above `after`, up to and including `upto`.

        With several partitions the order is total in each (`partition=n`, with its own positions); all of them together
        come in the order of each partition, and over partitions by the servers' clocks, with positions of their own.

        `types`: only these. It ends where the log ended when it was asked for, or, with `follow`, waits for more and
        never ends. The position of an event is where to go on after it. Raises PositionGone if events to be read were
        removed; DecodeError, UnknownEventType for an entry that cannot be read (go on after its position to skip it).
        """
        make = partial(new_feed, self._codec, types=types, limit=limit)
        count = self.perform(FindPartitions())
        feed = feed_of(count, partition, after, make, upto=upto, limit=limit)
        self.run(feed.begin())
        while not feed.done:
            events = self.run(feed.page())
            yield from events
            if not events:
                if not follow:
                    return
                self.run(feed.follow())


class EventStore(BlockingStore):
    """Events by aggregate and in total order, in Redis; safe to use from several threads.

    Trouble with the server is bridged for up to `publish_timeout`. `url` and `options` as for Publisher. With `archive`
    (a folder or URL, BUSREDIS_ARCHIVE) what was archived is read from there, in its place and in order.
    """

    def __init__(self, url: str | None = None, *, namespace: str | None = None, **options: Any) -> None:
        self._settings = Settings.load(url=url, namespace=namespace, **options)
        self._recorder = Recorder(self._settings)
        self._codec = self._recorder.codec
        self._archives = find_archives(self._settings)
        self._client = Client(server_url(self._settings), timeout=self._settings.publish_timeout)

    def perform(self, operation: Operation) -> Any:
        """The result of one operation; of what was trimmed, with what the archive has."""
        if self._recorder.lacks(operation):
            with learning(operation):
                self._perform(FindPartitions())
        if self._archives is None:
            return self._perform(operation)
        return drive(through(self._archives, self._recorder, operation), self._perform)

    def _perform(self, operation: Operation) -> Any:
        if isinstance(operation, Blocking):
            return operation.call()
        with self._recorder.call(operation) as call:
            while True:
                try:
                    return self._client.run(call.flow())
                except ServerError as error:
                    time.sleep(call.after(error))

    def close(self) -> None:
        """Closes the connections. Closing twice is fine."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
