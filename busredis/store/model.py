"""What goes into an event store and comes out of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from busredis.append import ANY
from busredis.errors import EncodeError, StoreError
from busredis.events import DomainEvent
from busredis.events.fields import valid_type_name
from busredis.keys import check_name

__all__ = [
    "ANY",
    "NEW",
    "AggregateId",
    "Appended",
    "Commit",
    "Page",
    "Snapshot",
    "StoredEvent",
    "Tracking",
    "owned",
    "valid_position",
]

#: The aggregate must not exist yet.
NEW = 0
_MAX_ID_BYTES = 512


class AggregateId(NamedTuple):
    """The name of an aggregate: its type (as an event type is named) and its id (1 to 512 bytes of any text)."""

    type: str
    id: str

    def checked(self) -> "AggregateId":
        """Itself, if it can be a key. Raises RegistrationError for the type, EncodeError for the id."""
        valid_type_name(self.type)
        try:
            size = len(self.id.encode()) if isinstance(self.id, str) else 0
        except UnicodeEncodeError:
            raise EncodeError(
                f"the id of a {self.type} has a lone surrogate, which UTF-8 cannot carry"
            ) from None
        if not 1 <= size <= _MAX_ID_BYTES:
            raise EncodeError(
                f"the id of a {self.type} is a text of 1 to {_MAX_ID_BYTES} bytes, not {str(self.id)[:40]!r} "
                f"({type(self.id).__name__}, {size:,} bytes)"
            )
        return self


class StoredEvent(NamedTuple):
    """An event with where it is stored.

    `position` is its entry id, which rises over all events of a partition; `version` is that of its aggregate after it,
    None for an event that belongs to none.
    """

    event: DomainEvent
    position: str
    version: int | None


@dataclass(frozen=True, slots=True)
class Commit:
    """Events that one aggregate is to get. `expected_version`: the version it has now, NEW (0), or ANY."""

    aggregate: AggregateId
    expected_version: int
    events: Sequence[DomainEvent]


@dataclass(frozen=True, slots=True)
class Tracking:
    """How far a source of events has been worked off: stored together with what was made of it, or not at all."""

    source: str
    position: str

    def checked(self) -> "Tracking":
        """Itself, if it can be kept. Raises SettingsError for the source, StoreError for the position."""
        check_name("source", self.source)
        valid_position(self.position)
        return self


_POSITION = re.compile(r"\d{1,20}(-\d{1,20})?")


def valid_position(position: object) -> str:
    """`position`, if it is one. Raises StoreError."""
    if not isinstance(position, str) or not _POSITION.fullmatch(position):
        raise StoreError(f"a position is an entry id, ms-seq, not {position!r}")
    return position


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append did: the version of the aggregate after it, and the positions of the events."""

    version: int
    positions: list[str]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of an aggregate at a version, as JSON.

    `schema` is the fingerprint of the state's model; `position` that of the event which made the version.
    """

    version: int
    state: bytes
    schema: str
    position: str
    taken_at: datetime
    #: What Page.erasures said when the aggregate was loaded.
    erasures: str = "0"


#: What became of the snapshot that was looked for.
Found = Literal["missing", "later", "schema", "ahead", "foreign", "used"]


@dataclass(slots=True)
class Page:
    """A piece of a history: its events lie above `after` (a snapshot's version, if there is `state`)."""

    version: int
    upto: int
    after: int
    found: Found = "missing"
    state: bytes | None = None
    taken_at: str = ""
    position: str = ""
    events: list[StoredEvent] = field(default_factory=list)
    #: How many subjects were forgotten by then.
    erasures: str = "0"


def owned(event: DomainEvent, aggregate: AggregateId, version: int | None) -> DomainEvent:
    """`event` as one of `aggregate` at `version` (None: the store will say). Raises EncodeError if it says otherwise."""
    if not isinstance(event, DomainEvent):
        raise EncodeError(f"{type(event).__name__} is no DomainEvent: subclass busredis.DomainEvent")
    cls, known = type(event), event.__dict__
    update: dict[str, Any] = {}
    for name, value in (("aggregate_type", aggregate.type), ("aggregate_id", aggregate.id)):
        attribute = cls.attribute_of(name)
        found = known[attribute]
        if found is None:
            update[attribute] = value
        elif found != value:
            raise EncodeError(f"{event.event_type}: {name} is {found!r}, appended to {value!r}")
    attribute = cls.attribute_of("aggregate_version")
    found = known[attribute]
    if found is not None and version is not None and found != version:
        raise EncodeError(
            f"{event.event_type}: aggregate_version is {found}, but it would be version {version} of "
            f"{aggregate.type} {aggregate.id!r}: versions follow one another without a gap"
        )
    if found != version:
        update[attribute] = version
    return event.model_copy(update=update) if update else event
