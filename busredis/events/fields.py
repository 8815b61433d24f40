"""The fields of an event class: which are metadata, which are payload, and that none of them can be changed."""

import re
import typing
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, AliasPath, BaseModel
from pydantic.fields import FieldInfo

from busredis.errors import RegistrationError
from busredis.json_value import freeze, freeze_json

#: What an event type may be called: it becomes part of a key and of file names.
EVENT_TYPE_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")

#: Metadata that says what an entry is: a payload field cannot take these names.
_RESERVED = frozenset({"event_id", "event_type", "event_version", "occurred_at", "payload"})


class _Metadata:
    """Marks a field of DomainEvent as metadata; a field that a subclass declares has no mark: it is payload."""


META = _Metadata()
OptionalText = Annotated[str | None, META]


def wire_place(name: str) -> str | AliasPath:
    """Where a field stands in the JSON of an event."""
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


def valid_type_name(name: str) -> str:
    """`name`, if an event type can have it. Raises RegistrationError."""
    if not isinstance(name, str) or not EVENT_TYPE_PATTERN.fullmatch(name):
        raise RegistrationError(
            f"event type {name!r} is not a name: letters, digits, '_', '.', '-', at most 128"
        )
    return name


def sort_fields(
    cls: type[BaseModel], originals: dict[str, FieldInfo]
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Tells metadata from payload, gives both their place on the wire, and freezes what could be changed."""
    fields = cls.__pydantic_fields__
    metadata, payload = [], []
    for name, field in list(fields.items()):
        if name.startswith("metadata_") and META in field.metadata:
            continue
        if META in field.metadata:
            metadata.append((name, name))
            continue
        if name in _RESERVED:
            raise RegistrationError(
                f"{cls.__name__}.{name}: a payload field cannot be named like this metadata field"
            )
        if name in METADATA:
            metadata.append((name, f"metadata_{name}"))
            fields[f"metadata_{name}"] = _displaced(name, originals[name])
        payload.append(name)
        field.validation_alias = AliasPath("payload", name)
        field.alias_priority = 2
        if not _is_plain(field.annotation) and not any(_is_freeze(mark) for mark in field.metadata):
            field.metadata.append(AfterValidator(freeze_json if _is_free(field.annotation) else freeze))
            field.validate_default = True
    order = {name: index for index, name in enumerate(METADATA)}
    return tuple(sorted(metadata, key=lambda pair: order[pair[0]])), tuple(payload)


def _displaced(name: str, original: FieldInfo) -> FieldInfo:
    """The field that keeps a piece of metadata whose own name the payload has taken."""
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
