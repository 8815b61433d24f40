"""Every error of busredis.

    BusError
    ├── SettingsError                      a setting, URL or option that cannot work
    ├── RegistrationError                  at start-up: an event class or handler that cannot be registered
    │   ├── DuplicateEventType
    │   ├── DuplicateHandler
    │   └── UnknownEventType
    ├── CodecError                         never retried
    │   ├── EncodeError                    this event cannot be written
    │   └── DecodeError                    these bytes are no event (reason, field, what to do)
    ├── PublishError
    │   ├── PublishRefused                 nothing was written
    │   └── PublishIndeterminate           no answer in time: written or not, unknown
    ├── ArchiveError                       cold storage that cannot be written, read or found; Redis is untouched
    │   └── ArchiveDamaged                 a file or the manifest is not what was written
    ├── ReplayRefused                      a group that cannot be moved back, or a shadow that cannot be switched over
    ├── PartlyDone                         done in some partitions and not in others; doing it again finishes it
    ├── EffectRefused                      what a handler asked of ctx.effects cannot be, and none of it is done
    ├── StoreError
    │   ├── VersionConflict                another append was faster; nothing was written
    │   ├── AggregateNotFound
    │   ├── HistoryDamaged                 a reference without its event, or a gap: something was deleted
    │   ├── AlreadyTracked                 what was made of this position is stored already
    │   ├── PositionGone                   a feed was asked for what is no longer there
    │   └── AggregateBroken                an apply method failed: load the aggregate again
    └── ServerError
        ├── ConnectionLost                 no answer; the command may or may not have run
        │   └── NotSent                    the server was never reached: the command did not run
        ├── ServerUnavailable              the server answered that it cannot now (LOADING, READONLY, OOM ...)
        ├── GroupMissing                   NOGROUP, or a stream that vanished under a blocked read
        └── CommandRefused                 any other error reply

Handlers raise a `Signal` (`Retry`, `Reject`, `Skip`) to steer; signals are no failures of busredis.
"""

import difflib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any


class BusError(Exception):
    """Base of every error that busredis raises."""


class SettingsError(BusError):
    """A setting, URL or option that cannot work; says which one and what to write instead."""


class RegistrationError(BusError):
    """An event class or a handler that cannot be registered; raised at start-up only."""


class DuplicateEventType(RegistrationError):
    """Two classes claim one event type."""

    def __init__(self, event_type: str, first: type, second: type) -> None:
        self.event_type = event_type
        super().__init__(
            f"event type {event_type!r} is already taken by {first.__module__}.{first.__qualname__}; "
            f"{second.__module__}.{second.__qualname__} must choose another: class ...(DomainEvent, event_type='...')"
        )


class DuplicateHandler(RegistrationError):
    """Two handlers claim one name, and so one consumer group."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"two handlers are named {name!r}; a name is a consumer group: give one of them name='...'"
        )


class UnknownEventType(RegistrationError):
    """No class is registered for an event type."""

    def __init__(self, event_type: str, known: list[str]) -> None:
        self.event_type = event_type
        alike = difflib.get_close_matches(event_type, known, 3)
        shown = ", ".join(alike + [name for name in known if name not in alike][: 20 - len(alike)]) or "none"
        super().__init__(
            f"no event class is registered for {event_type!r} (known: {shown}); import its module first"
        )


class CodecError(BusError):
    """An event that cannot be written, or bytes that are no event. Trying again cannot help."""


class EncodeError(CodecError):
    """This event cannot be written; raised before anything is sent."""


class DecodeError(CodecError):
    """These bytes are no event. `reason` is one word to filter by, the message names the field."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class PublishError(BusError):
    """A publish that was not confirmed. `confirmed` has the ids of what the same publish_many() did write before."""

    def __init__(self, message: str) -> None:
        self.confirmed: list[str] = []
        super().__init__(message)


class PublishRefused(PublishError):
    """Nothing was written, and nothing will be."""


class PublishIndeterminate(PublishError):
    """No answer came in time: the events may or may not have been written.

    Publishing the same event again may store it twice, unless it is given the same `key`.
    """


class ArchiveError(BusError):
    """An archive that cannot be written, read or found; names the path. Nothing was removed from Redis."""


class ArchiveDamaged(ArchiveError):
    """A file of an archive, or its manifest, is missing or is not what was written."""


class ReplayRefused(BusError):
    """A replay that cannot be: what is in the way is said, and nothing was done."""


