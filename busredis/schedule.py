"""Events that are to be appended later: schedule, cancel, reschedule, list. Written once for sync and async."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import orjson

from busredis.append import Appender, Attempt, Record
from busredis.commands import Arg, Flow, many, raw, script
from busredis.errors import CommandRefused, PublishRefused, ServerError
from busredis.events import DomainEvent
from busredis.keys import Keys
from busredis.settings import Settings

Result = TypeVar("Result")
Delay = timedelta | float

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Scheduled:
    """An event that waits for its time. `event` is its JSON document, whose `occurred_at` is that time."""

    id: str
    at: datetime
    event_type: str
    event: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the schedule, checked and encoded."""

    what: str
    id: str
    due: Arg = ""
    first: Arg = ""
    second: Arg = ""
    key: str | None = None


class Schedules:
    """Makes changes of the schedule, and flows of them; numbers the calls, so that a retry is recognised."""

    def __init__(self, settings: Settings, partition: Keys | None = None) -> None:
        self._appender = Appender(settings, partition=partition)
        self._settings = settings
        self.keys = self._appender.keys

    def add(self, event: DomainEvent, *, at: datetime | None, delay: Delay | None, key: str | None) -> Change:
        """The event in its form at its time. Raises EncodeError, PublishRefused."""
        due, millis = time_of(at, delay)
        if isinstance(event, DomainEvent):
            event = event.model_copy(update={event.attribute_of("occurred_at"): due})
        record = self._appender.record(event, key)
        value = b"%s %s %s" % (record.event_type.encode(), (record.fingerprint or "-").encode(), record.json)
        return Change("add", key or str(event.event_id), millis, "0", value, key)

    def move(self, schedule_id: str, *, at: datetime | None, delay: Delay | None) -> Change:
        """Another time for what is scheduled. Raises PublishRefused."""
        due, millis = time_of(at, delay)
        return Change("move", _checked(schedule_id), millis, orjson.dumps(due))

    def cancel(self, schedule_id: str) -> Change:
        """Out of the schedule. Raises PublishRefused."""
        return Change("cancel", _checked(schedule_id))

    def begin(self) -> Attempt:
        """Numbers the next call and starts its clock; one call at a time."""
        return self._appender.begin()

    def flow(self, changes: Sequence[Change], attempt: Attempt) -> Flow[list[str]]:
        """One try; the words of schedule.lua, one a change."""
        window = self._settings.publish_timeout.total_seconds() * 1000 * 30
        keys = [self.keys.schedule, self.keys.scheduled, self.keys.once(self._appender.name)]
        args: list[Arg] = [attempt.number, int(window)]
        for change in changes:
            first = change.first
            if change.key is not None:
                keys.append(self.keys.once(change.key))
                first = len(keys)
            args += (change.what, change.id, change.due, first, change.second)
        reply = yield from script("schedule", keys, args)
        if self._settings.durability != "memory":
            yield from self._appender.make_durable(attempt, appended=True)
        return str(reply.decode()).split()

    def after(self, error: ServerError, attempt: Attempt, changes: Sequence[Change]) -> float:
        """Seconds to wait before the next try. Raises the outcome when there is none: refused or indeterminate."""
        word, _, number = str(error).partition(" ")
        if isinstance(error, CommandRefused) and word == "REUSED":
            key = changes[int(number) - 1].key
            raise PublishRefused(
                f"the key {key!r} was used for another event; nothing was scheduled"
            ) from error
        what = f"{changes[0].what} of {changes[0].id!r} in the schedule"
        return self._appender.after(error, attempt, [Record(what, b"")], what)


def find_scheduled(keys: Keys, limit: int) -> Flow[list[Scheduled]]:
    """What waits, the soonest first, at most `limit`."""
    if limit < 1:
        return []
    found = yield from raw("ZRANGE", keys.schedule, 0, limit - 1, "WITHSCORES")
    if not found:
        return []
    ids = found[::2]
    [values] = yield from many([("HMGET", keys.scheduled, *ids)])
    if isinstance(values, ServerError):
        raise values
    # What has no value was appended or cancelled meanwhile.
    rows = zip(ids, found[1::2], values, strict=True)
    return [_scheduled(schedule_id, score, value) for schedule_id, score, value in rows if value is not None]


def soonest(parts: Sequence[Sequence[Scheduled]], limit: int) -> list[Scheduled]:
    """What waits in several partitions as one list."""
    return sorted((one for part in parts for one in part), key=lambda one: one.at)[:limit]


def _scheduled(schedule_id: bytes, score: bytes, value: bytes) -> Scheduled:
    try:
        at = _EPOCH + timedelta(milliseconds=int(float(score)))
    except OverflowError:
        at = datetime.max.replace(tzinfo=UTC)
    event_type, _, rest = value.partition(b" ")
    try:
        event = orjson.loads(rest.partition(b" ")[2])
    except orjson.JSONDecodeError:
        event = None
    if not isinstance(event, dict):
        event = {"unreadable": value.decode("utf-8", "backslashreplace")}  # another program wrote it
    return Scheduled(
        schedule_id.decode("utf-8", "backslashreplace"),
        at,
        event_type.decode("utf-8", "backslashreplace"),
        event,
    )


def time_of(at: datetime | None, delay: Delay | None, now: datetime | None = None) -> tuple[datetime, int]:
    """The time that is meant, in UTC, and as unix ms; what is past is now. Raises PublishRefused, saying what is wrong."""
    now = now or datetime.now(UTC)
    if (at is None) == (delay is None):
        raise PublishRefused("when is either at=<aware datetime> or delay=<seconds or timedelta>")
    if at is None:
        try:
            at = now + (delay if isinstance(delay, timedelta) else timedelta(seconds=delay or 0))
        except (TypeError, ValueError, OverflowError) as error:
            raise PublishRefused(f"delay={delay!r} is no time from now: {error}") from None
    if not isinstance(at, datetime):
        raise PublishRefused(f"at={at!r} is no datetime")
    if at.tzinfo is None:
        raise PublishRefused(f"at={at.isoformat()} has no time zone: datetime(..., tzinfo=UTC)")
    if at <= now:
        return now, _micros(now) // 1000
    at = at.astimezone(UTC)
    return at, -(-_micros(at) // 1000)  # rounded up: never early


def _checked(schedule_id: str) -> str:
    try:
        schedule_id.encode()
    except (AttributeError, UnicodeEncodeError):
        raise PublishRefused(f"{schedule_id!r} can be no id in the schedule") from None
    return schedule_id


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND
