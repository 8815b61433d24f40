"""Event-sourced aggregates: objects whose state is what their events made of it."""

import hashlib
import logging
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic, TypeVar

import orjson
from pydantic import BaseModel

from busredis.context import inherit
from busredis.errors import AggregateBroken, RegistrationError, StoreError
from busredis.events import DomainEvent
from busredis.events.fields import valid_type_name
from busredis.store.model import AggregateId, StoredEvent, owned

log = logging.getLogger("busredis.aggregate")

State = TypeVar("State", bound=BaseModel)
Method = TypeVar("Method", bound=Callable[..., None])

#: Every aggregate class by its type.
aggregates: "dict[str, type[EventSourcedAggregate[Any]]]" = {}


@dataclass(frozen=True, slots=True)
class SnapshotPolicy:
    """When an aggregate is snapshotted: `every` so many events, and when its snapshot is `older_than` that and behind.

    Both at a save and by the snapshot daemon. Snapshots only save time: loading gives the same state without them.
    """

    every: int | None = 100
    older_than: timedelta | None = None

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise RegistrationError(f"a snapshot every {self.every} events: at least 1, or None for never")

    def is_due(self, tail: int, taken_at: datetime | None, now: datetime) -> bool:
        """Whether an aggregate with so many events since its snapshot, taken then, should get one."""
        if self.every is not None and tail >= self.every:
            return True
        if self.older_than is None or tail == 0:
            return False
        # Without a number of events, nothing else would make the first one.
        return self.every is None if taken_at is None else now - taken_at >= self.older_than


def applies(*events: type[DomainEvent]) -> Callable[[Method], Method]:
    """Marks the method that changes the state by events of these classes. It decides nothing and never fails."""

    def mark(method: Method) -> Method:
        for cls in events:
            if not (isinstance(cls, type) and issubclass(cls, DomainEvent)):
                raise RegistrationError(f"@applies takes event classes: @applies(Paid), not {cls!r}")
        method._applies = events  # type: ignore[attr-defined]  # noqa: SLF001 - read when the class is made
        return method

    if not events:
        raise RegistrationError("@applies needs the event classes that the method applies: @applies(Paid)")
    return mark


class EventSourcedAggregate(Generic[State]):
    """An object that changes by events alone. `state` is a pydantic model whose fields all have defaults.

    ```
    class Account(EventSourcedAggregate[AccountState], events=(Deposited, Closed)):
        def deposit(self, cents: int) -> None:  # a command: decides, then raises events
            if self.state.closed:
                raise ValueError("the account is closed")
            self.raise_event(Deposited(cents=cents))

        @applies(Deposited)
        def _deposited(self, event: Deposited) -> None:
            self.state.cents += event.cents
    ```

    Class arguments: `aggregate_type` (default: the class name); `events`, all of its events: one without an apply
    method is a warning, with `strict=True` a RegistrationError, as is then every event that was not declared;
    `snapshots`, a SnapshotPolicy; `state_version`, to be raised when apply methods change what they make of events, so
    that older snapshots are no longer used. Whatever is not in `state` is not kept: other attributes cannot be set.
    """

    __slots__ = (
        "_broken",
        "_erasures",
        "_id",
        "_position",
        "_snapshot_at",
        "_snapshot_version",
        "_uncommitted",
        "_version",
        "state",
    )

    aggregate_type: ClassVar[str] = ""
    snapshots: ClassVar[SnapshotPolicy] = SnapshotPolicy()
    #: Fingerprint of the state's model: a snapshot of another one is not used.
    schema: ClassVar[str] = ""
    _state_class: ClassVar[type[BaseModel]]
    _strict: ClassVar[bool] = False
    _appliers: ClassVar[dict[type[DomainEvent], Callable[..., None]]] = {}

    state: State

    def __init_subclass__(
        cls,
        *,
        aggregate_type: str | None = None,
        events: Iterable[type[DomainEvent]] = (),
        strict: bool | None = None,
        snapshots: SnapshotPolicy | None = None,
        state_version: int = 1,
    ) -> None:
        super().__init_subclass__()
        cls.aggregate_type = valid_type_name(aggregate_type or cls.__name__)
        cls._strict = cls._strict if strict is None else strict
        cls.snapshots = snapshots or cls.snapshots
        cls._state_class = _state_class(cls)
        cls._appliers = _find_appliers(cls)
        cls.schema = _fingerprint(cls.aggregate_type, cls._state_class, state_version)
        _check_events(cls, tuple(events), cls._appliers, strict=cls._strict)
        known = aggregates.get(cls.aggregate_type)
        if known and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise RegistrationError(
                f"aggregate type {cls.aggregate_type!r} is already taken by {known.__module__}.{known.__qualname__}; "
                f"{cls.__module__}.{cls.__qualname__} must choose another: class ...(..., aggregate_type='...')"
            )
        aggregates[cls.aggregate_type] = cls

    @classmethod
    def event_classes(cls) -> list[type[DomainEvent]]:
        """The classes of events that change its state."""
        return list(cls._appliers)

    def __init__(self, aggregate_id: str) -> None:
        self._id = AggregateId(self.aggregate_type, aggregate_id).checked()
        self._version = 0
        self._uncommitted: list[DomainEvent] = []
        self._broken = False
        self._erasures = "0"
        self._position = ""
        self._snapshot_version = 0
        self._snapshot_at: datetime | None = None
        self.state = typing.cast("State", self._state_class())

    def __setattr__(self, name: str, value: object) -> None:
        if name not in EventSourcedAggregate.__slots__:
            raise AttributeError(
                f"{type(self).__name__}.{name}: an aggregate keeps everything in its state, since only that comes "
                "back from events and snapshots"
            )
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"<{self.aggregate_type} {self.id!r} at version {self._version}, {len(self._uncommitted)} not saved>"

    @property
    def id(self) -> str:
        """What distinguishes it among the aggregates of its type."""
        return self._id.id

    @property
    def key(self) -> AggregateId:
        """Its type and id."""
        return self._id

    @property
    def version(self) -> int:
        """How many events made it, those included that are not saved yet."""
        return self._version

    @property
    def saved_version(self) -> int:
        """How many of its events are stored, as far as this object knows."""
        return self._version - len(self._uncommitted)

    def raise_event(self, event: DomainEvent) -> DomainEvent:
        """Applies a new fact, and keeps it until it is saved; returns it with its version and its context.

        The context is that of the event being handled, if any: correlation_id, causation_id, traceparent.
        """
        event = inherit(owned(event, self._id, self._version + 1))
        self._apply(event)
        self._version += 1
        self._uncommitted.append(event)
        return event

    def load_from_history(self, history: Iterable[DomainEvent | StoredEvent]) -> None:
        """Applies facts that are stored already, the one after its version first. Raises StoreError for a gap."""
        put = super().__setattr__  # ours looks at every name, which takes as long as to apply an event
        position = self._position
        try:
            for item in history:
                event, found, version = item if isinstance(item, StoredEvent) else (item, "", None)
                following = self._version + 1
                if version is None:
                    version = event.metadata["aggregate_version"]
                if version is not None and version != following:
                    raise StoreError(f"{self!r}: the next event is version {following}, not {version}")
                self._apply(event)
                put("_version", following)
                position = found
        finally:
            put("_position", position)

    def get_uncommitted_events(self) -> list[DomainEvent]:
        """The facts that are not saved yet, oldest first."""
        return list(self._uncommitted)

    def _apply(self, event: DomainEvent) -> None:
        if self._broken:
            raise AggregateBroken(f"{self!r} is of no more use: an apply method failed before; load it again")
        applier = self._appliers.get(type(event))
        if applier is None:
            if self._strict:
                raise StoreError(
                    f"{self!r} has no method for {event.event_type}: @applies({type(event).__name__})"
                )
            return
        try:
            applier(self, event)
        except BaseException:
            self._broken = True
            raise

    def _committed(self, count: int, position: str) -> None:
        """The first `count` of its events are stored."""
        del self._uncommitted[:count]
        self._position = position if not self._uncommitted else ""


