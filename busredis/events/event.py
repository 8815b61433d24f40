"""Domain events: typed facts that nobody can change."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Self
from uuid import UUID

import orjson
from pydantic import (
    AfterValidator,
    AliasGenerator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from busredis.errors import DecodeError, EncodeError, RegistrationError
from busredis.events.fields import META, METADATA, OptionalText, sort_fields, valid_type_name, wire_place
from busredis.events.ids import new_event_id
from busredis.events.personal import Personal, check_forgotten, find_personal, forgotten_value
from busredis.events.registry import Registry
from busredis.events.wire import check_object, check_payload, describe, dumps
from busredis.events.writer import Writer, make_writer
from busredis.json_value import freeze_document

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

#: The zone of times that pydantic has parsed, if they are in UTC: one object for all of them.
_PARSED_UTC = TypeAdapter(datetime).validate_json('"1970-01-01T00:00:00Z"').tzinfo


def _utc(value: datetime) -> datetime:
    if value.tzinfo is _PARSED_UTC:
        # What astimezone() gives, in a third of its time.
        return datetime.combine(value, value.time(), UTC)
    try:
        return value if value.tzinfo is UTC else value.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time is outside of the years 1 to 9999 in UTC") from None


def _valid_version(type_name: str, version: int | None) -> int:
    if version is None:
        return 1
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise RegistrationError(f"{type_name}: event_version is a whole number from 1, not {version!r}")
    return version


def _now() -> datetime:
    return datetime.now(UTC)


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
        alias_generator=AliasGenerator(validation_alias=wire_place),
    )

    event_id: Annotated[UUID, Field(strict=False), META] = Field(default_factory=new_event_id)
    event_type: Annotated[str, META] = ""
    event_version: Annotated[int, Field(ge=1), META] = 1
    occurred_at: Annotated[AwareDatetime, Field(strict=False), AfterValidator(_utc), META] = Field(
        default_factory=_now
    )
    aggregate_id: OptionalText = None
    aggregate_type: OptionalText = None
    aggregate_version: Annotated[int | None, Field(ge=0, lt=2**63), META] = None
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
    _attributes: ClassVar[dict[str, str]] = {}
    #: The document that is stored, from the values of an event.
    _wire: ClassVar[Writer] = staticmethod(make_writer([(name, name) for name in METADATA], ()))
    #: Personal fields, and what each reads as once it is forgotten.
    personal: ClassVar[dict[str, Personal]] = {}
    forgotten: ClassVar[dict[str, str | None]] = {}

    @classmethod
    def __pydantic_init_subclass__(  # type: ignore[override]
        cls, *, event_type: str | None = None, event_version: int | None = None
    ) -> None:
        cls.type_name = valid_type_name(event_type or cls.__name__)
        cls.version = _valid_version(cls.type_name, event_version)
        cls.upcasters = {}
        cls._metadata_fields, cls._payload_fields = sort_fields(cls, DomainEvent.__pydantic_fields__)
        cls._attributes = dict(cls._metadata_fields)
        cls._wire = staticmethod(make_writer(cls._metadata_fields, cls._payload_fields))
        cls.__pydantic_fields__["event_type"].default = cls.type_name
        cls.__pydantic_fields__["event_version"].default = cls.version
        cls.personal = find_personal(cls, cls._payload_fields)
        fields = cls.__pydantic_fields__
        cls.forgotten = {name: forgotten_value(fields[name].annotation) for name in cls.personal}
        cls.model_rebuild(force=True)
        if cls.forgotten:
            check_forgotten(cls, cls.forgotten)
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
        return cls._attributes[name]

    @property
    def payload(self) -> dict[str, Any]:
        """Everything that is not metadata."""
        values = self.__dict__
        return {name: values[name] for name in self._payload_fields}

    def to_dict(self) -> dict[str, Any]:
        """`{"event_id": ..., ..., "payload": {...}}` of JSON values: strings for UUIDs and times."""
        found: dict[str, Any] = orjson.loads(dumps({**self.metadata, "payload": self.payload}))
        return found

    def to_json(self) -> bytes:
        """The event as it is stored: metadata that is not set is left out. Raises EncodeError."""
        return dumps(type(self)._wire(self.__dict__))  # noqa: SLF001 - its own

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The event that `to_dict` described. Called on DomainEvent it finds the class by `event_type`.

        Raises DecodeError, naming the field, for what is malformed; UnknownEventType for a type without a class.
        """
        if not isinstance(data, dict):
            raise DecodeError("json", f"an event is a JSON object, not {type(data).__name__}")
        event_class = cls._class_for(data.get("event_type"))
        try:
            raw = dumps(freeze_document(event_class.upcast(data)))
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
            event: Self = cls.__pydantic_validator__.validate_json(
                raw, by_alias=True, by_name=False, extra="ignore"
            )
        except ValidationError as error:
            raise describe(error) from None
        if event.__pydantic_fields_set__.isdisjoint(cls._payload_fields):
            # No payload field was found: nothing is lost only if the payload is there and says nothing.
            check_payload(raw)
        return event

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
            check_object(data.get("payload"))
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


#: The registry that every subclass of DomainEvent joins.
registry = Registry()
