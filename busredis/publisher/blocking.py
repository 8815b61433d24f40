"""The publisher for programs without an event loop."""

import threading
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from busredis.append import Appender, Record
from busredis.client import Client
from busredis.errors import PublishError, PublishRefused, ServerError
from busredis.events import DomainEvent
from busredis.location import server_url
from busredis.partitions import choose, learn
from busredis.publisher.pieces import Pieces
from busredis.schedule import Change, Delay, Scheduled, Schedules, find_scheduled, soonest
from busredis.settings import Settings

#: What is told of when the server cannot be asked how the schedule is divided.
_SCHEDULE = Record("a change of the schedule", b"")


class Publisher:
    """Publishes events; safe to use from several threads, in the order of their calls.

    Each call has one of three outcomes: it returns (confirmed: the entry is in its stream), it raises PublishRefused
    (nothing was written), or PublishIndeterminate (no answer within `publish_timeout`). What was lost on the way
    is sent again within that time and never stored twice.

    `url` defaults to BUSREDIS_URL, then REDIS_URL, then the embedded server of this folder if it runs. `options` are
    fields of Settings.
    """

    def __init__(self, url: str | None = None, *, namespace: str | None = None, **options: Any) -> None:
        self._settings = settings = Settings.load(url=url, namespace=namespace, **options)
        self._appender = Appender(settings)
        #: One a partition, once it is known how many there are; how long it took to learn that.
        self._appenders: list[Appender] = []
        self._spent = 0.0
        self._client = Client(server_url(settings), timeout=settings.publish_timeout)
        self._schedule, self._schedules = Schedules(settings), list[Schedules]()
        self._lock, self._changing = threading.Lock(), threading.Lock()
        self._closed = False

    def publish(self, event: DomainEvent, *, key: str | None = None) -> str:
        """Writes one event and returns its entry id.

        With `key`, an idempotency key, the event is stored once within `once_window` however often it is published,
        and the first id is returned; PublishRefused if the key was used for another payload. Raises EncodeError,
        PublishRefused, PublishIndeterminate.
        """
        record = self._appender.record(event, key)
        with self._lock:
            return self._append(choose(self._ready([record]), event, key), [record])[0]

    def publish_many(self, events: Iterable[DomainEvent]) -> list[str]:
        """Writes events in order and returns their entry ids in the same order.

        All are checked before the first is sent. Each append of up to `batch_events` is written whole or not at all;
        a PublishError has the ids that were written before it in `confirmed`. With several partitions the order is
        that of the events within each of them, and `confirmed` has "" in the place of an event that is not.
        """
        events = list(events)
        records = self._appender.records(events)
        if not records:
            return []
        with self._lock:
            appenders = self._ready(records)
            found = Pieces(appenders, events, records)
            for piece in found.pieces:
                try:
                    found.confirm(piece, self._append(appenders[piece.partition], piece.batch))
                except PublishError as error:
                    raise found.failed(error) from error.__cause__
        return found.ids

    def _ready(self, batch: Sequence[Record]) -> list[Appender]:
        """One a partition. The lock is held."""
        if self._closed:
            raise PublishRefused("this publisher is closed; nothing was written")
        if not self._appenders:
            self._learn(batch)
        return self._appenders

    def _learn(self, batch: Sequence[Record]) -> None:
        began, attempt = time.monotonic(), self._appender.begin()
        while not self._appenders:
            try:
                found = self._client.run(learn(self._settings.namespace, self._settings.partitions))
            except ServerError as error:
                time.sleep(self._appender.before(error, attempt, batch))
            else:
                self._schedules = [Schedules(self._settings, keys) for keys in found]
                self._appenders = [Appender(self._settings, partition=keys) for keys in found]
        self._spent = time.monotonic() - began

    def _append(self, appender: Appender, batch: Sequence[Record]) -> list[str]:
        attempt = appender.begin(self._spent)
        self._spent = 0.0
        while True:
            try:
                return self._client.run(appender.flow(batch, attempt)).ids
            except ServerError as error:
                time.sleep(appender.after(error, attempt, batch))

    def schedule(
        self,
        event: DomainEvent,
        *,
        at: datetime | None = None,
        delay: Delay | None = None,
        key: str | None = None,
    ) -> str:
        """Stores an event that a daemon will append when it is due, exactly once; returns the id in the schedule.

        When: `at`, an aware datetime, or after `delay`, in seconds or as a timedelta; what is past is due now. Its
        `occurred_at` becomes that time. It is appended at most a second late while daemons run, else when one is back.
        The id is `key`, else the event's id. What is scheduled again under the same id, or under a key whose event was
        appended within `once_window`, stays as it is; PublishRefused if the key was used for another payload. Raises
        EncodeError, PublishRefused, PublishIndeterminate.
        """
        change = self._schedule.add(event, at=at, delay=delay, key=key)
        with self._lock:
            self._ready([_SCHEDULE])
            part = choose(self._schedules, event, key)
        self._change_in(part, change)
        return change.id

    def cancel(self, schedule_id: str) -> bool:
        """Takes an event out of the schedule; false if it is not there, since it was appended, say.

        If true, it is never appended, not even if it was due already.
        """
        return self._change(self._schedule.cancel(schedule_id))

    def reschedule(self, schedule_id: str, *, at: datetime | None = None, delay: Delay | None = None) -> bool:
        """Gives an event of the schedule another time; false if it is not there any more."""
        return self._change(self._schedule.move(schedule_id, at=at, delay=delay))

    def scheduled(self, limit: int = 100) -> list[Scheduled]:
        """What waits in the schedule, the soonest first. Raises ServerError."""
        with self._lock:
            self._ready([_SCHEDULE])
            parts = list(self._schedules)
        return soonest([self._client.run(find_scheduled(part.keys, limit)) for part in parts], limit)

    def _change(self, change: Change) -> bool:
        """Makes a change in whichever partition has the event."""
        with self._lock:
            self._ready([_SCHEDULE])
            parts = list(self._schedules)
        return any(self._change_in(part, change) for part in parts)

    def _change_in(self, part: Schedules, change: Change) -> bool:
        with self._changing:
            if self._closed:
                raise PublishRefused("this publisher is closed; nothing was written")
            attempt = part.begin()
            while True:
                try:
                    return self._client.run(part.flow([change], attempt)) == ["yes"]
                except ServerError as error:
                    time.sleep(part.after(error, attempt, [change]))

    def close(self) -> None:
        """Ends the publisher; every publish that returned is confirmed already. Closing twice is fine."""
        with self._lock, self._changing:
            self._closed = True
            self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
