"""Domain events: typed facts that nobody can change, the registry of their classes, and upcasters."""

import os
import re
import time
import typing
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Self
from uuid import UUID

import orjson
import pydantic_core
from pydantic import (
    AfterValidator,
    AliasGenerator,
    AliasPath,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic.fields import FieldInfo

from busredis.errors import DecodeError, DuplicateEventType, EncodeError, RegistrationError, UnknownEventType
from busredis.json_value import freeze, freeze_document, freeze_json

#: What an event type may be called: it becomes part of a key and of file names.
EVENT_TYPE_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")

#: Metadata that says what an entry is: a payload field cannot take these names.
_RESERVED = frozenset({"event_id", "event_type", "event_version", "occurred_at", "payload"})

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

_last_id = 0


def new_event_id() -> UUID:
    """A UUID of version 7 (RFC 9562): ids sort by time, and rise strictly within a process."""
    global _last_id  # noqa: PLW0603 - one counter a process is what makes the ids rise
    stamp = time.time_ns()
    head = (stamp // 1_000_000) << 28 | (stamp % 1_000_000) * (1 << 28) // 1_000_000
    _last_id = head = max(head, _last_id + 1)
    millis, fraction = head >> 28, head & 0xFFF_FFFF
    tail = int.from_bytes(os.urandom(6), "big") & 0x3FFF_FFFF_FFFF
    return UUID(
        int=millis << 80 | 0x7 << 76 | (fraction >> 16) << 64 | 0b10 << 62 | (fraction & 0xFFFF) << 46 | tail
    )


def _utc(value: datetime) -> datetime:
    try:
        return value if value.tzinfo is UTC else value.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time is outside of the years 1 to 9999 in UTC") from None


def _now() -> datetime:
    return datetime.now(UTC)


class _Metadata:
    """Marks a field of DomainEvent as metadata; a field that a subclass declares has no mark: it is payload."""


_META = _Metadata()
OptionalText = Annotated[str | None, _META]


def _wire_place(name: str) -> str | AliasPath:
    return name if name in METADATA else AliasPath("payload", name)


#: The metadata fields, in the order in which they are written.
METADATA = (
    "event_id",
    "event_type",
    "event_version",
    "occurred_at",
    "aggregate_id",
    "aggregate_type",
    "aggregate_version",
    "correlation_id",
    "causation_id",
    "user_id",
    "traceparent",
)


class DomainEvent(BaseModel):
    """A fact. Subclass it and declare the payload as fields; give them defaults, as old facts may lack some.

    `class Paid(DomainEvent, event_type="billing.paid", event_version=2)` sets the wire name (default: the class
    name) and the version of the payload. Every class is registered under its event type when it is defined.

    An event cannot be changed after its creation, its dicts and lists included. A payload field may be named like a
    metadata field (`user_id`): then `event.user_id` is the payload's, the metadata's is `metadata_user_id`, and
    both are kept.
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=False,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        alias_generator=AliasGenerator(validation_alias=_wire_place),
    )

    event_id: Annotated[UUID, Field(strict=False), _META] = Field(default_factory=new_event_id)
    event_type: Annotated[str, _META] = ""
    event_version: Annotated[int, Field(ge=1), _META] = 1
    occurred_at: Annotated[AwareDatetime, Field(strict=False), AfterValidator(_utc), _META] = Field(
        default_factory=_now
    )
    aggregate_id: OptionalText = None
    aggregate_type: OptionalText = None
    aggregate_version: Annotated[int | None, Field(ge=0, lt=2**63), _META] = None
    correlation_id: OptionalText = None
    causation_id: OptionalText = None
    user_id: OptionalText = None
    traceparent: OptionalText = None

    type_name: ClassVar[str] = "DomainEvent"
    version: ClassVar[int] = 1
    upcasters: ClassVar[dict[int, Upcaster]] = {}
    #: (name on the wire, name of the attribute)
    _metadata_fields: ClassVar[tuple[tuple[str, str], ...]] = ()
    _payload_fields: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def __pydantic_init_subclass__(  # type: ignore[override]
        cls, *, event_type: str | None = None, event_version: int | None = None
    ) -> None:
        cls.type_name = _valid_type_name(event_type or cls.__name__)
        cls.version = event_version or 1
        cls.upcasters = {}
        cls._metadata_fields, cls._payload_fields = _sort_fields(cls)
        cls.__pydantic_fields__["event_type"].default = cls.type_name
        cls.__pydantic_fields__["event_version"].default = cls.version
        cls.model_rebuild(force=True)
        registry.add(cls)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # event_type= and event_version= are read by __pydantic_init_subclass__, once the fields are known.
        for name in ("event_type", "event_version"):
            kwargs.pop(name, None)
        super().__init_subclass__(**kwargs)

    def __hash__(self) -> int:
        return hash(self.event_id)

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata by its name on the wire; `traceparent` only if there is one."""
        values = self.__dict__
        return {
            name: values[attribute]
            for name, attribute in self._metadata_fields
            if name != "traceparent" or values[attribute] is not None
        }

    @classmethod
    def attribute_of(cls, name: str) -> str:
        """The attribute that keeps the metadata `name`: itself, unless a payload field has taken the name."""
        return dict(cls._metadata_fields)[name]

    @property
    def payload(self) -> dict[str, Any]:
        """Everything that is not metadata."""
        values = self.__dict__
        return {name: values[name] for name in self._payload_fields}

    def to_dict(self) -> dict[str, Any]:
        """`{"event_id": ..., ..., "payload": {...}}` of JSON values: strings for UUIDs and times."""
        found: dict[str, Any] = orjson.loads(_dumps({**self.metadata, "payload": self.payload}))
        return found

    def to_json(self) -> bytes:
        """The event as it is stored: metadata that is not set is left out. Raises EncodeError."""
        values = self.__dict__
        wire = {
            name: values[attribute]
            for name, attribute in self._metadata_fields
            if values[attribute] is not None
        }
        wire["payload"] = {name: values[name] for name in self._payload_fields}
        return _dumps(wire)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The event that `to_dict` described. Called on DomainEvent it finds the class by `event_type`.

        Raises DecodeError, naming the field, for what is malformed; UnknownEventType for a type without a class.
        """
        if not isinstance(data, dict):
            raise DecodeError("json", f"an event is a JSON object, not {type(data).__name__}")
        event_class = cls._class_for(data.get("event_type"))
        try:
            raw = _dumps(freeze_document(event_class.upcast(data)))
        except (EncodeError, ValueError) as error:
            raise DecodeError("json", str(error)) from error
        event = event_class.from_json(raw)
        assert isinstance(event, cls)
        return event

    @classmethod
    def _class_for(cls, event_type: object) -> "type[DomainEvent]":
        if event_type is None and cls is not DomainEvent:
            return cls
        if not isinstance(event_type, str) or not event_type:
            raise DecodeError("envelope", "event_type is missing: it names the class of the event")
        if cls.type_name == event_type:
            return cls
        found = registry.get(event_type)
        if not issubclass(found, cls):
            raise DecodeError("unknown-type", f"event_type is {event_type!r}, expected {cls.type_name!r}")
        return found

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """The event in `raw`, which is of this class and of its version. Raises DecodeError naming the field."""
        try:
            # The validator itself, since model_validate_json only repeats the options that are given here.
            event = cls.__pydantic_validator__.validate_json(
                raw, by_alias=True, by_name=False, extra="ignore"
            )
        except ValidationError as error:
            raise describe(error) from None
        if event.__pydantic_fields_set__.isdisjoint(cls._payload_fields):
            # No payload field was found: nothing is lost only if the payload is there and says nothing.
            _check_payload(raw)
        return typing.cast("Self", event)

    @classmethod
    def upcast(cls, data: dict[str, Any]) -> dict[str, Any]:
        """`data`, a wire document, brought step by step to the version of this class."""
        found = data.get("event_version", 1)
        if not isinstance(found, int) or isinstance(found, bool) or found < 1:
            raise DecodeError("version", f"event_version is a whole number from 1, not {found!r}")
        if found > cls.version:
            raise DecodeError(
                "newer-version",
                f"event_version is {found}, this program knows {cls.type_name} up to {cls.version}",
            )
        if found < cls.version:
            _check_object(data.get("payload"))
        while found < cls.version:
            try:
                data = {**data, "payload": cls.upcasters[found](dict(data["payload"]))}
            except Exception as error:
                raise DecodeError("upcast", f"{cls.type_name} v{found} to v{found + 1}: {error!r}") from error
            found += 1
            data["event_version"] = found
        return data

    @classmethod
    def upcaster(cls, from_version: int) -> Callable[[Upcaster], Upcaster]:
        """Registers a function from the payload of `from_version` to the payload of the next version."""

        def register(function: Upcaster) -> Upcaster:
            if not 1 <= from_version < cls.version:
                raise RegistrationError(
                    f"{cls.type_name} is at version {cls.version}: an upcaster starts from 1 to {cls.version - 1}"
                )
            cls.upcasters[from_version] = function
            return function

        return register


def _check_payload(raw: bytes) -> None:
    _check_object(orjson.loads(raw).get("payload"))


def _check_object(payload: object) -> None:
    if not isinstance(payload, dict):
        found = "missing" if payload is None else f"of type {type(payload).__name__}"
        raise DecodeError("validation", f"payload: is {found}, a JSON object is expected")


def _dumps(value: object) -> bytes:
    try:
        return orjson.dumps(value, default=_json_form)
    except TypeError as error:
        place = _unwritable(value)
        raise EncodeError(f"{place}: cannot be written as JSON: {error.__cause__ or error}") from error


def _unwritable(document: object) -> str:
    """The field of an event that is no JSON."""
    if not isinstance(document, dict):
        return "event"
    payload = document.get("payload")
    parts = {f"payload.{name}": value for name, value in payload.items()} if isinstance(payload, dict) else {}
    for name, value in (parts | document).items():
        try:
            orjson.dumps(value, default=_json_form)
        except TypeError:
            return name
    return "event"


def _json_form(value: object) -> Any:
    # What orjson does not know: sets, Decimal, timedelta, nested models ... in the form that pydantic reads back.
    return pydantic_core.to_jsonable_python(value)


def _valid_type_name(name: str) -> str:
    if not EVENT_TYPE_PATTERN.fullmatch(name):
        raise RegistrationError(
            f"event type {name!r} is not a name: letters, digits, '_', '.', '-', at most 128"
        )
    return name


def _sort_fields(cls: type[DomainEvent]) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Tells metadata from payload, gives both their place on the wire, and freezes what could be changed."""
    fields = cls.__pydantic_fields__
    metadata, payload = [], []
    for name, field in list(fields.items()):
        if name.startswith("metadata_") and _META in field.metadata:
            continue
        if _META in field.metadata:
            metadata.append((name, name))
            continue
        if name in _RESERVED:
            raise RegistrationError(
                f"{cls.__name__}.{name}: a payload field cannot be named like this metadata field"
            )
        if name in METADATA:
            metadata.append((name, f"metadata_{name}"))
            fields[f"metadata_{name}"] = _displaced(name)
        payload.append(name)
        field.validation_alias = AliasPath("payload", name)
        field.alias_priority = 2
        if not _is_plain(field.annotation) and not any(_is_freeze(mark) for mark in field.metadata):
            field.metadata.append(AfterValidator(freeze_json if _is_free(field.annotation) else freeze))
            field.validate_default = True
    order = {name: index for index, name in enumerate(METADATA)}
    return tuple(sorted(metadata, key=lambda pair: order[pair[0]])), tuple(payload)


def _displaced(name: str) -> FieldInfo:
    """The field that keeps a piece of metadata whose own name the payload has taken."""
    original = DomainEvent.__pydantic_fields__[name]
    field = FieldInfo.from_annotated_attribute(Annotated[(original.annotation, *original.metadata)], None)  # type: ignore[arg-type]
    field.validation_alias = name
    field.alias_priority = 2
    return field


def _is_freeze(mark: object) -> bool:
    return isinstance(mark, AfterValidator) and mark.func in (freeze, freeze_json)


def _is_free(annotation: Any) -> bool:
    """Whether `annotation` takes any JSON value somewhere, and so cannot say what else it was."""
    if annotation in (Any, object, dict, list):
        return True
    if typing.get_origin(annotation) in (dict, list, typing.Union, type(str | None)):
        return any(map(_is_free, typing.get_args(annotation)))
    return False


def _is_plain(annotation: Any) -> bool:
    """Whether values of `annotation` can neither be changed nor fail to round-trip as JSON."""
    if annotation in (str, bool, UUID, type(None)):
        return True
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return True
    if origin is Annotated:
        return _is_plain(typing.get_args(annotation)[0])
    arguments = typing.get_args(annotation)
    return origin in (typing.Union, type(str | None)) and all(map(_is_plain, arguments))


def describe(error: ValidationError) -> DecodeError:
    """A validation error as a DecodeError that names fields and never shows their values."""
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    reason = "json" if problems[0]["type"] == "json_invalid" else "validation"
    shown = [f"{'.'.join(map(str, p['loc'])) or 'entry'}: {p['msg']}" for p in problems[:5]]
    more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
    return DecodeError(reason, "; ".join(shown) + more)


class Registry:
    """Event classes by their event type."""

    def __init__(self) -> None:
        self._classes: dict[str, type[DomainEvent]] = {}

    def add(self, cls: type[DomainEvent]) -> None:
        """Raises DuplicateEventType if another class has the type; defining the same class anew replaces it."""
        known = self._classes.get(cls.type_name)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise DuplicateEventType(cls.type_name, known, cls)
        self._classes[cls.type_name] = cls

    def get(self, event_type: str) -> type[DomainEvent]:
        """Raises UnknownEventType."""
        try:
            return self._classes[event_type]
        except KeyError:
            raise UnknownEventType(event_type, sorted(self._classes)) from None

    def __contains__(self, event_type: object) -> bool:
        return event_type in self._classes

    def __iter__(self) -> Iterator[type[DomainEvent]]:
        return iter(list(self._classes.values()))

    def check(self) -> None:
        """Raises RegistrationError if a class lacks an upcaster: at start-up, not at midnight."""
        for cls in self:
            missing = [step for step in range(1, cls.version) if step not in cls.upcasters]
            if missing:
                raise RegistrationError(
                    f"{cls.type_name} is at version {cls.version} but has no upcaster from version {missing[0]}: "
                    f"@{cls.__name__}.upcaster({missing[0]})"
                )


#: The registry that every subclass of DomainEvent joins.
registry = Registry()