class PartlyDone(BusError):
    """What was to be done in every partition was not in some; where it was, that stands. Doing it again finishes it.

    `problems` has the errors by partition, `results` what was done in the others, `untried` where it was not tried.
    """

    def __init__(
        self, problems: dict[int, BusError], results: dict[int, Any], untried: Sequence[int] = ()
    ) -> None:
        self.problems, self.results, self.untried = problems, results, list(untried)
        told = [f"partition {number}: {error}" for number, error in list(problems.items())[:_TOLD]]
        if len(problems) > _TOLD:
            told.append(f"and so on in {_numbers(list(problems)[_TOLD:])}")
        if untried:
            told.append(f"not tried in {_numbers(untried)}")
        done = f"done in partition {_numbers(list(results))}" if results else "nothing was done"
        super().__init__(f"{'; '.join(told)}; {done}; the same again, when it can be, finishes it")


class EffectRefused(BusError):
    """An effect that cannot be applied: not allowed, or foreseen to fail. No effect of the attempt is applied."""


#: Most partitions whose problems are told in full.
_TOLD = 3


def _numbers(numbers: Sequence[int]) -> str:
    """`0-3, 7`: numbers in their order, neighbours as a range."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


class StoreError(BusError):
    """An aggregate that cannot be loaded or saved."""


class VersionConflict(StoreError):
    """The aggregate is not at the expected version: another append was faster. Nothing was written."""

    def __init__(self, aggregate: tuple[str, str], expected: int, actual: int) -> None:
        self.type, self.id = aggregate
        self.expected = expected
        self.actual = actual
        super().__init__(
            f"{self.type} {self.id!r} is at version {actual}, expected {expected}: another append was faster; "
            "nothing was written. Load it again and decide anew, or use Repository.edit"
        )


class AggregateNotFound(StoreError):
    """There is no such aggregate, or there was none at that version or time."""

    def __init__(self, aggregate: tuple[str, str], detail: str = "it has no events") -> None:
        self.type, self.id = aggregate
        super().__init__(f"{self.type} {self.id!r}: {detail}")


class HistoryDamaged(StoreError):
    """The history of an aggregate is not whole: a gap, or a reference whose event is gone. It is never skipped."""

    def __init__(self, aggregate: tuple[str, str], detail: str) -> None:
        self.type, self.id = aggregate
        super().__init__(
            f"{self.type} {self.id!r}: {detail}; something deleted or trimmed its entries: restore them from a backup, "
            "or name their archive (archive=..., BUSREDIS_ARCHIVE)"
        )


class AlreadyTracked(StoreError):
    """What was made of this position of the source is stored already; nothing was written."""

    def __init__(self, source: str, position: str, reached: str) -> None:
        self.source = source
        self.position = position
        self.reached = reached
        super().__init__(
            f"{source!r} is tracked up to {reached}, so {position} is done already; nothing was written"
        )


class PositionGone(StoreError):
    """Entries behind the position that a feed was asked to go on from were removed."""

    def __init__(self, event_type: str, position: str, first: str) -> None:
        self.event_type = event_type
        self.position = position
        self.first = first
        super().__init__(
            f"entries of {event_type} after {position} were removed; all that is left begins after {first}: "
            f"go on from there with after={first!r} if that is meant, or name their archive (archive=..., BUSREDIS_ARCHIVE)"
        )


class AggregateBroken(StoreError):
    """An apply method raised, so that the state may be half changed: this object is of no more use."""


class ServerError(BusError):
    """The server could not be reached, or answered with an error."""


class ConnectionLost(ServerError):
    """The connection broke before the answer: the command may or may not have run."""


class NotSent(ConnectionLost):
    """No connection could be made: the command did not run."""


class ServerUnavailable(ServerError):
    """The server answered that it cannot do this now; nothing was done, trying later may work."""


class GroupMissing(ServerError):
    """The consumer group or its stream is not there (any more)."""


class CommandRefused(ServerError):
    """An error reply that trying again will not change: wrong type of key, no permission, bad syntax."""


class Signal(Exception):
    """Base of what a handler raises to steer its delivery."""


class Retry(Signal):
    """Hand the event to this handler again, `after` a pause (default: the handler's backoff).

    It counts as an attempt unless `counts=False`.
    """

    def __init__(
        self, reason: str = "", *, after: timedelta | float | None = None, counts: bool = True
    ) -> None:
        self.reason = reason or "the handler asked for another attempt"
        self.after = timedelta(seconds=after) if isinstance(after, int | float) else after
        self.counts = counts
        super().__init__(self.reason)


class Reject(Signal):
    """Move the event to the dead letters now, without further attempts."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Skip(Signal):
    """Acknowledge the event without having handled it."""

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        super().__init__(reason)