def _state_class(cls: type[EventSourcedAggregate[Any]]) -> type[BaseModel]:
    found: Any = getattr(cls, "_state_class", None)
    for base in getattr(cls, "__orig_bases__", ()):
        if typing.get_origin(base) is EventSourcedAggregate:
            found = typing.get_args(base)[0]
    if not (isinstance(found, type) and issubclass(found, BaseModel)):
        raise RegistrationError(
            f"{cls.__name__} needs the pydantic model of its state: class {cls.__name__}(EventSourcedAggregate[Model])"
        )
    required = [name for name, field in found.model_fields.items() if field.is_required()]
    if required:
        raise RegistrationError(
            f"{found.__name__}.{required[0]}: every field of a state needs a default, for an aggregate begins with none"
        )
    if found.model_config.get("frozen"):
        raise RegistrationError(f"{found.__name__} is frozen: apply methods change the state")
    return found


def _find_appliers(cls: type[EventSourcedAggregate[Any]]) -> dict[type[DomainEvent], Callable[..., None]]:
    found: dict[type[DomainEvent], Callable[..., None]] = {}
    for base in reversed(cls.__mro__):
        own: dict[type[DomainEvent], Callable[..., None]] = {}
        for method in vars(base).values():
            for event in getattr(method, "_applies", ()):
                if event in own:
                    raise RegistrationError(
                        f"{cls.__name__}: {own[event].__name__} and {method.__name__} both apply {event.__name__}"
                    )
                own[event] = method
        found |= own
    return found


def _check_events(
    cls: type,
    declared: tuple[type[DomainEvent], ...],
    appliers: dict[type[DomainEvent], Any],
    *,
    strict: bool,
) -> None:
    missing = [event.__name__ for event in declared if event not in appliers]
    if missing:
        text = f"{cls.__name__} has no apply method for {', '.join(missing)}: @applies({missing[0]})"
        if strict:
            raise RegistrationError(text)
        log.warning("%s; such events leave its state as it is", text)
    extra = [event.__name__ for event in appliers if declared and event not in declared]
    if extra and strict:
        raise RegistrationError(
            f"{cls.__name__} applies {', '.join(extra)}, which its events=... does not name"
        )


def _fingerprint(aggregate_type: str, state: type[BaseModel], version: int) -> str:
    schema = state.model_json_schema()
    text = orjson.dumps([aggregate_type, version, schema], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:16]
