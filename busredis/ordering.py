"""By which key the events of an ordered handler are in order."""

from collections.abc import Sequence
from typing import Any

import orjson

from busredis.errors import RegistrationError
from busredis.events import DomainEvent
from busredis.events.fields import META


def check_field(group: str, field: str, classes: Sequence[type[DomainEvent]]) -> None:
    """Raises RegistrationError if an event that the handler is run for has no such payload field, or a personal one."""
    lacking = [cls.type_name for cls in classes if not _is_payload(cls, field)]
    if lacking:
        raise RegistrationError(
            f"handler {group!r} is ordered by the payload field {field!r}, which {', '.join(lacking)} does not have"
        )
    personal = [cls.type_name for cls in classes if field in cls.personal]
    if personal:
        # What it is ordered by stands in its dead letters and in parked:<group>, where no forgetting reaches it.
        raise RegistrationError(
            f"handler {group!r} is ordered by {field!r}, which is personal data in {', '.join(personal)}: its values "
            f"would be kept in the clear; order by the field that says whose data it is"
        )


def ordering_key(event: DomainEvent, ordered: bool | str) -> str:
    """The key of an event: its aggregate, or the value of a payload field. Empty if it has none: in order with nothing."""
    if isinstance(ordered, str):
        value = getattr(event, ordered)
        return "" if value is None else _line(str(value))
    attribute = event.attribute_of
    return _aggregate(getattr(event, attribute("aggregate_type")), getattr(event, attribute("aggregate_id")))


def raw_ordering_key(fields: Sequence[bytes], ordered: bool | str) -> str:
    """The key of an entry that is no valid event, as far as it can be told; else empty."""
    try:
        document: Any = orjson.loads(fields[list(fields[::2]).index(b"event") * 2 + 1])
        if isinstance(ordered, str):
            value = document["payload"][ordered]
            return _line(str(value)) if isinstance(value, str | int) else ""
        return _aggregate(document.get("aggregate_type"), document.get("aggregate_id"))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return ""


def _is_payload(cls: type[DomainEvent], name: str) -> bool:
    field = cls.__pydantic_fields__.get(name)
    return field is not None and META not in field.metadata


def _aggregate(aggregate_type: object, aggregate_id: object) -> str:
    return "" if not aggregate_id else _line(f"{aggregate_type or ''}:{aggregate_id}")


def _line(text: str) -> str:
    # Keys stand in lines of their own in parked:<group>.
    return text.encode("utf-8", "backslashreplace").decode().replace("\\", "\\\\").replace("\n", "\\n")
