"""Between events and the fields of a stream entry.

An entry has one field, `event`: a JSON object with the metadata and `payload`. Any program may write one; only the
payload is required, the rest has defaults: `XADD {busredis}:stream:Paid * event '{"payload": {"amount": 5}}'`.
"""

import uuid
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
import pydantic_core

from busredis.errors import DecodeError, EncodeError
from busredis.events import DomainEvent
from busredis.events.wire import dumps
from busredis.events.writer import Writer
from busredis.json_value import freeze_document
from busredis.keys import parse_id
from busredis.vault import Vault

FIELD = b"event"
_GIVEN = frozenset({"event_id", "event_type", "event_version", "occurred_at"})
_NAMESPACE = uuid.UUID("b2d1f1a0-6f0a-5f0e-9d2c-3f6f5d2f7c11")


class _Known(NamedTuple):
    """What of a class of events is needed for each of its events."""

    type_name: str
    version: int
    wire: Writer
    has_personal: bool


_KNOWN: dict[type, _Known] = {}


def _learn(cls: type[DomainEvent]) -> _Known:
    if not issubclass(cls, DomainEvent):
        raise EncodeError(f"{cls.__name__} is no DomainEvent: subclass busredis.DomainEvent")
    # Its attribute has an underscore since a field of the payload may have any other name.
    known = _KNOWN[cls] = _Known(cls.type_name, cls.version, cls._wire, bool(cls.personal))
    return known


class Codec:
    """Encodes and decodes events of at most `max_bytes` of JSON."""

    def __init__(self, max_bytes: int, vault: Vault | None = None) -> None:
        self.max_bytes = max_bytes
        self._vault = vault

    def encode(self, event: DomainEvent) -> bytes:
        """The JSON of an entry. Raises EncodeError for what cannot be stored, naming sizes or fields."""
        cls = type(event)
        known = _KNOWN.get(cls) or _learn(cls)
        # Not event.event_type and so on: pydantic's attributes take as long as all that is done here.
        values = event.__dict__
        if values["event_type"] != known.type_name or values["event_version"] != known.version:
            raise EncodeError(
                f"{cls.__name__} is {known.type_name!r} version {known.version} here; "
                f"this event says {event.event_type!r} version {event.event_version}"
            )
        raw = dumps(known.wire(values))
        if known.has_personal:
            if self._vault is None:
                raise EncodeError(f"{cls.type_name} has personal fields, and there is no key store here")
            raw = self._vault.seal(event, raw)
        if len(raw) > self.max_bytes:
            raise EncodeError(
                f"{cls.type_name} is {len(raw):,} bytes of JSON, the limit is {self.max_bytes:,} "
                "(BUSREDIS_MAX_EVENT_BYTES): store the bulk elsewhere and publish a reference"
            )
        return raw

    def decode(self, cls: type[DomainEvent], entry_id: str, fields: list[bytes]) -> DomainEvent:
        """The event in an entry of the stream of `cls`; `fields` is name, value, name, value ...

        Raises DecodeError with a one-word reason and a message that names the field.
        """
        is_plain = len(fields) == 2 and fields[0] == FIELD and len(fields[1]) <= self.max_bytes
        return self.decode_json(cls, entry_id, fields[1] if is_plain else self._raw(fields))

    def decode_json(self, cls: type[DomainEvent], entry_id: str, raw: bytes) -> DomainEvent:
        """As decode(), from the JSON of an entry that is known to have no more than it."""
        if cls.personal and self._vault is not None:
            raw = self._vault.open(cls, raw)
        try:
            event = cls.from_json(raw)
        except DecodeError:
            if _document(raw).get("event_version", 1) == cls.version:
                raise
            return self._slow(cls, entry_id, raw)
        is_complete = event.__pydantic_fields_set__ >= _GIVEN
        if is_complete and event.event_version == cls.version and event.event_type == cls.type_name:
            return event
        return self._slow(cls, entry_id, raw)

    def _raw(self, fields: list[bytes]) -> bytes:
        if len(fields) != 2 or fields[0] != FIELD:
            found = ", ".join(repr(name[:40].decode("utf-8", "replace")) for name in fields[::2]) or "none"
            if FIELD not in fields[::2]:
                raise DecodeError("envelope", f"the entry has no field 'event' (fields: {found})")
            raw = fields[fields[::2].index(FIELD) * 2 + 1]
        else:
            raw = fields[1]
        if len(raw) > self.max_bytes:
            raise DecodeError("too-large", f"event is {len(raw):,} bytes, the limit is {self.max_bytes:,}")
        return raw

    def _slow(self, cls: type[DomainEvent], entry_id: str, raw: bytes) -> DomainEvent:
        """For other versions, and for entries of programs that leave metadata to its defaults."""
        document = _document(raw)
        found = document.get("event_type", cls.type_name)
        if found != cls.type_name:
            raise DecodeError(
                "unknown-type", f"event_type is {str(found)[:80]!r} in the stream of {cls.type_name!r}"
            )
        version = document.get("event_version", 1)
        if version == cls.version:
            document["event_type"] = cls.type_name
            document = cls.upcast(document)
        else:
            document = _brought_up(
                cls, {**_exactly(raw), "event_type": cls.type_name, "event_version": version}
            )
        document.setdefault("event_version", cls.version)
        return cls.from_json(orjson.dumps(with_defaults(document, cls.type_name, entry_id)))


def with_defaults(document: dict[str, Any], event_type: str, entry_id: str) -> dict[str, Any]:
    """`document` with the id and the time that an entry has whose publisher gave none; they are always the same."""
    if "event_id" not in document:
        document["event_id"] = str(uuid.uuid5(_NAMESPACE, f"{event_type} {entry_id}"))
    if "occurred_at" not in document:
        document["occurred_at"] = _time_of(entry_id)
    return document


def _document(raw: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise DecodeError("json", f"event: {error}") from None
    if not isinstance(document, dict):
        raise DecodeError("json", f"event: a JSON object is expected, not {type(document).__name__}")
    return document


def _exactly(raw: bytes) -> dict[str, Any]:
    """The document with its integers as they are; orjson makes a float of one beyond 64 bits, and nobody would notice."""
    try:
        document: dict[str, Any] = pydantic_core.from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise DecodeError("json", f"event: {error}") from None
    return document


def _brought_up(cls: type[DomainEvent], document: dict[str, Any]) -> dict[str, Any]:
    try:
        document = freeze_document(cls.upcast(document))
        orjson.dumps(document)
    except (TypeError, ValueError) as error:
        raise DecodeError(
            "validation", f"payload, as it was brought to version {cls.version}: {error}"
        ) from None
    return dict(document)


def _time_of(entry_id: str) -> str:
    millis = min(parse_id(entry_id)[0], 253_402_300_799_000)
    return datetime.fromtimestamp(millis / 1000, UTC).isoformat()
