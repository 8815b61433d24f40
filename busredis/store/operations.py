"""What an event store can be asked to do, as values: the Redis store and the one in memory perform the same ones.

`Steps` are generators that yield operations and are given their results: what is built on a store is written once for
sync, async and in memory.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from busredis.store.model import AggregateId, Commit, Snapshot, Tracking

Result = TypeVar("Result")

#: Most events in one page of a history or of a stream.
PAGE = 500


@dataclass(frozen=True, slots=True)
class Load:
    """One Page of a history: versions above `after`, up to a version, up to what was recorded `at` a time.

    With `schema` the page begins at the snapshot, if that can be used.
    """

    aggregate: AggregateId
    after: int = 0
    upto: int | None = None
    at: datetime | None = None
    count: int = PAGE
    schema: str = ""
    backward: bool = False


@dataclass(frozen=True, slots=True)
class Append:
    """All of the commits and the tracking, or nothing; the result is an Appended for each commit."""

    commits: Sequence[Commit]
    tracking: Tracking | None = None


@dataclass(frozen=True, slots=True)
class FindTracked:
    """The position up to which a source is tracked, or None."""

    source: str


@dataclass(frozen=True, slots=True)
class WriteSnapshot:
    """Writes a snapshot unless a newer one is there; `written`, `newer`, or `foreign` if the history has it not."""

    aggregate: AggregateId
    snapshot: Snapshot
    replace: bool = False


@dataclass(frozen=True, slots=True)
class FindPartitions:
    """How many partitions there are; records it at first use. Raises SettingsError."""


@dataclass(frozen=True, slots=True)
class FindHorizon:
    """The Horizon of a partition, now."""

    partition: int = 0


class Horizon(NamedTuple):
    """Up to where all streams are complete, the last position that there may be now, and the types with a stream."""

    complete: str
    last: str
    types: list[str]


@dataclass(frozen=True, slots=True)
class FindTypes:
    """Looks for streams that other programs have begun, so that FindHorizon knows them; at most every few seconds."""

    partition: int = 0


@dataclass(frozen=True, slots=True)
class ReadStreams:
    """By event type, entries above a position, up to one; the result has `(position, fields)` pairs by type."""

    after: Mapping[str, str]
    upto: str
    count: int = PAGE
    partition: int = 0


@dataclass(frozen=True, slots=True)
class AwaitEntries:
    """Returns when a stream has an entry above the position, at the latest after `seconds`."""

    types: Sequence[str]
    after: str
    seconds: float
    partition: int = 0


@dataclass(frozen=True, slots=True)
class LoadRows:
    """As Load, but the Rows of a page: of an event that is no longer in its stream, there is only where it was."""

    load: Load


@dataclass(frozen=True, slots=True)
class Blocking:
    """What `call` returns, which may take its time: it reads files."""

    call: Callable[[], Any]


Operation = (
    Load
    | Append
    | FindTracked
    | WriteSnapshot
    | FindPartitions
    | FindHorizon
    | FindTypes
    | ReadStreams
    | AwaitEntries
    | LoadRows
    | Blocking
)
Steps = Generator[Operation, Any, Result]
#: An entry as it is stored.
Entry = tuple[str, list[bytes]]
